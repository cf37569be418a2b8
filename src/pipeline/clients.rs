//! The AWS services that this side talks to.

use crate::artifact::s3::failure::innermost;
use crate::aws;
use crate::exit::Exit;
use crate::failure::Failure;
use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::config::ProvideCredentials;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// How long one attempt may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one attempt may take until the answer begins: a connection that died in silence is noticed by this.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A client for each service, of the same configuration.
#[derive(Clone, Debug)]
struct Set {
    sdk: SdkConfig,
    ecs: aws_sdk_ecs::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    cloudformation: aws_sdk_cloudformation::Client,
    tagging: aws_sdk_resourcegroupstagging::Client,
    ssm: aws_sdk_ssm::Client,
    rds: aws_sdk_rds::Client,
}

/// The AWS services, with the credentials, region and endpoints that the environment gives to any SDK program.
#[derive(Debug)]
pub struct Clients {
    set: RefCell<Set>,
    /// Whether it was said that there are no valid credentials: whatever is asked at the same time meets the same.
    refused: Cell<bool>,
}

impl Clients {
    /// Reads the environment.
    ///
    /// # Errors
    /// There is no region.
    pub async fn of_environment() -> Result<Clients, Failure> {
        let set = Set::load().await;
        if set.sdk.region().is_none() {
            return Err(Failure::new(
                Exit::Usage,
                "no AWS region is configured",
                "set AWS_REGION, or a region in the profile of AWS_PROFILE",
            ));
        }
        Ok(Clients {
            set: RefCell::new(set),
            refused: Cell::new(false),
        })
    }

    /// Reads the environment's files anew: credentials that were renewed there are used from now on.
    pub async fn renew(&self) {
        aws::forget().await;
        let set = Set::load().await;
        self.set.replace(set);
    }

    /// Notes whether the credentials are refused; whether that is news.
    pub(super) fn credentials_refused(&self, refused: bool) -> bool {
        self.refused.replace(refused) != refused
    }

    /// Why there are no credentials; none where there are.
    pub async fn missing_credentials(&self) -> Option<String> {
        let provider = self.set.borrow().sdk.credentials_provider();
        match provider {
            None => Some("nothing provides them".to_owned()),
            Some(provider) => provider
                .provide_credentials()
                .await
                .err()
                .map(|error| innermost(&error)),
        }
    }

    /// The region's name.
    pub fn region(&self) -> String {
        let set = self.set.borrow();
        set.sdk.region().map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn ecs(&self) -> aws_sdk_ecs::Client {
        self.set.borrow().ecs.clone()
    }

    pub(super) fn logs(&self) -> aws_sdk_cloudwatchlogs::Client {
        self.set.borrow().logs.clone()
    }

    pub(super) fn cloudformation(&self) -> aws_sdk_cloudformation::Client {
        self.set.borrow().cloudformation.clone()
    }

    pub(super) fn tagging(&self) -> aws_sdk_resourcegroupstagging::Client {
        self.set.borrow().tagging.clone()
    }

    pub(super) fn ssm(&self) -> aws_sdk_ssm::Client {
        self.set.borrow().ssm.clone()
    }

    pub(super) fn rds(&self) -> aws_sdk_rds::Client {
        self.set.borrow().rds.clone()
    }
}

impl Set {
    async fn load() -> Set {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        let sdk = aws::config().await.into_builder().timeout_config(timeouts).build();
        Set {
            ecs: aws_sdk_ecs::Client::new(&sdk),
            logs: aws_sdk_cloudwatchlogs::Client::new(&sdk),
            cloudformation: aws_sdk_cloudformation::Client::new(&sdk),
            tagging: aws_sdk_resourcegroupstagging::Client::new(&sdk),
            ssm: aws_sdk_ssm::Client::new(&sdk),
            rds: aws_sdk_rds::Client::new(&sdk),
            sdk,
        }
    }
}
