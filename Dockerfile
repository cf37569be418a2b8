# The image: the program, the certificate authorities that Amazon's endpoints are signed by, and nothing else.
#
#   docker build -t prisma-migrate-task .                    the image, for this machine's architecture; --platform linux/arm64 for the other
#   docker build --target sbom --output type=local,dest=. .  what it is made of, as CycloneDX: prisma-migrate-task.cdx.json
#
# BuildKit's own frontend is enough: a `# syntax=` line would pull another one. `make image` gives the arguments.

# The digest is that of the index of all architectures, as of 2026-08: `docker buildx imagetools inspect rust:1.95-slim-bookworm` tells the newest.
ARG RUST_IMAGE=rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082

FROM ${RUST_IMAGE} AS build
WORKDIR /build
# Static: glibc is inside, and there is nothing to load. The target is named below, so that these flags are not those of build scripts and procedural
# macros. No path of the builder is in the binary, and what is for people's laptops only (feature `client`) is not either.
ENV CARGO_HOME=/cargo \
    CARGO_INCREMENTAL=0 \
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/cargo/registry/src/= --remap-path-prefix=/build/="
# The dependencies, in a layer of their own: it is built again only when a manifest or the lock file changes.
COPY Cargo.toml Cargo.lock ./
COPY tests/harness/Cargo.toml tests/harness/
RUN mkdir -p src tests/harness/src && touch src/lib.rs tests/harness/src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && cargo build --release --locked --no-default-features --bin prisma-migrate-task --target "$(uname -m)-unknown-linux-gnu" \
    && cargo clean --release --locked --package prisma-migrate-task --target "$(uname -m)-unknown-linux-gnu"
COPY src src
RUN cargo build --release --locked --no-default-features --bin prisma-migrate-task --target "$(uname -m)-unknown-linux-gnu"
# The image's root, with one time for everything in it: the same commit gives the same layer.
ARG SOURCE_DATE_EPOCH=0
RUN mkdir -p /image/etc/ssl/certs \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && cp "target/$(uname -m)-unknown-linux-gnu/release/prisma-migrate-task" /image/ \
    && find /image -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +

FROM ${RUST_IMAGE} AS sbom-tool
ENV CARGO_HOME=/cargo
# It runs once, for a second: there is nothing to optimise.
RUN cargo install cargo-cyclonedx --version 0.5.9 --locked --debug --root /usr/local

FROM sbom-tool AS sbom-build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY tests/harness/Cargo.toml tests/harness/
COPY src src
ARG SOURCE_DATE_EPOCH=0
RUN mkdir -p tests/harness/src && touch tests/harness/src/lib.rs \
    && cargo cyclonedx --no-default-features --format json --describe binaries --target "$(uname -m)-unknown-linux-gnu" \
    && mv prisma-migrate-task_bin.cdx.json /prisma-migrate-task.cdx.json

FROM scratch AS sbom
COPY --from=sbom-build /prisma-migrate-task.cdx.json /

FROM scratch
COPY --from=build /image/ /
# A number, since there is no /etc/passwd: whoever mounts a folder of migrations makes it readable for this user, or gives --user.
USER 65532:65532
ENTRYPOINT ["/prisma-migrate-task"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="prisma-migrate-task" \
      org.opencontainers.image.description="Applies Prisma migrations from S3 to PostgreSQL as a one-shot ECS task" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
