//! What to do about an error of the server: one table, by SQLSTATE.
//!
//! Most errors of a script are the script's, and then there is no advice but to fix it. Some are not: a privilege is missing, the disk is full, somebody
//! cancelled the statement. The table names these. What it cannot know from the error alone (who owns a table, whose event trigger it is) is asked of the
//! catalogue once the failed transaction is over ([`look`]).
//!
//! Sources: PostgreSQL's documentation, "PostgreSQL Error Codes"; the messages of `aclchk.c`, `extension.c`, `objectaddress.c` and `postgres.c`, which
//! the tests hold against servers of three versions.

use crate::database::server_error::ServerError;
use crate::database::session::Session;
use crate::sql::quote;

/// A row of the table.
struct Row {
    /// A SQLSTATE, or the two characters of a class.
    code: &'static str,
    /// If not empty: the message holds one of these.
    says: &'static [&'static str],
    advice: Advice,
}

#[derive(Clone, Copy)]
enum Advice {
    /// What to do, as a command without "then deploy again".
    Do(&'static str),
    /// The object of the message belongs to somebody else.
    Own,
    /// A privilege on the object of the message is missing.
    Grant,
    /// The user is no member of the role in the message.
    Member,
    /// The extension of the message is not installed on the server.
    Extension,
    /// The table of the message has no replica identity.
    ReplicaIdentity,
}
use Advice::{Do, Extension, Grant, Member, Own, ReplicaIdentity};

const fn row(code: &'static str, says: &'static [&'static str], advice: Advice) -> Row {
    Row { code, says, advice }
}

const ADMINISTRATOR: &str =
    "have an administrator run it (on Amazon RDS: a member of rds_superuser), or give the user the right that it needs";
const STORAGE: &str = "free space on the server's disk or make it larger (on Amazon RDS: raise the allocated storage)";

/// The first row that fits counts. What no row names is the SQL's.
static TABLE: &[Row] = &[
    row(
        "08",
        &[],
        Do("make the other server reachable that the statement connects to"),
    ),
    row("0A000", &["is not available", "extension control file"], Extension),
    row(
        "22P05",
        &[],
        Do("take the character out, or use a database whose encoding is UTF8: this one's encoding does not have it"),
    ),
    row(
        "25006",
        &[],
        Do(
            "take out what makes the script's transaction read-only; if it is not the script, connect to the primary (for Aurora: the cluster's writer \
             endpoint), or lift default_transaction_read_only",
        ),
    ),
    row("42501", &["must be owner of"], Own),
    row("42501", &["must be member of role", "must be able to SET ROLE"], Member),
    row(
        "42501",
        &["row-level security"],
        Do(
            "let the user past the table's row security: run as the table's owner with `--role`, or give the user BYPASSRLS",
        ),
    ),
    row(
        "42501",
        &["permission denied to create extension"],
        Do(
            "have an administrator run `CREATE EXTENSION` in this database (on Amazon RDS: a member of rds_superuser), with IF NOT EXISTS in the migration",
        ),
    ),
    row("42501", &["permission denied for"], Grant),
    row("42501", &[], Do(ADMINISTRATOR)),
    row("53100", &[], Do(STORAGE)),
    row(
        "53200",
        &["shared memory"],
        Do(
            "raise max_locks_per_transaction on the server and restart it, or lock fewer tables in one transaction (a migration for each part)",
        ),
    ),
    row(
        "53200",
        &[],
        Do("give the server more memory, or lower work_mem and maintenance_work_mem"),
    ),
    row(
        "53300",
        &[],
        Do("free connections, or raise max_connections (on Amazon RDS it grows with the instance's memory)"),
    ),
    row(
        "53400",
        &["temp_file_limit", "temporary file size"],
        Do("raise temp_file_limit for the user, or have the statement sort less at once"),
    ),
    row("53", &[], Do("give the server what it lacks")),
    row("55000", &["replica identity"], ReplicaIdentity),
    row(
        "55000",
        &["shared_preload_libraries"],
        Do(
            "add the library to shared_preload_libraries and restart the server (on Amazon RDS: in the parameter group)",
        ),
    ),
    row(
        "55000",
        &["wal_level"],
        Do(
            "set wal_level to logical and restart the server (on Amazon RDS: rds.logical_replication in the parameter group)",
        ),
    ),
    row(
        "55006",
        &["by other users", "is active for PID"],
        Do("end the sessions that use it, or wait for them"),
    ),
    row(
        "57014",
        &["statement timeout"],
        Do("raise the statement_timeout that the script or one of its functions sets"),
    ),
    row(
        "57014",
        &["user request"],
        Do("ask who cancelled the statement (pg_cancel_backend) and why"),
    ),
    row(
        "57014",
        &[],
        Do("look in the server's log for what cancelled the statement"),
    ),
    row("57P", &[], Do("wait until the server is back")),
    row("58P01", &["extension control file"], Extension),
    row(
        "58P01",
        &[],
        Do("put the file where the server looks for it: it is missing on the server's machine"),
    ),
    row(
        "58",
        &[],
        Do("look in the server's log: its operating system refuses a file or a disk"),
    ),
    row(
        "F0",
        &[],
        Do("look in the server's log: its configuration cannot be read"),
    ),
    row(
        "HV",
        &[],
        Do("make the foreign server reachable, and check its user mapping"),
    ),
    row(
        "XX000",
        &["tuple concurrently"],
        Do("wait for the other session that changes the same object"),
    ),
    row(
        "XX000",
        &[],
        Do("look in the server's log: this is an internal error of the server or of an extension"),
    ),
    row(
        "XX",
        &[],
        Do(
            "repair the database before anything else: its files are damaged (restore a backup, or for an index REINDEX)",
        ),
    ),
];

/// What is known of the server beside the error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Who ran the statement.
    pub user: Option<String>,
    /// Who logged in, if it is somebody else.
    pub login: Option<String>,
    /// Who owns the object that the error names.
    pub owner: Option<Owner>,
    /// The event trigger whose function raised it.
    pub event_trigger: Option<String>,
}

/// The owner of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub role: String,
    /// Whether who logged in is a member of it, and can work as it.
    pub has_member: bool,
}

