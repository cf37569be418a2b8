import { Duration, Lazy, Validations } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';
import { CfnRule, EventField, Rule, RuleTargetInput } from 'aws-cdk-lib/aws-events';
import { SnsTopic } from 'aws-cdk-lib/aws-events-targets';
import { Effect, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import { alarmOn } from './alarms.js';
import { CONTAINER_NAME } from './contract.js';
import { MigrationStateMachine } from './migration-state-machine.js';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';

/** What an upload starts: a state machine, which tries again and tells, or the task alone. */
export type StartOnUpload = 'stateMachine' | 'task';

export interface UploadRuleProps {
  /** The task that an upload starts. */
  readonly task: PrismaMigrateTask;
  /** By what it is started. */
  readonly start: StartOnUpload;
  /**
   * The topic that gets a message for an event that started nothing, and for a state machine that was aborted.
   * @default - nobody
   */
  readonly alarmTopic?: ITopic;
}

/** What the rule takes from S3's event: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html */
const PATHS = { etag: '$.detail.object.etag', event: '$.id', version: '$.detail.object.version-id' } as const;

/**
 * Starts the migrations at each upload of the artifact, and says which upload that was. What could not be delivered is kept in a dead-letter queue.
 *
 * EventBridge counts a RunTask that was answered as delivered, also if the task never runs. So by default it starts a state machine, which looks after the
 * task, starts it again within a bound, and tells.
 */
export class UploadRule extends Construct {
  readonly rule: CfnRule;
  readonly deadLetters: Queue;
  readonly role: Role;
  private started?: StateMachine;
  private minimal?: MigrationStateMachine;

  constructor(scope: Construct, id: string, { task, start, alarmTopic }: UploadRuleProps) {
    super(scope, id);
    this.deadLetters = new Queue(this, 'DeadLetters', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
    this.role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('events.amazonaws.com') });
    const { bucket, key, versioned } = task.artifact;
    // Of a bucket of this app. One that is imported has its notifications elsewhere, and they must not be replaced.
    if (bucket instanceof Bucket) bucket.enableEventBridgeNotification();
    const { version, ...always } = PATHS;
    const paths = versioned ? { ...always, version } : always;
    this.rule = new CfnRule(this, 'Rule', {
      description: `An upload of ${key} starts its migrations`,
      eventPattern: {
        source: ['aws.s3'],
        'detail-type': ['Object Created'],
        detail: { bucket: { name: [bucket.bucketName] }, object: { key: [key] } },
      },
      targets: [
        {
          id: 'migrate',
          ...(start === 'task' ? this.taskTarget(task, paths) : this.machineTarget(task, paths)),
          roleArn: this.role.roleArn,
          // A migration that starts hours after its upload surprises whoever has given up on it by then.
          retryPolicy: { maximumEventAgeInSeconds: 3600, maximumRetryAttempts: 185 },
          deadLetterConfig: { arn: this.deadLetters.queueArn },
        },
      ],
    });
    // The target's role must be able to start the task before the first event comes.
    this.rule.node.addDependency(this.role);
    this.deadLetters.addToResourcePolicy(
      new PolicyStatement({
        effect: Effect.ALLOW,
        principals: [new ServicePrincipal('events.amazonaws.com')],
        actions: ['sqs:SendMessage'],
        resources: [this.deadLetters.queueArn],
        conditions: { ArnEquals: { 'aws:SourceArn': this.rule.attrArn } },
      }),
    );
    Validations.of(this.deadLetters).acknowledge({ id: 'AwsSolutions-SQS3', reason: 'It is itself the dead-letter queue, of an EventBridge target.' });
    if (alarmTopic) this.alarms(alarmTopic, task);
  }

  /** The state machine that an upload starts; undefined if it starts the task alone. */
  get machine(): StateMachine | undefined {
    return this.started;
  }

  /** Whether that is another one than the minimal one. */
  get isReplaced(): boolean {
    return this.minimal === undefined;
  }

  /** Starts this one in place of the minimal one, which goes. */
  startInstead(machine: StateMachine): void {
    if (this.minimal) this.node.tryRemoveChild(this.minimal.node.id);
    this.minimal = undefined;
    this.started = machine;
  }

  private machineTarget(task: PrismaMigrateTask, paths: Readonly<Record<string, string>>): { arn: string; inputTransformer: CfnRule.InputTransformerProperty } {
    this.minimal = new MigrationStateMachine(this, 'StateMachine', { task, startOnUpload: false });
    this.started = this.minimal.stateMachine;
    const arn = Lazy.string({ produce: () => this.started!.stateMachineArn });
    this.role.addToPolicy(new PolicyStatement({ actions: ['states:StartExecution'], resources: [arn] }));
    const template = Object.fromEntries(Object.keys(paths).map((name) => [name, `<${name}>`]));
    return { arn, inputTransformer: { inputPathsMap: paths, inputTemplate: unquoted(template) } };
  }

  private taskTarget(task: PrismaMigrateTask, paths: Readonly<Record<string, string>>): Omit<CfnRule.TargetProperty, 'id'> {
    task.allowRun(this.role);
    const names: Record<string, string> = { etag: 'PRISMA_ARTIFACT_ETAG', event: 'EVENT_ID', version: 'PRISMA_ARTIFACT_VERSION_ID' };
    const environment = Object.keys(paths).map((name) => ({ name: names[name], value: `<${name}>` }));
    return {
      arn: task.cluster.clusterArn,
      ecsParameters: {
        taskDefinitionArn: task.taskDefinition.taskDefinitionArn,
        taskCount: 1,
        launchType: 'FARGATE',
        networkConfiguration: {
          awsVpcConfiguration: {
            subnets: task.subnetIds,
            securityGroups: [task.securityGroup.securityGroupId],
            assignPublicIp: task.assignPublicIp ? 'ENABLED' : 'DISABLED',
          },
        },
      },
      inputTransformer: { inputPathsMap: paths, inputTemplate: unquoted({ containerOverrides: [{ name: CONTAINER_NAME, environment }] }) },
    };
  }

  private alarms(topic: ITopic, task: PrismaMigrateTask): void {
    const period = Duration.minutes(1);
    const failed = { namespace: 'AWS/Events', metricName: 'FailedInvocations', dimensionsMap: { RuleName: this.rule.ref }, statistic: 'Sum', period };
    alarmOn(this, 'FailedInvocationsAlarm', topic, 'An upload of prisma.zip could not start its migrations', new Metric(failed));
    const queued = this.deadLetters.metricApproximateNumberOfMessagesVisible({ statistic: 'Maximum', period });
    alarmOn(this, 'DeadLettersAlarm', topic, 'The event of an upload was given up: look into the dead-letter queue, then start the task by hand', queued);
    if (!this.started) return;
    // An execution that fails has told by itself. One that is stopped or times out cannot.
    const what = `The migrations that an upload of ${task.artifact.key} started were aborted`;
    const message = RuleTargetInput.fromObject({
      what,
      execution: EventField.fromPath('$.detail.executionArn'),
      status: EventField.fromPath('$.detail.status'),
    });
    const target = new SnsTopic(topic, { message, deadLetterQueue: this.deadLetters });
    const machine = Lazy.string({ produce: () => this.started!.stateMachineArn });
    new Rule(this, 'Aborted', {
      description: what,
      eventPattern: {
        source: ['aws.states'],
        detailType: ['Step Functions Execution Status Change'],
        detail: { stateMachineArn: [machine], status: ['TIMED_OUT', 'ABORTED'] },
      },
    }).addTarget({ bind: (rule) => ({ ...target.bind(rule), targetResource: undefined }) });
  }
}

/** EventBridge puts the quotes around what it inserts, and escapes it. */
const unquoted = (template: object) => JSON.stringify(template).replace(/"<(\w+)>"/g, '<$1>');
