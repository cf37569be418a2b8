//! Flags and variables become one validated [`Settings`]; nothing else reads the environment.

mod database;
mod direct;
mod env_file;
mod order;
mod output;
mod source;

use crate::artifact::{Artifact, Limits, Source};
use crate::cli::{
    AdoptArgs, ArtifactArgs, BaselineArgs, CheckDrift, Cli, ConnectionArgs, DeployArgs, DriftArgs, ExecuteArgs,
    LockArgs, PlanArgs, PolicyArgs, StatusArgs, Verb, WorkArgs,
};
use crate::database::credentials::{CredentialsError, Way};
use crate::database::open::Terms;
use crate::database::pooler;
use crate::database::target::Target;
use crate::deploy::read_artifact;
use crate::drift::Location;
use crate::execute::{Access, Order};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hazard::Watchfulness;
use crate::history::Columns;
use crate::plan::{Policy, Scope};
use crate::resolve::Resolution;
use direct::Direct;
use order::order;
pub use output::Output;
use source::{location, no_source, source};
use std::io::IsTerminal;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Everything that a run was told.
///
/// At first its target is the [`Way`] by which the database was given: a secret must be fetched before one knows where to go
/// ([`Settings::find_target`]). The rest is [`Options`], whose fields are read as its own.
#[derive(Debug)]
pub struct Settings<T = Target> {
    /// The database.
    pub target: T,
    options: Options,
}

impl<T> Deref for Settings<T> {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

/// What a run was told beside its database.
#[derive(Debug)]
pub struct Options {
    /// What to do.
    pub action: Action,
    /// Where the migrations are; none where nothing says so.
    source: Option<Source>,
    /// The migrations folder inside the source.
    pub migrations_path: Option<String>,
    /// What an archive may cost.
    pub limits: Limits,
    /// `DIRECT_URL`, where it is set.
    direct: Option<Direct>,
    /// The artifact, where it was read to find the database.
    read: Mutex<Option<Artifact>>,
    /// The file of the artifact that names `DIRECT_URL`, once it was read.
    names_direct_url: OnceLock<String>,
    /// What the way to the database holds that the log should mention: a warning, or not.
    pub notes: Vec<(bool, String)>,
    /// How long a database is waited for.
    pub connect_timeout: Duration,
    /// The role to work as, where it is not the user's own.
    pub role: Option<String>,
    /// Whether a pooler in session mode may stand between.
    pub allow_pooler: bool,
    /// How long the migration lock is waited for.
    pub lock_wait: Duration,
    /// Whether a backend of an earlier run is ended that holds the migration lock.
    pub terminate_orphan: bool,
    /// How long a statement waits for a lock on a table.
    pub lock_timeout: Duration,
    /// How long a migration is tried again while other sessions hold its locks.
    pub lock_retry_for: Duration,
    /// What is to be applied, and what is refused.
    pub policy: Policy,
    /// Whether all that is pending shares one transaction.
    pub all_or_nothing: bool,
    /// What counts as a hazard, and which are refused.
    pub watchfulness: Watchfulness,
    /// SQL to run after the first deploy, in the place of the artifact's.
    pub seed: Option<PathBuf>,
    /// The earlier report that the schema is compared with before a deploy, and what is made of a difference.
    pub check_drift: Option<(CheckDrift, Location)>,
    /// Whether the schema is described in the outcome.
    pub describe_schema: bool,
    /// How often a running migration is spoken of.
    pub progress_every: Duration,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Apply what is pending.
    Deploy,
    /// Say what a deploy would do; `check`: exit 10 when something is pending.
    Plan {
        /// `--check`.
        check: bool,
    },
    /// Look, and write nothing.
    Status,
    /// Correct the ledger by hand.
    Resolve {
        /// How.
        resolution: Resolution,
        /// Only say what would be written.
        dry_run: bool,
    },
    /// Record this migration and all before it as applied, in a database that is not managed yet.
    Baseline(String),
    /// Make of a ledger that others wrote what Prisma would have written, or only say what that is.
    Adopt {
        /// Write.
        confirm: bool,
    },
    /// Compare the schema with that of an earlier report.
    Drift(Location),
    /// Run SQL.
    Execute(Order),
}

/// Whether a stream is coloured: it is a terminal that can be, and nobody asked for no colour. <https://no-color.org>
pub fn may_colour(terminal: bool) -> bool {
    may_redraw(terminal) && variable("NO_COLOR").is_none()
}

/// Whether a line of a stream can be drawn again: it is a terminal that can move its cursor.
pub fn may_redraw(terminal: bool) -> bool {
    terminal && variable("TERM").as_deref() != Some("dumb")
}

/// Reads a variable; an empty one counts as unset.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Settings<Way> {
    /// Validates what was given.
    ///
    /// # Errors
    /// Something is missing, contradicts itself or cannot be read: exit 2, and how to give it.
    pub fn new(cli: Cli, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        match cli.verb {
            Verb::Deploy(args) => Self::deploy(args, variable),
            Verb::Execute(args) => Self::execute(args, variable),
            Verb::Plan(PlanArgs {
                artifact,
                check,
                policy,
                connection,
                ..
            }) => Ok(Self::common(Action::Plan { check }, artifact, &connection, variable)?.obeying(policy)),
            Verb::Status(StatusArgs {
                artifact, connection, ..
            }) => Self::common(Action::Status, artifact, &connection, variable),
            Verb::Resolve(args) => {
                let resolution = args.resolution();
                let scope = match &resolution {
                    Resolution::Retry(name) => Scope::Only(name.clone()),
                    _ => Scope::All,
                };
                let action = Action::Resolve {
                    resolution,
                    dry_run: args.dry_run,
                };
                let mut settings = Self::common(action, args.artifact, &args.connection, variable)?
                    .locking(&args.lock)
                    .working(&args.work);
                settings.options.policy.scope = scope;
                Ok(settings)
            }
            Verb::Drift(DriftArgs { since, connection, .. }) => {
                let action = Action::Drift(location(&since)?);
                Self::common(action, ArtifactArgs::default(), &connection, variable)
            }
            Verb::Adopt(AdoptArgs {
                artifact,
                confirm,
                connection,
                lock,
                ..
            }) => Self::common(Action::Adopt { confirm }, artifact, &connection, variable)
                .map(|settings| settings.locking(&lock)),
            Verb::Baseline(BaselineArgs {
                artifact,
                to,
                connection,
                lock,
                ..
            }) => Self::common(Action::Baseline(to), artifact, &connection, variable)
                .map(|settings| settings.locking(&lock)),
        }
    }

