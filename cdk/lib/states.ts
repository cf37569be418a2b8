/** The states of the two machines, in Amazon's States Language with JSONata. Values alone: nothing here makes a construct. */
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Aws } from 'aws-cdk-lib';
import { AGAIN_EXIT_CODES, CONTAINER_NAME, EXIT_PENDING, GATE_SUCCESS_CODES, STATE_MACHINE_GROUP } from './contract.js';
import { seconds as secondsOf } from './duration.js';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';

/** In what targets may differ. No password: a secret has a name. */
export const TARGET_VARIABLES = ['DB_HOST', 'DB_PORT', 'DB_NAME', 'DB_SCHEMA', 'DB_SECRET_ARN'] as const;

/** What is to be snapshotted. */
export interface Snapshot {
  readonly kind: 'instance' | 'cluster';
  readonly id: string;
}

interface Run {
  readonly task: PrismaMigrateTask;
  /** The task definition, as the state machine's stack names it. */
  readonly definition: string;
  /** In seconds. */
  readonly timeout: number;
  /** How often the task is started again. */
  readonly retries: number;
  readonly topic?: ITopic;
}

type States = Record<string, object>;

/**
 * JSONata. Of a task that stopped, Step Functions gives ECS' description as text; of one that ECS did not take, a sentence.
 *
 * A task whose StopCode is TaskFailedToStart may have run: one container of it started and another one did not (an address for one:
 * https://github.com/aws/aws-cdk/issues/32877). So the container's own exit code counts first, by its name.
 */
export const EXPRESSIONS = {
  cause: '($c := $states.errorOutput.Cause; $substring($c, 0, 1) = "{" ? $parse($c) : {"StoppedReason": $exists($c) ? $c : ""})',
  exitCode: `$failure.Containers[Name = "${CONTAINER_NAME}"].ExitCode`,
  succeeded: `$failure.Containers[Name = "${CONTAINER_NAME}"].ExitCode in ${JSON.stringify(GATE_SUCCESS_CODES)}`,
  neverStarted: `$failure.StopCode = "TaskFailedToStart" and $not($exists($failure.StartedAt)) and $not($exists($failure.Containers[Name = "${CONTAINER_NAME}"].ExitCode))`,
  again: `$failure.Containers[Name = "${CONTAINER_NAME}"].ExitCode in ${JSON.stringify(AGAIN_EXIT_CODES)} and $failure.StopCode != "UserInitiated"`,
  /** What an upload's rule hands over, as variables of the task. By hand there may be nothing of it. */
  uploaded:
    '[$filter([{"Name": "PRISMA_ARTIFACT_VERSION_ID", "Value": $states.input.version}, {"Name": "PRISMA_ARTIFACT_ETAG", "Value": $states.input.etag}, ' +
    '{"Name": "EVENT_ID", "Value": $states.input.event}], function($v) { $exists($v.Value) })]',
  environment: '[$append($states.input.uploaded, $each($states.input.target, function($v, $k) { {"Name": $k, "Value": $v} }))]',
  failed: '[$states.result[$ != "done"]]',
} as const;

const jsonata = (expression: string) => `{% ${expression} %}`;
/** Step Functions' own integrations, in any partition. */
const integration = (name: string) => `arn:${Aws.PARTITION}:states:::${name}`;

/** How long before a state's timeout the task stops by itself, in seconds: it takes a minute to be placed and two to stop. */
const SPARE = 300;

function containerRun({ task, definition, timeout }: Run, environment: string, override: object, next: object): object {
  // A state that times out does not stop its task, so the task has to know by itself:
  // https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html#connect-sync ("aborted" is not "timed out").
  const own = task.settings.MAX_DURATION === undefined ? undefined : secondsOf(task.settings.MAX_DURATION);
  const limit = Math.max(60, Math.min(own ?? timeout, timeout - SPARE));
  return {
    Type: 'Task',
    Resource: integration('ecs:runTask.sync'),
    TimeoutSeconds: timeout,
    Arguments: {
      Cluster: task.cluster.clusterArn,
      TaskDefinition: definition,
      LaunchType: 'FARGATE',
      // By this the alarms know that somebody else tells of its end. StartedBy is always "AWS Step Functions".
      Group: STATE_MACHINE_GROUP,
      NetworkConfiguration: {
        AwsvpcConfiguration: {
          Subnets: task.subnetIds,
          SecurityGroups: [task.securityGroup.securityGroupId],
          AssignPublicIp: task.assignPublicIp ? 'ENABLED' : 'DISABLED',
        },
      },
      Overrides: {
        ContainerOverrides: [{ Name: CONTAINER_NAME, Environment: jsonata(`$append([{"Name": "MAX_DURATION", "Value": "${limit}s"}], ${environment})`), ...override }],
      },
    },
    // ECS did not take it: no capacity, no address, throttled. Nothing has run. RunTask's failures[] are AmazonECS.Unknown:
    // https://docs.aws.amazon.com/step-functions/latest/dg/connect-ecs.html
    Retry: [{ ErrorEquals: ['AmazonECS.Unknown', 'ECS.AmazonECSException', 'ECS.ServerException'], IntervalSeconds: 30, MaxAttempts: 4, BackoffRate: 2 }],
    Catch: [{ ErrorEquals: ['States.ALL'], Assign: { failure: jsonata(EXPRESSIONS.cause), error: jsonata('$states.errorOutput.Error') }, Next: 'Why' }],
    ...next,
  };
}

