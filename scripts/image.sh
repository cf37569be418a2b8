#!/usr/bin/env bash
# image.sh build | test | reproducible
#
# build:        the image prisma-migrate-task (IMAGE), and its SBOM beside it: target/prisma-migrate-task.cdx.json. PLATFORM=linux/arm64 for another
#               architecture than this machine's, IMAGE_BASE=local where no registry can be reached (see base-images.sh), BUILD_OPTIONS for more of
#               `docker build`.
# test:         builds it, and runs tests/image against it.
# reproducible: builds the commit that is checked out twice, from nothing and in two places, as the images prisma-migrate-task-one and -two, and compares
#               them. It takes as long as two full builds. Where they differ, both are unpacked in target/reproducible.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

docker=${DOCKER:-docker}
export DOCKER=$docker DOCKER_BUILDKIT=1 IMAGE=${IMAGE:-prisma-migrate-task}

bases=()
if [ "${IMAGE_BASE:-}" = local ]; then
  if [ -n "${PLATFORM:-}" ]; then
    echo 'IMAGE_BASE=local is for this machine'"'"'s architecture: leave PLATFORM out' >&2
    exit 2
  fi
  folder=$(mktemp -d)
  scripts/base-images.sh "$folder"
  rm -rf "$folder"
  bases=(--build-arg RUST_IMAGE=local/rust --build-arg DEBIAN_IMAGE=local/debian)
fi

build() {
  # shellcheck disable=SC2086 # several options in one variable
  "$docker" build "${bases[@]}" ${BUILD_OPTIONS:-} "$@" .
}

# The same, told which commit of which repository it is.
build_commit() {
  build --build-arg "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)" \
    --build-arg "REVISION=$(git rev-parse HEAD)" \
    --build-arg "VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)" \
    ${SOURCE:+--build-arg "SOURCE=$SOURCE"} ${PLATFORM:+--platform "$PLATFORM"} "$@"
}

build_image() {
  build_commit --tag "$IMAGE"
  build_commit --target sbom --output type=local,dest=target
}

build_surroundings() {
  for name in postgres s3; do
    build --file tests/image/Dockerfile --target "$name" --tag "prisma-migrate-task-test-$name"
  done
}

# build_elsewhere FOLDER UMASK COMMIT IMAGE: checked out there, with these rights for new files, and built without any cache.
build_elsewhere() {
  (
    umask "$2"
    git clone --quiet --no-checkout . "$1"
    cd "$1"
    git checkout --quiet --detach "$3"
    build_commit --no-cache --tag "$4"
  )
}

# What of an image has to be the same: what a container is started with, and the layers by their digests.
facts() {
  "$docker" image inspect --format '{{json .Config}}{{range .RootFS.Layers}}{{println}}{{.}}{{end}}' "$1"
}

unpack() {
  local container
  mkdir -p "$2"
  container=$("$docker" create "$1")
  "$docker" export "$container" | tar --extract --directory "$2"
  "$docker" rm "$container" >/dev/null
}

build_twice() {
  local commit places second
  commit=$(git rev-parse HEAD)
  places=$(mktemp -d)
  # Both at once: the longest part of a build keeps one processor busy.
  build_elsewhere "$places/two" 077 "$commit" "$IMAGE-two" >"$places/two.log" 2>&1 &
  second=$!
  build_elsewhere "$places/one" 022 "$commit" "$IMAGE-one"
  wait "$second" || {
    cat "$places/two.log" >&2
    exit 1
  }
  facts "$IMAGE-one" >"$places/one.facts"
  facts "$IMAGE-two" >"$places/two.facts"
  if diff "$places/one.facts" "$places/two.facts"; then
    echo "the same twice: $commit"
    tail -n +2 "$places/one.facts"
    rm -rf "$places"
  else
    rm -rf target/reproducible "$places"
    unpack "$IMAGE-one" target/reproducible/one
    unpack "$IMAGE-two" target/reproducible/two
    diff --recursive --brief target/reproducible/one target/reproducible/two || true
    echo 'the two images differ; they are unpacked in target/reproducible' >&2
    exit 1
  fi
}

# A test takes its containers away itself, unless it is killed.
take_away() {
  "$docker" ps --all --quiet --filter "label=$TEST_LABEL" | xargs --no-run-if-empty "$docker" rm --force --volumes
  "$docker" network ls --quiet --filter "label=$TEST_LABEL" | xargs --no-run-if-empty "$docker" network rm
}

case ${1:-} in
  build)
    build_image
    ;;
  test)
    build_image
    build_surroundings
    export TEST_LABEL=prisma-migrate-task-test=$$
    trap take_away EXIT
    cargo test --locked --test image -- --test-threads 4
    ;;
  reproducible)
    build_twice
    ;;
  *)
    echo 'usage: image.sh build | test | reproducible' >&2
    exit 2
    ;;
esac
