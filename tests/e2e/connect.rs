//! Connecting: what each failure is called, what is worth waiting for, and what a session begins with.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use harness::postgres::{Mode, Options, Server};
use prisma_migrate_task::database::connect::Startup;
use prisma_migrate_task::database::error::{ConnectError, Stage};

use crate::session::{Session, refused, runtime, target};

const BUDGET: Duration = Duration::from_secs(60);

#[test]
fn a_session_begins_with_the_settings_that_travelled() {
    let database = Server::shared().database();
    let hostile = r#"a b\c "d" 'e' -c x=y é"#;
    let schema = "My \\ \"s";
    let query = "application_name=my%20app&options=-c%20statement_timeout%3D5s%20-c%20lock_timeout%3D1s";
    let mut wanted = target(&format!("{}?{query}", database.url()));
    wanted.schema = Some(schema.to_owned());
    let startup = Startup {
        application_name: "not this one".to_owned(),
        options: [("migrate.run", hostile), ("lock_timeout", "7s")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..Startup::default()
    };
    let session = Session::with(&wanted, &startup).unwrap();
    for _ in 0..2 {
        assert_eq!(session.scalar("SHOW migrate.run"), hostile);
        assert_eq!(session.scalar("SHOW lock_timeout"), "7s");
        assert_eq!(session.scalar("SHOW statement_timeout"), "5s");
        assert_eq!(session.scalar("SHOW application_name"), "my app");
        assert_eq!(session.scalar("SHOW search_path"), "\"My \\ \"\"s\"");
        let disturb = "SET search_path = public; SET lock_timeout = 1; SET migrate.run = 'x'; RESET ALL; SELECT 1";
        session.scalar(disturb);
    }
    session.scalar("CREATE SCHEMA \"My \\ \"\"s\"; CREATE TABLE t (id int); SELECT 1");
    assert_eq!(
        session.scalar("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 't'"),
        "\"My \\ \"\"s\""
    );
    assert!(
        session
            .server_version
            .as_ref()
            .unwrap()
            .starts_with(&Server::shared().major().to_string())
    );

    let session = Session::with(&target(&database.url()), &startup).unwrap();
    assert_eq!(session.scalar("SHOW application_name"), "not this one");
}

#[test]
fn by_a_socket() {
    let server = Server::shared();
    let database = server.database();
    let socket = server.socket();
    let session = Session::open(&format!("{}?host={}", database.url(), socket.display())).unwrap();
    assert_eq!(
        session.scalar("SELECT coalesce(inet_server_port()::text, 'socket')"),
        "socket"
    );
    let error = refused(&format!("{}?host=/nowhere", database.url()));
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

#[test]
fn refusals_of_the_server() {
    let server = Server::shared();
    let database = server.database();
    let mut superuser = database.superuser();
    let user = database.user();
    let url = database.url();

    let error = refused(&url.replace(&database.secrets()[1], "wrong"));
    assert!(matches!(error, ConnectError::Authentication { .. }), "{error:?}");
    assert!(
        error.to_string().contains("password authentication failed") && error.to_string().contains("28P01"),
        "{error}"
    );
    assert_eq!((error.code(), error.is_waking()), (Some("P1000"), false));

    let mut without = target(&url);
    without.password = None;
    let error = Session::with(&without, &Startup::default()).err().unwrap();
    assert!(matches!(error, ConnectError::AuthenticationMethod { .. }), "{error:?}");
    assert_eq!((error.code(), error.is_waking()), (Some("P1000"), false));

    superuser
        .batch_execute(&format!("ALTER ROLE \"{user}\" CONNECTION LIMIT 0"))
        .unwrap();
    let error = refused(&url);
    assert!(matches!(error, ConnectError::TooManyConnections { .. }), "{error:?}");
    assert!(error.is_waking());

    superuser
        .batch_execute(&format!("ALTER ROLE \"{user}\" CONNECTION LIMIT -1 NOLOGIN"))
        .unwrap();
    let error = refused(&url);
    assert!(matches!(error, ConnectError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("is not permitted to log in"), "{error}");
    assert_eq!((error.code(), error.is_waking()), (Some("P1010"), false));

    superuser
        .batch_execute(&format!("ALTER ROLE \"{user}\" LOGIN"))
        .unwrap();
    let other = server.database();
    other
        .superuser()
        .batch_execute(&format!("REVOKE CONNECT ON DATABASE \"{}\" FROM PUBLIC", other.name()))
        .unwrap();
    let error = refused(&url.replace(database.name(), other.name()));
    assert!(matches!(error, ConnectError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("permission denied for database"), "{error}");

    let error = refused(&format!("{url}?options=-c%20no_such_setting%3D1"));
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    assert!(!error.is_waking());
}

/// What listens there is no PostgreSQL: it reads a first message and answers this.
fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
        }
    });
    format!("postgresql://u:sesame@127.0.0.1:{port}/db?sslmode=disable&connect_timeout=5")
}

