#!/bin/sh
# Makes the source archive: majjen-VERSION.tar.gz, which builds without a network.
#
#   dist.sh DIRECTORY VERSION    where the archive comes; needs git, cargo, GNU tar and gzip
#
# It has what is committed, and the crates that its lock files name, in vendor/, where .cargo/config.toml has cargo find
# them; all but those of the benchmarks. The same commit makes the same bytes, with the same cargo, tar and gzip.
set -eu
directory=$1
name=majjen-$2

[ -z "$(git status --porcelain)" ] || echo "dist: what is not committed is left out" >&2
time=$(git log -1 --format=%ct)
mkdir -p "$directory"
work=$(mktemp -d "$directory/dist.XXXXXX")
trap 'rm -rf "$work"' EXIT
git archive --prefix="$name/" HEAD | tar -x -C "$work"
tree=$work/$name

manifests=$(cd "$tree" && find . -name Cargo.lock ! -path './bench/*' ! -path ./Cargo.lock |
    sort | sed 's|^\./\(.*\)Cargo.lock$|--sync \1Cargo.toml|')
# shellcheck disable=SC2086 # words
(cd "$tree" && cargo vendor --quiet --locked --versioned-dirs $manifests vendor >/dev/null)

# Crates for Windows are half of it, and are never compiled here. Cargo only wants to know that they are there.
for crate in "$tree"/vendor/winapi-* "$tree"/vendor/windows*; do
    [ -f "$crate/.cargo-checksum.json" ] || continue
    sum=$(sed -n 's/.*"package":"\([0-9a-f]*\)".*/\1/p' "$crate/.cargo-checksum.json")
    find "$crate" -mindepth 1 -maxdepth 1 ! -name Cargo.toml ! -name 'LICENSE*' ! -name 'license*' -exec rm -rf {} +
    sed -e '/^build = /d' -e '/^links = /d' "$crate/Cargo.toml" >"$work/manifest"
    mv "$work/manifest" "$crate/Cargo.toml"
    mkdir "$crate/src"
    : >"$crate/src/lib.rs"
    printf '{"files":{},"package":"%s"}' "$sum" >"$crate/.cargo-checksum.json"
done

count=$(find "$tree/vendor" -mindepth 1 -maxdepth 1 -type d | wc -l)
cat >>"$tree/.cargo/config.toml" <<'CONFIG'

# The crates are in vendor/, so that nothing is fetched. The benchmarks need others: remove what follows for them.
[source.crates-io]
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "vendor"

[net]
offline = true
CONFIG
cat >"$tree/vendor/README.md" <<README
# What this archive holds

The sources of Majjen $2, commit $(git rev-parse HEAD),
and the $count crates that its lock files name, so that nothing but \`make bench\` needs a network. Crates that only
Windows needs are empty: just their manifests and licences.
README

# In order, by nobody, at the time of the commit: the archive tells nothing of who makes it, and when.
tar --sort=name --format=gnu --mtime="@$time" --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
    -C "$work" -cf "$work/archive" "$name"
gzip -n "$work/archive"
mv "$work/archive.gz" "$directory/$name.tar.gz"
echo "$directory/$name.tar.gz: what is committed, and $count crates, to build without a network"
