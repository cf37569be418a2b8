//! The examples that a team copies, deployed: their task definitions, as CloudFormation resolves them, are run.

use harness::postgres::Server;
use serde_json::{Value, json};

use crate::cloud::{Stack, moto};
use crate::site::{Site, good, variable};

/// Sets variables of the definition's container; each must be there.
fn replace(definition: &mut Value, values: &[(&str, &str)]) {
    let variables = definition["containerDefinitions"][0]["environment"]
        .as_array_mut()
        .unwrap();
    for (name, value) in values {
        let variable = variables.iter_mut().find(|variable| variable["name"] == *name);
        variable.unwrap_or_else(|| panic!("no {name}"))["value"] = (*value).into();
    }
}

#[test]
fn the_catalogue_s_task_and_gate_are_of_one_piece() {
    let database = Server::shared().database();
    let stack = Stack::deploy("catalogue/ServiceCatalogue", &[]);
    let gate = Stack::deploy("catalogue/ServiceCatalogueGate", &[("RiffRaffDeploymentId", "17")]);
    let login = json!({
        "Name": "/CODE/deploy/service-catalogue/migrator",
        "SecretString": json!({ "username": database.user(), "password": database.password(), "dbname": database.name() }).to_string(),
    });
    moto().call("secretsmanager", "create_secret", &login);
    let mut definition = stack.task_definition();
    assert_eq!(
        variable(&definition, "ARTIFACT_BUCKET").as_deref(),
        Some("artifacts-of-the-account")
    );
    let port = database.port().to_string();
    // The one thing that is not of the stack: where its database is.
    replace(&mut definition, &[("DB_HOST", database.host()), ("DB_PORT", &port)]);
    let site = Site::with(stack, database, &definition);
    site.s3.unversioned(&site.bucket);
    site.upload(&good());
    assert_eq!(
        site.stack.rules("ecs").len(),
        0,
        "the upload starts nothing: the gate does"
    );

    let asked = gate.gate();
    let task: Value = serde_json::from_str(asked["ResourceProperties"]["Task"].as_str().unwrap()).unwrap();
    let task = site.ecs.run_task(task);
    assert_eq!(site.exit_code(&task), Some(0), "{}", site.ecs.log(&task));
    assert_eq!(site.applied().len(), 1);
    let rules = gate.rules("lambda");
    assert!(rules[0].matches(&site.ecs.stopped_event(&task)));
}

#[test]
fn the_newsroom_s_task_is_run_by_its_gate() {
    let database = Server::shared().database();
    let login = json!({
        "Name": format!("newsroom/{}", uuid::Uuid::new_v4()),
        "SecretString": json!({ "username": database.user(), "password": database.password() }).to_string(),
    });
    let secret = moto().call("secretsmanager", "create_secret", &login);
    let stack = Stack::deploy("newsroom/newsroom", &[("Deployment", "17")]);
    let mut definition = stack.task_definition();
    assert_eq!(variable(&definition, "DB_NAME").as_deref(), Some("newsroom"));
    let port = database.port().to_string();
    let here = [
        ("DB_HOST", database.host()),
        ("DB_PORT", port.as_str()),
        ("DB_NAME", database.name()),
        // moto does not tell the ARN of a secret that is attached to an instance.
        ("DB_SECRET_ARN", secret["ARN"].as_str().unwrap()),
    ];
    replace(&mut definition, &here);
    let site = Site::with(stack, database, &definition);
    let created = site.upload(&good());
    let asked = site.stack.gate();
    assert_eq!(asked["ResourceProperties"]["DeploymentId"], "17");
    let task: Value = serde_json::from_str(asked["ResourceProperties"]["Task"].as_str().unwrap()).unwrap();
    let task = site.ecs.run_task(task);
    assert_eq!(site.exit_code(&task), Some(0), "{}", site.ecs.log(&task));
    assert_eq!(site.outcome(&task)["artifact"]["version_id"], created.stored.version);
    let report = site.s3.created().pop().unwrap();
    assert!(
        report
            .key
            .starts_with(&format!("reports/{}/{}/", site.key, created.stored.version)),
        "{}",
        report.key
    );
}
