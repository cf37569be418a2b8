//! A snapshot of the RDS instance or cluster, before anything is written.

use super::clients::Clients;
use super::patience::{Patience, Refused, Request, insist};
use super::place::Place;
use crate::cli::{PlaceArgs, RunArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::live;
use crate::outcome::Outcome;
use aws_sdk_rds::types::Tag;
use std::fmt;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// How long a snapshot may not be begun, since RDS does something else with the database, such as its nightly backup.
const PATIENCE: Patience = Patience::For(Duration::from_secs(30 * 60));

/// The pauses between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How often it is said how far it is.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What is taken a snapshot of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An instance.
    Instance(String),
    /// An Aurora or Multi-AZ cluster.
    Cluster(String),
}

impl Target {
    /// The flag's, or the stack's.
    ///
    /// # Errors
    /// Nothing names it.
    pub fn of(args: &RunArgs, place: &Place) -> Result<Target, Failure> {
        let flags = (&args.snapshot.db_instance, &args.snapshot.db_cluster);
        let target = match (flags, &place.db_instance, &place.db_cluster) {
            ((Some(name), _), _, _) => Some(Target::Instance(name.clone())),
            ((None, Some(name)), _, _) => Some(Target::Cluster(name.clone())),
            // An instance of a cluster has no snapshots of its own.
            (_, _, Some(name)) => Some(Target::Cluster(name.clone())),
            (_, Some(name), None) => Some(Target::Instance(name.clone())),
            (_, None, None) => None,
        };
        target.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "nothing names the database for --snapshot-before",
                "give --db-instance or --db-cluster",
            )
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Instance(name) => write!(f, "the RDS instance {name}"),
            Target::Cluster(name) => write!(f, "the RDS cluster {name}"),
        }
    }
}

/// Takes it, and waits until it is available; its name. `plan` says what is pending.
///
/// # Errors
/// There is none; nothing has been written to the database.
pub async fn take(clients: &Clients, target: &Target, plan: &Outcome, args: &PlaceArgs) -> Result<String, Failure> {
    let migration = plan.pending.first().map_or("deploy", String::as_str);
    let name = name(migration, SystemTime::now());
    tracing::info!("taking the snapshot {name} of {target} before {migration}");
    let begun = match target {
        Target::Instance(id) => begin_instance(clients, id, &name, tags(plan, migration, args)).await,
        Target::Cluster(id) => begin_cluster(clients, id, &name, tags(plan, migration, args)).await,
    };
    begun.map_err(|refused| no_snapshot(&name, refused))?;
    let began = Instant::now();
    let mut said = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let look = match target {
            Target::Instance(_) => look_instance(clients, &name).await,
            Target::Cluster(_) => look_cluster(clients, &name).await,
        };
        let (status, percent) = look.map_err(|refused| no_snapshot(&name, refused))?;
        let text = format!("snapshot {name}: {status}, {percent} %");
        match status.as_str() {
            "available" => {
                live::clear();
                return Ok(name);
            }
            "creating" | "copying" | "" => {}
            _ => return Err(failed(&name, &status)),
        }
        if live::is_shown() {
            live::show(text, percent, 100);
        } else if said.elapsed() >= SAY_EVERY {
            tracing::info!("{text} after {} s", began.elapsed().as_secs());
            said = Instant::now();
        }
        sleep(pause).await;
        pause = pause.mul_f64(1.25).min(LONGEST_PAUSE);
    }
}

async fn begin_instance(clients: &Clients, id: &str, name: &str, tags: Vec<Tag>) -> Result<(), Refused> {
    let request = Request {
        action: "rds:CreateDBSnapshot",
        on: id,
    };
    let begun = insist(clients, request, PATIENCE, async || {
        let request = clients.rds().create_db_snapshot().db_instance_identifier(id);
        let request = request.db_snapshot_identifier(name).set_tags(Some(tags.clone()));
        request.send().await
    });
    begun_once(begun.await)
}