/// What to do about an error that is not the SQL's: a command in the imperative, to which "then deploy again" can be added. None: the SQL is to be fixed.
pub fn of(error: &ServerError, around: &Around) -> Option<String> {
    if let Some(trigger) = &around.event_trigger {
        return Some(format!(
            "change what the event trigger {trigger} refuses, or have an administrator disable it meanwhile (`ALTER EVENT TRIGGER {} DISABLE`)",
            quote::name(trigger)
        ));
    }
    // What the script raises itself is its own.
    if error.is_raised() {
        return None;
    }
    let code = error.sqlstate.as_deref()?;
    let says = |row: &Row| row.says.is_empty() || row.says.iter().any(|words| error.message.contains(words));
    let row = TABLE.iter().find(|row| code.starts_with(row.code) && says(row))?;
    Some(match row.advice {
        Do(what) => what.to_owned(),
        Own => own(error, around),
        Grant => grant(error, around),
        Member => member(error, around),
        Extension => extension(error),
        ReplicaIdentity => replica_identity(error),
    })
}

/// [`of`] with "then deploy again" or the like; none if the SQL is to be fixed.
pub fn then(advice: Option<&str>, again: &str) -> Option<String> {
    advice.map(|advice| format!("{advice}, then {again}"))
}

/// An object as a message names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object<'a> {
    kind: &'a str,
    name: &'a str,
}

/// The kinds of objects in "must be owner of …" and "permission denied for …", with the query of the owners of those of a name. `$` is the name.
const KINDS: &[(&str, &str)] = &[
    ("materialized view", RELATION),
    ("foreign table", RELATION),
    ("table", RELATION),
    ("sequence", RELATION),
    ("view", RELATION),
    ("index", RELATION),
    ("relation", RELATION),
    ("type", "SELECT typowner FROM pg_catalog.pg_type WHERE typname = $"),
    ("function", ROUTINE),
    ("procedure", ROUTINE),
    ("aggregate", ROUTINE),
    ("routine", ROUTINE),
    (
        "schema",
        "SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = $",
    ),
    (
        "database",
        "SELECT datdba FROM pg_catalog.pg_database WHERE datname = $",
    ),
    (
        "extension",
        "SELECT extowner FROM pg_catalog.pg_extension WHERE extname = $",
    ),
    (
        "language",
        "SELECT lanowner FROM pg_catalog.pg_language WHERE lanname = $",
    ),
    (
        "publication",
        "SELECT pubowner FROM pg_catalog.pg_publication WHERE pubname = $",
    ),
    (
        "foreign server",
        "SELECT srvowner FROM pg_catalog.pg_foreign_server WHERE srvname = $",
    ),
    (
        "statistics object",
        "SELECT stxowner FROM pg_catalog.pg_statistic_ext WHERE stxname = $",
    ),
];
const RELATION: &str = "SELECT relowner FROM pg_catalog.pg_class WHERE relname = $";
const ROUTINE: &str = "SELECT proowner FROM pg_catalog.pg_proc WHERE proname = $";

