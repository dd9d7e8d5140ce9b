# Majjen's commands, for people and for CI.
# CONTRIBUTING.md lists them all.
#
# CC chooses the C compiler, CFLAGS is for the part of the library that is in C, and LDFLAGS for linking
# it. CARGO_TARGET_DIR chooses another place than target/.

export CARGO_TARGET_DIR ?= $(CURDIR)/target

release = $(CARGO_TARGET_DIR)/release

.PHONY: all build run examples test test-long c-test torture fuzz loom coverage bench bench-instructions lint header abi
.PHONY: test-aarch64 clean need-c-test need-rust need-c-compiler need-libfuzzer need-lint-tools
.PHONY: need-aarch64-tools need-coverage-tools need-sanitizers

all: build

# The packages are made of what the others build.
include hook/hook.mk
include packaging/cli.mk
include packaging/install.mk
include packaging/docs.mk

# The libraries for C, in one go. The SONAME is given here, and not by build.rs, from where cargo would
# hand it on to the shared libraries of crates that depend on this one. Its number, that of the ABI, is
# the version's first one; docs/abi.md says when it changes.
build_libraries = cargo rustc --release --lib --crate-type cdylib,staticlib $(1) \
	-- -Clink-arg=-Wl,-soname,libmajjen.so.$(soversion) $(addprefix -Clink-arg=,$(link_flags))

# A symbol that nothing defines is an error, and not the loader's to find. But those of a sanitizer are
# in the program that is built with it.
link_flags = $(if $(filter -fsanitize=%,$(CFLAGS)),,-Wl,-z,defs) $(LDFLAGS)

build: need-rust need-c-compiler man
	$(call build_libraries)
	@ln -sf libmajjen.so "$(release)/libmajjen.so.$(soversion)"
	@packaging/archive.sh "$(release)"
	@$(MAKE) --no-print-directory hook

# The server takes the place of the shell, so that Ctrl+C reaches it and nothing stands in between. Make
# is interrupted by the same Ctrl+C: it waits for the server's last lines, and then ends without a word.
run: build
	$(CC) -std=c99 -O2 -o "$(CARGO_TARGET_DIR)/http_server" examples-c/http_server.c \
		-Iinclude -L"$(release)" -lmajjen -Wl,-rpath,'$$ORIGIN/release'
	@exec "$(CARGO_TARGET_DIR)/http_server"

examples_dir = $(CARGO_TARGET_DIR)/examples
libpq_include = $(shell pg_config --includedir 2>/dev/null)
libpq = $(if $(wildcard $(libpq_include)/libpq-fe.h), \
	-I"$(libpq_include)" -L"$(shell pg_config --libdir)" -lpq)

openssl = $(shell pkg-config --cflags --libs openssl 2>/dev/null)

# $(call example,NAME,LIBRARIES) compiles one.
example = $(CC) -std=c99 -O2 -o "$(examples_dir)/$(1)" examples-c/$(1).c \
	-Iinclude -L"$(release)" -lmajjen $(2) -Wl,-rpath,'$$ORIGIN/../release'

# The servers and wait_postgresql are for running by hand: the others end by themselves. The scan is of the
# ports of this machine that need no privilege to listen at.
examples: build
	@mkdir -p "$(examples_dir)"
	$(call example,http_server)
	$(call example,http_server_all_cores)
	$(call example,http_server2)
	$(call example,http_metrics)
	$(call example,wait_hybrid,-pthread)
	$(call example,wait_message_queue,-lrt)
	$(call example,wait_mock)
	$(call example,pipeline)
	$(call example,graceful_stop)
	$(call example,port_scan)
	$(call example,chat)
	$(call example,checksum)
	$(call example,proxy)
	$(call example,job_server)
	$(call example,kv_server)
	$(if $(libpq),$(call example,wait_postgresql,$(libpq)),@echo "wait_postgresql, postgres_pool and" \
		"worker_postgres are left out: libpq is not installed (Debian: apt install libpq-dev)")
	$(if $(libpq),$(call example,postgres_pool,-Wl$(comma)--no-as-needed -lmajjen-hook $(libpq)))
	$(if $(libpq),$(call example,worker_postgres,-Wl$(comma)--no-as-needed -lmajjen-hook $(libpq)))
	$(if $(openssl),$(call example,tls_echo,-Wl$(comma)--no-as-needed -lmajjen-hook $(openssl)))
	"$(examples_dir)/wait_hybrid"
	"$(examples_dir)/wait_message_queue"
	"$(examples_dir)/wait_mock"
	"$(examples_dir)/pipeline"
	"$(examples_dir)/graceful_stop"
	"$(examples_dir)/port_scan" localhost 1024 65535
	"$(examples_dir)/checksum" docs

