/** The states of the two machines, in Amazon's States Language with JSONata. Values alone: nothing here makes a construct. */
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { CONTAINER_NAME, EXIT_PENDING } from './contract.js';
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
  readonly topic?: ITopic;
}

type States = Record<string, object>;

/** JSONata. Of a task that stopped, Step Functions gives ECS' description as text; of one that ECS did not take, a sentence. */
export const EXPRESSIONS = {
  cause: '($c := $states.errorOutput.Cause; $substring($c, 0, 1) = "{" ? $parse($c) : {"StoppedReason": $exists($c) ? $c : ""})',
  exitCode: `$failure.Containers[Name = "${CONTAINER_NAME}"].ExitCode`,
  neverStarted: '$failure.StopCode = "TaskFailedToStart" and $attempts < 3',
  environment: '[$each($states.input.target, function($v, $k) { {"Name": $k, "Value": $v} })]',
  failed: '[$states.result[$ != "done"]]',
} as const;

const jsonata = (expression: string) => `{% ${expression} %}`;

function containerRun({ task, definition, timeout }: Run, override: object, next: object): object {
  return {
    Type: 'Task',
    Resource: 'arn:aws:states:::ecs:runTask.sync',
    TimeoutSeconds: timeout,
    Arguments: {
      Cluster: task.cluster.clusterArn,
      TaskDefinition: definition,
      LaunchType: 'FARGATE',
      NetworkConfiguration: {
        AwsvpcConfiguration: {
          Subnets: task.subnetIds,
          SecurityGroups: [task.securityGroup.securityGroupId],
          AssignPublicIp: task.assignPublicIp ? 'ENABLED' : 'DISABLED',
        },
      },
      Overrides: { ContainerOverrides: [{ Name: CONTAINER_NAME, ...override }] },
    },
    // ECS did not take it: no capacity, no address, throttled. Nothing has run.
    Retry: [{ ErrorEquals: ['AmazonECS.Unknown', 'ECS.AmazonECSException'], IntervalSeconds: 30, MaxAttempts: 3, BackoffRate: 2 }],
    Catch: [{ ErrorEquals: ['States.ALL'], Assign: { failure: jsonata(EXPRESSIONS.cause), error: jsonata('$states.errorOutput.Error') }, Next: 'Why' }],
    ...next,
  };
}

/** A task that never started is started again; a newer upload has its own run; all else goes to `otherwise`. */
function why(again: string, superseded: string, otherwise: string, more: object[] = []): States {
  return {
    Why: {
      Type: 'Choice',
      Choices: [
        { Condition: jsonata(EXPRESSIONS.neverStarted), Assign: { attempts: jsonata('$attempts + 1') }, Next: 'Pause' },
        { Condition: jsonata(`${EXPRESSIONS.exitCode} = 41`), Next: superseded },
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
      Resource: 'arn:aws:states:::sns:publish',
      Arguments: { TopicArn: topic.topicArn, Subject: 'Prisma migrations failed', Message: jsonata(`"${task.family}: " & $summary & ", " & $states.context.Execution.Id`) },
      // Who could not be told must not make a failure look like another one.
      Catch: [{ ErrorEquals: ['States.ALL'], Next: 'Failed' }],
      Next: 'Failed',
    },
    Failed: failed,
  };
}

/** One database: with a snapshot only where something is pending. */
export function oneStates(run: Run, snapshot: Snapshot | undefined): object {
  const begin = { Type: 'Pass', Assign: { attempts: 0 }, Next: snapshot ? 'Check' : 'Deploy' };
  const states: States = { Begin: begin, Deploy: containerRun(run, {}, { Next: 'Done' }), Done: { Type: 'Succeed' } };
  if (!snapshot) return machine({ ...states, ...why('Deploy', 'Done', 'Tell'), ...failing(run, SUMMARY) });

  const check = containerRun(run, { Command: ['plan', '--check'] }, { Next: 'Done' }) as { Catch: { Next: string }[] };
  check.Catch[0]!.Next = 'CheckWhy';
  const whyNot = why('Check', 'Done', 'Tell', [{ Condition: jsonata(`${EXPRESSIONS.exitCode} = ${EXIT_PENDING}`), Assign: { attempts: 0 }, Next: 'Snapshot' }]);
  const renamed = JSON.parse(JSON.stringify({ CheckWhy: whyNot.Why, CheckPause: whyNot.Pause }).replace('"Next":"Pause"', '"Next":"CheckPause"'));
  return machine({ ...states, Check: check, ...renamed, ...snapshotStates(snapshot), ...why('Deploy', 'Done', 'Tell'), ...failing(run, SUMMARY) });
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
      Resource: `arn:aws:states:::aws-sdk:rds:${words.create}`,
      Arguments: { [words.of]: id, [words.name]: jsonata('$snapshot') },
      Catch,
      Next: 'AwaitSnapshot',
    },
    AwaitSnapshot: { Type: 'Wait', Seconds: 30, Next: 'DescribeSnapshot' },
    DescribeSnapshot: {
      Type: 'Task',
      Resource: `arn:aws:states:::aws-sdk:rds:${words.describe}`,
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
          Resource: 'arn:aws:states:::s3:getObject',
          ReaderConfig: { InputType: 'JSON' },
          Arguments: { Bucket: (targets as { bucket: IBucket }).bucket.bucketName, Key: (targets as { key: string }).key },
        },
      };
  const processor = {
    ProcessorConfig: { Mode: 'DISTRIBUTED', ExecutionType: 'STANDARD' },
    StartAt: 'Begin',
    States: {
      Begin: { Type: 'Pass', Assign: { attempts: 0, target: jsonata('$states.input.target') }, Next: 'Deploy' },
      // Nothing of ECS' long description is kept: the results of all targets share 256 KiB.
      Deploy: containerRun(run, { Environment: jsonata('$environment') }, { Output: 'done', End: true }),
      ...why('Deploy', 'Superseded', 'Harm'),
      Superseded: { Type: 'Pass', Output: 'done', End: true },
      Harm: { Type: 'Pass', Output: { target: jsonata('$target'), outcome: SUMMARY }, End: true },
    },
  };
  (processor.States.Begin.Assign as Record<string, unknown>).environment = jsonata(EXPRESSIONS.environment);
  return machine(
    {
      Begin: {
        Type: 'Map',
        ...items,
        ItemSelector: { target: jsonata('$states.context.Map.Item.Value') },
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
