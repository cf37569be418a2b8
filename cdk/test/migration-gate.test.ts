import { App, CfnOutput, Duration, Lazy, LegacyStackSynthesizer, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import { MigrationGate, type MigrationGateProps, PrismaMigrateTask, type PrismaMigrateTaskProps } from '../lib/index.js';
import { KEY, Newsroom } from './newsroom.js';

function made(gate: Partial<MigrationGateProps> = {}, more: (stack: Newsroom) => Partial<PrismaMigrateTaskProps> = () => ({})) {
  const stack = new Newsroom();
  const task = new PrismaMigrateTask(stack, 'Migrate', stack.props({ family: 'newsroom-migrate', ...more(stack) }));
  const it = new MigrationGate(stack, 'Gate', { task, ...gate });
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
    expect(Properties).toMatchObject({ DeploymentId: { Ref: 'RiffRaffDeploymentId' }, ServiceTimeout: '3600', Container: 'migrate', Variables: '{"MAX_DURATION":"3300s"}' });
    expect(JSON.stringify(Properties.Task)).toContain('\\"launchType\\":\\"FARGATE\\"');
    template.resourceCountIs('AWS::CloudFormation::WaitCondition', 0);
  });

  test('two gates of a stack share that parameter', () => {
    const { stack } = made();
    const task = new PrismaMigrateTask(stack, 'Other', stack.props({ outputPrefix: 'Other' }));
    expect(() => new MigrationGate(stack, 'OtherGate', { task })).not.toThrow();
  });

  test('waits for everything of the task, and for the rule that answers for it', () => {
    const depends: string[] = custom(made().template()).DependsOn;
    for (const needed of ['MigrateDefinitionTaskRoleDefaultPolicy', 'MigrateSecurityGroup', 'GateStopped', 'GateStarterRoleDefaultPolicy']) {
      expect(depends.some((id) => id.startsWith(needed)), needed).toBe(true);
    }
  });

  test('has inline code below 4096 characters, and a stack without assets', () => {
    const { stack, template } = made();
    const { ZipFile } = Object.values(template().findResources('AWS::Lambda::Function', { Properties: { Handler: 'index.handler' } }))[0]!.Properties.Code;
    expect(ZipFile.length).toBeLessThan(4096);
    expect(ZipFile).not.toContain('SUCCESS_CODES');
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
      'ecs:RunTask', 'iam:PassRole', 'ecs:DescribeTasks', 'cloudformation:DescribeStacks', ['logs:CreateLogStream', 'logs:PutLogEvents'],
    ]);
    expect(rights[3]!.Resource).toEqual({ Ref: 'AWS::StackId' });
    expect(rights.some(({ Resource }) => Resource === '*')).toBe(false);
  });

  test('tells the task which version, and leaves a duration alone that was set', () => {
    const template = made({ artifactVersionId: 'v7', deploymentId: '17' }, (stack) => ({
      artifact: { bucket: stack.bucket, key: KEY, versioned: true },
      settings: { MAX_DURATION: '10m' },
    })).template();
    expect(custom(template).Properties).toMatchObject({ DeploymentId: '17', Variables: '{"PRISMA_ARTIFACT_VERSION_ID":"v7"}' });
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
    new MigrationGate(other, 'Gate', { task });
    const text = JSON.stringify(Template.fromStack(other).toJSON());
    expect(text).toContain('\\"taskDefinition\\":\\"newsroom-migrate\\"');
    expect(text).not.toMatch(/ImportValue[^}]*RefMigrateDefinition/);
  });

  const cases: [string, () => unknown, RegExp][] = [
    ['a timeout beyond CloudFormation', () => made({ timeout: Duration.hours(13), deploymentId: '1' }), /twelve hours at most/],
    ['a timeout of a minute', () => made({ timeout: Duration.minutes(1) }), /under ten minutes/],
    ['a long timeout without a deployment', () => made({ timeout: Duration.hours(2) }), /give deploymentId as a text/],
    ['a long timeout with a parameter', () => made({ timeout: Duration.hours(2), deploymentId: Lazy.string({ produce: () => '1' }) }), /known when the app is synthesized/],
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

