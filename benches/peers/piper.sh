#!/bin/sh
# Python packages that speak with Piper's voices, in so many processes of one thread each.
#
# usage: piper.sh piper|loudness MODEL PROCESSES TEXTS TEXT    speaks TEXT so many times and prints
#        {"audio_s", "took_s", "memory_mb"}; the time begins when all models are loaded
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../target/peers/venv/bin/python" -B "$here/piper_texts.py" "$@"