/// The object of "must be owner of table a" or "permission denied for schema s".
fn object(message: &str) -> Option<(Object<'_>, &'static str)> {
    let rest = ["must be owner of ", "permission denied for "]
        .iter()
        .find_map(|words| message.split_once(words).map(|(_, rest)| rest))?;
    KINDS.iter().find_map(|(kind, query)| {
        let name = rest.strip_prefix(kind)?.strip_prefix(' ')?;
        Some((Object { kind, name }, *query))
    })
}

fn user(around: &Around) -> String {
    around.user.as_deref().map_or_else(|| "USER".to_owned(), quote::name)
}

/// Whom to give a role to, so that the run can work with it.
fn login(around: &Around) -> String {
    around.login.as_deref().map_or_else(|| user(around), quote::name)
}

fn own(error: &ServerError, around: &Around) -> String {
    let what = object(&error.message).map_or_else(
        || "it".to_owned(),
        |(Object { kind, name }, _)| format!("{kind} {name}"),
    );
    match &around.owner {
        Some(Owner { role, has_member: true }) => format!(
            "work as the owner with `--role {role}` ({what} belongs to {role}, of which {} is a member)",
            login(around),
            role = quote::name(role)
        ),
        Some(Owner { role, .. }) => format!(
            "run `GRANT {role} TO {user}` as an administrator, and work as the owner with `--role {role}` ({what} belongs to {role}, of which {user} is \
             no member)",
            role = quote::name(role),
            user = login(around)
        ),
        None => format!(
            "find out which role owns {what}, run `GRANT OWNER TO {}` as an administrator, and work as the owner with `--role OWNER`",
            login(around)
        ),
    }
}

fn grant(error: &ServerError, around: &Around) -> String {
    let user = user(around);
    let owned = around.owner.as_ref().map(|owner| quote::name(&owner.role));
    let as_owner = owned.map_or_else(
        || "as its owner or an administrator".to_owned(),
        |owner| format!("as its owner {owner}, or work as {owner} with `--role {owner}`"),
    );
    let Some((Object { kind, name }, _)) = object(&error.message) else {
        return format!(
            "have an administrator give {user} the privilege that is missing: {}",
            error.message
        );
    };
    let name = quote::name(name);
    match kind {
        "schema" => format!("run `GRANT USAGE, CREATE ON SCHEMA {name} TO {user}` {as_owner}"),
        "database" => format!("run `GRANT CREATE, CONNECT ON DATABASE {name} TO {user}` {as_owner}"),
        "table" | "view" | "materialized view" | "foreign table" | "relation" => {
            format!(
                "run `GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES, TRIGGER ON TABLE {name} TO {user}` {as_owner}"
            )
        }
        "sequence" => format!("run `GRANT USAGE, SELECT, UPDATE ON SEQUENCE {name} TO {user}` {as_owner}"),
        "function" | "procedure" | "aggregate" | "routine" => {
            format!("run `GRANT EXECUTE ON ROUTINE {name} TO {user}` {as_owner}")
        }
        "type" => format!("run `GRANT USAGE ON TYPE {name} TO {user}` {as_owner}"),
        "language" => format!("run `GRANT USAGE ON LANGUAGE {name} TO {user}` {as_owner}"),
        "foreign server" => format!("run `GRANT USAGE ON FOREIGN SERVER {name} TO {user}` {as_owner}"),
        kind => format!("give {user} the privilege on {kind} {name} {as_owner}"),
    }
}

fn member(error: &ServerError, around: &Around) -> String {
    let role = quoted(&error.message).map_or_else(|| "ROLE".to_owned(), quote::name);
    format!("run `GRANT {role} TO {}` as an administrator", user(around))
}

