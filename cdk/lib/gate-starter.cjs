// Runs inline in Lambda, with nothing but what its runtime holds. TASK (what RunTask takes) and STACK (the stack's ARN) are its variables.
const { ECSClient, RunTaskCommand, DescribeTasksCommand, ListTasksCommand, StopTaskCommand } = require('@aws-sdk/client-ecs');
const { CloudFormationClient, DescribeStacksCommand } = require('@aws-sdk/client-cloudformation');
const ecs = new ECSClient();
const cloudFormation = new CloudFormationClient();
const task = () => JSON.parse(process.env.TASK);
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000 * Number(process.env.PACE ?? 1)));

exports.handler = (event) => (event.detail ? stopped(event.detail) : asked(event));

// CloudFormation wants to create, update or delete the gate.
async function asked(event) {
  const { StackId, RequestId, LogicalResourceId, ResponseURL, ResourceProperties: gate } = event;
  const PhysicalResourceId = event.PhysicalResourceId || LogicalResourceId;
  // All attributes, always: a template that reads one must not fail because nothing was to be done.
  const says = (Status, Reason, Result) =>
    put(ResponseURL, {
      Status, Reason: cut(Reason), PhysicalResourceId, StackId, RequestId, LogicalResourceId,
      Data: { RunId: '', Result, ExitCode: '', Applied: '0' },
    });
  try {
    const skipped = await skips(event);
    if (skipped && gate.SignalUrl && event.RequestType !== 'Delete') await put(gate.SignalUrl, signal('SUCCESS', skipped, gate.DeploymentId, skipped));
    if (skipped) return says('SUCCESS', skipped, skipped.split(':')[0]);
    await run(first(event, PhysicalResourceId), RequestId);
  } catch (error) {
    return says('FAILED', `the migrations were not started: ${error.name}: ${error.message}`, 'not started');
  }
  if (gate.SignalUrl) return says('SUCCESS', 'the migrations are started', 'started');
}

// Why there is nothing to start.
async function skips({ RequestType, StackId, ResourceProperties: gate }) {
  if (RequestType === 'Delete') return `a gate that goes migrates nothing${await stopRunning()}`;
  // After an update that failed CloudFormation asks once more, with the old properties.
  if (await rollsBack(StackId)) return `a stack that rolls back migrates nothing${await stopRunning()}`;
  if (RequestType !== 'Create' || gate.WhenMissing !== 'passOnCreate') return undefined;
  const { S3Client, ListObjectsV2Command } = require('@aws-sdk/client-s3');
  const s3 = new S3Client({ followRegionRedirects: true });
  // The list is the proof. A refused list throws, and fails the stack.
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: gate.Bucket, Prefix: gate.Key, MaxKeys: 1 }));
  if (Contents.some(({ Key }) => Key === gate.Key)) return undefined;
  return `no artifact yet: there is no s3://${gate.Bucket}/${gate.Key}, so nothing was migrated`;
}

async function rollsBack(StackName) {
  const { Stacks } = await cloudFormation.send(new DescribeStacksCommand({ StackName }));
  return /ROLLBACK/.test(Stacks[0].StackStatus);
}

// The tasks of this gate that still run: nobody waits for them any more, and they work for a deploy that is taken back.
async function stopRunning() {
  const { cluster, startedBy } = task();
  const reason = 'the stack does not wait for these migrations any more';
  try {
    const { taskArns = [] } = await ecs.send(new ListTasksCommand({ cluster, startedBy }));
    for (const arn of taskArns) await ecs.send(new StopTaskCommand({ cluster, task: arn, reason }));
    return taskArns.length ? `; stopping ${taskArns.join(', ')}, which rolls back what it is at` : '';
  } catch (error) {
    // A stack that cannot be rolled back or deleted would be worse.
    return `; a task of it that still runs goes on, since it could not be stopped: ${error.message}`;
  }
}

function first({ StackId, RequestId, LogicalResourceId, ResponseURL, ResourceProperties: gate }, physical) {
  const answer = gate.SignalUrl
    ? { CFN_SIGNAL_URL: gate.SignalUrl, CFN_SIGNAL_ID: gate.DeploymentId }
    : {
        CFN_RESPONSE_URL: ResponseURL,
        CFN_STACK_ID: StackId,
        CFN_REQUEST_ID: RequestId,
        CFN_LOGICAL_RESOURCE_ID: LogicalResourceId,
        CFN_PHYSICAL_RESOURCE_ID: physical,
      };
  return { name: CONTAINER, variables: { ...JSON.parse(gate.Variables), ...answer }, ...(gate.Command && { command: gate.Command }) };
}

