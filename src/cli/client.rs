//! The flags of the client's verbs: what a laptop or a pipeline says of a task that runs elsewhere.

use super::flags::{LogFormat, LogLevel};
use super::value::duration;
use clap::builder::BoolishValueParser;
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// What to do with the task from outside.
#[derive(Debug, Subcommand)]
pub enum ClientVerb {
    /// Start the migration task in ECS, follow its log, and exit with its exit code
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Follow the task that an upload started, and exit with its exit code
    #[command(after_help = WAIT_EXAMPLES)]
    Wait(WaitArgs),
    /// Upload a project's migrations as prisma.zip, and follow the task that this starts
    #[command(after_help = UPLOAD_EXAMPLES)]
    Upload(UploadArgs),
}

impl ClientVerb {
    /// How it is called.
    pub fn name(&self) -> &'static str {
        match self {
            ClientVerb::Run(_) => "run",
            ClientVerb::Wait(_) => "wait",
            ClientVerb::Upload(_) => "upload",
        }
    }

    /// What is said, and how.
    pub fn output(&self) -> &ClientOutputArgs {
        match self {
            ClientVerb::Run(args) => &args.output,
            ClientVerb::Wait(args) => &args.said,
            ClientVerb::Upload(args) => &args.said,
        }
    }
}

pub(super) fn asked_for(matches: &ArgMatches) -> Option<Result<ClientVerb, clap::Error>> {
    let verb = matches.subcommand_name()?;
    ClientVerb::has_subcommand(verb).then(|| ClientVerb::from_arg_matches(matches))
}

const RUN_EXAMPLES: &str = "Examples:
  prisma-migrate-task run --cfn-stack shop-PROD
  prisma-migrate-task run --cfn-stack shop-PROD --confirm --snapshot-before
  prisma-migrate-task run --stack shop --stage CODE --app db -- status
  prisma-migrate-task run --stage CODE -- execute 'SELECT count(*) FROM orders'";

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten, next_help_heading = "Where the task is")]
    #[allow(missing_docs)]
    pub place: PlaceArgs,
    /// Deploy; without it `run` plans. With execute or adopt after --: allow writes
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub confirm: bool,
    #[command(flatten, next_help_heading = "Snapshot")]
    #[allow(missing_docs)]
    pub snapshot: SnapshotArgs,
    /// Pass the SQL of execute through S3 (below the stack's reports) instead of the task's command, which ECS and CloudTrail show
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub sql_by_s3: bool,
    /// How long to start the task again if it never ran: no capacity, no network interface, an image or a secret that could not be fetched
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub start_within: Duration,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub output: ClientOutputArgs,
    /// A verb for the task with its flags, such as status or execute SQL; the file of --file is read here
    #[arg(value_name = "VERB", last = true)]
    pub words: Vec<String>,
}

const WAIT_EXAMPLES: &str = "Examples:
  prisma-migrate-task wait --cfn-stack shop-PROD
  prisma-migrate-task wait --cfn-stack shop-PROD --version-id 3HL4kqtJvjVBH40Nrjfkd
  prisma-migrate-task wait --task arn:aws:ecs:eu-west-1:123456789012:task/c/0123";

const UPLOAD_EXAMPLES: &str = "Examples:
  prisma-migrate-task upload --cfn-stack shop-PROD
  prisma-migrate-task upload --no-wait --artifact s3://bucket/shop/PROD/db/prisma.zip ./prisma
  prisma-migrate-task upload --output prisma.zip ./prisma";

/// Flags of `wait`.
#[derive(Args, Clone, Debug)]
pub struct WaitArgs {
    #[command(flatten, next_help_heading = "Where the task is")]
    #[allow(missing_docs)]
    pub place: PlaceArgs,
    #[command(flatten, next_help_heading = "Upload")]
    #[allow(missing_docs)]
    pub upload: UploadedArgs,
    /// The upload of this version of the artifact [default: the newest]
    #[arg(long, value_name = "VERSION-ID")]
    pub version_id: Option<String>,
    /// The upload of the artifact with this etag, in a bucket without versioning [default: the newest]
    #[arg(long, value_name = "ETAG", conflicts_with = "version_id")]
    pub etag: Option<String>,
    /// Follow this task, by its ARN, instead of the one that an upload started
    #[arg(long, value_name = "ARN", conflicts_with_all = ["version_id", "etag", "artifact"])]
    pub task: Option<String>,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub said: ClientOutputArgs,
}

