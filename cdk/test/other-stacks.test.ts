/**
 * Every prop that takes a resource, with the resource in another stack of the same app. CDK refuses a cycle between stacks when it synthesizes, so each case
 * is synthesized as a whole app. Nothing of the stack that owns the resource may depend on the task's stack.
 */
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { SecurityGroup, SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
import { Repository } from 'aws-cdk-lib/aws-ecr';
import { Cluster, CpuArchitecture } from 'aws-cdk-lib/aws-ecs';
import { AccountRootPrincipal, Role } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { AuroraPostgresEngineVersion, ClusterInstance, DatabaseCluster, DatabaseClusterEngine, DatabaseInstance, DatabaseInstanceEngine, PostgresEngineVersion } from 'aws-cdk-lib/aws-rds';
import { Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { StringParameter } from 'aws-cdk-lib/aws-ssm';
import { expect, test } from 'vitest';
import { MigrationGate, MigrationStateMachine, PrismaMigrateTask, type PrismaMigrateTaskProps } from '../lib/index.js';
import { DIGEST, IMAGE, KEY } from './newsroom.js';

interface Owned {
  readonly data: Stack;
  readonly vpc: Vpc;
  readonly app: Stack;
}

const instance = ({ data, vpc }: Owned, iamAuthentication = false) =>
  new DatabaseInstance(data, 'Database', {
    engine: DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17 }),
    vpc,
    databaseName: 'newsroom',
    iamAuthentication,
  });
const aurora = ({ data, vpc }: Owned) =>
  new DatabaseCluster(data, 'Aurora', {
    engine: DatabaseClusterEngine.auroraPostgres({ version: AuroraPostgresEngineVersion.VER_16_6 }),
    writer: ClusterInstance.serverlessV2('writer'),
    vpc,
    defaultDatabaseName: 'newsroom',
  });

const cases: [string, (owned: Owned) => Partial<PrismaMigrateTaskProps>][] = [
  ['an instance', (owned) => ({ database: { instance: instance(owned) } })],
  ['an instance with IAM', (owned) => ({ database: { instance: instance(owned, true), login: { iamUser: 'migrator' } } })],
  ['a cluster', (owned) => ({ database: { cluster: aurora(owned) } })],
  ['a cluster with IAM', (owned) => ({ database: { cluster: aurora(owned), login: { iamUser: 'migrator' } } })],
  [
    'an endpoint with its security group',
    ({ data, vpc }) => ({
      database: {
        endpoint: { host: 'db.example', securityGroup: new SecurityGroup(data, 'Group', { vpc }) },
        name: 'newsroom',
        login: { secret: new Secret(data, 'Login', { encryptionKey: new Key(data, 'LoginKey') }) },
      },
    }),
  ],
  [
    'a password',
    (owned) => ({
      database: {
        instance: instance(owned),
        login: { user: 'migrator', password: StringParameter.fromSecureStringParameterAttributes(owned.data, 'P', { parameterName: '/p', encryptionKey: new Key(owned.data, 'PasswordKey') }) },
      },
    }),
  ],
  ['an alarm topic', ({ data }) => ({ alarmTopic: new Topic(data, 'Topic') })],
  ['an encrypted alarm topic', ({ data }) => ({ alarmTopic: new Topic(data, 'Topic', { masterKey: new Key(data, 'TopicKey') }) })],
  ['a bucket', ({ data }) => ({ artifact: { bucket: new Bucket(data, 'Bucket', { eventBridgeEnabled: true }), key: KEY } })],
  [
    'an encrypted bucket',
    ({ data }) => {
      const bucket = new Bucket(data, 'Bucket', { eventBridgeEnabled: true, versioned: true, encryption: BucketEncryption.KMS });
      return { artifact: { bucket, key: KEY, versioned: true, listBucket: true }, reports: { bucket } };
    },
  ],
  ['a log group', ({ data }) => ({ logGroup: new LogGroup(data, 'Log', { encryptionKey: new Key(data, 'LogKey') }) })],
  ['a cluster of ECS', ({ data, vpc }) => ({ cluster: new Cluster(data, 'Cluster', { vpc }) })],
  ['a security group', ({ data, vpc }) => ({ securityGroup: new SecurityGroup(data, 'TaskGroup', { vpc, allowAllOutbound: false }) })],
  ['a security group beside the database', (owned) => ({ securityGroup: new SecurityGroup(owned.data, 'TaskGroup', { vpc: owned.vpc }), database: { instance: instance(owned) } })],
  ['a repository', ({ data }) => ({ image: { repository: new Repository(data, 'Repository', { encryptionKey: new Key(data, 'ImageKey') }), digest: DIGEST } })],
];

