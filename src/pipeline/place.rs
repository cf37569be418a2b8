//! Where the task is: flags beat the outputs of a CloudFormation stack, which beat what carries the tags Stack, Stage and App.

use super::clients::Clients;
use super::patience::{Request, SHORT, insist};
use super::{outputs, tags};
use crate::artifact::s3::Address;
use crate::cli::PlaceArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use std::collections::BTreeMap;

/// Where the task is, and what lies around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The cluster, by name or ARN.
    pub cluster: String,
    /// The task definition: family, family:revision or ARN; empty where nothing is to be started and nothing names it.
    pub task_definition: String,
    /// The container in it that is this program.
    pub container: String,
    /// The subnets that the task runs in.
    pub subnets: Vec<String>,
    /// Its security groups.
    pub security_groups: Vec<String>,
    /// Whether it gets a public address.
    pub assign_public_ip: bool,
    /// Where its log is; none where it goes elsewhere than to CloudWatch, or nothing tells.
    pub log: Option<LogPlace>,
    /// `s3://bucket/key` of prisma.zip.
    pub artifact: Option<String>,
    /// `s3://bucket/prefix` of the reports.
    pub reports: Option<String>,
    /// The URL of the queue that keeps events which started nothing.
    pub dead_letters: Option<String>,
    /// The ARN of the state machine that an upload starts, which starts the task, and again within a bound.
    pub state_machine: Option<String>,
    /// The EventBridge rule by which an upload starts a task.
    pub rule: Option<String>,
    /// The RDS instance.
    pub db_instance: Option<String>,
    /// The RDS cluster.
    pub db_cluster: Option<String>,
}

/// Where a container's log is, as the awslogs driver writes it: the stream is `<prefix>/<container>/<task id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// The group.
    pub group: String,
    /// What the streams' names begin with.
    pub prefix: String,
    /// The region, where it is not the task's.
    pub region: Option<String>,
}

/// What the place is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To start a task.
    Start,
    /// To follow one that runs already.
    Follow,
}

impl Place {
    /// Finds it.
    ///
    /// # Errors
    /// Nothing says where it is, what says so is ambiguous, or AWS refuses the question.
    pub async fn find(clients: &Clients, args: &PlaceArgs, need: Need) -> Result<Place, Failure> {
        let mut place = Place::of_flags(args);
        let mut is_told = false;
        if let Some(outputs) = outputs::find(clients, args).await? {
            is_told = place.task_definition.is_empty();
            place.fill_from_outputs(&outputs);
            is_told &= place.task_definition.contains(':');
        } else if args.has_tags() {
            tags::fill(clients, args, need, &mut place).await?;
        }
        place.check(args, need)?;
        let tags = args.tags();
        if need == Need::Start && !tags.is_empty() {
            tags::verify(clients, &tags, &mut place, is_told).await?;
        }
        if !place.task_definition.is_empty() && (place.container.is_empty() || place.log.is_none()) {
            place.describe(clients, args).await?;
        }
        if place.container.is_empty() {
            return Err(missing("the container", "--container"));
        }
        Ok(place)
    }

    /// Where the log of a task is.
    pub fn stream(&self, task_arn: &str) -> Option<String> {
        let log = self.log.as_ref()?;
        Some(format!("{}/{}/{}", log.prefix, self.container, task_id(task_arn)))
    }

    /// An object below the reports.
    pub fn below_reports(&self, key: &str) -> Option<Address> {
        let rest = self.reports.as_deref()?.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        Some(Address {
            bucket: bucket.to_owned(),
            key: format!("{prefix}/{key}").trim_start_matches('/').to_owned(),
            version_id: None,
            etag: None,
        })
    }