# The tests of the feature `log` are built in target/debug, so that the library in target/release stays
# without. There, too, the unit tests are run once more: with checks of overflowing arithmetic, and the
# library's own assertions.
log_tests = --locked --manifest-path tests/log/Cargo.toml
hook_tests = --locked --manifest-path hook/rust/Cargo.toml

# Programs of the tests hook::clients: those whose libraries are installed.
clients = redis $(if $(libpq),postgres) $(shell pkg-config --exists libmariadb 2>/dev/null && echo mysql) \
	$(shell pkg-config --exists libcurl 2>/dev/null && echo curl)
client_programs = --locked --manifest-path hook/rust/clients/Cargo.toml --features "$(clients)"

# The tests that drive programs. Those that take long together, as tests/suite/suite.rs lists them, are test-long's.
suite_tests = --locked --manifest-path tests/suite/Cargo.toml

# The crate's tests and these, each with its arguments, both also if one of them fails: in a shell in which `failed` is
# 0 at first.
both_tests = cargo test --no-fail-fast $(1) || failed=1; cargo test $(suite_tests) $(2) || failed=1

# Unoptimised: that compiles in half the time, and checks more.
test: build
	@export MAJJEN_TESTS=short; $(call summarised,failed=0; \
		$(call both_tests); \
		cargo test $(log_tests) || failed=1; \
		cargo test $(hook_tests) || failed=1; \
		$(cli_cargo) test $(cli_package) || failed=1; \
		exit "$$failed")

# And the tests of both APIs as users build them, which valgrind runs too.
test-long: build cli
	@export MAJJEN_TESTS=long; $(call summarised,failed=0; \
		$(call both_tests,--release --test 'rust_*' --test behaviour); exit "$$failed")

# LINK chooses another way to run it: static, standalone, or valgrind. For TEST=hook/..., of libmajjen-hook,
# it is one of the ways in tests/suite/hook.rs.
c_program_folder = $(filter hook/,$(firstword $(subst /,/ ,$(TEST))))
c_program_words = $(subst /, ,$(TEST:$(c_program_folder)%=%))
c_program = $(firstword $(c_program_words))
c_program_test = $(word 2,$(c_program_words))
c_program_source = $(wildcard $(addprefix c-tests/$(c_program_folder)$(c_program),.c .cc))
LINK ?= $(if $(c_program_folder),linked,shared)

c-test: need-c-test build
	@echo "compiling the tests: a minute the first time, seconds later" >&2
	@export MAJJEN_TEST="$(c_program_test)"; \
	$(call summarised,cargo test --quiet $(suite_tests) -- \
		--exact $(if $(c_program_folder),hook,c_programs)::$(c_program)::$(LINK))

# The faults one at a time: what they find should not depend on what else runs. Then all tests, on a
# system that has none of what the library can do without; first of all the one that proves that it
# has not. A skipped test is an error, unless ALLOW_SKIPS=1.
torture: build need-libfuzzer need-coverage-tools need-sanitizers
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- faults:: --test-threads=1,-faults)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- server::load:: --test-threads=1,-load)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- parked:: --test-threads=1,-parked)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- c_programs:: --test-threads=1,-c-programs)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- hook:: --test-threads=1,-hook)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- dist::,-dist)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- debian::arm64,-arm64)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- mutants::,-mutants)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test --release --test fuzz -- mutants:: --nocapture,-mutants-fuzz)
	@export MAJJEN_TORTURE=1; \
	$(call summarised,cargo test $(suite_tests) -- sanitizers:: --test-threads=1,-sanitizers)
	@export MAJJEN_TORTURE=1; $(call summarised,$(cli_cargo) test --release $(cli_package),-cli)
	@$(MAKE) --no-print-directory fuzz
	$(CC) -shared -fPIC -O1 -o "$(CARGO_TARGET_DIR)/fallbacks.so" c-tests/faults/fallbacks.c -ldl
	@$(on_fallbacks); $(call summarised,cargo test $(suite_tests) -- \
		--exact fallbacks::are_in_effect,-fallbacks)
	@$(on_fallbacks); $(call summarised,failed=0; \
		$(call both_tests,--release,-- --skip faults::); exit "$$failed",-on-fallbacks)
	@$(MAKE) --no-print-directory coverage

on_fallbacks = export LD_PRELOAD="$(CARGO_TARGET_DIR)/fallbacks.so" \
	MAJJEN_FALLBACKS=guards$(comma)batches$(comma)pwait2$(comma)nowait$(comma)nosignal$(comma)wipe$(comma)counter

