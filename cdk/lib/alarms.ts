import { Duration } from 'aws-cdk-lib';
import { Alarm, ComparisonOperator, Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { CfnRule } from 'aws-cdk-lib/aws-events';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import { CONTAINER_NAME, QUIET_EXIT_CODES } from './contract.js';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';
import type { UploadRule } from './upload-rule.js';

export interface MigrateAlarmsProps {
  /** The task that is watched. */
  readonly task: PrismaMigrateTask;
  /** Who is told. */
  readonly topic: ITopic;
  /**
   * The rule whose lost events are told.
   * @default - there is none
   */
  readonly uploadRule?: UploadRule;
}

/**
 * Tells a topic what went wrong: a run that ended with a code that means harm, a task that never started, an event that started nothing. Runs of
 * `status`, `plan` and `drift` page nobody, whatever they find.
 */
export class MigrateAlarms extends Construct {
  constructor(scope: Construct, id: string, { task, topic, uploadRule }: MigrateAlarmsProps) {
    super(scope, id);
    const stopped = {
      clusterArn: [task.cluster.clusterArn],
      taskDefinitionArn: [{ prefix: task.familyArn.replace(/\*$/, '') }],
      lastStatus: ['STOPPED'],
    };
    const failed = this.rule(
      'Failed',
      topic,
      `Prisma migrations of ${task.family} failed`,
      { ...stopped, containers: { name: [CONTAINER_NAME], exitCode: [{ 'anything-but': [...QUIET_EXIT_CODES] }] } },
      // All of them: GuardDuty's agent, which AWS adds by itself, may come first.
      { containers: '$.detail.containers' },
    );
    const neverStarted = this.rule('NeverStarted', topic, `The task of ${task.family} never started`, {
      ...stopped,
      stopCode: ['TaskFailedToStart'],
    });
    const sources = [failed.attrArn, neverStarted.attrArn];
    topic.addToResourcePolicy(
      new PolicyStatement({
        principals: [new ServicePrincipal('events.amazonaws.com')],
        actions: ['sns:Publish'],
        resources: [topic.topicArn],
        conditions: { ArnEquals: { 'aws:SourceArn': sources } },
      }),
    );
    if (!uploadRule) return;
    const alarms = [
      this.alarm('FailedInvocations', topic, 'An upload of prisma.zip could not start its task', new Metric({
        namespace: 'AWS/Events',
        metricName: 'FailedInvocations',
        dimensionsMap: { RuleName: uploadRule.rule.ref },
        statistic: 'Sum',
        period: Duration.minutes(1),
      })),
      this.alarm(
        'DeadLetters',
        topic,
        'The event of an upload was given up: look into the dead-letter queue, then start the task by hand',
        uploadRule.deadLetters.metricApproximateNumberOfMessagesVisible({ statistic: 'Maximum', period: Duration.minutes(1) }),
      ),
    ];
    // A topic that has a policy of its own no longer lets CloudWatch in by default.
    topic.addToResourcePolicy(
      new PolicyStatement({
        principals: [new ServicePrincipal('cloudwatch.amazonaws.com')],
        actions: ['sns:Publish'],
        resources: [topic.topicArn],
        conditions: { ArnEquals: { 'aws:SourceArn': alarms.map((alarm) => alarm.alarmArn) } },
      }),
    );
  }

  private rule(id: string, topic: ITopic, what: string, detail: object, more: Record<string, string> = {}): CfnRule {
    const paths = { task: '$.detail.taskArn', stopCode: '$.detail.stopCode', reason: '$.detail.stoppedReason', ...more };
    const message = { what, ...Object.fromEntries(Object.keys(paths).map((name) => [name, `<${name}>`])) };
    return new CfnRule(this, id, {
      description: what,
      eventPattern: { source: ['aws.ecs'], 'detail-type': ['ECS Task State Change'], detail },
      targets: [
        {
          id: 'topic',
          arn: topic.topicArn,
          inputTransformer: {
            inputPathsMap: paths,
            // EventBridge puts the quotes around what it inserts, and escapes it.
            inputTemplate: JSON.stringify(message).replace(/"<(\w+)>"/g, '<$1>'),
          },
        },
      ],
    });
  }

  private alarm(id: string, topic: ITopic, alarmDescription: string, metric: Metric): Alarm {
    const alarm = new Alarm(this, id, {
      metric,
      alarmDescription,
      threshold: 1,
      evaluationPeriods: 1,
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: TreatMissingData.NOT_BREACHING,
    });
    alarm.addAlarmAction(new SnsAction(topic));
    return alarm;
  }
}
