/** One stack with everything: the network, a database, the bucket, the task, and a gate that the API stands behind. */
import { App, CfnOutput, CfnParameter, Duration, Stack, type StackProps } from 'aws-cdk-lib';
import { SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
import { CpuArchitecture } from 'aws-cdk-lib/aws-ecs';
import { DatabaseInstance, DatabaseInstanceEngine, PostgresEngineVersion } from 'aws-cdk-lib/aws-rds';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { Topic } from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';
import { MigrationGate, MigrationStateMachine, PrismaMigrateTask } from '../../lib/index.js';

export class NewsroomStack extends Stack {
  constructor(scope: Construct, id: string, props?: StackProps) {
    super(scope, id, props);
    const vpc = new Vpc(this, 'Vpc', {
      availabilityZones: ['eu-west-1a', 'eu-west-1b'],
      natGateways: 1,
      restrictDefaultSecurityGroup: false,
      subnetConfiguration: [
        { name: 'public', subnetType: SubnetType.PUBLIC },
        { name: 'private', subnetType: SubnetType.PRIVATE_WITH_EGRESS },
      ],
    });
    const database = new DatabaseInstance(this, 'Database', {
      engine: DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17_6 }),
      vpc,
      databaseName: 'newsroom',
      iamAuthentication: true,
      storageEncrypted: true,
      backupRetention: Duration.days(7),
    });
    // EventBridge tells of each upload, and each upload has a version of its own.
    const artifacts = new Bucket(this, 'Artifacts', { versioned: true, enforceSSL: true, eventBridgeEnabled: true });

    const migrate = new PrismaMigrateTask(this, 'Migrate', {
      vpc,
      // What `docker buildx imagetools inspect` says of the release that you have looked at.
      image: { reference: `ghcr.io/example/prisma-migrate-task@sha256:${'0'.repeat(64)}` },
      architecture: CpuArchitecture.ARM64,
      database: { instance: database, name: 'newsroom' },
      artifact: { bucket: artifacts, key: 'newsroom/CODE/api/prisma.zip', versioned: true },
      reports: { bucket: artifacts, prefix: 'reports' },
      alarmTopic: new Topic(this, 'Alarms', { enforceSSL: true }),
      settings: { LOCK_WAIT: '20m', FAIL_ON: 'drop' },
    });
    const deployment = new CfnParameter(this, 'Deployment', { type: 'String', description: 'Another one at each deploy, such as the build number' });
    const gate = new MigrationGate(this, 'Gate', {
      task: migrate,
      deploymentId: deployment.valueAsString,
      // The first deploy makes the bucket, so there is nothing to apply yet: upload, and deploy again.
      whenMissing: 'passOnCreate',
    });

    // In the place of the API's service: it is changed only when the migrations are in.
    const api = new CfnOutput(this, 'Api', { value: 'what is deployed behind the gate' });
    api.node.addDependency(gate);

    // For the migration that takes a day: by hand, with a snapshot before.
    new MigrationStateMachine(this, 'LongMigration', { task: migrate, snapshotBefore: { instance: database }, timeout: Duration.hours(24) });
  }
}

new NewsroomStack(new App({ analyticsReporting: false }), 'newsroom', { env: { region: 'eu-west-1' } });
