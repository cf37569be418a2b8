//! Hosts of Amazon RDS: verified in full unless the URL asks for less, and what the run says of it. Their names lead to a server of our own by
//! `hostaddr`, as through a tunnel; Amazon's keys nobody has here, so that what Amazon signed is never seen: what others signed is refused.

use std::path::{Path, PathBuf};

use harness::history::History;
use harness::postgres::{Database, Options, Server};
use harness::process::Run;
use prisma_migrate_task::database::connect::Startup;
use prisma_migrate_task::database::error::ConnectError;
use prisma_migrate_task::database::target::{Parts, Target};
use prisma_migrate_task::database::tls::Roots;
use prisma_migrate_task::secret::Secret;
use tempfile::TempDir;

use crate::migrate;
use crate::session::Session;
use crate::tls::{Authority, Files, params};

const INSTANCE: &str = "shop.c9akciq32.eu-west-1.rds.amazonaws.com";
const OTHER: &str = "other.c9akciq32.eu-west-1.rds.amazonaws.com";
const GOVERNMENT: &str = "shop.c9akciq32.us-gov-west-1.rds.amazonaws.com";
const PROXY: &str = "shop.proxy-c9akciq32.eu-west-1.rds.amazonaws.com";

const SUITE: &str = "TLSv1.3 with TLS_AES_256_GCM_SHA384";

/// A server that has a certificate for these hosts, signed by this authority.
fn options(authority: &Authority) -> Options {
    let leaf = authority.sign(&params(&[INSTANCE, GOVERNMENT, PROXY], "shop"));
    Options::new()
        .setting("ssl", "on")
        .setting("ssl_cert_file", "server.crt")
        .setting("ssl_key_file", "server.key")
        .file("server.crt", leaf.certificate.pem())
        .file("server.key", leaf.key.serialize_pem())
}

fn deploy(database: &Database, host: &str, query: &str, system: Option<&Path>) -> Run {
    let history = History::new().migration("20240101_one", "CREATE TABLE one (id int);");
    let url = database.url().replace("@127.0.0.1:", &format!("@{host}:"));
    let mut call = migrate()
        .deploy(history.folder())
        .database_url(database, &format!("{url}?hostaddr=127.0.0.1&{query}"));
    if let Some(file) = system {
        call = call.env("SSL_CERT_FILE", file);
    }
    call.run()
}

