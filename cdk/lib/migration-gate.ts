import { readFileSync } from 'node:fs';
import { CfnWaitCondition, CfnWaitConditionHandle, CustomResource, Duration, Names, Stack, Token } from 'aws-cdk-lib';
import { CfnRule } from 'aws-cdk-lib/aws-events';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { CfnPermission, Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct, type IDependable } from 'constructs';
import { acknowledgeWildcard } from './acknowledge.js';
import { AGAIN_EXIT_CODES, CONTAINER_NAME, GATE_GROUP, GATE_SUCCESS_CODES } from './contract.js';
import { DEPLOYMENT_ID_CHOICES, resolveDeploymentId, type RiffRaffDeployment } from './deployment-id.js';
import { seconds as secondsOf } from './duration.js';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';
import { refuseElsewhere } from './elsewhere.js';
import { Refusal } from './refusal.js';

export interface MigrationGateProps {
  /** The task that migrates. */
  readonly task: PrismaMigrateTask;
  /**
   * What changes with each deploy, and so makes CloudFormation ask the gate: a string such as the commit or the build number, `fromRiffRaff()`, or
   * `atEachSynth()`. With a `timeout` above one hour it must be known when the app is synthesized.
   */
  readonly deploymentId: string | RiffRaffDeployment;
  /**
   * What becomes of the very first deploy if no prisma.zip was uploaded yet, as when one stack creates the bucket and the gate. `passOnCreate` lets the
   * creation of the gate pass if S3 lists no object of that key. Everything else fails as ever: a list that S3 refuses, a damaged archive, a database
   * that cannot be reached, and any missing artifact when the stack is updated.
   * @default 'fail'
   */
  readonly whenMissing?: 'fail' | 'passOnCreate';
  /**
   * How often the task is started again if it never ran, or ended with an exit code that means "start again" (30, 31, 60). All of it within `timeout`.
   * @default 3
   */
  readonly retries?: number;
  /**
   * The version of prisma.zip that is to be applied, such as a parameter that the pipeline fills in. A change of it runs the gate too.
   * @default - the newest
   */
  readonly artifactVersionId?: string;
  /**
   * How long the migrations may take, ten minutes to twelve hours. The task stops by itself five minutes sooner and rolls back what it is at.
   * Above one hour CloudFormation waits by a wait condition in place of the custom resource.
   * @default Duration.hours(1)
   */
  readonly timeout?: Duration;
  /**
   * Another verb than `deploy`, such as `['deploy', '--strict']`.
   * @default - the program's own: deploy
   */
  readonly command?: string[];
}

const HOUR = 3600;
/** A task needs a minute to be placed and two to stop. */
const SPARE = 300;

/**
 * Lets a CloudFormation deploy wait for its migrations, and fail with their reason. What must not be deployed before them depends on the gate:
 * `service.node.addDependency(gate)`.
 *
 * On Delete, and while the stack rolls back, nothing is migrated, and a task of the gate that still runs is stopped: it rolls back what it is at.
 *
 * A task that an upload starts is not needed beside a gate: unless `startOnUpload` is given, the gate switches it off.
 */
