import { App, Duration, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { GatewayVpcEndpointAwsService, InterfaceVpcEndpointAwsService, SecurityGroup, SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
import { Repository } from 'aws-cdk-lib/aws-ecr';
import { CpuArchitecture } from 'aws-cdk-lib/aws-ecs';
import { AccountRootPrincipal, Role } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { AuroraPostgresEngineVersion, ClusterInstance, DatabaseCluster, DatabaseClusterEngine, DatabaseInstance, DatabaseInstanceEngine, PostgresEngineVersion } from 'aws-cdk-lib/aws-rds';
import { Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { StringParameter } from 'aws-cdk-lib/aws-ssm';
import { describe, expect, test } from 'vitest';
import { PrismaMigrateTask, type PrismaMigrateTaskProps } from '../lib/index.js';
import { DIGEST, IMAGE, KEY, Newsroom } from './newsroom.js';

function made(more: (stack: Newsroom) => Partial<PrismaMigrateTaskProps> = () => ({})) {
  const stack = new Newsroom();
  const task = new PrismaMigrateTask(stack, 'Migrate', stack.props(more(stack)));
  return { stack, task, template: () => Template.fromStack(stack) };
}

function definition(template: Template) {
  const [resource] = Object.values(template.findResources('AWS::ECS::TaskDefinition'));
  return resource!.Properties;
}

function variables(template: Template): Record<string, unknown> {
  const environment: { Name: string; Value: unknown }[] = definition(template).ContainerDefinitions[0].Environment;
  return Object.fromEntries(environment.map(({ Name, Value }) => [Name, Value]));
}

/** The statements of the one policy whose logical id begins so. */
function statements(template: Template, prefix: string) {
  const found = Object.entries(template.findResources('AWS::IAM::Policy')).filter(([id]) => id.startsWith(prefix));
  expect(found).toHaveLength(1);
  return found[0]![1].Properties.PolicyDocument.Statement as { Action: string | string[]; Resource: unknown; Condition?: unknown }[];
}

describe('the task definition', () => {
  test('is Fargate at its least, hardened, with one container that says when it stops', () => {
    const template = made().template();
    template.hasResourceProperties('AWS::ECS::TaskDefinition', {
      Cpu: '256',
      Memory: '512',
      RequiresCompatibilities: ['FARGATE'],
      RuntimePlatform: { CpuArchitecture: 'ARM64', OperatingSystemFamily: 'LINUX' },
      ContainerDefinitions: [
        Match.objectLike({
          Name: 'migrate',
          Image: IMAGE.reference,
          Essential: true,
          User: '65532',
          ReadonlyRootFilesystem: true,
          StopTimeout: 120,
          LinuxParameters: { Capabilities: { Drop: ['ALL'] } },
          LogConfiguration: { LogDriver: 'awslogs', Options: Match.objectLike({ 'awslogs-stream-prefix': 'migrate', mode: 'non-blocking' }) },
        }),
      ],
    });
    expect(definition(template).ContainerDefinitions).toHaveLength(1);
    expect(definition(template).ContainerDefinitions[0].Command).toBeUndefined();
    template.hasResource('AWS::Logs::LogGroup', { Properties: { RetentionInDays: 365 }, DeletionPolicy: 'Retain' });
  });

  test('says the place of the artifact and the database, and when to stop', () => {
    const template = made().template();
    expect(Object.keys(variables(template)).sort()).toEqual([
      'ARTIFACT_BUCKET', 'DB_HOST', 'DB_NAME', 'DB_PORT', 'DB_SECRET_ARN', 'PRISMA_ARTIFACT_KEY', 'STOP_WITHIN',
    ]);
    expect(variables(template)).toMatchObject({ PRISMA_ARTIFACT_KEY: KEY, STOP_WITHIN: '110s' });
    template.hasParameter('*', { Type: 'AWS::SSM::Parameter::Value<String>', Default: '/account/services/artifact.bucket' });
  });

  test('takes another processor, size, stop timeout and settings', () => {
    const template = made(() => ({
      architecture: CpuArchitecture.X86_64,
      cpu: 512,
      memoryLimitMiB: 1024,
      stopTimeout: Duration.seconds(60),
      settings: { LOCK_WAIT: '30m', FAIL_ON: 'drop,rename' },
    })).template();
    template.hasResourceProperties('AWS::ECS::TaskDefinition', { Cpu: '512', Memory: '1024', RuntimePlatform: { CpuArchitecture: 'X86_64' } });
    expect(variables(template)).toMatchObject({ STOP_WITHIN: '50s', LOCK_WAIT: '30m', FAIL_ON: 'drop,rename' });
  });
});

describe('the task role may do', () => {
  test('with a secret: read that one key and that one secret', () => {
    const rights = statements(made().template(), 'MigrateDefinitionTaskRole');
    expect(rights.map(({ Action }) => Action)).toEqual(['s3:GetObject', 'secretsmanager:GetSecretValue']);
    expect(JSON.stringify(rights[0]!.Resource)).toContain(`/${KEY}`);
    expect(rights[1]!.Resource).toEqual({ Ref: expect.stringMatching(/^DatabaseSecretAttachment/) });
  });

  test('in a versioned, encrypted bucket: read versions, and decrypt for S3 alone', () => {
    const { template } = made((stack) => {
      const bucket = new Bucket(stack, 'Encrypted', { encryption: BucketEncryption.KMS, versioned: true });
      return { artifact: { bucket, key: KEY, versioned: true, listBucket: true } };
    });
    const rights = statements(template(), 'MigrateDefinitionTaskRole');
    expect(rights.map(({ Action }) => Action)).toEqual([
      ['s3:GetObject', 's3:GetObjectVersion'], 's3:ListBucket', 'kms:Decrypt', 'secretsmanager:GetSecretValue',
    ]);
    expect(rights[2]!.Condition).toEqual({ StringEquals: { 'kms:ViaService': { 'Fn::Join': ['', ['s3.', { Ref: 'AWS::Region' }, '.amazonaws.com']] } } });
  });

  test('with IAM: log in as that one user of that one database', () => {
    const template = made((stack) => ({ database: { instance: stack.database, login: { iamUser: 'migrator' } } })).template();
    const rights = statements(template, 'MigrateDefinitionTaskRole');
    expect(rights.map(({ Action }) => Action)).toEqual(['s3:GetObject', 'rds-db:connect']);
    expect(JSON.stringify(rights[1]!.Resource)).toMatch(/:rds-db:.*:dbuser:.*DbiResourceId.*\/migrator/);
    expect(variables(template)).toMatchObject({ DB_IAM_AUTH: 'true', DB_USERNAME: 'migrator' });
    expect(variables(template)).not.toHaveProperty('DB_SECRET_ARN');
  });

  test('with a password in SSM: nothing of it, since ECS injects it', () => {
    const template = made((stack) => {
      const password = StringParameter.fromSecureStringParameterAttributes(stack, 'Password', { parameterName: '/newsroom/CODE/password' });
      return { database: { instance: stack.database, login: { user: 'migrator', password } } };
    }).template();
    expect(statements(template, 'MigrateDefinitionTaskRole').map(({ Action }) => Action)).toEqual(['s3:GetObject']);
    expect(definition(template).ContainerDefinitions[0].Secrets).toMatchObject([{ Name: 'DB_PASSWORD' }]);
    expect(JSON.stringify(statements(template, 'MigrateDefinitionExecutionRole'))).toContain('parameter/newsroom/CODE/password');
  });

  test('with a secret of an own key: decrypt for Secrets Manager alone', () => {
    const template = made((stack) => {
      const secret = new Secret(stack, 'Login', { encryptionKey: new Key(stack, 'Key') });
      return { database: { instance: stack.database, login: { secret } } };
    }).template();
    const rights = statements(template, 'MigrateDefinitionTaskRole');
    expect(rights.map(({ Action }) => Action)).toEqual(['s3:GetObject', 'secretsmanager:GetSecretValue', 'kms:Decrypt']);
    expect(JSON.stringify(rights[2]!.Condition)).toContain('secretsmanager.');
  });

  test('with a secret known by its name: read what has that name', () => {
    const template = made((stack) => ({
      database: { instance: stack.database, login: { secret: Secret.fromSecretNameV2(stack, 'Login', 'newsroom/db') } },
    })).template();
    expect(JSON.stringify(statements(template, 'MigrateDefinitionTaskRole')[1]!.Resource)).toContain('secret:newsroom/db-??????');
  });

  test('with reports: write below that prefix', () => {
    const template = made((stack) => ({ reports: { bucket: stack.bucket, prefix: 'migrations' } })).template();
    const rights = statements(template, 'MigrateDefinitionTaskRole');
    expect(rights.find(({ Action }) => Action.includes('s3:PutObject'))!.Resource).toEqual({
      'Fn::Join': ['', [{ 'Fn::GetAtt': [expect.stringMatching(/^Artifacts/), 'Arn'] }, '/migrations/*']],
    });
    expect(JSON.stringify(variables(template).REPORT_PREFIX)).toMatch(/s3:\/\/.*\/migrations/);
  });
});

test('the execution role may pull the agent that GuardDuty puts beside each task', () => {
  const rights = statements(made().template(), 'MigrateDefinitionExecutionRole');
  const pull = rights.find(({ Action }) => Action.includes('ecr:BatchGetImage'))!;
  expect(JSON.stringify(pull.Resource)).toContain(':*:repository/aws-guardduty-agent-fargate');
  expect(rights.find(({ Action }) => Action === 'ecr:GetAuthorizationToken')).toMatchObject({ Resource: '*' });
});

describe('the network', () => {
  test('leads to the database at its port and by HTTPS to AWS, and nobody in', () => {
    const template = made().template();
    const port = { 'Fn::GetAtt': [Match.stringLikeRegexp('^Database'), 'Endpoint.Port'] };
    template.hasResourceProperties('AWS::EC2::SecurityGroup', {
      GroupDescription: 'Prisma migrations: to the database and to AWS',
      SecurityGroupEgress: [
        Match.objectLike({ FromPort: 443, ToPort: 443, CidrIp: '0.0.0.0/0' }),
        Match.objectLike({ FromPort: 443, ToPort: 443, CidrIpv6: '::/0' }),
      ],
      SecurityGroupIngress: Match.absent(),
    });
    template.hasResourceProperties('AWS::EC2::SecurityGroupIngress', { FromPort: port, ToPort: port });
    template.hasResourceProperties('AWS::EC2::SecurityGroupEgress', { FromPort: port, ToPort: port });
  });
});

describe('isolated subnets', () => {
  const isolated = (more: (stack: Stack, vpc: Vpc) => Partial<PrismaMigrateTaskProps>, first: (vpc: Vpc) => void = () => undefined) => {
    const app = new App({ analyticsReporting: false });
    const stack = new Stack(app, 'isolated');
    const vpc = new Vpc(stack, 'Vpc', { availabilityZones: ['eu-west-1a'], natGateways: 0, subnetConfiguration: [{ name: 'isolated', subnetType: SubnetType.PRIVATE_ISOLATED }] });
    first(vpc);
    const task = new PrismaMigrateTask(stack, 'Migrate', {
      vpc,
      vpcSubnets: { subnetType: SubnetType.PRIVATE_ISOLATED },
      image: { repository: Repository.fromRepositoryName(stack, 'Repository', 'migrate'), digest: DIGEST },
      architecture: CpuArchitecture.ARM64,
      database: { endpoint: { host: 'db.example' }, name: 'shop', login: { secret: Secret.fromSecretNameV2(stack, 'S', 's') } },
      artifact: { bucketParameter: '/b', key: KEY },
      ...more(stack, vpc),
    });
    return { app, stack, task };
  };

  test('without endpoints are refused, with the list of those that are missing', () => {
    expect(() => isolated(() => ({})).app.synth()).toThrow(/has no endpoint for s3, logs, ecr.api, ecr.dkr, secretsmanager: the task could not start/);
    const iam = { database: { endpoint: { host: 'db.example', resourceId: 'db-A' }, name: 'shop', login: { iamUser: 'm' } } };
    const some = isolated(() => iam, (vpc) => vpc.addGatewayEndpoint('S3', { service: GatewayVpcEndpointAwsService.S3 }));
    expect(() => some.app.synth()).toThrow(/has no endpoint for logs, ecr.api, ecr.dkr:/);
    const password = (stack: Stack) => ({
      database: { endpoint: { host: 'db.example' }, name: 'shop', login: { user: 'm', password: StringParameter.fromSecureStringParameterAttributes(stack, 'P', { parameterName: '/p' }) } },
    });
    expect(() => isolated(password).app.synth()).toThrow(/ecr.dkr, ssm:/);
  });

  test('with an image of another registry are refused', () => {
    expect(() => isolated(() => ({ image: IMAGE })).app.synth()).toThrow(/copy it to ECR/);
  });

  test('get what they need by addVpcEndpoints', () => {
    const { app, stack, task } = isolated(() => ({}), (vpc) => vpc.addInterfaceEndpoint('Logs', { service: InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS }));
    task.addVpcEndpoints();
    app.synth();
    Template.fromStack(stack).resourceCountIs('AWS::EC2::VPCEndpoint', 5);
  });
});

test('a bucket of this app sends its uploads to EventBridge, whoever made the bucket', () => {
  const owned = made((stack) => ({ artifact: { bucket: new Bucket(stack, 'Plain'), key: KEY } })).template();
  owned.hasResourceProperties('Custom::S3BucketNotifications', { NotificationConfiguration: { EventBridgeConfiguration: {} } });
  // The notifications of an imported bucket are somebody else's.
  made((stack) => ({ artifact: { bucket: Bucket.fromBucketName(stack, 'Imported', 'artifacts'), key: KEY } })).template().resourceCountIs('Custom::S3BucketNotifications', 0);
});

describe('the database', () => {
  const variablesOf = (database: (stack: Newsroom) => PrismaMigrateTaskProps['database']) => {
    const template = made((stack) => ({ database: database(stack) })).template();
    return { template, is: variables(template) };
  };

  test('may be a cluster: its writer', () => {
    const { is } = variablesOf((stack) => ({
      cluster: new DatabaseCluster(stack, 'Cluster', {
        engine: DatabaseClusterEngine.auroraPostgres({ version: AuroraPostgresEngineVersion.VER_16_6 }),
        writer: ClusterInstance.serverlessV2('writer'),
        vpc: stack.vpc,
        defaultDatabaseName: 'shop',
      }),
    }));
    expect(is.DB_HOST).toEqual({ 'Fn::GetAtt': [expect.stringMatching(/^Cluster/), 'Endpoint.Address'] });
    expect(is.DB_PORT).toEqual({ 'Fn::GetAtt': [expect.stringMatching(/^Cluster/), 'Endpoint.Port'] });
    expect(is.DB_NAME).toBe('shop');
  });

  test('may be named by the secret, worked on as a role, and verified by authorities that ECS injects', () => {
    const { is, template } = variablesOf((stack) => ({
      endpoint: { host: 'db.example' },
      databaseRole: 'app',
      ca: StringParameter.fromStringParameterName(stack, 'Ca', '/rds/ca'),
      login: { secret: Secret.fromSecretNameV2(stack, 'S', 's'), secretNamesDatabase: true },
    }));
    expect(is).not.toHaveProperty('DB_NAME');
    expect(is.ROLE).toBe('app');
    expect(definition(template).ContainerDefinitions[0].Secrets).toMatchObject([{ Name: 'DB_CA' }]);
    const { template: other } = variablesOf((stack) => ({ endpoint: { host: 'db.example' }, name: 'shop', ca: new Secret(stack, 'Ca'), login: { secret: new Secret(stack, 'S') } }));
    expect(definition(other).ContainerDefinitions[0].Secrets).toMatchObject([{ Name: 'DB_CA' }]);
  });

  test('may be an endpoint alone, which the task may reach', () => {
    const secret = (stack: Newsroom) => Secret.fromSecretNameV2(stack, 'S', 'newsroom/db');
    const { is, template } = variablesOf((stack) => ({ endpoint: { host: 'db.example' }, name: 'shop', schema: 'press', login: { secret: secret(stack) } }));
    expect(is).toMatchObject({ DB_HOST: 'db.example', DB_PORT: '5432', DB_NAME: 'shop', DB_SCHEMA: 'press' });
    template.hasResourceProperties('AWS::EC2::SecurityGroup', {
      SecurityGroupEgress: [443, 443, 5432, 5432].map((FromPort) => Match.objectLike({ FromPort })),
    });
  });

  test('may be an endpoint with a security group, which lets the task in', () => {
    const { template } = variablesOf((stack) => ({
      endpoint: { host: 'db.example', port: 6000, resourceId: 'db-ABC', securityGroup: SecurityGroup.fromSecurityGroupId(stack, 'G', 'sg-0123456789abcdef0') },
      name: 'shop',
      login: { iamUser: 'migrator' },
    }));
    template.hasResourceProperties('AWS::EC2::SecurityGroupIngress', { FromPort: 6000, ToPort: 6000, GroupId: 'sg-0123456789abcdef0' });
  });
});

describe('an upload', () => {
  const rule = (template: Template) =>
    Object.values(template.findResources('AWS::Events::Rule')).find(({ Properties }) => Properties.EventPattern.source[0] === 'aws.s3')!.Properties;

  test('of this key starts a state machine with the etag and the event', () => {
    const template = made().template();
    const { EventPattern, Targets } = rule(template);
    expect(EventPattern.detail.object).toEqual({ key: [KEY] });
    const [target] = Targets;
    expect(target.Arn).toEqual({ Ref: expect.stringMatching(/^MigrateUploadStateMachine/) });
    expect(target.InputTransformer).toEqual({ InputPathsMap: { etag: '$.detail.object.etag', event: '$.id' }, InputTemplate: '{"etag":<etag>,"event":<event>}' });
    expect(target.RetryPolicy).toEqual({ MaximumEventAgeInSeconds: 3600, MaximumRetryAttempts: 185 });
    expect(target.DeadLetterConfig.Arn).toEqual({ 'Fn::GetAtt': [expect.stringMatching(/^MigrateUploadDeadLetters/), 'Arn'] });
    expect(statements(template, 'MigrateUploadRoleDefault')).toMatchObject([{ Action: 'states:StartExecution', Resource: target.Arn }]);
  });

  const direct = { startOnUpload: 'task' } as const;
  test('starts only the task if asked to, with the etag and the event', () => {
    const { EventPattern, Targets } = rule(made(() => direct).template());
    expect(EventPattern.detail.object).toEqual({ key: [KEY] });
    const [target] = Targets;
    expect(target.InputTransformer).toEqual({
      InputPathsMap: { etag: '$.detail.object.etag', event: '$.id' },
      InputTemplate:
        '{"containerOverrides":[{"name":"migrate","environment":[{"name":"PRISMA_ARTIFACT_ETAG","value":<etag>},{"name":"EVENT_ID","value":<event>}]}]}',
    });
    expect(target.RetryPolicy).toEqual({ MaximumEventAgeInSeconds: 3600, MaximumRetryAttempts: 185 });
    expect(target.DeadLetterConfig.Arn).toEqual({ 'Fn::GetAtt': [expect.stringMatching(/^MigrateUploadDeadLetters/), 'Arn'] });
    expect(target.EcsParameters).toMatchObject({
      LaunchType: 'FARGATE', NetworkConfiguration: { AwsVpcConfiguration: { AssignPublicIp: 'DISABLED' } },
    });
  });

  test('to a versioned bucket tells its version too', () => {
    const template = made((stack) => ({ ...direct, artifact: { bucket: stack.bucket, key: KEY, versioned: true } })).template();
    const { InputPathsMap, InputTemplate } = rule(template).Targets[0].InputTransformer;
    expect(InputPathsMap.version).toBe('$.detail.object.version-id');
    expect(InputTemplate).toContain('{"name":"PRISMA_ARTIFACT_VERSION_ID","value":<version>}');
  });

  test('is delivered by a role that can start this family in this cluster, and pass its two roles', () => {
    const [run, pass, ...others] = statements(made(() => direct).template(), 'MigrateUploadRole');
    expect(others).toEqual([]);
    expect(run).toMatchObject({ Action: 'ecs:RunTask', Condition: { ArnEquals: { 'ecs:cluster': { 'Fn::GetAtt': [expect.stringMatching(/^MigrateCluster/), 'Arn'] } } } });
    expect(JSON.stringify(run!.Resource)).toMatch(/task-definition\/newsroom-Migrate[\w-]*:\*/);
    expect(pass).toMatchObject({
      Action: 'iam:PassRole',
      Condition: { StringEquals: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } },
      Resource: [
        { 'Fn::GetAtt': [expect.stringMatching(/^MigrateDefinitionTaskRole/), 'Arn'] },
        { 'Fn::GetAtt': [expect.stringMatching(/^MigrateDefinitionExecutionRole/), 'Arn'] },
      ],
    });
  });

  test('starts nothing with startOnUpload: false', () => {
    const template = made(() => ({ startOnUpload: false })).template();
    template.resourceCountIs('AWS::Events::Rule', 0);
    template.resourceCountIs('AWS::SQS::Queue', 0);
  });
});

describe('the topic is told', () => {
  test('by rules and two alarms', () => {
    const template = made((stack) => ({ alarmTopic: new Topic(stack, 'Topic', { enforceSSL: true }) })).template();
    template.resourceCountIs('AWS::CloudWatch::Alarm', 2);
    template.hasResourceProperties('AWS::CloudWatch::Alarm', { Namespace: 'AWS/Events', MetricName: 'FailedInvocations', Threshold: 1 });
    template.hasResourceProperties('AWS::CloudWatch::Alarm', { Namespace: 'AWS/SQS', MetricName: 'ApproximateNumberOfMessagesVisible', Threshold: 1 });
    const [policy] = Object.values(template.findResources('AWS::SNS::TopicPolicy'));
    const allowed = policy!.Properties.PolicyDocument.Statement.filter(({ Effect }: { Effect: string }) => Effect === 'Allow');
    // EventBridge takes no condition there.
    expect(allowed).toMatchObject([
      { Principal: { Service: 'events.amazonaws.com' } },
      { Principal: { Service: 'cloudwatch.amazonaws.com' }, Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } } },
    ]);
    expect(allowed[0].Condition).toBeUndefined();
  });
});

