"""The worker half of the peer: Celery tasks that speak a text and report by callback."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import time
from pathlib import Path

import requests
from celery import Celery

FOLDER = Path(os.environ["PEER_FOLDER"])
SECRET = base64.b64decode(os.environ["PEER_SECRET"].removeprefix("whsec_"))

REDIS = os.environ["PEER_REDIS"]

# The result backend is what GET answers from. Late acknowledgement, with no task
# reserved ahead, so that a worker that dies loses none.
celery = Celery("peer", broker=REDIS, backend=REDIS)
celery.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)

# One session a process, so that callbacks reuse their connection.
session = requests.Session()


@celery.task(
    bind=True, autoretry_for=(requests.RequestException,), retry_backoff=True, max_retries=11
)
def speak(self, text: str, voice: str, callback_url: str) -> dict:
    """Speaks one text and tells the sender; the null engine does nothing at all."""
    speech_id = self.request.id
    speech = {"id": speech_id, "status": "completed", "voice": voice}
    if voice.startswith("espeak/"):
        speech["audio"] = {"bytes": speak_with_espeak(speech_id, text, voice)}
    tell(callback_url, {"type": "speech.completed", "data": speech})
    return speech


def speak_with_espeak(speech_id: str, text: str, voice: str) -> int:
    """Writes the speech as mp3 and answers its size in bytes."""
    language = voice.removeprefix("espeak/")
    audio = FOLDER / f"{speech_id}.mp3"
    engine = subprocess.Popen(
        ["espeak-ng", "-v", language, "--stdout", "--stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    encoder = subprocess.Popen(
        ["lame", "--quiet", "-b", "64", "-m", "m", "-", str(audio)],
        stdin=engine.stdout,
    )
    engine.stdout.close()
    engine.stdin.write(text.encode())
    engine.stdin.close()
    if engine.wait() != 0 or encoder.wait() != 0:
        raise RuntimeError("espeak-ng or lame failed")
    return audio.stat().st_size


def tell(callback_url: str, event: dict) -> None:
    """Sends one callback, signed as Standard Webhooks says."""
    body = json.dumps(event)
    message_id = f"msg_{event['data']['id']}"
    timestamp = str(int(time.time()))
    signed = f"{message_id}.{timestamp}.{body}".encode()
    signature = base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
    answer = session.post(
        callback_url,
        data=body,
        timeout=15,
        headers={
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        },
    )
    answer.raise_for_status()