export class MigrationGate extends Construct {
  /** The code of the function, as it stands in the template. */
  static readonly starterCode = readFileSync(new URL('./gate-starter.cjs', import.meta.url), 'utf8')
    .replace('SUCCESS_CODES', JSON.stringify(GATE_SUCCESS_CODES))
    .replace('AGAIN_CODES', JSON.stringify(AGAIN_EXIT_CODES))
    .replaceAll(/\bCONTAINER\b/g, JSON.stringify(CONTAINER_NAME))
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('//'))
    .join('\n');

  readonly starter: LambdaFunction;
  /** What CloudFormation has to wait for. */
  readonly passed: IDependable;

  constructor(scope: Construct, id: string, props: MigrationGateProps) {
    super(scope, id);
    const { task, command } = props;
    const stack = Stack.of(this);
    const seconds = (props.timeout ?? Duration.hours(1)).toSeconds();
    const waits = seconds > HOUR;
    this.check(props, seconds, waits);
    refuseElsewhere(this, 'task', task, ['account', 'region'], 'a gate starts its task in its own account and region.');
    const deploymentId = resolveDeploymentId(stack, props.deploymentId);
    task.gateRunsIt();

    const startedBy = Names.uniqueResourceName(this, { maxLength: 36, separator: '-' });
    const request = stack.toJsonString(this.request(task, startedBy));
    this.starter = this.makeStarter(task, request, props.whenMissing === 'passOnCreate');
    const rule = this.answerForTheSilent(task, startedBy);

    const variables: Record<string, string> = { CFN_RETRIES: String(props.retries ?? 3), MAX_DURATION: `${this.longest(task, seconds)}s` };
    if (props.artifactVersionId !== undefined) variables.PRISMA_ARTIFACT_VERSION_ID = props.artifactVersionId;
    const logicalSuffix = deploymentId.replace(/[^A-Za-z0-9]/g, '');
    const handle = waits ? new CfnWaitConditionHandle(this, `Handle${logicalSuffix}`) : undefined;
    const gate = new CustomResource(this, 'Gate', {
      serviceToken: this.starter.functionArn,
      resourceType: 'Custom::PrismaMigrations',
      serviceTimeout: Duration.seconds(waits ? 600 : seconds),
      properties: {
        DeploymentId: deploymentId,
        Command: command,
        Variables: stack.toJsonString(variables),
        SignalUrl: handle?.ref,
        WhenMissing: props.whenMissing,
        Bucket: task.artifact.bucket.bucketName,
        Key: task.artifact.key,
        // The function has it too. Here it makes CloudFormation ask the gate if the task has changed.
        Task: request,
      },
    });
    // The task's rights, its way to the database and the rule that answers for it must be there before it starts.
    gate.node.addDependency(task, this.starter, this.starter.role!, rule);
    this.passed = gate;
    if (handle) {
      const condition = new CfnWaitCondition(this, `Wait${logicalSuffix}`, { handle: handle.ref, timeout: String(seconds), count: 1 });
      condition.node.addDependency(gate);
      this.passed = condition;
    }
  }

  private refuse(sentence: string): never {
    throw new Refusal(this.node.path, sentence);
  }

  /** What RunTask takes, without what each run says of itself. */
  private request(task: PrismaMigrateTask, startedBy: string): object {
    return {
      cluster: task.cluster.clusterArn,
      taskDefinition: task.definitionFor(this),
      launchType: 'FARGATE',
      group: GATE_GROUP,
      startedBy,
      networkConfiguration: {
        awsvpcConfiguration: {
          subnets: task.subnetIds,
          securityGroups: [task.securityGroup.securityGroupId],
          assignPublicIp: task.assignPublicIp ? 'ENABLED' : 'DISABLED',
        },
      },
    };
  }

  /** How long a run may take, in seconds: what the task is set to, and no longer than the gate waits. */
  private longest(task: PrismaMigrateTask, waits: number): number {
    const own = task.settings.MAX_DURATION;
    if (own === undefined) return waits - SPARE;
    const set = secondsOf(own) ?? this.refuse(`the task's MAX_DURATION "${own}" is no duration such as 90s, 20m or 1h 30m.`);
    return Math.min(set, waits - SPARE);
  }

  private check(props: MigrationGateProps, seconds: number, waits: boolean): void {
    const { deploymentId, command, artifactVersionId, task, whenMissing, retries } = props;
    const isText = typeof deploymentId === 'string';
    if (deploymentId === undefined || deploymentId === '') this.refuse(DEPLOYMENT_ID_CHOICES);
    if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0 && retries <= 10)) {
      this.refuse(`retries is ${retries}: give a whole number from 0 to 10.`);
    }
    if (whenMissing === 'passOnCreate' && artifactVersionId !== undefined) {
      this.refuse('artifactVersionId names a version that must be there, and whenMissing says what happens if there is none: take one of the two.');
    }
    if (seconds < 600 || seconds > 12 * HOUR) {
      this.refuse(`timeout is ${seconds} s: CloudFormation waits for twelve hours at most, and under ten minutes a task has hardly begun.`);
    }
    if (waits && (!isText || Token.isUnresolved(deploymentId) || !/[A-Za-z0-9]/.test(deploymentId))) {
      this.refuse(
        'a timeout above one hour needs a wait condition, which is another one at each deploy: give deploymentId as a text that is known when the app is synthesized, such as the build number.',
      );
    }
    if (command?.[0] !== undefined && !['deploy', 'plan', 'status', 'drift'].includes(command[0])) {
      this.refuse(`command begins with "${command[0]}": a gate takes deploy, plan, status and drift, what is done by hand is done by RunTask.`);
    }
    if (command?.length === 0) this.refuse('command is empty: leave it out for deploy.');
    if (artifactVersionId !== undefined && !task.artifact.versioned) {
      this.refuse('artifactVersionId names a version, and the task was told of an unversioned bucket: set artifact.versioned.');
    }
  }

  private makeStarter(task: PrismaMigrateTask, request: string, lists: boolean): LambdaFunction {
    const logGroup = new LogGroup(this, 'StarterLog', { retention: RetentionDays.THREE_MONTHS });
    const role = new Role(this, 'StarterRole', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    task.allowRun(role);
    role.addToPolicy(
      new PolicyStatement({
        actions: ['ecs:DescribeTasks', 'ecs:StopTask'],
        resources: [task.taskArns],
        conditions: { ArnEquals: { 'ecs:cluster': task.cluster.clusterArn } },
      }),
    );
    // It lists by cluster and knows no other resource.
    const listing = new PolicyStatement({ actions: ['ecs:ListTasks'], resources: ['*'], conditions: { ArnEquals: { 'ecs:cluster': task.cluster.clusterArn } } });
    role.addToPolicy(listing);
    acknowledgeWildcard(role, '*', 'ecs:ListTasks knows no resource but container instances. This one cluster alone, by its condition.');
    if (lists) {
      const { bucket, key } = task.artifact;
      const onlyKey = { StringEquals: { 's3:prefix': key } };
      role.addToPolicy(new PolicyStatement({ actions: ['s3:ListBucket'], resources: [bucket.bucketArn], conditions: onlyKey }));
    }
    acknowledgeWildcard(role, task.taskArns, 'The id of a task is made when it is started. This one cluster alone.');
    role.addToPolicy(new PolicyStatement({ actions: ['cloudformation:DescribeStacks'], resources: [Stack.of(this).stackId] }));
    role.addToPolicy(new PolicyStatement({ actions: ['logs:CreateLogStream', 'logs:PutLogEvents'], resources: [logGroup.logGroupArn] }));
    return new LambdaFunction(this, 'Starter', {
      description: 'Starts the migrations that a stack waits for, and answers for a task that could not',
      runtime: Runtime.NODEJS_24_X,
      handler: 'index.handler',
      code: Code.fromInline(MigrationGate.starterCode),
      // It asks ECS for capacity again and again, for two minutes and a half.
      timeout: Duration.minutes(5),
      memorySize: 256,
      environment: { TASK: request, STACK: Stack.of(this).stackId },
      role,
      logGroup,
    });
  }

  /** A task whose image cannot be pulled, or that is killed, says nothing: the same function says it then. */
  private answerForTheSilent(task: PrismaMigrateTask, startedBy: string): CfnRule {
    const rule = new CfnRule(this, 'Stopped', {
      description: `A task of ${task.family} that a stack waits for has stopped`,
      eventPattern: {
        source: ['aws.ecs'],
        'detail-type': ['ECS Task State Change'],
        detail: { clusterArn: [task.cluster.clusterArn], lastStatus: ['STOPPED'], startedBy: [startedBy] },
      },
      targets: [{ id: 'starter', arn: this.starter.functionArn }],
    });
    new CfnPermission(this, 'StoppedPermission', {
      action: 'lambda:InvokeFunction',
      functionName: this.starter.functionArn,
      principal: 'events.amazonaws.com',
      sourceArn: rule.attrArn,
    });
    return rule;
  }
}
