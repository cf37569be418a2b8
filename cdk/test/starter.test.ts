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
/** How AWS answers, by the action's name; a number is a status without a body. */
let replies: Record<string, object | string | number>;
/** What CloudFormation's bucket answers, one after the other; 200 when it is empty. */
let statuses: number[];

beforeAll(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      const action = request.headers['x-amz-target']?.toString().split('.').pop() ?? new URLSearchParams(body).get('Action') ?? '';
      asked.push({ method: request.method!, path: request.url!, action, headers: request.headers, body });
      if (action === '') return void response.writeHead(statuses.shift() ?? 200).end();
      const reply = replies[action];
      if (reply === undefined) return void response.writeHead(400).end(JSON.stringify({ __type: 'AccessDeniedException', message: `${action} is not allowed` }));
      response.writeHead(200, { 'content-type': typeof reply === 'string' ? 'text/xml' : 'application/x-amz-json-1.1' });
      response.end(typeof reply === 'string' ? reply : JSON.stringify(reply));
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  Object.assign(process.env, { AWS_ENDPOINT_URL: origin, AWS_REGION: 'eu-west-1', AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' });
});
afterAll(() => server.close());

const stackIs = (status: string) =>
  `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackName>newsroom</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>${status}</StackStatus></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`;
const STACK = 'arn:aws:cloudformation:eu-west-1:123456789012:stack/newsroom/11111111-2222-3333-4444-555555555555';
const TASK = 'arn:aws:ecs:eu-west-1:123456789012:task/newsroom/0123456789abcdef';

beforeEach(() => {
  asked.length = 0;
  statuses = [];
  replies = { DescribeStacks: stackIs('UPDATE_IN_PROGRESS'), RunTask: { tasks: [{ taskArn: TASK }], failures: [] } };
});

/** The handler out of the template. */
function handler(): (event: object) => Promise<void> {
  const stack = new Newsroom();
  const task = new PrismaMigrateTask(stack, 'Migrate', stack.props());
  new MigrationGate(stack, 'Gate', { task });
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
    Container: 'migrate',
    Variables: '{"MAX_DURATION":"3300s"}',
    Task: JSON.stringify({ cluster: 'newsroom', taskDefinition: 'newsroom-migrate:4', launchType: 'FARGATE', startedBy: 'gate' }),
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
    expect(started).toMatchObject({ cluster: 'newsroom', taskDefinition: 'newsroom-migrate:4', launchType: 'FARGATE', startedBy: 'gate' });
    expect(started.clientToken).toBe(ids.RequestId);
    const [container] = started.overrides.containerOverrides;
    expect(container.name).toBe('migrate');
    expect(container.command).toBeUndefined();
    expect(Object.fromEntries(container.environment.map((v: { name: string; value: string }) => [v.name, v.value]))).toEqual({
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
    expect(asked.map(({ action }) => action)).toEqual(['']);
    expect(answers()).toEqual([{ ...ids, Status: 'SUCCESS', Reason: 'a gate that goes migrates nothing' }]);
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
    expect(answers()).toEqual([{ ...ids, Status: 'FAILED', Reason: 'the migrations were not started: arn:cluster RESOURCE:ENI no address left' }]);
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
      { name: 'MAX_DURATION', value: '3300s' },
      { name: 'CFN_SIGNAL_URL', value: `${origin}/handle` },
      { name: 'CFN_SIGNAL_ID', value: '17' },
    ]);
    expect(answers()).toEqual([{ ...ids, Status: 'SUCCESS', Reason: 'the migrations are started' }]);
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
  const ends = (container: object, task: object, variables = environment) => {
    variables = variables.map((v) => (v.name.endsWith('_URL') ? { ...v, value: `${origin}/cloudformation` } : v));
    replies.DescribeTasks = {
      tasks: [{ ...task, containers: [{ name: 'aws-guardduty-agent', exitCode: 0 }, { name: 'migrate', ...container }], overrides: { containerOverrides: [{ name: 'migrate', environment: variables }] } }],
    };
  };

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
    expect(answers()).toEqual([
      { Status: 'FAILURE', UniqueId: '17', Reason: `the task stopped: exit code 137, EssentialContainerExited, ${TASK}`, Data: 'exit code 137' },
    ]);
  });
});
