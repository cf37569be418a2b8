import { ArnFormat, Stack, Token } from 'aws-cdk-lib';
import { type Connections, type ISecurityGroup, Peer, Port } from 'aws-cdk-lib/aws-ec2';
import { Secret as EcsSecret } from 'aws-cdk-lib/aws-ecs';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { CfnDBCluster, CfnDBInstance, IDatabaseCluster, IDatabaseInstance } from 'aws-cdk-lib/aws-rds';
import type { ISecret } from 'aws-cdk-lib/aws-secretsmanager';
import type { IParameter } from 'aws-cdk-lib/aws-ssm';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { Refusal } from './refusal.js';

/** A database that is neither an instance nor a cluster of this app: its endpoint, as it is. Not an RDS Proxy, which a migration cannot use. */
export interface DatabaseEndpoint {
  /** The endpoint's own name: with IAM, RDS takes no token that was signed for a CNAME. */
  readonly host: string;
  /**
   * The port.
   * @default 5432
   */
  readonly port?: number;
  /**
   * The database's security group, which lets the task in.
   * @default - nothing is added: the database must let the task's security group in by other means
   */
  readonly securityGroup?: ISecurityGroup;
  /**
   * RDS' resource id (`db-ABC…`, `cluster-ABC…`), which the right to log in with IAM is granted on.
   * @default - none; refused with `login.iamUser`
   */
  readonly resourceId?: string;
}

/** How the task logs in. Exactly one of `secret`, `iamUser`, `password`. */
export interface DatabaseLogin {
  /**
   * A secret in Secrets Manager, as RDS has it. The program fetches it by itself, and again when the server refuses what it held, so that rotation
   * breaks no run.
   * @default - the secret that the CDK has made for `instance` or `cluster`, where neither `iamUser` nor `password` is given
   */
  readonly secret?: ISecret;
  /**
   * The key that `secret` is encrypted with, where it is not known from `secret` itself.
   * @default - the secret's own `encryptionKey`; `aws/secretsmanager` needs none
   */
  readonly secretKey?: IKey;
  /**
   * A user of the database who has been granted `rds_iam`: an IAM token in place of a password. IAM authentication must be on.
   * @default - none
   */
  readonly iamUser?: string;
  /**
   * Whether `secret` holds the name of the database, as `dbname`. RDS puts it into the secret of an instance or a cluster that has one; a secret that RDS
   * manages itself (`manageMasterUserPassword`) holds user and password alone.
   * @default false - `database.name` says it, or the instance or cluster itself
   */
  readonly secretNamesDatabase?: boolean;
  /**
   * The password in an SSM parameter (SecureString), injected by ECS when the task starts; needs `user`.
   * @default - none
   */
  readonly password?: IParameter;
  /**
   * The user whose password `password` is.
   * @default - none
   */
  readonly user?: string;
}

/** The database: exactly one of `instance`, `cluster`, `endpoint`. */
export interface MigrateDatabase {
  /**
   * An RDS instance. Its security group lets the task in.
   * @default - none
   */
  readonly instance?: IDatabaseInstance & { readonly secret?: ISecret };
  /**
   * An Aurora or Multi-AZ cluster; the writer's endpoint is used. Its security group lets the task in.
   * @default - none
   */
  readonly cluster?: IDatabaseCluster & { readonly secret?: ISecret };
  /**
   * A database that only its endpoint is known of.
   * @default - none
   */
  readonly endpoint?: DatabaseEndpoint;
  /**
   * How the task logs in. Give it a user of its own whose rights end where migrations end, not the master user: whoever may start the task may
   * run any SQL as that user.
   * @default - the secret that the CDK has made for `instance` or `cluster`
   */
  readonly login?: DatabaseLogin;
  /**
   * The database's name. It is refused to leave it open: every server has a database `postgres`, which is empty, so that nothing would fail.
   * @default - `databaseName` of the instance, `defaultDatabaseName` of the cluster, if they are of this app; or that of the secret, with
   * `login.secretNamesDatabase`
   */
  readonly name?: string;
  /**
   * A role of the database that the migrations are applied as (`SET ROLE`), and that owns what they make. The login must be a member of it.
   * @default - the login itself
   */
  readonly databaseRole?: string;
  /**
   * Certificate authorities that verify the server, as PEM text in an SSM parameter (at most 8 KB) or a secret (64 KB), injected by ECS when the task starts:
   * for a region whose authorities are not built in. One region's bundle is small enough, Amazon's global one is not.
   * @default - Amazon's, which are built in
   */
  readonly ca?: IParameter | ISecret;
  /**
   * The schema.
   * @default - the server's own search path, mostly `public`
   */
  readonly schema?: string;
}

