#!/bin/sh
# bench.sh [WORDS]
#
# Builds the binary as the image has it and runs the benchmarks with it; with WORDS only those whose heading holds them.
set -eu

target=$(uname -m)-unknown-linux-gnu
RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --no-default-features --bin prisma-migrate-task --target "$target"
BENCH_BINARY=${CARGO_TARGET_DIR:-$PWD/target}/$target/release/prisma-migrate-task
export BENCH_BINARY
cargo bench --quiet --locked --profile dev --bench peers -- all "${1:-}"