/// Which uploads are meant, and how long one has to start its task.
#[derive(Args, Clone, Debug)]
pub struct UploadedArgs {
    /// Where prisma.zip is: s3://bucket/key [default: the stack's output MigrateArtifact]
    #[arg(long, value_name = "S3-URL")]
    pub artifact: Option<String>,
    /// How long to wait for an upload to start its task
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub start_within: Duration,
}

/// Flags of `upload`.
#[derive(Args, Clone, Debug)]
pub struct UploadArgs {
    /// The project, its prisma folder, or the migrations folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// The migrations folder inside DIR, if it is not found automatically; it has the same path in the zip
    #[arg(long, value_name = "PATH")]
    pub migrations_path: Option<String>,
    #[command(flatten, next_help_heading = "Where the task is")]
    #[allow(missing_docs)]
    pub place: PlaceArgs,
    #[command(flatten, next_help_heading = "Upload")]
    #[allow(missing_docs)]
    pub upload: UploadedArgs,
    /// Exit after the upload
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub no_wait: bool,
    /// Write the zip to this file instead of uploading it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["artifact", "no_wait"])]
    pub output: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Output")]
    #[allow(missing_docs)]
    pub said: ClientOutputArgs,
}

/// The snapshot before a deploy.
#[derive(Args, Clone, Debug)]
pub struct SnapshotArgs {
    /// With --confirm: if migrations are pending, take a snapshot of the database first
    #[arg(long, value_parser = BoolishValueParser::new(), requires = "confirm")]
    pub snapshot_before: bool,
    /// The RDS instance for --snapshot-before [default: the stack's output MigrateDatabaseInstance]
    #[arg(long, value_name = "NAME", conflicts_with = "db_cluster")]
    pub db_instance: Option<String>,
    /// The Aurora or Multi-AZ cluster for --snapshot-before [default: the stack's output MigrateDatabaseCluster]
    #[arg(long, value_name = "NAME")]
    pub db_cluster: Option<String>,
}

/// What the construct `PrismaMigrateTask` begins the names of its outputs with.
pub const DEFAULT_OUTPUT_PREFIX: &str = "Migrate";

/// Where the task is: flags beat the outputs of a CloudFormation stack, which beat tags.
#[derive(Args, Clone, Debug, Default)]
pub struct PlaceArgs {
    /// The CloudFormation stack whose outputs name the task
    #[arg(long, value_name = "NAME", conflicts_with_all = ["stack", "stage", "app"])]
    pub cfn_stack: Option<String>,
    /// The prefix of the names of these outputs
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_OUTPUT_PREFIX)]
    pub output_prefix: String,
    /// Find the CloudFormation stack, or the task itself, by its tag Stack
    #[arg(long, value_name = "TAG")]
    pub stack: Option<String>,
    /// Find it by its tag Stage
    #[arg(long, value_name = "TAG")]
    pub stage: Option<String>,
    /// Find it by its tag App
    #[arg(long, value_name = "TAG")]
    pub app: Option<String>,
    /// The ECS cluster, by name or ARN
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// The task definition: a family (its newest revision), family:revision or an ARN
    #[arg(long, value_name = "FAMILY")]
    pub task_definition: Option<String>,
    /// The container in it that runs this program
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// The subnets for the task, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub subnets: Vec<String>,
    /// With tags: the SSM parameter that holds the subnets
    #[arg(long, value_name = "NAME", default_value = "/account/vpc/primary/subnets/private")]
    pub subnets_parameter: String,
    /// The security groups for the task, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub security_groups: Vec<String>,
    /// Give the task a public IP address; a task in a public subnet needs one to pull its image
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub assign_public_ip: bool,
    /// The CloudWatch Logs group of the task's log
    #[arg(long, value_name = "GROUP")]
    pub log_group: Option<String>,
    /// The prefix of its streams' names, before /CONTAINER/TASK
    #[arg(long, value_name = "PREFIX")]
    pub log_stream_prefix: Option<String>,
    /// Where the task writes its reports: s3://bucket/prefix
    #[arg(long, value_name = "S3-PREFIX")]
    pub reports: Option<String>,
}

/// What is said on this side, and how.
#[derive(Args, Clone, Debug)]
pub struct ClientOutputArgs {
    /// Print the outcome as JSON, whatever the format of the log
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub json: bool,
    /// The format of the log: text, or one JSON object per line [default: text on a terminal, else json]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// The least severe level to show, of this side's log and the task's
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}
