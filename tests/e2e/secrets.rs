//! What must never be seen: passwords, scripts, and an image of the process. That no output holds the database's password is held after every run of
//! every test; here are the ways round it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use harness::history::History;
use harness::postgres::Server;
use harness::tool::Tool;
use harness::until;
use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::migrate;

const BINARY: &str = env!("CARGO_BIN_EXE_prisma-migrate-task");

/// A word that no message holds by itself.
const SECRET: &str = "qzsesamexk";

fn read(pid: u32, file: &str) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()).into_owned()
}

/// Both limits of the core file's size, as the kernel shows them.
fn core_limits(pid: u32) -> Vec<String> {
    let limits = read(pid, "limits");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .unwrap_or_default();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

/// A server that takes connections and says nothing, so that a run stays where it is, and the URL to it.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("postgresql://user:{SECRET}@127.0.0.1:{port}/db"))
}

#[test]
fn the_password_is_not_among_the_arguments() {
    let (server, url) = silent();
    let history = History::new();
    let running = migrate()
        .deploy(history.folder())
        .env("DATABASE_URL", url)
        .secret(SECRET)
        .spawn();
    // Connected: from here on the program does all that it does with the password.
    let _connection = server.accept().unwrap();
    let cmdline = read(running.id(), "cmdline");
    assert!(cmdline.contains("deploy") && !cmdline.contains(SECRET), "{cmdline}");
    let ps = Command::new("ps")
        .args(["-ww", "-o", "args=", "-p", &running.id().to_string()])
        .output()
        .unwrap();
    let ps = String::from_utf8_lossy(&ps.stdout).into_owned();
    assert!(ps.contains("deploy") && !ps.contains(SECRET), "{ps}");
    running.kill();
}

