//! An AWS account in which things carry tags: CloudFormation, SSM, RDS and the tagging API of moto, filled by the real SDK.

use std::collections::HashMap;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudformation::types as cloudformation;
use aws_sdk_ecs::types as ecs;
use aws_sdk_ssm::config::Credentials;
use harness::secrets_manager::{REGION, SecretsManager};
use serde_json::json;
use tokio::runtime::Runtime;

/// A part of moto's account that no other test uses: everything in it has a stage of its own.
pub struct Account {
    stage: String,
    sdk: SdkConfig,
    runtime: Runtime,
}

impl Account {
    pub fn new() -> Account {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(SecretsManager::shared().endpoint())
            .credentials_provider(aws_sdk_ssm::config::SharedCredentialsProvider::new(
                Credentials::for_tests(),
            ))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let stage = uuid::Uuid::new_v4().simple().to_string().split_off(20).to_uppercase();
        Account {
            stage,
            sdk,
            runtime: runtime.unwrap(),
        }
    }

    /// The value of the tag Stage.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// A name that no other test has.
    pub fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.stage.to_lowercase())
    }

    /// The variables by which the program finds all of it but ECS and its logs.
    pub fn environment(&self) -> Vec<(String, String)> {
        let services = ["CLOUDFORMATION", "SSM", "RDS", "RESOURCE_GROUPS_TAGGING_API"];
        let endpoint = SecretsManager::shared().endpoint();
        services
            .map(|service| (format!("AWS_ENDPOINT_URL_{service}"), endpoint.clone()))
            .into()
    }

    /// A CloudFormation stack with these outputs, tagged with the stage and, where one is given, the app.
    pub fn stack(&self, name: &str, app: Option<&str>, outputs: &[(&str, &str)]) -> String {
        let name = self.name(name);
        let outputs: HashMap<&str, serde_json::Value> = outputs
            .iter()
            .map(|(name, value)| (*name, json!({ "Value": value })))
            .collect();
        let parameter = json!({ "Type": "String", "Value": "x", "Name": format!("/{name}") });
        let resources = json!({ "Parameter": { "Type": "AWS::SSM::Parameter", "Properties": parameter } });
        let template = json!({ "Resources": resources, "Outputs": outputs });
        self.create(&name, app, &template);
        name
    }

    fn create(&self, name: &str, app: Option<&str>, template: &serde_json::Value) {
        let tag = |key: &str, value: &str| cloudformation::Tag::builder().key(key).value(value).build();
        let tags = app.map(|app| vec![tag("Stage", &self.stage), tag("App", app)]);
        let request = aws_sdk_cloudformation::Client::new(&self.sdk).create_stack();
        let request = request.stack_name(name).template_body(template.to_string());
        self.runtime.block_on(request.set_tags(tags).send()).unwrap();
    }

    /// A cluster with the stage, and where one is given the app; its ARN.
    pub fn cluster(&self, name: &str, app: Option<&str>) -> String {
        let request = aws_sdk_ecs::Client::new(&self.sdk).create_cluster();
        let request = request.cluster_name(self.name(name)).set_tags(Some(self.tags(app)));
        let made = self.runtime.block_on(request.send()).unwrap();
        made.cluster.unwrap().cluster_arn.unwrap()
    }

    /// A revision of a family of task definitions; its family.
    pub fn definition(&self, name: &str, app: Option<&str>) -> String {
        self.definition_of(name, self.tags(app))
    }

    /// A revision of that family for another stage.
    pub fn definition_of_stage(&self, name: &str, stage: &str, app: &str) -> String {
        let tag = |key: &str, value: &str| ecs::Tag::builder().key(key).value(value).build();
        self.definition_of(name, vec![tag("Stage", stage), tag("App", app)])
    }

    fn definition_of(&self, name: &str, tags: Vec<ecs::Tag>) -> String {
        let family = self.name(name);
        let container = ecs::ContainerDefinition::builder()
            .name("migrate")
            .image("x")
            .memory(64);
        let request = aws_sdk_ecs::Client::new(&self.sdk).register_task_definition();
        let request = request.family(&family).container_definitions(container.build());
        self.runtime.block_on(request.set_tags(Some(tags)).send()).unwrap();
        family
    }

    fn tags(&self, app: Option<&str>) -> Vec<ecs::Tag> {
        let tags = [("Stage", Some(self.stage.as_str())), ("App", app)];
        tags.iter()
            .filter_map(|(key, value)| Some(ecs::Tag::builder().key(*key).value((*value)?).build()))
            .collect()
    }

    /// A security group with the stage; made by CloudFormation, in a stack without tags.
    pub fn security_group(&self, name: &str) {
        let tags = json!([{ "Key": "Stage", "Value": self.stage }]);
        let group = json!({ "GroupDescription": "x", "Tags": tags });
        let template = json!({ "Resources": { "Group": { "Type": "AWS::EC2::SecurityGroup", "Properties": group } } });
        self.create(&self.name(name), None, &template);
    }

    /// A parameter with this value; its name.
    pub fn parameter(&self, value: &str) -> String {
        let name = format!("/{}/subnets", self.stage);
        let request = aws_sdk_ssm::Client::new(&self.sdk).put_parameter();
        let request = request
            .name(&name)
            .value(value)
            .r#type(aws_sdk_ssm::types::ParameterType::StringList);
        self.runtime.block_on(request.send()).unwrap();
        name
    }

    /// An RDS instance.
    pub fn db_instance(&self) -> String {
        let name = self.name("db");
        let request = aws_sdk_rds::Client::new(&self.sdk).create_db_instance();
        let request = request
            .db_instance_identifier(&name)
            .db_instance_class("db.t4g.micro")
            .engine("postgres")
            .allocated_storage(20)
            .master_username("admin0")
            .master_user_password("not-checked-0");
        self.runtime.block_on(request.send()).unwrap();
        name
    }

    /// An Aurora cluster.
    pub fn db_cluster(&self) -> String {
        let name = self.name("aurora");
        let request = aws_sdk_rds::Client::new(&self.sdk).create_db_cluster();
        let request = request
            .db_cluster_identifier(&name)
            .engine("aurora-postgresql")
            .master_username("admin0")
            .master_user_password("not-checked-0");
        self.runtime.block_on(request.send()).unwrap();
        name
    }

    /// The snapshots of an instance that RDS has not taken by itself: their names and tags.
    pub fn snapshots(&self, instance: &str) -> Vec<(String, HashMap<String, String>)> {
        let request = aws_sdk_rds::Client::new(&self.sdk).describe_db_snapshots();
        let seen = self
            .runtime
            .block_on(request.db_instance_identifier(instance).send())
            .unwrap();
        let snapshots = seen
            .db_snapshots
            .unwrap_or_default()
            .into_iter()
            .filter(|snapshot| snapshot.snapshot_type() == Some("manual"))
            .map(|snapshot| {
                let tags = snapshot.tag_list.unwrap_or_default().into_iter();
                let tags = tags.filter_map(|tag| tag.key.zip(tag.value)).collect();
                (snapshot.db_snapshot_identifier.unwrap(), tags)
            });
        snapshots.collect()
    }

    /// The names of the snapshots of a cluster that RDS has not taken by itself.
    pub fn cluster_snapshots(&self, cluster: &str) -> Vec<String> {
        let request = aws_sdk_rds::Client::new(&self.sdk).describe_db_cluster_snapshots();
        let seen = self
            .runtime
            .block_on(request.db_cluster_identifier(cluster).send())
            .unwrap();
        let snapshots = seen
            .db_cluster_snapshots
            .unwrap_or_default()
            .into_iter()
            .filter(|snapshot| snapshot.snapshot_type() == Some("manual"));
        snapshots
            .filter_map(|snapshot| snapshot.db_cluster_snapshot_identifier)
            .collect()
    }
}
