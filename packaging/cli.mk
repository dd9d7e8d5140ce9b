# `majjen`, the program that looks into a running process. It depends on crates that the library has no use for, so
# it is a package of its own, and is built by `make cli` and installed by `make install-cli`, and not by `make` and
# `make install`.

cli_program = $(release)/majjen
cli_completions = $(release)/completions
cli_dir = $(CARGO_TARGET_DIR)/cli
cli_cargo = CARGO_TARGET_DIR="$(cli_dir)" cargo
cli_package = --locked --manifest-path cli/Cargo.toml

bash_dir = $(DATADIR)/bash-completion/completions
zsh_dir = $(DATADIR)/zsh/vendor-completions
fish_dir = $(DATADIR)/fish/vendor_completions.d

cli_files = $(foreach name,$(BINDIR)/majjen $(MANDIR)/man1/majjen.1 $(bash_dir)/majjen $(zsh_dir)/_majjen \
	$(fish_dir)/majjen.fish,"$(DESTDIR)$(name)")

.PHONY: cli install-cli uninstall-cli

# With what is made of its arguments: completions for shells.
cli: need-rust need-c-compiler
	$(cli_cargo) build --release $(cli_package)
	@mkdir -p "$(cli_completions)"
	@cp "$(cli_dir)/release/majjen" "$(cli_program)"
	@for shell in bash zsh fish; do \
		"$(cli_program)" completions "$$shell" >"$(cli_completions)/$$shell" || exit 1; done

# What is built is installed as it is.
$(cli_program):
	$(MAKE) cli

install-cli: $(cli_program)
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(bash_dir)" "$(DESTDIR)$(zsh_dir)" \
		"$(DESTDIR)$(fish_dir)"
	install -m 755 "$(cli_program)" "$(DESTDIR)$(BINDIR)"
	$(call from_template,majjen.1,$(MANDIR)/man1)
	install -m 644 "$(cli_completions)/bash" "$(DESTDIR)$(bash_dir)/majjen"
	install -m 644 "$(cli_completions)/zsh" "$(DESTDIR)$(zsh_dir)/_majjen"
	install -m 644 "$(cli_completions)/fish" "$(DESTDIR)$(fish_dir)/majjen.fish"

uninstall-cli:
	rm -f $(cli_files)