#[test]
fn a_process_that_aborts_leaves_no_core() {
    let (server, url) = silent();
    let (history, folder) = (History::new(), tempfile::tempdir().unwrap());
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$0\" deploy \"$1\"",
            BINARY,
        ])
        .arg(history.folder())
        .current_dir(folder.path())
        .env("DATABASE_URL", url)
        .spawn()
        .unwrap();
    let _connection = server.accept().unwrap();
    assert_eq!(core_limits(child.id()), ["0", "0"]);
    kill_process(Pid::from_child(&child), Signal::ABORT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The kernel gives what stands under /proc/<pid> to root where a process is not dumpable: neither a debugger of the same user nor a crash handler
/// sees its memory. So the program must run as somebody else than root here.
#[test]
fn the_process_is_not_dumpable() {
    let (server, url) = silent();
    let history = History::new();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("prisma-migrate-task");
    fs::copy(BINARY, &program).unwrap();
    for path in [folder.path(), history.folder().parent().unwrap()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let call = if getuid().is_root() {
        Tool::new("setpriv")
            .verb(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .arg("deploy")
    } else {
        Tool::new(&program).verb(["deploy"])
    };
    let call = call
        .arg(history.folder())
        .env("DATABASE_URL", url)
        .secret(SECRET)
        .without_report();
    let running = call.spawn();
    let _connection = server.accept().unwrap();
    let status = read(running.id(), "status");
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    assert_ne!(uid, "0");
    let environ = Path::new("/proc").join(running.id().to_string()).join("environ");
    assert_eq!(fs::metadata(environ).unwrap().uid(), 0);
    running.kill();
}

#[test]
fn a_script_is_never_logged_as_a_whole() {
    let database = Server::shared().database();
    let good = format!("CREATE TABLE a (id int);\n-- {SECRET}\nINSERT INTO a SELECT length('{SECRET}');");
    let bad = format!("SELECT '{SECRET}';\n\nSELECT 1 / 0;\n\nSELECT '{SECRET}';");
    let concurrently = format!("INSERT INTO a SELECT length('{SECRET}');\nCREATE INDEX CONCURRENTLY i ON a (id);");
    let history = History::new()
        .migration("1_good", good)
        .migration("2_steps", concurrently)
        .migration("3_bad", bad);
    for format in ["text", "json"] {
        let call = migrate()
            .deploy(history.folder())
            .arg("--log-level=debug")
            .arg("--log-format")
            .arg(format);
        let run = call.database(&database).secret(SECRET).run().expect(20);
        assert!(run.stdout.contains("division by zero"), "{run}");
    }
    assert!(
        database
            .ledger()
            .iter()
            .all(|row| !row.logs.as_deref().unwrap_or("").contains(SECRET))
    );
}

#[test]
fn a_password_in_the_failing_statement_is_starred_out() {
    let scripts = [
        format!("ALTER ROLE app PASSWORD '{SECRET}' OOPS;"),
        format!("ALTER ROLE app WITH ENCRYPTED PASSWORD\n\n  '{SECRET}' OOPS;"),
        format!("ALTER ROLE app PASSWORD E'{SECRET}\\'' OOPS;"),
        format!("ALTER ROLE app PASSWORD $q${SECRET}$q$ OOPS;"),
        format!("ALTER ROLE nobody_here PASSWORD '{SECRET}';"),
        format!("DO $$ BEGIN EXECUTE 'ALTER ROLE nobody_here PASSWORD ''{SECRET}'' OOPS'; END $$;"),
        format!("DO $$ BEGIN ALTER ROLE nobody_here PASSWORD '{SECRET}'; END $$;"),
        format!("DO $$ BEGIN RAISE 'cannot run ALTER ROLE app PASSWORD ''{SECRET}'''; END $$;"),
        format!("DO $$ BEGIN RAISE WARNING 'host=h password={SECRET}'; PERFORM 1 / 0; END $$;"),
        format!("CREATE SUBSCRIPTION s CONNECTION 'host=h password={SECRET}' OOPS;"),
        format!("SELECT 1; UPDATE nowhere SET \"password\" = '{SECRET}';"),
    ];
    for script in scripts {
        let database = Server::shared().database();
        let history = History::new().migration("1_bad", &script);
        let call = migrate()
            .deploy(history.folder())
            .arg("--log-level=debug")
            .database(&database);
        let run = call.secret(SECRET).run().expect(20);
        let failure = &run.report.as_ref().unwrap()["failure"];
        assert!(failure["place"]["excerpt"].is_string(), "{run}");
        let logs = database.ledger()[0].logs.clone().unwrap();
        assert!(!logs.contains(SECRET), "{script}\n{logs}");
        // Prisma's next run, and ours, quote the ledger.
        migrate()
            .verb(["status"])
            .arg(history.folder())
            .database(&database)
            .secret(SECRET)
            .run()
            .expect(10);
    }
}

#[test]
fn a_url_that_cannot_be_read_is_not_shown() {
    let s = SECRET;
    let other = "wvmellonpj";
    let urls = [
        format!("postgresql://u:{s}@{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}/{other}@h.invalid:1/db"),
        format!("postgresql://u:123/{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}#{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}?{other}@h.invalid:1/db"),
        format!("postgresql://u:123?{other}@h.invalid:1/db"),
        format!("postgresql://u:123#{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}:{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}%zz{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}%ff{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}%00{other}@h.invalid:1/db"),
        format!("postgresql://u:{s} {other}@h.invalid:1/db"),
        format!("postgresql://u:{s}\n{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}[{other}]@h.invalid:1/db"),
        format!("postgresql://u:{s}\\{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}'\"{other}@h.invalid:1/db"),
        format!("postgresql://u:{s}@h.invalid:{other}/db"),
        format!("postgresql://u:{s}@h.invalid:1/db?sslpassword={other}&connect_timeout=soon"),
        format!("postgresql://u:{s}@h.invalid:1/db?sslpassword={other}%ff"),
        format!("postgresql://u:{s}@h.invalid:1,h2.invalid:2/{other}"),
        format!("\"postgresql://u:{s}@{other}/db\""),
        format!("psql postgresql://u:{s}@{other}/db"),
        format!("mysql://u:{s}@{other}/db"),
        format!("prisma://u.invalid/?api_key={s}{other}"),
        format!("host=h.invalid user=u password={s} dbname={other}"),
        format!("{s}{other}"),
    ];
    let history = History::new();
    for url in urls {
        let call = migrate()
            .deploy(history.folder())
            .env("DATABASE_URL", &url)
            .secret(s)
            .secret(other);
        let run = call.arg("--log-level=debug").arg("--connect-timeout=1s").run();
        assert!([2, 50].contains(&run.code), "{url}\n{run}");
        assert!(run.report.is_some(), "{url}\n{run}");
    }
}

#[test]
fn a_hostile_password_in_the_parts_is_not_shown_when_it_is_refused() {
    let (database, history) = (Server::shared().database(), History::new());
    for password in [
        format!("{SECRET}@/"),
        format!("{SECRET}' \"\\"),
        format!("%00{SECRET}"),
        format!("\u{1b}{SECRET}\n"),
    ] {
        let call = migrate().deploy(history.folder()).database_parts(&database);
        let call = call
            .env("DB_PASSWORD", password)
            .secret(SECRET)
            .arg("--log-level=debug");
        call.run().expect(50);
    }
    until("no backend of the refused runs is left", || {
        database.scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'prisma-migrate-task%' AND datname = current_database()") == "0"
    });
}
