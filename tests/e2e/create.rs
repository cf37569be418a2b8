//! A database that does not exist yet.

use std::thread;

use harness::postgres::{Database, Options, Server};
use harness::until;
use prisma_migrate_task::database::connect::Startup;
use prisma_migrate_task::database::create::{Created, create_database};
use prisma_migrate_task::database::error::ConnectError;
use prisma_migrate_task::database::target::Target;
use prisma_migrate_task::exit::Exit;

use crate::session::{Session, refused, runtime, target};

/// The database's role, and another database that is not there.
fn missing(database: &Database, name: &str) -> Target {
    Target {
        database: format!("{}{name}", database.name()),
        ..target(&database.url())
    }
}

fn allow_creating(database: &Database) {
    let statement = format!("ALTER ROLE \"{}\" CREATEDB", database.user());
    database.superuser().batch_execute(&statement).unwrap();
}

fn create(target: &Target) -> Result<Created, ConnectError> {
    runtime().block_on(create_database(target, &Startup::default()))
}

fn reached(target: &Target) -> String {
    let session = Session::with(target, &Startup::default()).unwrap();
    session.scalar("SELECT current_database()")
}

#[test]
fn a_missing_database_is_known_as_such_and_created_whatever_its_name() {
    let database = Server::shared().database();
    allow_creating(&database);
    for name in ["_plain", " \"; DROP DATABASE postgres; -- é", "/a@b?c#d%41"] {
        let target = missing(&database, name);
        let error = Session::with(&target, &Startup::default()).err().unwrap();
        assert!(matches!(error, ConnectError::DatabaseMissing { .. }), "{error:?}");
        assert_eq!((error.code(), error.is_waking()), (Some("P1003"), false));
        assert_eq!(create(&target).unwrap(), Created::Here);
        assert_eq!(reached(&target), target.database);
        assert_eq!(create(&target).unwrap(), Created::Elsewhere);
    }
}

#[test]
fn five_at_once_all_succeed() {
    let database = Server::shared().database();
    allow_creating(&database);
    for round in 0..3 {
        let target = missing(&database, &format!("_race{round}"));
        let runs: Vec<_> = (0..5)
            .map(|_| {
                let target = target.clone();
                thread::spawn(move || (create(&target).unwrap(), reached(&target)))
            })
            .collect();
        let results: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
        assert_eq!(
            results.iter().filter(|(created, _)| *created == Created::Here).count(),
            1,
            "{results:?}"
        );
        assert!(
            results.iter().all(|(_, reached)| *reached == target.database),
            "{results:?}"
        );
    }
}

#[test]
fn without_the_privilege_it_says_so() {
    let database = Server::shared().database();
    let error = create(&missing(&database, "_never")).unwrap_err();
    assert!(
        error.to_string().contains("permission denied to create database"),
        "{error}"
    );
    assert_eq!((error.code(), error.exit()), (Some("P1003"), Exit::Database));
    assert!(error.next_step().contains("CREATEDB"));
}

#[test]
fn the_next_maintenance_database_is_tried_then_it_is_an_error() {
    let server = Server::start(Options::new());
    let database = server.database();
    allow_creating(&database);
    let mut superuser = database.superuser();
    superuser
        .batch_execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
        .unwrap();
    assert_eq!(create(&missing(&database, "_second")).unwrap(), Created::Here);

    superuser
        .batch_execute("REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")
        .unwrap();
    superuser.batch_execute("CREATE DATABASE defaultdb").unwrap();
    assert_eq!(create(&missing(&database, "_third")).unwrap(), Created::Here);

    superuser.batch_execute("DROP DATABASE defaultdb").unwrap();
    let error = create(&missing(&database, "_fourth")).unwrap_err();
    assert!(matches!(error, ConnectError::NoMaintenanceDatabase { .. }), "{error:?}");
    assert_eq!(error.code(), Some("P3000"));
    superuser
        .batch_execute("ALTER DATABASE postgres ALLOW_CONNECTIONS true")
        .unwrap();
}

/// The server waits five seconds for those who are connected to the template, then refuses (55006).
#[test]
fn a_template_in_use_is_waited_for() {
    let server = Server::start(Options::new());
    let database = server.database();
    allow_creating(&database);
    let template = Target {
        database: "template1".to_owned(),
        ..target(&database.url())
    };
    let occupant = Session::with(&template, &Startup::default()).unwrap();
    let target = missing(&database, "_late");
    let creating = thread::spawn(move || create(&target));
    until("the server has refused once", || {
        server.log().contains("is being accessed by other users")
    });
    drop(occupant);
    assert_eq!(creating.join().unwrap().unwrap(), Created::Here);
}

#[test]
fn a_server_that_is_not_there_is_no_missing_database() {
    let url = "postgresql://u:sesame@localhost:1/db";
    assert!(matches!(refused(url), ConnectError::Unreachable { .. }));
    assert!(matches!(
        create(&target(url)).unwrap_err(),
        ConnectError::Unreachable { .. }
    ));
}
