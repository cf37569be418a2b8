//! Which tasks and reports are an upload's: pure, from what ECS and S3 say of them.

use crate::artifact::Origin;
use crate::artifact::s3::Address;
use crate::exit::Exit;
use crate::outcome::Outcome;
use aws_sdk_ecs::types;
use std::fmt;

/// An upload, by what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// The object; its version or etag, where one was stored or named.
    pub object: Address,
    /// When it was stored, in seconds since 1970; none where that is not known.
    pub stored_at: Option<i64>,
}

impl fmt::Display for Uploaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::artifact::Source::S3(self.object.clone()).fmt(f)
    }
}

/// A task as it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Its ARN.
    pub arn: String,
    /// Whether it has come to its end.
    pub is_over: bool,
    /// The container's command, where the starter gave one.
    pub command: Vec<String>,
    /// `PRISMA_ARTIFACT_VERSION_ID`, where the starter told it.
    pub version_id: Option<String>,
    /// `PRISMA_ARTIFACT_ETAG`, where the starter told it.
    pub etag: Option<String>,
    /// In seconds since 1970.
    pub created_at: Option<i64>,
}

impl Started {
    /// Reads what ECS says; `container` is ours.
    pub fn of(task: &types::Task, container: &str) -> Started {
        let overrides = task
            .overrides()
            .map_or(&[][..], types::TaskOverride::container_overrides);
        let ours = overrides.iter().find(|of| of.name() == Some(container));
        let variable = |name: &str| {
            let pair = ours?.environment().iter().find(|pair| pair.name() == Some(name))?;
            pair.value().filter(|value| !value.is_empty()).map(str::to_owned)
        };
        Started {
            arn: task.task_arn().unwrap_or_default().to_owned(),
            is_over: task.last_status() == Some("STOPPED"),
            command: ours.map(|of| of.command().to_vec()).unwrap_or_default(),
            version_id: variable("PRISMA_ARTIFACT_VERSION_ID"),
            etag: variable("PRISMA_ARTIFACT_ETAG"),
            created_at: task.created_at().map(aws_sdk_ecs::primitives::DateTime::secs),
        }
    }

    /// Without a command the container deploys.
    fn deploys(&self) -> bool {
        self.command.is_empty() || self.command.iter().any(|word| word == "deploy")
    }

    /// The value of a flag in the command.
    pub fn flag(&self, name: &str) -> Option<&str> {
        let at = self.command.iter().position(|word| word == name)?;
        self.command.get(at + 1).map(String::as_str)
    }
}

impl Uploaded {
    /// Whether this task deploys this upload. One that was told neither version nor etag reads what is newest: it counts where it was started since.
    pub fn started(&self, task: &Started) -> bool {
        if !task.deploys() {
            return false;
        }
        if let (Some(ours), Some(theirs)) = (&self.object.version_id, &task.version_id) {
            return ours == theirs;
        }
        let since = match (self.stored_at, task.created_at) {
            (Some(stored), Some(created)) => created >= stored,
            _ => true,
        };
        match (&self.object.etag, &task.etag, &task.version_id) {
            // In a bucket without versioning the same bytes have the same etag each time.
            (Some(ours), Some(theirs), _) => bare(ours) == bare(theirs) && since,
            (_, None, None) => self.stored_at.is_some() && since,
            _ => false,
        }
    }

    /// Whether what a run has read is this upload, as far as it says what that was.
    pub fn was_read_by(&self, outcome: &Outcome) -> bool {
        let Some(Origin::S3 {
            key, version_id, etag, ..
        }) = outcome.artifact.as_ref().map(|artifact| &artifact.origin)
        else {
            return true;
        };
        let same = match (&self.object.version_id, version_id) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => match (&self.object.etag, etag) {
                (Some(ours), Some(theirs)) => bare(ours) == bare(theirs),
                _ => true,
            },
        };
        same && *key == self.object.key
    }

    /// The folders below the reports in which its runs keep theirs.
    pub fn report_folders(&self) -> Vec<String> {
        let exactly = [&self.object.version_id, &self.object.etag];
        let folder = |exactly: &String| format!("{}/{}/", self.object.key, bare(exactly));
        exactly.into_iter().flatten().map(folder).collect()
    }
}

