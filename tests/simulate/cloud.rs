//! The templates, and the stacks that moto's CloudFormation makes of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use harness::moto::Moto;
use serde_json::{Value, json};

/// moto, with what an account has before any stack: the bootstrap's version and the name of the artifacts' bucket.
pub fn moto() -> &'static Moto {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    MOTO.get_or_init(|| {
        let moto = Moto::with_stacks();
        for (name, value) in [
            ("/cdk-bootstrap/hnb659fds/version", "21"),
            ("/account/services/artifact.bucket", "artifacts-of-the-account"),
        ] {
            let parameter = json!({ "Name": name, "Value": value, "Type": "String" });
            moto.call("ssm", "put_parameter", &parameter);
        }
        moto
    })
}

/// A synthesized template, such as `simulation/versioned`.
pub fn template(name: &str) -> Value {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Beside the binary: target/debug/simulate.
        let folder = Path::new(super::PROGRAM).with_file_name("simulate");
        fs::create_dir_all(&folder).unwrap();
        // Another test process may be at it.
        let guard = File::create(folder.join("lock")).unwrap();
        guard.lock().unwrap();
        let templates = folder.join("templates");
        let output = Command::new(root.join("cdk/synth.sh")).arg(&templates).output();
        let output = output.expect("cdk/synth.sh needs a shell");
        assert!(
            output.status.success(),
            "the templates are not synthesized (Node and npm are needed)\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        templates
    });
    let path = folder.join(format!("{name}.template.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Without what moto cannot make and the simulation does not look at: rights (moto checks them against its own idea of ARNs), and doors into a security
/// group that is in no template.
fn playable(mut template: Value) -> Value {
    let resources = template["Resources"].as_object_mut().unwrap();
    resources.retain(|_, resource| {
        let is_foreign =
            resource["Type"] == "AWS::EC2::SecurityGroupIngress" && resource["Properties"]["GroupId"].is_string();
        resource["Type"] != "AWS::IAM::Policy" && !is_foreign
    });
    template
}

/// A stack that is deployed.
#[derive(Debug)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub id: String,
    template: Value,
    /// By logical id: the type and the physical id.
    resources: BTreeMap<String, (String, String)>,
}

/// A rule of EventBridge, with its one target.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    pub pattern: Value,
    pub target: Value,
}

