/**
 * In the shape of a service catalogue that RiffRaff deploys: the bucket's name is in SSM, the cluster and the database are there already, nothing has a
 * file asset. Two stacks: the task, which must be there before the upload, and the gate, which riff-raff.yaml makes wait for the upload.
 */
import { GuStack, type GuStackProps } from '@guardian/cdk/lib/constructs/core/index.js';
import { App } from 'aws-cdk-lib';
import { SecurityGroup, Vpc } from 'aws-cdk-lib/aws-ec2';
import { Cluster, CpuArchitecture } from 'aws-cdk-lib/aws-ecs';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { fromRiffRaff, MigrationGate, PrismaMigrateTask } from '../../lib/index.js';

class ServiceCatalogue extends GuStack {
  readonly migrate: PrismaMigrateTask;

  constructor(scope: App, id: string, props: GuStackProps) {
    super(scope, id, props);
    const vpc = Vpc.fromVpcAttributes(this, 'Vpc', {
      vpcId: 'vpc-0123456789abcdef0',
      availabilityZones: ['eu-west-1a', 'eu-west-1b'],
      privateSubnetIds: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'],
    });
    this.migrate = new PrismaMigrateTask(this, 'Migrate', {
      vpc,
      cluster: Cluster.fromClusterAttributes(this, 'Cluster', { clusterName: 'service-catalogue', vpc }),
      image: { reference: `ghcr.io/example/prisma-migrate-task@sha256:${'0'.repeat(64)}` },
      architecture: CpuArchitecture.ARM64,
      database: {
        endpoint: {
          host: 'catalogue.c9akciq32abc.eu-west-1.rds.amazonaws.com',
          securityGroup: SecurityGroup.fromSecurityGroupId(this, 'DatabaseGroup', 'sg-0123456789abcdef0'),
        },
        // The secret says which database: it holds dbname beside user and password.
        login: { secret: Secret.fromSecretNameV2(this, 'Login', `/${props.stage}/${props.stack}/service-catalogue/migrator`), secretNamesDatabase: true },
      },
      artifact: {
        bucketParameter: '/account/services/artifact.bucket',
        key: `${props.stack}/${props.stage}/service-catalogue-prisma-migrations/prisma.zip`,
      },
      alarmTopic: new Topic(this, 'Alarms', { enforceSSL: true }),
      // The gate, which is in a stack of its own, runs them; without a gate leave this out, and the upload does.
      startOnUpload: false,
    });
  }
}

class ServiceCatalogueGate extends GuStack {
  constructor(scope: App, id: string, props: GuStackProps & { readonly migrate: PrismaMigrateTask }) {
    super(scope, id, props);
    // RiffRaff fills in the parameter RiffRaffDeploymentId, so that each deploy asks the gate.
    new MigrationGate(this, 'Gate', { task: props.migrate, deploymentId: fromRiffRaff() });
  }
}

const app = new App({ analyticsReporting: false });
// One template for each stage, as riff-raff.yaml names them. RiffRaff finds a stack by its tags Stack, Stage and App, so that each of the two has an App.
for (const [stage, suffix] of [['CODE', ''], ['PROD', '-PROD']] as const) {
  const props = { stack: 'deploy', stage, env: { region: 'eu-west-1' }, withoutMetadata: true };
  const { migrate } = new ServiceCatalogue(app, `ServiceCatalogue${suffix}`, { ...props, app: 'service-catalogue' });
  new ServiceCatalogueGate(app, `ServiceCatalogueGate${suffix}`, { ...props, app: 'service-catalogue-gate', migrate });
}
