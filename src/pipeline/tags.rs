//! What carries the tags Stack, Stage and App, where no CloudFormation stack with the task's outputs does.

use super::clients::Clients;
use super::patience::{Refused, Request, SHORT, insist};
use super::place::{Need, Place, ambiguous};
use crate::cli::PlaceArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use aws_sdk_ecs::types::TaskDefinitionField;
use aws_sdk_resourcegroupstagging::types::TagFilter;
use std::collections::BTreeMap;

pub(super) type Tags = Vec<(&'static str, String)>;

impl PlaceArgs {
    /// The tags that were given, by their keys.
    pub(super) fn tags(&self) -> Tags {
        [("Stack", &self.stack), ("Stage", &self.stage), ("App", &self.app)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)))
            .collect()
    }

    /// Whether flags alone say all that is needed to start a task.
    pub(super) fn names_all(&self) -> bool {
        self.cluster.is_some()
            && self.task_definition.is_some()
            && !self.subnets.is_empty()
            && !self.security_groups.is_empty()
    }
}

/// Finds what is still missing of a place.
///
/// # Errors
/// There is none, there are several, or AWS refuses the question.
pub(super) async fn fill(clients: &Clients, args: &PlaceArgs, need: Need, place: &mut Place) -> Result<(), Failure> {
    let tags = args.tags();
    if place.cluster.is_empty() {
        let found = tagged_or_shared(clients, &tags, "ecs:cluster").await?;
        place.cluster = only("ECS cluster", &tags, found, "--cluster")?;
    }
    if need == Need::Follow {
        return Ok(());
    }
    if place.task_definition.is_empty() {
        // By its ARN: the newest of a family may carry other tags, where several stages share one.
        let newest = newest_of_each_family(tagged(clients, &tags, "ecs:task-definition").await?);
        place.task_definition = only("task definition", &tags, newest, "--task-definition")?;
    }
    if place.security_groups.is_empty() {
        let found = tagged_or_shared(clients, &tags, "ec2:security-group").await?;
        let group = only("security group", &tags, found, "--security-groups")?;
        place.security_groups = vec![group.rsplit('/').next().unwrap_or_default().to_owned()];
    }
    if place.subnets.is_empty() {
        place.subnets = subnets(clients, &args.subnets_parameter).await?;
    }
    Ok(())
}

/// The ARNs of all resources of a type that carry these tags.
pub(super) async fn tagged(clients: &Clients, tags: &Tags, kind: &str) -> Result<Vec<String>, Failure> {
    let mut arns = Vec::new();
    let mut page = None::<String>;
    loop {
        let request = Request {
            action: "tag:GetResources",
            on: kind,
        };
        let filters: Vec<TagFilter> = tags
            .iter()
            .map(|(key, value)| TagFilter::builder().key(*key).values(value).build())
            .collect();
        let answer = insist(clients, request, SHORT, async || {
            let request = clients.tagging().get_resources().resource_type_filters(kind);
            let request = request.set_tag_filters(Some(filters.clone()));
            request.set_pagination_token(page.clone()).send().await
        });
        let answer = answer.await.map_err(Refused::before_start)?;
        let found = answer.resource_tag_mapping_list.unwrap_or_default();
        arns.extend(found.into_iter().filter_map(|resource| resource.resource_arn));
        page = answer.pagination_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(arns);
        }
    }
}

/// Clusters and security groups are often shared by the applications of a stack, and then carry no App, or another.
async fn tagged_or_shared(clients: &Clients, tags: &Tags, kind: &str) -> Result<Vec<String>, Failure> {
    let found = tagged(clients, tags, kind).await?;
    let shared: Tags = tags.iter().filter(|(key, _)| *key != "App").cloned().collect();
    if !found.is_empty() || shared.len() == tags.len() || shared.is_empty() {
        return Ok(found);
    }
    tagged(clients, &shared, kind).await
}

fn only(what: &str, tags: &Tags, mut found: Vec<String>, flag: &str) -> Result<String, Failure> {
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (last, _) => {
            found.extend(last);
            found.sort();
            let candidates: Vec<&str> = found.iter().map(String::as_str).collect();
            Err(ambiguous(
                &format!("{what} with the tags {}", words(tags)),
                &candidates,
                flag,
            ))
        }
    }
}

fn words(tags: &Tags) -> String {
    let words: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.join(", ")
}

