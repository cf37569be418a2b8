//! What a script has made of its session: read, and made again in a later one.

use crate::database::lock::KEY;
use crate::database::open::Login;
use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::history::{SessionMark, SessionState};
use crate::sql::kind::Kind;
use crate::sql::quote;
use crate::sql::script::Statement;
use std::collections::{BTreeMap, BTreeSet};

/// What our own settings are called.
const OURS: &str = "prisma_migrate_task.";

/// Why a session could not be made like the one that was lost.
#[derive(Debug)]
pub enum NotRestored {
    /// A phrase.
    Because(String),
    /// The server's error.
    Server(ServerError),
}

impl From<ServerError> for NotRestored {
    fn from(error: ServerError) -> Self {
        NotRestored::Server(error)
    }
}

/// The session as it is, under whatever the script has made of it. `custom` are the settings of its own that the script names.
///
/// # Errors
/// The server's.
pub async fn read(session: &Session, login: &Login, custom: &[String]) -> Result<SessionState, ServerError> {
    let state = state(session, login, custom);
    // A session whose transactions are deferrable would wait for a snapshot.
    let unlimited = unlimited().join("; ");
    let sql = format!("BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE; {unlimited}; SELECT {state}; COMMIT");
    let rows = session.raw(&sql).await?;
    let text = rows.last().and_then(|row| row.get(0)).unwrap_or_default();
    SessionState::parse(text).ok_or_else(|| super::strange("the session could not be described"))
}

/// What lifts the script's `statement_timeout` until the transaction ends, and keeps it for the look that follows: to look at a session takes longer than the shortest.
pub fn unlimited() -> [String; 2] {
    [
        format!("SELECT pg_catalog.set_config('{LIMIT}', pg_catalog.current_setting('statement_timeout'), true)"),
        "SET LOCAL statement_timeout = 0".to_owned(),
    ]
}

/// Where [`unlimited`] keeps it.
const LIMIT: &str = "prisma_migrate_task.statement_timeout";

/// SQL: what a setting of PostgreSQL's must not be for a look at those that a script has made.
const LOOKED_AT: &str =
    "s.name OPERATOR(pg_catalog.!~) '^(transaction_(isolation|read_only|deferrable)|statement_timeout)$'";

/// The statement that keeps the session as a mark has it, for a note that is written after it ([`IN_NOTE`]).
pub fn keep_for_note(session: &Session, login: &Login, custom: &[String]) -> String {
    format!(
        "SELECT pg_catalog.set_config('{IN_NOTE}', pg_catalog.concat('x', pg_catalog.encode(pg_catalog.convert_to({}, 'UTF8'), 'hex')), true)",
        state(session, login, custom)
    )
}

/// Where [`keep_for_note`] keeps it.
pub const IN_NOTE: &str = "prisma_migrate_task.session";

/// The statement that keeps what is set at the end of a transaction, to be compared with what is set after it.
pub fn keep_within() -> String {
    format!("SELECT pg_catalog.set_config('{WITHIN}', {}, false)", set_now())
}

/// Where it is kept.
const WITHIN: &str = "prisma_migrate_task.within";

/// All settings that are not as the session began, and the role: a JSON object.
fn set_now() -> String {
    format!(
        "(SELECT (COALESCE(pg_catalog.jsonb_object_agg(s.name, s.setting), '{{}}'::pg_catalog.jsonb) OPERATOR(pg_catalog.||) \
         pg_catalog.jsonb_build_object('role', pg_catalog.current_setting('role')))::pg_catalog.text FROM pg_catalog.pg_settings s \
         WHERE s.setting OPERATOR(pg_catalog.<>) s.reset_val AND {LOOKED_AT})"
    )
}

/// The settings that a statement has made for its transaction alone, and that were gone when it ended ([`keep_within`]).
///
/// # Errors
/// The server's.
pub async fn ended_with_its_transaction(session: &Session) -> Result<Vec<String>, ServerError> {
    let sql = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE; {}; SELECT pg_catalog.current_setting('{WITHIN}', true), {}; \
         SELECT pg_catalog.set_config('{WITHIN}', '', false); COMMIT",
        unlimited().join("; "),
        set_now()
    );
    let rows = session.raw(&sql).await?;
    // The first row is that of the limit.
    let rows = rows.get(1..).unwrap_or_default();
    let settings = |at: usize| -> BTreeMap<String, String> {
        let text = rows.first().and_then(|row| row.get(at)).unwrap_or_default();
        serde_json::from_str(text).unwrap_or_default()
    };
    let (within, after) = (settings(0), settings(1));
    if within.is_empty() {
        return Ok(Vec::new());
    }
    let names = within.keys().chain(after.keys());
    let changed: BTreeSet<&String> = names.filter(|name| within.get(*name) != after.get(*name)).collect();
    Ok(changed.into_iter().cloned().collect())
}

