//! Why there are no credentials for the database: pure, from what AWS says to what is wrong and what to do.

use super::secret::{ContentError, SecretId};
use crate::artifact::Source;
use crate::artifact::s3::Address;
use crate::artifact::s3::failure::{Failure, S3Error};
use crate::database::tls::TlsMode;
use crate::database::url::UrlError;
use crate::exit::Exit;

/// Why there are no credentials for the database. Names only: no variant holds a part of a secret or of a token.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Secrets Manager did not hand the secret out.
    #[error("the secret {id} could not be fetched: {error}")]
    NotHad {
        /// Which.
        id: SecretId,
        /// Why.
        error: AnswerError,
    },
    /// It is not a database's.
    #[error("the secret {id} cannot be used: {cause}")]
    Content {
        /// Which.
        id: SecretId,
        /// Why.
        cause: ContentError,
    },
    /// A secret that RDS manages itself, and no `DB_HOST`.
    #[error("the secret {id} does not say where the database is, and DB_HOST is not set")]
    NoHost {
        /// Which.
        id: SecretId,
    },
    /// What the secret and the variables say together is no address.
    #[error("the secret {id} and the DB_* variables cannot be used: {cause}")]
    Parts {
        /// Which.
        id: SecretId,
        /// Why.
        cause: UrlError,
    },
    /// No region is known.
    #[error("no AWS region is configured")]
    NoRegion,
    /// No provider of the SDK's chain gave credentials.
    #[error("no AWS credentials were found: {reason}")]
    NoAwsCredentials {
        /// The provider's own words.
        reason: String,
    },
    /// The authorities that verify the server are in S3, and cannot be had.
    #[error("the certificate authorities {} of DB_CA_FILE could not be read: {error}", Source::S3(address.clone()))]
    Authorities {
        /// Where they are.
        address: Address,
        /// Why.
        error: S3Error,
    },
    /// An IAM token would travel unencrypted.
    #[error(
        "DB_IAM_AUTH is set, and the connection may go without TLS (sslmode={mode}): the token is a password that anybody on the way could read"
    )]
    IamWithoutTls {
        /// What was asked for.
        mode: TlsMode,
    },
    /// PostgreSQL has no TLS on a Unix-domain socket.
    #[error("DB_IAM_AUTH is set, and DB_HOST is a Unix-domain socket: RDS takes IAM tokens over TLS only")]
    IamOverSocket,
    /// The token could not be signed.
    #[error("the IAM token could not be made: {0}")]
    Sign(String),
}

/// What Secrets Manager answered, or that it did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The role may not read it.
    #[error("AWS denied access (secretsmanager:GetSecretValue on {resource}): {message}")]
    Denied {
        /// What the policy has to name.
        resource: String,
        /// AWS' own words.
        message: String,
    },
    /// The key that it is encrypted with may not be used, or is disabled.
    #[error("AWS could not decrypt it: {message}")]
    Kms {
        /// AWS' own words.
        message: String,
    },
    /// No such secret, or no current version of it.
    #[error("Secrets Manager in {region} does not know it: {message}")]
    Missing {
        /// The region that was asked.
        region: String,
        /// AWS' own words.
        message: String,
    },
    /// Marked for deletion, mostly.
    #[error("Secrets Manager does not hand it out: {message}")]
    Unavailable {
        /// AWS' own words.
        message: String,
    },
    /// The credentials of the run itself are invalid or expired.
    #[error("AWS refused the credentials of this run: {code}: {message}")]
    CredentialsRefused {
        /// AWS' code.
        code: String,
        /// AWS' own words.
        message: String,
    },
    /// No connection.
    #[error("Secrets Manager in {region} could not be reached (attempts: {attempts}): {reason}")]
    Unreachable {
        /// The region that was asked.
        region: String,
        /// How often the SDK tried.
        attempts: u32,
        /// The transport's own words.
        reason: String,
    },
    /// Anything else.
    #[error("Secrets Manager answered {status} {code} (attempts: {attempts}): {message}")]
    Other {
        /// The HTTP status.
        status: u16,
        /// AWS' code.
        code: String,
        /// AWS' own words.
        message: String,
        /// How often the SDK tried.
        attempts: u32,
    },
    /// An answer without an error of AWS' in it.
    #[error("the endpoint answered {status} without an error of AWS': a proxy, or not Secrets Manager at all")]
    Stranger {
        /// The HTTP status.
        status: u16,
    },
    /// The request could not be made.
    #[error("the request could not be made: {0}")]
    Request(String),
}

