# moto's server on a free port, and a side door for what no AWS API gives, on another: both are printed. It ends when stdin closes.
import itertools
import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.core.exceptions import JsonRESTError
from moto.iam import access_control
from moto.server import ThreadedMotoServer

ACCOUNT, REGION = "123456789012", "eu-west-1"


# Where moto checks access it answers in XML with 403, as S3 does. Secrets Manager answers in JSON with 400 and names of its own.
class AccessDenied(JsonRESTError):
    code = 400

    def __init__(self, user_arn, action):
        super().__init__("AccessDeniedException", f"User: {user_arn} is not authorized to perform: {action}")


class UnknownClient(JsonRESTError):
    code = 400

    def __init__(self):
        super().__init__("UnrecognizedClientException", "The security token included in the request is invalid.")


access_control.AccessDeniedError = AccessDenied
access_control.InvalidClientTokenIdError = UnknownClient

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]


# Any operation of any service, by boto3: {"service", "operation", "parameters"}.
clients, clients_lock = {}, threading.Lock()


def call(body):
    import boto3

    with clients_lock:
        service = body["service"]
        if service not in clients:
            keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
            clients[service] = boto3.client(service, REGION, endpoint_url=f"http://127.0.0.1:{port}", **keys)
    return getattr(clients[service], body["operation"])(**body["parameters"])


# CloudFormation invokes a custom resource's function: here it is written down, and the stack goes on as if it had succeeded. The test runs it.
events = []


def watch_custom_resources():
    from moto.awslambda.models import LambdaFunction
    from moto.cloudformation.models import Stack

    def invoke(self, body, *_):
        events.append(json.loads(body))
        return b""

    LambdaFunction.invoke = invoke
    create = Stack.create_resources

    # Not in the function's own thread: moto makes a resource twice when two threads look at it.
    def create_resources(self):
        create(self)
        for resource in self.custom_resources.values():
            resource.set_data({})
        self.verify_readiness()

    Stack.create_resources = create_resources


# The status that DescribeStacks says from now on: {"stack", "status"}.
def set_status(body):
    from moto.cloudformation import cloudformation_backends

    cloudformation_backends[ACCOUNT][REGION].get_stack(body["stack"]).status = body["status"]
    return {}


# Whether an event matches a rule's pattern: {"pattern", "event"}. moto's matcher takes an operator that it does not know for a match, and looks into no
# list of objects. Source: the EventBridge user guide, "Comparison operators for use in event patterns"; a list of objects matches where one of them
# matches in all its fields (aws/event-ruler, "Event Matching with JSON Arrays").
OPERATORS = {"prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr", "exists"}


def refuse_unknown(pattern):
    for value in pattern.values():
        if isinstance(value, dict):
            refuse_unknown(value)
            continue
        if not isinstance(value, list) or not value:
            raise ValueError(f"no list of values: {value!r}")
        for one in value:
            if isinstance(one, dict) and not (len(one) == 1 and set(one) <= OPERATORS):
                raise ValueError(f"AWS documents no such operator: {one!r}")


def choices(value):
    if isinstance(value, dict):
        names = list(value)
        return [dict(zip(names, each)) for each in itertools.product(*(choices(value[name]) for name in names))]
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return [choice for one in value for choice in choices(one)]
    return [value]


# {"exists": false} is about the whole event: a field that any object of a list has is there (aws/event-ruler, "Exists match").
def has(event, path):
    if isinstance(event, list):
        return any(has(one, path) for one in event)
    if not path:
        return True
    return isinstance(event, dict) and path[0] in event and has(event[path[0]], path[1:])


def split_absent(pattern, path=()):
    absent, rest = [], {}
    for name, value in pattern.items():
        if isinstance(value, dict):
            more, kept = split_absent(value, (*path, name))
            absent += more
            if kept:
                rest[name] = kept
        elif value == [{"exists": False}]:
            absent.append((*path, name))
        else:
            rest[name] = value
    return absent, rest


def match(body):
    from moto.events.models import EventPattern

    refuse_unknown(body["pattern"])
    absent, rest = split_absent(body["pattern"])
    if any(has(body["event"], path) for path in absent):
        return False
    pattern = EventPattern.load(json.dumps(rest))
    return any(pattern.matches_event(choice) for choice in choices(body["event"]))


# What a target is given: {"transformer", "event"}. moto's transformer leaves strings without their quotes. Source: the EventBridge user guide, "Input
# transform examples" and "Common issues with transforming input": a path that is not in the event makes no variable.
def transform(body):
    values = {}
    for name, path in body["transformer"]["InputPathsMap"].items():
        node = body["event"]
        try:
            for step in re.findall(r"[^.\[\]$]+", path):
                node = node[int(step) if isinstance(node, list) else step]
            values[name] = node
        except (KeyError, IndexError):
            pass

    def insert(part):
        name = part[1]
        if name not in values:
            raise ValueError(f"<{name}> is not in the event")
        return json.dumps(values[name])

    return json.loads(re.sub(r"<([A-Za-z0-9_-]+)>", insert, body["transformer"]["InputTemplate"]))


class SideDoor(BaseHTTPRequestHandler):
    doors = {"/call": call, "/status": set_status, "/match": match, "/transform": transform, "/events": lambda _: events}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"null")
        try:
            status, answer = 200, self.doors[self.path](body)
        except Exception as error:
            status, answer = 500, f"{type(error).__name__}: {error}"
        text = json.dumps(answer, default=str).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


side_door = ThreadingHTTPServer(("127.0.0.1", 0), SideDoor)
threading.Thread(target=side_door.serve_forever, daemon=True).start()
if "--stacks" in sys.argv:
    watch_custom_resources()
print(port, side_door.server_port, flush=True)
# moto prints what it does not support, and nobody reads on.
sys.stdout = open(os.devnull, "w")
sys.stdin.read()
os._exit(0)