/// An etag without the quotes that some give and others do not.
fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

/// Whether the migrations of an upload are in.
pub fn succeeded(outcome: &Outcome) -> bool {
    matches!(outcome.exit_code, Exit::Success | Exit::Report)
}

/// Of several runs of one upload, none of which has succeeded, the one that tells most; of equals the last.
pub fn most_telling(outcomes: Vec<Outcome>) -> Option<Outcome> {
    outcomes.into_iter().max_by_key(|outcome| match outcome.exit_code {
        Exit::Superseded => 0,
        Exit::NeverStarted => 1,
        exit if exit.is_start_again() => 2,
        _ => 3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn uploaded(version: Option<&str>, etag: Option<&str>, stored_at: Option<i64>) -> Uploaded {
        Uploaded {
            object: Address {
                bucket: "artifacts".into(),
                key: "shop/prisma.zip".into(),
                version_id: version.map(str::to_owned),
                etag: etag.map(str::to_owned),
            },
            stored_at,
        }
    }

    fn task(version: Option<&str>, etag: Option<&str>, created_at: i64, command: &[&str]) -> Started {
        Started {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            version_id: version.map(str::to_owned),
            etag: etag.map(str::to_owned),
            created_at: Some(created_at),
            ..Started::default()
        }
    }

    #[test]
    fn a_task_is_known_by_what_it_was_told_to_read() {
        let versioned = uploaded(Some("v2"), Some("\"e\""), Some(100));
        let unversioned = uploaded(None, Some("\"e\""), Some(100));
        let named = uploaded(Some("v2"), None, None);
        let table = [
            (&versioned, task(Some("v2"), Some("e"), 101, &[]), true),
            (&versioned, task(Some("v1"), Some("e"), 101, &[]), false),
            (&versioned, task(None, Some("e"), 101, &[]), true),
            (&versioned, task(None, None, 101, &[]), true),
            (&versioned, task(None, None, 99, &[]), false),
            (&versioned, task(Some("v2"), None, 101, &["plan", "--check"]), false),
            (&versioned, task(None, None, 101, &["--json", "deploy"]), true),
            (&unversioned, task(None, Some("e"), 100, &[]), true),
            // The same bytes were uploaded before.
            (&unversioned, task(None, Some("e"), 99, &[]), false),
            (&unversioned, task(None, Some("f"), 101, &[]), false),
            (&named, task(Some("v2"), None, 1, &[]), true),
            (&named, task(None, None, 1, &[]), false),
            (&named, task(None, Some("e"), 1, &[]), false),
        ];
        for (upload, task, expected) in table {
            assert_eq!(upload.started(&task), expected, "{upload:?} {task:?}");
        }
    }

    #[test]
    fn reports_lie_below_the_version_or_the_etag() {
        let both = uploaded(Some("v2"), Some("\"e\""), None).report_folders();
        assert_eq!(both, ["shop/prisma.zip/v2/", "shop/prisma.zip/e/"]);
    }

    #[test]
    fn the_failure_that_tells_most_counts() {
        let ended = |code: i32| {
            let mut outcome = Outcome::new("deploy", format!("{code}"));
            outcome.end(Ok(Exit::of(code).unwrap()), Duration::ZERO);
            outcome
        };
        for (codes, expected) in [
            (&[20, 30][..], Some("20")),
            (&[30, 21], Some("21")),
            (&[20, 21], Some("21")),
            (&[80, 41], Some("80")),
            (&[41], Some("41")),
            (&[], None),
        ] {
            let told = most_telling(codes.iter().map(|code| ended(*code)).collect());
            assert_eq!(told.map(|outcome| outcome.run_id).as_deref(), expected, "{codes:?}");
        }
    }
}
