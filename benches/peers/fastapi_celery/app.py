"""The HTTP half of the peer: accepts a speech and hands it to Celery."""

from fastapi import FastAPI
from pydantic import BaseModel
from worker import celery, speak

app = FastAPI()


class Speech(BaseModel):
    """What the load driver sends; the fields that only hoiam knows are ignored."""

    text: str
    voice: str
    callback_url: str


@app.get("/health/ready")
def ready() -> dict:
    return {"status": "ready"}


# Plain functions, which FastAPI runs in its thread pool, since Celery's calls
# block. Tried as `async def` as well: that accepted fewer.
@app.post("/speech", status_code=202)
def accept(speech: Speech) -> dict:
    task = speak.delay(speech.text, speech.voice, speech.callback_url)
    return {"id": task.id, "status": "queued"}


@app.get("/speech/{speech_id}")
def look_up(speech_id: str) -> dict:
    task = celery.AsyncResult(speech_id)
    return task.result if task.successful() else {"id": speech_id, "status": task.state}