/// SQL: the session as JSON ([`SessionState`]). Every function, operator and type is qualified: it runs under the script's search path.
fn state(session: &Session, login: &Login, custom: &[String]) -> String {
    const IN_TEMPORARY: &str = "OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()";
    let unless = |value: &str, usual: &str| {
        let usual = quote::literal(usual);
        format!("CASE WHEN {value}::pg_catalog.text OPERATOR(pg_catalog.<>) {usual} THEN {value}::pg_catalog.text END")
    };
    let limit = unless(&format!("pg_catalog.current_setting('{LIMIT}', true)"), "0");
    let user = unless("session_user", &login.user);
    let role = unless(
        "pg_catalog.current_setting('role')",
        login.role.as_deref().unwrap_or("none"),
    );
    let ours: String = session
        .our_settings()
        .iter()
        .map(|(name, value)| {
            let is = format!("s.name OPERATOR(pg_catalog.=) {}", quote::literal(name));
            match value {
                Some(value) => format!(
                    " AND NOT ({is} AND s.setting OPERATOR(pg_catalog.=) {})",
                    quote::literal(value)
                ),
                None => format!(" AND NOT {is}"),
            }
        })
        .collect();
    let custom: Vec<String> = custom
        .iter()
        .map(|name| {
            let name = quote::literal(name);
            let value = format!("pg_catalog.current_setting({name}, true)");
            format!(
                "{name}, CASE WHEN {value} OPERATOR(pg_catalog.<>) '' \
                 THEN pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({value}, 'UTF8')), 'hex') END"
            )
        })
        .collect();
    format!(
        "pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('user', {user}, 'role', {role}, 'settings', \
         COALESCE((SELECT pg_catalog.jsonb_object_agg(s.name, s.setting) FROM pg_catalog.pg_settings s \
         WHERE s.source OPERATOR(pg_catalog.=) 'session' AND COALESCE(s.setting OPERATOR(pg_catalog.<>) s.reset_val, true) \
         AND {LOOKED_AT}{ours}), '{{}}'::pg_catalog.jsonb) OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('statement_timeout', \
         {limit}), 'temporary', \
         (SELECT pg_catalog.jsonb_agg(name ORDER BY name) FROM ( \
         SELECT relname FROM pg_catalog.pg_class WHERE relnamespace {IN_TEMPORARY} \
         AND relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'v', 'm', 'S', 'f', 'p']::pg_catalog.\"char\"[]) \
         UNION ALL SELECT proname FROM pg_catalog.pg_proc WHERE pronamespace {IN_TEMPORARY} \
         UNION ALL SELECT typname FROM pg_catalog.pg_type WHERE typnamespace {IN_TEMPORARY} \
         AND typtype OPERATOR(pg_catalog.=) ANY (ARRAY['d', 'e', 'r']::pg_catalog.\"char\"[])) AS t (name)), 'prepared', \
         (SELECT pg_catalog.jsonb_agg(name ORDER BY name) FROM pg_catalog.pg_prepared_statements), 'cursors', \
         (SELECT pg_catalog.jsonb_agg(name ORDER BY name) FROM pg_catalog.pg_cursors WHERE is_holdable), 'channels', \
         (SELECT pg_catalog.jsonb_agg(c ORDER BY c) FROM pg_catalog.pg_listening_channels() AS c), 'locks', \
         (SELECT pg_catalog.jsonb_agg(held ORDER BY held) FROM (SELECT pg_catalog.concat_ws(':', classid, objid, objsubid) FROM pg_catalog.pg_locks \
         WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND granted AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
         AND NOT (classid OPERATOR(pg_catalog.=) 0 AND objid OPERATOR(pg_catalog.=) {KEY} AND objsubid OPERATOR(pg_catalog.=) 1)) AS l (held)), \
         'custom', pg_catalog.jsonb_build_object({})))::pg_catalog.text",
        custom.join(", ")
    )
}

