//! What can be seen from a value alone is refused at once, with what it is and what it should be.

use std::time::Duration;

use harness::postgres::{Database, Options, Server};
use harness::process::Run;
use harness::tool::Call;

use super::{begin, deploy, failure, history, never_says, says};
use crate::migrate;

fn refused(call: Call) -> Run {
    let run = call.run().expect(2);
    assert!(run.took < Duration::from_secs(10), "it took {:?}", run.took);
    run
}

#[test]
fn a_host_with_a_port_is_refused_at_once() {
    for host in ["db.example.com:5432", "10.0.0.1:5432", "[::1]:5432", "db.example.com:"] {
        let call = migrate()
            .deploy(history().folder())
            .env("DB_HOST", host)
            .env("DB_USERNAME", "app")
            .env("DB_PASSWORD", "sesame")
            .secret("sesame");
        let run = refused(call);
        says(&run, "what", &["the host contains a port"]);
        says(&run, "next", &["DB_PORT"]);
    }
    let call = migrate()
        .deploy(history().folder())
        .env(
            "DATABASE_URL",
            "postgresql://app:sesame@h/shop?host=db.example.com:5432",
        )
        .secret("sesame");
    says(&refused(call), "what", &["the host contains a port"]);
    // An IPv6 address has colons and no port.
    let database = Server::shared().database();
    let run = migrate()
        .deploy(history().folder())
        .database_parts(&database)
        .env("DB_HOST", "::1")
        .env("CONNECT_TIMEOUT", "1s")
        .run();
    assert_ne!(run.code, 2, "{run}");
}

#[test]
fn a_whole_secret_is_no_password() {
    let secret = r#"{"username":"app","password":"sesame","host":"db"}"#;
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf";
    for (name, value, what) in [
        (
            "DB_PASSWORD",
            secret,
            "DB_PASSWORD holds the JSON of a whole secret, and not the password",
        ),
        (
            "DB_PASSWORD",
            "{\n \"password\": \"sesame\"\n}\n",
            "DB_PASSWORD holds the JSON of a whole secret",
        ),
        (
            "DB_USERNAME",
            secret,
            "DB_USERNAME holds the JSON of a whole secret, and not the username",
        ),
        ("DB_PASSWORD", arn, "DB_PASSWORD holds the ARN of a secret"),
    ] {
        let mut call = migrate().deploy(history().folder()).env("DB_HOST", "db.example.com");
        for other in ["DB_USERNAME", "DB_PASSWORD"] {
            call = call.env(other, if other == name { value } else { "app" });
        }
        let run = refused(call.secret("sesame"));
        says(&run, "what", &[what]);
        says(&run, "next", &["valueFrom SECRET-ARN:", "DB_SECRET_ARN"]);
    }
    let call = migrate()
        .deploy(history().folder())
        .env("DATABASE_URL", secret)
        .secret("sesame");
    says(
        &refused(call),
        "what",
        &["the connection string is the JSON of a whole secret"],
    );
}

#[test]
fn a_password_that_looks_like_json_and_is_none_is_a_password() {
    let history = history();
    let call = migrate()
        .deploy(history.folder())
        .env("DB_HOST", "127.0.0.1")
        .env("DB_PORT", "1")
        .env("DB_USERNAME", "app")
        .env("DB_PASSWORD", "{sesame")
        .env("CONNECT_TIMEOUT", "1s")
        .secret("sesame");
    call.run().expect(50);
}