impl Stack {
    /// Deploys a template under a name of its own; `parameters` are those that it declares without a default.
    pub fn deploy(template_name: &str, parameters: &[(&str, &str)]) -> Stack {
        let template = playable(template(template_name));
        let short = template_name.rsplit('/').next().unwrap();
        let name = format!("{short}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|(name, value)| json!({ "ParameterKey": name, "ParameterValue": value }))
            .collect();
        let made = moto().call(
            "cloudformation",
            "create_stack",
            &json!({ "StackName": name, "TemplateBody": template.to_string(), "Parameters": parameters }),
        );
        let listed = moto().call("cloudformation", "list_stack_resources", &json!({ "StackName": name }));
        let text = |resource: &Value, name: &str| resource[name].as_str().unwrap_or_default().to_owned();
        let resources = listed["StackResourceSummaries"].as_array().unwrap().iter().map(|one| {
            (
                text(one, "LogicalResourceId"),
                (text(one, "ResourceType"), text(one, "PhysicalResourceId")),
            )
        });
        let stack = Stack {
            id: text(&made, "StackId"),
            resources: resources.collect(),
            template,
            name,
        };
        assert_eq!(stack.status(), "CREATE_COMPLETE", "{}", stack.name);
        stack
    }

    fn described(&self) -> Value {
        let described = moto().call("cloudformation", "describe_stacks", &json!({ "StackName": self.name }));
        described["Stacks"][0].clone()
    }

    /// Such as `CREATE_COMPLETE`.
    pub fn status(&self) -> String {
        self.described()["StackStatus"].as_str().unwrap().to_owned()
    }

    /// The value of an output.
    #[track_caller]
    pub fn output(&self, name: &str) -> String {
        let described = self.described();
        let outputs = described["Outputs"].as_array().unwrap();
        let output = outputs.iter().find(|output| output["OutputKey"] == name);
        let output = output.unwrap_or_else(|| panic!("{} has no output {name}", self.name));
        output["OutputValue"].as_str().unwrap().to_owned()
    }

    fn of_type(&self, kind: &str) -> Vec<(&str, &str)> {
        let of = self.resources.iter().filter(|(_, (of, _))| of == kind);
        of.map(|(logical, (_, physical))| (logical.as_str(), physical.as_str()))
            .collect()
    }

    /// Its one task definition, as moto's ECS has it.
    pub fn task_definition(&self) -> Value {
        let found = self.of_type("AWS::ECS::TaskDefinition");
        assert_eq!(found.len(), 1, "{found:?}");
        let described = moto().call(
            "ecs",
            "describe_task_definition",
            &json!({ "taskDefinition": found[0].1 }),
        );
        described["taskDefinition"].clone()
    }

    /// The rules whose targets lead to this service: `ecs`, `sns`, `lambda`.
    pub fn rules(&self, service: &str) -> Vec<Rule> {
        let read = |name: &str| {
            let rule = moto().call("events", "describe_rule", &json!({ "Name": name }));
            let targets = moto().call("events", "list_targets_by_rule", &json!({ "Rule": name }));
            assert_eq!(targets["Targets"].as_array().map(Vec::len), Some(1), "{targets}");
            Rule {
                name: name.to_owned(),
                pattern: serde_json::from_str(rule["EventPattern"].as_str().unwrap()).unwrap(),
                target: targets["Targets"][0].clone(),
            }
        };
        let rules = self
            .of_type("AWS::Events::Rule")
            .into_iter()
            .map(|(_, name)| read(name));
        let prefix = format!("arn:aws:{service}:");
        rules
            .filter(|rule| rule.target["Arn"].as_str().unwrap().starts_with(&prefix))
            .collect()
    }

    /// What CloudFormation has asked its gate, with all references resolved.
    pub fn gate(&self) -> Value {
        let of =
            |event: &Value| event["StackId"] == self.id.as_str() && event["ResourceType"] == "Custom::PrismaMigrations";
        let mut asked = None;
        harness::until("CloudFormation asks the gate", || {
            asked = moto().custom_resources().into_iter().find(of);
            asked.is_some()
        });
        asked.expect("it was found")
    }

    /// The code of the function that a custom resource's event goes to.
    pub fn code(&self, service_token: &str) -> String {
        let name = service_token.rsplit(':').next().unwrap();
        let functions = self.of_type("AWS::Lambda::Function");
        let (logical, _) = functions
            .iter()
            .find(|(_, physical)| *physical == name)
            .expect("the function is the stack's");
        let code = &self.template["Resources"][logical]["Properties"]["Code"]["ZipFile"];
        code.as_str().expect("the code is inline").to_owned()
    }
}

impl Rule {
    /// Whether the event is for this rule.
    #[track_caller]
    pub fn matches(&self, event: &Value) -> bool {
        moto().matches(&self.pattern, event)
    }

    /// What its target is given; an error where EventBridge could not make it.
    pub fn input(&self, event: &Value) -> Result<Value, String> {
        moto().transform(&self.target["InputTransformer"], event)
    }
}

/// What ECS injects for a secret of a task definition: a parameter of SSM, or a secret of Secrets Manager or one key of its JSON.
///
/// Source: the ECS API reference, "Secret"; the ECS developer guide, "Pass Secrets Manager secrets through Amazon ECS environment variables".
pub fn resolve(value_from: &str) -> String {
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("no text behind {value_from}"))
            .to_owned()
    };
    let parts: Vec<&str> = value_from.split(':').collect();
    if parts.get(2) != Some(&"secretsmanager") {
        let name = value_from.split_once(":parameter").map_or(value_from, |(_, name)| name);
        let found = moto().call("ssm", "get_parameter", &json!({ "Name": name, "WithDecryption": true }));
        return text(&found["Parameter"]["Value"]);
    }
    let id = parts[..7].join(":");
    let found = moto().call("secretsmanager", "get_secret_value", &json!({ "SecretId": id }));
    let secret = text(&found["SecretString"]);
    match parts.get(7).filter(|key| !key.is_empty()) {
        None => secret,
        Some(key) => text(&serde_json::from_str::<Value>(&secret).unwrap()[key]),
    }
}
