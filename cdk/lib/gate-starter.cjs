// Runs inline in Lambda: under 4,096 characters, and nothing but what its runtime holds.
const { ECSClient, RunTaskCommand, DescribeTasksCommand } = require('@aws-sdk/client-ecs');
const { CloudFormationClient, DescribeStacksCommand } = require('@aws-sdk/client-cloudformation');
const ecs = new ECSClient();
const cloudFormation = new CloudFormationClient();

exports.handler = (event) => (event.detail ? stopped(event.detail) : asked(event));

// CloudFormation wants to create, update or delete the gate.
async function asked(event) {
  const physical = event.PhysicalResourceId || event.LogicalResourceId;
  const says = (Status, Reason) => {
    const { StackId, RequestId, LogicalResourceId } = event;
    return put(event.ResponseURL, { Status, Reason: cut(Reason), PhysicalResourceId: physical, StackId, RequestId, LogicalResourceId });
  };
  let skipped;
  try {
    skipped = await start(event, physical);
  } catch (error) {
    return says('FAILED', `the migrations were not started: ${error.message}`);
  }
  if (skipped || event.ResourceProperties.SignalUrl) return says('SUCCESS', skipped || 'the migrations are started');
}

// Starts the task, which answers by itself; or says why there is none to start.
async function start({ RequestType, StackId, RequestId, ResponseURL, LogicalResourceId, ResourceProperties: gate }, physical) {
  if (RequestType === 'Delete') return 'a gate that goes migrates nothing';
  const { Stacks } = await cloudFormation.send(new DescribeStacksCommand({ StackName: StackId }));
  if (/ROLLBACK/.test(Stacks[0].StackStatus)) return 'a stack that rolls back migrates nothing';
  const variables = JSON.parse(gate.Variables);
  if (gate.SignalUrl) Object.assign(variables, { CFN_SIGNAL_URL: gate.SignalUrl, CFN_SIGNAL_ID: gate.DeploymentId });
  else {
    Object.assign(variables, {
      CFN_RESPONSE_URL: ResponseURL,
      CFN_STACK_ID: StackId,
      CFN_REQUEST_ID: RequestId,
      CFN_LOGICAL_RESOURCE_ID: LogicalResourceId,
      CFN_PHYSICAL_RESOURCE_ID: physical,
    });
  }
  const environment = Object.entries(variables).map(([name, value]) => ({ name, value }));
  const container = { name: gate.Container, environment, ...(gate.Command && { command: gate.Command }) };
  // The token makes a second delivery of the same request start nothing.
  const task = { ...JSON.parse(gate.Task), clientToken: RequestId, overrides: { containerOverrides: [container] } };
  const { tasks = [], failures = [] } = await ecs.send(new RunTaskCommand(task));
  if (!tasks.length) throw new Error(failures.map((f) => [f.arn, f.reason, f.detail].filter(Boolean).join(' ')).join('; ') || 'ECS gives no reason');
}

// A gate's task has stopped. Where it has answered by itself, CloudFormation ignores this second answer.
async function stopped({ taskArn, clusterArn }) {
  const { tasks } = await ecs.send(new DescribeTasksCommand({ cluster: clusterArn, tasks: [taskArn] }));
  const [{ overrides, containers, stopCode, stoppedReason }] = tasks;
  const [{ name, environment }] = overrides.containerOverrides;
  const is = Object.fromEntries(environment.map((v) => [v.name, v.value]));
  const { exitCode, reason } = containers.find((c) => c.name === name) || {};
  const ok = SUCCESS_CODES.includes(exitCode);
  const code = exitCode === undefined ? 'no exit code' : `exit code ${exitCode}`;
  const Reason = cut([`the task stopped: ${code}`, stopCode, stoppedReason, reason, taskArn].filter(Boolean).join(', '));
  if (is.CFN_SIGNAL_URL) return put(is.CFN_SIGNAL_URL, { Status: ok ? 'SUCCESS' : 'FAILURE', Reason, UniqueId: is.CFN_SIGNAL_ID, Data: code });
  return put(is.CFN_RESPONSE_URL, {
    Status: ok ? 'SUCCESS' : 'FAILED',
    Reason,
    PhysicalResourceId: is.CFN_PHYSICAL_RESOURCE_ID,
    StackId: is.CFN_STACK_ID,
    RequestId: is.CFN_REQUEST_ID,
    LogicalResourceId: is.CFN_LOGICAL_RESOURCE_ID,
  });
}

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
