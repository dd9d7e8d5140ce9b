//! The supported platforms: `docs/platforms.md`, against the built library and its sources.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::faults::FALLBACKS;
use crate::library;
use crate::toolchain::with_tool;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::ignorable_test("platforms::the_library_needs_no_newer_glibc", || {
            with_tool("readelf", glibc)
        }),
        Trial::test("platforms::the_minimum_is_the_same_everywhere", minimum_is_the_same),
        Trial::test("platforms::each_fallback_is_forced", fallbacks_are_forced),
        Trial::test("platforms::only_what_is_older_has_no_fallback", others_are_older),
        Trial::test("platforms::each_call_is_named", calls_are_named),
        Trial::test("platforms::each_hooked_call_is_marked", hooked_calls_are_marked),
    ]
}

fn page() -> Result<String, Failed> {
    Ok(fs::read_to_string(library::root().join("docs/platforms.md"))?)
}

/// A version's numbers, which compare as versions do.
type Version = Vec<u32>;

fn version(text: &str) -> Option<Version> {
    text.split('.').map(|number| number.parse().ok()).collect()
}

/// The word after another one in a text, which must be a version.
fn version_behind(text: &str, word: &str) -> Result<Version, Failed> {
    let number = |rest: &str| {
        let end = |c: char| !(c.is_ascii_digit() || c == '.');
        version(rest.split(end).next()?.trim_end_matches('.'))
    };
    text.split_once(word)
        .and_then(|(_, rest)| number(rest))
        .ok_or_else(|| format!("no version behind {word:?} in {text:?}").into())
}

/// The page's line with the minimum versions.
fn minimum(page: &str) -> Result<&str, Failed> {
    page.lines()
        .find_map(|line| line.strip_prefix("Minimum: "))
        .ok_or_else(|| "docs/platforms.md has no minimum".into())
}

fn glibc() -> Result<(), Failed> {
    let stated = version_behind(minimum(&page()?)?, "glibc ")?;
    let library = library::path("libmajjen.so")?;
    let output = Command::new("readelf").args(["-W", "-V"]).arg(library).output()?;
    let text = String::from_utf8(output.stdout)?;
    let needed: BTreeSet<Version> = text
        .split("Name: GLIBC_")
        .skip(1)
        .filter_map(|rest| version(rest.split_whitespace().next()?))
        .collect();
    let newest = needed.last().ok_or("the library needs no version of glibc")?;
    assert!(*newest <= stated, "the library needs glibc {newest:?}, and {stated:?} is stated");
    Ok(())
}

fn minimum_is_the_same() -> Result<(), Failed> {
    let page = page()?;
    let minimum = minimum(&page)?.trim_end_matches('.');
    let readme = fs::read_to_string(library::root().join("README.md"))?;
    assert!(readme.contains(minimum), "README.md does not say {minimum:?}");
    let rust = concat!("Rust ", env!("CARGO_PKG_RUST_VERSION"));
    for part in ["Linux ", "glibc "].map(|word| version_behind(minimum, word)) {
        let part = part?.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        assert!(page.contains(&format!(" {part} | ")), "the table does not say {part}");
    }
    assert!(minimum.contains(rust), "the minimum does not say {rust:?}");
    Ok(())
}

/// The rows of the table below a heading, as cells.
fn rows<'p>(page: &'p str, heading: &str) -> Result<Vec<Vec<&'p str>>, Failed> {
    let (_, part) = page.split_once(heading).ok_or(format!("no {heading:?}"))?;
    let part = part.split("\n## ").next().unwrap_or_default();
    let cells = |line: &'p str| line.split('|').map(str::trim).collect::<Vec<_>>();
    let lines = part.lines().filter(|line| line.starts_with("| "));
    Ok(lines.skip(1).map(|line| cells(line)[1..].to_vec()).collect())
}

/// What is in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The table, `fallbacks.c`, the library, `make torture` and the tests of faults have the same
/// list.
fn fallbacks_are_forced() -> Result<(), Failed> {
    let page = page()?;
    let rows = rows(&page, "## Newer things")?;
    let table: BTreeSet<&str> = rows.iter().filter_map(|row| quoted(row[0]).next()).collect();
    assert!(table.len() == rows.len() && table.len() >= FALLBACKS.len(), "{rows:?}");
    let has_counter = |name: &&str| *name != "counter" || FALLBACKS.contains(name);
    let here: BTreeSet<&str> = table.iter().copied().filter(has_counter).collect();
    assert_eq!(BTreeSet::from(FALLBACKS), here, "FALLBACKS in faults.rs, and the table");

    let read = |path: &str| fs::read_to_string(library::root().join(path));
    let forced = read("c-tests/faults/fallbacks.c")?;
    let torture = read("Makefile")?;
    let torture = torture.split_once("MAJJEN_FALLBACKS=").ok_or("the Makefile has no fallbacks")?.1;
    let torture = torture.lines().next().unwrap_or_default();
    let torture: BTreeSet<&str> = torture.split("$(comma)").collect();
    assert_eq!(torture, table, "the Makefile, and the table");
    let named = read("src/engine/sys/fallbacks.rs")? + &read("src/engine/scheduler/object.rs")?;
    for name in table {
        assert!(forced.contains(&format!("lacks(\"{name}\"")), "fallbacks.c does not force {name}");
        assert!(named.contains(&format!("\"{name}\"")), "the log line does not name {name}");
    }
    Ok(())
}