test.each(cases)('%s of another stack', (_, more) => {
  const app = new App({ analyticsReporting: false });
  const env = { region: 'eu-west-1', account: '123456789012' };
  const data = new Stack(app, 'data', { env });
  const vpc = new Vpc(data, 'Vpc', {
    availabilityZones: ['eu-west-1a', 'eu-west-1b'],
    subnetConfiguration: [
      { name: 'public', subnetType: SubnetType.PUBLIC },
      { name: 'private', subnetType: SubnetType.PRIVATE_WITH_EGRESS },
    ],
  });
  const stack = new Stack(app, 'app', { env });
  const props: PrismaMigrateTaskProps = {
    vpc,
    image: IMAGE,
    architecture: CpuArchitecture.ARM64,
    database: { endpoint: { host: 'db.example' }, name: 'newsroom', login: { secret: Secret.fromSecretNameV2(stack, 'Fixed', 'newsroom') } },
    artifact: { bucketParameter: '/account/services/artifact.bucket', key: KEY },
    ...more({ data, vpc, app: stack }),
  };
  const task = new PrismaMigrateTask(stack, 'Migrate', props);
  new MigrationGate(new Stack(app, 'gate', { env }), 'Gate', { task, deploymentId: '17' });
  new MigrationStateMachine(stack, 'Machine', { task, failureTopic: props.alarmTopic });
  const operator = new Role(new Stack(app, 'operator', { env }), 'Operator', { assumedBy: new AccountRootPrincipal() });
  task.grantRun(operator, { snapshotBefore: true });
  task.grantUpload(operator);
  app.synth();
  expect(data.dependencies.map(({ stackName }) => stackName)).toEqual([]);
  Template.fromStack(stack);
});

/** Everything imported, into a stack whose account and region are known. */
function imported(more: (stack: Stack) => Partial<PrismaMigrateTaskProps>) {
  const app = new App({ analyticsReporting: false });
  const stack = new Stack(app, 'app', { env: { region: 'eu-west-1', account: '123456789012' } });
  const vpc = Vpc.fromVpcAttributes(stack, 'Vpc', { vpcId: 'vpc-1', availabilityZones: ['eu-west-1a'], privateSubnetIds: ['subnet-1'] });
  const group = SecurityGroup.fromSecurityGroupId(stack, 'DatabaseGroup', 'sg-1');
  const props: PrismaMigrateTaskProps = {
    vpc,
    image: IMAGE,
    architecture: CpuArchitecture.ARM64,
    cluster: Cluster.fromClusterAttributes(stack, 'Cluster', { clusterName: 'shared', vpc }),
    database: { endpoint: { host: 'db.example', securityGroup: group }, name: 'newsroom', login: { secret: Secret.fromSecretNameV2(stack, 'Login', 'newsroom') } },
    artifact: { bucketParameter: '/account/services/artifact.bucket', key: KEY },
    ...more(stack),
  };
  const task = new PrismaMigrateTask(stack, 'Migrate', props);
  app.synth();
  return { stack, task };
}

const FOREIGN = '210987654321';
const foreign: [string, (stack: Stack) => Partial<PrismaMigrateTaskProps>][] = [
  ['an alarm topic', (stack) => ({ alarmTopic: Topic.fromTopicArn(stack, 'Topic', `arn:aws:sns:eu-west-1:${FOREIGN}:alarms`) })],
  [
    'a bucket that a gate reads',
    (stack) => ({ artifact: { bucket: Bucket.fromBucketAttributes(stack, 'Bucket', { bucketName: 'artifacts', account: FOREIGN, region: 'us-east-1' }), key: KEY }, startOnUpload: false }),
  ],
  ['a bucket for reports', (stack) => ({ reports: { bucket: Bucket.fromBucketAttributes(stack, 'Reports', { bucketName: 'reports', account: FOREIGN }) } })],
  ['a repository', (stack) => ({ image: { repository: Repository.fromRepositoryArn(stack, 'Repository', `arn:aws:ecr:us-east-1:${FOREIGN}:repository/migrate`), digest: DIGEST } })],
  [
    'a secret and its key',
    (stack) => ({
      database: {
        endpoint: { host: 'db.example' },
        name: 'newsroom',
        login: {
          secret: Secret.fromSecretCompleteArn(stack, 'Foreign', `arn:aws:secretsmanager:eu-west-1:${FOREIGN}:secret:newsroom-AbCdEf`),
          secretKey: Key.fromKeyArn(stack, 'Key', `arn:aws:kms:eu-west-1:${FOREIGN}:key/1`),
        },
      },
    }),
  ],
];
test.each(foreign)('%s of another account', (_, more) => {
  const { stack } = imported(more);
  Template.fromStack(stack);
});