# The models are unit tests that need the library built for them: with loom's atomics in place of the
# processor's.
loom: need-rust need-c-compiler
	@export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)/loom"; \
	mkdir -p "$$CARGO_TARGET_DIR"; \
	$(call summarised,cargo test --release --lib -- models::)

# libFuzzer, which starts from the committed programs and keeps new ones and failures below target/. The
# instrumentation is rustc's own, so clang is not needed. It is for the target and not for build
# scripts, which cargo tells apart by --target.
FUZZ_SECONDS ?= 60
LIBFUZZER ?= $(lastword $(sort $(wildcard /usr/lib/llvm-*/lib/libFuzzer.a)))
fuzz_host = $(shell rustc -vV | sed -n 's/^host: //p')
fuzz_dir = $(CARGO_TARGET_DIR)/libfuzzer
fuzz_flags = -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-, \
	level=4 inline-8bit-counters pc-table)
fuzzer = $(fuzz_dir)/$(fuzz_host)/release/fuzz

fuzz: need-rust need-c-compiler need-libfuzzer
	RUSTFLAGS="$(strip $(fuzz_flags))" CARGO_TARGET_DIR="$(fuzz_dir)" cargo rustc --release --locked \
		--target $(fuzz_host) --manifest-path tests/fuzz/libfuzzer/Cargo.toml \
		-- -Clink-arg=$(LIBFUZZER) -Clink-arg=-lstdc++
	@mkdir -p "$(fuzz_dir)/corpus" "$(fuzz_dir)/failures"
	@"$(fuzzer)" "$(fuzz_dir)/corpus" tests/fuzz/corpus tests/fuzz/regressions \
		-artifact_prefix="$(fuzz_dir)/failures/" -max_total_time=$(FUZZ_SECONDS) \
		-max_len=600 -timeout=30 -print_final_stats=1 -close_fd_mask=3 >"$(fuzz_dir)/log" 2>&1 \
		|| { tail -n 12 "$(fuzz_dir)/log"; grep -a -A 3 "^FAILED" "$(fuzz_dir)/log"; \
		echo "A program has failed; this shows its calls:"; \
		echo "cargo test --release --test fuzz -- replay $(fuzz_dir)/failures/..."; exit 1; }
	@awk '/^stat::number_of_executed/ { programs = $$2 } / cov: / { places = $$4 } \
		END { print "fuzz: libFuzzer ran " programs " programs, which reach " places " places" }' \
		"$(fuzz_dir)/log"