    fn of_flags(args: &PlaceArgs) -> Place {
        let mut place = Place {
            cluster: args.cluster.clone().unwrap_or_default(),
            task_definition: args.task_definition.clone().unwrap_or_default(),
            container: args.container.clone().unwrap_or_default(),
            subnets: args.subnets.clone(),
            security_groups: args.security_groups.clone(),
            assign_public_ip: args.assign_public_ip,
            reports: args.reports.clone(),
            ..Place::default()
        };
        if let (Some(group), Some(prefix)) = (&args.log_group, &args.log_stream_prefix) {
            place.log = Some(LogPlace {
                group: group.clone(),
                prefix: prefix.clone(),
                region: None,
            });
        }
        place
    }

    /// The outputs of the construct `PrismaMigrateTask`, their prefix taken off. Its streams begin with the container's name.
    fn fill_from_outputs(&mut self, outputs: &BTreeMap<String, String>) {
        let output = |name: &str| outputs.get(name).filter(|value| !value.is_empty()).cloned();
        let list = |name: &str| -> Vec<String> {
            let text = output(name).unwrap_or_default();
            text.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect()
        };
        for (field, name) in [
            (&mut self.cluster, "Cluster"),
            (&mut self.task_definition, "TaskDefinition"),
            (&mut self.container, "Container"),
        ] {
            if field.is_empty() {
                *field = output(name).unwrap_or_default();
            }
        }
        if self.subnets.is_empty() {
            self.subnets = list("Subnets");
        }
        if self.security_groups.is_empty() {
            self.security_groups = list("SecurityGroups");
        }
        self.assign_public_ip |= output("AssignPublicIp").as_deref() == Some("ENABLED");
        if let (None, Some(group)) = (&self.log, output("LogGroup")) {
            self.log = Some(LogPlace {
                group,
                prefix: output("Container").unwrap_or_default(),
                region: None,
            });
        }
        self.reports = self.reports.take().or_else(|| output("Reports"));
        self.artifact = output("Artifact");
        self.dead_letters = output("DeadLetters");
        self.rule = output("Rule");
        self.state_machine = output("StateMachine");
        self.db_instance = output("DatabaseInstance");
        self.db_cluster = output("DatabaseCluster");
    }

    fn check(&self, args: &PlaceArgs, need: Need) -> Result<(), Failure> {
        let told = args.cfn_stack.is_some() || args.has_tags();
        let mut absent = Vec::new();
        if self.cluster.is_empty() {
            absent.push(("the cluster", "--cluster"));
        }
        if need == Need::Start {
            if self.task_definition.is_empty() {
                absent.push(("the task definition", "--task-definition"));
            }
            if self.subnets.is_empty() {
                absent.push(("the subnets", "--subnets"));
            }
            if self.security_groups.is_empty() {
                absent.push(("the security groups", "--security-groups"));
            }
        }
        let Some((what, flag)) = absent.first() else {
            return Ok(());
        };
        if told {
            return Err(missing(what, flag));
        }
        let flags: Vec<&str> = absent.iter().map(|(_, flag)| *flag).collect();
        Err(Failure::new(
            Exit::Usage,
            "nothing says where the task is",
            format!(
                "give --cfn-stack NAME, or the tags as --stack, --stage and --app, or {}",
                flags.join(", ")
            ),
        ))
    }