/** What a database comes to in a task definition. */
export interface DatabaseAccess {
  readonly environment: Record<string, string>;
  readonly secrets: Record<string, EcsSecret>;
  /** What the task's role needs: exactly what the program calls. */
  readonly statements: PolicyStatement[];
  /**
   * Lets the task out, and into the database. Both rules belong to the task's stack: a rule in the database's stack would need the task's security group,
   * while the task needs the database.
   */
  readonly connect: (task: Connections) => void;
}

interface Place {
  readonly host: string;
  readonly port: string;
  readonly resourceId?: string;
  readonly secret?: ISecret;
  /** The database's name, if the L2 knows it. */
  readonly name?: string;
  readonly connect: DatabaseAccess['connect'];
}

/** A number, or what CloudFormation will know it by, as a variable's value. */
const text = (port: number): string => (Token.isUnresolved(port) ? Token.asString(port) : String(port));

const DESCRIPTION = 'Prisma migrations';

function place(construct: string, database: MigrateDatabase): Place {
  const { instance, cluster, endpoint } = database;
  const given = Object.entries({ instance, cluster, endpoint }).filter(([, value]) => value !== undefined);
  if (given.length !== 1) {
    const names = given.map(([name]) => name).join(' and ') || 'none of them';
    throw new Refusal(construct, `database takes exactly one of instance, cluster and endpoint, and has ${names}.`);
  }
  if (instance) {
    return {
      host: instance.dbInstanceEndpointAddress,
      port: instance.dbInstanceEndpointPort,
      resourceId: instance.instanceResourceId,
      secret: instance.secret,
      name: (instance.node.defaultChild as Partial<CfnDBInstance> | undefined)?.dbName,
      connect: (task) => task.allowToDefaultPort(instance, DESCRIPTION),
    };
  }
  if (cluster) {
    return {
      host: cluster.clusterEndpoint.hostname,
      port: text(cluster.clusterEndpoint.port),
      // An imported cluster may not know it, and throws where it is asked without need.
      get resourceId() {
        return cluster.clusterResourceIdentifier;
      },
      secret: cluster.secret,
      name: (cluster.node.defaultChild as Partial<CfnDBCluster> | undefined)?.databaseName,
      connect: (task) => task.allowToDefaultPort(cluster, DESCRIPTION),
    };
  }
  const { host, port = 5432, securityGroup, resourceId } = endpoint!;
  if (/\.dsql\.[a-z0-9-]+\.on\.aws$/.test(host)) {
    throw new Refusal(
      construct,
      `"${host}" is Aurora DSQL, which takes one change of the schema a transaction and knows no advisory locks: Prisma's migrations cannot be applied to it.`,
    );
  }
  if (/\.proxy-[a-z0-9]+\..*\.rds\.amazonaws\.com/.test(host)) {
    throw new Refusal(construct, `"${host}" is an RDS Proxy, which keeps no session for a migration: give the endpoint of the instance or the cluster's writer.`);
  }
  return {
    host,
    port: text(port),
    resourceId,
    connect: (task) => {
      if (securityGroup) task.allowTo(securityGroup, Port.tcp(port), DESCRIPTION);
      else for (const peer of [Peer.anyIpv4(), Peer.anyIpv6()]) task.allowTo(peer, Port.tcp(port), DESCRIPTION);
    },
  };
}

