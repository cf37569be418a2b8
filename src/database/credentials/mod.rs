//! Who the program is to the database: a user and a password that were given, a secret in Secrets Manager, or IAM tokens.
//!
//! A [`Target`] carries its [`Credentials`]; [`super::connect`] asks them before each attempt, so that whatever connects, hours later too, does so
//! with what is valid then.

mod error;
pub mod iam;
pub mod secret;
mod store;

use std::fmt;

use super::error::ConnectError;
use super::target::Target;
use super::tls::{Roots, TlsMode};
pub use error::CredentialsError;
use secret::SecretId;
pub use store::StoredSecret;

/// Where the user and the password of an attempt come from.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// They are the target's own and stay as they are.
    #[default]
    Given,
    /// Those of a secret, fetched again when the server refuses them.
    Secret(StoredSecret),
    /// The user is the target's own; the password is an RDS IAM token, made for each attempt.
    Iam,
}

impl Credentials {
    /// The target with the user and the password of this moment.
    pub(super) async fn apply(&self, target: &Target) -> Result<Target, CredentialsError> {
        let mut target = target.clone();
        match self {
            Self::Given => {}
            Self::Secret(secret) => secret.login().put_into(&mut target),
            Self::Iam => target.password = Some(iam::token(&target).await?),
        }
        Ok(target)
    }

    /// What is left to try when the server has refused what [`Credentials::apply`] gave: other credentials, or the refusal with what explains it.
    pub(super) async fn after(&self, refused: Target, refusal: ConnectError) -> Result<Target, ConnectError> {
        match self {
            Self::Secret(secret) if matches!(refusal, ConnectError::Authentication { .. }) => {
                secret.renewed(refused, refusal).await
            }
            Self::Iam if is_login_refused(&refusal) => Err(iam::explain(&refused, refusal)),
            _ => Err(refusal),
        }
    }
}

/// A wrong password, or what PAM makes of one: RDS checks IAM tokens by PAM, and PostgreSQL calls that failure 28000.
fn is_login_refused(refusal: &ConnectError) -> bool {
    match refusal {
        ConnectError::Authentication { .. } => true,
        ConnectError::Denied { message, .. } => message.text.contains("authentication failed"),
        _ => false,
    }
}

/// Where the database is, as far as the `DB_*` variables say, and how it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `DB_HOST`.
    pub host: Option<String>,
    /// `DB_PORT`.
    pub port: Option<u16>,
    /// `DB_NAME`.
    pub database: Option<String>,
    /// `DB_SCHEMA`.
    pub schema: Option<String>,
    /// `DB_CA_FILE` or `DB_CA`.
    pub roots: Option<Roots>,
}

/// The one way by which the database and the credentials for it were given.
#[derive(Clone, Debug)]
pub enum Way {
    /// `DATABASE_URL`.
    Url(Target),
    /// The `DB_*` variables, with a password or without.
    Parts(Target),
    /// `DB_SECRET_ARN`; what is given of the place wins over what the secret holds.
    Secret(SecretId, Place),
    /// `DB_IAM_AUTH`.
    Iam(Target),
}

impl Way {
    /// IAM tokens for this target.
    ///
    /// # Errors
    /// The connection would not be encrypted: whoever reads the token can log in with it for a quarter of an hour.
    pub fn iam(mut target: Target) -> Result<Way, CredentialsError> {
        if !target.can_have_tls() {
            return Err(CredentialsError::IamOverSocket);
        }
        target.tls.mode = match (target.tls.mode, target.tls.explicit) {
            (TlsMode::Prefer, false) => TlsMode::Require,
            (mode @ (TlsMode::Disable | TlsMode::Prefer), _) => return Err(CredentialsError::IamWithoutTls { mode }),
            (mode, _) => mode,
        };
        target.credentials = Credentials::Iam;
        Ok(Way::Iam(target))
    }

    /// `host:port/database`, as far as it is known before anything was fetched.
    pub fn describe(&self) -> String {
        match self {
            Way::Url(target) | Way::Parts(target) | Way::Iam(target) => target.describe(),
            Way::Secret(id, place) => match &place.host {
                Some(host) => host.clone(),
                None => format!("the database of the secret {id}"),
            },
        }
    }

    /// The target; a secret is fetched for it, and the authorities that verify the server, if they are in S3.
    ///
    /// # Errors
    /// The secret or the authorities cannot be had or used.
    pub async fn target(self) -> Result<Target, CredentialsError> {
        let mut target = match self {
            Way::Url(target) | Way::Parts(target) | Way::Iam(target) => target,
            Way::Secret(id, place) => store::open(id, place).await?,
        };
        let loaded = target.tls.load().await;
        loaded.map_err(|(address, error)| CredentialsError::Authorities { address, error })?;
        Ok(target)
    }
}

/// Says which way it is.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Url(_) => f.write_str("those of DATABASE_URL"),
            Way::Parts(target) if target.password.is_none() => f.write_str("DB_USERNAME, and no password"),
            Way::Parts(_) => f.write_str("DB_USERNAME and DB_PASSWORD"),
            Way::Secret(id, _) => write!(f, "the secret {id} (DB_SECRET_ARN)"),
            Way::Iam(_) => f.write_str("DB_USERNAME and an RDS IAM token for each connection attempt (DB_IAM_AUTH)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::target::Parts;
    use crate::database::tls::TlsSettings;

    fn target(host: &str, mode: TlsMode, explicit: bool) -> Target {
        let mut target = Target::from_parts(Parts {
            host: host.into(),
            port: None,
            database: None,
            user: "app".into(),
            password: None,
            schema: None,
            roots: None,
        })
        .unwrap();
        target.tls = TlsSettings {
            mode,
            explicit,
            ..TlsSettings::default()
        };
        target
    }

    #[test]
    fn iam_goes_over_tls_or_not_at_all() {
        use TlsMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
        for (mode, explicit, expected) in [
            (Prefer, false, Some(Require)),
            (Require, true, Some(Require)),
            (VerifyCa, true, Some(VerifyCa)),
            (VerifyFull, false, Some(VerifyFull)),
            (VerifyFull, true, Some(VerifyFull)),
            (Prefer, true, None),
            (Disable, true, None),
            (Disable, false, None),
        ] {
            let way = Way::iam(target("db.example.com", mode, explicit));
            let became = way.ok().map(|way| match way {
                Way::Iam(target) => target.tls.mode,
                other => panic!("{other}"),
            });
            assert_eq!(became, expected, "{mode} {explicit}");
        }
        assert!(Way::iam(target("/run/postgresql", VerifyFull, true)).is_err());
    }
}
