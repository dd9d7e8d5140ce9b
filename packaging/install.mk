# make install, make uninstall, make deb and make dist. DESTDIR comes before every path, for packagers.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DESTDIR ?=

version := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
soversion := $(firstword $(subst ., ,$(version)))

# What libmajjen.a needs: what `rustc --print native-static-libs` says, which a test compares, without
# what every C compiler adds by itself (-lgcc_s and -lc).
private_libs = -lutil -lrt -lpthread -lm -ldl

pages = $(CARGO_TARGET_DIR)/man
page_date = $(shell date -u -d "@$${SOURCE_DATE_EPOCH:-$$(date +%s)}" +%Y-%m-%d)

shared = libmajjen.so.$(version)
shared_hook = libmajjen-hook.so.$(version)
cmake_dir = $(LIBDIR)/cmake/majjen
doc_dir = $(DATADIR)/doc/majjen
# Where gdb looks for the script of the library at this path.
gdb_dir = $(DATADIR)/gdb/auto-load$(LIBDIR)
gdb_script = $(gdb_dir)/$(shared)-gdb.py

# The documents and the examples, in the places that they have here, so that their links to each other hold.
documents = $(wildcard README.md CHANGELOG.md docs/*.md docs/*.svg docs/images/* examples-c/*.c examples-c/*.cc \
	examples/*.rs)

# All paths stand between quotes, since a directory may have a space in its name, which make's own
# functions would take for the end of it.
installed_files = $(foreach name,$(shared) libmajjen.so.$(soversion) libmajjen.so libmajjen.a \
		$(shared_hook) libmajjen-hook.so.$(soversion) libmajjen-hook.so libmajjen-hook.a \
		majjen-hook.wrap pkgconfig/majjen.pc pkgconfig/majjen-hook.pc,"$(DESTDIR)$(LIBDIR)/$(name)") \
	$(foreach name,majjen-config.cmake majjen-config-version.cmake,"$(DESTDIR)$(cmake_dir)/$(name)") \
	$(foreach name,LICENSE-MIT LICENSE-APACHE,"$(DESTDIR)$(doc_dir)/$(name)") \
	$(foreach name,majjen.h majjen.hpp majjen-hook.h,"$(DESTDIR)$(INCLUDEDIR)/$(name)") \
	"$(DESTDIR)$(gdb_script)"

.PHONY: man install uninstall deb deb-arm64 need-deb-tools dist

# One page for each function and type of the header, and the overview, which is written last.
man: $(pages)/man7/majjen.7
$(pages)/man7/majjen.7: include/majjen.h hook/majjen-hook.h packaging/man.awk packaging/majjen.7.in \
		packaging/majjen-hook.7.in Cargo.toml
	@rm -rf "$(pages)"
	@mkdir -p "$(pages)/man3" "$(pages)/man7"
	@$(call pages_of,majjen-hook,hook/majjen-hook.h)
	@$(call pages_of,majjen,include/majjen.h)

# $(call pages_of,PACKAGE,HEADER)
pages_of = awk -v package="$(1)" -v version="$(version)" -v date="$(page_date)" -v pages="$(pages)" \
	-v overview=packaging/$(1).7.in -f packaging/man.awk $(2)

# What is built is installed as it is: root may have no Rust toolchain.
$(release)/libmajjen.so:
	$(MAKE) build

# $(call from_template,FILE,DIRECTORY). Readable by all, whatever the umask of who installs.
from_template = sed -e 's|@VERSION@|$(version)|g' -e 's|@SOVERSION@|$(soversion)|g' \
	-e 's|@DATE@|$(page_date)|g' -e 's|@PREFIX@|$(PREFIX)|g' \
	-e 's|@LIBDIR@|$(LIBDIR)|g' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|g' \
	-e 's|@PRIVATE_LIBS@|$(private_libs)|g' \
	-e "s|@LIBDIR_TO_INCLUDEDIR@|$$(realpath -m --relative-to="$(LIBDIR)" "$(INCLUDEDIR)")|g" \
	packaging/$(1).in >"$(DESTDIR)$(2)/$(notdir $(1))" \
	&& chmod 644 "$(DESTDIR)$(2)/$(notdir $(1))"

# $(call install_library,NAME): the shared one with its two names, and the static one.
define install_library
	install -m 644 "$(release)/$(1).so" "$(DESTDIR)$(LIBDIR)/$(1).so.$(version)"
	ln -sf $(1).so.$(version) "$(DESTDIR)$(LIBDIR)/$(1).so.$(soversion)"
	ln -sf $(1).so.$(soversion) "$(DESTDIR)$(LIBDIR)/$(1).so"
	install -m 644 "$(release)/$(1).a" "$(DESTDIR)$(LIBDIR)"
endef

install: $(release)/libmajjen.so
	install -d "$(DESTDIR)$(LIBDIR)/pkgconfig" "$(DESTDIR)$(cmake_dir)" "$(DESTDIR)$(INCLUDEDIR)" \
		"$(DESTDIR)$(MANDIR)/man3" "$(DESTDIR)$(MANDIR)/man7" "$(DESTDIR)$(doc_dir)" \
		"$(DESTDIR)$(gdb_dir)"
	$(call install_library,libmajjen)
	$(call install_library,libmajjen-hook)
	install -m 644 "$(hook_options)" "$(DESTDIR)$(LIBDIR)"
	install -m 644 include/majjen.h include/majjen.hpp hook/majjen-hook.h "$(DESTDIR)$(INCLUDEDIR)"
	$(call from_template,majjen.pc,$(LIBDIR)/pkgconfig)
	$(call from_template,majjen-hook.pc,$(LIBDIR)/pkgconfig)
	$(call from_template,cmake/majjen-config.cmake,$(cmake_dir))
	$(call from_template,cmake/majjen-config-version.cmake,$(cmake_dir))
	install -m 644 "$(pages)"/man3/* "$(DESTDIR)$(MANDIR)/man3"
	find "$(pages)/man3" -type l -exec cp -P {} "$(DESTDIR)$(MANDIR)/man3" \;
	install -m 644 "$(pages)"/man7/* "$(DESTDIR)$(MANDIR)/man7"
	install -m 644 tools/majjen-gdb.py "$(DESTDIR)$(gdb_script)"
	install -m 644 LICENSE-MIT LICENSE-APACHE "$(DESTDIR)$(doc_dir)"
	@for file in $(documents); do install -D -m 644 "$$file" "$(DESTDIR)$(doc_dir)/$$file" || exit 1; done

# Pages by their names in the build, so with the version that was installed.
uninstall:
	rm -f $(installed_files)
	for page in $$(cd "$(pages)" && echo man?/*); do rm -f "$(DESTDIR)$(MANDIR)/$$page"; done
	@for file in $(documents); do rm -f "$(DESTDIR)$(doc_dir)/$$file"; done
	@for directory in docs/images docs examples-c examples; do rmdir "$(DESTDIR)$(doc_dir)/$$directory"; done
	rmdir "$(DESTDIR)$(cmake_dir)" "$(DESTDIR)$(doc_dir)"

# The packages are made by Debian's tools, of what was built, in a copy of what they need.
deb_dir = $(CARGO_TARGET_DIR)/deb
deb_tree = $(deb_dir)/majjen-$(version)
deb_date = $(shell LC_ALL=C date -u -d "@$${SOURCE_DATE_EPOCH:-$$(date +%s)}" \
	"+%a, %d %b %Y %H:%M:%S +0000")

need_for_deb = $(if $(shell command -v $(1)),,$(error make deb needs $(1) (Debian: apt install \
	debhelper dpkg-dev)))

need-deb-tools:
	$(call need_for_deb,dpkg-buildpackage)
	$(call need_for_deb,dh)

# Without CHANGELOG.md, which debhelper would take for that of the package.
deb: need-deb-tools $(release)/libmajjen.so $(cli_program)
	@rm -rf "$(deb_dir)"
	@mkdir -p "$(deb_tree)"
	@cp -R Cargo.toml Makefile LICENSE-MIT LICENSE-APACHE README.md docs examples examples-c \
		include tools packaging c-tests hook \
		packaging/debian "$(deb_tree)"
	@sed -e "s|@VERSION@|$(version)|" -e "s|@DATE@|$(deb_date)|" packaging/debian/changelog.in \
		>"$(deb_tree)/debian/changelog"
	cd "$(deb_tree)" && dpkg-buildpackage --build=binary --no-check-builddeps --no-sign $(deb_options)
	@rm -r "$(deb_tree)"
	@ls "$(deb_dir)"/*.deb

# Those for arm64 are made of a directory that looks as target/ does, with what was built for that machine. What shells
# complete is told by this machine's program.
arm64_dir = $(aarch64_dir)/arm64

deb-arm64: need-deb-tools libraries-aarch64 $(cli_program)
	$(for_aarch64) cargo build --release $(cli_package) --target $(aarch64_target)
	@mkdir -p "$(arm64_dir)/release"
	@cp "$(aarch64_release)"/libmajjen.so "$(aarch64_release)"/libmajjen.a "$(aarch64_release)/majjen" \
		"$(arm64_dir)/release"
	@cp -R "$(cli_completions)" "$(arm64_dir)/release"
	@$(MAKE) --no-print-directory man hook CARGO_TARGET_DIR="$(arm64_dir)" CC=$(aarch64_cc) \
		binutils=aarch64-linux-gnu- AR=aarch64-linux-gnu-ar
	@DEB_BUILD_OPTIONS=nocheck $(MAKE) --no-print-directory deb CARGO_TARGET_DIR="$(arm64_dir)" \
		deb_options=--host-arch=arm64

# The source archive, of what is committed.
dist_dir = $(CARGO_TARGET_DIR)/dist

dist: need-rust
	@packaging/dist.sh "$(dist_dir)" "$(version)"
