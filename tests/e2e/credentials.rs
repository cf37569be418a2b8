//! The database's credentials as AWS has them: a secret that rotates, and IAM tokens, against a real PostgreSQL.

use std::fs;

use harness::history::History;
use harness::ldap::Ldap;
use harness::postgres::{Database, Options, Server};
use harness::process::Run;
use harness::proxy::Proxy;
use harness::s3::S3;
use harness::secrets_manager::SecretsManager;
use harness::task_role::{TaskRole, Temporary};
use harness::tool::Call;
use harness::until;
use percent_encoding::percent_decode_str;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::migrate;

/// What RDS puts into the secret of a database.
fn secret_of(database: &Database) -> Value {
    json!({
        "username": database.user(), "password": database.password(), "engine": "postgres",
        "host": database.host(), "port": database.port(), "dbname": database.name(),
    })
}

fn hides(call: Call, database: &Database) -> Call {
    database.secrets().iter().fold(call, |call, secret| call.secret(secret))
}

/// A deploy with a secret.
fn deploy(history: &History, service: &SecretsManager, arn: &str, database: &Database) -> Call {
    let call = migrate().deploy(history.folder()).envs(service.environment());
    hides(call.env("DB_SECRET_ARN", arn).secret(service.secret_key()), database)
}

fn init() -> History {
    History::new().migration("1_init", "CREATE TABLE a (id int);")
}

/// Gives the database's user another password, as a rotation does.
fn rotate(database: &Database, password: &str) -> Value {
    let statement = format!("ALTER ROLE {} PASSWORD '{password}'", database.user());
    database.superuser().batch_execute(&statement).unwrap();
    let mut secret = secret_of(database);
    secret["password"] = password.into();
    secret
}

fn word(run: &Run, key: &str) -> String {
    let failure = &run.report.as_ref().unwrap()["failure"];
    failure[key].as_str().unwrap_or_else(|| panic!("{run}")).to_owned()
}

#[test]
fn a_secret_says_everything_and_rotates_between_two_runs() {
    let (service, database, history) = (SecretsManager::shared(), Server::shared().database(), init());
    let arn = service.create(&secret_of(&database).to_string());
    let run = deploy(&history, service, &arn, &database).run().expect(0);
    assert!(
        run.stderr.contains(&format!("the secret {arn} (DB_SECRET_ARN)")),
        "{run}"
    );
    assert_eq!(database.ledger().len(), 1);

    service.put(&arn, &rotate(&database, "qzsesamexk").to_string());
    let name = arn.split(':').next_back().unwrap().rsplit_once('-').unwrap().0;
    // By its name too.
    deploy(&history, service, name, &database)
        .secret("qzsesamexk")
        .run()
        .expect(0);
}

#[test]
fn a_secret_that_rds_manages_needs_the_rest_and_what_is_given_wins() {
    let (service, database, history) = (SecretsManager::shared(), Server::shared().database(), init());
    let managed = json!({ "username": database.user(), "password": database.password() });
    let mut elsewhere = secret_of(&database);
    for (key, value) in [
        ("host", json!("db.invalid")),
        ("port", json!("1")),
        ("dbname", json!("nowhere")),
    ] {
        elsewhere[key] = value;
    }
    for secret in [managed, elsewhere] {
        let arn = service.create(&secret.to_string());
        let call = deploy(&history, service, &arn, &database).env("DB_HOST", database.host());
        let call = call
            .env("DB_PORT", database.port().to_string())
            .env("DB_NAME", database.name());
        call.run().expect(0);
    }
}

