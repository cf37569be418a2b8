//! What the verbs share that look and write nothing: the artifact, the session, and the one judgement of both. No lock is taken.

use crate::artifact::Artifact;
use crate::database::lock::{self, LockSession};
use crate::database::open::{self, Opened};
use crate::deploy::{describe, read_artifact, with_existing};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::History;
use crate::judgement::{Evidence, Judgement, backend_at_work};
use crate::outcome::Outcome;
use crate::prepare;
use crate::settings::Settings;
use crate::sql::script::Strings;
use std::sync::Arc;

/// What was seen.
pub struct Seen<'s> {
    /// The artifact.
    pub artifact: &'s Artifact,
    /// The session; none if the database does not exist.
    pub opened: Option<&'s Opened>,
    /// What each migration is.
    pub judgement: Judgement<'s, 's>,
    /// The session that holds the migration lock.
    pub holder: Option<LockSession>,
}

/// Reads the artifact, opens a session, and judges. A failure that asks for a person comes back with what the database has of its migration.
///
/// # Errors
/// The artifact or the database cannot be used, or what `then` reports.
pub async fn look(
    settings: &Settings,
    outcome: &mut Outcome,
    then: impl AsyncFnOnce(&Seen<'_>, &mut Outcome) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let run_id = outcome.run_id.clone();
    let terms = settings.terms(&run_id);
    let source = settings.source()?;
    // An artifact that cannot be used ends the run at once, however long the database is waited for.
    let (artifact, opened) = tokio::try_join!(read_artifact(source, settings), async {
        Ok(open::open_with_retry(&terms).await)
    })?;
    describe(&artifact, outcome);
    let opened = match opened {
        Err(failure) if open::is_missing(&failure) => {
            let warning = format!("{} does not exist: deploy creates it", settings.target.describe());
            outcome.warnings.push(warning);
            None
        }
        opened => Some(opened?),
    };
    let mut result = seen(&artifact, opened.as_ref(), outcome, then).await;
    if let Some(opened) = opened {
        if let Err(failure) = result {
            result = Err(with_existing(&opened, &artifact.migrations, failure).await);
        }
        opened.session.close().await;
    }
    result
}

async fn seen(
    artifact: &Artifact,
    opened: Option<&Opened>,
    outcome: &mut Outcome,
    then: impl AsyncFnOnce(&Seen<'_>, &mut Outcome) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let unseen = |what: &'static str| move |error| open::unusable(what, &error);
    let mut history: Arc<History> = Arc::default();
    let mut evidence = Evidence::default();
    let mut strings = Strings::Standard;
    let mut holder = None;
    if let Some(opened) = opened {
        let (session, server) = (&opened.session, &opened.server);
        outcome.database = Some(server.clone());
        strings = server.strings;
        history = opened.history.clone().unwrap_or_default();
        let read = Evidence::read(session, server, &history, &artifact.migrations).await;
        evidence = read.map_err(unseen("the unfinished rows could not be examined"))?;
        holder = lock::holder(session)
            .await
            .map_err(unseen("the migration lock could not be looked at"))?;
        evidence.under_way = holder.is_some();
        if !server.writable {
            outcome.warnings.push(format!(
                "{} does not take writes: a deploy to it would be refused",
                server.address
            ));
        }
    }
    if let Some(holder) = &holder {
        outcome.warnings.push(format!(
            "the migration lock is held by {holder}: a run may be under way, and this may be done by the time that it ends"
        ));
    }
    let judgement = Judgement::new(&artifact.migrations, &history, &evidence, strings);
    for judged in judgement.all() {
        if let Some(backend) = backend_at_work(judged, &evidence) {
            outcome.warnings.push(format!(
                "backend {} of an earlier run still works on migration {}: a deploy waits for its end",
                backend.pid, judged.name
            ));
        }
    }
    let seen = Seen {
        artifact,
        opened,
        judgement,
        holder,
    };
    then(&seen, outcome).await
}

impl Seen<'_> {
    /// Looks at the place for the migrations table.
    ///
    /// # Errors
    /// As [`prepare::check`], or no schema of the search path exists.
    pub async fn check_place(&self, settings: &Settings, outcome: &mut Outcome) -> Result<(), Failure> {
        let Some(opened) = self.opened else { return Ok(()) };
        let wanted = settings.target.schema.as_deref();
        prepare::check(opened, wanted, &self.artifact.datasource).await?;
        if opened.history.is_some() {
            return Ok(());
        }
        match (&opened.server.schema, wanted) {
            (Some(_), _) => {}
            (None, Some(schema)) => outcome
                .warnings
                .push(format!("the schema {schema} does not exist: deploy creates it")),
            (None, None) => return Err(prepare::no_schema()),
        }
        outcome.warnings.push(
            "there is no migrations table yet: Prisma does not manage this database, and deploy creates the table"
                .into(),
        );
        Ok(())
    }
}