describe('whoever uses the program from outside may', () => {
  type Rights = (task: PrismaMigrateTask, operator: Role) => unknown;
  function granted(rights: Rights, more: (stack: Newsroom) => Partial<PrismaMigrateTaskProps> = () => ({})) {
    const { stack, task, template } = made((newsroom) => ({ reports: { bucket: newsroom.bucket }, ...more(newsroom) }));
    rights(task, new Role(stack, 'Operator', { assumedBy: new AccountRootPrincipal() }));
    return statements(template(), 'Operator');
  }
  const actions = (rights: ReturnType<typeof granted>) => rights.flatMap(({ Action }) => Action).sort();
  const FOLLOW = ['cloudformation:DescribeStacks', 'ecs:DescribeTasks', 'logs:GetLogEvents', 's3:GetObject', 'tag:GetResources'];

  test('start, follow and stop it with grantRun', () => {
    const rights = granted((task, operator) => task.grantRun(operator));
    expect(actions(rights)).toEqual([...FOLLOW, 'ecs:RunTask', 'ecs:StopTask', 'iam:PassRole', 's3:PutObject'].sort());
    const everywhere = rights.filter(({ Resource }) => Resource === '*');
    expect(everywhere.map(({ Action }) => Action)).toEqual(['tag:GetResources']);
    expect(JSON.stringify(rights.find(({ Action }) => Action === 's3:PutObject')!.Resource)).toContain('/reports/sql/*');
  });

  test('take a snapshot first where it is asked for', () => {
    const rights = granted((task, operator) => task.grantRun(operator, { snapshotBefore: true }));
    expect(actions(rights).filter((action) => action.startsWith('rds:'))).toEqual([
      'rds:AddTagsToResource', 'rds:CreateDBSnapshot', 'rds:DescribeDBSnapshots',
    ]);
    const taking = rights.find(({ Action }) => Action.includes('rds:CreateDBSnapshot'))!;
    expect(JSON.stringify(taking.Resource)).toMatch(/:db:.*Database.*:snapshot:before-\*/);
  });

  test('wait and start nothing with grantWait', () => {
    const rights = granted((task, operator) => task.grantWait(operator));
    expect(actions(rights)).toEqual([...FOLLOW, 'ecs:ListTasks', 's3:GetBucketNotification', 's3:GetObject', 's3:ListBucket'].sort());
    const listing = rights.find(({ Action }) => Action === 'ecs:ListTasks')!;
    expect(listing).toMatchObject({ Resource: '*', Condition: { ArnEquals: { 'ecs:cluster': expect.anything() } } });
    expect(rights.find(({ Action }) => Action === 's3:ListBucket')!.Condition).toEqual({ StringLike: { 's3:prefix': 'reports/*' } });
  });

  test('upload that one key, with its encryption, and wait, with grantUpload', () => {
    const rights = granted(
      (task, operator) => task.grantUpload(operator),
      (stack) => ({ artifact: { bucket: new Bucket(stack, 'Encrypted', { encryption: BucketEncryption.KMS, versioned: true }), key: KEY, versioned: true } }),
    );
    const upload = rights.find(({ Action }) => Action === 's3:PutObject')!;
    expect(JSON.stringify(upload.Resource)).toContain(`/${KEY}`);
    expect(actions(rights)).toEqual(expect.arrayContaining(['kms:GenerateDataKey', 's3:GetObjectVersion', 'ecs:ListTasks']));
    expect(actions(rights)).not.toContain('ecs:RunTask');
  });
});

