#!/usr/bin/env python3
"""Makes inputs out of the word lists of eSpeak NG's source: a few for each voice.

    fuzz/engine/seeds.py DICTSOURCE VOICES-OF-THE-DATA FOLDER
"""
import os
import random
import re
import sys

source, voices, folder = sys.argv[1:]
chance = random.Random(20261130)
WAYS = ["speak", "symbols", "symbols", "plain", "named"]


def entries(path):
    """What stands before the phonemes: a word, or several in parentheses."""
    found = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = re.match(r"\s*(?:\(([^)]*)\)|([^\s/?$_(][^\s]*))\s", line)
            if match:
                found.append(match.group(1) or match.group(2))
    return found


for base, _, names in os.walk(voices):
    for voice in names:
        with open(os.path.join(base, voice), encoding="utf-8", errors="replace") as file:
            text = file.read()
        said = re.search(r"^(?:dictionary|language)\s+([a-z]+)", text, re.M)
        words = []
        for name in {said.group(1) if said else "", voice.split("-")[0].lower()}:
            path = os.path.join(source, name + "_list")
            if os.path.exists(path):
                words += entries(path)
        for number, way in enumerate(WAYS if words else []):
            some = chance.sample(words, min(len(words), 30))
            marks = [" ", " ", " ", " ", ", ", ". ", "-", "! ", " “"]
            text = "".join(word + chance.choice(marks) for word in some)
            path = os.path.join(folder, f"seed-{voice.lower()}-{number}")
            with open(path, "w", encoding="utf-8") as out:
                out.write(f"{way} {voice.lower()}\n{text}")
