"""What a back end does with Apache Qpid Proton, an AMQP client of its own kind.

    peer.py COMMAND <<<'{"host": …, "ca": …, "policy": …, "key": …, …}'

Run it by ../run.sh, whose node/proton.js says what each command is given and checks
what it prints: one line of JSON.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
import urllib.parse
import uuid

from proton import ConnectionException, Delivery, Message, SSLDomain, symbol
from proton.handlers import MessagingHandler
from proton.reactor import Selector
from proton.utils import BlockingConnection, LinkDetached, SendException

TIMEOUT = 20  # seconds


def token(config, resource):
    """A token of the policy for the resource, good for ten minutes."""
    resource = urllib.parse.quote(resource, safe="")
    ends = int(time.time()) + 600
    signed = hmac.new(base64.b64decode(config["key"]), f"{resource}\n{ends}".encode(), hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(signed), safe="")
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={ends}&skn={config['policy']}"


def connect(config, **login):
    domain = SSLDomain(SSLDomain.MODE_CLIENT)
    domain.set_trusted_ca_db(config["ca"])
    domain.set_peer_authentication(SSLDomain.VERIFY_PEER_NAME)
    # Proton finds names only in a certificate, and no IP addresses; every hub has this one.
    return BlockingConnection(f"amqps://{config['host']}:5671", timeout=TIMEOUT, ssl_domain=domain, sni="localhost", **login)


def connect_plain(config):
    """With SASL PLAIN, as the C SDK does."""
    return connect(config, allowed_mechs="PLAIN", user=f"{config['policy']}@sas.root.hub",
                   password=token(config, config["host"]))


def connect_cbs(config, resource):
    """Without SASL credentials, and a token for the resource put to $cbs."""
    connection = connect(config, allowed_mechs="ANONYMOUS")
    answers = connection.create_receiver("$cbs", credit=1, name=str(uuid.uuid4()))
    requests = connection.create_sender("$cbs")
    requests.send(Message(
        id=str(uuid.uuid4()), address="$cbs", reply_to=answers.link.name, body=token(config, resource),
        properties={"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": resource}))
    answer = answers.receive(timeout=TIMEOUT)
    answers.accept()
    if answer.properties["status-code"] != 200:
        raise RuntimeError(f"put-token: {answer.properties}")
    return connection


def data(message):
    """The payload; a data section comes as a memoryview or bytes."""
    return bytes(message.body)


def send(config):
    """Sends a message to a device and waits for the feedback about it."""
    connection = connect_plain(config)
    receiver = connection.create_receiver("/messages/servicebound/feedback", credit=10)
    sender = connection.create_sender("/messages/devicebound")
    sender.send(Message(
        id=config["messageId"], address=f"/devices/{config['deviceId']}/messages/devicebound",
        properties={"iothub-ack": "full", "colour": "blue"}, body=b"hello", inferred=True))
    while True:
        message = receiver.receive(timeout=TIMEOUT)
        receiver.accept()
        for record in json.loads(data(message)):
            if record["originalMessageId"] == config["messageId"]:
                connection.close()
                return record


def refused(config):
    """How a message to nobody, and a wrong password, are refused."""
    connection = connect_plain(config)
    sender = connection.create_sender("/messages/devicebound")
    try:
        sender.send(Message(address="/devices/nobody/messages/devicebound", body=b"x", inferred=True))
        message = "accepted"
    except SendException as e:
        message = "rejected" if e.state == Delivery.REJECTED else str(e.state)
    connection.close()
    try:
        connect_plain({**config, "key": base64.b64encode(b"wrong").decode()})
        login = "accepted"
    except ConnectionException:
        login = "refused"
    return {"message": message, "login": login}


class Events(MessagingHandler):
    """Takes in the events of one device, in the order of their arrival."""

    def __init__(self, device_id):
        super().__init__(prefetch=0)
        self.device_id, self.found = device_id, []

    def on_message(self, event):
        message = event.message
        if message.annotations[symbol("iothub-connection-device-id")] == self.device_id:
            self.found.append({"body": json.loads(data(message)), "id": message.id, "properties": message.properties})


def events(config):
    """Reads so many events of a device, from whichever partition has them."""
    hub = config["eventHub"]
    connection = connect_cbs(config, f"sb://{config['host']}/{hub}")
    taken = Events(config["deviceId"])
    receivers = [connection.create_receiver(
        f"{hub}/ConsumerGroups/$Default/Partitions/{partition}", credit=1000, handler=taken,
        options=[Selector("amqp.annotation.x-opt-offset > '-1'", "apache.org:selector-filter:string")],
    ) for partition in range(config["partitions"])]
    connection.wait(lambda: len(taken.found) >= config["count"], timeout=TIMEOUT, msg="waiting for events")
    receivers.clear()  # one that nobody holds has no handler any more
    try:
        connection.create_receiver(f"{hub}/ConsumerGroups/nobody/Partitions/0")
        unknown = "attached"
    except LinkDetached as e:
        unknown = str(e.condition)
    connection.close()
    return {"events": taken.found, "unknownGroup": unknown}


if __name__ == "__main__":
    print(json.dumps({"send": send, "refused": refused, "events": events}[sys.argv[1]](json.load(sys.stdin))))
