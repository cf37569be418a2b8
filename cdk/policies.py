"""Every IAM policy of synthesized templates, read by parliament, which knows AWS's actions, resources and condition keys: policies.py TEMPLATE ...

References are put into words before: an ARN that is a reference to a resource becomes an ARN of that kind. What parliament does not know yet, or judges
otherwise than AWS documents it, is in KNOWN, with the page that says so.
"""
import json
import re
import sys

from parliament import analyze_policy_string

# finding, part of its detail, AWS's page.
KNOWN = [
    # It lists the tasks of a cluster, which a condition names. The one resource that it knows is a container instance, and Fargate has none.
    ("RESOURCE_STAR", "ecs:ListTasks", "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html"),
    # It takes executions of standard state machines too.
    ("RESOURCE_MISMATCH", "states:DescribeExecution", "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html"),
    # The CDK's own grant to read a parameter names it for an action that knows none: harmless.
    ("RESOURCE_MISMATCH", "ssm:DescribeParameters", "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html"),
]

PSEUDO = {"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012", "AWS::StackName": "stack", "AWS::URLSuffix": "amazonaws.com",
          "AWS::StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/stack/1"}
ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::bucket",
    "AWS::ECS::Cluster": "arn:aws:ecs:eu-west-1:123456789012:cluster/cluster",
    "AWS::IAM::Role": "arn:aws:iam::123456789012:role/role",
    "AWS::KMS::Key": "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-4000-8000-000000000000",
    "AWS::SQS::Queue": "arn:aws:sqs:eu-west-1:123456789012:queue",
    "AWS::SNS::Topic": "arn:aws:sns:eu-west-1:123456789012:topic",
    "AWS::Logs::LogGroup": "arn:aws:logs:eu-west-1:123456789012:log-group:group:*",
    "AWS::ECR::Repository": "arn:aws:ecr:eu-west-1:123456789012:repository/repository",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:secret-AbCdEf",
    "AWS::SecretsManager::SecretTargetAttachment": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:secret-AbCdEf",
    "AWS::StepFunctions::StateMachine": "arn:aws:states:eu-west-1:123456789012:stateMachine:machine",
    "AWS::ECS::TaskDefinition": "arn:aws:ecs:eu-west-1:123456789012:task-definition/family:1",
}
IMPORT = [("Bucket", "AWS::S3::Bucket"), ("Artifacts", "AWS::S3::Bucket"), ("Cluster", "AWS::ECS::Cluster"), ("Role", "AWS::IAM::Role"), ("Key", "AWS::KMS::Key"),
          ("Topic", "AWS::SNS::Topic"), ("Alarms", "AWS::SNS::Topic"), ("Log", "AWS::Logs::LogGroup"), ("Secret", "AWS::SecretsManager::Secret"), ("Login", "AWS::SecretsManager::Secret")]


def resolve(value, template):
    if isinstance(value, list):
        return [resolve(one, template) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(function, argument)] = value.items()
        resources = template["Resources"]
        if function == "Ref":
            if argument in PSEUDO:
                return PSEUDO[argument]
            kind = resources.get(argument, {}).get("Type")
            return ARNS.get(kind, "name") if kind and (kind in ("AWS::SNS::Topic", "AWS::StepFunctions::StateMachine", "AWS::ECS::TaskDefinition") or "Secret" in kind) else "name"
        if function == "Fn::GetAtt":
            name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
            return ARNS.get(resources[name]["Type"], "name") if attribute.endswith("Arn") else "name"
        if function == "Fn::Join":
            return argument[0].join(str(one) for one in resolve(argument[1], template))
        if function == "Fn::ImportValue":
            text = json.dumps(argument)
            # A reference to a topic is its ARN.
            is_arn = "Arn" in text or "Alarms" in text or "Topic" in text
            return next((ARNS[kind] for part, kind in IMPORT if part in text), "name") if is_arn else "name"
        if function in ("Fn::Select", "Fn::Split", "Fn::Sub", "Fn::FindInMap", "Fn::If"):
            return "name"
    return {name: resolve(one, template) for name, one in value.items()}


def main(paths):
    found, count = [], 0
    for path in paths:
        template = json.load(open(path))
        for name, resource in template["Resources"].items():
            if resource["Type"] != "AWS::IAM::Policy":
                continue
            count += 1
            policy = resolve(resource["Properties"]["PolicyDocument"], template)
            for finding in analyze_policy_string(json.dumps(policy)).findings:
                detail = json.dumps([finding.detail, finding.location], default=str)
                if not any(finding.issue == issue and part in detail for issue, part, _ in KNOWN):
                    found.append(f"{path} {name}: {finding.issue} {detail[:400]}")
    print("\n".join(found))
    print(f"parliament has {'nothing' if not found else 'something'} to say of {count} policies in {len(paths)} templates")
    return bool(found) or count == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