/** What the task is told and granted. */
export function databaseAccess(scope: Construct, construct: string, database: MigrateDatabase): DatabaseAccess {
  const { login = {}, schema, databaseRole, ca } = database;
  const at = place(construct, database);
  const name = database.name ?? at.name;
  if (login.secretNamesDatabase && login.secret === undefined) {
    throw new Refusal(construct, 'database.login.secretNamesDatabase is about login.secret, and there is none.');
  }
  if (name === undefined && !login.secretNamesDatabase) {
    throw new Refusal(
      construct,
      'nothing says which database: the task would migrate "postgres", which every server has. Give database.name; or the instance or cluster a name of its own ' +
        '(databaseName, defaultDatabaseName); or, if the secret of the login holds "dbname", login.secretNamesDatabase.',
    );
  }
  const environment: Record<string, string> = { DB_HOST: at.host, DB_PORT: at.port };
  if (name !== undefined) environment.DB_NAME = name;
  if (schema !== undefined) environment.DB_SCHEMA = schema;
  if (databaseRole !== undefined) environment.ROLE = databaseRole;
  const secrets: Record<string, EcsSecret> = {};
  if (ca !== undefined) secrets.DB_CA = 'secretArn' in ca ? EcsSecret.fromSecretsManager(ca) : EcsSecret.fromSsmParameter(ca);
  const access = { environment, secrets, statements: [] as PolicyStatement[], connect: at.connect };

  const ways = ['secret', 'iamUser', 'password'].filter((way) => login[way as keyof DatabaseLogin] !== undefined);
  if (ways.length > 1) {
    throw new Refusal(construct, `database.login takes one of secret, iamUser and password, and has ${ways.join(' and ')}.`);
  }
  if (login.user !== undefined && login.password === undefined) {
    throw new Refusal(construct, 'database.login.user belongs to password: a secret names its own user, and an IAM user is iamUser.');
  }
  if (login.secretKey !== undefined && login.secret === undefined && (ways.length > 0 || at.secret === undefined)) {
    throw new Refusal(construct, 'database.login.secretKey belongs to a secret, and there is none.');
  }

  if (login.iamUser !== undefined) {
    if (at.resourceId === undefined) {
      throw new Refusal(construct, 'IAM needs the resource id that the right to log in is granted on: give database.endpoint.resourceId.');
    }
    Object.assign(environment, { DB_IAM_AUTH: 'true', DB_USERNAME: login.iamUser });
    const resourceName = `${at.resourceId}/${login.iamUser}`;
    const arn = Stack.of(scope).formatArn({ service: 'rds-db', resource: 'dbuser', resourceName, arnFormat: ArnFormat.COLON_RESOURCE_NAME });
    access.statements.push(new PolicyStatement({ actions: ['rds-db:connect'], resources: [arn] }));
    return access;
  }
  if (login.password !== undefined) {
    if (login.user === undefined) throw new Refusal(construct, 'database.login.password needs database.login.user.');
    environment.DB_USERNAME = login.user;
    access.secrets.DB_PASSWORD = EcsSecret.fromSsmParameter(login.password);
    return access;
  }
  const secret = login.secret ?? at.secret;
  if (secret === undefined) {
    throw new Refusal(construct, 'nothing says how to log in: give database.login with secret, iamUser, or password and user.');
  }
  environment.DB_SECRET_ARN = secret.secretArn;
  access.statements.push(
    // An ARN without its six random characters matches with any.
    new PolicyStatement({ actions: ['secretsmanager:GetSecretValue'], resources: [secret.secretFullArn ?? `${secret.secretArn}-??????`] }),
  );
  const key = login.secretKey ?? secret.encryptionKey;
  if (key) {
    access.statements.push(
      new PolicyStatement({
        actions: ['kms:Decrypt'],
        resources: [key.keyArn],
        conditions: { StringEquals: { 'kms:ViaService': `secretsmanager.${Stack.of(scope).region}.amazonaws.com` } },
      }),
    );
  }
  return access;
}
