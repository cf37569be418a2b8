//! `wait`: the tasks that an upload started, followed to their end as `run` follows its own.
//!
//! EventBridge delivers at least once, and a pipeline may upload twice, so there can be several tasks for one upload: one that succeeds is the answer,
//! and a failure is one only when none of them runs any more.

mod named;
mod reports;

use super::attend::{Attended, attend};
use super::bucket;
use super::clients::Clients;
use super::interrupt::Interrupt;
use super::patience::{Patience, Refused, Request, SHORT, insist};
use super::place::{Need, Place, task_id};
use super::uploaded::{Started, Uploaded, most_telling, succeeded};
use crate::artifact::Source;
use crate::artifact::s3::Address;
use crate::cli::{PlaceArgs, UploadedArgs, WaitArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::{live, log};
use aws_sdk_ecs::types::DesiredStatus;
use reports::Reports;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The pauses between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often something is said while there is no task.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How many tasks ECS describes at once (API reference, "DescribeTasks").
const DESCRIBED_AT_ONCE: usize = 100;
/// What this side knows of the database while it has not found the task.
const GOES_ON: &str = "not known to this side: what the upload starts goes on by itself";

/// Waits for what the flags name.
///
/// # Errors
/// There is no outcome of a task's: none was started, or this side has lost it or let it go.
pub async fn wait(args: &WaitArgs, interrupt: &mut Interrupt, own: &Outcome) -> Result<Outcome, Failure> {
    let clients = interrupt.unless(Clients::of_environment()).await??;
    if let Some(task) = &args.task {
        return named::follow(&clients, &args.place, task, interrupt, own).await;
    }
    let place = interrupt
        .unless(Place::find(&clients, &args.place, Need::Follow))
        .await??;
    let mut object = artifact(&args.upload, Some(&place))?;
    object.version_id.clone_from(&args.version_id);
    object.etag.clone_from(&args.etag);
    let uploaded = interrupt.unless(stored(object)).await??;
    tracing::info!("waiting for the task of {uploaded}");
    let wait = Wait {
        clients: &clients,
        place: &place,
        args: &args.place,
        uploaded: &uploaded,
        start_within: args.upload.start_within,
        own,
    };
    wait.for_upload(interrupt).await
}

/// Where prisma.zip lies.
pub fn artifact(args: &UploadedArgs, place: Option<&Place>) -> Result<Address, Failure> {
    let known = place.and_then(|place| place.artifact.as_deref());
    let Some(url) = args.artifact.as_deref().or(known) else {
        return Err(Failure::new(
            Exit::Usage,
            "nothing says where prisma.zip lies in S3",
            "give --artifact s3://bucket/key, or --cfn-stack NAME, or the stack's tags",
        ));
    };
    match Source::parse(url) {
        Ok(Source::S3(address)) => Ok(address),
        _ => Err(Failure::new(
            Exit::Usage,
            format!("{url} is not of the form s3://bucket/key"),
            "give --artifact so",
        )),
    }
}

/// What lies there, or what is known of the version or etag that was named.
pub async fn stored(object: Address) -> Result<Uploaded, Failure> {
    let named = object.version_id.is_some() || object.etag.is_some();
    let head = match bucket::head(&object).await {
        Ok(head) => head,
        Err(error) if named => {
            tracing::debug!("{error}");
            return Ok(Uploaded {
                object,
                stored_at: None,
            });
        }
        Err(error) => {
            let next = error.next_step().replace("the task role", "these credentials");
            return Err(Failure::new(
                Exit::Usage,
                format!("{}: {error}", Source::S3(object)),
                format!("{next}; or give --version-id or --etag"),
            ));
        }
    };
    let is_newest =
        |etag: &String| head.etag.as_deref().map(|etag| etag.trim_matches('"')) == Some(etag.trim_matches('"'));
    Ok(match &object.etag {
        Some(etag) if !is_newest(etag) => Uploaded {
            object,
            stored_at: None,
        },
        _ => Uploaded {
            object: Address {
                version_id: head.version_id,
                etag: head.etag,
                ..object
            },
            stored_at: head.stored_at,
        },
    })
}

/// What is waited for, and where.
pub struct Wait<'a> {
    /// The services.
    pub clients: &'a Clients,
    /// Where its tasks run.
    pub place: &'a Place,
    /// The flags that told so.
    pub args: &'a PlaceArgs,
    /// The upload.
    pub uploaded: &'a Uploaded,
    /// How long it has to start a task.
    pub start_within: Duration,
    /// The outcome of this side, for where there is no other.
    pub own: &'a Outcome,
}