#[test]
fn an_rds_host_is_verified_in_full_unless_the_url_asks_for_less() {
    let ours = Authority::new("our authority");
    let other = Authority::new("another authority");
    let server = Server::start(options(&ours));
    let database = server.database();
    let files = Files(TempDir::new().unwrap());
    let ca = files.write("ca.pem", ours.pair.certificate.pem());
    let foreign = files.write("foreign.pem", other.pair.certificate.pem());
    let named = format!("sslrootcert={}", ca.display());

    // host asked for, parameters, the system's authorities, what the outcome says of TLS, a warning of it
    let verified = |by: &str| format!("{SUITE}, server verified (verify-full) against {by}");
    let by_file = verified(ca.to_str().unwrap());
    for (host, query, system, tls, warning) in [
        (INSTANCE, named.as_str(), None, by_file.clone(), None),
        (
            INSTANCE,
            &format!("{named}&sslaccept=accept_invalid_certs"),
            None,
            by_file.clone(),
            None,
        ),
        (GOVERNMENT, &named, None, by_file.clone(), None),
        (PROXY, &named, None, by_file, None),
        (
            PROXY,
            "",
            Some(ca.as_path()),
            verified("the system's authorities"),
            None,
        ),
        (
            INSTANCE,
            "sslrootcert=system",
            Some(&ca),
            verified("the system's authorities"),
            None,
        ),
        (
            INSTANCE,
            "sslmode=require",
            None,
            format!("{SUITE}, server not verified"),
            Some("sslmode=require on an Amazon RDS host: the server is not verified"),
        ),
        (
            INSTANCE,
            "sslmode=disable",
            None,
            "no TLS".to_owned(),
            Some("sslmode=disable on an Amazon RDS host: the connection is not encrypted"),
        ),
        ("localhost", "", None, format!("{SUITE}, server not verified"), None),
    ] {
        let run = deploy(&database, host, query, system).expect(0);
        let report = run.report.as_ref().unwrap();
        assert_eq!(report["database"]["tls"], tls.as_str(), "{host} {query}");
        let address = format!("{host}:{}/{}", database.port(), database.name());
        assert!(run.stderr.contains(&format!("connected to {address}: {tls}")), "{run}");
        let warned = report["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|text| text.as_str());
        match warning {
            Some(warning) => assert!(warned.into_iter().any(|text| text.starts_with(warning)), "{run}"),
            None => assert!(!warned.into_iter().any(|text| text.contains("RDS")), "{run}"),
        }
    }

    for (host, query, system, says) in [
        (
            INSTANCE,
            "",
            None,
            "Amazon's RDS roots in this program, which has those of eu-west-1, has signed it",
        ),
        // The system's authorities have no say there.
        (INSTANCE, "", Some(ca.as_path()), "Amazon's RDS roots in this program"),
        (
            INSTANCE,
            "sslaccept=accept_invalid_certs",
            None,
            "Amazon's RDS roots in this program",
        ),
        (
            INSTANCE,
            "sslmode=verify-ca",
            None,
            "Amazon's RDS roots in this program",
        ),
        (
            GOVERNMENT,
            "",
            None,
            "Amazon's RDS roots of us-gov-west-1 are not in this program",
        ),
        (
            PROXY,
            "",
            Some(&foreign),
            "it was checked against the system's authorities",
        ),
        (
            OTHER,
            &named,
            None,
            "not for other.c9akciq32.eu-west-1.rds.amazonaws.com",
        ),
    ] {
        let run = deploy(&database, host, query, system).expect(50);
        let failure = &run.report.as_ref().unwrap()["failure"];
        let what = failure["what"].as_str().unwrap();
        assert!(what.contains(says), "{host} {query}: {what}");
        assert!(failure["next"].as_str().unwrap().contains("DB_CA_FILE"), "{failure}");
        assert_eq!(failure["prisma_code"], "P1011");
    }
}

#[test]
fn the_single_values_too_and_db_ca_file_takes_the_place_of_amazons_roots() {
    let ours = Authority::new("our authority");
    let server = Server::start(options(&ours));
    let database = server.database();
    let files = Files(TempDir::new().unwrap());
    let ca = files.write("ca.pem", ours.pair.certificate.pem());
    let open = |ca_file: Option<PathBuf>| {
        let mut target = Target::from_parts(Parts {
            host: INSTANCE.to_owned(),
            port: Some(database.port()),
            database: Some(database.name().to_owned()),
            user: database.user().to_owned(),
            password: Some(Secret::new(database.password())),
            schema: None,
            roots: ca_file.map(|file| Roots::Files(vec![file])),
        })
        .unwrap();
        target.hostaddr = Some(std::net::Ipv4Addr::LOCALHOST.into());
        Session::with(&target, &Startup::default())
    };
    let session = open(Some(ca)).unwrap();
    assert_eq!(session.handshake.unwrap().to_string(), SUITE);
    match open(None) {
        Err(ConnectError::Tls { reason, .. }) => assert!(reason.contains("Amazon's RDS roots"), "{reason}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it connected"),
    }
}

/// By the server's own view of the session.
#[test]
fn protocol_and_cipher_are_those_of_the_session() {
    let authority = Authority::new("our authority");
    let seen = "SELECT version || ' with ' || cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let url = |database: &Database, mode: &str| format!("{}?connect_timeout=20&sslmode={mode}", database.url());

    let server = Server::start(options(&authority));
    let database = server.database();
    let session = Session::open(&url(&database, "require")).unwrap();
    assert_eq!(session.handshake.clone().unwrap().to_string(), SUITE);
    assert_eq!(session.scalar(seen), SUITE);
    let session = Session::open(&url(&database, "disable")).unwrap();
    assert!(session.handshake.is_none());

    let older = Server::start(options(&authority).setting("ssl_max_protocol_version", "TLSv1.2"));
    let database = older.database();
    let session = Session::open(&url(&database, "require")).unwrap();
    assert_eq!(
        session.handshake.clone().unwrap().to_string(),
        "TLSv1.2 with TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    );
    // OpenSSL has names of its own up to TLS 1.2.
    assert_eq!(session.scalar(seen), "TLSv1.2 with ECDHE-ECDSA-AES256-GCM-SHA384");
}
