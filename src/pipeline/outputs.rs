//! The outputs of the CloudFormation stack that holds the task, as the construct `PrismaMigrateTask` makes them.

use super::clients::Clients;
use super::patience::{Refused, Request, SHORT, insist};
use super::place::ambiguous;
use super::tags;
use crate::cli::PlaceArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use std::collections::BTreeMap;

/// The outputs of the stack that is named, or tagged; none where none is, or where the tagged ones have no such outputs.
pub(super) async fn find(clients: &Clients, args: &PlaceArgs) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let prefix = &args.output_prefix;
    if let Some(name) = &args.cfn_stack {
        let all = outputs_of(clients, name).await?;
        let own = with_prefix(&all, prefix);
        if own.contains_key("Cluster") && own.contains_key("TaskDefinition") {
            return Ok(Some(own));
        }
        return Err(no_outputs(name, prefix, &all));
    }
    if !args.has_tags() || args.names_all() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for arn in tags::tagged(clients, &args.tags(), "cloudformation:stack").await? {
        let own = with_prefix(&outputs_of(clients, &arn).await?, prefix);
        if own.contains_key("Cluster") && own.contains_key("TaskDefinition") {
            found.push((stack_name(&arn).to_owned(), own));
        }
    }
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        return Err(ambiguous("stack with the task's outputs", &names, "--cfn-stack"));
    }
    Ok(found.pop().map(|(name, outputs)| {
        tracing::debug!("the task is that of the CloudFormation stack {name}");
        outputs
    }))
}

async fn outputs_of(clients: &Clients, stack: &str) -> Result<BTreeMap<String, String>, Failure> {
    let request = Request {
        action: "cloudformation:DescribeStacks",
        on: stack_name(stack),
    };
    let described = insist(clients, request, SHORT, async || {
        clients
            .cloudformation()
            .describe_stacks()
            .stack_name(stack)
            .send()
            .await
    });
    let described = described.await.map_err(Refused::before_start)?;
    let stack = described.stacks.unwrap_or_default().into_iter().next();
    let outputs = stack.and_then(|stack| stack.outputs).unwrap_or_default();
    Ok(outputs
        .into_iter()
        .filter_map(|output| output.output_key.zip(output.output_value))
        .collect())
}

pub(super) fn with_prefix(outputs: &BTreeMap<String, String>, prefix: &str) -> BTreeMap<String, String> {
    outputs
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())))
        .collect()
}

fn no_outputs(stack: &str, prefix: &str, outputs: &BTreeMap<String, String>) -> Failure {
    let others: Vec<&str> = outputs
        .keys()
        .filter_map(|name| name.strip_suffix("TaskDefinition"))
        .filter(|other| outputs.contains_key(&format!("{other}Cluster")))
        .collect();
    let next = match others.as_slice() {
        [] => "name the stack that holds PrismaMigrateTask, or say where the task is with --cluster, --task-definition, --subnets and \
               --security-groups"
            .to_owned(),
        others => format!("give --output-prefix {}", others.join(" or ")),
    };
    Failure::new(
        Exit::Usage,
        format!("the stack {stack} has no outputs {prefix}Cluster and {prefix}TaskDefinition"),
        next,
    )
}

/// The name in a stack's ARN, which has its id behind it; a name as it is.
fn stack_name(arn: &str) -> &str {
    match arn.split_once(":stack/") {
        Some((_, rest)) => rest.split('/').next().unwrap_or(rest),
        None => arn,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pipeline) fn outputs() -> BTreeMap<String, String> {
        let outputs = [
            ("MigrateCluster", "arn:aws:ecs:eu-west-1:1:cluster/c"),
            ("MigrateTaskDefinition", "shop-migrate"),
            ("MigrateContainer", "migrate"),
            ("MigrateSubnets", "subnet-1,subnet-2"),
            ("MigrateSecurityGroups", "sg-1"),
            ("MigrateAssignPublicIp", "DISABLED"),
            ("MigrateLogGroup", "/ecs/migrate"),
            ("MigrateReports", "s3://reports/shop/"),
            ("Other", "x"),
        ];
        outputs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn another_prefix_is_offered() {
        let failure = no_outputs("shop", "Db", &outputs());
        assert_eq!(failure.next, "give --output-prefix Migrate");
        assert_eq!(
            stack_name("arn:aws:cloudformation:eu-west-1:1:stack/shop-PROD/0a-1b"),
            "shop-PROD"
        );
    }
}