#[test]
fn a_rotation_while_it_connects_is_followed() {
    let (service, server, history) = (SecretsManager::shared(), Server::shared(), init());
    let (database, proxy) = (server.database(), Proxy::to(server));
    let arn = service.create(&secret_of(&database).to_string());
    proxy.freeze();
    let call = deploy(&history, service, &arn, &database).env("DB_PORT", proxy.port().to_string());
    let running = call.secret("wvmellonpj").spawn();
    // It has fetched the secret, and nobody has looked at the password yet.
    until("it connects", || !proxy.connections().is_empty());
    service.put(&arn, &rotate(&database, "wvmellonpj").to_string());
    proxy.thaw();
    let run = running.wait().expect(0);
    assert!(
        run.stderr.contains("it may have been rotated") && run.stderr.contains("has changed"),
        "{run}"
    );
    assert_eq!(run.stderr.matches("fetched the secret").count(), 2, "{run}");
}

#[test]
fn a_rotation_during_a_long_run_is_followed_when_it_connects_again() {
    let (service, database) = (SecretsManager::shared(), Server::shared().database());
    let history = History::new().migration("1_long", "SELECT pg_advisory_xact_lock(4711); CREATE TABLE a (id int);");
    let arn = service.create(&secret_of(&database).to_string());
    let mut rival = database.client();
    rival.batch_execute("SELECT pg_advisory_lock(4711)").unwrap();
    let running = deploy(&history, service, &arn, &database).secret("kdbrandyvq").spawn();
    let backend = "FROM pg_stat_activity WHERE query LIKE '%4711%CREATE TABLE a%' AND wait_event = 'advisory' AND datname = current_database()";
    until("the migration waits", || {
        database
            .superuser()
            .query(&format!("SELECT pid {backend}"), &[])
            .unwrap()
            .len()
            == 1
    });
    service.put(&arn, &rotate(&database, "kdbrandyvq").to_string());
    let ended = format!("SELECT pg_terminate_backend(pid) {backend}");
    database.superuser().batch_execute(&ended).unwrap();
    rival.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
    let run = running.wait().expect(0);
    assert!(run.stderr.contains("has changed"), "{run}");
    assert_eq!(database.ledger().len(), 1);
}

#[test]
fn a_wrong_password_that_has_not_changed_is_said_so() {
    let (service, database, history) = (SecretsManager::shared(), Server::shared().database(), init());
    let arn = service.create(&secret_of(&database).to_string());
    rotate(&database, "nfthistleoc");
    let run = deploy(&history, service, &arn, &database).run().expect(50);
    let what = word(&run, "what");
    assert!(
        what.contains("28P01") && what.contains("have not changed") && what.contains(&arn),
        "{run}"
    );
    assert_eq!(run.report.as_ref().unwrap()["failure"]["prisma_code"], "P1000");
    assert_eq!(run.stderr.matches("fetched the secret").count(), 2, "{run}");
}

#[test]
fn a_secret_that_cannot_be_used_is_said_in_words() {
    let (service, database, history) = (SecretsManager::shared(), Server::shared().database(), init());
    let with = |key: &str, value: Value| {
        let mut secret = secret_of(&database);
        secret[key] = value;
        secret.to_string()
    };
    let half = &database.secrets()[0];
    for (secret, says) in [
        (half.clone(), "it is not a JSON object"),
        (format!("{{\"password\":\"{half}"), "it is not a JSON object"),
        (with("engine", json!("mysql")), "it is for mysql"),
        (with("username", json!("")), "it has no username"),
        (with("password", Value::Null), "it has no password"),
        (with("port", json!(half)), "its port cannot be used"),
        (with("host", Value::Null), "DB_HOST is not set"),
        (with("host", json!("a,b")), "the DB_* variables cannot be used"),
    ] {
        let arn = service.create(&secret);
        let run = deploy(&history, service, &arn, &database)
            .arg("--log-level=debug")
            .run()
            .expect(2);
        assert!(
            word(&run, "what").contains(says) && word(&run, "what").contains(&arn),
            "{says}\n{run}"
        );
    }

    let arn = service.create(&secret_of(&database).to_string());
    let run = deploy(&history, service, &arn.replace("db-", "no-"), &database)
        .run()
        .expect(2);
    assert!(word(&run, "what").contains("in eu-west-1 does not know it"), "{run}");
    // The ARN's region is asked, not the run's.
    let elsewhere = arn.replace("eu-west-1", "us-east-1");
    let run = deploy(&history, service, &elsewhere, &database).run().expect(2);
    assert!(word(&run, "what").contains("in us-east-1 does not know it"), "{run}");
    let run = deploy(&history, service, &format!("{arn}:password::"), &database)
        .run()
        .expect(2);
    assert!(word(&run, "what").contains("valueFrom"), "{run}");
    service.delete(&arn);
    let run = deploy(&history, service, &arn, &database).run().expect(50);
    assert!(word(&run, "next").contains("restore the secret"), "{run}");
    assert!(!database.has_ledger());
}

