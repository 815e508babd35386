#!/bin/sh
# The limit: espeak-ng piped into lame, two loops side by side, and nothing else.
# No queue, no record of what was asked, no callback, no fsync.
#
# usage: bare_loop.sh TEXT_FILE TEXTS    speaks TEXTS texts, half of them in each loop,
#                                        and prints how many bytes of mp3 came out
set -eu

text_file=$1
texts=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT PIPE TERM

speak_in_a_loop() {
    spoken=0
    while [ "$spoken" -lt $((texts / 2)) ]; do
        espeak-ng -v vi --stdout -f "$text_file" |
            lame --quiet -b 64 -m m - "$folder/$1-$spoken.mp3"
        spoken=$((spoken + 1))
    done
}

speak_in_a_loop a &
first=$!
speak_in_a_loop b &
second=$!
wait "$first"
wait "$second"

find "$folder" -name '*.mp3' -exec cat {} + | wc -c