fn extension(error: &ServerError) -> String {
    let of_file = || {
        let (file, _) = error.message.split_once(".control")?;
        file.rsplit(['/', '"']).next()
    };
    let name = match error.message.contains("control file") {
        true => of_file(),
        false => quoted(&error.message),
    };
    format!(
        "install the extension {} on the server (on Amazon RDS and Aurora only those are available that `SHOW rds.extensions` lists)",
        name.map_or_else(|| "that is missing".to_owned(), quote::name)
    )
}

fn replica_identity(error: &ServerError) -> String {
    let table = quoted(&error.message).map_or_else(|| "TABLE".to_owned(), quote::name);
    let key = if table == crate::history::TABLE {
        "`id`"
    } else {
        "its key"
    };
    format!(
        "give {table} a primary key over {key}, or run `ALTER TABLE {table} REPLICA IDENTITY FULL`: a publication publishes its changes, and nothing tells \
         its rows apart"
    )
}

/// The first text in double quotes.
fn quoted(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once('"')?;
    rest.split_once('"').map(|(name, _)| name)
}

/// Asks the catalogue who owns what the error names, and whose event trigger raised it. The session's failed transaction is left. Nothing if it cannot be
/// asked: the advice is less exact then, and right all the same.
pub async fn look(session: &Session, error: &ServerError) -> Around {
    let functions = functions(error);
    if error.closed || (error.sqlstate.as_deref() != Some("42501") && functions.is_empty()) {
        return Around::default();
    }
    let owners = match object(&error.message) {
        // The message names a type with its schema.
        Some((Object { name, .. }, query)) => {
            let name = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
            query.replace('$', &quote::literal(name))
        }
        None => "SELECT NULL::pg_catalog.oid WHERE false".to_owned(),
    };
    // Who owns it has no need to be told so: another object of that name is meant.
    let of_others = match error.message.contains("must be owner of") {
        true => "WHERE NOT pg_catalog.pg_has_role(current_user, owner, 'USAGE')",
        false => "",
    };
    let names: Vec<String> = functions.iter().map(|name| quote::literal(name)).collect();
    let sql = format!(
        "SELECT 'user', current_user, session_user \
         UNION ALL SELECT DISTINCT 'owner', pg_catalog.pg_get_userbyid(owner), pg_catalog.pg_has_role(session_user, owner, 'MEMBER')::pg_catalog.text \
         FROM ({owners}) AS o (owner) {of_others} \
         UNION ALL SELECT 'event trigger', evtname, NULL FROM pg_catalog.pg_event_trigger JOIN pg_catalog.pg_proc p ON p.oid = evtfoid \
         WHERE evtenabled <> 'D' AND p.proname = ANY (ARRAY[{}]::pg_catalog.name[])",
        names.join(", ")
    );
    let rows = match session.rows(&sql).await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::debug!("who owns what the error names could not be asked: {}", error.message);
            return Around::default();
        }
    };
    let mut around = Around::default();
    let mut owners = Vec::new();
    for row in rows.iter().filter(|row| row.len() == 3) {
        let column = |at: usize| row.get(at).unwrap_or_default().to_owned();
        match row.get(0) {
            Some("user") => {
                around.login = Some(column(2)).filter(|login| *login != column(1));
                around.user = Some(column(1));
            }
            Some("owner") => owners.push(Owner {
                role: column(1),
                has_member: column(2) == "true",
            }),
            _ => around.event_trigger = Some(column(1)),
        }
    }
    // Several objects have the name, and the message does not say which it is.
    around.owner = owners.pop().filter(|_| owners.is_empty());
    around
}

