//! The throw-away PostgreSQL is what it says it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::postgres::{Mode, Options, Server, Version};
use harness::until;

#[test]
fn the_url_reaches_the_database_with_its_hostile_password() {
    let database = Server::shared().database();
    let mut client = database
        .url()
        .parse::<postgres::Config>()
        .unwrap()
        .connect(postgres::NoTls)
        .unwrap();
    let row = client
        .query_one(
            "SELECT current_user::text, current_database()::text, inet_server_port()",
            &[],
        )
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), database.user());
    assert_eq!(row.get::<_, &str>(1), database.name());
    assert_eq!(row.get::<_, i32>(2), i32::from(database.port()));
    client
        .batch_execute("CREATE SCHEMA own; CREATE TABLE public.t (id int)")
        .unwrap();
}

#[test]
fn tcp_refuses_a_wrong_password() {
    let database = Server::shared().database();
    let url = database.url().replace(&database.secrets()[1], "wrong");
    let error = url
        .parse::<postgres::Config>()
        .unwrap()
        .connect(postgres::NoTls)
        .err()
        .unwrap();
    assert_eq!(error.code().unwrap().code(), "28P01");
}

#[test]
fn databases_do_not_see_each_other() {
    let (one, other) = (Server::shared().database(), Server::shared().database());
    one.execute("CREATE TABLE t (id int, note text); INSERT INTO t VALUES (1, NULL), (2, 'two')");
    assert_eq!(one.rows("SELECT * FROM t ORDER BY id"), [["1", "NULL"], ["2", "two"]]);
    assert_eq!(other.scalar("SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");
    assert!(!other.has_ledger());
}

#[test]
fn dumps_are_equal_exactly_when_the_schemas_are() {
    let (one, other) = (Server::shared().database(), Server::shared().database());
    for database in [&one, &other] {
        database.execute("CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO PUBLIC");
    }
    one.execute("CREATE TABLE _prisma_migrations (id int PRIMARY KEY)");
    assert_eq!(one.dump(), other.dump());
    assert!(one.dump().contains("CREATE TABLE public.t"));
    other.execute("ALTER TABLE t ADD COLUMN x text");
    assert_ne!(one.dump(), other.dump());
}

#[test]
fn a_server_of_ones_own_restarts_where_it_was() {
    let mut server = Server::start(Options::new().setting("work_mem", "5MB"));
    let database = server.database();
    assert_eq!(database.scalar("SHOW work_mem"), "5MB");
    database.execute("CREATE TABLE t ()");
    let mut session = database.client();
    for mode in [Mode::Fast, Mode::Immediate] {
        server.restart(mode);
        assert!(session.batch_execute("SELECT 1").is_err(), "the old session survived");
        session = database.client();
        session.batch_execute("TABLE t").unwrap();
    }
    server.stop(Mode::Fast);
    assert!(
        database
            .url()
            .parse::<postgres::Config>()
            .unwrap()
            .connect(postgres::NoTls)
            .is_err()
    );
}

/// Makes this test run itself once more, as the process that is to be killed.
const HELD: &str = "HARNESS_HELD_SERVER";

fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(HELD, "yes")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

#[test]
fn a_server_does_not_outlive_a_killed_process() {
    if std::env::var_os(HELD).is_some() {
        let server = Server::start(Options::new());
        println!(
            "\nholding {} {}",
            server.port(),
            server.socket().parent().unwrap().display()
        );
        loop {
            std::thread::park();
        }
    }
    let mut child = again("a_server_does_not_outlive_a_killed_process").spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.starts_with("holding "))
        .unwrap();
    let [_, port, folder] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let port: u16 = port.parse().unwrap();
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(listens() && Path::new(folder).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    until("the server is gone", || !listens());
    until("its folder is gone", || !Path::new(folder).exists());
}

#[test]
fn a_process_killed_during_initdb_leaves_nothing_either() {
    if std::env::var_os(HELD).is_some() {
        Server::start(Options::new());
        panic!("still alive");
    }
    let temporary = tempfile::tempdir().unwrap();
    std::fs::set_permissions(temporary.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let folder = || {
        std::fs::read_dir(temporary.path())
            .unwrap()
            .next()
            .map(|entry| entry.unwrap().path())
    };
    let mut command = again("a_process_killed_during_initdb_leaves_nothing_either");
    let mut child = command.env("TMPDIR", temporary.path()).spawn().unwrap();
    until("initdb is at work", || {
        folder().is_some_and(|folder| folder.join("data/PG_VERSION").exists())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    until("the folder is gone", || folder().is_none());
}

#[test]
fn every_major_version_can_be_had() {
    for major in Version::ALL {
        let server = Server::version(major);
        assert_eq!(server.major(), major);
        let database = server.database();
        assert_eq!(
            database.scalar("SELECT lower('Ä') || current_setting('server_encoding')"),
            "äUTF8"
        );
        assert!(std::ptr::eq(server, Server::version(major)));
    }
}
