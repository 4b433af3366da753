# What a person or a machine does with this repository. It takes Rust and a C compiler; Node.js, npm, Python,
# Go, curl, nginx and systemd-analyze are installed with apt-get where a test or a check needs them and they are missing.

.PHONY: run test check check-deep soak faults bench sbom fmt docs

CARGO_FLAGS := --locked
# Everything that a release has.
ALL := $(CARGO_FLAGS) --workspace --features mongodb
TIDY := cargo test $(ALL) --test it -- tidy::

# The server on http://127.0.0.1:3000/mcp, notes in data/notes.db; stop it with Ctrl-C.
# Built without optimisation and without MongoDB: that compiles in a third of the time and is enough for one person.
# What others rely on is built with `cargo build --release --locked --features mongodb`.
run:
	cargo run $(CARGO_FLAGS) --bin mcp-notes -- serve

# Every test. What the tests need beside Rust goes into .tools and is named while it is installed.
test:
	scripts/install-test-tools.sh
	cargo test $(ALL)

# What a change is held to beside the tests: form, spelling, lints, documentation, structure, dependencies, and
# whether what operators copy is taken by those who read it.
# Lints and documentation are checked and not built, so of these only the tests of structure, which are built
# like all others, share their artefacts with `make test`; one of them starts the server to run the session in
# the README.
check:
	scripts/install-check-tools.sh
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo check --locked --quiet --manifest-path fuzz/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target)
	.tools/typos/bin/typos
	cargo clippy $(ALL) --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc $(ALL) --no-deps
	$(TIDY)
	scripts/check-dependencies.sh
	scripts/check-deploy.sh

# What takes longer: every fuzz target for a minute (FUZZ_SECONDS), and the minutes until they are built.
check-deep:
	scripts/fuzz.sh

# Five minutes of load on three replicas with a random fault every 20 seconds (SOAK_SECONDS, SOAK_SEED).
soak:
	scripts/install-test-tools.sh
	cargo build $(ALL) --bin mcp-notes
	python3 scripts/soak.py

# What callers feel while Redis or the database fails, measured anew one by one, into docs/faults.md.
faults:
	scripts/install-test-tools.sh
	FAULTS_TABLE=write cargo test $(ALL) --test it -- --test-threads=1 replicas::faults::

# Requests a second over one connection, so far; comparisons with other servers are not here yet.
bench:
	cargo build $(CARGO_FLAGS) --release --bin mcp-notes
	python3 scripts/bench.py

# What the released program is made of: target/sbom/mcp-notes.cdx.json.
sbom:
	scripts/sbom.sh

# Brings the code into form and the generated pages up to date.
fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
docs:
	cargo run $(CARGO_FLAGS) --quiet --bin mcp-notes -- config --markdown > docs/configuration.md
	cargo run $(CARGO_FLAGS) --quiet --bin mcp-notes -- metrics > docs/metrics.md
