import { Duration } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import jsonata from 'jsonata';
import { describe, expect, test } from 'vitest';
import { MigrationStateMachine, type MigrationStateMachineProps, PrismaMigrateTask } from '../lib/index.js';
import { EXPRESSIONS } from '../lib/states.js';
import { findings } from './checks.js';
import { Newsroom } from './newsroom.js';

function made(props: (stack: Newsroom) => Partial<MigrationStateMachineProps> = () => ({})) {
  const stack = new Newsroom();
  const task = new PrismaMigrateTask(stack, 'Migrate', stack.props({ family: 'newsroom-migrate' }));
  new MigrationStateMachine(stack, 'MigrateMachine', { task, ...props(stack) });
  return { stack, template: () => Template.fromStack(stack) };
}

function definition(template: Template): any {
  const [resource] = Object.values(template.findResources('AWS::StepFunctions::StateMachine'));
  return resource!.Properties.Definition;
}

function actions(template: Template): string[] {
  const policies = Object.entries(template.findResources('AWS::IAM::Policy')).filter(([id]) => id.startsWith('MigrateMachineRole'));
  return policies[0]![1].Properties.PolicyDocument.Statement.flatMap(({ Action }: { Action: string | string[] }) => [Action].flat());
}

/** Every state that another names is there, and every state is named. */
function connected({ StartAt, States }: { StartAt: string; States: Record<string, object> }): void {
  const named = new Set([StartAt]);
  for (const [name, state] of Object.entries(States)) {
    const { ItemProcessor, ...own } = state as { ItemProcessor?: never };
    if (ItemProcessor) connected(ItemProcessor);
    for (const match of JSON.stringify(own).matchAll(/"(?:Next|Default)":"(\w+)"/g)) {
      expect(States, `${name} leads to ${match[1]}`).toHaveProperty(match[1]!);
      named.add(match[1]!);
    }
  }
  expect([...named].sort()).toEqual(Object.keys(States).sort());
}

const shapes: [string, (stack: Newsroom) => Partial<MigrationStateMachineProps>][] = [
  ['one database', () => ({})],
  ['with a topic', (stack) => ({ failureTopic: new Topic(stack, 'Topic', { enforceSSL: true }) })],
  ['with a snapshot', (stack) => ({ snapshotBefore: { instance: stack.database } })],
  ['targets that are given', () => ({ targets: [{ DB_SCHEMA: 'tenant_a' }, { DB_SCHEMA: 'tenant_b', DB_HOST: 'b.example' }], concurrency: 3 })],
  ['targets in S3', (stack) => ({ targets: { bucket: stack.bucket, key: 'tenants.json' }, failureTopic: new Topic(stack, 'Topic', { enforceSSL: true }) })],
];

describe.each(shapes)('%s', (_, props) => {
  test('has states that lead to each other, and nothing that cdk-nag finds', () => {
    const { stack, template } = made(props);
    connected(definition(template()));
    expect(findings(stack, 'newsroom/Migrate')).toEqual([]);
  });
});

test('one run waits for the task for twelve hours', () => {
  const { Deploy } = definition(made().template()).States;
  expect(Deploy).toMatchObject({ Resource: 'arn:aws:states:::ecs:runTask.sync', TimeoutSeconds: 43200 });
  expect(Deploy.Arguments.Overrides.ContainerOverrides).toEqual([{ Name: 'migrate' }]);
  expect(definition(made(() => ({ timeout: Duration.hours(2) })).template()).States.Deploy.TimeoutSeconds).toBe(7200);
});

test('a snapshot is taken only when plan --check ends with "pending"', () => {
  const template = made((stack) => ({ snapshotBefore: { instance: stack.database } })).template();
  const { Begin, Check, CheckWhy, CheckPause, IsSnapshot } = definition(template).States;
  expect(Begin.Next).toBe('Check');
  expect(Check).toMatchObject({ Next: 'Done', Arguments: { Overrides: { ContainerOverrides: [{ Command: ['plan', '--check'] }] } } });
  expect(CheckWhy.Choices.at(-1)).toMatchObject({ Condition: expect.stringContaining('= 10'), Next: 'Snapshot' });
  expect(CheckPause.Next).toBe('Check');
  expect(IsSnapshot.Choices[0].Next).toBe('Deploy');
  expect(actions(template)).toContain('rds:CreateDBSnapshot');
  expect(actions(made().template()).filter((action) => action.startsWith('rds:'))).toEqual([]);
});

test('many targets are a Distributed Map of one task each, as many at a time as is said', () => {
  const { Begin } = definition(made(() => ({ targets: [{ DB_SCHEMA: 'a' }], concurrency: 3 })).template()).States;
  expect(Begin).toMatchObject({ Type: 'Map', Items: [{ DB_SCHEMA: 'a' }], MaxConcurrency: 3, ItemProcessor: { ProcessorConfig: { Mode: 'DISTRIBUTED' } } });
});

