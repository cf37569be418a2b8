//! What each sslmode accepts, against a real server with every kind of certificate.

use std::path::PathBuf;
use std::thread;

use harness::postgres::{Database, Options, Server};
use harness::until;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use prisma_migrate_task::database::error::ConnectError;
use prisma_migrate_task::exit::Exit;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    SignatureAlgorithm, date_time_ymd,
};
use tempfile::TempDir;

use crate::session::{Session, refused, runtime, target};

/// A certificate and its key, as PEM.
pub struct Pair {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

pub struct Authority {
    params: CertificateParams,
    pub pair: Pair,
}

pub fn params(hosts: &[&str], name: &str) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        Authority::with(name, &PKCS_ECDSA_P256_SHA256)
    }

    fn with(name: &str, algorithm: &'static SignatureAlgorithm) -> Authority {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            params,
            pair: Pair { certificate, key },
        }
    }

    pub fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params
            .signed_by(&key, &Issuer::from_params(&self.params, &self.pair.key))
            .unwrap();
        Pair { certificate, key }
    }
}

fn self_signed(params: &CertificateParams) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Pair { certificate, key }
}

/// A folder of the test's own with the client's files.
pub struct Files(pub TempDir);

impl Files {
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn with(database: &Database, host: &str, query: &str) -> String {
    format!(
        "{}?connect_timeout=20&{query}",
        database.url().replace("@127.0.0.1:", &format!("@{host}:"))
    )
}

/// Gives the server another certificate, or none, and waits until new sessions see it.
fn reconfigure(database: &Database, setting: &str, value: &str) {
    let mut superuser = database.superuser();
    superuser
        .batch_execute(&format!("ALTER SYSTEM SET {setting} = '{value}'"))
        .unwrap();
    superuser.batch_execute("SELECT pg_reload_conf()").unwrap();
    until("the server has the new setting", || {
        database.scalar(&format!("SHOW {setting}")) == value
    });
}

const ENCRYPTED: &str = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// What became of an attempt: `tls`, `clear`, or what the error says.
fn outcome(url: &str) -> String {
    match Session::open(url) {
        Ok(session) if session.scalar(ENCRYPTED) == "true" => "tls".to_owned(),
        Ok(_) => "clear".to_owned(),
        Err(_) => {
            let error = refused(url);
            assert_eq!((error.code(), error.exit()), (Some("P1011"), Exit::Database), "{error}");
            assert!(!error.is_waking(), "{error}");
            error.to_string()
        }
    }
}

#[test]
fn every_sslmode_against_every_kind_of_server() {
    let ours = Authority::new("our authority");
    let other = Authority::new("another authority");
    let both = ["localhost", "127.0.0.1"];
    let sha384 = Authority::with("an authority with a larger key", &PKCS_ECDSA_P384_SHA384);
    let mut expired = params(&both, "expired");
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let mut early = params(&both, "early");
    early.not_before = date_time_ymd(2090, 1, 1);
    early.not_after = date_time_ymd(2091, 1, 1);
    let mut own_authority = params(&both, "self-signed");
    own_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificates = [
        ("good", ours.sign(&params(&both, "good"))),
        ("sha384", sha384.sign(&params(&both, "sha384"))),
        ("elsewhere", ours.sign(&params(&["elsewhere.example"], "elsewhere"))),
        ("nameless", ours.sign(&params(&[], "localhost"))),
        ("expired", ours.sign(&expired)),
        ("early", ours.sign(&early)),
        ("foreign", other.sign(&params(&both, "foreign"))),
        ("selfsigned", self_signed(&params(&both, "self-signed"))),
        ("ownca", self_signed(&own_authority)),
    ];
    let files = Files(TempDir::new().unwrap());
    let ca = files.write("ca.pem", ours.pair.certificate.pem());
    let mut options = Options::new()
        .setting("ssl", "on")
        .setting("ssl_cert_file", "good.crt")
        .setting("ssl_key_file", "good.key");
    options = options
        .file("version1.crt", include_str!("certificates/version1.crt"))
        .file("version1.key", include_str!("certificates/version1.key"));
    for (name, pair) in &certificates {
        files.write(&format!("{name}.pem"), pair.certificate.pem());
        options = options
            .file(&format!("{name}.crt"), pair.certificate.pem())
            .file(&format!("{name}.key"), pair.key.serialize_pem());
    }
    let server = Server::start(options);
    let database = server.database();
    let ca = format!("sslrootcert={}", ca.display());
    let own = |name: &str| format!("sslrootcert={}", files.0.path().join(format!("{name}.pem")).display());

    let untrusted = "does not come from a trusted authority";
    let elsewhere = "is for elsewhere.example, not for localhost";
    let no_name = "names no host";
    let late = "has expired";
    let soon = "is not valid yet";
    let authority = "an authority's certificate as its own";
    let none = "the server has no TLS";

    // server's certificate, host asked for, parameters, outcome
    let table: &[(&str, &str, String, &str)] = &[
        ("good", "localhost", "sslmode=disable".into(), "clear"),
        ("good", "localhost", "sslmode=allow".into(), "tls"),
        ("good", "localhost", "sslmode=prefer".into(), "tls"),
        ("good", "localhost", "".into(), "tls"),
        ("good", "localhost", "sslmode=require".into(), "tls"),
        ("good", "localhost", format!("sslmode=require&{ca}"), "tls"),
        ("good", "localhost", format!("sslmode=verify-ca&{ca}"), "tls"),
        ("good", "localhost", format!("sslmode=verify-full&{ca}"), "tls"),
        ("good", "127.0.0.1", format!("sslmode=verify-full&{ca}"), "tls"),
        ("good", "localhost", format!("sslaccept=strict&{ca}"), "tls"),
        (
            "good",
            "localhost",
            format!("channel_binding=require&sslmode=verify-full&{ca}"),
            "tls",
        ),
        (
            "good",
            "localhost",
            "channel_binding=require&sslmode=require".into(),
            "tls",
        ),
        // Our authority is not one of the system's.
        ("good", "localhost", "sslmode=verify-full".into(), untrusted),
        ("good", "localhost", "sslmode=verify-ca".into(), untrusted),
        ("good", "localhost", "sslaccept=strict".into(), untrusted),
        ("good", "localhost", "sslrootcert=system".into(), untrusted),
        // SCRAM is bound by the hash that the certificate's signature uses.
        (
            "sha384",
            "localhost",
            "channel_binding=require&sslmode=require".into(),
            "tls",
        ),
        ("elsewhere", "localhost", "sslmode=require".into(), "tls"),
        ("elsewhere", "localhost", format!("sslmode=require&{ca}"), "tls"),
        ("elsewhere", "localhost", format!("sslmode=verify-ca&{ca}"), "tls"),
        ("elsewhere", "localhost", format!("sslmode=verify-full&{ca}"), elsewhere),
        (
            "elsewhere",
            "localhost",
            format!("sslmode=prefer&sslaccept=strict&{ca}"),
            elsewhere,
        ),
        (
            "elsewhere",
            "localhost",
            format!("sslmode=verify-full&sslaccept=accept_invalid_certs&{ca}"),
            elsewhere,
        ),
        ("nameless", "localhost", format!("sslmode=verify-ca&{ca}"), "tls"),
        ("nameless", "localhost", format!("sslmode=verify-full&{ca}"), no_name),
        ("expired", "localhost", "sslmode=prefer".into(), "tls"),
        ("expired", "localhost", "sslmode=require".into(), "tls"),
        ("expired", "localhost", format!("sslmode=require&{ca}"), late),
        ("expired", "localhost", format!("sslmode=verify-ca&{ca}"), late),
        ("expired", "localhost", format!("sslmode=verify-full&{ca}"), late),
        ("early", "localhost", format!("sslmode=verify-ca&{ca}"), soon),
        ("foreign", "localhost", "sslmode=require".into(), "tls"),
        ("foreign", "localhost", format!("sslmode=require&{ca}"), untrusted),
        (
            "foreign",
            "localhost",
            format!("sslmode=require&sslaccept=accept_invalid_certs&{ca}"),
            "tls",
        ),
        ("foreign", "localhost", format!("sslmode=verify-ca&{ca}"), untrusted),
        (
            "foreign",
            "localhost",
            format!("sslmode=verify-ca&sslaccept=accept_invalid_certs&{ca}"),
            untrusted,
        ),
        ("foreign", "localhost", format!("sslmode=verify-full&{ca}"), untrusted),
        ("selfsigned", "localhost", "sslmode=require".into(), "tls"),
        (
            "selfsigned",
            "localhost",
            format!("sslmode=verify-full&{ca}"),
            untrusted,
        ),
        (
            "selfsigned",
            "localhost",
            format!("sslmode=verify-full&{}", own("selfsigned")),
            "tls",
        ),
        ("ownca", "localhost", "sslmode=require".into(), "tls"),
        (
            "ownca",
            "localhost",
            format!("sslmode=verify-full&{}", own("ownca")),
            authority,
        ),
        ("version1", "localhost", "sslmode=prefer".into(), "tls"),
        (
            "version1",
            "localhost",
            "channel_binding=require&sslmode=require".into(),
            "tls",
        ),
        (
            "version1",
            "localhost",
            format!("sslmode=verify-ca&{ca}"),
            "X.509 version 1",
        ),
        ("", "localhost", "sslmode=disable".into(), "clear"),
        ("", "localhost", "sslmode=prefer".into(), "clear"),
        ("", "localhost", format!("sslmode=prefer&{ca}"), "clear"),
        ("", "localhost", "sslmode=require".into(), none),
        ("", "localhost", format!("sslmode=verify-ca&{ca}"), none),
        ("", "localhost", format!("sslmode=verify-full&{ca}"), none),
        ("", "localhost", format!("sslaccept=strict&{ca}"), none),
    ];
    let mut now = "good";
    let mut wrong = Vec::new();
    for (certificate, host, query, expected) in table {
        if *certificate != now {
            now = certificate;
            if now.is_empty() {
                reconfigure(&database, "ssl", "off");
            } else {
                reconfigure(&database, "ssl_key_file", &format!("{now}.key"));
                reconfigure(&database, "ssl_cert_file", &format!("{now}.crt"));
            }
        }
        let outcome = outcome(&with(&database, host, query));
        if !(outcome == *expected || (expected.contains(' ') && outcome.contains(expected))) {
            wrong.push(format!("{certificate} {query}: {outcome}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let error = refused(&with(&database, "localhost", "channel_binding=require"));
    assert!(matches!(error, ConnectError::AuthenticationMethod { .. }), "{error:?}");
    assert_eq!(error.code(), Some("P1000"));
    // A socket has no TLS, and libpq ignores sslmode there.
    let socket = format!("host={}&sslmode=verify-full&{ca}", server.socket().display());
    assert_eq!(outcome(&with(&database, "localhost", &socket)), "clear");
}

#[test]
fn a_client_certificate() {
    let ours = Authority::new("our authority");
    let other = Authority::new("another authority");
    let leaf = ours.sign(&params(&["localhost"], "localhost"));
    let server = Server::start(
        Options::new()
            .setting("ssl", "on")
            .setting("ssl_cert_file", "good.crt")
            .setting("ssl_key_file", "good.key")
            .setting("ssl_ca_file", "ca.crt")
            .file("good.crt", leaf.certificate.pem())
            .file("good.key", leaf.key.serialize_pem())
            .file("ca.crt", ours.pair.certificate.pem())
            .access("hostssl all all all scram-sha-256 clientcert=verify-ca")
            .access("hostnossl all all all reject"),
    );
    let database = server.database();
    let files = Files(TempDir::new().unwrap());
    let ca = files.write("ca.pem", ours.pair.certificate.pem());
    let keystore = |signer: &Authority| {
        let pair = signer.sign(&params(&[], "client"));
        let key = PrivateKey::from_der(pair.key.serialized_der()).unwrap();
        let chain = [&pair.certificate, &signer.pair.certificate].map(|c| Certificate::from_der(c.der()).unwrap());
        let mut store = KeyStore::new();
        store.add_entry(
            "client",
            KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new("1", key, chain)),
        );
        store.writer("geheim").write().unwrap()
    };
    let mine = files.write("mine.p12", keystore(&ours));
    let foreign = files.write("foreign.p12", keystore(&other));
    let url = |identity: &str| {
        with(
            &database,
            "localhost",
            &format!("sslmode=verify-full&sslrootcert={}{identity}", ca.display()),
        )
    };

    let session = Session::open(&url(&format!("&sslidentity={}&sslpassword=geheim", mine.display()))).unwrap();
    assert_eq!(
        session.scalar("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"),
        "/CN=client"
    );

    let error = refused(&url(""));
    assert!(matches!(error, ConnectError::Denied { .. }), "{error:?}");
    assert!(
        error.to_string().contains("requires a valid client certificate"),
        "{error}"
    );

    let error = refused(&url(&format!("&sslidentity={}&sslpassword=geheim", foreign.display())));
    assert!(
        error
            .to_string()
            .contains("the server refuses the client's certificate"),
        "{error}"
    );
    assert_eq!(error.code(), Some("P1011"));

    for (identity, says) in [
        (
            format!("&sslidentity={}&sslpassword=wrong", mine.display()),
            "is sslpassword right?",
        ),
        (format!("&sslidentity={}", mine.display()), "is sslpassword right?"),
        (format!("&sslidentity={}", ca.display()), "is it PKCS#12"),
        (
            "&sslidentity=/nowhere.p12".to_owned(),
            "cannot read the client identity /nowhere.p12",
        ),
    ] {
        let error = refused(&url(&identity));
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!((error.code(), error.exit()), (Some("P1011"), Exit::Usage));
    }

    let error = refused(&with(&database, "localhost", "sslmode=disable"));
    assert!(matches!(error, ConnectError::Denied { .. }), "{error:?}");
    assert_eq!(error.code(), Some("P1010"));
}

#[test]
fn certificate_files_that_cannot_be_used() {
    let files = Files(TempDir::new().unwrap());
    let empty = files.write("empty.pem", "no certificate here");
    let broken = files.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    for (path, says) in [
        ("/nowhere.pem", "cannot read the certificate file /nowhere.pem"),
        (empty.to_str().unwrap(), "holds no certificate"),
        (broken.to_str().unwrap(), "holds a certificate that cannot be used"),
    ] {
        let error = refused(&format!(
            "postgresql://u:sesame@localhost:1/db?sslmode=verify-ca&sslcert={path}"
        ));
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!((error.code(), error.exit()), (Some("P1011"), Exit::Usage));
    }
}

#[test]
fn cancelling_goes_over_tls_too() {
    let ours = Authority::new("our authority");
    let leaf = ours.sign(&params(&["localhost"], "localhost"));
    let server = Server::start(
        Options::new()
            .setting("ssl", "on")
            .setting("ssl_cert_file", "good.crt")
            .setting("ssl_key_file", "good.key")
            .file("good.crt", leaf.certificate.pem())
            .file("good.key", leaf.key.serialize_pem())
            .access("hostnossl all all all reject"),
    );
    let database = server.database();
    let files = Files(TempDir::new().unwrap());
    let ca = files.write("ca.pem", ours.pair.certificate.pem());
    let url = with(
        &database,
        "localhost",
        &format!("sslmode=verify-full&sslrootcert={}", ca.display()),
    );
    let session = Session::open(&url).unwrap();
    assert_eq!(session.scalar(ENCRYPTED), "true");
    let cancel = session.cancel.clone();
    let sleeping = thread::spawn(move || {
        let Session { runtime, client, .. } = session;
        runtime
            .block_on(client.batch_execute("SELECT pg_sleep(600)"))
            .unwrap_err()
    });
    until("the statement runs", || {
        database
            .scalar("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'")
            == "1"
    });
    runtime().block_on(cancel.send()).unwrap();
    let error = sleeping.join().unwrap();
    assert_eq!(error.code().unwrap().code(), "57014");
    assert_eq!(target(&url).describe_server(), format!("localhost:{}", database.port()));
}
