import { App, type AppProps, Duration, LegacyStackSynthesizer, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { FlowLogDestination, IpAddresses, SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
import { CpuArchitecture } from 'aws-cdk-lib/aws-ecs';
import { DatabaseInstance, DatabaseInstanceEngine, PostgresEngineVersion } from 'aws-cdk-lib/aws-rds';
import { BlockPublicAccess, Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import type { PrismaMigrateTaskProps } from '../lib/index.js';

export const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;
export const IMAGE = { reference: `ghcr.io/example/prisma-migrate-task@${DIGEST}` };
export const KEY = 'newsroom/CODE/api/prisma.zip';

/** A stack as a newspaper has it: without file assets, since the legacy synthesizer cannot upload any. */
export class Newsroom extends Stack {
  readonly vpc: Vpc;
  readonly database: DatabaseInstance;
  readonly bucket: Bucket;

  constructor(props?: AppProps) {
    super(new App({ analyticsReporting: false, ...props }), 'newsroom', { synthesizer: new LegacyStackSynthesizer() });
    this.vpc = new Vpc(this, 'Vpc', {
      ipAddresses: IpAddresses.cidr('10.0.0.0/16'),
      availabilityZones: ['eu-west-1a', 'eu-west-1b'],
      restrictDefaultSecurityGroup: false,
      subnetConfiguration: [
        { name: 'public', subnetType: SubnetType.PUBLIC },
        { name: 'private', subnetType: SubnetType.PRIVATE_WITH_EGRESS },
      ],
      natGateways: 1,
    });
    this.vpc.addFlowLog('FlowLog', { destination: FlowLogDestination.toCloudWatchLogs() });
    this.database = new DatabaseInstance(this, 'Database', {
      engine: DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17 }),
      vpc: this.vpc,
      databaseName: 'newsroom',
      port: 5433,
      multiAz: true,
      storageEncrypted: true,
      iamAuthentication: true,
      deletionProtection: true,
      backupRetention: Duration.days(7),
      removalPolicy: RemovalPolicy.RETAIN,
    });
    this.bucket = new Bucket(this, 'Artifacts', {
      eventBridgeEnabled: false,
      versioned: true,
      enforceSSL: true,
      encryption: BucketEncryption.S3_MANAGED,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      serverAccessLogsPrefix: 'log/',
    });
  }

  /** What the task needs at least, with what is given in its place. */
  props(more: Partial<PrismaMigrateTaskProps> = {}): PrismaMigrateTaskProps {
    return {
      vpc: this.vpc,
      image: IMAGE,
      architecture: CpuArchitecture.ARM64,
      database: { instance: this.database },
      artifact: { bucketParameter: '/account/services/artifact.bucket', key: KEY },
      ...more,
    };
  }
}
