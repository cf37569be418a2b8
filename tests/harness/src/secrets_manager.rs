//! Secrets Manager, by moto's server, which checks access keys and IAM policies once it is told to.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::moto::Moto;
pub use crate::moto::REGION;
use crate::token;

/// A running service.
#[derive(Debug)]
pub struct SecretsManager {
    moto: Moto,
    access_key: String,
    secret_key: String,
}

impl SecretsManager {
    /// The one of this test process, started on first use. It hands every secret to everybody.
    pub fn shared() -> &'static SecretsManager {
        static SHARED: OnceLock<SecretsManager> = OnceLock::new();
        SHARED.get_or_init(SecretsManager::start)
    }

    /// One of a test's own.
    pub fn start() -> SecretsManager {
        SecretsManager {
            moto: Moto::start(),
            access_key: format!("AKIA{}", token().to_uppercase()),
            secret_key: format!("{}{}", token(), token()),
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        self.moto.endpoint()
    }

    /// The secret access key: letters and digits only.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The variables by which an AWS SDK finds this service and signs for it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut variables = self.place();
        variables.extend([
            ("AWS_ACCESS_KEY_ID".to_owned(), self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), self.secret_key.clone()),
        ]);
        variables
    }

    /// The same without credentials.
    pub fn place(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.endpoint()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Makes a secret with a name of its own; its ARN.
    pub fn create(&self, text: &str) -> String {
        let name = format!("newsroom/db-{}", token());
        let made = self.call(
            "CreateSecret",
            &json!({ "Name": name, "SecretString": text, "ClientRequestToken": uuid::Uuid::new_v4().to_string() }),
        );
        made["ARN"].as_str().expect("a secret has an ARN").to_owned()
    }

    /// Gives a secret a new current version.
    pub fn put(&self, arn: &str, text: &str) {
        self.call(
            "PutSecretValue",
            &json!({ "SecretId": arn, "SecretString": text, "ClientRequestToken": uuid::Uuid::new_v4().to_string() }),
        );
    }

    /// Marks a secret for deletion.
    pub fn delete(&self, arn: &str) {
        self.call("DeleteSecret", &json!({ "SecretId": arn, "RecoveryWindowInDays": 7 }));
    }

    /// An IAM user that may do nothing: its access key id and secret access key. From now on policies are checked, so this is for a service of a
    /// test's own.
    pub fn powerless_user(&self) -> (String, String) {
        let made = ["Action=CreateUser", "Action=CreateAccessKey"].map(|action| {
            let body = format!("{action}&UserName=nobody&Version=2010-05-08");
            self.moto.request(
                "/",
                &[("Content-Type", "application/x-www-form-urlencoded")],
                "iam",
                &body,
            )
        });
        let between = |tag: &str| {
            let text = made[1]
                .split_once(&format!("<{tag}>"))
                .and_then(|(_, rest)| rest.split_once('<'));
            text.unwrap_or_else(|| panic!("no {tag} in {}", made[1])).0.to_owned()
        };
        self.moto.request("/moto-api/reset-auth", &[], "iam", "0");
        (between("AccessKeyId"), between("SecretAccessKey"))
    }

    fn call(&self, action: &str, body: &Value) -> Value {
        let target = format!("secretsmanager.{action}");
        let headers = [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("X-Amz-Target", target.as_str()),
        ];
        let answer = self.moto.request("/", &headers, "secretsmanager", &body.to_string());
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{action}: {error}\n{answer}"))
    }
}
