/**
 * The constructs in the forms that no example has, for the simulation of the whole way (tests/simulate): started by the upload, of a versioned bucket
 * and of one that is not, the login from Secrets Manager and from SSM, and a gate that CloudFormation waits for by a wait condition.
 */
import { App, CfnOutput, CfnParameter, Duration, Stack } from 'aws-cdk-lib';
import { Vpc } from 'aws-cdk-lib/aws-ec2';
import { CpuArchitecture } from 'aws-cdk-lib/aws-ecs';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { StringParameter } from 'aws-cdk-lib/aws-ssm';
import { fromRiffRaff, MigrationGate, type MigrationGateProps, PrismaMigrateTask, type PrismaMigrateTaskProps } from '../lib/index.js';

const KEY = 'newsroom/CODE/api/prisma.zip';

interface Own {
  readonly task: (stack: Stack) => Pick<PrismaMigrateTaskProps, 'artifact' | 'reports'>;
  readonly login: (stack: Stack, name: string) => PrismaMigrateTaskProps['database']['login'];
  readonly gate: Omit<MigrationGateProps, 'task'>;
}

class Upload extends Stack {
  constructor(scope: App, id: string, own: Own) {
    super(scope, id, { env: { region: 'eu-west-1' } });
    const vpc = Vpc.fromVpcAttributes(this, 'Vpc', {
      vpcId: 'vpc-0123456789abcdef0',
      availabilityZones: ['eu-west-1a', 'eu-west-1b'],
      privateSubnetIds: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'],
    });
    const parameter = (name: string) => new CfnParameter(this, name);
    const task = new PrismaMigrateTask(this, 'Migrate', {
      vpc,
      image: { reference: `ghcr.io/example/prisma-migrate-task@sha256:${'0'.repeat(64)}` },
      architecture: CpuArchitecture.ARM64,
      database: {
        endpoint: { host: parameter('Host').valueAsString, port: new CfnParameter(this, 'Port', { type: 'Number' }).valueAsNumber },
        name: parameter('Name').valueAsString,
        login: own.login(this, parameter('Login').valueAsString),
      },
      ...own.task(this),
      // Beside a gate, so that one stack shows both.
      startOnUpload: 'task',
      alarmTopic: new Topic(this, 'Alarms', { enforceSSL: true }),
    });
    const gate = new MigrationGate(this, 'Gate', { task, ...own.gate });
    new CfnOutput(this, 'Api', { value: 'what is deployed behind the gate' }).node.addDependency(gate);
  }
}

const app = new App({ analyticsReporting: false });
new Upload(app, 'versioned', {
  task: (stack) => {
    const bucket = new Bucket(stack, 'Artifacts', { versioned: true, enforceSSL: true, eventBridgeEnabled: true });
    return { artifact: { bucket, key: KEY, versioned: true }, reports: { bucket } };
  },
  login: (stack, name) => ({ secret: Secret.fromSecretNameV2(stack, 'Secret', name) }),
  gate: { deploymentId: fromRiffRaff(), whenMissing: 'passOnCreate' },
});
new Upload(app, 'unversioned', {
  task: () => ({ artifact: { bucketParameter: '/account/services/artifact.bucket', key: KEY } }),
  login: (stack, parameterName) => ({
    user: new CfnParameter(stack, 'User').valueAsString,
    password: StringParameter.fromSecureStringParameterAttributes(stack, 'Password', { parameterName, simpleName: false }),
  }),
  gate: { deploymentId: 'build-17', timeout: Duration.hours(6) },
});