    /// Takes from the task definition what nothing else has told: the container, and where its log is.
    async fn describe(&mut self, clients: &Clients, args: &PlaceArgs) -> Result<(), Failure> {
        let request = Request {
            action: "ecs:DescribeTaskDefinition",
            on: &self.task_definition,
        };
        let described = insist(clients, request, SHORT, async || {
            let request = clients.ecs().describe_task_definition();
            request.task_definition(&self.task_definition).send().await
        });
        let described = described.await;
        if let (false, Err(refused)) = (self.container.is_empty(), &described) {
            tracing::warn!("{refused}: the task's log is not shown; give --log-group and --log-stream-prefix");
            return Ok(());
        }
        let described = described.map_err(|refused| {
            let mut failure = refused.before_start();
            if failure.exit == Exit::Usage {
                failure.next = format!(
                    "{}; or give --container, --log-group and --log-stream-prefix",
                    failure.next
                );
            }
            failure
        })?;
        let containers = described.task_definition.as_ref();
        let containers = containers.map_or(&[][..], |definition| definition.container_definitions());
        if self.container.is_empty() {
            let essential: Vec<&str> = containers
                .iter()
                .filter(|container| container.essential().unwrap_or(true))
                .filter_map(|container| container.name())
                .collect();
            match essential.as_slice() {
                [container] => self.container = (*container).to_owned(),
                several => {
                    return Err(ambiguous(
                        "essential container of the task definition",
                        several,
                        "--container",
                    ));
                }
            }
        }
        let Some(container) = containers
            .iter()
            .find(|container| container.name() == Some(self.container.as_str()))
        else {
            let names: Vec<&str> = containers.iter().filter_map(|container| container.name()).collect();
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "the task definition {} has no container {}",
                    self.task_definition, self.container
                ),
                format!("give --container with one of its own: {}", names.join(", ")),
            ));
        };
        if self.log.is_none() {
            let options = container.log_configuration().and_then(|log| log.options());
            let option = |name: &str| options.and_then(|options| options.get(name)).cloned();
            let group = args.log_group.clone().or_else(|| option("awslogs-group"));
            let prefix = args
                .log_stream_prefix
                .clone()
                .or_else(|| option("awslogs-stream-prefix"));
            self.log = group.zip(prefix).map(|(group, prefix)| LogPlace {
                group,
                prefix,
                region: option("awslogs-region"),
            });
        }
        Ok(())
    }
}

impl PlaceArgs {
    /// Whether tags say where the task is.
    pub(super) fn has_tags(&self) -> bool {
        self.stack.is_some() || self.stage.is_some() || self.app.is_some()
    }
}

/// The last part of a task's ARN.
pub fn task_id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The failure where several would do.
pub(super) fn ambiguous(what: &str, candidates: &[&str], flag: &str) -> Failure {
    let (said, next) = match candidates {
        [] => (format!("there is no {what}"), format!("give {flag}")),
        several => (
            format!("there is more than one {what}: {}", several.join(", ")),
            format!("give {flag} with one of them"),
        ),
    };
    Failure::new(Exit::Usage, said, next)
}

fn missing(what: &str, flag: &str) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("nothing names {what} of the task"),
        format!("give {flag}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_beat_outputs() {
        let args = PlaceArgs {
            cluster: Some("mine".into()),
            subnets: vec!["subnet-9".into()],
            ..PlaceArgs::default()
        };
        let mut place = Place::of_flags(&args);
        place.fill_from_outputs(&outputs::with_prefix(&outputs::tests::outputs(), "Migrate"));
        assert_eq!(
            (place.cluster.as_str(), place.task_definition.as_str()),
            ("mine", "shop-migrate")
        );
        assert_eq!(
            (place.subnets.clone(), place.security_groups.clone()),
            (vec!["subnet-9".to_owned()], vec!["sg-1".to_owned()])
        );
        let stream = place.stream("arn:aws:ecs:eu-west-1:1:task/c/0123");
        assert_eq!(stream.as_deref(), Some("migrate/migrate/0123"));
        let report = place.below_reports("runs/1.json").unwrap();
        assert_eq!(
            (report.bucket.as_str(), report.key.as_str()),
            ("reports", "shop/runs/1.json")
        );
    }

    #[test]
    fn what_is_missing_is_told_with_its_flag() {
        let place = Place::default();
        let bare = place.check(&PlaceArgs::default(), Need::Start).unwrap_err();
        assert!(
            bare.next.contains("--cfn-stack") && bare.next.contains("--security-groups"),
            "{bare}"
        );
        let tagged = PlaceArgs {
            stage: Some("CODE".into()),
            ..PlaceArgs::default()
        };
        let follow = place.check(&tagged, Need::Follow).unwrap_err();
        assert_eq!(follow.next, "give --cluster");
    }
}
