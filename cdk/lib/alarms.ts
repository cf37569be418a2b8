import { Duration, Stack, Validations } from 'aws-cdk-lib';
import { Alarm, ComparisonOperator, type Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { EventField, type EventPattern, Rule, RuleTargetInput } from 'aws-cdk-lib/aws-events';
import { SnsTopic } from 'aws-cdk-lib/aws-events-targets';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { AGAIN_EXIT_CODES, CONTAINER_NAME, GATE_GROUP, QUIET_EXIT_CODES, STATE_MACHINE_GROUP } from './contract.js';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';

export interface MigrateAlarmsProps {
  /** The task that is watched. */
  readonly task: PrismaMigrateTask;
  /** Who is told. */
  readonly topic: ITopic;
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

  constructor(scope: Construct, id: string, { task, topic }: MigrateAlarmsProps) {
    super(scope, id);
    this.deadLetters = new Queue(this, 'DeadLetters', { encryption: QueueEncryption.SQS_MANAGED, enforceSSL: true, retentionPeriod: Duration.days(14) });
    Validations.of(this.deadLetters).acknowledge({ id: 'AwsSolutions-SQS3', reason: 'It is itself the dead-letter queue of EventBridge targets.' });
    const stopped = {
      clusterArn: [task.cluster.clusterArn],
      taskDefinitionArn: [{ prefix: task.familyArn.replace(/\*$/, '') }],
      lastStatus: ['STOPPED'],
    };
    const ours = (exitCode: unknown[]) => ({ name: [CONTAINER_NAME], exitCode });
    // A state machine tells of its tasks by itself, after it has tried again. A gate does so by failing its stack.
    const byHand = { group: [{ 'anything-but': [STATE_MACHINE_GROUP, GATE_GROUP] }] };
    this.rule('Failed', topic, `Prisma migrations of ${task.family} failed`, {
      ...stopped,
      group: [{ 'anything-but': [STATE_MACHINE_GROUP] }],
      containers: ours([{ 'anything-but': [...QUIET_EXIT_CODES, ...AGAIN_EXIT_CODES] }]),
    });
    this.rule('StartAgain', topic, `Prisma migrations of ${task.family} have to be started again`, { ...stopped, ...byHand, containers: ours([...AGAIN_EXIT_CODES]) });
    this.rule('NeverStarted', topic, `The task of ${task.family} never started`, { ...stopped, ...byHand, stopCode: ['TaskFailedToStart'] });
    // It ran, and its host or its agent was lost. Where another container has an exit code, EventBridge cannot tell that ours has none.
    this.rule('NoExitCode', topic, `The task of ${task.family} stopped without an exit code`, {
      ...stopped,
      group: [{ 'anything-but': [STATE_MACHINE_GROUP] }],
      stopCode: [{ 'anything-but': ['TaskFailedToStart', 'UserInitiated'] }],
      containers: { exitCode: [{ exists: false }] },
    });
    this.letIn(topic);
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
}

/** An alarm on what must not happen once. */
export function alarmOn(scope: Construct, id: string, topic: ITopic, alarmDescription: string, metric: Metric): void {
  const alarm = new Alarm(scope, id, {
    metric,
    alarmDescription,
    threshold: 1,
    evaluationPeriods: 1,
    comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    treatMissingData: TreatMissingData.NOT_BREACHING,
  });
  alarm.addAlarmAction(new SnsAction(topic));
}