/// A fallback for a feature of the oldest kernel would be useless, and a feature that it lacks must
/// have one.
fn others_are_older() -> Result<(), Failed> {
    let page = page()?;
    let minimum = minimum(&page)?;
    let (linux, glibc) = (version_behind(minimum, "Linux ")?, version_behind(minimum, "glibc ")?);
    for row in rows(&page, "## Newer things")?.iter().filter(|row| row[2] != "-") {
        let since = version_behind(row[2], "Linux ")?;
        assert!(since > linux, "{} is not newer than the minimum", row[0]);
    }
    let others = rows(&page, "## What needs no fallback")?;
    assert!(others.len() > 5, "{others:?}");
    for row in others {
        for (since, minimum) in [(row[1], &linux), (row[2], &glibc)] {
            let since = if since.is_empty() { Vec::new() } else { version_behind(since, "")? };
            assert!(since <= *minimum, "{} is newer than the minimum", row[0]);
        }
    }
    Ok(())
}

/// Calls in `src/engine/sys`, where all calls are, that only tests make.
const OF_TESTS: [&str; 3] = ["_exit", "fork", "waitpid"];

/// Calls, and the flags and advice that are newer than their calls.
fn calls_are_named() -> Result<(), Failed> {
    let page = page()?;
    let named: BTreeSet<&str> = quoted(&page).collect();
    let is_late = |name: &str| {
        name.ends_with("_CLOEXEC") || ["MADV_", "PR_"].iter().any(|start| name.starts_with(start))
    };
    let mut count = 0;
    for entry in fs::read_dir(library::root().join("src/engine/sys"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        for rest in text.split("libc::").skip(1) {
            let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            let name = rest.split(end).next().unwrap_or_default();
            let is_call = rest[name.len()..].starts_with('(')
                && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
            if (is_call && !OF_TESTS.contains(&name)) || is_late(name) {
                count += 1;
                let file = path.display();
                assert!(named.contains(name), "docs/platforms.md does not name {name} of {file}");
            }
        }
    }
    assert!(count > 50, "only {count} were found");
    Ok(())
}

/// The library's own calls of what libmajjen-hook stands in for, and of the other cancellation points of
/// pthreads(7), are known by `uncancelable`, or by `own_call` where they are no cancellation points; or they only
/// ask for flags.
fn hooked_calls_are_marked() -> Result<(), Failed> {
    const ONLY_ASKS: [&str; 1] = ["fcntl"];
    const NO_CANCELLATION_POINTS: [&str; 1] = ["pthread_sigmask"];
    const OTHER_CANCELLATION_POINTS: [&str; 12] = [
        "pthread_join",
        "pthread_cond_wait",
        "pthread_cond_timedwait",
        "sem_wait",
        "sem_timedwait",
        "sigwait",
        "sigwaitinfo",
        "sigtimedwait",
        "openat",
        "open64",
        "msync",
        "tcdrain",
    ];
    let root = library::root();
    let list = fs::read_to_string(root.join("hook/src/functions.h"))?;
    let hooked: Vec<&str> =
        list.split("X(").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect();
    assert!(hooked.len() > 50, "{hooked:?}");
    let looked_for: Vec<&str> = hooked.into_iter().chain(OTHER_CANCELLATION_POINTS).collect();
    let (mut calls, mut unmarked) = (0, Vec::new());
    for file in fs::read_dir(root.join("src/engine/sys"))? {
        let path = file?.path();
        let text = fs::read_to_string(&path)?;
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for function in text.split("\nfn ").flat_map(|part| part.split("\npub ")) {
            let made =
                looked_for.iter().filter(|name| function.contains(&format!("libc::{name}(")));
            for name in made.filter(|name| !ONLY_ASKS.contains(*name)) {
                calls += 1;
                let is_none = NO_CANCELLATION_POINTS.contains(name);
                let mark = if is_none { "own_call(" } else { "uncancelable(" };
                if !function.contains(mark) {
                    unmarked.push(format!("{name} in {}", path.display()));
                }
            }
        }
    }
    assert!(calls > 20, "only {calls} calls were found");
    assert!(unmarked.is_empty(), "not by uncancelable() or own_call(): {unmarked:?}");
    Ok(())
}