#[test]
fn a_secrets_manager_that_cannot_be_reached() {
    let (service, database, history) = (SecretsManager::shared(), Server::shared().database(), init());
    let arn = service.create(&secret_of(&database).to_string());
    let call = deploy(&history, service, &arn, &database);
    let run = call
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
        .run()
        .expect(50);
    assert!(
        word(&run, "what").contains("could not be reached (attempts: 3)"),
        "{run}"
    );
    assert!(
        word(&run, "next").contains("com.amazonaws.eu-west-1.secretsmanager"),
        "{run}"
    );

    let call = migrate()
        .deploy(history.folder())
        .envs(service.place())
        .env("DB_SECRET_ARN", &arn);
    let run = call.env("HOME", "/nowhere").run().expect(50);
    assert!(word(&run, "what").contains("no AWS credentials were found"), "{run}");
}

#[test]
fn a_role_without_the_permission_is_told_which() {
    let (service, database, history) = (SecretsManager::start(), Server::shared().database(), init());
    let arn = service.create(&secret_of(&database).to_string());
    let (access_key, secret_key) = service.powerless_user();
    let call = deploy(&history, &service, &arn, &database).env("AWS_ACCESS_KEY_ID", access_key);
    let run = call
        .env("AWS_SECRET_ACCESS_KEY", &secret_key)
        .secret(&secret_key)
        .run()
        .expect(50);
    assert!(word(&run, "what").contains("AWS denied access"), "{run}");
    let next = word(&run, "next");
    for part in ["secretsmanager:GetSecretValue", arn.as_str(), "kms:Decrypt"] {
        assert!(next.contains(part), "{part}\n{run}");
    }
    // Keys that nobody knows.
    let run = deploy(&history, &service, &arn, &database).run().expect(50);
    assert!(
        word(&run, "what").contains("AWS refused the credentials of this run"),
        "{run}"
    );
}

#[test]
fn the_secret_is_fetched_as_the_tasks_role() {
    let (service, database, history) = (SecretsManager::shared(), Server::shared().database(), init());
    let (role, arn) = (TaskRole::start(), service.create(&secret_of(&database).to_string()));
    let call = migrate()
        .deploy(history.folder())
        .envs(service.place())
        .envs(role.environment());
    let call = hides(call.env("DB_SECRET_ARN", &arn).secret(role.secret_key()), &database);
    call.run().expect(0);
    assert_eq!(role.given().len(), 1);
}

/// A server with a certificate of our own, which asks `ldap` whether a password is right, and the file of our authority.
fn tls_server(ldap: &Ldap) -> (Server, tempfile::TempDir) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf
        .signed_by(&leaf_key, &Issuer::from_params(&authority, &key))
        .unwrap();
    let options = Options::new().setting("ssl", "on").access(&ldap.access());
    let server = Server::start(
        options
            .file("server.crt", leaf.pem())
            .file("server.key", leaf_key.serialize_pem()),
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
    (server, folder)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner);
    outer.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a token as RDS does (AWS Signature Version 4): who signed it, for which host and user, and that the signature is theirs. The credentials