    fn locking(mut self, lock: &LockArgs) -> Self {
        self.options.lock_wait = lock.lock_wait;
        self.options.terminate_orphan = lock.terminate_orphan;
        self
    }

    fn working(mut self, work: &WorkArgs) -> Self {
        self.options.lock_timeout = work.lock_timeout;
        self.options.lock_retry_for = work.lock_retry_for;
        self.options.progress_every = work.time.progress_every;
        self
    }

    fn obeying(mut self, policy: PolicyArgs) -> Self {
        self.options.policy = Policy {
            strict: policy.strict,
            scope: policy.to.map_or(Scope::All, Scope::UpTo),
        };
        self.options.all_or_nothing = policy.all_or_nothing;
        self.options.watchfulness = Watchfulness {
            large_table: policy.large_table,
            fail_on: policy.fail_on,
        };
        self
    }

    fn deploy(args: DeployArgs, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let mut settings = Self::common(Action::Deploy, args.artifact, &args.connection, variable)?
            .locking(&args.lock)
            .working(&args.work)
            .obeying(args.policy);
        settings.options.seed = args.seed;
        settings.options.describe_schema = args.output.report.is_some() || args.output.report_prefix.is_some();
        if let (Some(action), Some(since)) = (args.check_drift, &args.since) {
            settings.options.check_drift = Some((action, location(since)?));
        }
        Ok(settings)
    }

    fn execute(args: ExecuteArgs, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let order = order(&args, std::io::stdin().is_terminal(), std::io::stdout().is_terminal())?;
        let mut settings = Self::common(
            Action::Execute(order),
            ArtifactArgs::default(),
            &args.connection,
            variable,
        )?;
        settings.options.lock_timeout = args.lock_timeout;
        settings.options.progress_every = args.time.progress_every;
        Ok(settings)
    }

