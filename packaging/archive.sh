#!/bin/sh
# Makes libmajjen.a one object whose only global symbols are what libmajjen.so exports.
#
#   archive.sh DIRECTORY [PREFIX]    the directory with both; the prefix of another machine's binutils
#
# Cargo's archive has all of Rust's standard library in it, under names that another Rust library in
# the same program has as well. An archive that is one object already is left alone.
set -eu
directory=$1
prefix=${2-}
[ "$("${prefix}ar" t "$directory/libmajjen.a")" != majjen.o ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${prefix}nm" -D --defined-only "$directory/libmajjen.so" | awk '{ print $NF }' >"$work/exported"

# Groups are of sections that other objects may have too: a linker would keep only one of them, with
# symbols that are local now.
# shellcheck disable=SC2046 # a word for each symbol
"${prefix}ld" -r --force-group-allocation -o "$work/majjen.o" \
    $(sed 's/^/--undefined=/' "$work/exported") "$directory/libmajjen.a"

# A program that pastes the guide's epoll section defines the two weak ones itself. The loader prefers
# a program's own; the linker does so only if the archive's are weak. The sections are the standard
# library's for link-time optimization, and no longer valid when put together.
"${prefix}objcopy" --keep-global-symbols="$work/exported" \
    --weaken-symbol=mj_task_wait_readable --weaken-symbol=setup_scheduler_with_epoll \
    --remove-section=.llvmbc --remove-section=.llvmcmd "$work/majjen.o"

"${prefix}ar" crsD "$work/libmajjen.a" "$work/majjen.o"
# Written into the file that is there, because cargo has another name for it and would restore it.
cat "$work/libmajjen.a" >"$directory/libmajjen.a"
