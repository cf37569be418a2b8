import { CfnOutput, Duration, Lazy, Names, RemovalPolicy, Size, Stack, Validations } from 'aws-cdk-lib';
import { Connections, type ISecurityGroup, type IVpc, Peer, Port, SecurityGroup, type SelectedSubnets, type SubnetSelection } from 'aws-cdk-lib/aws-ec2';
import {
  AwsLogDriverMode, Capability, Cluster, type ContainerDefinition, ContainerInsights, type CpuArchitecture, FargateTaskDefinition, type ICluster, LinuxParameters,
  LogDrivers, OperatingSystemFamily,
} from 'aws-cdk-lib/aws-ecs';
import { Grant, type IGrantable, type IPrincipal, PolicyStatement, type Role } from 'aws-cdk-lib/aws-iam';
import { type ILogGroup, LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import { acknowledgeWildcard } from './acknowledge.js';
import { MigrateAlarms } from './alarms.js';
import { type MigrateArtifact, type ResolvedArtifact, resolveArtifact } from './artifact.js';
import { ClientRights, type RunRights } from './client-rights.js';
import { CONTAINER_NAME, IMAGE_USER, SETTINGS } from './contract.js';
import { databaseAccess, type MigrateDatabase } from './database.js';
import { refuseElsewhere } from './elsewhere.js';
import { addEndpoints, type EndpointService, isIsolated, missingEndpoints } from './endpoints.js';
import { containerImage, type MigrateImage } from './image.js';
import { Refusal } from './refusal.js';
import { UploadRule } from './upload-rule.js';

/** Where outcomes are kept as JSON documents: `s3://bucket/prefix/<key>/<version or etag>/<run id>.json`. */
export interface ReportPlace {
  /** The bucket. */
  readonly bucket: IBucket;
  /**
   * What the keys begin with, without a slash at either end.
   * @default 'reports'
   */
  readonly prefix?: string;
}

export interface PrismaMigrateTaskProps {
  /** The network that the database can be reached from. */
  readonly vpc: IVpc;
  /**
   * The subnets that the task runs in. It needs a way to S3, to the registry of the image, to CloudWatch Logs, and to Secrets Manager or SSM where
   * the login is there.
   * @default - the private subnets with a way out
   */
  readonly vpcSubnets?: SubnetSelection;
  /**
   * Whether the task gets a public address; without one nothing in a public subnet can pull an image.
   * @default false
   */
  readonly assignPublicIp?: boolean;
  /**
   * The cluster that the task runs in.
   * @default - a new one, of Fargate alone
   */
  readonly cluster?: ICluster;
  /** The image, by its digest. */
  readonly image: MigrateImage;
  /**
   * The processor that the image was built for. It has no default: a digest does not tell, and a task whose image is for another processor never starts. `make
   * image` builds for the machine that it runs on.
   */
  readonly architecture: CpuArchitecture;
  /**
   * CPU units.
   * @default 256 - Fargate's least: the work is done by the database
   */
  readonly cpu?: number;
  /**
   * MiB of memory.
   * @default 512 - Fargate's least: the program is content with 64
   */
  readonly memoryLimitMiB?: number;
  /** The database, and how to log in. */
  readonly database: MigrateDatabase;
  /** Where prisma.zip lies. */
  readonly artifact: MigrateArtifact;
  /**
   * What an upload of the artifact starts. `true` is a state machine: it runs the task, starts it again within a bound if it never ran or ended with an exit
   * code that means "start again", and tells `alarmTopic`. A MigrationStateMachine in the same stack takes its place. `'task'` is the task alone, which
   * nobody starts again.
   * @default true; false beside a MigrationGate, which runs the migrations at each deploy
   */
  readonly startOnUpload?: boolean | 'task';
  /**
   * What is otherwise given as flags, by the names of their variables: `{ LOCK_WAIT: '30m', FAIL_ON: 'drop' }`. It can be read in the task
   * definition, so nothing secret belongs here.
   * @default - the program's own defaults
   */
  readonly settings?: Readonly<Record<string, string>>;
  /**
   * How long the container has to stop after SIGTERM, 15 to 120 seconds. The program stops by itself ten seconds sooner.
   * @default Duration.seconds(120) - the most that Fargate grants
   */
  readonly stopTimeout?: Duration;
  /**
   * Where each run's outcome is kept, which `wait` reads.
   * @default - nowhere but in the log
   */
  readonly reports?: ReportPlace;
  /**
   * Who is told when a migration failed, could not be started, or an upload's event was lost. The topic of another stack must let EventBridge and
   * CloudWatch publish to it.
   * @default - nobody
   */
  readonly alarmTopic?: ITopic;
  /**
   * Where the log goes.
   * @default - a new group, kept for `logRetention`
   */
  readonly logGroup?: ILogGroup;
  /**
   * How long the new log group keeps what it holds.
   * @default RetentionDays.ONE_YEAR
   */
  readonly logRetention?: RetentionDays;
  /**
   * The name of the family of task definitions.
   * @default - made from the construct's path
   */
  readonly family?: string;
  /**
   * The task's security group, where one exists already.
   * @default - a new one, which leads to the database and by HTTPS to AWS, and nowhere else
   */
  readonly securityGroup?: ISecurityGroup;
  /**
   * What the names of the stack's outputs begin with: `MigrateCluster`, `MigrateTaskDefinition`, …, where `run` and `wait` look.
   * @default 'Migrate'
   */
  readonly outputPrefix?: string;
}

/**
 * Applies Prisma migrations to PostgreSQL as a one-shot Fargate task, at each upload of prisma.zip.
 *
 * Whoever may call ecs:RunTask on this task definition may run any SQL as its database user, since the command can be overridden (`execute`). Grant
 * it by {@link grantRun} and to few; give the task a database user that can do no more than migrations need.
 */
export class PrismaMigrateTask extends Construct implements IGrantable {
  /** The account and region of its stack. */
  readonly env: { readonly account: string; readonly region: string };
  readonly cluster: ICluster;
  readonly taskDefinition: FargateTaskDefinition;
  readonly container: ContainerDefinition;
  readonly securityGroup: ISecurityGroup;
  readonly logGroup: ILogGroup;
  /** The name of the family, known when the app is synthesized. */
  readonly family: string;
  readonly subnetIds: string[];
  readonly assignPublicIp: boolean;
  readonly artifact: ResolvedArtifact;
  /**
   * Where each run's outcome is kept.
   * Undefined where that is nowhere but in the log.
   */
  readonly reports?: Required<ReportPlace>;
  /** The names by which RDS knows the database, where it is an instance or a cluster: what a snapshot is taken of. */
  readonly databaseNames: { readonly instance?: string; readonly cluster?: string };
  /** What was given as settings. */
  readonly settings: Readonly<Record<string, string>>;
  /** The topic that gets a message if something fails. */
  readonly alarmTopic?: ITopic;
  private readonly network: { readonly vpc: IVpc; readonly subnets: SelectedSubnets };
  /** What a task in isolated subnets needs an endpoint for. */
  private readonly endpoints: EndpointService[];
  private uploads?: UploadRule;
  /** The outputs that tell of it, by their ids in the stack. */
  private readonly uploadOutputs: string[] = [];
  private readonly startsByDefault: boolean;
  readonly grantPrincipal: IPrincipal;

  constructor(scope: Construct, id: string, props: PrismaMigrateTaskProps) {
    super(scope, id);
    const stack = Stack.of(this);
    this.env = { account: stack.account, region: stack.region };
    const subnets = props.vpc.selectSubnets(props.vpcSubnets);
    this.assignPublicIp = props.assignPublicIp ?? false;
    if (subnets.hasPublic && !this.assignPublicIp) {
      this.refuse('vpcSubnets are public, and a task without a public address cannot pull its image there: take private subnets, or set assignPublicIp.');
    }
    const stopTimeout = props.stopTimeout ?? Duration.seconds(120);
    if (stopTimeout.toSeconds() < 15 || stopTimeout.toSeconds() > 120) {
      this.refuse(`stopTimeout is ${stopTimeout.toSeconds()} s: Fargate grants at most 120, and under 15 a statement is hardly cancelled in time.`);
    }
    if (props.logGroup !== undefined && props.logRetention !== undefined) {
      this.refuse('logRetention is that of a new log group, and logGroup is given: take one of the two.');
    }
    this.checkPlaces(props);
    if (props.architecture === undefined) {
      this.refuse('architecture is not given: say which processor the image was built for, CpuArchitecture.ARM64 or X86_64 (`docker image inspect` tells).');
    }
    this.settings = props.settings ?? {};
    this.checkSettings(this.settings);

    this.subnetIds = subnets.subnetIds;
    this.network = { vpc: props.vpc, subnets };
    this.cluster = props.cluster ?? this.newCluster(props.vpc);
    this.logGroup =
      props.logGroup ??
      new LogGroup(this, 'Log', { retention: props.logRetention ?? RetentionDays.ONE_YEAR, removalPolicy: RemovalPolicy.RETAIN });
    this.securityGroup = props.securityGroup ?? this.newSecurityGroup(props.vpc);

    const database = databaseAccess(this, this.node.path, props.database);
    this.artifact = resolveArtifact(this, this.node.path, props.artifact);
    this.reports = props.reports && { bucket: props.reports.bucket, prefix: props.reports.prefix ?? 'reports' };
    this.databaseNames = { instance: props.database.instance?.instanceIdentifier, cluster: props.database.cluster?.clusterIdentifier };
    database.connect(new Connections({ securityGroups: [this.securityGroup] }));

    this.family = props.family ?? Names.uniqueResourceName(this, { maxLength: 100, separator: '-' });
    this.taskDefinition = new FargateTaskDefinition(this, 'Definition', {
      family: this.family,
      cpu: props.cpu ?? 256,
      memoryLimitMiB: props.memoryLimitMiB ?? 512,
      runtimePlatform: {
        cpuArchitecture: props.architecture,
        operatingSystemFamily: OperatingSystemFamily.LINUX,
      },
    });
    this.grantPrincipal = this.taskDefinition.taskRole.grantPrincipal;
    const linuxParameters = new LinuxParameters(this, 'Linux');
    linuxParameters.dropCapabilities(Capability.ALL);
    this.container = this.taskDefinition.addContainer(CONTAINER_NAME, {
      image: containerImage(this.node.path, props.image),
      essential: true,
      user: IMAGE_USER,
      readonlyRootFilesystem: true,
      linuxParameters,
      stopTimeout,
      environment: {
        ARTIFACT_BUCKET: this.artifact.bucket.bucketName,
        PRISMA_ARTIFACT_KEY: this.artifact.key,
        ...database.environment,
        ...this.allowReports(),
        STOP_WITHIN: `${stopTimeout.toSeconds() - 10}s`,
        ...this.settings,
      },
      secrets: database.secrets,
      logging: LogDrivers.awsLogs({
        logGroup: this.logGroup,
        streamPrefix: CONTAINER_NAME,
        // A migration that holds locks must not stand still because CloudWatch Logs cannot be reached.
        mode: AwsLogDriverMode.NON_BLOCKING,
        maxBufferSize: Size.mebibytes(25),
      }),
    });
    this.allowAgent();
    this.endpoints = this.neededEndpoints(props, database.environment, Object.keys(database.secrets).length > 0);
    this.node.addValidation({ validate: () => this.unreachable(props.image) });
    for (const statement of [...this.artifact.statements, ...database.statements]) {
      this.taskDefinition.addToTaskRolePolicy(statement);
    }

    this.startsByDefault = props.startOnUpload === undefined;
    this.alarmTopic = props.alarmTopic;
    const { startOnUpload = true } = props;
    if (startOnUpload) {
      this.uploads = new UploadRule(this, 'Upload', { task: this, start: startOnUpload === 'task' ? 'task' : 'stateMachine', alarmTopic: props.alarmTopic });
    }
    if (props.alarmTopic) new MigrateAlarms(this, 'Alarms', { task: this, topic: props.alarmTopic });
    this.outputs(stack, props.outputPrefix ?? 'Migrate');
    this.acknowledge();
  }

  /**
   * The rule on the upload, and its dead letters.
   * Undefined with `startOnUpload: false`, and beside a gate.
   */
  get uploadRule(): UploadRule | undefined {
    return this.uploads;
  }

  /** A gate runs the migrations at each deploy: an upload starts nothing then, unless `startOnUpload` asks for it. */
  gateRunsIt(): void {
    if (!this.startsByDefault || !this.uploads) return;
    this.node.tryRemoveChild(this.uploads.node.id);
    for (const id of this.uploadOutputs) Stack.of(this).node.tryRemoveChild(id);
    this.uploads = undefined;
  }

  /** `arn:…:task-definition/family:*`: a deploy that makes a new revision while an upload arrives must not be without rights in between. */
  get familyArn(): string {
    return Stack.of(this).formatArn({ service: 'ecs', resource: 'task-definition', resourceName: `${this.family}:*` });
  }

  /**
   * How `scope` names the task definition: by its revision; from another stack by its family, which is its newest revision, since CloudFormation changes
   * no exported value that another stack holds.
   */
  definitionFor(scope: Construct): string {
    return Stack.of(scope) === Stack.of(this) ? this.taskDefinition.taskDefinitionArn : this.family;
  }

  /** `arn:…:task/cluster/*`. */
  get taskArns(): string {
    return Stack.of(this).formatArn({ service: 'ecs', resource: 'task', resourceName: `${this.cluster.clusterName}/*` });
  }

  /** RunTask on this family in this cluster, and PassRole of its two roles to ECS alone. */
  runStatements(): PolicyStatement[] {
    return [
      new PolicyStatement({
        actions: ['ecs:RunTask'],
        resources: [this.familyArn],
        conditions: { ArnEquals: { 'ecs:cluster': this.cluster.clusterArn } },
      }),
      new PolicyStatement({
        actions: ['iam:PassRole'],
        resources: [this.taskDefinition.taskRole.roleArn, this.taskDefinition.obtainExecutionRole().roleArn],
        conditions: { StringEquals: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } },
      }),
    ];
  }

  /**
   * Lets somebody start the task, follow it, stop it and read its log: what `run` calls. It lets them run any SQL as the task's database user. With
   * `snapshotBefore` it lets them take a snapshot of the database too.
   */
  grantRun(grantee: IGrantable, rights: RunRights = {}): Grant {
    return new ClientRights(this, grantee).run(rights);
  }

  /** Lets somebody wait for what an upload started: what `wait` calls. It lets them start nothing. */
  grantWait(grantee: IGrantable): Grant {
    return new ClientRights(this, grantee).wait();
  }

  /** Lets somebody upload prisma.zip and wait for what that starts: what `upload` calls. It lets them apply any migration. */
  grantUpload(grantee: IGrantable): Grant {
    return new ClientRights(this, grantee).upload();
  }

  /** Lets a role start the task, and nothing else: RunTask on this family in this cluster, PassRole of its two roles to ECS alone. */
  allowRun(role: Role): void {
    for (const statement of this.runStatements()) role.addToPolicy(statement);
    const reason = 'Any revision of this one family in this one cluster: a deploy makes a new revision while an upload may be under way.';
    acknowledgeWildcard(role, this.familyArn, reason);
  }

  private refuse(sentence: string): never {
    throw new Refusal(this.node.path, sentence);
  }

  /** What AWS can use from this stack's account and region alone. */
  private checkPlaces({ vpc, cluster, securityGroup, logGroup, database, artifact, alarmTopic, startOnUpload = true }: PrismaMigrateTaskProps): void {
    refuseElsewhere(this, 'vpc', vpc, ['region'], 'a task runs in subnets of its own region.');
    refuseElsewhere(this, 'cluster', cluster, ['account', 'region'], 'ECS starts a task in its own account and region.');
    refuseElsewhere(this, 'securityGroup', securityGroup, ['region'], 'a task takes security groups of its own region.');
    refuseElsewhere(this, 'logGroup', logGroup, ['account', 'region'], 'the awslogs driver writes into the account and region of the task.');
    for (const name of ['instance', 'cluster'] as const) {
      const why = 'security groups and the right to log in do not reach there. Give database.endpoint with its host and resourceId, and a peered network.';
      refuseElsewhere(this, `database.${name}`, database[name], ['account', 'region'], why);
    }
    refuseElsewhere(this, 'alarmTopic', alarmTopic, ['region'], 'EventBridge and CloudWatch publish to topics of their own region.');
    if (startOnUpload === false) return;
    const why = 'S3 tells EventBridge of an upload in the bucket\'s own account and region. Set startOnUpload to false, or forward the events and start the task there.';
    refuseElsewhere(this, 'artifact.bucket', artifact.bucket, ['account', 'region'], why);
  }

  private checkSettings(settings: Readonly<Record<string, string>>): void {
    const managed: Record<string, string> = { STOP_WITHIN: 'stopTimeout', REPORT: 'reports', REPORT_PREFIX: 'reports', ROLE: 'database.databaseRole' };
    for (const [name, value] of Object.entries(settings)) {
      if (managed[name]) this.refuse(`settings.${name} is made from ${managed[name]}: set that.`);
      if (!SETTINGS.includes(name)) this.refuse(`settings.${name} stands for no flag of deploy; there are ${SETTINGS.join(', ')}.`);
      if (value === '') this.refuse(`settings.${name} is empty, which counts as unset: leave it out.`);
    }
  }

  private newCluster(vpc: IVpc): ICluster {
    return new Cluster(this, 'Cluster', { vpc, containerInsightsV2: ContainerInsights.ENABLED });
  }

  private newSecurityGroup(vpc: IVpc): SecurityGroup {
    const group = new SecurityGroup(this, 'SecurityGroup', { vpc, allowAllOutbound: false, description: 'Prisma migrations: to the database and to AWS' });
    // In a dual-stack VPC the SDK and ECS may take IPv6.
    for (const peer of [Peer.anyIpv4(), Peer.anyIpv6()]) group.addEgressRule(peer, Port.tcp(443), 'S3, the registry, logs and secrets');
    return group;
  }

  /** A report for each run, the rows of `execute --output`, and SQL that `run` hands over in S3. */
  private allowReports(): Record<string, string> {
    if (!this.reports) return {};
    const { bucket, prefix } = this.reports;
    if (prefix === '' || /^\/|\/$|[*?]/.test(prefix)) {
      this.refuse(`reports.prefix "${prefix}" is no folder: give it without a slash at either end and without * and ?.`);
    }
    const allow = (actions: string[], resource: string, reason: string) => {
      this.taskDefinition.addToTaskRolePolicy(new PolicyStatement({ actions, resources: [resource] }));
      acknowledgeWildcard(this.taskDefinition, resource, reason);
    };
    // Rows are sent in parts, and taken back where the run fails.
    allow(['s3:PutObject', 's3:AbortMultipartUpload'], bucket.arnForObjects(`${prefix}/*`), 'Each run writes a report of its own below one prefix.');
    allow(['s3:GetObject'], bucket.arnForObjects(`${prefix}/sql/*`), 'Each run reads SQL of its own below one prefix.');
    if (bucket.encryptionKey) {
      this.taskDefinition.addToTaskRolePolicy(
        new PolicyStatement({
          actions: ['kms:GenerateDataKey', 'kms:Decrypt'],
          resources: [bucket.encryptionKey.keyArn],
          conditions: { StringEquals: { 'kms:ViaService': `s3.${bucket.env.region}.amazonaws.com` } },
        }),
      );
    }
    return { REPORT_PREFIX: this.reportsUrl(this.reports) };
  }

  /**
   * GuardDuty's runtime monitoring puts an agent beside each task of an account, whose image the task's execution role must be able to pull. If it cannot, the
   * whole task fails. Source: https://docs.aws.amazon.com/guardduty/latest/ug/prereq-runtime-monitoring-ecs-support.html; guardian/cdk#2703.
   */
  private allowAgent(): void {
    const role = this.taskDefinition.obtainExecutionRole();
    const { partition, region } = Stack.of(this);
    // The account is Amazon's, another one in each region.
    const agent = `arn:${partition}:ecr:${region}:*:repository/aws-guardduty-agent-fargate`;
    role.addToPrincipalPolicy(new PolicyStatement({ actions: ['ecr:GetAuthorizationToken'], resources: ['*'] }));
    const pull = ['ecr:BatchCheckLayerAvailability', 'ecr:GetDownloadUrlForLayer', 'ecr:BatchGetImage'];
    role.addToPrincipalPolicy(new PolicyStatement({ actions: pull, resources: [agent] }));
    acknowledgeWildcard(role, agent, 'The image of GuardDuty\'s agent, in an account of Amazon\'s that differs by region.');
  }

  /** Adds to the VPC the endpoints that the task needs in isolated subnets, and that the VPC does not have. */
  addVpcEndpoints(): void {
    const { vpc, subnets } = this.network;
    addEndpoints(vpc, missingEndpoints(this, vpc, this.endpoints), subnets);
  }

  private neededEndpoints({ image, database }: PrismaMigrateTaskProps, environment: Readonly<Record<string, string>>, injects: boolean): EndpointService[] {
    const needed: EndpointService[] = ['s3', 'logs'];
    if ('repository' in image) needed.push('ecr.api', 'ecr.dkr');
    const ofSecret = database.ca !== undefined && 'secretArn' in database.ca;
    if (environment.DB_SECRET_ARN !== undefined || ofSecret) needed.push('secretsmanager');
    if (injects && (database.login?.password !== undefined || !ofSecret)) needed.push('ssm');
    return needed;
  }

  /** Said when the app is synthesized, since endpoints may be added after the task. */
  private unreachable(image: MigrateImage): string[] {
    const { vpc, subnets } = this.network;
    if (!isIsolated(vpc, subnets)) return [];
    if (!('repository' in image)) {
      return [`${this.node.path}: the subnets are isolated, and image.reference is in a registry that no endpoint leads to: copy it to ECR and give image.repository.`];
    }
    const missing = missingEndpoints(this, vpc, this.endpoints);
    if (missing.length === 0) return [];
    return [
      `${this.node.path}: the subnets are isolated, and the VPC has no endpoint for ${missing.join(', ')}: the task could not start. Call addVpcEndpoints() of the task, ` +
        'add them yourself, or give vpcSubnets with a way out.',
    ];
  }

  private outputs(stack: Stack, prefix: string): void {
    if (!/^[A-Za-z][A-Za-z0-9]*$/.test(prefix)) this.refuse(`outputPrefix "${prefix}" takes letters and digits, a letter first.`);
    const values: Record<string, string> = {
      Cluster: this.cluster.clusterArn,
      // The revision: the newest of a family may be of another stage that shares it.
      TaskDefinition: this.taskDefinition.taskDefinitionArn,
      Container: CONTAINER_NAME,
      Subnets: this.subnetIds.join(','),
      SecurityGroups: this.securityGroup.securityGroupId,
      AssignPublicIp: this.assignPublicIp ? 'ENABLED' : 'DISABLED',
      LogGroup: this.logGroup.logGroupName,
      Artifact: `s3://${this.artifact.bucket.bucketName}/${this.artifact.key}`,
    };
    if (this.reports) values.Reports = this.reportsUrl(this.reports);
    if (this.uploads) {
      const { rule, deadLetters, machine } = this.uploads;
      const ofUploads: Record<string, string> = { Rule: rule.ref, DeadLetters: deadLetters.queueUrl };
      if (machine) ofUploads.StateMachine = Lazy.string({ produce: () => this.uploads?.machine?.stateMachineArn });
      Object.assign(values, ofUploads);
      this.uploadOutputs.push(...Object.keys(ofUploads).map((name) => `${prefix}${name}`));
    }
    if (this.databaseNames.instance !== undefined) values.DatabaseInstance = this.databaseNames.instance;
    if (this.databaseNames.cluster !== undefined) values.DatabaseCluster = this.databaseNames.cluster;
    for (const [name, value] of Object.entries(values)) {
      if (stack.node.tryFindChild(`${prefix}${name}`)) {
        this.refuse(`the stack has an output ${prefix}${name} already: give one of its two tasks another outputPrefix.`);
      }
      new CfnOutput(stack, `${prefix}${name}`, { value });
    }
  }

  private reportsUrl({ bucket, prefix }: Required<ReportPlace>): string {
    return `s3://${bucket.bucketName}/${prefix}`;
  }

  /** Why what cdk-nag finds is as it is. */
  private acknowledge(): void {
    Validations.of(this.taskDefinition).acknowledge(
      { id: 'AwsSolutions-ECS2', reason: 'The variables are names of places and limits. Passwords are fetched from Secrets Manager, or injected from SSM.' },
    );
    acknowledgeWildcard(this.taskDefinition.obtainExecutionRole(), '*', 'ecr:GetAuthorizationToken knows no resource.');
    if (this.securityGroup instanceof SecurityGroup) {
      Validations.of(this.securityGroup).acknowledge({ id: 'AwsSolutions-EC23', reason: 'It lets nobody in.' });
    }
  }
}
