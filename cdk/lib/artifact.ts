import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { Bucket, type IBucket } from 'aws-cdk-lib/aws-s3';
import { StringParameter } from 'aws-cdk-lib/aws-ssm';
import type { Construct } from 'constructs';
import { Refusal } from './refusal.js';

/** Where prisma.zip lies: one of `bucket` and `bucketParameter`, and the key. */
export interface MigrateArtifact {
  /**
   * The bucket. EventBridge is switched on for a bucket of this app. For one that is imported, or named by `bucketParameter`, it must be on already, or no
   * upload starts anything.
   * @default - that of `bucketParameter`
   */
  readonly bucket?: IBucket;
  /**
   * The SSM parameter that holds the bucket's name, such as `/account/services/artifact.bucket`; read by CloudFormation at each deploy.
   * @default - none
   */
  readonly bucketParameter?: string;
  /** The key, such as `newsroom/CODE/api/prisma.zip`. */
  readonly key: string;
  /**
   * Whether the bucket keeps versions. Then each upload's task is told its own version and applies exactly that one. Of an unversioned bucket the
   * event names none, and EventBridge could not start the task.
   * @default false - the task is told the etag, and ends with 41 when a newer upload has taken its place
   */
  readonly versioned?: boolean;
  /**
   * The customer key that the artifact is encrypted with.
   * @default - the bucket's own `encryptionKey`, where it is known
   */
  readonly encryptionKey?: IKey;
  /**
   * Grants `s3:ListBucket`, so that the message about a missing key names those that lie beside it (and is a 404, not a 403).
   * @default false - reading that one key alone
   */
  readonly listBucket?: boolean;
}

/** An artifact whose bucket has been looked up. */
export interface ResolvedArtifact {
  readonly bucket: IBucket;
  readonly key: string;
  readonly versioned: boolean;
  readonly encryptionKey?: IKey;
  readonly statements: PolicyStatement[];
}

export function resolveArtifact(scope: Construct, construct: string, artifact: MigrateArtifact): ResolvedArtifact {
  const { bucket: given, bucketParameter, key, versioned = false, listBucket = false } = artifact;
  if ((given === undefined) === (bucketParameter === undefined)) {
    throw new Refusal(construct, 'artifact takes exactly one of bucket and bucketParameter.');
  }
  if (key === '' || key.startsWith('/') || /[*?]/.test(key)) {
    throw new Refusal(construct, `artifact.key "${key}" is no key of one object: give it without a leading slash and without * and ?.`);
  }
  const bucket = given ?? Bucket.fromBucketName(scope, 'ArtifactBucket', StringParameter.valueForStringParameter(scope, bucketParameter!));
  const statements = [
    new PolicyStatement({ actions: versioned ? ['s3:GetObject', 's3:GetObjectVersion'] : ['s3:GetObject'], resources: [bucket.arnForObjects(key)] }),
  ];
  if (listBucket) statements.push(new PolicyStatement({ actions: ['s3:ListBucket'], resources: [bucket.bucketArn] }));
  const encryptionKey = artifact.encryptionKey ?? bucket.encryptionKey;
  if (encryptionKey) {
    statements.push(
      new PolicyStatement({
        actions: ['kms:Decrypt'],
        resources: [encryptionKey.keyArn],
        conditions: { StringEquals: { 'kms:ViaService': `s3.${bucket.env.region}.amazonaws.com` } },
      }),
    );
  }
  return { bucket, key, versioned, encryptionKey, statements };
}
