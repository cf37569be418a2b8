//! RDS IAM tokens: a request to `rds-db`, signed and never sent, is the password. It is good for a quarter of an hour, for the connection to begin.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::{Credentials, ProvideCredentials};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::CredentialsError;
use crate::artifact::s3::failure::innermost;
use crate::aws;
use crate::database::error::ConnectError;
use crate::database::target::{Host, Target};
use crate::database::tls::rds::Endpoint;
use crate::printable::printable_name;
use crate::secret::Secret;
use crate::sql::quote;

/// As long as RDS allows.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What a signature leaves as it is (RFC 3986's unreserved characters).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A new token for the target's user, signed with the credentials that the run has now.
pub(super) async fn token(target: &Target) -> Result<Secret, CredentialsError> {
    let Host::Tcp(host) = &target.host else {
        return Err(CredentialsError::IamOverSocket);
    };
    let sdk = aws::config().await;
    // RDS checks a token in the region where the database is, wherever the run is.
    let region = match (Endpoint::of(host).and_then(|endpoint| endpoint.region), sdk.region()) {
        (Some(region), _) => region,
        (None, Some(region)) => region.to_string(),
        (None, None) => return Err(CredentialsError::NoRegion),
    };
    let missing = |reason| CredentialsError::NoAwsCredentials { reason };
    let provider = sdk
        .credentials_provider()
        .ok_or_else(|| missing("there is no provider".into()))?;
    // Asked anew for each token: one that is signed with expired credentials is refused without saying so.
    let credentials = provider.provide_credentials().await;
    let credentials = credentials.map_err(|error| missing(innermost(&error)))?;
    tracing::debug!("signing an IAM token for {} at {host} in {region}", target.user);
    signed(credentials, &region, host, target.port, &target.user, SystemTime::now())
}

/// The token as `aws rds generate-db-auth-token` makes it.
fn signed(
    credentials: Credentials,
    region: &str,
    host: &str,
    port: u16,
    user: &str,
    now: SystemTime,
) -> Result<Secret, CredentialsError> {
    let failed = |error: &dyn std::error::Error| CredentialsError::Sign(innermost(error));
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(LIFETIME);
    settings.signature_location = SignatureLocation::QueryParams;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let user = utf8_percent_encode(user, RESERVED);
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let request = format!("{host}:{port}/?Action=connect&DBUser={user}");
    let url = format!("https://{request}");
    let signable = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params).map_err(|error| failed(&error))?.into_parts();
    let (_, mut added) = instructions.into_parts();
    // The signature covers the others, whatever their order; the AWS CLI puts it last.
    added.sort_by_key(|(name, _)| *name == "X-Amz-Signature");
    let added = added
        .iter()
        .map(|(name, value)| format!("&{name}={}", utf8_percent_encode(value, RESERVED)));
    Ok(Secret::new(std::iter::once(request).chain(added).collect::<String>()))
}

/// A refused login, with what to look at where tokens are used: the server itself says only that PAM failed.
pub(super) fn explain(refused: &Target, refusal: ConnectError) -> ConnectError {
    let user = printable_name(&refused.user);
    let endpoint = match &refused.host {
        Host::Tcp(host) => Endpoint::of(host),
        Host::Socket(_) => None,
    };
    let note = match endpoint {
        Some(_) => "the password was an RDS IAM token",
        None => {
            "the password was an RDS IAM token, and a token is good for the RDS endpoint's own name only, which this host's does not look like"
        }
    };
    let region = endpoint.and_then(|endpoint| endpoint.region);
    let region = region.as_deref().unwrap_or("REGION");
    let partition = aws::partition(region);
    let next = format!(
        "check that the instance has IAM authentication turned on, that the user has been granted the role (GRANT rds_iam TO {}), that the task role has \
         rds-db:connect on arn:{partition}:rds-db:{region}:ACCOUNT:dbuser:RESOURCE_ID/{user} (RESOURCE_ID is the DbiResourceId or DbClusterResourceId, not \
         the name), and that DB_HOST is the endpoint itself and no CNAME",
        quote::identifier(&user)
    );
    ConnectError::CredentialsRefused {
        refusal: Box::new(refusal),
        note: note.to_owned(),
        next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-04 05:06:07 UTC.
    const NOW: Duration = Duration::from_secs(1_772_600_767);
    const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// The expected tokens are what `aws rds generate-db-auth-token` printed (AWS CLI 1.46.2, botocore 1.44.5) with these keys and its clock at NOW.
    #[test]
    fn tokens_are_those_of_the_aws_cli_byte_for_byte() {
        let tokens = [
            (
                None,
                (
                    "eu-west-1",
                    "newsroom.abcdefghijkl.eu-west-1.rds.amazonaws.com",
                    5432,
                    "migrator",
                ),
                "newsroom.abcdefghijkl.eu-west-1.rds.amazonaws.com:5432/?Action=connect&DBUser=migrator&X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIDEXAMPLE%2F20260304%2Feu-west-1%2Frds-db%2Faws4_request&X-Amz-Date=20260304T050607Z&X-Amz-Expires=900\
                 &X-Amz-SignedHeaders=host&X-Amz-Signature=3aaa6f973b12b75b9047a79aa4918f9a5fcd53cfae02e137e41eb96ffa72dac7",
            ),
            (
                None,
                (
                    "eu-west-1",
                    "newsroom.abcdefghijkl.eu-west-1.rds.amazonaws.com",
                    5433,
                    "a b+c@d/é~",
                ),
                "newsroom.abcdefghijkl.eu-west-1.rds.amazonaws.com:5433/?Action=connect&DBUser=a%20b%2Bc%40d%2F%C3%A9~\
                 &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20260304%2Feu-west-1%2Frds-db%2Faws4_request\
                 &X-Amz-Date=20260304T050607Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
                 &X-Amz-Signature=ef8f170efb6ab1dd7c6cc051f052397dcd6251d2bc45649a825ed4d3a7d80208",
            ),
            (
                Some("IQoJb3JpZ2luX2VjE/+=abc=="),
                (
                    "us-gov-west-1",
                    "db.cluster-abcdefghijkl.us-gov-west-1.rds.amazonaws.com",
                    5432,
                    "migrator",
                ),
                "db.cluster-abcdefghijkl.us-gov-west-1.rds.amazonaws.com:5432/?Action=connect&DBUser=migrator&X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIDEXAMPLE%2F20260304%2Fus-gov-west-1%2Frds-db%2Faws4_request&X-Amz-Date=20260304T050607Z&X-Amz-Expires=900\
                 &X-Amz-SignedHeaders=host&X-Amz-Security-Token=IQoJb3JpZ2luX2VjE%2F%2B%3Dabc%3D%3D\
                 &X-Amz-Signature=e838300c2b204bce7cff977841976f8434f47e35cc176b84df7eb42ac2aca722",
            ),
        ];
        for (session, (region, host, port, user), expected) in tokens {
            let credentials = Credentials::new("AKIDEXAMPLE", KEY, session.map(str::to_owned), None, "test");
            let token = signed(credentials, region, host, port, user, SystemTime::UNIX_EPOCH + NOW).unwrap();
            assert_eq!(token.expose(), expected);
        }
    }
}
