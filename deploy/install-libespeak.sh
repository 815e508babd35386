#!/bin/sh
# Installs the one library that hoiam opens at run time, libespeak-ng.so.1 with
# its voice data, when this machine does not have it. Says nothing when it has.
set -eu

library=libespeak-ng.so.1
package=libespeak-ng1

# Opened as the service opens it, so wherever the loader finds it, it counts.
can_be_opened() {
    python3 -c "import ctypes; ctypes.CDLL('$library')" 2>/dev/null
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

if can_be_opened; then exit 0; fi

if ! command -v apt-get >/dev/null; then
    echo "$library is missing. Install eSpeak NG with this system's package manager." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    echo "$library is missing. As root: apt-get update && apt-get install $package" >&2
    exit 1
fi

echo "installing $package, since $library is missing"
# A list that cannot be refreshed may still do.
as_root apt-get update -qq || true
as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null

if ! can_be_opened; then
    echo "$package is installed, and still $library cannot be opened:" >&2
    python3 -c "import ctypes; ctypes.CDLL('$library')" 2>&1 | tail -n 1 >&2
    exit 1
fi