// Starts a task. A token makes a second delivery of the same event start nothing; each try has one of its own.
async function run({ name, variables, command }, token) {
  const environment = Object.entries(variables).map(([name, value]) => ({ name, value }));
  const overrides = { containerOverrides: [{ name, environment, ...(command && { command }) }] };
  for (let tries = 0; ; tries++) {
    const { tasks = [], failures = [] } = await ecs.send(new RunTaskCommand({ ...task(), clientToken: `${token}.${tries}`, overrides }));
    if (tasks.length) return;
    const why = failures.map((f) => [f.arn, f.reason, f.detail].filter(Boolean).join(' ')).join('; ') || 'ECS gives no reason';
    // No capacity, no address: that passes. A definition or a cluster that is not there does not.
    if (tries === 4 || /MISSING|INACTIVE/.test(why)) throw new Error(`after ${tries + 1} ${tries ? 'tries' : 'try'}: ${why}`);
    await sleep(10 * 2 ** tries);
  }
}

// A gate's task has stopped. If it has answered by itself, CloudFormation ignores this second answer.
async function stopped({ taskArn, clusterArn }) {
  const { tasks } = await ecs.send(new DescribeTasksCommand({ cluster: clusterArn, tasks: [taskArn] }));
  const [{ overrides, containers, stopCode, stoppedReason, startedAt, createdAt, stoppedAt }] = tasks;
  // By name: ECS promises no order, and lists sidecars and GuardDuty's agent too.
  const named = ({ name }) => name === CONTAINER;
  const { environment, command } = overrides.containerOverrides.find(named);
  const variables = Object.fromEntries(environment.map((v) => [v.name, v.value]));
  const { exitCode, reason } = containers.find(named) || {};
  // What a person has stopped stays stopped.
  const again = stopCode !== 'UserInitiated' && (exitCode === undefined ? !startedAt : AGAIN_CODES.includes(exitCode));
  const retries = Number(variables.CFN_RETRIES ?? 0);
  const seconds = parseInt(variables.MAX_DURATION, 10) - Math.ceil((new Date(stoppedAt) - new Date(createdAt)) / 1000);
  let instead = '';
  if (again && retries > 0 && seconds >= 60 && !(await rollsBack(process.env.STACK))) {
    try {
      if (exitCode === undefined) await sleep(15);
      const next = { ...variables, CFN_RETRIES: String(retries - 1), MAX_DURATION: `${seconds}s` };
      return await run({ name: CONTAINER, variables: next, command: command?.length ? command : undefined }, taskArn.split('/').pop());
    } catch (error) {
      instead = `it was not started again: ${error.message}`;
    }
  }
  const ok = SUCCESS_CODES.includes(exitCode);
  const code = exitCode === undefined ? 'no exit code' : `exit code ${exitCode}`;
  const Reason = cut([`the task stopped: ${code}`, stopCode, stoppedReason, reason, instead, taskArn].filter(Boolean).join(', '));
  const { CFN_SIGNAL_URL, CFN_SIGNAL_ID } = variables;
  if (CFN_SIGNAL_URL) return put(CFN_SIGNAL_URL, signal(ok ? 'SUCCESS' : 'FAILURE', Reason, CFN_SIGNAL_ID, code));
  return put(variables.CFN_RESPONSE_URL, {
    Status: ok ? 'SUCCESS' : 'FAILED',
    Reason,
    PhysicalResourceId: variables.CFN_PHYSICAL_RESOURCE_ID,
    StackId: variables.CFN_STACK_ID,
    RequestId: variables.CFN_REQUEST_ID,
    LogicalResourceId: variables.CFN_LOGICAL_RESOURCE_ID,
    Data: { RunId: '', Result: code, ExitCode: String(exitCode ?? ''), Applied: '' },
  });
}

const signal = (Status, Reason, UniqueId, Data) => ({ Status, Reason, UniqueId, Data });

// CloudFormation takes 4 kB in all.
const cut = (text) => text.slice(0, 800);

async function put(url, answer, tries = 5) {
  try {
    const options = { method: 'PUT', headers: { 'content-type': '' }, body: Buffer.from(JSON.stringify(answer)) };
    const { ok, status } = await fetch(url, { ...options, signal: AbortSignal.timeout(10000) });
    if (!ok) throw new Error(`the answer was refused: ${status}`);
  } catch (error) {
    if (tries === 1) throw error;
    await new Promise((done) => setTimeout(done, 4000 / tries));
    return put(url, answer, tries - 1);
  }
}
