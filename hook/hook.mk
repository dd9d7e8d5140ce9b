# libmajjen-hook: the shared library; the archive for programs that are linked with nothing shared, and the
# linker's options for these. In C: what it stands in for are functions of C, with their variable arguments,
# aliases and thread-local variables.

# In front of the names of the tools for another machine.
binutils ?=
hook_objects = $(CARGO_TARGET_DIR)/hook
hook_sources = $(wildcard hook/src/*.c)
hook_headers = hook/majjen-hook.h $(wildcard hook/src/*.h) hook/hook.mk
hook_shared = $(release)/libmajjen-hook.so
hook_archive = $(release)/libmajjen-hook.a
hook_options = $(release)/majjen-hook.wrap

# Names are the loader's business here: no name of a call may be taken for one that the compiler knows, and
# none is checked by the C library's headers.
hook_flags = -std=gnu11 -O2 -g -Wall -Wextra -D_GNU_SOURCE -U_FORTIFY_SOURCE -fvisibility=hidden -fno-builtin \
	-fno-lto -fexceptions
hook_compile = $(1) $(CPPFLAGS) $(CFLAGS) $(hook_flags) $(no_split_stack)

# On the stacks of tasks a check of the thread's stack is wrong: as build.rs has it, where the compiler knows the flag.
no_split_stack = $(shell $(CC) -Werror -fno-split-stack -fsyntax-only -x c /dev/null 2>/dev/null && echo -fno-split-stack)

.PHONY: hook
hook: $(hook_shared) $(hook_archive) $(hook_options)

# $(call hook_build,DIRECTORY,FLAGS) compiles all files.
hook_build = mkdir -p "$(1)" && for source in $(hook_sources); do \
	$(call hook_compile,$(CC)) $(2) -c "$$source" -o "$(1)/$$(basename "$$source" .c).o" || exit 1; done

$(hook_shared): $(hook_sources) $(hook_headers)
	@$(call hook_build,$(hook_objects)/shared,-fPIC)
	@$(CC) -shared -o "$@" "$(hook_objects)"/shared/*.o -Wl$(comma)-soname$(comma)libmajjen-hook.so.$(soversion) \
		-Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now \
		$(link_flags)
	@ln -sf libmajjen-hook.so "$@.$(soversion)"

# One object, so that a program that uses any of it has all: the library calls the others.
$(hook_archive): $(hook_sources) $(hook_headers)
	@$(call hook_build,$(hook_objects)/wrapped,-fPIE -DMAJJEN_HOOK_WRAP)
	@rm -f "$@"
	@$(CC) -r -nostdlib -o "$(hook_objects)/majjen-hook.o" "$(hook_objects)"/wrapped/*.o
	@$(binutils)objcopy --localize-hidden "$(hook_objects)/majjen-hook.o"
	@$(AR) rcs "$@" "$(hook_objects)/majjen-hook.o"

# One option for each function that the archive has, by the names that programs use. By those with two
# underscores the C library calls itself, inside its streams for example, whose locks are a thread's.
$(hook_options): $(hook_archive)
	@$(binutils)nm --defined-only "$(hook_archive)" | sed -n 's/^.* [TW] __wrap_\([a-z].*\|__.*_chk\)$$/--wrap=\1/p' | sort -u >"$@"
