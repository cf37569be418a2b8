import { App, CfnOutput, Duration, Lazy, LegacyStackSynthesizer, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, test } from 'vitest';
import { atEachSynth, fromRiffRaff, MigrationGate, type MigrationGateProps, PrismaMigrateTask, type PrismaMigrateTaskProps } from '../lib/index.js';
import { KEY, Newsroom } from './newsroom.js';

function made(gate: Partial<MigrationGateProps> = {}, more: (stack: Newsroom) => Partial<PrismaMigrateTaskProps> = () => ({})) {
  const stack = new Newsroom();
  const task = new PrismaMigrateTask(stack, 'Migrate', stack.props({ family: 'newsroom-migrate', ...more(stack) }));
  const it = new MigrationGate(stack, 'Gate', { task, deploymentId: fromRiffRaff(), ...gate });
  return { stack, gate: it, template: () => Template.fromStack(stack) };
}

function custom(template: Template) {
  const [resource] = Object.values(template.findResources('Custom::PrismaMigrations'));
  return resource!;
}

describe('the gate', () => {
  test('is a custom resource that changes with RiffRaff\'s deployment, waits an hour, and starts the task like the rule', () => {
    const template = made().template();
    template.hasParameter('RiffRaffDeploymentId', { Type: 'String' });
    const { Properties } = custom(template);
    expect(Properties).toMatchObject({ DeploymentId: { Ref: 'RiffRaffDeploymentId' }, ServiceTimeout: '3600', Variables: '{"CFN_RETRIES":"3","MAX_DURATION":"3300s"}' });
    expect(JSON.stringify(Properties.Task)).toContain('\\"launchType\\":\\"FARGATE\\"');
    template.resourceCountIs('AWS::CloudFormation::WaitCondition', 0);
  });

  test('two gates of a stack share that parameter', () => {
    const { stack } = made();
    const task = new PrismaMigrateTask(stack, 'Other', stack.props({ outputPrefix: 'Other' }));
    expect(() => new MigrationGate(stack, 'OtherGate', { task, deploymentId: fromRiffRaff() })).not.toThrow();
  });

  test('waits for everything of the task, and for the rule that answers for it', () => {
    const depends: string[] = custom(made().template()).DependsOn;
    for (const needed of ['MigrateDefinitionTaskRoleDefaultPolicy', 'MigrateSecurityGroup', 'GateStopped', 'GateStarterRoleDefaultPolicy']) {
      expect(depends.some((id) => id.startsWith(needed)), needed).toBe(true);
    }
  });

  // CloudFormation took 4096 characters once, and 4 MB since 2022: https://github.com/aws/aws-cdk/pull/20624
  test('has inline code, and a stack without assets', () => {
    const { stack, template } = made();
    const { ZipFile } = Object.values(template().findResources('AWS::Lambda::Function', { Properties: { Handler: 'index.handler' } }))[0]!.Properties.Code;
    expect(ZipFile).not.toMatch(/SUCCESS_CODES|AGAIN_CODES|CONTAINER\b/);
    expect((stack.node.root as App).synth().getStackByName('newsroom').assets).toEqual([]);
  });

  test('hears of its own tasks alone', () => {
    const template = made().template();
    const { Variables, Task } = custom(template).Properties;
    const startedBy = /\\"startedBy\\":\\"([^\\]+)\\"/.exec(JSON.stringify(Task))![1];
    expect(startedBy!.length).toBeLessThanOrEqual(36);
    template.hasResourceProperties('AWS::Events::Rule', {
      EventPattern: Match.objectLike({ detail: Match.objectLike({ lastStatus: ['STOPPED'], startedBy: [startedBy] }) }),
    });
    expect(Variables).toBeDefined();
  });

  test('may start this family, describe tasks of this cluster and this stack, and write its log', () => {
    const policies = Object.entries(made().template().findResources('AWS::IAM::Policy')).filter(([id]) => id.startsWith('GateStarterRole'));
    const rights: { Action: string | string[]; Resource: unknown }[] = policies[0]![1].Properties.PolicyDocument.Statement;
    expect(rights.map(({ Action }) => Action)).toEqual([
      'ecs:RunTask', 'iam:PassRole', ['ecs:DescribeTasks', 'ecs:StopTask'], 'ecs:ListTasks', 'cloudformation:DescribeStacks',
      ['logs:CreateLogStream', 'logs:PutLogEvents'],
    ]);
    expect(rights[4]!.Resource).toEqual({ Ref: 'AWS::StackId' });
    // ListTasks knows no resource of ours, and is bound to the cluster by its condition.
    expect(rights.filter(({ Resource }) => Resource === '*')).toMatchObject([{ Action: 'ecs:ListTasks', Condition: { ArnEquals: { 'ecs:cluster': {} } } }]);
  });

  test('tells the task which version, and leaves a duration alone that is shorter', () => {
    const template = made({ artifactVersionId: 'v7', deploymentId: '17' }, (stack) => ({
      artifact: { bucket: stack.bucket, key: KEY, versioned: true },
      settings: { MAX_DURATION: '10m' },
    })).template();
    expect(custom(template).Properties).toMatchObject({ DeploymentId: '17', Variables: '{"CFN_RETRIES":"3","MAX_DURATION":"600s","PRISMA_ARTIFACT_VERSION_ID":"v7"}' });
    const long = made({}, () => ({ settings: { MAX_DURATION: '1day 2h' } })).template();
    expect(custom(long).Properties.Variables).toBe('{"CFN_RETRIES":"3","MAX_DURATION":"3300s"}');
  });

  test('above one hour is a wait condition, another one at each deploy', () => {
    const at = (deploymentId: string) => {
      const { stack, gate, template } = made({ timeout: Duration.hours(12), deploymentId });
      new CfnOutput(stack, 'Api', { value: 'behind the gate' }).node.addDependency(gate);
      return template();
    };
    const template = at('build-17');
    template.hasResource('AWS::CloudFormation::WaitCondition', { Properties: { Count: 1, Timeout: '43200' }, DependsOn: Match.anyValue() });
    const [id, condition] = Object.entries(template.findResources('AWS::CloudFormation::WaitCondition'))[0]!;
    expect(condition.DependsOn).toContainEqual(expect.stringMatching(/^Gate/));
    expect(custom(template).Properties).toMatchObject({ DeploymentId: 'build-17', SignalUrl: condition.Properties.Handle, ServiceTimeout: '600' });
    expect(Object.keys(at('build-18').findResources('AWS::CloudFormation::WaitCondition'))[0]).not.toBe(id);
  });

  test('in a stack of its own names the family: a revision that it held could not be changed', () => {
    const stack = new Newsroom();
    const task = new PrismaMigrateTask(stack, 'Migrate', stack.props({ family: 'newsroom-migrate' }));
    const other = new Stack(stack.node.root, 'gate', { synthesizer: new LegacyStackSynthesizer() });
    new MigrationGate(other, 'Gate', { task, deploymentId: '17' });
    const text = JSON.stringify(Template.fromStack(other).toJSON());
    expect(text).toContain('\\"taskDefinition\\":\\"newsroom-migrate\\"');
    expect(text).not.toMatch(/ImportValue[^}]*RefMigrateDefinition/);
  });

  test('with passOnCreate may list the one key, and says which', () => {
    const template = made({ whenMissing: 'passOnCreate' }).template();
    expect(custom(template).Properties).toMatchObject({ WhenMissing: 'passOnCreate', Key: KEY });
    const policies = Object.entries(template.findResources('AWS::IAM::Policy')).filter(([id]) => id.startsWith('GateStarterRole'));
    const rights: { Action: string }[] = policies[0]![1].Properties.PolicyDocument.Statement;
    expect(rights.filter(({ Action }) => Action.includes('s3:'))).toMatchObject([{ Action: 's3:ListBucket', Condition: { StringEquals: { 's3:prefix': KEY } } }]);
    expect(JSON.stringify(made().template().findResources('AWS::IAM::Policy'))).not.toContain('s3:prefix');
  });

  test('switches the upload off, with its outputs and alarms, unless both are asked for', () => {
    const uploads = (startOnUpload?: boolean) => {
      const template = made({}, (stack) => ({ alarmTopic: new Topic(stack, 'Topic'), startOnUpload })).template();
      const rules = Object.values(template.findResources('AWS::Events::Rule')).filter(({ Properties }) => Properties.EventPattern.source[0] === 'aws.s3');
      const outputs = Object.keys(template.findOutputs('*')).filter((name) => /Rule|DeadLetters|StateMachine/.test(name));
      return { rules: rules.length, outputs: outputs.length, alarms: Object.keys(template.findResources('AWS::CloudWatch::Alarm')).length };
    };
    expect(uploads()).toEqual({ rules: 0, outputs: 0, alarms: 0 });
    expect(uploads(false)).toEqual({ rules: 0, outputs: 0, alarms: 0 });
    expect(uploads(true).rules).toBe(1);
  });

  test('at each synth is another one', async () => {
    const first = atEachSynth();
    await new Promise((done) => setTimeout(done, 5));
    expect(atEachSynth()).not.toBe(first);
  });

  const cases: [string, () => unknown, RegExp][] = [
    ['a timeout beyond CloudFormation', () => made({ timeout: Duration.hours(13), deploymentId: '1' }), /twelve hours at most/],
    ['a timeout of a minute', () => made({ timeout: Duration.minutes(1) }), /under ten minutes/],
    ['a long timeout with a parameter', () => made({ timeout: Duration.hours(2), deploymentId: Lazy.string({ produce: () => '1' }) }), /known when the app is synthesized/],
    ['no deployment', () => made({ deploymentId: undefined as never }), /the commit or the build number, or fromRiffRaff\(\), or atEachSynth\(\)/],
    ['an empty deployment', () => made({ deploymentId: '' }), /Give a string such as the commit/],
    ['a long timeout with RiffRaff', () => made({ timeout: Duration.hours(2), deploymentId: fromRiffRaff() }), /known when the app is synthesized/],
    ['half a retry', () => made({ retries: 0.5 }), /a whole number from 0 to 10/],
    [
      'a version that may be missing',
      () => made({ artifactVersionId: 'v7', whenMissing: 'passOnCreate' }, (stack) => ({ artifact: { bucket: stack.bucket, key: KEY, versioned: true } })),
      /take one of the two/,
    ],
    ['a duration that is none', () => made({}, () => ({ settings: { MAX_DURATION: 'soon' } })), /is no duration/],
    ['an empty command', () => made({ command: [] }), /command is empty/],
    ['SQL by hand', () => made({ command: ['execute', 'SELECT 1'] }), /is done by RunTask/],
    ['a version of an unversioned bucket', () => made({ artifactVersionId: 'v7' }), /set artifact.versioned/],
  ];
  test.each(cases)('refuses %s', (_, act, sentence) => expect(act).toThrow(sentence));
});

test('the whole template of a gate is as it was', () => {
  const { Resources } = made().template().toJSON();
  expect(Object.fromEntries(Object.entries(Resources).filter(([id]) => id.startsWith('Gate')))).toMatchSnapshot();
});

