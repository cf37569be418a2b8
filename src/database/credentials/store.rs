//! Secrets Manager: a secret is fetched in this process, and again when the server refuses what it held, since secrets rotate while a run lasts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{ProvideCredentials, Region};

use super::error::{AnswerError, CredentialsError};
use super::secret::{Content, ContentError, SecretId};
use super::{Credentials, Place};
use crate::artifact::s3::Attempts;
use crate::artifact::s3::failure::{Failure, innermost};
use crate::aws;
use crate::database::error::ConnectError;
use crate::database::target::{DEFAULT_DATABASE, Parts, Target};
use crate::secret::Secret;

/// How long one attempt to fetch the secret may take to connect, and until the answer begins. The SDK makes three.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A secret, and what it held when it was last fetched. Clones share that.
#[derive(Clone, Debug)]
pub struct StoredSecret(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: SecretId,
    login: Mutex<Login>,
}

/// The user and the password of one version of a secret. Rotation may change the user too (the "alternating users" strategy).
#[derive(Clone, Debug)]
pub(super) struct Login {
    user: String,
    password: Secret,
    version: String,
}

impl Login {
    fn of(content: Content, version: String) -> Login {
        Login {
            user: content.username,
            password: content.password,
            version,
        }
    }

    pub(super) fn put_into(self, target: &mut Target) {
        target.user = self.user;
        target.password = Some(self.password);
    }
}

/// Fetches the secret, and makes the target of it: each variable that is set wins over what the secret says.
pub(super) async fn open(id: SecretId, place: Place) -> Result<Target, CredentialsError> {
    let (content, version) = fetch(&id).await?;
    for (variable, given, held) in [
        ("DB_HOST", place.host.clone(), content.host.clone()),
        ("DB_PORT", text(place.port), text(content.port)),
        ("DB_NAME", place.database.clone(), content.dbname.clone()),
    ] {
        match (given, held) {
            (Some(given), Some(held)) if given != held => {
                tracing::info!("{variable} ({given}) is used in place of the secret's ({held})");
            }
            _ => {}
        }
    }
    if place.database.is_none() && content.dbname.is_none() {
        tracing::warn!(
            "the database is {DEFAULT_DATABASE}, because neither DB_NAME nor the secret {id} says which one"
        );
    }
    let login = Mutex::new(Login::of(content.clone(), version));
    let host = place.host.or(content.host);
    let parts = Parts {
        host: host.ok_or_else(|| CredentialsError::NoHost { id: id.clone() })?,
        port: place.port.or(content.port),
        database: place.database.or(content.dbname),
        user: content.username,
        password: Some(content.password),
        schema: place.schema,
        roots: place.roots,
    };
    let mut target = Target::from_parts(parts).map_err(|cause| CredentialsError::Parts { id: id.clone(), cause })?;
    tracing::info!("the database is {}, the user {}", target.describe(), target.user);
    target.credentials = Credentials::Secret(StoredSecret(Arc::new(Shared { id, login })));
    Ok(target)
}

impl StoredSecret {
    /// What the secret held when it was last fetched.
    pub(super) fn login(&self) -> Login {
        self.0.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the secret again after the server refused what it held: the target with the new user and password, or the refusal if they are the same.
    pub(super) async fn renewed(&self, mut refused: Target, refusal: ConnectError) -> Result<Target, ConnectError> {
        let id = &self.0.id;
        tracing::info!("{refusal}: the secret {id} is fetched again, since it may have been rotated");
        let explained = |note: String, next: String| ConnectError::CredentialsRefused {
            refusal: Box::new(refusal),
            note,
            next,
        };
        let login = match fetch(id).await {
            Ok((content, version)) => Login::of(content, version),
            Err(error) => return Err(explained(error.to_string(), error.next_step())),
        };
        let is_same = refused.user == login.user && refused.password.as_ref() == Some(&login.password);
        if is_same {
            return Err(explained(
                format!(
                    "the secret {id} was fetched again, and its user and password have not changed (version {})",
                    login.version
                ),
                "give the user the password that the secret holds, or rotate the secret, and check that the secret is this database's; if a \
                 rotation is under way, start again when it is over"
                    .to_owned(),
            ));
        }
        tracing::info!(
            "the secret {id} has changed (version {}): connecting as {}",
            login.version,
            login.user
        );
        *self.0.login.lock().unwrap_or_else(PoisonError::into_inner) = login.clone();
        login.put_into(&mut refused);
        Ok(refused)
    }
}

/// The current version of the secret, and that version's id.
async fn fetch(id: &SecretId) -> Result<(Content, String), CredentialsError> {
    let sdk = aws::config().await;
    // A secret's ARN names the region that it is in, and another region's endpoint would know nothing of it.
    let region = id.region().map(|region| Region::new(region.to_owned()));
    let region = region
        .or_else(|| sdk.region().cloned())
        .ok_or(CredentialsError::NoRegion)?;
    let attempts = Attempts::default();
    let mut config = aws_sdk_secretsmanager::config::Builder::from(&sdk)
        .region(region.clone())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT)
                .build(),
        )
        .interceptor(attempts.clone());
    // Asked for here, so that their absence is told apart from a service that does not answer.
    if let Some(provider) = sdk.credentials_provider() {
        config = config.credentials_provider(provider.provide_credentials().await.map_err(|error| {
            CredentialsError::NoAwsCredentials {
                reason: innermost(&error),
            }
        })?);
    }
    let client = Client::from_conf(config.build());
    let answer = client.get_secret_value().secret_id(id.as_str()).send().await;
    let answer = answer.map_err(|error| CredentialsError::NotHad {
        id: id.clone(),
        error: AnswerError::of(Failure::of(&error), id, region.as_ref(), attempts.count()),
    })?;
    let version = answer.version_id().unwrap_or_default().to_owned();
    tracing::info!(
        attempts = attempts.count(),
        "fetched the secret {id}, version {version}"
    );
    let content = answer.secret_string().ok_or(ContentError::NotAnObject);
    let content = content
        .and_then(Content::parse)
        .map_err(|cause| CredentialsError::Content { id: id.clone(), cause })?;
    Ok((content, version))
}

fn text(port: Option<u16>) -> Option<String> {
    port.map(|port| port.to_string())
}
