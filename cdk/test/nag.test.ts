/** cdk-nag has nothing to say of what these constructs make, in any of their shapes. */
import { Duration } from 'aws-cdk-lib';
import { Repository } from 'aws-cdk-lib/aws-ecr';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { StringParameter } from 'aws-cdk-lib/aws-ssm';
import { expect, test } from 'vitest';
import { fromRiffRaff, MigrationGate, PrismaMigrateTask, type PrismaMigrateTaskProps } from '../lib/index.js';
import { findings } from './checks.js';
import { DIGEST, KEY, Newsroom } from './newsroom.js';

test('it finds what there is to find', () => {
  const stack = new Newsroom();
  new Bucket(stack, 'Open');
  expect(findings(stack, 'newsroom/Open')).toContainEqual(expect.stringContaining('AwsSolutions-S10 at newsroom/Open'));
});

const shapes: [string, (stack: Newsroom) => Partial<PrismaMigrateTaskProps>][] = [
  ['a secret, an SSM bucket', () => ({})],
  [
    'IAM, a versioned bucket, reports, alarms',
    (stack) => ({
      database: { instance: stack.database, login: { iamUser: 'migrator' } },
      artifact: { bucket: stack.bucket, key: KEY, versioned: true, listBucket: true, encryptionKey: new Key(stack, 'K', { enableKeyRotation: true }) },
      reports: { bucket: stack.bucket },
      alarmTopic: new Topic(stack, 'Topic', { enforceSSL: true }),
    }),
  ],
  [
    'ECR, a password in SSM, an endpoint',
    (stack) => ({
      image: { repository: Repository.fromRepositoryName(stack, 'Repository', 'migrate'), digest: DIGEST },
      database: {
        endpoint: { host: 'db.example' },
        name: 'shop',
        login: { user: 'migrator', password: StringParameter.fromSecureStringParameterAttributes(stack, 'P', { parameterName: '/p' }) },
      },
    }),
  ],
  ['a secret by its name', (stack) => ({ database: { instance: stack.database, login: { secret: Secret.fromSecretNameV2(stack, 'S', 'newsroom/db') } } })],
];
test.each(shapes)('%s', (_, props) => {
  const stack = new Newsroom();
  const task = new PrismaMigrateTask(stack, 'Migrate', stack.props(props(stack)));
  new MigrationGate(stack, 'MigrateGate', { task, deploymentId: fromRiffRaff(), whenMissing: 'passOnCreate' });
  new MigrationGate(stack, 'MigrateLongGate', { task, timeout: Duration.hours(6), deploymentId: '17' });
  expect(findings(stack, 'newsroom/Migrate')).toEqual([]);
});
