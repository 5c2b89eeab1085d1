# Everything that a person or CI runs. Each target sets up what it needs in .venv and nothing outside of
# this folder. Needed on the machine: Python >= 3.10, a Rust toolchain, a C compiler, make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# libhdf5 is built from source by a CMake that may be newer than the machine's: .venv brings its own.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export CMAKE_GENERATOR := Ninja

SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find rust/src rust/Cargo.toml python/src python/Cargo.toml -type f)

.PHONY: demo test check bench bench-small bench-scale bench-rust test-biocpy docs links audit dist format clean build fuzz

# Tools and test requirements; newer than the files that list them.
$(VENV)/.requirements: requirements-dev.txt tests/requirements.txt benches/requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r requirements-dev.txt -r tests/requirements.txt -r benches/requirements.txt
	touch $@

$(VENV)/.built: $(VENV)/.requirements $(SOURCES)
	$(BIN)/maturin develop --release --quiet
	touch $@

build: $(VENV)/.built

# Opens FILE, or a matrix made up in the format of 10x Genomics, and shows what one can do with it.
demo: build
	$(BIN)/python examples/demo.py $(FILE)

test: build
	if command -v cargo-nextest >/dev/null; then cargo nextest run --release -p filebackedarray --features fuzzing; \
	else cargo test --release -p filebackedarray --features fuzzing --lib --tests; fi
	$(BIN)/python -m pytest

# The tests of BiocPy's packages that use hdf5array, from their source distributions, with ours in its place.
test-biocpy: build
	$(BIN)/python tests/biocpy/run.py

check: build
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --release --no-deps --document-private-items -p filebackedarray
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest filebackedarray._core
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github/workflows
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(MAKE) docs audit

# HTML in docs/_build; any warning is an error, and so is a link or image that leads nowhere within the pages.
docs: build
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build
	$(BIN)/python docs/links.py docs/_build

# Asks the network for every page that the documentation links to.
links: build
	$(BIN)/sphinx-build --builder linkcheck --quiet docs docs/_build/linkcheck

# Licences of all that is built in, and known vulnerabilities, as far as their databases can be reached: what was not
# looked at is said. cargo-deny takes minutes to build, which is done where FILEBACKEDARRAY_REQUIRE_AUDIT asks for it.
audit: build
	$(BIN)/python release/third_party.py --check
	command -v cargo-deny >/dev/null || test -z "$$FILEBACKEDARRAY_REQUIRE_AUDIT" || \
		cargo install cargo-deny --locked --quiet --root $(VENV)
	$(BIN)/python release/audit.py

# The source distribution, and a wheel that is built of nothing else; both as PyPI wants them. The wheel is installed
# into an environment of its own and tried.
dist: build
	rm -rf dist
	$(BIN)/maturin sdist --out dist
	$(BIN)/python release/smoke.py dist/*.tar.gz
	$(BIN)/twine check --strict dist/*

# Ratios against the peers, on this machine: tables and plots in docs/performance.md, a summary in the
# README. Fails below a floor. Takes about half an hour; nothing else should run meanwhile.
LIMIT := target/release/examples/limit
RESULTS := benches/results
COLD := dense-full-*00x*
bench: build $(LIMIT)
	mkdir -p $(RESULTS)
	-$(BIN)/python benches/bench.py --size large --cold --only '$(COLD)' --json $(RESULTS)/cold.json \
		--markdown docs/performance.md
	$(BIN)/python benches/bench.py --size large --check --limit $(LIMIT) --json $(RESULTS)/large.json \
		--plots docs/images --markdown docs/performance.md --summary README.md
	$(BIN)/python benches/goals.py $(RESULTS)/large.json docs/performance.md
	$(BIN)/python benches/virtual.py --rows 12500 --check --write docs/performance.md
	$(BIN)/python benches/write.py --check

# The same with small files, for CI: fails below a floor, writes no documentation.
bench-small: build $(LIMIT)
	$(BIN)/python benches/bench.py --size small --repeats 7 --budget 0.5 --check --limit $(LIMIT)
	$(BIN)/python benches/virtual.py --rows 500 --check

# Files of up to 33 GB of values, 7 GB on disk at a time; into docs/performance.md.
bench-scale: build
	mkdir -p $(RESULTS)
	$(BIN)/python benches/scale.py --json $(RESULTS)/scale.json --markdown docs/performance.md

# Each decoder, and the writing of results, without files or threads around them.
FILTERS_FILE := $(CURDIR)/$(RESULTS)/filters.h5
bench-rust: build
	mkdir -p $(RESULTS)
	$(BIN)/python benches/data.py --filters $(FILTERS_FILE)
	FILEBACKEDARRAY_BENCH_FILTERS=$(FILTERS_FILE) cargo bench -p filebackedarray --features benching \
		--bench decoders --bench scatter

$(LIMIT): $(SOURCES) rust/examples/limit.rs | $(VENV)/.built
	cargo build --release -p filebackedarray --features benching --example limit
	touch $@

format:
	cargo fmt --all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) target docs/_build

# Each fuzz target for SECONDS_EACH seconds, from the stored corpus; what is new goes to fuzz/found. cargo-fuzz
# asks for flags that a stable compiler has but does not give to everybody; RUSTC_BOOTSTRAP gives them.
# `file` goes on after a crash, since libhdf5 has known ones: see docs/fuzzing.md for telling whose it is.
SECONDS_EACH ?= 60
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
fuzz: build
	command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --root $(VENV)
	for target in $(FUZZ_TARGETS); do \
		echo "== $$target"; \
		mkdir -p fuzz/found/$$target; \
		case $$target in file) more="-fork=1 -ignore_crashes=1 -ignore_timeouts=1 -ignore_ooms=1 -max_len=96";; \
			*) more="-max_len=4096 -print_final_stats=1";; esac; \
		ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0 RUSTC_BOOTSTRAP=1 cargo fuzz run $$target \
			fuzz/found/$$target fuzz/corpus/$$target -- -max_total_time=$(SECONDS_EACH) -rss_limit_mb=3072 \
			-malloc_limit_mb=1000000 -detect_leaks=0 -timeout=10 $$more || [ $$target = file ] || exit 1; \
	done
