import { Duration, Stack, Validations } from 'aws-cdk-lib';
import { Alarm, ComparisonOperator, Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { EventField, type EventPattern, Rule, RuleTargetInput } from 'aws-cdk-lib/aws-events';
import { SnsTopic } from 'aws-cdk-lib/aws-events-targets';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
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
 *
 * The topic may be in another stack: what its policy and its key's policy are given names nothing of this one.
 */
export class MigrateAlarms extends Construct {
  /** Events that the topic did not take. */
  readonly deadLetters: Queue;

  constructor(scope: Construct, id: string, { task, topic, uploadRule }: MigrateAlarmsProps) {
    super(scope, id);
    this.deadLetters = new Queue(this, 'DeadLetters', { encryption: QueueEncryption.SQS_MANAGED, enforceSSL: true, retentionPeriod: Duration.days(14) });
    Validations.of(this.deadLetters).acknowledge({ id: 'AwsSolutions-SQS3', reason: 'It is itself the dead-letter queue of EventBridge targets.' });
    const stopped = {
      clusterArn: [task.cluster.clusterArn],
      taskDefinitionArn: [{ prefix: task.familyArn.replace(/\*$/, '') }],
      lastStatus: ['STOPPED'],
    };
    this.rule('Failed', topic, `Prisma migrations of ${task.family} failed`, {
      ...stopped,
      containers: { name: [CONTAINER_NAME], exitCode: [{ 'anything-but': [...QUIET_EXIT_CODES] }] },
    });
    this.rule('NeverStarted', topic, `The task of ${task.family} never started`, { ...stopped, stopCode: ['TaskFailedToStart'] });
    this.letIn(topic);
    if (!uploadRule) return;
    this.alarm(
      'FailedInvocations',
      topic,
      'An upload of prisma.zip could not start its task',
      new Metric({
        namespace: 'AWS/Events',
        metricName: 'FailedInvocations',
        dimensionsMap: { RuleName: uploadRule.rule.ref },
        statistic: 'Sum',
        period: Duration.minutes(1),
      }),
    );
    this.alarm(
      'DeadLetters',
      topic,
      'The event of an upload was given up: look into the dead-letter queue, then start the task by hand',
      uploadRule.deadLetters.metricApproximateNumberOfMessagesVisible({ statistic: 'Maximum', period: Duration.minutes(1) }),
    );
  }

  private rule(id: string, topic: ITopic, what: string, detail: Record<string, unknown>): void {
    const eventPattern: EventPattern = { source: ['aws.ecs'], detailType: ['ECS Task State Change'], detail };
    const message = RuleTargetInput.fromObject({
      what,
      task: EventField.fromPath('$.detail.taskArn'),
      stopCode: EventField.fromPath('$.detail.stopCode'),
      reason: EventField.fromPath('$.detail.stoppedReason'),
      // All of them: AWS promises no order, and GuardDuty's agent may come first.
      containers: EventField.fromPath('$.detail.containers'),
    });
    const target = new SnsTopic(topic, { message, deadLetterQueue: this.deadLetters, maxEventAge: Duration.hours(24), retryAttempts: 185 });
    // Without the resource, which the CDK would send the event to by way of a bus if the topic is in another account: EventBridge publishes there directly.
    new Rule(this, id, { description: what, eventPattern }).addTarget({ bind: (rule) => ({ ...target.bind(rule), targetResource: undefined }) });
  }

  /**
   * What EventBridge and CloudWatch need to publish. EventBridge takes no Condition in a topic's policy:
   * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html ("Amazon SNS permissions"). An encrypted topic's key must let both
   * use it: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html ("Enable compatibility between event sources from AWS services and encrypted
   * topics"). A topic that is imported keeps its policy: its owner lets them in.
   */
  private letIn(topic: ITopic): void {
    const { account, region, partition } = Stack.of(this);
    topic.addToResourcePolicy(
      new PolicyStatement({
        principals: [new ServicePrincipal('cloudwatch.amazonaws.com')],
        actions: ['sns:Publish'],
        resources: [topic.topicArn],
        conditions: {
          StringEquals: { 'aws:SourceAccount': account },
          ArnLike: { 'aws:SourceArn': `arn:${partition}:cloudwatch:${region}:${account}:alarm:*` },
        },
      }),
    );
    topic.masterKey?.addToResourcePolicy(
      new PolicyStatement({
        principals: [new ServicePrincipal('events.amazonaws.com'), new ServicePrincipal('cloudwatch.amazonaws.com')],
        actions: ['kms:Decrypt', 'kms:GenerateDataKey*'],
        resources: ['*'],
      }),
    );
  }

  private alarm(id: string, topic: ITopic, alarmDescription: string, metric: Metric): Alarm {
    const alarm = new Alarm(this, `${id}Alarm`, {
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
