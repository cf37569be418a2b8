/** The constructs know of the program what contract.json says, which tests/e2e/contract.rs holds against the program. */
import { Template } from 'aws-cdk-lib/assertions';
import { SecurityGroup } from 'aws-cdk-lib/aws-ec2';
import { AccountRootPrincipal, Role } from 'aws-cdk-lib/aws-iam';
import { DatabaseCluster } from 'aws-cdk-lib/aws-rds';
import { Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { StringParameter } from 'aws-cdk-lib/aws-ssm';
import { expect, test } from 'vitest';
import contract from '../contract.json' with { type: 'json' };
import { AGAIN_EXIT_CODES, EXIT_CODES, EXIT_PENDING, GATE_SUCCESS_CODES, MigrationGate, PrismaMigrateTask, type PrismaMigrateTaskProps, QUIET_EXIT_CODES } from '../lib/index.js';
import { KEY, Newsroom } from './newsroom.js';

function template(more: (stack: Newsroom) => Partial<PrismaMigrateTaskProps>): Template {
  const stack = new Newsroom();
  const task = new PrismaMigrateTask(stack, 'Migrate', stack.props({ startOnUpload: 'task', ...more(stack) }));
  new MigrationGate(stack, 'Gate', { task, deploymentId: '17' });
  return Template.fromStack(stack);
}

const everything: ((stack: Newsroom) => Partial<PrismaMigrateTaskProps>)[] = [
  (stack) => ({ database: { instance: stack.database, name: 'shop', schema: 'shop' }, reports: { bucket: stack.bucket } }),
  (stack) => ({
    database: { instance: stack.database, login: { iamUser: 'migrator' } },
    artifact: {
      bucket: new Bucket(stack, 'Encrypted', { encryption: BucketEncryption.KMS, versioned: true }),
      key: KEY,
      versioned: true,
      listBucket: true,
    },
  }),
  (stack) => ({
    database: {
      instance: stack.database,
      ca: StringParameter.fromStringParameterName(stack, 'Ca', '/rds/ca'),
      login: { user: 'migrator', password: StringParameter.fromSecureStringParameterAttributes(stack, 'P', { parameterName: '/p' }) },
    },
  }),
];

test('every variable that the constructs set is the program\'s, and each of them is set by some construct', () => {
  const set = new Set<string>();
  for (const props of everything) {
    const text = template(props);
    const [definition] = Object.values(text.findResources('AWS::ECS::TaskDefinition'));
    const [container] = definition!.Properties.ContainerDefinitions;
    for (const { Name } of [...container.Environment, ...(container.Secrets ?? [])]) set.add(Name);
    for (const match of JSON.stringify(text.toJSON()).matchAll(/\\"name\\":\\"([A-Z_]+)\\"/g)) set.add(match[1]!);
    const [gate] = Object.values(text.findResources('Custom::PrismaMigrations'));
    for (const name of Object.keys(JSON.parse(gate!.Properties.Variables))) set.add(name);
    expect(AGAIN_EXIT_CODES).toEqual([30, 31, 60]);
  }
  for (const match of MigrationGate.starterCode.matchAll(/\b(CFN_[A-Z_]+)\b/g)) set.add(match[1]!);
  const flags = new Set([...set].filter((name) => contract.settings.includes(name)));
  expect([...flags].sort()).toEqual(['MAX_DURATION', 'STOP_WITHIN']);
  expect([...set].filter((name) => !flags.has(name)).sort()).toEqual([...contract.variables].sort());
});

test('every exit code that the constructs tell apart is the program\'s', () => {
  for (const code of [...QUIET_EXIT_CODES, ...GATE_SUCCESS_CODES, EXIT_PENDING]) expect(EXIT_CODES).toHaveProperty(String(code));
  expect(EXIT_CODES[EXIT_PENDING]).toContain('pending');
});

test('after an interruption the alarm is raised and the gate fails, whoever has to act', () => {
  expect(EXIT_CODES['60']).toContain('the next run');
  expect(EXIT_CODES['61']).toContain('a person must look');
  for (const code of [60, 61]) expect([...QUIET_EXIT_CODES, ...GATE_SUCCESS_CODES]).not.toContain(code);
});

/** What each call of the program to AWS takes. */
const ACTIONS: Record<string, string[]> = {
  'rds-db:connect': ['rds-db:connect'],
  's3:GetObject': ['s3:GetObject', 's3:GetObjectVersion', 'kms:Decrypt'],
  's3:AbortMultipartUpload': ['s3:AbortMultipartUpload'],
  's3:CompleteMultipartUpload': ['s3:PutObject'],
  's3:CreateMultipartUpload': ['s3:PutObject', 'kms:GenerateDataKey'],
  's3:ListObjectsV2': ['s3:ListBucket'],
  's3:PutObject': ['s3:PutObject', 'kms:GenerateDataKey'],
  's3:UploadPart': ['s3:PutObject', 'kms:Decrypt'],
  'secretsmanager:GetSecretValue': ['secretsmanager:GetSecretValue', 'kms:Decrypt'],
};

test('the task role is granted what the program calls, and nothing else', () => {
  const granted = new Set<string>();
  for (const props of everything) {
    for (const [id, policy] of Object.entries(template(props).findResources('AWS::IAM::Policy'))) {
      if (!id.startsWith('MigrateDefinitionTaskRole')) continue;
      for (const { Action } of policy.Properties.PolicyDocument.Statement) for (const action of [Action].flat()) granted.add(action);
    }
  }
  const needed = new Set(contract.awsOperations.flatMap((operation) => ACTIONS[operation] ?? [`unknown operation ${operation}`]));
  needed.delete('kms:GenerateDataKey'); // where the reports' bucket has a key of its own
  expect([...granted].sort()).toEqual([...needed].sort());
});

/** What each call of its verbs `run`, `wait` and `upload` takes; nothing where only a place without these constructs makes it necessary. */
const CLIENT_ACTIONS: Record<string, string[]> = {
  'cloudformation:DescribeStacks': ['cloudformation:DescribeStacks'],
  'ecs:DescribeTaskDefinition': [],
  'ecs:DescribeTasks': ['ecs:DescribeTasks'],
  'ecs:ListTasks': ['ecs:ListTasks'],
  'ecs:RunTask': ['ecs:RunTask', 'iam:PassRole'],
  'ecs:StopTask': ['ecs:StopTask'],
  'logs:GetLogEvents': ['logs:GetLogEvents'],
  'rds:CreateDBClusterSnapshot': ['rds:CreateDBClusterSnapshot', 'rds:AddTagsToResource'],
  'rds:CreateDBSnapshot': ['rds:CreateDBSnapshot', 'rds:AddTagsToResource'],
  'rds:DescribeDBClusterSnapshots': ['rds:DescribeDBClusterSnapshots'],
  'rds:DescribeDBSnapshots': ['rds:DescribeDBSnapshots'],
  's3:GetBucketNotificationConfiguration': ['s3:GetBucketNotification'],
  's3:GetObject': ['s3:GetObject', 'kms:Decrypt'],
  's3:HeadObject': ['s3:GetObject', 's3:GetObjectVersion'],
  's3:ListObjectsV2': ['s3:ListBucket'],
  's3:PutObject': ['s3:PutObject', 'kms:GenerateDataKey'],
  'ssm:GetParameter': [],
  'tag:GetResources': ['tag:GetResources'],
};

test('the three grants are what the client\'s verbs call, and nothing else', () => {
  const granted = new Set<string>();
  for (const database of ['instance', 'cluster'] as const) {
    const stack = new Newsroom();
    const bucket = new Bucket(stack, 'Encrypted', { encryption: BucketEncryption.KMS, versioned: true });
    const props: Partial<PrismaMigrateTaskProps> = { reports: { bucket }, artifact: { bucket, key: KEY, versioned: true } };
    if (database === 'cluster') {
      const attributes = { clusterIdentifier: 'newsroom', clusterEndpointAddress: 'c.example', port: 5432, securityGroups: [new SecurityGroup(stack, 'G', { vpc: stack.vpc })] };
      const cluster = DatabaseCluster.fromDatabaseClusterAttributes(stack, 'Cluster', attributes);
      Object.assign(props, { database: { cluster, name: 'shop', login: { secret: Secret.fromSecretNameV2(stack, 'S', 's') } } });
    }
    const task = new PrismaMigrateTask(stack, 'Migrate', stack.props(props));
    const operator = new Role(stack, 'Operator', { assumedBy: new AccountRootPrincipal() });
    task.grantRun(operator, { snapshotBefore: true });
    task.grantUpload(operator);
    for (const [id, policy] of Object.entries(Template.fromStack(stack).findResources('AWS::IAM::Policy'))) {
      if (!id.startsWith('Operator')) continue;
      for (const { Action } of policy.Properties.PolicyDocument.Statement) for (const action of [Action].flat()) granted.add(action);
    }
  }
  const needed = new Set(contract.clientOperations.flatMap((operation) => CLIENT_ACTIONS[operation] ?? [`unknown operation ${operation}`]));
  expect([...granted].sort()).toEqual([...needed].sort());
});
