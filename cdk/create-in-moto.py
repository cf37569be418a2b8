"""Creates synthesized templates in moto's CloudFormation, as far as moto knows the resources: create-in-moto.py TEMPLATE ...

moto leaves out what it does not know, and says nothing. Those types are printed, with how often they occur, so that nobody takes them for created. Policies
are left out: policies.py reads them, and moto has an idea of its own of ARNs. Templates that import values of others come after them, in the order given.
"""
import collections
import json
import os
import sys

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="eu-west-1")

import boto3
from moto import mock_aws
from moto.cloudformation.models import Stack

# moto invokes the function of a custom resource, and waits for its answer.
create = Stack.create_resources


def create_resources(self):
    create(self)
    for resource in self.custom_resources.values():
        resource.set_data({})
    self.verify_readiness()


Stack.create_resources = create_resources


# What moto would refuse the whole template for: types that it does not know are replaced where others refer to them.
REPLACED = {"AWS::RDS::DBCluster"}


def replaced(value, resources):
    if isinstance(value, list):
        return [replaced(one, resources) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(function, argument)] = value.items()
        name = argument if function == "Ref" else argument[0] if function == "Fn::GetAtt" and isinstance(argument, list) else None
        if isinstance(name, str) and resources.get(name, {}).get("Type") in REPLACED:
            return "5432" if argument[-1] == "Endpoint.Port" else "unknown"
        if function == "Fn::GetAtt" and argument[-1] == "DbiResourceId":
            return "db-UNKNOWN"
    return {name: replaced(one, resources) for name, one in value.items()}


def playable(template, stack):
    resources = template["Resources"]
    for one in resources.values():
        # moto's RDS has no instance of an Aurora cluster.
        if one["Type"] == "AWS::RDS::DBInstance" and "DBClusterIdentifier" in one["Properties"]:
            one["Type"] = "AWS::RDS::DBCluster"
    kept = {}
    for name, one in resources.items():
        # A door into a group that is in no template.
        is_foreign = one["Type"].startswith("AWS::EC2::SecurityGroup") and isinstance(one["Properties"].get("GroupId"), str)
        if one["Type"] == "AWS::IAM::Policy" or is_foreign:
            continue
        one.pop("DependsOn", None)
        if one["Type"] == "AWS::ECR::Repository":
            # moto makes a name of the stack's, with capitals, which ECR does not take.
            one.setdefault("Properties", {})["RepositoryName"] = f"{stack}-{name}".lower()
        kept[name] = one
    template = replaced(template | {"Resources": kept}, resources)
    template["Resources"] = {name: one for name, one in template["Resources"].items() if one["Type"] not in REPLACED}
    return template


def main(paths):
    from moto.awslambda.models import LambdaFunction

    LambdaFunction.invoke = lambda self, *_: b""
    unknown, made, failed = collections.Counter(), collections.Counter(), []
    for path in paths:
        template = json.load(open(path))
        for one in template["Resources"].values():
            if one["Type"] in REPLACED:
                unknown[one["Type"]] += 1
        name = os.path.basename(path).split(".")[0]
        template = playable(template, name)
        region = "cn-north-1" if "china" in name else "eu-west-1"
        client = boto3.client("cloudformation", region)
        ssm = boto3.client("ssm", region)
        for parameter, value in [("/account/services/artifact.bucket", "artifacts"), ("/cdk-bootstrap/hnb659fds/version", "21")]:
            ssm.put_parameter(Name=parameter, Value=value, Type="String", Overwrite=True)
        parameters = [
            {"ParameterKey": key, "ParameterValue": "17"} for key, one in template.get("Parameters", {}).items() if "Default" not in one
        ]
        try:
            client.create_stack(StackName=name, TemplateBody=json.dumps(template), Parameters=parameters)
            known = {one["LogicalResourceId"] for one in client.list_stack_resources(StackName=name)["StackResourceSummaries"]}
        except Exception as error:  # the next templates are still tried
            failed.append(f"{name}: {type(error).__name__}: {error}")
            continue
        for logical, one in template["Resources"].items():
            (made if logical in known else unknown)[one["Type"]] += 1
    print("created:", ", ".join(f"{kind} {count}" for kind, count in sorted(made.items())))
    print("moto does not know:", ", ".join(f"{kind} {count}" for kind, count in sorted(unknown.items())) or "nothing")
    print("\n".join(failed))
    print(f"{len(paths) - len(failed)} of {len(paths)} templates were created")
    return bool(failed)


if __name__ == "__main__":
    with mock_aws():
        sys.exit(main(sys.argv[1:]))
