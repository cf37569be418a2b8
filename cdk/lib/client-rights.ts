import { ArnFormat, Stack } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';

/** What somebody may do beside starting the task. */
export interface RunRights {
  /**
   * Lets them take a snapshot of the database first (`run --snapshot-before`), where the task's database is an `instance` or a `cluster`.
   * @default false
   */
  readonly snapshotBefore?: boolean;
}

/** The snapshots of `run --snapshot-before` begin so. */
const SNAPSHOT_PREFIX = 'before-';

/**
 * Right by right what the verbs `run`, `wait` and `upload` call, each on this task's own resources. `contract.json` lists the calls (`clientOperations`);
 * two tests hold it against the program and against this. What they ask where no stack of these constructs tells the place (the task definition, the
 * subnets in SSM) is not among them.
 */
export class ClientRights {
  constructor(
    private readonly task: PrismaMigrateTask,
    private readonly grantee: IGrantable,
  ) {}

  /** Finding the task, following it and reading its outcome. */
  follow(): Grant {
    const { task } = this;
    const stack = Stack.of(task);
    this.allow(['cloudformation:DescribeStacks'], stack.formatArn({ service: 'cloudformation', resource: 'stack', resourceName: `${stack.stackName}/*` }));
    // The tagging API knows no resource: it tells which stack carries the tags of --stack, --stage and --app.
    this.allow(['tag:GetResources'], '*');
    this.allow(['ecs:DescribeTasks'], task.taskArns, this.ofCluster());
    const { reports } = task;
    if (reports) {
      this.allow(['s3:GetObject'], reports.bucket.arnForObjects(`${reports.prefix}/*`));
      this.allowKey(['kms:Decrypt'], reports.bucket.encryptionKey, reports.bucket);
    }
    // The ARN of a log group ends in :*, which stands for its streams.
    return this.allow(['logs:GetLogEvents'], task.logGroup.logGroupArn);
  }

  /** Finding the task that an upload started, and what stands between where none was. */
  wait(): Grant {
    const { artifact, reports } = this.task;
    if (reports) this.allow(['s3:ListBucket'], reports.bucket.bucketArn, { StringLike: { 's3:prefix': `${reports.prefix}/*` } });
    this.allow(artifact.versioned ? ['s3:GetObject', 's3:GetObjectVersion'] : ['s3:GetObject'], artifact.bucket.arnForObjects(artifact.key));
    this.allow(['s3:GetBucketNotification'], artifact.bucket.bucketArn);
    // It lists by cluster and knows no other resource.
    this.allow(['ecs:ListTasks'], '*', this.ofCluster());
    return this.follow();
  }

  /** Storing prisma.zip. */
  upload(): Grant {
    const { artifact } = this.task;
    this.allow(['s3:PutObject'], artifact.bucket.arnForObjects(artifact.key));
    this.allowKey(['kms:GenerateDataKey'], artifact.encryptionKey, artifact.bucket);
    return this.wait();
  }

  /** Starting the task with any command, and stopping it. */
  run({ snapshotBefore = false }: RunRights): Grant {
    const { task } = this;
    for (const statement of task.runStatements()) this.grantee.grantPrincipal.addToPrincipalPolicy(statement);
    this.allow(['ecs:StopTask'], task.taskArns, this.ofCluster());
    if (task.reports) {
      // SQL that is too long for a task's command, or to be seen by nobody else.
      this.allow(['s3:PutObject'], task.reports.bucket.arnForObjects(`${task.reports.prefix}/sql/*`));
      this.allowKey(['kms:GenerateDataKey'], task.reports.bucket.encryptionKey, task.reports.bucket);
    }
    if (snapshotBefore) this.snapshots();
    return this.follow();
  }

  private snapshots(): void {
    const { instance, cluster } = this.task.databaseNames;
    const arn = (resource: string, resourceName: string) =>
      Stack.of(this.task).formatArn({ service: 'rds', resource, resourceName, arnFormat: ArnFormat.COLON_RESOURCE_NAME });
    if (instance !== undefined) {
      const snapshots = arn('snapshot', `${SNAPSHOT_PREFIX}*`);
      this.allow(['rds:CreateDBSnapshot', 'rds:DescribeDBSnapshots'], arn('db', instance), undefined, snapshots);
      this.allow(['rds:AddTagsToResource'], snapshots);
    }
    if (cluster !== undefined) {
      const snapshots = arn('cluster-snapshot', `${SNAPSHOT_PREFIX}*`);
      this.allow(['rds:CreateDBClusterSnapshot', 'rds:DescribeDBClusterSnapshots'], arn('cluster', cluster), undefined, snapshots);
      this.allow(['rds:AddTagsToResource'], snapshots);
    }
  }

  private ofCluster() {
    return { ArnEquals: { 'ecs:cluster': this.task.cluster.clusterArn } };
  }

  /** The key of a bucket, by way of S3 in the bucket's region. */
  private allowKey(actions: string[], key: IKey | undefined, bucket: IBucket): void {
    if (!key) return;
    this.allow(actions, key.keyArn, { StringEquals: { 'kms:ViaService': `s3.${bucket.env.region}.amazonaws.com` } });
  }

  private allow(actions: string[], resource: string, conditions?: Record<string, Record<string, unknown>>, ...more: string[]): Grant {
    return Grant.addToPrincipal({ grantee: this.grantee, actions, resourceArns: [resource, ...more], conditions });
  }
}