const refused: [string, (stack: Stack) => Partial<PrismaMigrateTaskProps>, RegExp][] = [
  ['vpc of another region', (stack) => ({ vpc: Vpc.fromVpcAttributes(stack, 'V', { vpcId: 'v', region: 'us-east-1', availabilityZones: ['us-east-1a'], privateSubnetIds: ['s'] }) }), /vpc is in the region us-east-1/],
  ['topic of another region', (stack) => ({ alarmTopic: Topic.fromTopicArn(stack, 'T', 'arn:aws:sns:us-east-1:123456789012:alarms') }), /alarmTopic is in the region us-east-1/],
  ['log group of another account', (stack) => ({ logGroup: LogGroup.fromLogGroupArn(stack, 'L', `arn:aws:logs:eu-west-1:${FOREIGN}:log-group:l:*`) }), /logGroup is in the account/],
  [
    'cluster of another account',
    (stack) => ({
      cluster: Cluster.fromClusterArn(stack, 'C', `arn:aws:ecs:eu-west-1:${FOREIGN}:cluster/c`),
    }),
    /cluster is in the account/,
  ],
  [
    'bucket of another account whose uploads are to start the task',
    (stack) => ({ artifact: { bucket: Bucket.fromBucketAttributes(stack, 'B', { bucketName: 'artifacts', account: FOREIGN }), key: KEY } }),
    /artifact.bucket is in the account 210987654321, .*S3 tells EventBridge/,
  ],
  [
    'bucket of another region whose uploads are to start the task',
    (stack) => ({ artifact: { bucket: Bucket.fromBucketAttributes(stack, 'B', { bucketName: 'artifacts', region: 'us-east-1' }), key: KEY } }),
    /artifact.bucket is in the region us-east-1/,
  ],
  [
    'instance of another account',
    (stack) => {
      const there = new Stack(stack.node.root, 'there', { env: { region: 'eu-west-1', account: FOREIGN } });
      const attributes = { instanceIdentifier: 'db', instanceEndpointAddress: 'db.example', port: 5432, securityGroups: [] };
      return { database: { instance: DatabaseInstance.fromDatabaseInstanceAttributes(there, 'D', attributes), name: 'newsroom', login: { iamUser: 'm' } } };
    },
    /database.instance is in the account/,
  ],
  [
    'cluster of another region',
    (stack) => {
      const there = new Stack(stack.node.root, 'there', { env: { region: 'us-east-1', account: '123456789012' } });
      const cluster = DatabaseCluster.fromDatabaseClusterAttributes(there, 'D', { clusterIdentifier: 'db', clusterEndpointAddress: 'db.example', port: 5432 });
      return { database: { cluster, name: 'newsroom', login: { iamUser: 'm' } } };
    },
    /database.cluster is in the region us-east-1/,
  ],
];
test.each(refused)('refuses a %s', (_, more, sentence) => expect(() => imported(more)).toThrow(sentence));

test('a gate and a state machine of another region are refused', () => {
  const { stack, task } = imported(() => ({}));
  const there = new Stack(stack.node.root, 'there', { env: { region: 'us-east-1', account: '123456789012' } });
  expect(() => new MigrationGate(there, 'Gate', { task, deploymentId: '17' })).toThrow(/task is in the region eu-west-1/);
  expect(() => new MigrationStateMachine(there, 'Machine', { task })).toThrow(/task is in the region eu-west-1/);
});

test('an encrypted topic lets EventBridge and CloudWatch use its key, and its policy has no condition for EventBridge', () => {
  const { stack } = imported((of) => ({ alarmTopic: new Topic(of, 'Topic', { masterKey: new Key(of, 'Key') }) }));
  const template = Template.fromStack(stack);
  const [policy] = Object.values(template.findResources('AWS::SNS::TopicPolicy'));
  const statements: { Principal: { Service: string }; Condition?: object }[] = policy!.Properties.PolicyDocument.Statement;
  const events = statements.filter(({ Principal }) => Principal.Service === 'events.amazonaws.com');
  expect(events.length).toBeGreaterThan(0);
  for (const { Condition } of events) expect(Condition).toBeUndefined();
  const [key] = Object.values(template.findResources('AWS::KMS::Key'));
  const text = JSON.stringify(key!.Properties.KeyPolicy);
  for (const service of ['events.amazonaws.com', 'cloudwatch.amazonaws.com']) expect(text).toContain(service);
  expect(text).toContain('kms:GenerateDataKey*');
  for (const rule of Object.values(template.findResources('AWS::Events::Rule'))) {
    for (const target of rule.Properties.Targets) expect(target.DeadLetterConfig, JSON.stringify(target)).toBeDefined();
  }
});
