/** The function of the gate: the very text that stands in the template, with the SDK that Lambda has, against endpoints that speak HTTP. */
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Template } from 'aws-cdk-lib/assertions';
import { MigrationGate, PrismaMigrateTask } from '../lib/index.js';
import { Newsroom } from './newsroom.js';

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly action: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const asked: Asked[] = [];
let server: Server;
let origin: string;
/** How AWS answers, by the action's name; a list answers one after the other. */
let replies: Record<string, object | object[] | string | number>;
/** What CloudFormation's bucket answers, one after the other; 200 when it is empty. */
let statuses: number[];

beforeAll(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      const lists = /^\/(\w+)\/?\?.*list-type=2/.exec(request.url!)?.[1];
      const action = request.headers['x-amz-target']?.toString().split('.').pop() ?? new URLSearchParams(body).get('Action') ?? (lists ? `list ${lists}` : '');
      asked.push({ method: request.method!, path: request.url!, action, headers: request.headers, body });
      if (action === '') return void response.writeHead(statuses.shift() ?? 200).end();
      const found = replies[action];
      const reply = Array.isArray(found) ? found.shift() : found;
      if (reply === 403) return void response.writeHead(403).end('<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>');
      if (reply === undefined) return void response.writeHead(400).end(JSON.stringify({ __type: 'AccessDeniedException', message: `${action} is not allowed` }));
      response.writeHead(200, { 'content-type': typeof reply === 'string' ? 'text/xml' : 'application/x-amz-json-1.1' });
      response.end(typeof reply === 'string' ? reply : JSON.stringify(reply));
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  Object.assign(process.env, { AWS_ENDPOINT_URL: origin, AWS_REGION: 'eu-west-1', AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', PACE: '0', STACK, TASK: JSON.stringify(RUN) });
});
afterAll(() => server.close());

const stackIs = (status: string) =>
  `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackName>newsroom</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>${status}</StackStatus></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`;
const STACK = 'arn:aws:cloudformation:eu-west-1:123456789012:stack/newsroom/11111111-2222-3333-4444-555555555555';
const TASK = 'arn:aws:ecs:eu-west-1:123456789012:task/newsroom/0123456789abcdef';

const RUN = { cluster: 'newsroom', taskDefinition: 'newsroom-migrate:4', launchType: 'FARGATE', startedBy: 'gate' };
const AGENT = 'aws-guardduty-agent-x1y2z3';

beforeEach(() => {
  asked.length = 0;
  statuses = [];
  replies = { DescribeStacks: stackIs('UPDATE_IN_PROGRESS'), RunTask: { tasks: [{ taskArn: TASK }], failures: [] }, ListTasks: { taskArns: [] }, StopTask: {} };
});

/** The handler out of the template. */
function handler(): (event: object) => Promise<void> {
  const stack = new Newsroom();
  const task = new PrismaMigrateTask(stack, 'Migrate', stack.props());
  new MigrationGate(stack, 'Gate', { task, deploymentId: '17' });
  const [lambda] = Object.values(Template.fromStack(stack).findResources('AWS::Lambda::Function', { Properties: { Handler: 'index.handler' } }));
  const code: string = lambda!.Properties.Code.ZipFile;
  const module = { exports: {} as { handler: (event: object) => Promise<void> } };
  new Function('require', 'module', 'exports', code)(createRequire(import.meta.url), module, module.exports);
  return module.exports.handler;
}

const request = (more: object = {}, properties: object = {}) => ({
  RequestType: 'Update',
  ResponseURL: `${origin}/cloudformation?signature=secret`,
  StackId: STACK,
  RequestId: 'f6e0ba1e-0000-4444-8888-1234567890ab',
  LogicalResourceId: 'Gate',
  PhysicalResourceId: 'Gate',
  ResourceProperties: {
    DeploymentId: '17',
    Variables: '{"CFN_RETRIES":"3","MAX_DURATION":"3300s"}',
    Bucket: 'artifacts',
    Key: 'newsroom/CODE/api/prisma.zip',
    Task: JSON.stringify(RUN),
    ...properties,
  },
  ...more,
});

const of = (action: string) => asked.filter((one) => one.action === action);
const answers = () => of('').map(({ body }) => JSON.parse(body));
const ids = { PhysicalResourceId: 'Gate', StackId: STACK, RequestId: 'f6e0ba1e-0000-4444-8888-1234567890ab', LogicalResourceId: 'Gate' };

describe('when CloudFormation asks', () => {
  test.each(['Create', 'Update'])('%s starts the task with everything it needs to answer, and leaves that to it', async (RequestType) => {
    await handler()(request({ RequestType }));
    const started = JSON.parse(of('RunTask')[0]!.body);
    expect(started).toMatchObject(RUN);
    expect(started.clientToken).toBe(`${ids.RequestId}.0`);
    const [container] = started.overrides.containerOverrides;
    expect(container.name).toBe('migrate');
    expect(container.command).toBeUndefined();
    expect(Object.fromEntries(container.environment.map((v: { name: string; value: string }) => [v.name, v.value]))).toEqual({
      CFN_RETRIES: '3',
      MAX_DURATION: '3300s',
      CFN_RESPONSE_URL: `${origin}/cloudformation?signature=secret`,
      CFN_STACK_ID: STACK,
      CFN_REQUEST_ID: ids.RequestId,
      CFN_LOGICAL_RESOURCE_ID: 'Gate',
      CFN_PHYSICAL_RESOURCE_ID: 'Gate',
    });
    expect(answers()).toEqual([]);
  });

  test('a command goes with it', async () => {
    await handler()(request({}, { Command: ['deploy', '--strict'] }));
    expect(JSON.parse(of('RunTask')[0]!.body).overrides.containerOverrides[0].command).toEqual(['deploy', '--strict']);
  });

  test('Delete starts nothing and succeeds', async () => {
    await handler()(request({ RequestType: 'Delete' }));
    expect(asked.map(({ action }) => action)).toEqual(['ListTasks', '']);
    expect(answers()).toMatchObject([{ ...ids, Status: 'SUCCESS', Reason: 'a gate that goes migrates nothing' }]);
  });

  test.each(['UPDATE_ROLLBACK_IN_PROGRESS', 'ROLLBACK_IN_PROGRESS', 'UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS'])(
    'a stack in %s starts nothing and succeeds',
    async (status) => {
      replies.DescribeStacks = stackIs(status);
      await handler()(request());
      expect(of('RunTask')).toEqual([]);
      expect(answers()).toMatchObject([{ Status: 'SUCCESS', Reason: 'a stack that rolls back migrates nothing' }]);
    },
  );

  test('failures[] fail the stack, with what ECS says', async () => {
    replies.RunTask = { tasks: [], failures: [{ arn: 'arn:cluster', reason: 'RESOURCE:ENI', detail: 'no address left' }] };
    await handler()(request());
    expect(answers()).toMatchObject([{ ...ids, Status: 'FAILED', Reason: 'the migrations were not started: Error: after 5 tries: arn:cluster RESOURCE:ENI no address left' }]);
    expect(of('RunTask').map(({ body }) => JSON.parse(body).clientToken)).toEqual([0, 1, 2, 3, 4].map((tries) => `${ids.RequestId}.${tries}`));
  });

  test('failures[] that pass are asked again', async () => {
    const full = { tasks: [], failures: [{ arn: 'arn:cluster', reason: 'Capacity is unavailable at this time. Please try again later or in a different availability zone' }] };
    replies.RunTask = [full, full, { tasks: [{ taskArn: TASK }], failures: [] }];
    await handler()(request());
    expect(of('RunTask')).toHaveLength(3);
    expect(answers()).toEqual([]);
  });

  test('what is not there is asked for once', async () => {
    replies.RunTask = { tasks: [], failures: [{ arn: 'arn:definition', reason: 'MISSING' }] };
    await handler()(request());
    expect(of('RunTask')).toHaveLength(1);
    expect(answers()).toMatchObject([{ Status: 'FAILED', Reason: expect.stringContaining('after 1 try: arn:definition MISSING') }]);
  });

  test.each(['Delete', 'Update'])('%s while the stack goes back stops what still runs', async (RequestType) => {
    replies.DescribeStacks = stackIs('UPDATE_ROLLBACK_IN_PROGRESS');
    replies.ListTasks = { taskArns: [TASK] };
    await handler()(request({ RequestType }));
    expect(JSON.parse(of('ListTasks')[0]!.body)).toEqual({ cluster: 'newsroom', startedBy: 'gate' });
    expect(JSON.parse(of('StopTask')[0]!.body)).toMatchObject({ cluster: 'newsroom', task: TASK });
    expect(answers()).toMatchObject([{ Status: 'SUCCESS', Reason: expect.stringContaining(`stopping ${TASK}`) }]);
  });

  test('a task that cannot be stopped keeps no stack from going back', async () => {
    replies.DescribeStacks = stackIs('ROLLBACK_IN_PROGRESS');
    delete replies.ListTasks;
    await handler()(request());
    expect(answers()).toMatchObject([{ Status: 'SUCCESS', Reason: expect.stringMatching(/goes on, since it could not be stopped: ./) }]);
  });

  test.each(['RunTask', 'DescribeStacks'])('%s that is refused fails the stack', async (action) => {
    delete replies[action];
    await handler()(request());
    expect(answers()).toHaveLength(1);
    expect(answers()[0]).toMatchObject({ ...ids, Status: 'FAILED', Reason: expect.stringMatching(/^the migrations were not started: ./) });
  });

  test('the first request has no physical id yet: it is the logical one, and stays', async () => {
    replies.RunTask = { tasks: [], failures: [{ reason: 'MISSING' }] };
    await handler()(request({ RequestType: 'Create', PhysicalResourceId: undefined }));
    expect(answers()[0].PhysicalResourceId).toBe('Gate');
  });

  test('with a wait condition the task is told its handle, and the request is answered at once', async () => {
    await handler()(request({}, { SignalUrl: `${origin}/handle` }));
    const { environment } = JSON.parse(of('RunTask')[0]!.body).overrides.containerOverrides[0];
    expect(environment).toEqual([
      { name: 'CFN_RETRIES', value: '3' },
      { name: 'MAX_DURATION', value: '3300s' },
      { name: 'CFN_SIGNAL_URL', value: `${origin}/handle` },
      { name: 'CFN_SIGNAL_ID', value: '17' },
    ]);
    expect(answers()).toMatchObject([{ ...ids, Status: 'SUCCESS', Reason: 'the migrations are started' }]);
  });
});

describe('without an artifact', () => {
  const KEY = 'newsroom/CODE/api/prisma.zip';
  const listed = (...keys: string[]) =>
    `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${keys.map((key) => `<Contents><Key>${key}</Key></Contents>`).join('')}</ListBucketResult>`;
  const pass = { WhenMissing: 'passOnCreate' };

  test.each([[[]], [[`${KEY}.sha256`]]])('Create passes, with a sentence, if S3 lists no such key (%j)', async (keys) => {
    replies['list artifacts'] = listed(...keys);
    await handler()(request({ RequestType: 'Create' }, pass));
    expect(of('RunTask')).toEqual([]);
    const sentence = `no artifact yet: there is no s3://artifacts/${KEY}, so nothing was migrated`;
    expect(answers()).toEqual([{ ...ids, Status: 'SUCCESS', Reason: sentence, Data: { RunId: '', Result: 'no artifact yet', ExitCode: '', Applied: '0' } }]);
  });

  test('a wait condition is told too', async () => {
    replies['list artifacts'] = listed();
    await handler()(request({ RequestType: 'Create' }, { ...pass, SignalUrl: `${origin}/handle` }));
    expect(answers()).toMatchObject([{ Status: 'SUCCESS', UniqueId: '17', Reason: expect.stringContaining('no artifact yet') }, { ...ids, Status: 'SUCCESS' }]);
    expect(of('').map(({ path }) => path)).toEqual(['/handle', '/cloudformation?signature=secret']);
  });

  const started: [string, string, object][] = [
    ['Create with an artifact', 'Create', pass],
    ['Update', 'Update', pass],
    ['Create without the prop', 'Create', {}],
  ];
  test.each(started)('%s starts the task', async (name, RequestType, properties) => {
    replies['list artifacts'] = name === 'Create with an artifact' ? listed(KEY) : listed();
    await handler()(request({ RequestType }, properties));
    expect(of('RunTask')).toHaveLength(1);
    expect(answers()).toEqual([]);
  });

  test('a list that S3 refuses is no proof', async () => {
    replies['list artifacts'] = 403;
    await handler()(request({ RequestType: 'Create' }, pass));
    expect(of('RunTask')).toEqual([]);
    expect(answers()).toMatchObject([{ Status: 'FAILED', Reason: expect.stringContaining('AccessDenied') }]);
  });
});

describe('the answer', () => {
  test('is a PUT without a content type, tried again when it is not taken', async () => {
    statuses = [503, 500];
    await handler()(request({ RequestType: 'Delete' }));
    expect(of('').map(({ method }) => method)).toEqual(['PUT', 'PUT', 'PUT']);
    expect(of('')[2]!.headers['content-type'] ?? '').toBe('');
    expect(of('')[2]!.path).toBe('/cloudformation?signature=secret');
  });

  test('that is never taken fails the function, without the URL', async () => {
    statuses = [403, 403, 403, 403, 403];
    const thrown = await handler()(request({ RequestType: 'Delete' })).then(() => undefined, (error: Error) => error);
    expect(thrown?.message).toBe('the answer was refused: 403');
    expect(of('')).toHaveLength(5);
  });

  test('stays below 4 kB', async () => {
    replies.RunTask = { tasks: [], failures: [{ reason: 'ü'.repeat(5000) }] };
    await handler()(request());
    expect(Buffer.byteLength(of('')[0]!.body)).toBeLessThan(4096);
  });
});

describe('when a task of the gate has stopped', () => {
  const environment = [
    { name: 'CFN_RESPONSE_URL', value: '' },
    { name: 'CFN_STACK_ID', value: STACK },
    { name: 'CFN_REQUEST_ID', value: ids.RequestId },
    { name: 'CFN_LOGICAL_RESOURCE_ID', value: 'Gate' },
    { name: 'CFN_PHYSICAL_RESOURCE_ID', value: 'Gate' },
  ];
  const event = { source: 'aws.ecs', detail: { taskArn: TASK, clusterArn: 'arn:cluster' } };
  /** Both lists name another container first: ECS promises no order. */
  const ends = (container: object, task: object, variables = environment) => {
    variables = variables.map((v) => (v.name.endsWith('_URL') ? { ...v, value: `${origin}/cloudformation` } : v));
    replies.DescribeTasks = {
      tasks: [
        {
          createdAt: 1000,
          stoppedAt: 1090.5,
          ...task,
          containers: [{ name: AGENT, exitCode: 0 }, { name: 'migrate', ...container }],
          overrides: { containerOverrides: [{ name: AGENT }, { name: 'migrate', environment: variables }] },
        },
      ],
    };
  };
  const retrying = [...environment, { name: 'CFN_RETRIES', value: '2' }, { name: 'MAX_DURATION', value: '3300s' }];
  const PULL = { reason: 'CannotPullContainerError: not found' };
  const NEVER = { stopCode: 'TaskFailedToStart', stoppedReason: 'Task failed to start' };

  // Stopped reasons: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
  const again: [string, object, object][] = [
    ['an image that could not be pulled', PULL, NEVER],
    ['no capacity', {}, { stopCode: 'TaskFailedToStart', stoppedReason: 'Capacity is unavailable at this time. Please try again later or in a different availability zone' }],
    ['no network interface', {}, { stopCode: 'TaskFailedToStart', stoppedReason: 'Timeout waiting for network interface provisioning to complete.' }],
    ['secrets that could not be fetched', {}, { stopCode: 'TaskFailedToStart', stoppedReason: 'ResourceInitializationError: unable to pull secrets or registry auth' }],
    ['the migration lock', { exitCode: 30 }, { stopCode: 'EssentialContainerExited', startedAt: 1001 }],
    ['table locks', { exitCode: 31 }, { stopCode: 'EssentialContainerExited', startedAt: 1001 }],
    ['an interruption', { exitCode: 60 }, { stopCode: 'TerminationNotice', startedAt: 1001 }],
  ];
  test.each(again)('%s starts it again, within what is left of the time', async (_, container, task) => {
    ends(container, task, retrying);
    await handler()(event);
    expect(answers()).toEqual([]);
    const started = JSON.parse(of('RunTask')[0]!.body);
    expect(started).toMatchObject({ ...RUN, clientToken: '0123456789abcdef.0' });
    const [{ name, environment: told, command }] = started.overrides.containerOverrides;
    expect([name, command]).toEqual(['migrate', undefined]);
    expect(Object.fromEntries(told.map((v: { name: string; value: string }) => [v.name, v.value]))).toMatchObject({
      CFN_RETRIES: '1', MAX_DURATION: '3209s', CFN_REQUEST_ID: ids.RequestId,
    });
  });

  const enough: [string, object, object, { name: string; value: string }[], string][] = [
    ['the retries are used up', PULL, NEVER, [...environment, { name: 'CFN_RETRIES', value: '0' }, { name: 'MAX_DURATION', value: '3300s' }], 'UPDATE_IN_PROGRESS'],
    ['the time is used up', PULL, NEVER, [...environment, { name: 'CFN_RETRIES', value: '2' }, { name: 'MAX_DURATION', value: '120s' }], 'UPDATE_IN_PROGRESS'],
    ['the stack rolls back', { exitCode: 60 }, { startedAt: 1001 }, retrying, 'UPDATE_ROLLBACK_IN_PROGRESS'],
    ['a person stopped it while it ran', { exitCode: 60 }, { startedAt: 1001, stopCode: 'UserInitiated', stoppedReason: 'Task stopped by user' }, retrying, 'UPDATE_IN_PROGRESS'],
    ['a person stopped it', {}, { stopCode: 'UserInitiated', stoppedReason: 'Task stopped by user' }, retrying, 'UPDATE_IN_PROGRESS'],
    ['a migration failed', { exitCode: 20 }, { startedAt: 1001 }, retrying, 'UPDATE_IN_PROGRESS'],
    ['it was killed', { exitCode: 137 }, { startedAt: 1001 }, retrying, 'UPDATE_IN_PROGRESS'],
    ['it ran and has no exit code', {}, { startedAt: 1001, stopCode: 'TerminationNotice' }, retrying, 'UPDATE_IN_PROGRESS'],
  ];
  test.each(enough)('it is not started again if %s', async (_, container, task, variables, status) => {
    ends(container, task, variables);
    replies.DescribeStacks = stackIs(status);
    await handler()(event);
    expect(of('RunTask')).toEqual([]);
    expect(answers()).toMatchObject([{ ...ids, Status: 'FAILED' }]);
  });

  test('what could not be started again is told with both reasons', async () => {
    ends(PULL, NEVER, retrying);
    delete replies.RunTask;
    await handler()(event);
    expect(answers()).toMatchObject([{ Status: 'FAILED', Reason: expect.stringMatching(/CannotPullContainerError: not found, it was not started again: .*RunTask/) }]);
  });

  const cases: [string, object, object, object][] = [
    [
      'an image that cannot be pulled',
      { reason: 'CannotPullContainerError: not found' },
      { stopCode: 'TaskFailedToStart', stoppedReason: 'Task failed to start' },
      { Status: 'FAILED', Reason: `the task stopped: no exit code, TaskFailedToStart, Task failed to start, CannotPullContainerError: not found, ${TASK}` },
    ],
    [
      'memory that ran out',
      { exitCode: 137, reason: 'OutOfMemoryError: container killed' },
      { stopCode: 'EssentialContainerExited', stoppedReason: 'Essential container in task exited' },
      {
        Status: 'FAILED',
        Reason: `the task stopped: exit code 137, EssentialContainerExited, Essential container in task exited, OutOfMemoryError: container killed, ${TASK}`,
      },
    ],
    ['a failure of its own', { exitCode: 20 }, { stopCode: 'EssentialContainerExited' }, { Status: 'FAILED', Reason: `the task stopped: exit code 20, EssentialContainerExited, ${TASK}` }],
    ['success', { exitCode: 0 }, {}, { Status: 'SUCCESS' }],
    ['a report that could not be delivered', { exitCode: 70 }, {}, { Status: 'SUCCESS' }],
    ['a newer upload', { exitCode: 41 }, {}, { Status: 'FAILED' }],
    ['an interruption', { exitCode: 60 }, {}, { Status: 'FAILED' }],
    ['pending migrations', { exitCode: 10 }, {}, { Status: 'FAILED' }],
  ];
  test.each(cases)('%s is told', async (_, container, task, expected) => {
    ends(container, task);
    await handler()(event);
    expect(answers()).toHaveLength(1);
    expect(answers()[0]).toMatchObject({ ...ids, ...expected });
  });

  test('a wait condition is told in its own words', async () => {
    ends({ exitCode: 137 }, { stopCode: 'EssentialContainerExited' }, [
      { name: 'CFN_SIGNAL_URL', value: '' },
      { name: 'CFN_SIGNAL_ID', value: '17' },
    ]);
    await handler()(event);
    expect(answers()).toMatchObject([
      { Status: 'FAILURE', UniqueId: '17', Reason: `the task stopped: exit code 137, EssentialContainerExited, ${TASK}`, Data: 'exit code 137' },
    ]);
  });
});
