import { Duration, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import jsonata from 'jsonata';
import { describe, expect, test } from 'vitest';
import { MigrationStateMachine, type MigrationStateMachineProps, PrismaMigrateTask } from '../lib/index.js';
import { EXPRESSIONS } from '../lib/states.js';
import { play, TaskError } from './play.js';
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
  // The task itself knows when to stop: a state that times out stops no task.
  expect(Deploy.TimeoutSeconds).toBe(43_200);
  expect(JSON.stringify(Deploy.Resource)).toContain(':states:::ecs:runTask.sync');
  expect(Deploy.Arguments.Overrides.ContainerOverrides).toMatchObject([{ Name: 'migrate', Environment: expect.stringContaining('"MAX_DURATION", "Value": "42900s"') }]);
  const inChina = JSON.stringify(definition(made(({ database }) => ({ snapshotBefore: { instance: database } })).template()));
  expect(inChina).not.toContain('arn:aws:');
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
  const { Targets } = definition(made(() => ({ targets: [{ DB_SCHEMA: 'a' }], concurrency: 3 })).template()).States;
  expect(Targets).toMatchObject({ Type: 'Map', Items: [{ DB_SCHEMA: 'a' }], MaxConcurrency: 3, ItemProcessor: { ProcessorConfig: { Mode: 'DISTRIBUTED' } } });
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
    [{ DB_SCHEMA: 'a' }, [{ Name: 'DB_SCHEMA', Value: 'a' }]],
    [{ DB_SCHEMA: 'a', DB_HOST: 'h' }, [{ Name: 'DB_SCHEMA', Value: 'a' }, { Name: 'DB_HOST', Value: 'h' }]],
  ])('a target is the task\'s variables: a list, also of one', async (target, expected) => {
    expect(await evaluate(EXPRESSIONS.environment, { input: { target, uploaded: [] } })).toEqual(expected);
    const told = [{ Name: 'PRISMA_ARTIFACT_ETAG', Value: 'e' }];
    expect(await evaluate(EXPRESSIONS.environment, { input: { target, uploaded: told } })).toEqual([...told, ...expected]);
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

/** What ECS says of a task, as Step Functions has it in the cause; GuardDuty's agent comes first. */
const stopped = (task: object, container: object) =>
  JSON.stringify({ ...task, Containers: [{ Name: 'aws-guardduty-agent-x1', ExitCode: 0 }, { Name: 'migrate', ...container }] });
const failing = (task: object, container: object = {}) => () => {
  throw new TaskError('States.TaskFailed', stopped(task, container));
};
const refusing = () => {
  throw new TaskError('AmazonECS.Unknown', 'RESOURCE:ENI');
};
const EXITED = { StopCode: 'EssentialContainerExited', StoppedReason: 'Essential container in task exited', StartedAt: 1 };
const NEVER = { StopCode: 'TaskFailedToStart', StoppedReason: 'Timeout waiting for network interface provisioning to complete.' };
const ok = () => ({});

/** Plays the machine; each run of a task does the next of these, and the last one for ever. */
async function played(props: (stack: Newsroom) => Partial<MigrationStateMachineProps>, runs: (() => unknown)[], input: object = {}) {
  const asked: any[] = [];
  const told: any[] = [];
  const snapshots: any[] = [];
  const { template } = made((stack) => ({ failureTopic: new Topic(stack, 'Topic'), ...props(stack) }));
  const machine = JSON.parse(JSON.stringify(definition(template())).replaceAll(/\{"Fn::Join":\["",\["arn:",\{"Ref":"AWS::Partition"\},"(:states:::[^"]+)"\]\]\}/g, '"arn:aws$1"'));
  const done = await play(machine, input, {
    'ecs:runTask.sync': (argument) => {
      asked.push(argument.Overrides.ContainerOverrides[0]);
      return (runs.length > 1 ? runs.shift()! : runs[0]!)();
    },
    'sns:publish': (argument) => told.push(argument.Message),
    'aws-sdk:rds:createDBSnapshot': (argument) => snapshots.push(argument),
    'aws-sdk:rds:describeDBSnapshots': () => ({ DbSnapshots: [{ Status: 'available' }] }),
  });
  return { ...done, asked, told, snapshots };
}

describe('a run that Step Functions calls failed', () => {
  // https://github.com/aws/aws-cdk/issues/32877: the container exited with 0, and another one of the task could not start.
  test.each([0, 70])('is a success if the container ended with %d', async (ExitCode) => {
    for (const task of [EXITED, { ...NEVER, StartedAt: 1 }, NEVER]) {
      expect(await played(() => ({}), [failing(task, { ExitCode })])).toMatchObject({ status: 'SUCCEEDED', told: [], asked: [{}] });
    }
  });

  test('is none of ours if a newer upload took its place', async () => {
    expect(await played(() => ({}), [failing(EXITED, { ExitCode: 41 })])).toMatchObject({ status: 'SUCCEEDED', told: [] });
  });

  // Stopped reasons: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
  const passing: [string, () => unknown][] = [
    ['no network interface', failing(NEVER)],
    ['no capacity', failing({ ...NEVER, StoppedReason: 'Capacity is unavailable at this time. Please try again later or in a different availability zone' })],
    ['an image that could not be pulled', failing({ ...NEVER, StoppedReason: 'CannotPullContainerError: ref pull has been retried 5 time(s)' })],
    ['secrets that could not be fetched', failing({ ...NEVER, StoppedReason: 'ResourceInitializationError: unable to pull secrets or registry auth' })],
    ['failures[] of RunTask', refusing],
    ['the migration lock', failing(EXITED, { ExitCode: 30 })],
    ['table locks', failing(EXITED, { ExitCode: 31 })],
    ['an interruption', failing({ ...EXITED, StopCode: 'TerminationNotice' }, { ExitCode: 60 })],
  ];
  test.each(passing)('is started again after %s, and what it was told stays', async (_, run) => {
    const done = await played(() => ({}), [run, run, ok], { version: 'v1', etag: 'e1', event: 'id1' });
    expect(done).toMatchObject({ status: 'SUCCEEDED', told: [] });
    expect(done.asked).toHaveLength(3);
    for (const { Name, Environment } of done.asked) {
      expect(Name).toBe('migrate');
      expect(Environment).toEqual([
        { Name: 'MAX_DURATION', Value: '42900s' },
        { Name: 'PRISMA_ARTIFACT_VERSION_ID', Value: 'v1' },
        { Name: 'PRISMA_ARTIFACT_ETAG', Value: 'e1' },
        { Name: 'EVENT_ID', Value: 'id1' },
      ]);
    }
  });

  test.each(passing)('sends one message when the limit is reached: %s', async (_, run) => {
    const done = await played(() => ({}), [run]);
    expect(done.status).toBe('FAILED');
    expect(done.told).toHaveLength(1);
    expect(done.asked.length).toBeGreaterThan(3);
    expect(done.asked.length).toBeLessThan(20);
  });

  const final: [string, () => unknown][] = [
    ['a migration that failed', failing(EXITED, { ExitCode: 20 })],
    ['one that a person must look at', failing(EXITED, { ExitCode: 61 })],
    ['no exit code of a container that ran', failing({ ...EXITED, StopCode: 'TerminationNotice' })],
    ['no exit code, and another container that could not start', failing({ ...NEVER, StartedAt: 1 })],
    ['a person who stopped it', failing({ ...EXITED, StopCode: 'UserInitiated' }, { ExitCode: 60 })],
    ['a time that is over', () => { throw new TaskError('States.Timeout', ''); }],
  ];
  test.each(final)('sends a message immediately after %s', async (_, run) => {
    const done = await played(() => ({}), [run, ok]);
    expect(done).toMatchObject({ status: 'FAILED', error: 'MigrationsFailed' });
    expect(done.asked).toHaveLength(1);
    expect(done.told).toHaveLength(1);
  });
});

test('check, snapshot and deploy read the same upload', async () => {
  const pending = failing(EXITED, { ExitCode: 10 });
  const done = await played((stack) => ({ snapshotBefore: { instance: stack.database } }), [pending, failing(NEVER), ok], { version: 'v1' });
  expect(done).toMatchObject({ status: 'SUCCEEDED', told: [] });
  expect(done.snapshots).toHaveLength(1);
  expect(done.asked.map(({ Command }) => Command)).toEqual([['plan', '--check'], undefined, undefined]);
  for (const { Environment } of done.asked) expect(Environment[1]).toEqual({ Name: 'PRISMA_ARTIFACT_VERSION_ID', Value: 'v1' });
  const nothing = await played((stack) => ({ snapshotBefore: { instance: stack.database } }), [ok]);
  expect(nothing).toMatchObject({ status: 'SUCCEEDED', snapshots: [], asked: [{}] });
});

test('every target of a fleet reads the same upload, and one that fails sends a message', async () => {
  const targets = [{ DB_SCHEMA: 'a' }, { DB_SCHEMA: 'b' }, { DB_SCHEMA: 'c' }];
  const done = await played(() => ({ targets }), [failing(EXITED, { ExitCode: 0 }), failing(NEVER), ok, failing(EXITED, { ExitCode: 20 })], { version: 'v1' });
  expect(done.status).toBe('FAILED');
  expect(done.cause).toContain('1 of 3 targets failed');
  expect(done.told).toHaveLength(1);
  expect(done.asked.map(({ Environment }) => Environment.map(({ Value }: { Value: string }) => Value).join(' '))).toEqual([
    '42900s v1 a', '42900s v1 b', '42900s v1 b', '42900s v1 c',
  ]);
});

describe('an upload', () => {
  const target = (template: Template) =>
    Object.values(template.findResources('AWS::Events::Rule')).find(({ Properties }) => Properties.EventPattern.source[0] === 'aws.s3')!.Properties.Targets[0];

  test('starts the full state machine if there is one in the stack, and then the minimal one is not made', () => {
    const template = made().template();
    template.resourceCountIs('AWS::StepFunctions::StateMachine', 1);
    expect(JSON.stringify(target(template).Arn)).toContain('MigrateMachine');
    expect(JSON.stringify(template.findOutputs('MigrateStateMachine'))).toContain('MigrateMachine');
    const [, role] = Object.entries(template.findResources('AWS::IAM::Policy')).find(([id]) => id.startsWith('MigrateUploadRole'))!;
    expect(JSON.stringify(role.Properties)).toContain('MigrateMachine');
  });

  test('goes on starting the minimal one if that is said, or another one was first', () => {
    const template = made(() => ({ startOnUpload: false })).template();
    template.resourceCountIs('AWS::StepFunctions::StateMachine', 2);
    expect(JSON.stringify(target(template).Arn)).toContain('MigrateUpload');
    const stack = new Newsroom();
    const task = new PrismaMigrateTask(stack, 'Migrate', stack.props());
    new MigrationStateMachine(stack, 'First', { task });
    new MigrationStateMachine(stack, 'Second', { task });
    expect(() => new MigrationStateMachine(stack, 'Third', { task, startOnUpload: true })).toThrow(/started by the upload already/);
    expect(JSON.stringify(target(Template.fromStack(stack)).Arn)).toContain('First');
  });

  test('cannot start what is in another stack, or starts nothing', () => {
    const stack = new Newsroom();
    const task = new PrismaMigrateTask(stack, 'Migrate', stack.props());
    const other = new Stack(stack.node.root, 'other');
    expect(() => new MigrationStateMachine(other, 'Machine', { task, startOnUpload: true })).toThrow(/needs a task in the same stack/);
    new MigrationStateMachine(other, 'Fine', { task });
    expect(JSON.stringify(target(Template.fromStack(stack)).Arn)).toContain('MigrateUpload');
  });
});

const refused: [string, (stack: Newsroom) => Partial<MigrationStateMachineProps>, RegExp][] = [
  ['a snapshot of nothing', () => ({ snapshotBefore: {} }), /exactly one of instance and cluster/],
  ['a snapshot of many', (stack) => ({ snapshotBefore: { instance: stack.database }, targets: [{ DB_SCHEMA: 'a' }] }), /targets are many/],
  ['half a retry', () => ({ retries: 0.5 }), /a whole number from 0 to 10/],
  ['a minute', () => ({ timeout: Duration.minutes(1) }), /under ten minutes/],
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
