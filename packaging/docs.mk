# make docs: the documents as a site, with the manual pages and what `cargo doc` shows, and each link of it checked.

mdbook_version = 0.5.4
mdbook_dir = $(CARGO_TARGET_DIR)/mdbook-$(mdbook_version)
mdbook = $(mdbook_dir)/bin/mdbook
book = $(CARGO_TARGET_DIR)/book
site = $(CARGO_TARGET_DIR)/site

.PHONY: docs need-site-tools

need_for_site = $(if $(shell command -v $(1)),,$(error make docs needs $(1) (Debian: apt install mandoc python3)))

need-site-tools:
	$(call need_for_site,mandoc)
	$(call need_for_site,python3)

# Built once, in some minutes.
$(mdbook):
	cargo install mdbook --version $(mdbook_version) --locked --no-default-features --features search \
		--root "$(mdbook_dir)"

docs: need-rust need-site-tools man $(mdbook)
	@python3 tools/site.py prepare "$(book)" "$(pages)"
	@rm -rf "$(site)"
	@"$(mdbook)" build --dest-dir "$(site)" "$(book)"
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features
	@cp -R "$(CARGO_TARGET_DIR)/doc" "$(site)/rust"
	@python3 tools/site.py check "$(site)"
	@echo "the site begins at $(site)/index.html"