/// that it was signed with.
fn verified(token: &str, endpoint: &str, user: &str, given: &[Temporary]) -> Option<Temporary> {
    let query = token.strip_prefix(&format!("{endpoint}/?"))?;
    let (query, signature) = query.split_once("&X-Amz-Signature=")?;
    let value = |name: &str| {
        let value = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(percent_decode_str(value).decode_utf8().unwrap().into_owned())
    };
    let (credential, date) = (value("X-Amz-Credential")?, value("X-Amz-Date")?);
    let (access_key, scope) = credential.split_once('/')?;
    let signer = given.iter().find(|given| given.access_key == access_key)?;
    let fits = value("Action")? == "connect"
        && value("DBUser")? == user
        && value("X-Amz-Expires")? == "900"
        && value("X-Amz-Security-Token")? == signer.session_token
        && scope == format!("{}/eu-west-1/rds-db/aws4_request", &date[..8]);
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    let nothing = hex(&Sha256::digest(""));
    let request = format!("GET\n/\n{}\nhost:{endpoint}\n\nhost\n{nothing}", pairs.join("&"));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request)));
    let first = format!("AWS4{}", signer.secret_key).into_bytes();
    let key = scope.split('/').fold(first, |key, part| hmac(&key, part));
    (fits && hex(&hmac(&key, &text)) == signature).then(|| signer.clone())
}

#[test]
fn every_connection_has_an_iam_token_of_its_own() {
    let role = TaskRole::start();
    let ldap = Ldap::start(|_, _| true);
    let (server, folder) = tls_server(&ldap);
    let database = server.database();
    let history = History::new().migration("1_long", "SELECT pg_advisory_xact_lock(4711); CREATE TABLE a (id int);");
    let mut rival = database.client();
    rival.batch_execute("SELECT pg_advisory_lock(4711)").unwrap();
    let call = migrate()
        .deploy(history.folder())
        .envs(role.environment())
        .secret(role.secret_key());
    let call = call
        .env("DB_HOST", "localhost")
        .env("DB_PORT", server.port().to_string())
        .env("DB_NAME", database.name());
    let call = call.env("DB_USERNAME", database.user()).env("DB_IAM_AUTH", "true");
    let call = call
        .env("DB_CA_FILE", folder.path().join("ca.pem"))
        .secret("X-Amz-Signature")
        .arg("--log-level=debug");
    let running = call.spawn();
    until("a second connection watches the first", || ldap.binds().len() == 2);
    let backend = "FROM pg_stat_activity WHERE query LIKE '%4711%CREATE TABLE a%' AND wait_event = 'advisory'";
    until("the migration waits", || {
        database
            .superuser()
            .query(&format!("SELECT pid {backend}"), &[])
            .unwrap()
            .len()
            == 1
    });
    database
        .superuser()
        .batch_execute(&format!("SELECT pg_terminate_backend(pid) {backend}"))
        .unwrap();
    until("it connects again", || ldap.binds().len() >= 3);
    rival.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
    let run = running.wait().expect(0);
    assert!(
        run.stderr.contains("an RDS IAM token for each connection attempt"),
        "{run}"
    );

    let endpoint = format!("localhost:{}", server.port());
    let mut signers: Vec<String> = Vec::new();
    for bind in ldap.binds() {
        assert_eq!(bind.user, database.user());
        let signer = verified(&bind.password, &endpoint, database.user(), &role.given());
        signers.push(
            signer
                .unwrap_or_else(|| panic!("not a token of ours: {}", bind.password))
                .access_key,
        );
        // The checker can fail.
        assert!(verified(&bind.password, &endpoint, "somebody", &role.given()).is_none());
        let forged = bind.password.replace("X-Amz-Date=2", "X-Amz-Date=3");
        assert!(verified(&forged, &endpoint, database.user(), &role.given()).is_none());
        let all = signers.len();
        signers.sort();
        signers.dedup();
        assert_eq!(signers.len(), all, "a token was used twice");
    }
}

