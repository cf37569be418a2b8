#!/usr/bin/env bash
# base-images.sh FOLDER
#
# For a machine that reaches no registry of images: makes stand-ins for the images that the Dockerfiles name, out of Debian's packages and the toolchain in
# use here, under the names that `make image IMAGE_BASE=local` takes: local/debian and local/rust. As root; FOLDER is for what is between.
# They are like the official ones in what the build needs and in nothing else: what is released is never built on them.
set -euo pipefail

docker=${DOCKER:-docker}
folder=$1
mirror=$(sed -n 's/^URIs: //p; s/^deb \(\[[^]]*\] \)\?\(http[^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -m 1 debian || true)

if ! "$docker" image inspect local/debian >/dev/null 2>&1; then
  command -v debootstrap >/dev/null ||
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >&2
  debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/rootfs" "${mirror:-http://deb.debian.org/debian}" >&2
  rm -rf "$folder"/rootfs/var/cache/apt/archives/*.deb
  tar --directory "$folder/rootfs" --create . | "$docker" import - local/debian
fi

if ! "$docker" image inspect local/rust >/dev/null 2>&1; then
  mkdir -p "$folder/rust"
  tar --directory "$(rustc --print sysroot)" --create --file "$folder/rust/rust.tar" bin lib
  # What this machine trusts, its way out to the crates included.
  cp /etc/ssl/certs/ca-certificates.crt "$folder/rust/"
  "$docker" build --quiet --tag local/rust --file - "$folder/rust" <<'DOCKERFILE'
FROM local/debian
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
ADD rust.tar /usr/local/
COPY ca-certificates.crt /etc/ssl/certs/
DOCKERFILE
fi
