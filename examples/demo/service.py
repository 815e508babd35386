"""The hoiam service as a process: start it, talk to it, stop it or kill it."""

import http.client
import json
import os
import signal
import subprocess
import threading
import time

START_LIMIT_S = 30
STOP_LIMIT_S = 30
ANSWER_LIMIT_S = 20


class DemoFailed(Exception):
    """Something is not as it should be; the message says what."""


class Service:
    """Runs `hoiam serve`. Whatever is started again gets the address of the first start."""

    def __init__(self, program, folder):
        self.program = program
        self.data = folder / "data"
        self.log = folder / "service.log"
        self.address = "127.0.0.1:0"
        self._process = None

    @property
    def secret(self):
        """The text of the secret that the service has made to sign its callbacks."""
        return (self.data / "callback.secret").read_text().strip()

    def start(self):
        """Returns once the service listens; the answer is how many seconds that took."""
        began = time.monotonic()
        arguments = ["serve", "--listen", self.address, "--data-dir", str(self.data)]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [self.program, *arguments, "--set", "tts.workers=2"],
                env=_environment_without_settings(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        # Ends a start that hangs, so that the line below does not wait for ever.
        too_late = threading.Timer(START_LIMIT_S, self._process.kill)
        too_late.start()
        said = self._process.stdout.readline()
        too_late.cancel()
        if "http://" not in said:
            raise DemoFailed(f"the service did not start; it said {said!r}, see {self.log}")
        self.address = said.split("http://")[1].strip().rstrip("/")
        return time.monotonic() - began

    def kill(self):
        """`kill -9`: the process gets no chance to put anything in order."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """SIGTERM: everything is put in order. Answers with the exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"the service did not end in {STOP_LIMIT_S} s") from None

    def end_if_running(self):
        """For the case that the demo itself has failed."""
        if self._process and self._process.poll() is None:
            self.kill()

    def get(self, path):
        """The JSON that the service answers."""
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path):
        """The body that the service answers, as it is."""
        return self._exchange("GET", path, None, expected=200)

    def post(self, path, body):
        """Sends JSON, expects 202, returns the JSON of the answer."""
        return json.loads(self._exchange("POST", path, body, expected=202))

    def _exchange(self, method, path, body, expected):
        connection = http.client.HTTPConnection(self.address, timeout=ANSWER_LIMIT_S)
        try:
            headers = {"content-type": "application/json"} if body else {}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != expected:
            raise DemoFailed(f"{method} {path} answered {answer.status}: {text.decode()}")
        return text

    def events(self, path):
        """The events below `path` as they happen, from here on. The stream is open when
        this returns, so nothing that is done afterwards is missed."""
        connection = http.client.HTTPConnection(self.address, timeout=ANSWER_LIMIT_S)
        connection.request("GET", path, headers={"accept": "text/event-stream"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise DemoFailed(f"GET {path} answered {answer.status}")
        return _parse_events(path, answer)


def _parse_events(path, answer):
    """Server-sent events: the lines that begin with `data: ` are all that is needed here."""
    deadline = time.monotonic() + ANSWER_LIMIT_S
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line[len(b"data: "):])
        # A quiet stream still sends comments, so this comes to be looked at.
        if time.monotonic() > deadline:
            raise DemoFailed(f"{path} did not bring the expected event in {ANSWER_LIMIT_S} s")
    raise DemoFailed(f"the stream {path} ended early")


def _environment_without_settings():
    """This shell's own settings for hoiam are none of the demo's."""
    return {key: value for key, value in os.environ.items() if not key.startswith("HOIAM_")}