async fn begin_cluster(clients: &Clients, id: &str, name: &str, tags: Vec<Tag>) -> Result<(), Refused> {
    let request = Request {
        action: "rds:CreateDBClusterSnapshot",
        on: id,
    };
    let begun = insist(clients, request, PATIENCE, async || {
        let request = clients.rds().create_db_cluster_snapshot().db_cluster_identifier(id);
        let request = request
            .db_cluster_snapshot_identifier(name)
            .set_tags(Some(tags.clone()));
        request.send().await
    });
    begun_once(begun.await)
}

/// The name is this run's own: one that exists was begun by an attempt whose answer was lost.
fn begun_once<T>(begun: Result<T, Refused>) -> Result<(), Refused> {
    match begun {
        Ok(_) => Ok(()),
        Err(refused) if refused.code().contains("SnapshotAlreadyExists") => Ok(()),
        Err(refused) => Err(refused),
    }
}

async fn look_instance(clients: &Clients, name: &str) -> Result<(String, u64), Refused> {
    let request = Request {
        action: "rds:DescribeDBSnapshots",
        on: name,
    };
    let seen = insist(clients, request, Patience::Endless, async || {
        clients
            .rds()
            .describe_db_snapshots()
            .db_snapshot_identifier(name)
            .send()
            .await
    });
    let seen = seen.await?;
    let snapshot = seen.db_snapshots().first();
    Ok(snapshot.map_or_else(Default::default, |snapshot| {
        (
            snapshot.status().unwrap_or_default().to_owned(),
            percent(snapshot.percent_progress()),
        )
    }))
}

async fn look_cluster(clients: &Clients, name: &str) -> Result<(String, u64), Refused> {
    let request = Request {
        action: "rds:DescribeDBClusterSnapshots",
        on: name,
    };
    let seen = insist(clients, request, Patience::Endless, async || {
        let request = clients.rds().describe_db_cluster_snapshots();
        request.db_cluster_snapshot_identifier(name).send().await
    });
    let seen = seen.await?;
    let snapshot = seen.db_cluster_snapshots().first();
    Ok(snapshot.map_or_else(Default::default, |snapshot| {
        (
            snapshot.status().unwrap_or_default().to_owned(),
            percent(snapshot.percent_progress()),
        )
    }))
}

fn percent(progress: Option<i32>) -> u64 {
    progress.and_then(|percent| u64::try_from(percent).ok()).unwrap_or(0)
}

/// A letter first, then letters, digits and single hyphens, none at the end; 63 characters, which a cluster's snapshot may have (API reference,
/// "CreateDBClusterSnapshot").
fn name(migration: &str, now: SystemTime) -> String {
    let time: String = humantime::format_rfc3339_seconds(now)
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let words: String = migration
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let words = format!("before-{}", words.join("-"));
    let words: String = words.chars().take(62 - time.len()).collect();
    format!("{}-{time}", words.trim_end_matches('-'))
}

fn tags(plan: &Outcome, migration: &str, args: &PlaceArgs) -> Vec<Tag> {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let mut tags = vec![
        tag("prisma-migrate-task:before", &permitted(migration)),
        tag("prisma-migrate-task:run", &plan.run_id),
    ];
    tags.extend(args.tags().iter().map(|(key, value)| tag(key, value)));
    tags
}

/// The characters that the value of a tag may have, and as many.
fn permitted(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_alphanumeric() || "_.:/=+-@ ".contains(letter) {
                letter
            } else {
                '_'
            }
        })
        .take(256)
        .collect()
}

fn no_snapshot(name: &str, refused: Refused) -> Failure {
    let failure = refused.before_start();
    Failure {
        what: format!(
            "there is no snapshot {name}, and so nothing was deployed: {}",
            failure.what
        ),
        ..failure
    }
}

fn failed(name: &str, status: &str) -> Failure {
    Failure::new(
        Exit::NeverStarted,
        format!("the snapshot {name} is {status}, and so nothing was deployed"),
        "see the events of the database in RDS, and start again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_rds_takes() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_269_600);
        assert_eq!(
            name("20260101000000_add__orders", now),
            "before-20260101000000-add-orders-20261121140000"
        );
        for migration in [
            "Ünï",
            "_",
            "a_very_long_name_of_a_migration_that_goes_on_and_on_and_on_and_on",
        ] {
            let name = name(migration, now);
            assert!(name.len() <= 63 && !name.contains("--"), "{name}");
        }
    }
}