# The library with counters, Rust and C alike, so with the compiler for C of rustc's own LLVM. They are in
# memory that is mapped from a file (%c), which processes that end by a signal or _exit leave behind, too.
# The examples of the documentation count, too. Left out are the tests of how the library is built and
# installed, and the long ones; a name here leaves out each test that has it in its own. Incremental, since
# the compiler copies small functions into other crates else, and llvm-cov then counts them as never run.
coverage_dir = $(CARGO_TARGET_DIR)/coverage
coverage_flags = -mllvm -runtime-counter-relocation
llvm_version = $(shell rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
not_for_coverage = ::valgrind abi:: debian:: dist:: header:: hook:: install:: package:: readme:: rust_api::is_clean \
	server::load::

coverage: need-rust need-c-compiler need-coverage-tools
	@rm -rf "$(coverage_dir)/profiles"
	@export CARGO_TARGET_DIR="$(coverage_dir)" CARGO_INCREMENTAL=1; \
	export LLVM_PROFILE_FILE="$(coverage_dir)/profiles/%m%c.profraw"; \
	export RUSTFLAGS="-C instrument-coverage -C llvm-args=-runtime-counter-relocation"; \
	export RUSTDOCFLAGS="$$RUSTFLAGS"; \
	export HOST_CC=clang-$(llvm_version); \
	export HOST_CFLAGS="-fprofile-instr-generate -fcoverage-mapping $(coverage_flags)"; \
	$(call build_libraries) && packaging/archive.sh "$(coverage_dir)/release" || exit 1; \
	$(call run_summarised,failed=0; \
		$(call both_tests,--release,-- $(addprefix --skip$(space),$(not_for_coverage))); exit "$$failed") || exit 1; \
	programs=$$(cargo test --release --no-run 2>&1 | sed -n 's/^ *Executable .* (\(.*\))$$/\1/p') && \
	llvm-profdata-$(llvm_version) merge -o "$(coverage_dir)/profile" "$(coverage_dir)"/profiles/*.profraw && \
	llvm-cov-$(llvm_version) export -format=lcov -instr-profile="$(coverage_dir)/profile" \
		"$(coverage_dir)/release/libmajjen.so" $$(printf -- '-object %s ' $$programs) >"$(coverage_dir)/lcov"
	@python3 tools/coverage.py "$(coverage_dir)/lcov" tests/uncovered.txt

# The driver has peers from crates.io for dependencies, so it is a package of its own.
bench_driver = MAJJEN_LIB_DIR="$(release)" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)/bench" \
	cargo run --quiet --release --manifest-path bench/Cargo.toml --bin majjen-bench --

bench: build
	$(bench_driver) $(if $(QUICK),quick) $(if $(ROWS),rows=$(ROWS))

bench-instructions: build
	$(bench_driver) instructions $(if $(BLESS),bless)

lint: need-rust need-c-compiler need-lint-tools
	cargo fmt --check
	cargo fmt --check --manifest-path tests/suite/Cargo.toml
	cargo fmt --check --manifest-path tests/log/Cargo.toml
	cargo fmt --check --manifest-path hook/rust/Cargo.toml
	cargo fmt --check --manifest-path hook/rust/clients/Cargo.toml
	cargo fmt --check --manifest-path cli/Cargo.toml
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --all-features -- -D warnings
	cargo clippy --all-targets $(suite_tests) -- -D warnings
	cargo clippy --all-targets $(log_tests) -- -D warnings
	cargo clippy --all-targets $(hook_tests) -- -D warnings
	cargo clippy --all-targets $(client_programs) -- -D warnings
	$(cli_cargo) clippy --all-targets $(cli_package) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features

header: need-rust need-c-compiler
	MAJJEN_BLESS=1 cargo test $(suite_tests) -- header::is_up_to_date --test-threads=1

abi: build
	MAJJEN_BLESS=1 cargo test $(suite_tests) -- abi:: --test-threads=1 --nocapture

# The library is built with Debian's Rust, which has the standard library for aarch64; `rustup target add`
# gives another one the same, and AARCH64_RUSTC=rustc then chooses it. The suite itself runs on this
# machine: it cross-compiles the C programs and runs them through the emulator. It gets its CC from
# cargo's runner, since in the environment it would also reach the build of this machine's library.
AARCH64_RUSTC ?= /usr/bin/rustc
aarch64_target = aarch64-unknown-linux-gnu
aarch64_cc = aarch64-linux-gnu-gcc
aarch64_dir = $(CARGO_TARGET_DIR)/aarch64
# Named twice below: an emulated program that finds the loader here and the C library in the arm64
# packages of the machine itself, where there are any, hangs as soon as it starts a thread.
aarch64_root = /usr/aarch64-linux-gnu

aarch64_release = $(aarch64_dir)/$(aarch64_target)/release
for_aarch64 = RUSTC=$(AARCH64_RUSTC) CARGO_TARGET_DIR="$(aarch64_dir)" CC_aarch64_unknown_linux_gnu=$(aarch64_cc) \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$(aarch64_cc)

.PHONY: libraries-aarch64
libraries-aarch64: need-rust need-c-compiler need-aarch64-tools
	$(for_aarch64) $(call build_libraries,--target $(aarch64_target))
	@packaging/archive.sh "$(aarch64_release)" aarch64-linux-gnu-

test-aarch64: libraries-aarch64
	@export MAJJEN_LIB_DIR="$(aarch64_release)"; \
	export MAJJEN_RUNNER="qemu-aarch64 -L $(aarch64_root) -E LD_LIBRARY_PATH=$(aarch64_root)/lib"; \
	$(call summarised,cargo test $(suite_tests) \
		--config 'target."cfg(all())".runner = ["env"$(comma) "CC=$(aarch64_cc)"]')

clean: need-rust
	cargo clean

# $(call summarised,COMMAND,NAME) runs tests with live output, adds up their "test result:" lines, names
# what has failed, and ends with the command's exit status, or with 1 when no test has run, or in torture
# when one was skipped. The output is kept in target/TARGET+NAME.log. The status takes a detour through a
# file, because a pipe in sh has only that of its last command.
comma := ,
space := $() $()
may_skip = $(if $(filter torture,$@),$(ALLOW_SKIPS),1)
summarised = $(run_summarised); exit "$$status"
run_summarised = \
	log="$(CARGO_TARGET_DIR)/$@$(2).log"; rm -f "$$log.status"; \
	{ ( $(1) ) 2>&1; echo $$? >"$$log.status"; } | tee "$$log"; \
	read -r status <"$$log.status"; \
	awk -v status="$$status" -v may_skip="$(may_skip)" -f tools/test-summary.awk "$$log"; \
	status=$$?; \
	[ "$$status" -eq 0 ]

# What is missing gets one clear line here, and not a compiler's complaint later.

rust_needed = $(shell sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' Cargo.toml)
rust_found = $(shell $(1) --version 2>/dev/null | awk '{ print $$2 }')
is_older = $(shell printf '%s\n' $(1) $(2) | sort -V | head -n 1 | grep -qxF $(2) || echo older)
need_rust = $(if $(call rust_found,$(1)), \
	$(if $(call is_older,$(call rust_found,$(1)),$(rust_needed)), \
		$(error Majjen needs Rust $(rust_needed) or newer, but $(1) is version $(call \
			rust_found,$(1)): `rustup update` brings a newer one)), \
	$(error Majjen needs Rust $(rust_needed) or newer, but there is no $(1) that runs: install \
		the Rust toolchain))

can_compile = $(shell echo 'int main(void) { return 0; }' \
	| $(1) -include stdio.h -x c -o /dev/null - 2>/dev/null && echo yes)
need_c_compiler = $(if $(call can_compile,$(1)),, \
	$(error Majjen needs a C compiler with the C library's headers, but there is no $(1) that \
		works (Debian: apt install gcc libc6-dev)))

has_c_test = $(shell grep -E 'RUN[A-Z_]*\($(c_program_test)\);' $(c_program_source))

need-c-test:
	$(if $(TEST),,$(error TEST names a program of c-tests/, or a test of one: \
		TEST=wait_fd/the_bits_are_those_of_poll))
	$(if $(c_program_source),,$(error c-tests/$(c_program_folder) has no program $(c_program)))
	$(if $(c_program_test),$(if $(has_c_test),,$(error $(c_program_source) has no test $(c_program_test))))
	$(if $(c_program_folder)$(filter shared static standalone valgrind,$(LINK)),,$(error LINK is shared, static, standalone or valgrind, not $(LINK)))

need-rust:
	$(call need_rust,cargo)
	$(call need_rust,$(or $(RUSTC),rustc))

# Rust links with cc, whatever CC is.
need-c-compiler:
	$(call need_c_compiler,cc)
	$(if $(filter-out cc,$(CC)),$(call need_c_compiler,$(CC)))

need-libfuzzer:
	$(if $(wildcard $(LIBFUZZER)),, \
		$(error make fuzz and make torture need libFuzzer (Debian: apt install libfuzzer-22-dev \
			g++); LIBFUZZER names the archive where it is not in /usr/lib/llvm-*/lib))

