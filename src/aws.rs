//! What S3, Secrets Manager and IAM tokens have in common: the SDK's configuration.

use aws_config::{BehaviorVersion, SdkConfig};
use tokio::sync::OnceCell;

/// The configuration that the environment gives to any SDK program, loaded on first use: variables, profiles, the task's role and region. The
/// credentials in it are a provider, which is asked again and again, since those of a task's role expire.
pub async fn config() -> &'static SdkConfig {
    static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
    CONFIG
        .get_or_init(|| aws_config::load_defaults(BehaviorVersion::latest()))
        .await
}

/// The partition of a region, as ARNs begin with it.
pub fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}
