import { ArnFormat, Duration, Names, Stack } from 'aws-cdk-lib';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { IDatabaseCluster, IDatabaseInstance } from 'aws-cdk-lib/aws-rds';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { type CfnStateMachine, DefinitionBody, LogLevel, StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import { acknowledgeWildcard } from './acknowledge.js';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';
import { refuseElsewhere } from './elsewhere.js';
import { Refusal } from './refusal.js';
import { manyStates, oneStates, type Snapshot, TARGET_VARIABLES } from './states.js';

const COLON = ArnFormat.COLON_RESOURCE_NAME;

/** One database or tenant schema of many: the variables in which it differs from what the task says. */
export type MigrateTarget = Readonly<Partial<Record<(typeof TARGET_VARIABLES)[number], string>>>;

export interface MigrationStateMachineProps {
  /** The task that migrates. */
  readonly task: PrismaMigrateTask;
  /**
   * How long one run of the task may take. It is stopped then, as by SIGTERM.
   * @default Duration.hours(12)
   */
  readonly timeout?: Duration;
  /**
   * Takes a snapshot first when something is pending: of `instance` or of `cluster`.
   * @default - none
   */
  readonly snapshotBefore?: { readonly instance?: IDatabaseInstance; readonly cluster?: IDatabaseCluster };
  /**
   * Who is told when it fails.
   * @default - the task's `alarmTopic`; without one nobody, and the execution fails
   */
  readonly failureTopic?: ITopic;
  /**
   * Many databases or schemas, one task each: given here, or as a JSON array in S3 that is read at each execution. The task's role must be able to
   * log in to each of them.
   * @default - the one that the task says
   */
  readonly targets?: MigrateTarget[] | { readonly bucket: IBucket; readonly key: string };
  /**
   * How often a task is started again that never ran, or ended with an exit code that means "start again" (30, 31, 60).
   * @default 3
   */
  readonly retries?: number;
  /**
   * Whether an upload starts this state machine, in place of the minimal one that the task makes for its uploads. It is handed the version and the ETag,
   * so that check, snapshot, deploy and every target read the same object.
   * @default - true if an upload starts a state machine (`startOnUpload` of the task) that is in the same stack and none was put in its place yet
   */
  readonly startOnUpload?: boolean;
  /**
   * How many targets are migrated at a time.
   * @default 10
   */
  readonly concurrency?: number;
}

/**
 * The same task with Step Functions around it, which waits for hours, takes a snapshot before, starts again only what never started, and goes through
 * many databases.
 *
 * Its input may name an upload: `{ "version": "…", "etag": "…", "event": "…" }`, each of them or none, and then the newest is read. It succeeds when all is
 * applied, was up to date or was superseded by a newer upload.
 */
export class MigrationStateMachine extends Construct {
  readonly stateMachine: StateMachine;

  constructor(scope: Construct, id: string, props: MigrationStateMachineProps) {
    super(scope, id);
    const { task, targets, retries = 3 } = props;
    const failureTopic = props.failureTopic ?? task.alarmTopic;
    const timeout = (props.timeout ?? Duration.hours(12)).toSeconds();
    this.check(props);
    refuseElsewhere(this, 'task', task, ['account', 'region'], 'a state machine starts its task in its own account and region.');
    refuseElsewhere(this, 'failureTopic', failureTopic, ['region'], 'Step Functions publishes to topics of its own region.');
    for (const database of [props.snapshotBefore?.instance, props.snapshotBefore?.cluster]) {
      refuseElsewhere(this, 'snapshotBefore', database, ['account', 'region'], 'Step Functions takes snapshots in its own account and region.');
    }

    const role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('states.amazonaws.com') });
    this.allowTask(role, task);
    if (failureTopic) failureTopic.grantPublish(role);
    const snapshot = props.snapshotBefore && this.snapshot(role, props.snapshotBefore);

    const name = Names.uniqueResourceName(this, { maxLength: 80, separator: '-' });
    if (targets) this.allowMap(role, name, targets);
    const run = { task, definition: task.definitionFor(this), timeout, retries, topic: failureTopic };
    const definition = targets ? manyStates(run, targets, props.concurrency ?? 10) : oneStates(run, snapshot);

    const logs = new LogGroup(this, 'Log', { retention: RetentionDays.ONE_YEAR, logGroupName: `/aws/vendedlogs/states/${name}` });
    this.stateMachine = new StateMachine(this, 'StateMachine', {
      stateMachineName: name,
      definitionBody: DefinitionBody.fromString('{}'),
      role,
      logs: { destination: logs, level: LogLevel.ALL, includeExecutionData: true },
      tracingEnabled: true,
    });
    // As an object, which cfn-lint and people can read, in place of a text.
    const resource = this.stateMachine.node.defaultChild as CfnStateMachine;
    resource.definition = definition;
    resource.definitionString = undefined;
    acknowledgeWildcard(role, '*', 'X-Ray and the delivery of logs know no resource.');
    this.putBehindUploads(props);
  }

  /** Puts itself where an upload starts the minimal state machine. */
  private putBehindUploads({ task, startOnUpload }: MigrationStateMachineProps): void {
    const uploads = task.uploadRule;
    const can = uploads?.machine !== undefined && Stack.of(this) === Stack.of(task);
    if (startOnUpload === true && !can) {
      this.refuse('startOnUpload needs a task in the same stack whose own startOnUpload is true: an upload starts nothing that this could take the place of.');
    }
    if (startOnUpload === true && uploads!.isReplaced) this.refuse('another state machine is started by the upload already.');
    if (can && (startOnUpload ?? !uploads!.isReplaced)) uploads!.startInstead(this.stateMachine);
  }

  private refuse(sentence: string): never {
    throw new Refusal(this.node.path, sentence);
  }

  private check({ snapshotBefore, targets, concurrency, retries = 3, timeout }: MigrationStateMachineProps): void {
    if (!(Number.isInteger(retries) && retries >= 0 && retries <= 10)) this.refuse(`retries is ${retries}: give a whole number from 0 to 10.`);
    if (timeout && timeout.toSeconds() < 600) this.refuse(`timeout is ${timeout.toSeconds()} s: under ten minutes a task has hardly begun.`);
    if (snapshotBefore && (snapshotBefore.instance === undefined) === (snapshotBefore.cluster === undefined)) {
      this.refuse('snapshotBefore takes exactly one of instance and cluster.');
    }
    if (snapshotBefore && targets) {
      this.refuse('snapshotBefore is of one database, and targets are many: take the snapshots apart, or one state machine for each database.');
    }
    if (concurrency !== undefined && !targets) this.refuse('concurrency is that of targets, and there are none.');
    if (concurrency !== undefined && !(Number.isInteger(concurrency) && concurrency > 0)) {
      this.refuse(`concurrency is ${concurrency}: give a whole number of tasks, one at least.`);
    }
    if (!Array.isArray(targets)) return;
    if (targets.length === 0) this.refuse('targets is empty: leave it out for the one database that the task says.');
    for (const target of targets) {
      const unknown = Object.keys(target).filter((name) => !(TARGET_VARIABLES as readonly string[]).includes(name));
      if (unknown.length > 0) this.refuse(`a target holds ${unknown.join(', ')}: it takes ${TARGET_VARIABLES.join(', ')}.`);
    }
  }

  /** What runTask.sync takes. */
  private allowTask(role: Role, task: PrismaMigrateTask): void {
    task.allowRun(role);
    role.addToPolicy(new PolicyStatement({ actions: ['ecs:StopTask', 'ecs:DescribeTasks'], resources: [task.taskArns] }));
    acknowledgeWildcard(role, task.taskArns, 'The id of a task is made when it is started. This one cluster alone.');
    const rule = Stack.of(this).formatArn({ service: 'events', resource: 'rule', resourceName: 'StepFunctionsGetEventsForECSTaskRule' });
    role.addToPolicy(new PolicyStatement({ actions: ['events:PutTargets', 'events:PutRule', 'events:DescribeRule'], resources: [rule] }));
  }

  /** A Distributed Map runs its items as executions of the same state machine. */
  private allowMap(role: Role, name: string, targets: NonNullable<MigrationStateMachineProps['targets']>): void {
    const stack = Stack.of(this);
    const machine = stack.formatArn({ service: 'states', resource: 'stateMachine', resourceName: name, arnFormat: COLON });
    const executions = `${stack.formatArn({ service: 'states', resource: 'execution', resourceName: name, arnFormat: COLON })}:*`;
    role.addToPolicy(new PolicyStatement({ actions: ['states:StartExecution'], resources: [machine] }));
    role.addToPolicy(new PolicyStatement({ actions: ['states:DescribeExecution', 'states:StopExecution'], resources: [executions] }));
    acknowledgeWildcard(role, executions, 'Its own executions, whose names are made when they start.');
    if (!Array.isArray(targets)) role.addToPolicy(new PolicyStatement({ actions: ['s3:GetObject'], resources: [targets.bucket.arnForObjects(targets.key)] }));
  }

  private snapshot(role: Role, { instance, cluster }: NonNullable<MigrationStateMachineProps['snapshotBefore']>): Snapshot {
    const kind: Snapshot['kind'] = instance ? 'instance' : 'cluster';
    const id = instance ? instance.instanceIdentifier : cluster!.clusterIdentifier;
    const arn = (resource: string, resourceName: string) => Stack.of(this).formatArn({ service: 'rds', resource, resourceName, arnFormat: COLON });
    const database = arn(instance ? 'db' : 'cluster', id);
    const snapshots = arn(instance ? 'snapshot' : 'cluster-snapshot', 'migrate-*');
    const actions = instance ? ['rds:CreateDBSnapshot', 'rds:DescribeDBSnapshots'] : ['rds:CreateDBClusterSnapshot', 'rds:DescribeDBClusterSnapshots'];
    role.addToPolicy(new PolicyStatement({ actions, resources: [database, snapshots] }));
    acknowledgeWildcard(role, snapshots, 'Snapshots that this state machine has taken; each has a name of its own.');
    return { kind, id };
  }
}
