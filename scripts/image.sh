#!/usr/bin/env bash
# image.sh build | test
#
# build: the image prisma-migrate-task (IMAGE), and its SBOM beside it: target/prisma-migrate-task.cdx.json. PLATFORM=linux/arm64 for another architecture
#        than this machine's, IMAGE_BASE=local where no registry can be reached (see base-images.sh), BUILD_OPTIONS for more of `docker build`.
# test:  builds it, and runs tests/image against it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

docker=${DOCKER:-docker}
export DOCKER=$docker DOCKER_BUILDKIT=1 IMAGE=${IMAGE:-prisma-migrate-task}

bases=()
if [ "${IMAGE_BASE:-}" = local ]; then
  folder=$(mktemp -d)
  scripts/base-images.sh "$folder"
  rm -rf "$folder"
  bases=(--build-arg RUST_IMAGE=local/rust --build-arg DEBIAN_IMAGE=local/debian)
fi

build() {
  # shellcheck disable=SC2086 # several options in one variable
  "$docker" build "${bases[@]}" ${BUILD_OPTIONS:-} "$@" .
}

build_image() {
  local arguments=(
    --build-arg "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)"
    --build-arg "REVISION=$(git rev-parse HEAD)"
    --build-arg "VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
    ${SOURCE:+--build-arg "SOURCE=$SOURCE"}
    ${PLATFORM:+--platform "$PLATFORM"}
  )
  build "${arguments[@]}" --tag "$IMAGE"
  build "${arguments[@]}" --target sbom --output type=local,dest=target
}

build_surroundings() {
  for name in postgres s3; do
    build --file tests/image/Dockerfile --target "$name" --tag "prisma-migrate-task-test-$name"
  done
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
  *)
    echo 'usage: image.sh build | test' >&2
    exit 2
    ;;
esac