/// The functions that the error passed through, by the server's CONTEXT, without their schemas.
fn functions(error: &ServerError) -> Vec<String> {
    let context = error
        .details
        .iter()
        .filter_map(|detail| detail.strip_prefix("CONTEXT: "));
    let lines = context.flat_map(str::lines);
    let name = |line: &str| {
        let (_, rest) = line.split_once(" function ")?;
        let (name, _) = rest.split_once('(')?;
        let name = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
        Some(name.to_owned()).filter(|name| !name.is_empty())
    };
    lines.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(sqlstate: &str, message: &str) -> ServerError {
        ServerError {
            sqlstate: Some(sqlstate.into()),
            message: message.into(),
            ..ServerError::default()
        }
    }

    fn of_migrator() -> Around {
        Around {
            user: Some("migrator".into()),
            ..Around::default()
        }
    }

    /// The SQLSTATE and the message, as servers send them, and what the advice holds; none: the SQL is to be fixed.
    const CASES: &[(&str, &str, Option<&str>)] = &[
        (
            "08001",
            "could not establish connection",
            Some("make the other server reachable"),
        ),
        (
            "08006",
            "server closed the connection",
            Some("make the other server reachable"),
        ),
        (
            "0A000",
            "extension \"postgis\" is not available",
            Some("install the extension postgis on the server"),
        ),
        (
            "0A000",
            "could not open extension control file \"/usr/share/postgresql/13/extension/post-gis.control\": No such file or directory",
            Some("install the extension \"post-gis\" on the server"),
        ),
        ("0A000", "cannot alter type of a column used by a view or rule", None),
        ("22012", "division by zero", None),
        (
            "22P05",
            "character with byte sequence 0xe2 0x82 0xac in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
            Some("take the character out"),
        ),
        ("23502", "null value in column \"a\" violates not-null constraint", None),
        ("23505", "duplicate key value violates unique constraint", None),
        (
            "25006",
            "cannot execute INSERT in a read-only transaction",
            Some("connect to the primary"),
        ),
        (
            "25006",
            "cannot execute CREATE TABLE during recovery",
            Some("connect to the primary"),
        ),
        (
            "42501",
            "must be owner of table orders",
            Some("find out which role owns table orders, run `GRANT OWNER TO migrator`"),
        ),
        (
            "42501",
            "must be owner of materialized view totals",
            Some("owns materialized view totals,"),
        ),
        (
            "42501",
            "must be owner of operator class x",
            Some("find out which role owns it,"),
        ),
        (
            "42501",
            "must be member of role \"shop\"",
            Some("run `GRANT shop TO migrator` as an administrator"),
        ),
        (
            "42501",
            "must be able to SET ROLE \"Shop\"",
            Some("run `GRANT \"Shop\" TO migrator` as an administrator"),
        ),
        (
            "42501",
            "permission denied for schema public",
            Some("run `GRANT USAGE, CREATE ON SCHEMA public TO migrator` as its owner or an administrator"),
        ),
        (
            "42501",
            "permission denied for database shop",
            Some("run `GRANT CREATE, CONNECT ON DATABASE shop TO migrator`"),
        ),
        (
            "42501",
            "permission denied for table Orders",
            Some("ON TABLE \"Orders\" TO migrator`"),
        ),
        (
            "42501",
            "permission denied for sequence s",
            Some("ON SEQUENCE s TO migrator`"),
        ),
        (
            "42501",
            "permission denied for function f",
            Some("GRANT EXECUTE ON ROUTINE f TO migrator`"),
        ),
        (
            "42501",
            "permission denied for language c",
            Some("GRANT USAGE ON LANGUAGE c TO migrator`"),
        ),
        (
            "42501",
            "permission denied for tablespace fast",
            Some("have an administrator give migrator the privilege that is missing"),
        ),
        (
            "42501",
            "permission denied to create extension \"postgis\"",
            Some("IF NOT EXISTS"),
        ),
        (
            "42501",
            "permission denied to create event trigger \"e\"",
            Some("rds_superuser"),
        ),
        (
            "42501",
            "must be superuser to COPY to or from a file",
            Some("rds_superuser"),
        ),
        (
            "42501",
            "new row violates row-level security policy for table \"a\"",
            Some("BYPASSRLS"),
        ),
        ("42601", "syntax error at or near \"x\"", None),
        ("42703", "column \"x\" does not exist", None),
        ("42P01", "relation \"x\" does not exist", None),
        (
            "53100",
            "could not extend file \"base/1/2\": No space left on device",
            Some("free space on the server's disk"),
        ),
        ("53200", "out of shared memory", Some("max_locks_per_transaction")),
        ("53200", "out of memory", Some("more memory")),
        ("53300", "sorry, too many clients already", Some("max_connections")),
        (
            "53400",
            "temporary file size exceeds temp_file_limit (1024kB)",
            Some("temp_file_limit"),
        ),
        ("53000", "insufficient resources", Some("what it lacks")),
        (
            "55000",
            "cannot update table \"_prisma_migrations\" because it does not have a replica identity and publishes updates",
            Some("give _prisma_migrations a primary key over `id`"),
        ),
        (
            "55000",
            "pg_cron must be loaded via shared_preload_libraries",
            Some("parameter group"),
        ),
        (
            "55000",
            "logical decoding requires wal_level >= logical",
            Some("wal_level"),
        ),
        (
            "55000",
            "currval of sequence \"s\" is not yet defined in this session",
            None,
        ),
        (
            "55006",
            "database \"x\" is being accessed by other users",
            Some("end the sessions that use it"),
        ),
        (
            "55006",
            "cannot ALTER TABLE \"a\" because it has pending trigger events",
            None,
        ),
        (
            "57014",
            "canceling statement due to statement timeout",
            Some("raise the statement_timeout"),
        ),
        (
            "57014",
            "canceling statement due to user request",
            Some("pg_cancel_backend"),
        ),
        (
            "58030",
            "could not read block 0 in file \"base/1/2\": Input/output error",
            Some("the server's log"),
        ),
        (
            "58P01",
            "could not access file \"$libdir/x\": No such file or directory",
            Some("missing on the server's machine"),
        ),
        ("HV000", "could not connect", Some("foreign server")),
        (
            "XX000",
            "tuple concurrently updated",
            Some("wait for the other session"),
        ),
        ("XX001", "invalid page in block 0 of relation base/1/2", Some("damaged")),
        ("XX002", "index \"i\" contains unexpected zero page", Some("REINDEX")),
    ];

    #[test]
    fn each_class_of_errors_has_its_advice() {
        for &(sqlstate, message, expected) in CASES {
            let advice = of(&error(sqlstate, message), &of_migrator());
            match (&advice, expected) {
                (Some(advice), Some(words)) => assert!(advice.contains(words), "{sqlstate} {message}: {advice}"),
                (None, None) => {}
                _ => panic!("{sqlstate} {message}: {advice:?}"),
            }
        }
        for row in TABLE {
            let case = CASES.iter().any(|(code, message, _)| {
                let first = TABLE.iter().find(|row| {
                    code.starts_with(row.code) && (row.says.is_empty() || row.says.iter().any(|w| message.contains(w)))
                });
                first.is_some_and(|first| std::ptr::eq(first, row))
            });
            let unprovoked = ["57014", "57P", "58P01", "F0", "XX000"];
            assert!(
                case || unprovoked.contains(&row.code),
                "no case of {} {:?}",
                row.code,
                row.says
            );
        }
    }

    #[test]
    fn the_owner_and_the_user_are_named() {
        let error = error("42501", "must be owner of table orders");
        let owner = |has_member| Around {
            owner: Some(Owner {
                role: "app".into(),
                has_member,
            }),
            ..of_migrator()
        };
        assert_eq!(
            of(&error, &owner(false)).unwrap(),
            "run `GRANT app TO migrator` as an administrator, and work as the owner with `--role app` (table orders belongs to app, of which migrator is \
             no member)"
        );
        assert_eq!(
            of(&error, &owner(true)).unwrap(),
            "work as the owner with `--role app` (table orders belongs to app, of which migrator is a member)"
        );
        // With --role it is who logged in that must be a member.
        let as_role = Around {
            login: Some("boss".into()),
            ..owner(false)
        };
        assert!(of(&error, &as_role).unwrap().contains("`GRANT app TO boss`"));
    }

    #[test]
    fn what_a_script_raises_itself_is_its_own() {
        let raised = ServerError {
            routine: Some("exec_stmt_raise".into()),
            ..error("42501", "must be owner of table orders")
        };
        assert_eq!(of(&raised, &of_migrator()), None);
        let by_trigger = Around {
            event_trigger: Some("no_drop".into()),
            ..of_migrator()
        };
        assert!(
            of(&raised, &by_trigger)
                .unwrap()
                .contains("`ALTER EVENT TRIGGER no_drop DISABLE`")
        );
    }

    #[test]
    fn functions_are_read_out_of_the_context() {
        let details = vec![
            "DETAIL: PL/pgSQL function nothing() line 1".to_owned(),
            "CONTEXT: PL/pgSQL function no_drop() line 3 at RAISE\nSQL statement \"DROP TABLE a\"\nPL/pgSQL function shop.\"F\"(integer) line 2 at SQL \
             statement\nPL/pgSQL function inline_code_block line 1 at PERFORM"
                .to_owned(),
        ];
        let error = ServerError {
            details,
            ..ServerError::default()
        };
        assert_eq!(functions(&error), ["no_drop", "F"]);
    }
}
