"""Shows what hoiam does, with the real program, and checks every claim on the way.

    python3 examples/demo [PROGRAM]      target/release/hoiam by default; `make demo` builds it

Three scenarios: a text becomes sound by callback; a wrong callback URL is found out before
any work; the service is killed in the middle of its work and nothing is lost or done twice.
All figures are measured while it runs. Exit status 0 means that everything was as it should
be. Only the standard library of Python is needed; nothing leaves this machine.
"""

import hashlib
import shutil
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from media import mp3_duration_ms, srt_cues
from receiver import Receiver
from service import DemoFailed, Service

OUTPUT = Path("demo-output")
CALLBACK_LIMIT_S = 60

TEXTS = {
    "vietnamese": "Xin chào các bạn! Đây là hồi âm: bạn gửi một đoạn văn bản, và giọng nói sẽ "
    "quay về. Phụ đề đi cùng file mp3, nên làm video rất tiện. Không ai phải chờ ai.",
    "english": "Hello! You send a text, and the voice comes back. The subtitles come with it, "
    "and so do the times of all words. Nobody waits for anybody.",
}
# Long enough that a machine of any speed is still at work when the service is killed.
CHAPTER = "Chapter {number}. " + " ".join(TEXTS.values()) * 3
CHAPTERS = 20
KILLED_AFTER = 6


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "target/release/hoiam"
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    service = Service(program, OUTPUT)
    try:
        run(service)
    except (DemoFailed, OSError) as error:
        print(f"\nThe demo has failed: {error}\nWhat the service said: {service.log}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        service.end_if_running()
    return 0


def run(service):
    seconds = service.start()
    receiver = Receiver(service.secret)
    print(f"The service   http://{service.address} (listened after {seconds:.2f} s), new data in {service.data}")
    print(f"The receiver  {receiver.url} (this script; any other path answers 404)")
    text_in_voice_back(service, receiver)
    wrong_callback_url(service, receiver)
    killed_in_the_middle(service, receiver)

    title("The end")
    began = time.monotonic()
    status = service.stop()
    say(f"SIGTERM: the service ended after {time.monotonic() - began:.2f} s with exit status {status}")
    check(status == 0, "the service did not end in order")
    callbacks = receiver.requests()
    forged = sum(request.status == 401 for request in callbacks)
    say(f"the receiver has verified {len(callbacks)} callbacks: {forged} had a wrong signature")
    check(forged == 0, "a callback was not signed as it should be")
    say(f"listen to it: {OUTPUT}/vietnamese.mp3, {OUTPUT}/english.mp3")


# 1


def text_in_voice_back(service, receiver):
    title("1. Text in, voice back by callback: POST /v1/tasks")
    feed = service.events("/v1/events")
    names = {}
    for name, text in TEXTS.items():
        began = time.monotonic()
        task = service.post("/v1/tasks", {"text": text, "callback_url": receiver.url})
        milliseconds = (time.monotonic() - began) * 1000
        names[task["id"]] = name
        say(f"{name}: {task['characters']} characters, accepted with 202 in {milliseconds:.0f} ms")
    print()
    print_history(feed, names)
    print()
    for task_id, name in names.items():
        save_and_check(service.get(f"/v1/tasks/{task_id}"), TEXTS[name], name, service)
    told = receiver.told()
    check(set(names) <= set(told), "a task ended and the receiver was not told")


def print_history(feed, names):
    """Prints events as they come, until the client of each task has been told of its end."""
    accepted, waiting = {}, set(names)
    for event in feed:
        task_id = event["task_id"]
        at = instant(event["at"])
        accepted.setdefault(task_id, at)
        print_event(at - accepted[task_id], at, names[task_id], event)
        if event["type"] == "attempt" and event["to"] in ("delivered", "exhausted", "aborted"):
            waiting.discard(task_id)
        if not waiting:
            return


def print_event(elapsed, at, name, event):
    if event["type"] == "progress":
        progress = event["progress"]
        what = f"{progress['sentences_done']} of {progress['sentences_total']} sentences spoken"
    else:
        what = f"{event['from'] or 'new'} -> {event['to']}: {event['reason']}"
    by = f" ({event['by']})" if event["by"] else ""
    say(f"{at:%H:%M:%S.%f}"[:-3] + f"  +{elapsed.total_seconds():.3f} s  {name:11} {what}{by}")


def save_and_check(task, text, name, service):
    check(task["status"] == "completed", f"{name} ended as {task['status']}: {task['error']}")
    audio = task["audio"]
    files = {
        "mp3": audio["url"],
        "srt": task["subtitles"]["srt"],
        "vtt": task["subtitles"]["vtt"],
        "words.json": task["words"],
    }
    for ending, url in files.items():
        path = url.removeprefix(f"http://{service.address}")
        (OUTPUT / f"{name}.{ending}").write_bytes(service.get_bytes(path))

    mp3 = (OUTPUT / f"{name}.mp3").read_bytes()
    lasts_ms = mp3_duration_ms(mp3)
    check(hashlib.sha256(mp3).hexdigest() == audio["sha256"], f"{name}.mp3 is not what was announced")
    check(abs(lasts_ms - audio["duration_ms"]) <= 30, f"{name}.mp3 lasts {lasts_ms} ms, not {audio['duration_ms']}")
    cues = srt_cues((OUTPUT / f"{name}.srt").read_text())
    shown = "".join(cue_text for _, _, cue_text in cues)
    check("".join(shown.split()) == "".join(text.split()), f"{name}.srt has another text: {shown}")
    starts_ms, ends_ms = cues[0][0], cues[-1][1]
    check(ends_ms <= lasts_ms + 1, f"{name}.srt goes on after the sound")
    say(
        f"{OUTPUT / name}.mp3   lasts {lasts_ms / 1000:.2f} s by its own frames, {len(mp3):,} bytes, voice "
        f"{task['resolved_voice']}"
    )
    say(
        f"{OUTPUT / name}.srt   {len(cues)} cues from {starts_ms / 1000:.2f} s to {ends_ms / 1000:.2f} s, "
        "together the text that was sent; also as .vtt and .words.json"
    )


# 2


def wrong_callback_url(service, receiver):
    title("2. A wrong callback URL is found out before any work: POST /v1/speech")
    path = "/no-such-path"
    request = {"text": TEXTS["english"], "callback_url": receiver.origin + path}
    speech = service.post("/v1/speech", request)
    say(f"callback_url {request['callback_url']} does not exist; accepted with 202, {speech['status']}")
    say("404 alone proves nothing, since it may be a deployment's gap: so it looks again after 5 s")
    print()
    created = instant(speech["created_at"])
    for event in service.events(f"/v1/speech/{speech['id']}/events"):
        at = instant(event["at"])
        print_event(at - created, at, "speech", event)
        if event["type"] == "attempt":
            break

    print()
    say("what the wrong path was asked:")
    for asked in receiver.requests(path):
        elapsed = (asked.at - created).total_seconds()
        what = asked.body.get("type", "is there a receiver?")
        say(f"  +{elapsed:.3f} s  {asked.method:7} {what:21} answered {asked.status}")
    speech = service.get(f"/v1/speech/{speech['id']}")
    check(speech["error"]["code"] == "callback_not_found", f"it failed with {speech['error']}")
    check(speech["started_at"] is None and speech["audio"] is None, "work was done for nobody")
    say(f"{speech['status']} with {speech['error']['code']}; started_at {speech['started_at']}, audio {speech['audio']}")
    for delivery in service.get(f"/v1/speech/deliveries?speech_id={speech['id']}")["items"]:
        say(
            f"its own callback {delivery['type']}: {delivery['status']} after {len(delivery['attempts'])} attempt; "
            "it stays listed and can be delivered again"
        )
        check(delivery["status"] == "aborted", "the callback nobody takes should be given up")


# 3


def killed_in_the_middle(service, receiver):
    title(f"3. kill -9 in the middle of {CHAPTERS} texts")
    ids = set()
    for number in range(1, CHAPTERS + 1):
        text = CHAPTER.format(number=number)
        ids.add(service.post("/v1/tasks", {"text": text, "callback_url": receiver.url})["id"])
    say(f"{len(ids)} texts of about {len(CHAPTER)} characters accepted with 202")
    wait_for_callbacks(receiver, ids, KILLED_AFTER)
    service.kill()
    told = len(ids & set(receiver.told()))
    say(f"kill -9 when the receiver had been told of {told}")
    check(told < CHAPTERS, "everything was done already when the service was killed")

    seconds = service.start()
    say(f"started again on the same data: listened after {seconds:.2f} s")
    began = time.monotonic()
    wait_for_callbacks(receiver, ids, CHAPTERS)
    say(f"the receiver was told of all {CHAPTERS} another {time.monotonic() - began:.2f} s later")
    wait_until_nothing_is_owed(service)
    judge(service, receiver, ids)


def wait_for_callbacks(receiver, ids, count):
    reached = receiver.wait_until(lambda: len(ids & set(receiver.told())) >= count, CALLBACK_LIMIT_S)
    told = len(ids & set(receiver.told()))
    check(reached, f"the receiver was told of {told} in {CALLBACK_LIMIT_S} s, {count} were expected")


def wait_until_nothing_is_owed(service):
    """Until no callback is owed: from then on none can come a second time."""
    deadline = time.monotonic() + CALLBACK_LIMIT_S
    while service.get("/v1/tasks/deliveries?status=pending")["items"]:
        check(time.monotonic() < deadline, "callbacks are still owed")
        time.sleep(0.02)


def judge(service, receiver, ids):
    """Looks at every task: in the service's history and in what the receiver was told."""
    done = {task_id for task_id in ids if service.get(f"/v1/tasks/{task_id}")["status"] == "completed"}
    told = receiver.told()
    twice = {
        task_id
        for task_id in ids
        if times_entered(service, "tasks", task_id, "completed") != 1 or len(told[task_id]) != 1
    }
    begun = [times_entered(service, "speech", task_id, "synthesizing") for task_id in ids]
    callbacks = [request for request in receiver.requests() if request.body.get("data", {}).get("id") in ids]
    repeats = len(callbacks) - len({request.webhook_id for request in callbacks})
    say(f"{sum(times > 1 for times in begun)} were being spoken when it was killed, and were spoken anew")
    say(f"{repeats} callbacks came again; each under its first webhook-id, so they can be told apart")
    say(f"{len(done)} done, {len(ids - done)} lost, {len(twice)} applied twice")
    check(done == ids and not twice, "that should be 20 done, 0 lost, 0 applied twice")


def times_entered(service, collection, resource_id, status):
    events = service.get(f"/v1/{collection}/{resource_id}/events")["items"]
    return sum(event["type"] == "state" and event["to"] == status for event in events)


# What all three use


def check(condition, otherwise):
    if not condition:
        raise DemoFailed(otherwise)


def instant(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)


def title(text):
    print(f"\n{text}\n", flush=True)


def say(text):
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