#[test]
fn what_does_not_answer_as_postgresql_does() {
    let error = refused("postgresql://u:sesame@localhost:1/db");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("localhost:1: Connection refused"), "{error}");
    assert_eq!((error.code(), error.is_waking()), (Some("P1001"), true));

    let error = refused("postgresql://u:sesame@no-such-host.invalid/db");
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error:?}");
    assert_eq!((error.code(), error.is_waking()), (Some("P1001"), true));

    let error = refused(&answering(b""));
    assert!(matches!(error, ConnectError::Closed { .. }), "{error:?}");
    assert_eq!((error.code(), error.is_waking()), (Some("P1017"), true));

    // What ends within a message may be a server's answer that was cut off as well as another protocol's.
    let error = refused(&answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    assert!(matches!(error, ConnectError::Closed { .. }), "{error:?}");
}

#[test]
fn a_silent_server_costs_the_connect_timeout_and_the_error_says_how_far_it_came() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |port: u16| format!("postgresql://u:sesame@127.0.0.1:{port}/db?connect_timeout=1");
    let begin = Instant::now();
    let error = refused(&url(silent.local_addr().unwrap().port()));
    assert!(
        matches!(
            error,
            ConnectError::TimedOut {
                stage: Stage::Startup,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(error.to_string().ends_with("in 1s"), "{error}");

    // A queue of length zero that is full: the kernel drops what else comes, as a security group does.
    let runtime = runtime();
    let full = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(0).unwrap()
    });
    let address = full.local_addr().unwrap();
    let _queued: Vec<TcpStream> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()).collect();
    let error = refused(&url(address.port()));
    assert!(
        matches!(
            error,
            ConnectError::TimedOut {
                stage: Stage::Connect,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!((error.code(), error.is_waking()), (Some("P1001"), true));
}

#[test]
fn a_server_that_comes_back_is_waited_for() {
    let mut server = Server::start(Options::new());
    let database = server.database();
    let target = target(&database.url());
    server.stop(Mode::Fast);
    // In its place stands one that takes the first attempt and hangs up.
    let in_its_place = TcpListener::bind(("127.0.0.1", database.port())).unwrap();
    let waiting = thread::spawn(move || Session::retried(&target, BUDGET).map(|session| session.scalar("SELECT 1")));
    drop(in_its_place.accept().unwrap());
    drop(in_its_place);
    server.resume();
    assert_eq!(waiting.join().unwrap().unwrap(), "1");
}

#[test]
fn a_server_that_is_shutting_down_is_worth_waiting_for() {
    let mut server = Server::start(Options::new());
    let database = server.database();
    let session = Session::open(&database.url()).unwrap();
    // A smart shutdown lets this session live and turns new ones away (57P03).
    let row = database
        .superuser()
        .query_one("SELECT pg_read_file('postmaster.pid')", &[])
        .unwrap();
    let pid = row.get::<_, String>(0).lines().next().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut last = None;
    harness::until("new sessions are turned away", || {
        last = Session::open(&database.url()).err();
        last.is_some()
    });
    let error = last.unwrap();
    assert!(matches!(error, ConnectError::Starting { .. }), "{error:?}");
    assert_eq!((error.code(), error.is_waking()), (Some("P1001"), true));
    assert_eq!(session.scalar("SELECT 1"), "1");
    server.stop(Mode::Fast);
}

#[test]
fn waiting_ends_with_the_budget_and_does_not_begin_for_what_time_cannot_cure() {
    let begin = Instant::now();
    let error = Session::retried(&target("postgresql://u:sesame@localhost:1/db"), Duration::from_secs(1))
        .err()
        .unwrap();
    let ConnectError::GaveUp { attempts, .. } = error else {
        panic!("{error:?}")
    };
    assert!(attempts > 1, "{attempts}");
    assert_eq!(error.code(), Some("P1001"));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "postgresql://u:p@127.0.0.1:{}/db?connect_timeout=0",
        silent.local_addr().unwrap().port()
    );
    let begin = Instant::now();
    let error = Session::retried(&target(&url), Duration::from_secs(1)).err().unwrap();
    assert!(matches!(error, ConnectError::GaveUp { attempts: 1, .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());

    let database = Server::shared().database();
    let wrong = target(&database.url().replace(&database.secrets()[1], "wrong"));
    let error = Session::retried(&wrong, BUDGET).err().unwrap();
    assert!(matches!(error, ConnectError::Authentication { .. }), "{error:?}");
    let error = Session::retried(&target("postgresql://u:p@localhost:1/db"), Duration::ZERO)
        .err()
        .unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

#[test]
fn what_no_retry_cures_ends_the_run_at_once_and_says_what_to_check() {
    let server = Server::start(
        Options::new().access("hostssl all all 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 reject"),
    );
    let required = server.database();
    let database = Server::shared().database();
    let history = harness::history::History::new().migration("20240101000000_a", "SELECT 1;");
    let user = database.user();
    let no_such_user = database.url().replace(user, "nobody_at_all");
    let wrong = database.url().replace(&database.secrets()[1], "wrong");
    for (database, url, sqlstate, next) in [
        (&database, wrong, "28P01", "has the secret been rotated?"),
        // The server does not tell the two apart where it asks for a password.
        (&database, no_such_user, "28P01", "check user and password"),
        (&required, required.url(), "28000", "pg_hba.conf"),
    ] {
        let begin = Instant::now();
        let run = crate::migrate()
            .deploy(history.folder())
            .database_url(database, &url)
            .run()
            .expect(50);
        let failure = &run.report.as_ref().unwrap()["failure"];
        assert_eq!(failure["sqlstate"], sqlstate, "{run}");
        assert!(failure["next"].as_str().unwrap().contains(next), "{run}");
        assert!(!run.stderr.contains("waiting for the database"), "{run}");
        assert!(begin.elapsed() < BUDGET, "{:?}", begin.elapsed());
    }

    // As with rds.force_ssl: no entry for a connection that is not encrypted.
    let other = Server::start(Options::new());
    let database = other.database();
    let mut superuser = database.superuser();
    let file: String = superuser.query_one("SHOW hba_file", &[]).unwrap().get(0);
    let own = std::fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = own.lines().filter(|line| !line.starts_with("host")).collect();
    std::fs::write(&file, kept.join("\n") + "\n").unwrap();
    superuser.batch_execute("SELECT pg_reload_conf()").unwrap();
    harness::until("the server turns everybody away", || {
        Session::open(&database.url()).is_err()
    });
    let error = refused(&database.url());
    assert!(error.to_string().contains("no encryption"), "{error}");
    assert!(error.next_step().contains("rds.force_ssl"), "{}", error.next_step());
    assert!(!error.is_waking());
}
