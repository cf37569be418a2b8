import { Duration, Validations } from 'aws-cdk-lib';
import { CfnRule } from 'aws-cdk-lib/aws-events';
import { Effect, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { CONTAINER_NAME } from './contract.js';
import type { PrismaMigrateTask } from './prisma-migrate-task.js';

export interface UploadRuleProps {
  /** The task that an upload starts. */
  readonly task: PrismaMigrateTask;
}

/** Starts the task at each upload of its artifact, and says which upload that was. What could not be delivered is kept in a dead-letter queue. */
export class UploadRule extends Construct {
  readonly rule: CfnRule;
  readonly deadLetters: Queue;
  readonly role: Role;

  constructor(scope: Construct, id: string, { task }: UploadRuleProps) {
    super(scope, id);
    this.deadLetters = new Queue(this, 'DeadLetters', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
    this.role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('events.amazonaws.com') });
    task.allowRun(this.role);

    const { bucket, key, versioned } = task.artifact;
    const paths: Record<string, string> = { etag: '$.detail.object.etag', event: '$.id' };
    const environment = [
      { name: 'PRISMA_ARTIFACT_ETAG', value: '<etag>' },
      { name: 'EVENT_ID', value: '<event>' },
    ];
    if (versioned) {
      paths.version = '$.detail.object.version-id';
      environment.push({ name: 'PRISMA_ARTIFACT_VERSION_ID', value: '<version>' });
    }
    const overrides = { containerOverrides: [{ name: CONTAINER_NAME, environment }] };

    this.rule = new CfnRule(this, 'Rule', {
      description: `An upload of ${key} starts its migrations`,
      eventPattern: {
        source: ['aws.s3'],
        'detail-type': ['Object Created'],
        detail: { bucket: { name: [bucket.bucketName] }, object: { key: [key] } },
      },
      targets: [
        {
          id: 'migrate',
          arn: task.cluster.clusterArn,
          roleArn: this.role.roleArn,
          ecsParameters: {
            taskDefinitionArn: task.taskDefinition.taskDefinitionArn,
            taskCount: 1,
            launchType: 'FARGATE',
            networkConfiguration: {
              awsVpcConfiguration: {
                subnets: task.subnetIds,
                securityGroups: [task.securityGroup.securityGroupId],
                assignPublicIp: task.assignPublicIp ? 'ENABLED' : 'DISABLED',
              },
            },
          },
          // EventBridge puts the quotes around what it inserts.
          inputTransformer: { inputPathsMap: paths, inputTemplate: JSON.stringify(overrides).replace(/"<(\w+)>"/g, '<$1>') },
          // A migration that starts hours after its upload surprises whoever has given up on it by then.
          retryPolicy: { maximumEventAgeInSeconds: 3600, maximumRetryAttempts: 185 },
          deadLetterConfig: { arn: this.deadLetters.queueArn },
        },
      ],
    });
    // The target's role must be able to start the task before the first event comes.
    this.rule.node.addDependency(this.role);
    this.deadLetters.addToResourcePolicy(
      new PolicyStatement({
        effect: Effect.ALLOW,
        principals: [new ServicePrincipal('events.amazonaws.com')],
        actions: ['sqs:SendMessage'],
        resources: [this.deadLetters.queueArn],
        conditions: { ArnEquals: { 'aws:SourceArn': this.rule.attrArn } },
      }),
    );
    Validations.of(this.deadLetters).acknowledge({ id: 'AwsSolutions-SQS3', reason: 'It is itself the dead-letter queue, of an EventBridge target.' });
  }
}