/// Makes a session like the one that was lost: `wanted`. `skipped` are the script's statements that it ran, with their texts.
///
/// # Errors
/// It cannot be made again, or the server's error.
pub async fn restore(
    session: &Session,
    login: &Login,
    wanted: &SessionState,
    (script, skipped): (&str, &[Statement]),
) -> Result<(), NotRestored> {
    let custom: Vec<String> = wanted.custom.keys().cloned().collect();
    if read(session, login, &custom).await? == *wanted {
        return Ok(());
    }
    if let Some(what) = wanted.cannot_be_made_again() {
        return Err(NotRestored::Because(format!(
            "it had {what}, which ended with its session"
        )));
    }
    // Values that may be secrets are not kept: the statements that set them are run again, and what comes of it is compared.
    for statement in skipped.iter().filter(|statement| statement.kind == Kind::Setting) {
        let text = &script[statement.range.clone()];
        let lower = text.to_ascii_lowercase();
        if custom.iter().any(|name| lower.contains(name.as_str())) {
            session.raw(text).await?;
        }
    }
    let mut sql: Vec<String> = Vec::new();
    let set = |name: &str, value: &str| {
        let (name, value) = (quote::literal(name), quote::literal(value));
        format!("SELECT pg_catalog.set_config({name}, {value}, false)")
    };
    for channel in &wanted.channels {
        sql.push(format!("LISTEN {}", quote::identifier(channel)));
    }
    sql.extend(wanted.settings.iter().map(|(name, value)| set(name, value)));
    // Last, since another user may not be allowed the rest.
    sql.extend(wanted.user.iter().map(|user| set("session_authorization", user)));
    sql.extend(wanted.role.iter().map(|role| set("role", role)));
    if !sql.is_empty() {
        session.raw(&sql.join("; ")).await?;
    }
    let now = read(session, login, &custom).await?;
    if now == *wanted {
        return Ok(());
    }
    let unlike = |what: &str, is: bool| is.then(|| what.to_owned());
    let settings = wanted.settings.iter().chain(&wanted.custom);
    let missing = settings
        .filter(|(name, value)| now.settings.get(*name).or(now.custom.get(*name)) != Some(*value))
        .map(|(name, _)| name.clone());
    let what = missing
        .chain(unlike("the role", now.role != wanted.role || now.user != wanted.user))
        .collect::<Vec<_>>()
        .join(", ");
    Err(NotRestored::Because(format!(
        "what it had set could not be set again: {}",
        if what.is_empty() { "other settings" } else { &what }
    )))
}

/// Makes a session like the one that an earlier run lost, by what its mark says of it.
///
/// # Errors
/// It cannot be made again, or the server's error.
pub async fn make_again(
    session: &Session,
    login: &Login,
    wanted: &SessionMark,
    skipped: (&str, &[Statement]),
) -> Result<(), NotRestored> {
    match wanted {
        SessionMark::Known(state) => restore(session, login, state, skipped).await,
        // Marks of earlier builds: what the plan has let pass is made of statements that only set something.
        SessionMark::Absent | SessionMark::Unread => run_settings(session, skipped).await,
    }
}

/// Makes a session again of which nothing was kept, by the skipped statements that only set something.
///
/// # Errors
/// The server's.
pub async fn run_settings(session: &Session, (script, skipped): (&str, &[Statement])) -> Result<(), NotRestored> {
    for statement in skipped.iter().filter(|statement| statement.kind == Kind::Setting) {
        session.raw(&script[statement.range.clone()]).await?;
    }
    Ok(())
}

/// The settings with a dot in their names that a script's text names, in lower case, wherever it does: the server lists only its own.
pub fn custom_settings(script: &str) -> Vec<String> {
    let lower = script.to_ascii_lowercase();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    let mut found: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let is_custom = name.contains('.') && name.split('.').all(|part| !part.is_empty()) && !name.starts_with(OURS);
        if is_custom && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    };
    // What a function has set is named where the rest reads it.
    let calls = ["set_config", "current_setting"].map(|call| lower.match_indices(call));
    for (at, call) in calls.into_iter().flatten() {
        let rest = lower[at + call.len()..].trim_start();
        if let Some(name) = rest
            .strip_prefix('(')
            .and_then(|rest| rest.trim_start().strip_prefix('\''))
        {
            add(name.split('\'').next().unwrap_or_default());
        }
    }
    let word_before = |at: usize| lower[..at].chars().next_back().is_some_and(is_name);
    for (at, _) in lower.match_indices("set").filter(|(at, _)| !word_before(*at)) {
        let mut words = lower[at + 3..].split_whitespace();
        let mut word = words.next().unwrap_or_default();
        if matches!(word, "session" | "local") {
            word = words.next().unwrap_or_default();
        }
        let name: String = word.replace('"', "").chars().take_while(|c| is_name(*c)).collect();
        add(&name);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_settings_are_found_wherever_they_are_named() {
        for (script, expected) in [
            ("SET app.tenant = '1'; SELECT 2", &["app.tenant"][..]),
            ("SET SESSION App.Tenant TO x", &["app.tenant"]),
            (
                "SELECT set_config( 'app.jwt', 'x', false), set_config('search_path', '', false)",
                &["app.jwt"],
            ),
            (
                "DO $$ BEGIN PERFORM pg_catalog.set_config('a.b', '1', false); END $$",
                &["a.b"],
            ),
            ("SELECT f(); SELECT current_setting ('a.b')", &["a.b"]),
            ("SET search_path = a.b; UPDATE t SET x = 1", &[]),
            ("ALTER TABLE t RESET (x.y)", &[]),
        ] {
            assert_eq!(custom_settings(script), expected, "{script}");
        }
    }
}
