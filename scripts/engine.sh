#!/usr/bin/env bash
# engine.sh COMMAND [ARGUMENT…]
#
# Runs the command with a container engine that can build: DOCKER names the docker program, DOCKER_HOST the engine. That is the engine there is; else, as root
# on Debian or Ubuntu, one that is started for the command, with all that it stores in a temporary folder, and that is gone afterwards. Exits with the
# command's code; with 75 where no engine can be had.
set -euo pipefail

# Several docker programs may be installed, and not each of them has BuildKit.
export DOCKER_BUILDKIT=1
can_build() {
  printf 'FROM scratch\nLABEL of=the-question\n' | "$1" build --quiet - >/dev/null 2>&1
}
find_docker() {
  local candidate
  for candidate in ${DOCKER:+"$DOCKER"} $(type -aP docker || true); do
    if can_build "$candidate"; then
      export DOCKER=$candidate
      return 0
    fi
  done
  return 1
}

if find_docker; then
  exec "$@"
fi

cannot() {
  echo "no container engine: $1" >&2
  exit 75
}
[ "$(id -u)" = 0 ] || cannot 'none runs, and starting one needs root'
if ! command -v dockerd >/dev/null; then
  command -v apt-get >/dev/null || cannot 'none is installed'
  echo 'installing docker.io and iptables with apt-get' >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables; } >&2 ||
    cannot 'docker.io cannot be installed'
fi

folder=$(mktemp -d "${TMPDIR:-/var/tmp}/engine-XXXXXX")
dockerd --data-root "$folder/root" --exec-root "$folder/exec" --host "unix://$folder/docker.sock" --pidfile "$folder/pid" >"$folder/log" 2>&1 &
daemon=$!
# shellcheck disable=SC2329 # the trap calls it
stop() {
  kill "$daemon" 2>/dev/null || true
  wait "$daemon" 2>/dev/null || true
  # What the engine may still have mounted would be emptied with the folder.
  awk -v folder="$folder" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount --lazy
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export DOCKER_HOST=unix://$folder/docker.sock
for _ in $(seq 60); do
  if find_docker; then
    "$@"
    exit
  fi
  if ! kill -0 "$daemon" 2>/dev/null; then
    break
  fi
  sleep 0.5
done
tail -n 5 "$folder/log" >&2
cannot 'dockerd does not start here, or cannot build'
