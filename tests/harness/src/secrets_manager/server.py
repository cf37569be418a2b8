# moto's server on a free port, which it prints; it ends when stdin closes.
import os
import sys

from moto.core.exceptions import JsonRESTError
from moto.iam import access_control
from moto.server import ThreadedMotoServer


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
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
os._exit(0)