impl Wait<'_> {
    /// Waits for the tasks of an upload.
    ///
    /// # Errors
    /// None was started, or this side has lost it or let it go.
    pub async fn for_upload(&self, interrupt: &mut Interrupt) -> Result<Outcome, Failure> {
        let (began, mut spoke, mut pause) = (Instant::now(), Instant::now(), FIRST_PAUSE);
        // Since when nothing runs that was started for it.
        let mut idle = began;
        let (mut followed, mut failed) = (BTreeSet::new(), Vec::new());
        let mut reports = Reports::default();
        let mut patience = SHORT;
        loop {
            let found = interrupt
                .unless(self.tasks(patience))
                .await
                .map_err(|_| self.detached())?;
            let mut found = found.map_err(|refused| refused.before_start().state(GOES_ON))?;
            patience = Patience::Endless;
            found.retain(|task| !followed.contains(&task.arn) && self.uploaded.started(task));
            found.sort_by_key(|task| (task.is_over, task.created_at));
            if let Some(task) = found.first() {
                live::clear();
                tracing::info!("following the task {}", task.arn);
                followed.insert(task.arn.clone());
                let outcome = self.follow(task, interrupt, &mut reports).await?;
                if !self.uploaded.was_read_by(&outcome) {
                    tracing::info!("the task {} has read another upload", task_id(&task.arn));
                } else if succeeded(&outcome) {
                    return Ok(outcome);
                } else {
                    failed.push(outcome);
                }
                idle = Instant::now();
                continue;
            }
            let told = interrupt
                .unless(reports.read(self.uploaded, self.place))
                .await
                .map_err(|_| self.detached())?;
            if let Some(success) = told.iter().position(succeeded) {
                return Ok(reports.take(success));
            }
            // What was followed comes last: of equals the last counts.
            let outcomes: Vec<Outcome> = reports.all().into_iter().chain(std::mem::take(&mut failed)).collect();
            if self.is_tried_again(&outcomes) && idle.elapsed() < self.start_within {
                failed = outcomes;
            } else if let Some(outcome) = most_telling(outcomes) {
                return Ok(outcome);
            } else if began.elapsed() >= self.start_within {
                live::clear();
                return Err(self.none_started().await);
            }
            self.say(began, &mut spoke);
            let over = sleep(pause.min(self.start_within));
            interrupt.unless(over).await.map_err(|_| self.detached())?;
            pause = pause.mul_f64(1.25).min(LONGEST_PAUSE);
        }
    }

    /// Whether the state machine that an upload starts will start another task: nothing but ends after which it does so.
    fn is_tried_again(&self, outcomes: &[Outcome]) -> bool {
        let again = |outcome: &Outcome| outcome.exit_code == Exit::NeverStarted || outcome.exit_code.is_start_again();
        self.place.state_machine.is_some() && !outcomes.is_empty() && outcomes.iter().all(again)
    }

    async fn follow(
        &self,
        task: &Started,
        interrupt: &mut Interrupt,
        reports: &mut Reports,
    ) -> Result<Outcome, Failure> {
        let attended = Attended {
            place: self.place,
            args: self.args,
            arn: &task.arn,
            report: None,
        };
        let own = Outcome::new("wait", self.own.run_id.clone());
        let outcome = attend(self.clients, attended, interrupt, &log::relay, own)
            .await
            .outcome;
        if outcome.verb != "wait" || outcome.exit_code == Exit::Detached {
            return Ok(outcome);
        }
        // It has told nothing in its log, or that cannot be read.
        reports.read(self.uploaded, self.place).await;
        Ok(reports.take_of(&task.arn).unwrap_or(outcome))
    }

    /// The tasks of the family, those that have stopped too, as long as ECS knows them: about an hour.
    async fn tasks(&self, patience: Patience) -> Result<Vec<Started>, Refused> {
        let family = self.place.task_definition.rsplit('/').next().unwrap_or_default();
        let family = family.split(':').next().filter(|family| !family.is_empty());
        let mut arns = Vec::new();
        for status in [DesiredStatus::Running, DesiredStatus::Stopped] {
            let mut page = None::<String>;
            loop {
                let request = Request {
                    action: "ecs:ListTasks",
                    on: &self.place.cluster,
                };
                let answer = insist(self.clients, request, patience, async || {
                    let clients = self.clients;
                    let request = clients.ecs().list_tasks().cluster(&self.place.cluster);
                    let request = request
                        .set_family(family.map(str::to_owned))
                        .desired_status(status.clone());
                    request.set_next_token(page.clone()).send().await
                });
                let answer = answer.await?;
                arns.extend(answer.task_arns.unwrap_or_default());
                page = answer.next_token;
                if page.is_none() {
                    break;
                }
            }
        }
        let mut tasks = Vec::new();
        for arns in arns.chunks(DESCRIBED_AT_ONCE) {
            tasks.extend(describe(self.clients, &self.place.cluster, &self.place.container, arns, patience).await?);
        }
        Ok(tasks)
    }

    fn say(&self, began: Instant, spoke: &mut Instant) {
        let since = Duration::from_secs(began.elapsed().as_secs());
        let text = format!(
            "no task yet for {}, after {}",
            self.uploaded,
            humantime::format_duration(since)
        );
        if live::is_shown() {
            live::show(text, 0, 0);
        } else if spoke.elapsed() >= SAY_EVERY {
            tracing::info!("{text}");
            *spoke = Instant::now();
        }
    }

    fn detached(&self) -> Failure {
        live::clear();
        Failure::new(
            Exit::Detached,
            format!("stopped waiting for the task of {}", self.uploaded),
            format!("wait again with `{}`", self.again()),
        )
        .state(GOES_ON)
    }

    fn again(&self) -> String {
        let object = &self.uploaded.object;
        let exactly = match (&object.version_id, &object.etag) {
            (Some(version), _) => format!(" --version-id {version}"),
            (None, Some(etag)) => format!(" --etag {}", etag.trim_matches('"')),
            (None, None) => String::new(),
        };
        let artifact = match &self.place.artifact {
            Some(_) => String::new(),
            None => format!(" --artifact s3://{}/{}", object.bucket, object.key),
        };
        format!("prisma-migrate-task wait{}{artifact}{exactly}", self.args.again())
    }

    /// What stands between an upload and its task, looked at one after the other.
    async fn none_started(&self) -> Failure {
        let bucket = &self.uploaded.object.bucket;
        let told = bucket::tells_eventbridge(bucket).await;
        let mut details = vec![match told {
            Some(true) => format!("EventBridge is switched on for the bucket {bucket}"),
            Some(false) => {
                format!("EventBridge is switched off for the bucket {bucket}: no upload to it starts anything")
            }
            None => format!(
                "whether EventBridge is switched on for the bucket {bucket} is not known (it takes s3:GetBucketNotification)"
            ),
        }];
        details.push(match &self.place.rule {
            Some(rule) => format!("the rule is {rule}: see that it is enabled, and its FailedInvocations"),
            None => "no output of the stack names the rule: see that one matches this bucket and key".to_owned(),
        });
        if let Some(machine) = &self.place.state_machine {
            details.push(format!(
                "an upload starts the state machine {machine}: see its executions"
            ));
        }
        if let Some(queue) = &self.place.dead_letters {
            details.push(format!(
                "an event whose task could not be started lies in the queue {queue}, with the reason"
            ));
        }
        let next = match told {
            Some(false) => format!(
                "switch on EventBridge for the bucket {bucket} (Properties, Amazon EventBridge), and upload again"
            ),
            _ => format!(
                "look there, and upload again; or start the task with `prisma-migrate-task run --confirm{}`",
                self.args.again()
            ),
        };
        let within = humantime::format_duration(self.start_within);
        let mut failure = Failure::new(
            Exit::NeverStarted,
            format!("no task was started for {} within {within}", self.uploaded),
            next,
        )
        .state("nothing was changed by this upload, as far as ECS and the reports tell");
        failure.details = details;
        failure
    }
}

async fn describe(
    clients: &Clients,
    cluster: &str,
    container: &str,
    arns: &[String],
    patience: Patience,
) -> Result<Vec<Started>, Refused> {
    let request = Request {
        action: "ecs:DescribeTasks",
        on: cluster,
    };
    let answer = insist(clients, request, patience, async || {
        let request = clients.ecs().describe_tasks().cluster(cluster);
        request.set_tasks(Some(arns.to_vec())).send().await
    });
    let tasks = answer.await?.tasks.unwrap_or_default();
    Ok(tasks.iter().map(|task| Started::of(task, container)).collect())
}
