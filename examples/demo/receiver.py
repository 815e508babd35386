"""A receiver of callbacks, as a client of hoiam would write it."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections import namedtuple
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The one path that takes callbacks. Every other path answers 404.
PATH = "/voice"
TIMESTAMP_TOLERANCE_S = 300

Request = namedtuple("Request", "at method path status webhook_id body")


class Receiver:
    """Listens on a free port, verifies signatures, and keeps every request that came."""

    def __init__(self, secret):
        self._requests = []
        self._came = threading.Condition()
        handler = type("Handler", (_Handler,), {"receiver": self, "key": _key(secret)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.url = self.origin + PATH
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def keep(self, request):
        with self._came:
            self._requests.append(request)
            self._came.notify_all()

    def requests(self, path=PATH):
        """What has come to a path so far, oldest first."""
        with self._came:
            return [request for request in self._requests if request.path == path]

    def told(self):
        """The ids of the tasks that were reported completed, each with the set of webhook-ids
        that did so. A callback that is sent again keeps its webhook-id, so more than one
        means that something was applied twice."""
        told = {}
        for request in self.requests():
            if request.body.get("type") == "task.completed":
                told.setdefault(request.body["data"]["id"], set()).add(request.webhook_id)
        return told

    def wait_until(self, condition, limit_s):
        """Waits for requests until `condition()` holds; False when it does not in time."""
        with self._came:
            return self._came.wait_for(condition, limit_s)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self):
        """The question whether there is a receiver at all, asked before any work."""
        self._answer(204 if self.path == PATH else 404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != PATH:
            status = 404
        elif _is_genuine(self.key, self.headers, body):
            status = 204
        else:
            status = 401
        self._answer(status, json.loads(body))

    def _answer(self, status, body):
        # Kept before it is answered: when the service knows, so does the demo.
        webhook_id = self.headers["webhook-id"]
        at = datetime.now(timezone.utc)
        self.receiver.keep(Request(at, self.command, self.path, status, webhook_id, body))
        self.send_response(status)
        if status == 204 and self.command == "OPTIONS":
            self.send_header("webhook-allowed-origin", "*")
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """The demo prints what matters."""

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # The service was killed in the middle of a callback.


def _key(secret):
    return base64.b64decode(secret[len("whsec_"):])


def _is_genuine(key, headers, body):
    """Standard Webhooks: an HMAC-SHA256 over id, time and body, and not an old one."""
    webhook_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > TIMESTAMP_TOLERANCE_S:
        return False
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    offered = headers["webhook-signature"].encode().split()
    return any(hmac.compare_digest(expected, signature) for signature in offered)
