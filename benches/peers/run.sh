#!/bin/sh
# Runs the FastAPI + Celery peer on free loopback ports: Redis, 2 uvicorn workers,
# 2 Celery processes. Prints its address as one line when it is ready, runs until
# its standard input ends, then stops everything and removes what it wrote.
set -eu

peers=$(cd "$(dirname "$0")" && pwd)
bin=$peers/../../target/peers/venv/bin
if [ ! -x "$bin/celery" ]; then
    echo "the peers are not set up: run benches/peers/setup.sh first" >&2
    exit 1
fi

folder=$(mktemp -d)
uvicorn=
celery=
redis=
stop() {
    trap - EXIT
    end "$uvicorn" TERM
    # At once: what is still queued is of no use to anyone.
    end "$celery" QUIT
    end "$redis" TERM
    rm -rf "$folder"
}

# end PROCESS SIGNAL: does nothing for a process that was never started.
end() {
    if [ -n "$1" ]; then
        kill -s "$2" "$1" 2>/dev/null || true
        wait "$1" 2>/dev/null || true
    fi
}

trap stop EXIT
trap 'exit 1' HUP INT PIPE TERM

free_port() {
    "$bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# wait_until WHAT COMMAND…: tries the command for half a minute, while the process
# started last ($!) is there.
wait_until() {
    what=$1
    shift
    give_up_at=$(($(date +%s) + 30))
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "$!" 2>/dev/null || [ "$(date +%s)" -ge "$give_up_at" ]; then
            echo "$what did not start:" >&2
            tail -n 5 "$folder/$what.log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

redis_port=$(free_port)
# The append-only file is what Redis offers to who keeps a queue in it. Its default
# of one fsync a second stays: a crash may lose a second, which hoiam may not.
redis-server --bind 127.0.0.1 --port "$redis_port" --dir "$folder" --appendonly yes \
    >"$folder/redis-server.log" 2>&1 &
redis=$!
wait_until redis-server redis-cli -h 127.0.0.1 -p "$redis_port" ping

export PEER_REDIS="redis://127.0.0.1:$redis_port/0"
export PEER_FOLDER="$folder"
: "${PEER_SECRET:?the secret that signs callbacks, whsec_…}"
export PYTHONDONTWRITEBYTECODE=1
cd "$peers/fastapi_celery"

"$bin/celery" --app worker worker --pool prefork --concurrency 2 --loglevel warning \
    >"$folder/celery.log" 2>&1 &
celery=$!
wait_until celery "$bin/celery" --app worker inspect ping

port=$(free_port)
"$bin/uvicorn" app:app --host 127.0.0.1 --port "$port" --workers 2 --log-level warning \
    --no-access-log >"$folder/uvicorn.log" 2>&1 &
uvicorn=$!
wait_until uvicorn "$bin/python" -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$port/health/ready')"

echo "http://127.0.0.1:$port"
cat >/dev/null