impl AnswerError {
    /// What an answer means for the secret that was asked for.
    pub(super) fn of(failure: Failure, id: &SecretId, region: &str, attempts: u32) -> AnswerError {
        let region = region.to_owned();
        let (status, code, message) = match failure {
            Failure::Timeout => {
                let reason = "no answer in time".into();
                return AnswerError::Unreachable {
                    region,
                    attempts,
                    reason,
                };
            }
            Failure::Unreachable(reason) => {
                return AnswerError::Unreachable {
                    region,
                    attempts,
                    reason,
                };
            }
            Failure::Request(reason) => return AnswerError::Request(reason),
            Failure::Answer {
                status, code, message, ..
            } => (status, code, message),
        };
        match code.as_str() {
            "AccessDeniedException" if message.contains("KMS") || message.contains("kms:") => {
                AnswerError::Kms { message }
            }
            "DecryptionFailure" | "DecryptionFailureException" => AnswerError::Kms { message },
            "AccessDeniedException" | "AccessDenied" => AnswerError::Denied {
                resource: id.resource(&region),
                message,
            },
            "ResourceNotFoundException" => AnswerError::Missing { region, message },
            "InvalidRequestException" => AnswerError::Unavailable { message },
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignatureException" => AnswerError::CredentialsRefused { code, message },
            "" => AnswerError::Stranger { status },
            _ => AnswerError::Other {
                status,
                code,
                message,
                attempts,
            },
        }
    }
}

impl CredentialsError {
    /// The exit code: what was configured cannot be used, or what is there cannot be had now.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotHad {
                error: AnswerError::Missing { .. },
                ..
            }
            | Self::Content { .. }
            | Self::NoHost { .. }
            | Self::Parts { .. }
            | Self::NoRegion
            | Self::IamWithoutTls { .. }
            | Self::Authorities { .. }
            | Self::IamOverSocket => Exit::Usage,
            Self::NotHad { .. } | Self::NoAwsCredentials { .. } | Self::Sign(_) => Exit::Database,
        }
    }

    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::NotHad { error, .. } => return error.next_step(),
            Self::Authorities { error, .. } => return error.next_step(),
            Self::Content {
                cause: ContentError::Engine { .. },
                ..
            } => "name the secret of the PostgreSQL database in DB_SECRET_ARN",
            Self::Content { .. } => {
                "let the secret hold what RDS puts there: a JSON object with username and password, and perhaps host, port, dbname and engine"
            }
            Self::NoHost { .. } => "set DB_HOST (and DB_PORT, DB_NAME): a secret that RDS manages itself holds user and password only",
            Self::Parts { .. } => "check host, port and names in the secret and in the variables",
            Self::NoRegion => "set AWS_REGION, or give the secret's whole ARN in DB_SECRET_ARN (ECS sets the region by itself on Fargate)",
            Self::NoAwsCredentials { .. } => {
                "give the ECS task definition a task role (taskRoleArn), or configure credentials as for any AWS program"
            }
            Self::IamWithoutTls { .. } => "ask for TLS, best with the server verified in full",
            Self::IamOverSocket => "set DB_HOST to the RDS endpoint, or DB_PASSWORD in place of DB_IAM_AUTH",
            Self::Sign(_) => "check DB_HOST, DB_USERNAME and the AWS credentials",
        }
        .to_owned()
    }
}

