# `make` lists what there is. The debug profile is used throughout: it builds in a fraction of the time.

.DEFAULT_GOAL := help
.PHONY: help demo test simulate soak forms fuzz bench bench-quick build lint cdk image image-test image-reproducible

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the product on one screen: a throw-away PostgreSQL and S3, an upload, four runs
	@scripts/prerequisites.sh demo
	@cargo build --locked --bins --example demo
	@cargo run --quiet --locked --example demo

test: ## every test, against a real PostgreSQL, the real S3 protocol and the real Prisma CLI
	@scripts/prerequisites.sh test
	cargo test --workspace --locked

simulate: ## the way from the upload to the exit code: the CDK's templates, EventBridge's rule, ECS, run and wait
	@scripts/prerequisites.sh test
	cargo test --workspace --locked --test simulate

soak: ## random histories and random faults, ROUNDS of them (default 1,000); SEED=n plays one again; then forms, and a migration of 20 minutes
	@scripts/prerequisites.sh soak
	ROUNDS=$(or $(ROUNDS),1000) cargo test --locked --test faults -- --nocapture
	$(MAKE) forms SEED= SCRIPTS=$(or $(SCRIPTS),5000) KILLS=$(or $(KILLS),300)
	cargo test --locked --test long -- --nocapture

forms: ## random scripts against what the server makes of them: SCRIPTS=n and KILLS=n from FIRST=seed on (default 1,000 and 50) on VERSIONS='13 15 18'; SEED=n
	@scripts/prerequisites.sh forms
	@failed=0; for version in $(or $(VERSIONS),13 15 18); do \
		VERSION=$$version SCRIPTS=$(or $(SCRIPTS),1000) KILLS=$(or $(KILLS),50) cargo test --quiet --locked --test forms -- --nocapture || failed=1; \
	done; exit $$failed

fuzz: ## the fuzz targets over their seeds, RUNS executions of each (default 1,000,000); TARGETS=name for one
	@scripts/prerequisites.sh fuzz
	@cp Cargo.lock fuzz/Cargo.lock
	@set -e; for target in $(or $(TARGETS),url script archive); do \
		mkdir -p fuzz/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -runs=$(or $(RUNS),1000000) \
			-dict=fuzz/dictionaries/$$target.dict -max_len=8192 -timeout=10 -rss_limit_mb=512 -print_final_stats=1; \
	done

bench: ## everything side by side with its peers, on a quiet machine: writes docs/benchmarks.md; ONLY='words of a heading' shows just that
	@scripts/prerequisites.sh bench
	@scripts/bench.sh "$(ONLY)"

bench-quick: ## counts of round trips, bytes, transactions, requests and instructions, held to benches/quick.expected; WRITE=1 writes that
	@scripts/prerequisites.sh bench-quick
	@WRITE=$(WRITE) cargo bench --quiet --locked --profile dev --bench peers -- quick

build: ## the binary: target/debug/prisma-migrate-task
	@scripts/prerequisites.sh build
	cargo build --locked

lint: ## formatting, clippy and documentation, warnings denied
	@scripts/prerequisites.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --locked

cdk: ## the CDK constructs: types, tests, the examples synthesized offline, cfn-lint
	@cdk/check.sh

image: ## the container image prisma-migrate-task and its SBOM, in target/; IMAGE_BASE=local where no registry can be reached
	@scripts/engine.sh scripts/image.sh build

image-test: ## the image against a PostgreSQL with TLS and an S3 in other containers
	@scripts/engine.sh scripts/image.sh test

image-reproducible: ## the image of this commit, built twice from nothing: are both the same
	@scripts/engine.sh scripts/image.sh reproducible