    fn common(
        action: Action,
        artifact: ArtifactArgs,
        connection: &ConnectionArgs,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let source = match action {
            Action::Execute(_) => None,
            _ => source(artifact.source.as_deref(), variable)?,
        };
        // Said before anything about the database: whoever starts the bare program learns first what it is given.
        let needs_none = matches!(
            action,
            Action::Drift(_)
                | Action::Execute(_)
                | Action::Resolve {
                    resolution: Resolution::RolledBack(_),
                    ..
                }
        );
        if source.is_none() && !needs_none {
            return Err(no_source());
        }
        let (target, mut notes) =
            database::way(variable).map_err(|failure| env_file::name(failure, source.as_ref(), variable))?;
        let direct = Direct::of(&target, variable);
        if let Way::Url(target) = &target {
            options_for_a_pooler(target, connection.allow_pooler)?;
        }
        if variable("PRISMA_SCHEMA_DISABLE_ADVISORY_LOCK").is_some_and(|value| value != "0") {
            notes.push((
                true,
                "PRISMA_SCHEMA_DISABLE_ADVISORY_LOCK is not honoured: without the lock nothing could be said of what happened".into(),
            ));
        }
        let options = Options {
            action,
            source,
            limits: artifact.limits(),
            direct,
            read: Mutex::new(None),
            names_direct_url: OnceLock::new(),
            migrations_path: artifact.migrations_path,
            notes,
            connect_timeout: connection.connect_timeout,
            role: connection.role.clone(),
            allow_pooler: connection.allow_pooler,
            lock_wait: Duration::ZERO,
            terminate_orphan: false,
            lock_timeout: Duration::from_secs(10),
            lock_retry_for: Duration::ZERO,
            policy: Policy::default(),
            all_or_nothing: false,
            watchfulness: Watchfulness::default(),
            seed: None,
            check_drift: None,
            describe_schema: false,
            progress_every: Duration::ZERO,
        };
        Ok(Settings { target, options })
    }

    /// Whether it is the artifact that says which URL is used.
    pub fn depends_on_artifact(&self) -> bool {
        self.options.direct.is_some() && matches!(self.target, Way::Url(_))
    }

    /// Finds the database: fetches the secret where one is named, and reads the artifact where that has to say whether `DIRECT_URL` is used.
    ///
    /// # Errors
    /// There are no credentials, or they do not say where the database is; the artifact cannot be used.
    pub async fn find_target(self) -> Result<Settings, Failure> {
        let Settings { target, options } = self;
        let is_url = matches!(target, Way::Url(_));
        let unusable = |error: CredentialsError| Failure::new(error.exit(), error.to_string(), error.next_step());
        let mut target = target.target().await.map_err(unusable)?;
        if let (Some(direct), true) = (&options.direct, is_url) {
            if let Some(source) = &options.source {
                let artifact = read_artifact(source, &options).await?;
                *options.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(artifact);
            }
            let chosen = {
                let read = options.read.lock().unwrap_or_else(PoisonError::into_inner);
                direct.choose(target, read.as_ref().map(|artifact| &artifact.datasource))?
            };
            // Its authorities may be in S3 too.
            target = Way::Url(chosen).target().await.map_err(unusable)?;
            options_for_a_pooler(&target, options.allow_pooler)?;
        }
        Ok(Settings { target, options })
    }
}

impl Options {
    /// The artifact, where finding the database has read it already; once.
    pub fn take_artifact(&self) -> Option<Artifact> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes note of what an artifact says.
    pub fn heed(&self, artifact: &Artifact) {
        if let Some(file) = &artifact.datasource.direct_url {
            let _ = self.names_direct_url.set(file.clone());
        }
    }

    /// Where a pooler was refused, names the variable that leads past it.
    pub fn name_direct_url(&self, mut failure: Failure) -> Failure {
        let asks = [pooler::USE_INSTEAD, pooler::USE_INSTEAD_OF_RDS_PROXY];
        if asks.contains(&failure.next.as_str())
            && let Some(hint) = direct::hint(self.direct.as_ref(), self.names_direct_url.get().map(String::as_str))
        {
            failure.next = format!("{}; {hint}", failure.next);
        }
        failure
    }
}

fn options_for_a_pooler(target: &Target, allow_pooler: bool) -> Result<(), Failure> {
    let startup_options = target.options.as_deref().unwrap_or_default();
    if allow_pooler && pooler::settings_in(startup_options).is_none() {
        return Err(usage(
            "with --allow-pooler the connection string's options can only hold settings, as -c name=value",
            "take out what is no setting: a pooler does not hand it on",
        ));
    }
    Ok(())
}

impl Settings {
    /// Where the migrations are.
    ///
    /// # Errors
    /// Nothing says where.
    pub fn source(&self) -> Result<&Source, Failure> {
        self.source.as_ref().ok_or_else(no_source)
    }

    /// What a session is opened with.
    pub fn terms<'a>(&'a self, run_id: &'a str) -> Terms<'a> {
        Terms {
            target: &self.target,
            run_id,
            connect_timeout: self.connect_timeout,
            lock_timeout: self.lock_timeout,
            lock_wait: self.lock_wait,
            role: self.role.as_deref(),
            allow_pooler: self.allow_pooler,
            ledger: match self.action {
                Action::Execute(_) => None,
                Action::Status => Some(Columns::All),
                _ => Some(Columns::Judged),
            },
            read_only: matches!(&self.action, Action::Execute(order) if order.access != Access::Write),
        }
    }
}

fn usage(what: &str, next: &str) -> Failure {
    Failure::new(Exit::Usage, what, next)
}
