import { readFileSync } from 'node:fs';
import { CfnParameter, CfnWaitCondition, CfnWaitConditionHandle, CustomResource, Duration, Names, Stack, Token } from 'aws-cdk-lib';
import { CfnRule } from 'aws-cdk-lib/aws-events';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { CfnPermission, Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct, type IDependable } from 'constructs';
import { acknowledgeWildcard } from './acknowledge.js';
import { CONTAINER_NAME, GATE_SUCCESS_CODES } from './contract.js';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';
import { refuseElsewhere } from './elsewhere.js';
import { Refusal } from './refusal.js';

export interface MigrationGateProps {
  /** The task that migrates. */
  readonly task: PrismaMigrateTask;
  /**
   * What changes with each deploy, and so makes CloudFormation ask the gate. With a `timeout` above one hour it must be known when the app is
   * synthesized.
   * @default - the parameter `RiffRaffDeploymentId`, which RiffRaff fills in
   */
  readonly deploymentId?: string;
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
 * On Delete, and while the stack rolls back, nothing is migrated.
 */
export class MigrationGate extends Construct {
  /** The code of the function, as it stands in the template. */
  static readonly starterCode = readFileSync(new URL('./gate-starter.cjs', import.meta.url), 'utf8')
    .replace('SUCCESS_CODES', JSON.stringify(GATE_SUCCESS_CODES))
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
    const deploymentId = props.deploymentId ?? this.riffRaffDeploymentId(stack);

    const startedBy = Names.uniqueResourceName(this, { maxLength: 36, separator: '-' });
    this.starter = this.makeStarter(task);
    const rule = this.answerForTheSilent(task, startedBy);

    const variables: Record<string, string> = {};
    if (props.artifactVersionId !== undefined) variables.PRISMA_ARTIFACT_VERSION_ID = props.artifactVersionId;
    if (task.settings.MAX_DURATION === undefined) variables.MAX_DURATION = `${seconds - SPARE}s`;
    const logicalSuffix = deploymentId.replace(/[^A-Za-z0-9]/g, '');
    const handle = waits ? new CfnWaitConditionHandle(this, `Handle${logicalSuffix}`) : undefined;
    const gate = new CustomResource(this, 'Gate', {
      serviceToken: this.starter.functionArn,
      resourceType: 'Custom::PrismaMigrations',
      serviceTimeout: Duration.seconds(waits ? 600 : seconds),
      properties: {
        DeploymentId: deploymentId,
        Container: CONTAINER_NAME,
        Command: command,
        Variables: stack.toJsonString(variables),
        SignalUrl: handle?.ref,
        Task: stack.toJsonString({
          cluster: task.cluster.clusterArn,
          taskDefinition: task.definitionFor(this),
          launchType: 'FARGATE',
          startedBy,
          networkConfiguration: {
            awsvpcConfiguration: {
              subnets: task.subnetIds,
              securityGroups: [task.securityGroup.securityGroupId],
              assignPublicIp: task.assignPublicIp ? 'ENABLED' : 'DISABLED',
            },
          },
        }),
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

  private check({ deploymentId, command, artifactVersionId, task }: MigrationGateProps, seconds: number, waits: boolean): void {
    if (seconds < 600 || seconds > 12 * HOUR) {
      this.refuse(`timeout is ${seconds} s: CloudFormation waits for twelve hours at most, and under ten minutes a task has hardly begun.`);
    }
    if (waits && (deploymentId === undefined || Token.isUnresolved(deploymentId) || !/[A-Za-z0-9]/.test(deploymentId))) {
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

  /** The parameter that RiffRaff fills in, which a stack has once. */
  private riffRaffDeploymentId(stack: Stack): string {
    const name = 'RiffRaffDeploymentId';
    const existing = stack.node.tryFindChild(name) as CfnParameter | undefined;
    return (existing ?? new CfnParameter(stack, name, { type: 'String', description: 'Filled in by RiffRaff: each deploy runs the migrations' })).valueAsString;
  }

  private makeStarter(task: PrismaMigrateTask): LambdaFunction {
    const logGroup = new LogGroup(this, 'StarterLog', { retention: RetentionDays.THREE_MONTHS });
    const role = new Role(this, 'StarterRole', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    task.allowRun(role);
    role.addToPolicy(
      new PolicyStatement({
        actions: ['ecs:DescribeTasks'],
        resources: [task.taskArns],
        conditions: { ArnEquals: { 'ecs:cluster': task.cluster.clusterArn } },
      }),
    );
    acknowledgeWildcard(role, task.taskArns, 'The id of a task is made when it is started. This one cluster alone.');
    role.addToPolicy(new PolicyStatement({ actions: ['cloudformation:DescribeStacks'], resources: [Stack.of(this).stackId] }));
    role.addToPolicy(new PolicyStatement({ actions: ['logs:CreateLogStream', 'logs:PutLogEvents'], resources: [logGroup.logGroupArn] }));
    return new LambdaFunction(this, 'Starter', {
      description: 'Starts the migrations that a stack waits for, and answers for a task that could not',
      runtime: Runtime.NODEJS_24_X,
      handler: 'index.handler',
      code: Code.fromInline(MigrationGate.starterCode),
      timeout: Duration.minutes(2),
      memorySize: 256,
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