test('its role may do what runTask.sync takes', () => {
  expect(actions(made().template()).filter((action) => /^(ecs|iam|events|states|s3):/.test(action))).toEqual([
    'ecs:RunTask', 'iam:PassRole', 'ecs:StopTask', 'ecs:DescribeTasks', 'events:PutTargets', 'events:PutRule', 'events:DescribeRule',
  ]);
});

describe('what the states decide, evaluated', () => {
  const evaluate = async (expression: string, states: object, variables: Record<string, unknown> = {}) => {
    const parsed = jsonata(expression);
    parsed.registerFunction('parse', (text: string) => JSON.parse(text), '<s:x>');
    return parsed.evaluate({}, { states, ...variables });
  };
  const stoppedTask = { StopCode: 'EssentialContainerExited', StoppedReason: 'Essential container in task exited', Containers: [{ Name: 'agent', ExitCode: 0 }, { Name: 'migrate', ExitCode: 20 }] };

  test('the exit code is that of the container, in what ECS says as text', async () => {
    const failure = await evaluate(EXPRESSIONS.cause, { errorOutput: { Error: 'States.TaskFailed', Cause: JSON.stringify(stoppedTask) } });
    expect(failure).toEqual(stoppedTask);
    expect(await evaluate(EXPRESSIONS.exitCode, {}, { failure })).toBe(20);
  });

  test.each([['no such cluster', { Cause: 'no such cluster' }], ['', {}]])('a cause that is no task (%s) is a reason', async (reason, errorOutput) => {
    expect(await evaluate(EXPRESSIONS.cause, { errorOutput })).toEqual({ StoppedReason: reason });
  });

  test.each([
    ['TaskFailedToStart', 0, true],
    ['TaskFailedToStart', 3, false],
    ['EssentialContainerExited', 0, false],
  ])('%s at attempt %d is started again: %s', async (StopCode, attempts, again) => {
    expect(await evaluate(EXPRESSIONS.neverStarted, {}, { failure: { StopCode }, attempts })).toBe(again);
  });

  test.each([
    [{ DB_SCHEMA: 'a' }, [{ Name: 'DB_SCHEMA', Value: 'a' }]],
    [{ DB_SCHEMA: 'a', DB_HOST: 'h' }, [{ Name: 'DB_SCHEMA', Value: 'a' }, { Name: 'DB_HOST', Value: 'h' }]],
  ])('a target is the task\'s variables: a list, also of one', async (target, expected) => {
    expect(await evaluate(EXPRESSIONS.environment, { input: { target } })).toEqual(expected);
  });

  test.each([
    [['done', 'done'], []],
    [['done', { outcome: 'exit code 20' }], [{ outcome: 'exit code 20' }]],
  ])('the summary holds what is not done', async (result, expected) => {
    expect(await evaluate(EXPRESSIONS.failed, { result })).toEqual(expected);
  });

  test('the message names exit code, error, stop code and reason', async () => {
    const { Tell } = definition(made().template()).States;
    const expression = Tell.Assign.summary.replace(/^\{% | %\}$/g, '');
    expect(await evaluate(expression, {}, { failure: stoppedTask, error: 'States.TaskFailed' })).toBe(
      'exit code 20, States.TaskFailed, EssentialContainerExited, Essential container in task exited',
    );
    expect(await evaluate(expression, {}, { failure: { StoppedReason: '' }, error: 'States.Timeout' })).toBe('exit code none, States.Timeout, , ');
  });
});

const refused: [string, (stack: Newsroom) => Partial<MigrationStateMachineProps>, RegExp][] = [
  ['a snapshot of nothing', () => ({ snapshotBefore: {} }), /exactly one of instance and cluster/],
  ['a snapshot of many', (stack) => ({ snapshotBefore: { instance: stack.database }, targets: [{ DB_SCHEMA: 'a' }] }), /targets are many/],
  ['concurrency of one', () => ({ concurrency: 2 }), /there are none/],
  ['half a task at a time', () => ({ targets: [{ DB_SCHEMA: 'a' }], concurrency: 0.5 }), /a whole number/],
  ['no targets', () => ({ targets: [] }), /targets is empty/],
  ['a password in a target', () => ({ targets: [{ DB_PASSWORD: 'x' } as never] }), /a target holds DB_PASSWORD/],
];
test.each(refused)('refuses %s', (_, props, sentence) => expect(() => made(props)).toThrow(sentence));

test('the whole definition is as it was', () => {
  const template = made((stack) => ({ snapshotBefore: { instance: stack.database }, failureTopic: new Topic(stack, 'Topic', { enforceSSL: true }) })).template();
  expect(definition(template)).toMatchSnapshot();
});