/// The family and the revision of `arn:…:task-definition/family:revision`.
fn revision(arn: &str) -> (&str, u64) {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let (family, revision) = name.split_once(':').unwrap_or((name, ""));
    (family, revision.parse().unwrap_or(0))
}

fn newest_of_each_family(arns: Vec<String>) -> Vec<String> {
    let mut newest: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for arn in arns {
        let (family, revision) = revision(&arn);
        let of = newest.entry(family.to_owned()).or_default();
        if of.1.is_empty() || of.0 < revision {
            *of = (revision, arn);
        }
    }
    newest.into_values().map(|(_, arn)| arn).collect()
}

/// Makes sure that the task definition carries the tags that were asked for, and that exactly this revision is started. `is_told`: a stack with these tags
/// names this very revision, so that nothing more has to be asked.
///
/// # Errors
/// It carries other tags, or nobody may know.
pub(super) async fn verify(clients: &Clients, tags: &Tags, place: &mut Place, is_told: bool) -> Result<(), Failure> {
    let request = Request {
        action: "ecs:DescribeTaskDefinition",
        on: &place.task_definition,
    };
    let described = insist(clients, request, SHORT, async || {
        let request = clients.ecs().describe_task_definition();
        let request = request.task_definition(&place.task_definition);
        request.include(TaskDefinitionField::Tags).send().await
    });
    let described = match described.await {
        Ok(described) => described,
        Err(refused) if is_told => {
            tracing::debug!("{refused}: the tags of the task definition are those of its stack");
            return Ok(());
        }
        Err(refused) => {
            let failure = refused.before_start();
            let next = format!(
                "{}; without it nobody can tell whether the task definition carries the tags {}",
                failure.next,
                words(tags)
            );
            return Err(Failure { next, ..failure });
        }
    };
    let other = tags.iter().find_map(|(key, asked)| {
        let found = described.tags().iter().find(|tag| tag.key() == Some(key));
        match found.and_then(|tag| tag.value()) {
            Some(value) if value == asked => None,
            Some(value) => Some(format!("carries {key}={value}")),
            None if is_told => None,
            None => Some(format!("carries no tag {key}")),
        }
    });
    let arn = described
        .task_definition()
        .and_then(|definition| definition.task_definition_arn());
    let arn = arn.unwrap_or(&place.task_definition).to_owned();
    if let Some(other) = other {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "the task definition {arn} {other}, and {} was asked for: nothing is started",
                words(tags)
            ),
            "give --task-definition with the ARN of a revision that carries these tags, or other tags",
        ));
    }
    place.task_definition = arn;
    Ok(())
}

async fn subnets(clients: &Clients, parameter: &str) -> Result<Vec<String>, Failure> {
    let request = Request {
        action: "ssm:GetParameter",
        on: parameter,
    };
    let answer = insist(clients, request, SHORT, async || {
        clients.ssm().get_parameter().name(parameter).send().await
    });
    let answer = answer.await.map_err(|refused| {
        let failure = refused.before_start();
        let next = format!("{}; or give --subnets, or another --subnets-parameter", failure.next);
        Failure { next, ..failure }
    })?;
    let value = answer
        .parameter
        .and_then(|parameter| parameter.value)
        .unwrap_or_default();
    let subnets: Vec<String> = value
        .split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect();
    if subnets.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("the SSM parameter {parameter} names no subnets"),
            "give --subnets, or another --subnets-parameter",
        ));
    }
    Ok(subnets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_candidates_are_listed_with_the_flag_that_decides() {
        let tags = vec![("Stage", "CODE".to_owned())];
        let failure = only("ECS cluster", &tags, vec!["b".into(), "a".into()], "--cluster").unwrap_err();
        assert_eq!(
            failure.what,
            "there is more than one ECS cluster with the tags Stage=CODE: a, b"
        );
        assert_eq!(failure.next, "give --cluster with one of them");
        let none = only("ECS cluster", &tags, Vec::new(), "--cluster").unwrap_err();
        assert_eq!(none.what, "there is no ECS cluster with the tags Stage=CODE");
        assert_eq!(only("x", &tags, vec!["one".into()], "--x").unwrap(), "one");
    }

    #[test]
    fn of_each_family_the_newest_revision_that_was_found_counts() {
        let arn = |name: &str| format!("arn:aws:ecs:eu-west-1:1:task-definition/{name}");
        let found = ["shop:9", "shop:10", "other:2", "shop:2"].map(arn);
        assert_eq!(newest_of_each_family(found.into()), ["other:2", "shop:10"].map(arn));
    }
}
