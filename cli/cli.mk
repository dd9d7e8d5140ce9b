# `majjen`, the program that looks into a running process. It depends on crates that the library has no use for, so
# it is a package of its own, and is built by `make cli` and not by `make`. What it is tested with is what `make` has
# built.

cli_program = $(release)/majjen
cli_dir = $(CARGO_TARGET_DIR)/cli
cli_cargo = CARGO_TARGET_DIR="$(cli_dir)" cargo
cli_package = --locked --manifest-path cli/Cargo.toml
cli_sources = $(wildcard cli/src/*.rs) cli/Cargo.toml cli/Cargo.lock

.PHONY: cli
cli: need-rust need-c-compiler $(cli_program)

# With what is made of its arguments: completions for shells.
$(cli_program): $(cli_sources)
	$(cli_cargo) build --release $(cli_package)
	@mkdir -p "$(release)/completions"
	@cp "$(cli_dir)/release/majjen" "$@"
	@"$@" completions bash >"$(release)/completions/majjen"
	@"$@" completions zsh >"$(release)/completions/_majjen"
	@"$@" completions fish >"$(release)/completions/majjen.fish"
