//! What S3, Secrets Manager and IAM tokens have in common: the SDK's configuration.

use aws_config::{BehaviorVersion, SdkConfig};
use tokio::sync::Mutex;

static CONFIG: Mutex<Option<SdkConfig>> = Mutex::const_new(None);

/// The configuration that the environment gives to any SDK program, loaded on first use: variables, profiles, the task's role and region. The
/// credentials in it are a provider, which is asked again and again, since those of a task's role expire.
pub async fn config() -> SdkConfig {
    let mut config = CONFIG.lock().await;
    if let Some(config) = &*config {
        return config.clone();
    }
    let loaded = aws_config::load_defaults(BehaviorVersion::latest()).await;
    config.insert(loaded).clone()
}

/// Forgets it, so that the next to ask reads the environment's files again: a profile's credentials are read once, and a person who has renewed them
/// has written others there.
#[cfg(feature = "client")]
pub async fn forget() {
    *CONFIG.lock().await = None;
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
