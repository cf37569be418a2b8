//! What carries the tags Stack, Stage and App, where no CloudFormation stack with the task's outputs does.

use super::clients::Clients;
use super::patience::{Refused, Request, SHORT, insist};
use super::place::{Need, Place, ambiguous};
use crate::cli::PlaceArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use aws_sdk_resourcegroupstagging::types::TagFilter;
use std::collections::BTreeSet;

type Tags = Vec<(&'static str, String)>;

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
        let revisions = tagged(clients, &tags, "ecs:task-definition").await?;
        let families: BTreeSet<String> = revisions.iter().map(|arn| family(arn).to_owned()).collect();
        place.task_definition = only(
            "task definition",
            &tags,
            families.into_iter().collect(),
            "--task-definition",
        )?;
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

/// `arn:…:task-definition/family:revision`.
fn family(arn: &str) -> &str {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    name.split(':').next().unwrap_or(name)
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
    fn revisions_are_one_family() {
        assert_eq!(
            family("arn:aws:ecs:eu-west-1:1:task-definition/shop-migrate:12"),
            "shop-migrate"
        );
    }
}
