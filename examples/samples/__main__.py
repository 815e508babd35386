"""Makes a page on which the voices of this machine can be heard, the same sentences by each.

    python3 examples/samples [PROGRAM]   target/release/hoiam by default; `make samples` builds it

Words light up as they are said, so that one hears and sees how exact their times are; below
each text are its subtitles. The page is samples-output/index.html and needs no network. More
voices: `hoiam voices list` and, to add some, `hoiam voices install NAME`. Neural voices that
`make voice` has fetched for the tests are taken too.
"""

import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

OUTPUT = Path("samples-output")
TEST_VOICES = Path("target/test-voices")
TEMPLATE = Path(__file__).with_name("page.html")

# Of all voices of eSpeak NG, those of the texts' languages.
FORMANT = ("espeak/vi", "espeak/vi-vn-x-south", "espeak/en-us", "espeak/en")

TEXTS = {
    "vi": (
        "Chào buổi sáng! Hôm nay là thứ Hai, ngày 23/11/2026, nhiệt độ ở TP. HCM là 31°C.",
        "Giá vé tăng 12,5% lên 1.250.000đ; chuyến bay lúc 7h30 kéo dài 2 giờ 10 phút.",
        "Bạn gửi một đoạn văn bản, và giọng nói sẽ quay về. Không ai phải chờ ai.",
    ),
    "en": (
        "Good morning! It's Monday, November 23, 2026, and 31°C in Ho Chi Minh City.",
        "Tickets went up 12.5% to $49.90; the flight at 7:30 a.m. takes 2 h 10 min.",
        "You send a text, and the voice comes back. Nobody waits for anybody.",
    ),
}


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "target/release/hoiam"
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    environment = dict(os.environ)
    if TEST_VOICES.is_dir():
        environment.setdefault("HOIAM__TTS__VOICES_DIR", str(TEST_VOICES))
    voices = [voice for voice in all_voices(program, environment) if is_shown(voice)]
    if not voices:
        sys.exit("There is no voice for Vietnamese or English here; `hoiam doctor` says why.")
    sections = [section(program, environment, voice) for voice in voices]
    page = TEMPLATE.read_text(encoding="utf-8").replace("<!-- voices -->", "\n".join(sections))
    (OUTPUT / "index.html").write_text(page, encoding="utf-8")
    print(f"{len(voices)} voices: open {OUTPUT}/index.html")


def all_voices(program, environment):
    listed = subprocess.run(
        [program, "voices", "list", "--json"], env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(listed.stdout)["items"]


def is_shown(voice):
    if voice["engine"] == "espeak":
        return voice["id"] in FORMANT
    return voice["engine"] != "test" and language_of(voice) in TEXTS


def language_of(voice):
    return voice["language"].split("-")[0]


def section(program, environment, voice):
    language = language_of(voice)
    print(voice["id"])
    samples = [
        sample(program, environment, voice["id"], number, text)
        for number, text in enumerate(TEXTS[language], start=1)
    ]
    about = ", ".join(filter(None, (voice["name"], voice["language"], voice["licence"])))
    return (
        f'<section lang="{html.escape(voice["language"])}">'
        f"<h2>{html.escape(voice['id'])}</h2><p>{html.escape(about)}</p>"
        + "".join(samples)
        + "</section>"
    )


def sample(program, environment, voice, number, text):
    """Speaks one text and answers its part of the page."""
    name = voice.replace("/", "-").replace(":", "-") + f"-{number}"
    files = {ending: OUTPUT / f"{name}.{ending}" for ending in ("mp3", "srt", "json")}
    subprocess.run(
        [program, "say", text, "-v", voice, "-o", files["mp3"], "--srt", files["srt"],
         "--words", files["json"], "--title", f"{voice}, {number}", "--quiet"],
        env=environment, stdout=subprocess.DEVNULL, check=True,
    )
    words = json.loads(files["json"].read_text(encoding="utf-8"))["words"]
    subtitles = html.escape(files["srt"].read_text(encoding="utf-8").strip())
    return (
        f'<article><audio controls preload="metadata" src="{name}.mp3"></audio>'
        f'<p class="text">{with_words(text, words)}</p>'
        f"<details><summary>subtitles</summary><pre>{subtitles}</pre></details></article>"
    )


def with_words(text, words):
    """The text with each word in an element that knows when it is heard."""
    parts, end = [], 0
    for word in words:
        start, after = word["char_start"], word["char_end"]
        parts.append(html.escape(text[end:start]))
        parts.append(
            f'<span data-start="{word["start_ms"]}" data-end="{word["end_ms"]}">'
            f"{html.escape(text[start:after])}</span>"
        )
        end = after
    parts.append(html.escape(text[end:]))
    return "".join(parts)


if __name__ == "__main__":
    main()