#[test]
fn a_refused_token_says_what_to_check_and_none_goes_without_tls() {
    let role = TaskRole::start();
    let ldap = Ldap::start(|_, _| false);
    let (server, folder) = tls_server(&ldap);
    let (database, history) = (server.database(), init());
    let call = |port: u16| {
        let call = migrate()
            .deploy(history.folder())
            .envs(role.environment())
            .secret(role.secret_key());
        let call = call
            .env("DB_HOST", "localhost")
            .env("DB_PORT", port.to_string())
            .env("DB_NAME", database.name());
        let call = call.env("DB_USERNAME", database.user()).env("DB_IAM_AUTH", "true");
        call.secret("X-Amz-Signature").arg("--log-level=debug")
    };
    let run = call(server.port())
        .env("DB_CA_FILE", folder.path().join("ca.pem"))
        .run()
        .expect(50);
    assert!(
        word(&run, "what").contains("28000") && word(&run, "what").contains("an RDS IAM token"),
        "{run}"
    );
    let next = word(&run, "next");
    let resource = format!(":dbuser:RESOURCE_ID/{}", database.user());
    for part in [
        "GRANT rds_iam TO",
        "rds-db:connect on arn:aws:rds-db:",
        resource.as_str(),
        "CNAME",
    ] {
        assert!(next.contains(part), "{part}\n{run}");
    }
    assert_eq!(ldap.binds().len(), 1);

    // Nobody asked for TLS, and this server has none: no token is sent.
    let plain = Server::shared();
    let run = call(plain.port()).run().expect(50);
    assert!(word(&run, "what").contains("the server has no TLS"), "{run}");
    assert!(run.stderr.contains("a server that is not verified"), "{run}");
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let (database, history) = (Server::shared().database(), init());
    for (more, names) in [
        ("DB_SECRET_ARN", ["DB_SECRET_ARN", "DB_PASSWORD"]),
        ("DB_IAM_AUTH", ["DB_IAM_AUTH", "DB_PASSWORD"]),
    ] {
        let call = migrate().deploy(history.folder()).database_parts(&database);
        let run = call.env(more, "true").run().expect(2);
        assert!(names.iter().all(|name| word(&run, "what").contains(name)), "{run}");
    }
    assert!(!database.has_ledger());
}

#[test]
fn the_authorities_may_be_the_text_of_a_variable_or_an_object_in_s3() {
    let ldap = Ldap::start(|_, _| true);
    let (server, folder) = tls_server(&ldap);
    let (database, history, s3) = (server.database(), init(), S3::start());
    let pem = fs::read_to_string(folder.path().join("ca.pem")).unwrap();
    s3.put("settings", "ca.pem", pem.clone());
    let call = || {
        let call = migrate().deploy(history.folder()).s3(&s3);
        let call = call
            .env("DB_HOST", "localhost")
            .env("DB_PORT", server.port().to_string())
            .env("DB_NAME", database.name());
        call.env("DB_USERNAME", database.user()).env("DB_PASSWORD", "any")
    };
    for (name, value, origin) in [
        ("DB_CA", pem.as_str(), "against DB_CA"),
        ("DB_CA_FILE", "s3://settings/ca.pem", "against s3://settings/ca.pem"),
    ] {
        let run = call().env(name, value).run().expect(0);
        assert!(
            run.stderr.contains("server verified (verify-full)") && run.stderr.contains(origin),
            "{run}"
        );
    }
    let refused = [
        (
            vec![("DB_CA", "no certificate")],
            "the certificates of DB_CA cannot be used: it holds no certificate",
        ),
        (
            vec![("DB_CA_FILE", "s3://settings/other.pem")],
            "s3://settings/other.pem of DB_CA_FILE could not be read",
        ),
        (
            vec![("DB_CA_FILE", "s3://settings")],
            "DB_CA_FILE is no file and not of the form s3://bucket/key",
        ),
        (
            vec![("DB_CA", pem.as_str()), ("DB_CA_FILE", "/ca.pem")],
            "DB_CA is set beside DB_CA_FILE",
        ),
    ];
    for (variables, says) in refused {
        let call = variables
            .iter()
            .fold(call(), |call, (name, value)| call.env(name, *value));
        let run = call.run().expect(2);
        assert!(word(&run, "what").contains(says), "{says}\n{run}");
    }
}
