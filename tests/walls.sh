#!/usr/bin/env bash
# What the crates and modules keep to (ARCHITECTURE.md, "Absences, which are rules"), as
# far as a command can see it. Says each rule that is broken.
set -euo pipefail
cd "$(dirname "$0")/.."

broken=0
complain() { # RULE FOUND
    echo "broken: $1" >&2
    echo "${2//$'\n'/$'\n    '}" | sed '1s/^/    /' >&2
    broken=1
}

# PACKAGE must not be built with any of the packages that the pattern names.
builds_without() { # PACKAGE PATTERN
    local found
    found=$(cargo tree --locked --package "$1" --edges normal,build --prefix none --format '{p}' |
        grep -E "^($2) " | grep -v "^$1 " | sort -u || true)
    [[ -z $found ]] || complain "$1 is built without $2" "$found"
}

# No file of FOLDER, but for those below EXCEPT, has a line that the pattern finds.
has_no() { # FOLDER EXCEPT PATTERN RULE
    local found
    found=$(grep -rnE --include='*.rs' "$3" "$1" | grep -vE "^($2)" || true)
    [[ -z $found ]] || complain "$4" "$found"
}

outside='actix.*|awc|diesel.*|libsqlite3-sys|object_store|rustls'
native='rten.*|mp3lame.*|libloading|unsafe-libopus'
builds_without hoiam-text "$outside|$native|tokio|hoiam-s.*|hoiam"
builds_without hoiam-api "$outside|$native|tokio|hoiam-s.*|hoiam"
builds_without hoiam-supervision "awc|actix-web|diesel.*|libsqlite3-sys|$native|hoiam(-.*)?"
builds_without hoiam-synthesizer "$outside|$native|hoiam-speech|hoiam"
builds_without hoiam-speech "$outside|hoiam"

has_no src 'src/cli/' 'hoiam_speech::' 'only the command line calls engines'
has_no src/backend ' ' 'crate::tts\b' 'the Backend does not import the TTS service'
has_no src/tts ' ' 'crate::backend\b' 'the TTS service does not import the Backend'

python3 -B tests/circles.py || broken=1

# No build of ours compiles these two, and `make fuzz` is run by hand.
for crate in fuzz fuzz/engine; do
    for used in $(grep -rhoE --include='*.rs' '^use hoiam[a-z_]*' $crate/src $crate/fuzz_targets 2>/dev/null |
        sed 's/^use //; s/_/-/g' | sort -u); do
        grep -q "^$used = " $crate/Cargo.toml ||
            complain "$crate/Cargo.toml names the crates that $crate uses" "$used"
    done
done

exit "$broken"
