//! What lies beside a key that is not there: most often the stage, the application or the file's name is another.

use aws_sdk_s3::Client;

use super::failure::{self, Failure};

/// How many keys are named.
const SHOWN: usize = 5;
/// How many folders are looked into: the key's own, and those above it.
const FOLDERS: usize = 3;

/// Keys in the folder in which `key` would lie, or in the nearest one above it that is not empty; none where the bucket may not be listed.
pub(super) async fn keys(client: &Client, bucket: &str, key: &str) -> Vec<String> {
    for folder in folders(key) {
        let request = client.list_objects_v2().bucket(bucket).prefix(folder);
        match request.max_keys(SHOWN as i32).send().await {
            Ok(listed) => {
                let keys = listed
                    .contents
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|object| object.key);
                let keys: Vec<String> = keys.take(SHOWN).collect();
                if !keys.is_empty() {
                    return keys;
                }
            }
            Err(error) => {
                let reason = match Failure::of(&error) {
                    Failure::Answer { code, .. } => code,
                    _ => failure::innermost(&error),
                };
                tracing::debug!(reason, "the bucket could not be listed");
                break;
            }
        }
    }
    Vec::new()
}

fn folders(key: &str) -> impl Iterator<Item = &str> {
    let slashes = key.rmatch_indices('/').map(|(slash, _)| &key[..=slash]);
    slashes.chain([""]).take(FOLDERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_looked_into_from_within() {
        let table = [
            ("shop/PROD/db/prisma.zip", vec!["shop/PROD/db/", "shop/PROD/", "shop/"]),
            ("db/prisma.zip", vec!["db/", ""]),
            ("prisma.zip", vec![""]),
        ];
        for (key, expected) in table {
            assert_eq!(folders(key).collect::<Vec<_>>(), expected, "{key}");
        }
    }
}
