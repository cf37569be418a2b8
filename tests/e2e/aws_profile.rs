//! S3 as it is reached from a laptop: everything in `~/.aws`, as for any program on the AWS SDK.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use harness::history::{History, Layout};
use harness::postgres::{Database, Server};
use harness::s3::S3;
use harness::tool::Call;
use tempfile::TempDir;

use crate::migrate;

const SOURCE: &str = "s3://artifacts/prisma.zip";

/// A home with this configuration, in which `{s3}` is the endpoint of S3.
fn home(s3: &S3, configuration: &str) -> TempDir {
    let zip = History::new().migration("20240101000000_init", "CREATE TABLE a (id int);");
    s3.put("artifacts", "prisma.zip", zip.zip(Layout::Folder));
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".aws/sso/cache")).unwrap();
    let configuration = configuration.replace("{s3}", &s3.endpoint());
    fs::write(home.path().join(".aws/config"), configuration).unwrap();
    home
}

/// Nothing but the home and the profile's name leads to S3.
fn deploy(home: &TempDir, s3: &S3, database: &Database) -> Call {
    let call = migrate().deploy(SOURCE).database(database).secret(s3.secret_key());
    let call = call.env("HOME", home.path()).env("AWS_PROFILE", "work");
    call.env("AWS_EC2_METADATA_DISABLED", "true")
}

#[test]
fn keys_region_and_endpoint_of_a_profile_are_enough() {
    let (s3, database) = (S3::start(), Server::shared().database());
    let configuration =
        "[profile work]\nregion = eu-west-1\nservices = own\n[services own]\ns3 =\n  endpoint_url = {s3}\n";
    let home = home(&s3, configuration);
    let keys = format!(
        "[work]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        s3.access_key(),
        s3.secret_key()
    );
    fs::write(home.path().join(".aws/credentials"), keys).unwrap();
    deploy(&home, &s3, &database).run().expect(0);
    assert_eq!(database.ledger().len(), 1);
}

#[cfg(feature = "client")]
#[test]
fn a_credential_process_is_asked() {
    let (s3, database) = (S3::start(), Server::shared().database());
    let home = home(
        &s3,
        "[profile work]\nregion = eu-west-1\nendpoint_url = {s3}\ncredential_process = cat ~/keys.json\n",
    );
    let keys = serde_json::json!({ "Version": 1, "AccessKeyId": s3.access_key(), "SecretAccessKey": s3.secret_key() });
    fs::write(home.path().join("keys.json"), keys.to_string()).unwrap();
    deploy(&home, &s3, &database).run().expect(0);
    assert_eq!(database.ledger().len(), 1);
}

/// Answers one request for a role's credentials as IAM Identity Center does.
#[cfg(feature = "client")]
fn identity_center(s3: &S3) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (key, secret) = (s3.access_key().to_owned(), s3.secret_key().to_owned());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let asked = request[0].starts_with("GET /federation/credentials?")
            && request[0].contains("role_name=deployer")
            && request.iter().any(|line| line == "x-amz-sso_bearer_token: a-token");
        let body = serde_json::json!({ "roleCredentials": {
            "accessKeyId": key, "secretAccessKey": secret, "sessionToken": "", "expiration": 4_102_444_800_000_u64,
        }});
        let (status, body) = match asked {
            true => ("200 OK", body.to_string()),
            false => ("401 Unauthorized", request.join("\n")),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        stream
            .write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes())
            .unwrap();
    });
    address
}

#[cfg(feature = "client")]
#[test]
fn a_session_of_sso_is_used_and_its_end_is_said() {
    let (s3, database) = (S3::start(), Server::shared().database());
    let configuration = "[profile work]\nregion = eu-west-1\nendpoint_url = {s3}\nsso_session = admin\n\
        sso_account_id = 123456789012\nsso_role_name = deployer\n\
        [sso-session admin]\nsso_region = eu-west-1\nsso_start_url = https://example.awsapps.com/start\n";
    let home = home(&s3, configuration);
    let run = deploy(&home, &s3, &database).run().expect(40);
    let failure = &run.report.as_ref().unwrap()["failure"];
    assert!(
        failure["what"]
            .as_str()
            .unwrap()
            .contains("no AWS credentials were found"),
        "{run}"
    );
    assert!(failure["next"].as_str().unwrap().contains("aws sso login"), "{run}");

    // SHA-1 of the session's name.
    let cache = home
        .path()
        .join(".aws/sso/cache/d033e22ae348aeb5660fc2140aec35850c4da997.json");
    let token = serde_json::json!({ "accessToken": "a-token", "expiresAt": "2099-12-31T23:59:59Z" });
    fs::write(cache, token.to_string()).unwrap();
    let endpoint = format!("http://{}", identity_center(&s3));
    deploy(&home, &s3, &database)
        .env("AWS_ENDPOINT_URL_SSO", endpoint)
        .run()
        .expect(0);
    assert_eq!(database.ledger().len(), 1);
}