impl AnswerError {
    fn next_step(&self) -> String {
        match self {
            Self::Denied { resource, .. } => format!(
                "give the task role (not the execution role) secretsmanager:GetSecretValue on {resource}, and kms:Decrypt on the secret's key where that is \
                 not aws/secretsmanager"
            ),
            Self::Kms { .. } => "give the task role kms:Decrypt on the key that the secret is encrypted with, and see that the key is enabled".into(),
            Self::Missing { .. } => "check DB_SECRET_ARN, the account and the region".into(),
            Self::Unavailable { .. } => "restore the secret if it is to be deleted, or name another one in DB_SECRET_ARN".into(),
            Self::CredentialsRefused { .. } => "renew the AWS credentials, or check the task role and the clock of this machine".into(),
            Self::Unreachable { region, .. } => format!(
                "see that the subnet has a route to Secrets Manager (the interface endpoint com.amazonaws.{region}.secretsmanager, or NAT), that the security \
                 groups let port 443 through, and that AWS_ENDPOINT_URL is right if it is set"
            ),
            Self::Stranger { .. } => "check AWS_ENDPOINT_URL and the proxy variables (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)".into(),
            Self::Other { status, .. } if *status >= 500 => "start again later".into(),
            Self::Other { .. } | Self::Request(_) => "check DB_SECRET_ARN and the AWS configuration".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf";

    #[test]
    fn every_answer_is_said_in_words() {
        let answer = |status: u16, code: &str, message: &str| Failure::Answer {
            status,
            code: code.into(),
            message: message.into(),
            bucket_region: None,
        };
        let not_authorized =
            "User: arn:aws:sts::1:assumed-role/task/1 is not authorized to perform: secretsmanager:GetSecretValue";
        for (failure, exit, what, next) in [
            (
                answer(400, "AccessDeniedException", not_authorized),
                Exit::Database,
                "User: arn:aws:sts::1:assumed-role/task/1",
                "secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf, and kms:Decrypt",
            ),
            (
                answer(400, "AccessDeniedException", "Access to KMS is not allowed"),
                Exit::Database,
                "could not decrypt",
                "kms:Decrypt",
            ),
            (
                answer(400, "DecryptionFailure", "Secrets Manager can't decrypt"),
                Exit::Database,
                "could not decrypt",
                "is enabled",
            ),
            (
                answer(400, "ResourceNotFoundException", "can't find the specified secret"),
                Exit::Usage,
                "Secrets Manager in eu-west-1 does not know it",
                "check DB_SECRET_ARN",
            ),
            (
                answer(400, "InvalidRequestException", "it was marked for deletion"),
                Exit::Database,
                "marked for deletion",
                "restore the secret",
            ),
            (
                answer(400, "ExpiredTokenException", "expired"),
                Exit::Database,
                "refused the credentials of this run",
                "renew",
            ),
            (
                answer(500, "InternalServiceError", "oops"),
                Exit::Database,
                "answered 500 InternalServiceError (attempts: 3): oops",
                "start again later",
            ),
            (
                answer(400, "InvalidParameterException", "what?"),
                Exit::Database,
                "answered 400 InvalidParameterException",
                "check",
            ),
            (
                answer(403, "", ""),
                Exit::Database,
                "answered 403 without an error of AWS'",
                "HTTPS_PROXY",
            ),
            (
                Failure::Timeout,
                Exit::Database,
                "could not be reached (attempts: 3): no answer in time",
                "com.amazonaws.eu-west-1.secretsmanager",
            ),
            (
                Failure::Unreachable("connection refused".into()),
                Exit::Database,
                "connection refused",
                "port 443",
            ),
        ] {
            let id = SecretId::parse(ARN).unwrap();
            let error = AnswerError::of(failure.clone(), &id, "eu-west-1", 3);
            let error = CredentialsError::NotHad { id, error };
            assert!(error.to_string().contains(what), "{failure:?}: {error}");
            assert!(error.next_step().contains(next), "{failure:?}: {}", error.next_step());
            assert_eq!(error.exit(), exit, "{failure:?}");
        }
    }
}
