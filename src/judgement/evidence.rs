//! What the server says of the unfinished rows, read without writing anything.

use crate::apply::alone::{self, Before};
use crate::apply::cleanup::Leaving;
use crate::apply::session_state::{self, NotRestored};
use crate::database::lock;
use crate::database::open::Server;
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::history::{Backend, History, Mark, Marked, Progress, Row, SessionMark};
use crate::migration::Migration;
use crate::sql::kind::{Alone, Kind};
use crate::sql::script::Statement;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

/// What the server says of the unfinished rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Whether another session holds the migration lock: then a run may be at work on every unfinished row.
    pub under_way: bool,
    rows: HashMap<String, Found>,
}

/// What the server says of one unfinished row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The backend that wrote the row, if it still lives.
    pub alive: Option<Backend>,
    /// Of a statement that was sent by itself: what became of it.
    pub statement: Option<Interrupted>,
    /// Why the session that the rest of the script needs cannot be made.
    pub not_restorable: Option<String>,
}

/// What the catalogue says of a statement whose run was interrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct Interrupted {
    /// Whether it is done.
    pub evidence: alone::Evidence,
    /// What it left that is to be removed or finished.
    pub left: Vec<Leaving>,
}

impl Evidence {
    /// What was found about a row.
    pub fn found(&self, row: &str) -> &Found {
        static NOTHING: LazyLock<Found> = LazyLock::new(Found::default);
        self.rows.get(row).unwrap_or(&NOTHING)
    }

    /// Looks at the unfinished rows of this program. It writes nothing. The session is reset if it had to be changed.
    ///
    /// # Errors
    /// The server's.
    pub async fn read(
        session: &Session,
        server: &Server,
        history: &History,
        migrations: &[Migration],
    ) -> Result<Evidence, ServerError> {
        let mut evidence = Evidence::default();
        for row in history.unfinished() {
            let Some(mark) = row.mark() else { continue };
            let migration = migrations.iter().find(|migration| migration.name == row.migration);
            let script = migration.and_then(|migration| migration.script.text().ok());
            let found = of_row(session, server, (row, &mark), script).await?;
            evidence.rows.insert(row.id.clone(), found);
        }
        Ok(evidence)
    }
}

async fn of_row(
    session: &Session,
    server: &Server,
    (row, mark): (&Row, &Mark),
    script: Option<&str>,
) -> Result<Found, ServerError> {
    let mut found = Found::default();
    if let Some(backend) = mark.backend.as_ref().filter(|backend| **backend != server.backend) {
        found.alive = lock::until_gone(session, backend, Duration::ZERO, false).await?.err();
    }
    let Some(script) = script.filter(|_| found.alive.is_none()) else {
        return Ok(found);
    };
    let (Marked::Alone { progress, .. } | Marked::Steps(progress) | Marked::Partial(Some(progress))) = &mark.state
    else {
        return Ok(found);
    };
    let (statements, boundaries) = super::cut(script, server.strings);
    let Some(boundary) = super::boundary(&boundaries, progress) else {
        return Ok(found);
    };
    let at = statements.partition_point(|statement| statement.range.start < boundary.at);
    let (skipped, left) = statements.split_at(at);
    if let (Marked::Alone { before, names, .. }, Some(Kind::Alone(alone))) =
        (&mark.state, left.first().map(|statement| &statement.kind))
    {
        let before = Before {
            before: before.clone(),
            names: names.clone(),
        };
        found.statement = statement(session, alone, progress, before, (script, skipped)).await?;
    }
    tracing::debug!(migration = row.migration, "the unfinished row: {found:?}");
    found.not_restorable = not_restorable(session, server, progress, (script, skipped)).await?;
    Ok(found)
}

async fn statement(
    session: &Session,
    alone: &Alone,
    progress: &Progress,
    mut before: Before,
    skipped: (&str, &[Statement]),
) -> Result<Option<Interrupted>, ServerError> {
    if before.names.is_empty() && progress.session == SessionMark::Absent {
        // Builds up to 0.1 kept names, and no settings.
        let Some(names) = names_by_settings(session, alone, skipped).await? else {
            return Ok(None);
        };
        before.names = names;
    }
    let (evidence, left) = alone::evidence(session, alone, &before).await?;
    Ok(Some(Interrupted { evidence, left }))
}

/// What a statement names, resolved with the settings that the script had made before it.
async fn names_by_settings(
    session: &Session,
    alone: &Alone,
    skipped: (&str, &[Statement]),
) -> Result<Option<Vec<u32>>, ServerError> {
    let made = session_state::run_settings(session, skipped).await;
    let names = match made {
        Ok(()) => Some(alone::look(session, alone).await?.names),
        Err(NotRestored::Server(error)) if error.closed => return Err(error),
        Err(_) => None,
    };
    session.reset().await?;
    Ok(names)
}

/// Tries to make the session that the rest of a script needs, since only the server knows whether it can be made.
async fn not_restorable(
    session: &Session,
    server: &Server,
    progress: &Progress,
    skipped: (&str, &[Statement]),
) -> Result<Option<String>, ServerError> {
    if progress.done == 0 {
        return Ok(None);
    }
    let made = session_state::make_again(session, &server.login, &progress.session, skipped).await;
    let why = match made {
        Ok(()) => None,
        Err(NotRestored::Server(error)) if error.closed => return Err(error),
        Err(NotRestored::Server(error)) => Some(format!("the server refuses it: {}", error.message)),
        Err(NotRestored::Because(why)) => Some(why),
    };
    session.reset().await?;
    Ok(why)
}