/**
 * What a task that Step Functions calls failed came to. It may have done all it was asked to, while another container of it could not start; a newer
 * upload has its own run; what never ran, or says "start again", is started again; all else goes to `otherwise`.
 */
function why({ retries }: Run, again: string, done: string, superseded: string, otherwise: string, more: object[] = []): States {
  const left = `$attempts < ${retries}`;
  return {
    Why: {
      Type: 'Choice',
      Choices: [
        { Condition: jsonata(EXPRESSIONS.succeeded), Next: done },
        { Condition: jsonata(`${EXPRESSIONS.exitCode} = 41`), Next: superseded },
        { Condition: jsonata(`((${EXPRESSIONS.neverStarted}) or (${EXPRESSIONS.again})) and ${left}`), Assign: { attempts: jsonata('$attempts + 1') }, Next: 'Pause' },
        ...more,
      ],
      Default: otherwise,
    },
    Pause: { Type: 'Wait', Seconds: 60, Next: again },
  };
}

const SUMMARY = jsonata(
  `"exit code " & ($exists(${EXPRESSIONS.exitCode}) ? $string(${EXPRESSIONS.exitCode}) : "none") & ", " & $error & ", " & $failure.StopCode & ", " & $failure.StoppedReason`,
);

function failing({ task, topic }: Run, message: string): States {
  const failed = { Type: 'Fail', Error: 'MigrationsFailed', Cause: jsonata('$summary') };
  if (!topic) return { Tell: { Type: 'Pass', Assign: { summary: message }, Next: 'Failed' }, Failed: failed };
  return {
    Tell: { Type: 'Pass', Assign: { summary: message }, Next: 'Publish' },
    Publish: {
      Type: 'Task',
      Resource: integration('sns:publish'),
      Arguments: { TopicArn: topic.topicArn, Subject: 'Prisma migrations failed', Message: jsonata(`"${task.family}: " & $summary & ", " & $states.context.Execution.Id`) },
      Retry: [{ ErrorEquals: ['States.ALL'], IntervalSeconds: 5, MaxAttempts: 5, BackoffRate: 2 }],
      // Who could not be told must not make a failure look like another one.
      Catch: [{ ErrorEquals: ['States.ALL'], Next: 'Failed' }],
      Next: 'Failed',
    },
    Failed: failed,
  };
}

/** One database: with a snapshot only where something is pending. */
export function oneStates(run: Run, snapshot: Snapshot | undefined): object {
  const begin = { Type: 'Pass', Assign: { attempts: 0, uploaded: jsonata(EXPRESSIONS.uploaded) }, Next: snapshot ? 'Check' : 'Deploy' };
  const states: States = { Begin: begin, Deploy: containerRun(run, '$uploaded', {}, { Next: 'Done' }), Done: { Type: 'Succeed' } };
  const deploying = why(run, 'Deploy', 'Done', 'Done', 'Tell');
  if (!snapshot) return machine({ ...states, ...deploying, ...failing(run, SUMMARY) });

  const check = containerRun(run, '$uploaded', { Command: ['plan', '--check'] }, { Next: 'Done' }) as { Catch: { Next: string }[] };
  check.Catch[0]!.Next = 'CheckWhy';
  const pending = { Condition: jsonata(`${EXPRESSIONS.exitCode} = ${EXIT_PENDING}`), Assign: { attempts: 0 }, Next: 'Snapshot' };
  const whyNot = why(run, 'Check', 'Done', 'Done', 'Tell', [pending]);
  const renamed = JSON.parse(JSON.stringify({ CheckWhy: whyNot.Why, CheckPause: whyNot.Pause }).replace('"Next":"Pause"', '"Next":"CheckPause"'));
  return machine({ ...states, Check: check, ...renamed, ...snapshotStates(snapshot), ...deploying, ...failing(run, SUMMARY) });
}