#[test]
fn a_bucket_and_a_key_are_names() {
    let of = |bucket: &str, key: &str| {
        let call = migrate()
            .verb(["status"])
            .env("ARTIFACT_BUCKET", bucket)
            .env("PRISMA_ARTIFACT_KEY", key);
        refused(call.env("DATABASE_URL", "postgresql://u:p@127.0.0.1:1/d"))
    };
    for (bucket, key, what) in [
        ("arn:aws:s3:::artifacts", "prisma.zip", "ARTIFACT_BUCKET is an ARN"),
        ("s3://artifacts", "prisma.zip", "ARTIFACT_BUCKET is a URL"),
        (
            "https://artifacts.s3.amazonaws.com",
            "prisma.zip",
            "ARTIFACT_BUCKET is a URL",
        ),
        ("artifacts/shop", "prisma.zip", "ARTIFACT_BUCKET holds a slash"),
        (
            "artifacts\n",
            "prisma.zip",
            "ARTIFACT_BUCKET holds a space or a line break",
        ),
        ("artifacts", "s3://artifacts/prisma.zip", "PRISMA_ARTIFACT_KEY is a URL"),
        ("artifacts", "https://x/prisma.zip", "PRISMA_ARTIFACT_KEY is a URL"),
        (
            "artifacts",
            "arn:aws:s3:::artifacts/prisma.zip",
            "PRISMA_ARTIFACT_KEY is an ARN",
        ),
        (
            "artifacts",
            "shop/prisma.zip\n",
            "PRISMA_ARTIFACT_KEY holds a line break",
        ),
        (
            "artifacts",
            "shop/prisma.zip\r\n",
            "PRISMA_ARTIFACT_KEY holds a line break",
        ),
    ] {
        says(&of(bucket, key), "what", &[what]);
    }
    for source in ["s3://artifacts/prisma.zip\n", "arn:aws:s3:::artifacts/prisma.zip"] {
        let call = migrate()
            .verb(["status", source])
            .env("DATABASE_URL", "postgresql://u:p@127.0.0.1:1/d");
        refused(call);
    }
}

#[test]
fn a_line_break_behind_a_password_is_named() {
    // The shared server trusts everybody.
    let server = Server::start(Options::new());
    let (database, history): (Database, _) = (server.database(), history());
    let with = |password: String| {
        let call = migrate().deploy(history.folder()).database_parts(&database);
        call.env("DB_PASSWORD", password).run()
    };
    let run = with(format!("{}\n", database.password())).expect(50);
    says(
        &run,
        "what",
        &[
            "password authentication failed",
            "the password that was given ends in a line break",
        ],
    );
    let warnings = run.report.as_ref().unwrap()["warnings"].to_string();
    assert!(
        warnings.contains("DB_PASSWORD ends in a line break, which is sent as a part of it"),
        "{run}"
    );
    let run = with(database.password()).expect(0);
    never_says(&run, &["line break"]);
    // A password may have one.
    database
        .superuser()
        .batch_execute(&format!("ALTER ROLE {} PASSWORD E'a\\n'", database.user()))
        .unwrap();
    with("a\n".to_owned()).expect(0);
}

#[test]
fn a_parameter_that_is_not_known_is_a_warning_that_names_it() {
    let (database, history) = (Server::shared().database(), history());
    let status = |query: &str| {
        let call = migrate().deploy(history.folder());
        let run = call
            .database_url(&database, &format!("{}?{query}", database.url()))
            .run()
            .expect(0);
        run.report.as_ref().unwrap()["warnings"].to_string()
    };
    for (query, words) in [
        ("sslmod=require", "sslmod (did you mean sslmode?)"),
        ("ssl_mode=require", "ssl_mode (did you mean sslmode?)"),
        ("shcema=x", "shcema (did you mean schema?)"),
        (
            "port=5433",
            "port (it is not read here: it belongs before the question mark)",
        ),
        ("something_else=1", "something_else"),
    ] {
        let warnings = status(query);
        assert!(
            warnings.contains("parameters that are not known and have no effect") && warnings.contains(words),
            "{query}: {warnings}"
        );
    }
    for query in [
        "sslmode=disable",
        "keepalives=1&target_session_attrs=any",
        "connection_limit=5",
    ] {
        assert_eq!(status(query), "[]", "{query}");
    }
}

#[test]
fn channel_binding_without_tls_says_what_it_needs() {
    let server = Server::start(Options::new());
    let database = server.database();
    let url = format!("{}?channel_binding=require&sslmode=disable", database.url());
    let run = migrate()
        .deploy(history().folder())
        .database_url(&database, &url)
        .run()
        .expect(50);
    says(&run, "next", &["channel_binding=require needs TLS", "sslmode=require"]);
}

#[test]
fn a_server_without_advisory_locks_cannot_be_used() {
    let database = Server::shared().database();
    begin(&database);
    // As in servers that only speak PostgreSQL's protocol.
    database
        .superuser()
        .batch_execute("UPDATE pg_proc SET proname = 'gone_' || proname WHERE proname LIKE 'pg_try_advisory%'")
        .unwrap();
    let run = deploy(&database, "SELECT 1").expect(50);
    says(&run, "what", &["this server cannot be used: it has no advisory locks"]);
    says(&run, "next", &["CockroachDB, Aurora DSQL and Aurora Limitless"]);
    assert_eq!(failure(&run)["state"], "nothing was changed");
}
