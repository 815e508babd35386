#!/bin/sh
# Installs what the peers need: programs from the distribution's packages, Python
# libraries into a virtual environment of their own under target/. Run it once;
# running it again changes nothing.
set -eu

peers=$(cd "$(dirname "$0")" && pwd)
venv=$peers/../../target/peers/venv

missing=
for program in redis-server espeak-ng lame; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing:$missing. Install them first: sudo apt-get install$missing" >&2
        exit 1
    fi
    apt-get update -qq
    # shellcheck disable=SC2086  # one argument for each package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi

if ! cmp -s "$peers/requirements.txt" "$venv/installed.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$peers/requirements.txt"
    cp "$peers/requirements.txt" "$venv/installed.txt"
fi
echo "the peers are set up; now: cargo bench --bench load -- --peers"