describe('the outputs', () => {
  test('are where run and wait look', () => {
    const outputs = Object.keys(made((stack) => ({ reports: { bucket: stack.bucket } })).template().findOutputs('*'));
    expect(outputs.filter((name) => name.startsWith('Migrate')).sort()).toEqual([
      'MigrateArtifact', 'MigrateAssignPublicIp', 'MigrateCluster', 'MigrateContainer', 'MigrateDatabaseInstance', 'MigrateDeadLetters', 'MigrateLogGroup',
      'MigrateReports', 'MigrateRule', 'MigrateSecurityGroups', 'MigrateStateMachine', 'MigrateSubnets', 'MigrateTaskDefinition',
    ]);
  });
});

describe('refused with a sentence', () => {
  const endpoint = { host: 'db.example' };
  const name = 'shop';
  const cases: [string, (stack: Newsroom) => Partial<PrismaMigrateTaskProps>, RegExp][] = [
    ['an image by its tag', () => ({ image: { reference: 'ghcr.io/example/prisma-migrate-task:1' } }), /is not pinned/],
    ['ECR without its repository', () => ({ image: { reference: `1.dkr.ecr.eu-west-1.amazonaws.com/x@${DIGEST}` } }), /needs the right to pull/],
    ['no database', () => ({ database: {} }), /exactly one of instance, cluster and endpoint, and has none of them/],
    ['two databases', (stack) => ({ database: { instance: stack.database, endpoint } }), /and has instance and endpoint/],
    ['an RDS Proxy', () => ({ database: { endpoint: { host: 'p.proxy-abc123.eu-west-1.rds.amazonaws.com' } } }), /is an RDS Proxy/],
    ['Aurora DSQL', () => ({ database: { endpoint: { host: 'abc.dsql.eu-west-1.on.aws' }, name: 'postgres', login: { iamUser: 'admin' } } }), /is Aurora DSQL/],
    ['no login', () => ({ database: { endpoint, name } }), /nothing says how to log in/],
    [
      'two logins',
      (stack) => ({ database: { instance: stack.database, login: { iamUser: 'a', secret: Secret.fromSecretNameV2(stack, 'S', 's') } } }),
      /takes one of secret, iamUser and password, and has secret and iamUser/,
    ],
    ['IAM without a resource id', () => ({ database: { endpoint, name, login: { iamUser: 'a' } } }), /needs the resource id/],
    ['a user without a password', (stack) => ({ database: { instance: stack.database, login: { user: 'a' } } }), /login.user belongs to password/],
    [
      'a password without a user',
      (stack) => ({
        database: { endpoint, name, login: { password: StringParameter.fromSecureStringParameterAttributes(stack, 'P', { parameterName: '/p' }) } },
      }),
      /login.password needs database.login.user/,
    ],
    ['a key without a secret', (stack) => ({ database: { endpoint, name, login: { secretKey: new Key(stack, 'K') } } }), /belongs to a secret/],
    [
      'a cluster whose database nobody names',
      (stack) => ({
        database: {
          cluster: DatabaseCluster.fromDatabaseClusterAttributes(stack, 'C', { clusterIdentifier: 'c', clusterEndpointAddress: 'c.example', port: 5432, securityGroups: [] }),
          login: { secret: Secret.fromSecretNameV2(stack, 'S', 's') },
        },
      }),
      /would migrate "postgres".*defaultDatabaseName.*login.secretNamesDatabase/,
    ],
    [
      'an instance without a database of its own',
      (stack) => ({
        database: { instance: new DatabaseInstance(stack, 'D', { engine: DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17 }), vpc: stack.vpc }) },
      }),
      /nothing says which database/,
    ],
    ['an endpoint with IAM and no name', () => ({ database: { endpoint: { ...endpoint, resourceId: 'db-A' }, login: { iamUser: 'a' } } }), /nothing says which database/],
    ['a name in a secret that is not there', () => ({ database: { endpoint, name, login: { iamUser: 'a', secretNamesDatabase: true } } }), /secretNamesDatabase is about login.secret/],
    ['a role as a setting', () => ({ settings: { ROLE: 'app' } }), /is made from database.databaseRole/],
    ['no processor', () => ({ architecture: undefined as never }), /architecture is not given/],
    ['no bucket', () => ({ artifact: { key: KEY } }), /exactly one of bucket and bucketParameter/],
    ['two buckets', (stack) => ({ artifact: { bucket: stack.bucket, bucketParameter: '/b', key: KEY } }), /exactly one of bucket and bucketParameter/],
    ['a key that begins with a slash', (stack) => ({ artifact: { bucket: stack.bucket, key: `/${KEY}` } }), /is no key of one object/],
    ['a key with a wildcard', (stack) => ({ artifact: { bucket: stack.bucket, key: 'newsroom/*' } }), /is no key of one object/],
    ['public subnets without an address', () => ({ vpcSubnets: { subnetType: SubnetType.PUBLIC } }), /cannot pull its image/],
    ['a stop timeout beyond Fargate', () => ({ stopTimeout: Duration.seconds(121) }), /at most 120/],
    [
      'a retention of a log group that exists',
      (stack) => ({ logGroup: LogGroup.fromLogGroupName(stack, 'L', 'l'), logRetention: RetentionDays.ONE_DAY }),
      /take one of the two/,
    ],
    ['a setting that no flag has', () => ({ settings: { LOCKWAIT: '1m' } }), /settings.LOCKWAIT stands for no flag/],
    ['a setting that the construct makes', () => ({ settings: { STOP_WITHIN: '1m' } }), /is made from stopTimeout/],
    ['a variable that is none of a flag', () => ({ settings: { DATABASE_URL: 'postgres://' } }), /settings.DATABASE_URL stands for no flag/],
    ['an empty setting', () => ({ settings: { LOCK_WAIT: '' } }), /is empty/],
    ['reports in a folder with slashes', (stack) => ({ reports: { bucket: stack.bucket, prefix: '/a' } }), /is no folder/],
  ];
  test.each(cases)('%s', (_, more, sentence) => {
    expect(() => made(more)).toThrow(sentence);
  });

  test('two tasks with the same outputs', () => {
    const { stack } = made();
    expect(() => new PrismaMigrateTask(stack, 'Other', stack.props())).toThrow(/give one of its two tasks another outputPrefix/);
    expect(() => new PrismaMigrateTask(stack, 'Third', stack.props({ outputPrefix: 'Other' }))).not.toThrow();
  });
});

test('the whole template is as it was', () => {
  const { template } = made((stack) => ({ alarmTopic: new Topic(stack, 'Topic', { enforceSSL: true }), family: 'newsroom-migrate' }));
  const { Resources } = template().toJSON();
  const ours = Object.fromEntries(Object.entries(Resources).filter(([id]) => id.startsWith('Migrate')));
  expect(ours).toMatchSnapshot();
});