function snapshotStates({ kind, id }: Snapshot): States {
  const words =
    kind === 'instance'
      ? { create: 'createDBSnapshot', describe: 'describeDBSnapshots', list: 'DbSnapshots', name: 'DbSnapshotIdentifier', of: 'DbInstanceIdentifier' }
      : { create: 'createDBClusterSnapshot', describe: 'describeDBClusterSnapshots', list: 'DbClusterSnapshots', name: 'DbClusterSnapshotIdentifier', of: 'DbClusterIdentifier' };
  const Catch = [
    { ErrorEquals: ['States.ALL'], Assign: { failure: jsonata('{"StoppedReason": "the snapshot: " & $states.errorOutput.Cause}'), error: jsonata('$states.errorOutput.Error') }, Next: 'Tell' },
  ];
  return {
    Snapshot: { Type: 'Pass', Assign: { snapshot: jsonata('"migrate-" & $uuid()') }, Next: 'CreateSnapshot' },
    CreateSnapshot: {
      Type: 'Task',
      Resource: integration(`aws-sdk:rds:${words.create}`),
      Arguments: { [words.of]: id, [words.name]: jsonata('$snapshot') },
      // While a backup or a change is under way RDS takes no snapshot. The names have the suffix of the Java SDK:
      // https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
      Retry: [{ ErrorEquals: ['Rds.InvalidDbInstanceStateException', 'Rds.InvalidDbClusterStateException'], IntervalSeconds: 60, MaxAttempts: 60, BackoffRate: 1 }],
      Catch,
      Next: 'AwaitSnapshot',
    },
    AwaitSnapshot: { Type: 'Wait', Seconds: 30, Next: 'DescribeSnapshot' },
    DescribeSnapshot: {
      Type: 'Task',
      Resource: integration(`aws-sdk:rds:${words.describe}`),
      Arguments: { [words.of]: id, [words.name]: jsonata('$snapshot') },
      Assign: { status: jsonata(`$states.result.${words.list}[0].Status`) },
      Retry: [{ ErrorEquals: ['States.ALL'], IntervalSeconds: 10, MaxAttempts: 5, BackoffRate: 2 }],
      Catch,
      Next: 'IsSnapshot',
    },
    IsSnapshot: {
      Type: 'Choice',
      Choices: [
        { Condition: jsonata('$status = "available"'), Next: 'Deploy' },
        { Condition: jsonata('$status = "failed"'), Assign: { failure: { StoppedReason: 'the snapshot failed' }, error: 'SnapshotFailed' }, Next: 'Tell' },
      ],
      Default: 'AwaitSnapshot',
    },
  };
}

/** Many: one task each, all of them tried, and a summary of those that failed. */
export function manyStates(run: Run, targets: readonly object[] | { readonly bucket: IBucket; readonly key: string }, concurrency: number): object {
  const items = Array.isArray(targets)
    ? { Items: targets }
    : {
        ItemReader: {
          Resource: integration('s3:getObject'),
          ReaderConfig: { InputType: 'JSON' },
          Arguments: { Bucket: (targets as { bucket: IBucket }).bucket.bucketName, Key: (targets as { key: string }).key },
        },
      };
  const processor = {
    ProcessorConfig: { Mode: 'DISTRIBUTED', ExecutionType: 'STANDARD' },
    StartAt: 'Begin',
    States: {
      Begin: { Type: 'Pass', Assign: { attempts: 0, target: jsonata('$states.input.target'), environment: jsonata(EXPRESSIONS.environment) }, Next: 'Deploy' },
      // Nothing of ECS' long description is kept: the results of all targets share 256 KiB.
      Deploy: containerRun(run, '$environment', {}, { Output: 'done', End: true }),
      ...why(run, 'Deploy', 'Superseded', 'Superseded', 'Harm'),
      // Or done, although another container of the task failed.
      Superseded: { Type: 'Pass', Output: 'done', End: true },
      Harm: { Type: 'Pass', Output: { target: jsonata('$target'), outcome: SUMMARY }, End: true },
    },
  };
  return machine(
    {
      // A child execution does not see the variables of this one, so each gets the upload as input.
      Begin: { Type: 'Pass', Assign: { uploaded: jsonata(EXPRESSIONS.uploaded) }, Next: 'Targets' },
      Targets: {
        Type: 'Map',
        ...items,
        ItemSelector: { target: jsonata('$states.context.Map.Item.Value'), uploaded: jsonata('$uploaded') },
        MaxConcurrency: concurrency,
        Label: 'Targets',
        ItemProcessor: processor,
        Assign: { failures: jsonata(EXPRESSIONS.failed), total: jsonata('$count($states.result)') },
        Output: { targets: jsonata('$count($states.result)'), failed: jsonata(EXPRESSIONS.failed) },
        Catch: [{ ErrorEquals: ['States.ALL'], Assign: { failures: [jsonata('$states.errorOutput')], total: 0 }, Next: 'Tell' }],
        Next: 'All',
      },
      All: { Type: 'Choice', Choices: [{ Condition: jsonata('$count($failures) = 0'), Next: 'Done' }], Default: 'Tell' },
      Done: { Type: 'Succeed' },
      ...failing(run, jsonata('$string($count($failures)) & " of " & $string($total) & " targets failed: " & $substring($string($failures), 0, 3000)')),
    },
  );
}

const machine = (states: States) => ({ QueryLanguage: 'JSONata', StartAt: 'Begin', States: states });
