/** The layouts that teams have, synthesized so that cfn-lint, parliament and moto can look at the templates: check.sh does so. */
import { GuStack } from '@guardian/cdk/lib/constructs/core/index.js';
import { App, Duration, LegacyStackSynthesizer, Stack, type StackProps } from 'aws-cdk-lib';
import { GatewayVpcEndpointAwsService, SecurityGroup, SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
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
import { fromRiffRaff, MigrationGate, MigrationStateMachine, PrismaMigrateTask, type PrismaMigrateTaskProps } from '../lib/index.js';

const KEY = 'newsroom/CODE/api/prisma.zip';
const DIGEST = `sha256:${'0'.repeat(64)}`;
// Without the account, the CDK asks nobody which zones there are.
const IRELAND = { region: 'eu-west-1' };
const app = new App({ analyticsReporting: false });

const network = (stack: Stack, zones: string[]) =>
  new Vpc(stack, 'Vpc', {
    availabilityZones: zones,
    restrictDefaultSecurityGroup: false,
    subnetConfiguration: [
      { name: 'public', subnetType: SubnetType.PUBLIC },
      { name: 'private', subnetType: SubnetType.PRIVATE_WITH_EGRESS },
    ],
  });
const sharedVpc = (stack: Stack) =>
  Vpc.fromVpcAttributes(stack, 'Vpc', {
    vpcId: 'vpc-0123456789abcdef0',
    availabilityZones: ['eu-west-1a', 'eu-west-1b'],
    privateSubnetIds: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'],
  });
const zones = ['eu-west-1a', 'eu-west-1b'];
const instance = (stack: Stack, vpc: Vpc, iamAuthentication = false) =>
  new DatabaseInstance(stack, 'Database', {
    engine: DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17_6 }), vpc, databaseName: 'newsroom', iamAuthentication, storageEncrypted: true,
  });
const aurora = (stack: Stack, vpc: Vpc, iamAuthentication = false) =>
  new DatabaseCluster(stack, 'Aurora', {
    engine: DatabaseClusterEngine.auroraPostgres({ version: AuroraPostgresEngineVersion.VER_16_6 }), writer: ClusterInstance.serverlessV2('writer'), vpc,
    defaultDatabaseName: 'newsroom', iamAuthentication, storageEncrypted: true,
  });
const always = { image: { reference: `ghcr.io/example/prisma-migrate-task@${DIGEST}` }, architecture: CpuArchitecture.ARM64 };
const parameter = { bucketParameter: '/account/services/artifact.bucket', key: KEY };
const secretOf = (stack: Stack) => ({ secret: Secret.fromSecretNameV2(stack, 'Login', 'newsroom/migrator') });
const task = (stack: Stack, props: Omit<PrismaMigrateTaskProps, 'image' | 'architecture'> & Partial<PrismaMigrateTaskProps>) => {
  const made = new PrismaMigrateTask(stack, 'Migrate', { ...always, ...props });
  const operator = new Role(stack, 'Operator', { assumedBy: new AccountRootPrincipal() });
  made.grantRun(operator, { snapshotBefore: true });
  made.grantUpload(operator);
  return made;
};
const stack = (name: string, props: StackProps = { env: IRELAND }) => new Stack(app, name, props);