need-lint-tools:
	$(if $(shell cargo fmt --version 2>/dev/null),, \
		$(error Majjen's lint needs rustfmt: `rustup component add rustfmt`))
	$(if $(shell cargo clippy --version 2>/dev/null),, \
		$(error Majjen's lint needs clippy: `rustup component add clippy`))

need_for_coverage = $(if $(shell command -v $(1)),,$(error Coverage is measured with $(1), of the LLVM \
	that rustc has (Debian: apt install clang-$(llvm_version) llvm-$(llvm_version) python3)))

need-coverage-tools:
	$(call need_for_coverage,clang-$(llvm_version))
	$(call need_for_coverage,llvm-profdata-$(llvm_version))
	$(call need_for_coverage,llvm-cov-$(llvm_version))
	$(call need_for_coverage,python3)

need-sanitizers: need-coverage-tools
	$(if $(wildcard $(shell clang-$(llvm_version) -print-file-name=libclang_rt.tsan-$$(uname -m).a)),, \
		$(error make torture needs the sanitizers of clang-$(llvm_version) (Debian: apt install \
			libclang-rt-$(llvm_version)-dev)))

need_for_aarch64 = $(if $(2),,$(error The aarch64 test needs $(1) (Debian: dpkg --add-architecture \
	arm64 && apt update && apt install rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu \
	libc6-dev-arm64-cross qemu-user)))

need-aarch64-tools:
	$(call need_for_aarch64,Rust's standard library for aarch64,$(wildcard $(shell \
		$(AARCH64_RUSTC) --print target-libdir --target $(aarch64_target) 2>/dev/null)/libstd-*))
	$(call need_rust,$(AARCH64_RUSTC))
	$(call need_for_aarch64,$(aarch64_cc) with a C library,$(call can_compile,$(aarch64_cc)))
	$(call need_for_aarch64,qemu-aarch64,$(shell qemu-aarch64 --version 2>/dev/null))