{
  const one = stack('one-stack-instance-secret');
  const vpc = network(one, zones);
  task(one, { vpc, database: { instance: instance(one, vpc) }, artifact: { bucket: new Bucket(one, 'Artifacts'), key: KEY }, alarmTopic: new Topic(one, 'Alarms') });
}
{
  const one = stack('one-stack-cluster-iam');
  const vpc = network(one, zones);
  const bucket = new Bucket(one, 'Artifacts', { versioned: true });
  const made = task(one, { vpc, database: { cluster: aurora(one, vpc, true), login: { iamUser: 'migrator' }, databaseRole: 'app' }, artifact: { bucket, key: KEY, versioned: true }, reports: { bucket } });
  new MigrationGate(one, 'Gate', { task: made, deploymentId: '17', whenMissing: 'passOnCreate' });
}
{
  const data = stack('two-stacks-data');
  const vpc = network(data, zones);
  const database = instance(data, vpc, true);
  const topic = new Topic(data, 'Alarms');
  const bucket = new Bucket(data, 'Artifacts', { versioned: true });
  const other = stack('two-stacks-app');
  const made = task(other, { vpc, database: { instance: database, login: { iamUser: 'migrator' } }, artifact: { bucket, key: KEY, versioned: true, listBucket: true }, reports: { bucket }, alarmTopic: topic });
  new MigrationStateMachine(other, 'Machine', { task: made, snapshotBefore: { instance: database } });
  new MigrationGate(stack('two-stacks-gate'), 'Gate', { task: made, deploymentId: 'build-17', timeout: Duration.hours(6) });
}
{
  const one = stack('everything-imported');
  const vpc = sharedVpc(one);
  const cluster = DatabaseCluster.fromDatabaseClusterAttributes(one, 'Database', {
    clusterIdentifier: 'newsroom', clusterEndpointAddress: 'newsroom.cluster-abc.eu-west-1.rds.amazonaws.com', port: 5432, clusterResourceIdentifier: 'cluster-ABC',
    securityGroups: [SecurityGroup.fromSecurityGroupId(one, 'DatabaseGroup', 'sg-0123456789abcdef0')],
  });
  task(one, {
    vpc,
    cluster: Cluster.fromClusterAttributes(one, 'Cluster', { clusterName: 'shared', vpc }),
    image: { repository: Repository.fromRepositoryName(one, 'Repository', 'migrate'), digest: DIGEST },
    database: { cluster, name: 'newsroom', login: { iamUser: 'migrator' } },
    artifact: { bucket: Bucket.fromBucketName(one, 'Artifacts', 'artifacts-of-the-account'), key: KEY },
    alarmTopic: Topic.fromTopicArn(one, 'Alarms', 'arn:aws:sns:eu-west-1:123456789012:alarms'),
    logGroup: LogGroup.fromLogGroupName(one, 'Log', 'newsroom'),
    securityGroup: SecurityGroup.fromSecurityGroupId(one, 'Group', 'sg-0123456789abcdef1'),
  });
}
{
  const one = stack('two-accounts', { env: { account: '123456789012', region: 'eu-west-1' } });
  const bucket = Bucket.fromBucketAttributes(one, 'Artifacts', { bucketName: 'artifacts-of-tools', account: '210987654321' });
  const made = task(one, {
    vpc: sharedVpc(one),
    image: { repository: Repository.fromRepositoryArn(one, 'Repository', 'arn:aws:ecr:eu-west-1:210987654321:repository/migrate'), digest: DIGEST },
    database: {
      endpoint: { host: 'newsroom.abc.eu-west-1.rds.amazonaws.com' },
      name: 'newsroom',
      login: { secret: Secret.fromSecretCompleteArn(one, 'Login', 'arn:aws:secretsmanager:eu-west-1:210987654321:secret:newsroom-AbCdEf'), secretKey: Key.fromKeyArn(one, 'Key', 'arn:aws:kms:eu-west-1:210987654321:key/0a0a0a0a-0000-4000-8000-000000000000') },
    },
    artifact: { bucket, key: KEY },
    startOnUpload: false,
  });
  new MigrationGate(one, 'Gate', { task: made, deploymentId: '17' });
}
{
  const one = stack('isolated-subnets');
  const vpc = new Vpc(one, 'Vpc', {
    availabilityZones: zones, restrictDefaultSecurityGroup: false, natGateways: 0, subnetConfiguration: [{ name: 'isolated', subnetType: SubnetType.PRIVATE_ISOLATED }],
  });
  vpc.addGatewayEndpoint('S3', { service: GatewayVpcEndpointAwsService.S3 });
  task(one, {
    vpc,
    vpcSubnets: { subnetType: SubnetType.PRIVATE_ISOLATED },
    image: { repository: new Repository(one, 'Repository'), digest: DIGEST },
    database: { endpoint: { host: 'newsroom.abc.eu-west-1.rds.amazonaws.com' }, name: 'newsroom', login: secretOf(one) },
    artifact: parameter,
  }).addVpcEndpoints();
}
{
  const one = stack('password-and-authorities');
  const password = StringParameter.fromSecureStringParameterAttributes(one, 'Password', { parameterName: '/newsroom/password', encryptionKey: new Key(one, 'Key') });
  const ca = StringParameter.fromStringParameterName(one, 'Authorities', '/rds/eu-west-1');
  task(one, { vpc: sharedVpc(one), database: { endpoint: { host: 'db.example' }, name: 'newsroom', ca, login: { user: 'migrator', password } }, artifact: parameter, startOnUpload: 'task' });
}
{
  const one = stack('encrypted-everything');
  const vpc = network(one, zones);
  const key = new Key(one, 'Key');
  const bucket = new Bucket(one, 'Artifacts', { versioned: true, encryption: BucketEncryption.KMS, encryptionKey: key });
  task(one, {
    vpc,
    image: { repository: new Repository(one, 'Repository', { encryptionKey: key }), digest: DIGEST },
    database: { instance: instance(one, vpc), login: { secret: new Secret(one, 'Login', { encryptionKey: key }) } },
    artifact: { bucket, key: KEY, versioned: true },
    reports: { bucket },
    alarmTopic: new Topic(one, 'Alarms', { masterKey: key }),
    logGroup: new LogGroup(one, 'Log', { encryptionKey: key }),
  });
}
{
  const one = stack('fleet');
  const bucket = new Bucket(one, 'Artifacts', { versioned: true });
  const made = task(one, { vpc: sharedVpc(one), database: { endpoint: { host: 'db.example' }, name: 'newsroom', login: secretOf(one) }, artifact: { bucket, key: KEY, versioned: true } });
  new MigrationStateMachine(one, 'Machine', { task: made, targets: { bucket, key: 'tenants.json' }, failureTopic: new Topic(one, 'Failures') });
}
{
  const one = new GuStack(app, 'gu-stack', { stack: 'deploy', stage: 'CODE', app: 'newsroom', env: { region: 'eu-west-1' }, withoutMetadata: true });
  const made = task(one, { vpc: sharedVpc(one), database: { endpoint: { host: 'db.example' }, name: 'newsroom', login: secretOf(one) }, artifact: parameter, alarmTopic: new Topic(one, 'Alarms') });
  new MigrationGate(one, 'Gate', { task: made, deploymentId: fromRiffRaff() });
}
{
  const one = stack('legacy-synthesizer', { synthesizer: new LegacyStackSynthesizer(), env: IRELAND });
  task(one, { vpc: sharedVpc(one), database: { endpoint: { host: 'db.example' }, name: 'newsroom', login: secretOf(one) }, artifact: parameter });
}
{
  const one = stack('china', { env: { region: 'cn-north-1' } });
  const vpc = network(one, ['cn-north-1a', 'cn-north-1b']);
  const database = aurora(one, vpc, true);
  const bucket = new Bucket(one, 'Artifacts', { versioned: true });
  const made = task(one, { vpc, image: { repository: new Repository(one, 'Repository'), digest: DIGEST }, database: { cluster: database, login: { iamUser: 'migrator' } }, artifact: { bucket, key: KEY, versioned: true }, alarmTopic: new Topic(one, 'Alarms') });
  new MigrationStateMachine(one, 'Machine', { task: made, snapshotBefore: { cluster: database } });
}
{
  const one = stack('public-subnets');
  const vpc = network(one, zones);
  task(one, { vpc, vpcSubnets: { subnetType: SubnetType.PUBLIC }, assignPublicIp: true, database: { instance: instance(one, vpc) }, artifact: parameter });
}
