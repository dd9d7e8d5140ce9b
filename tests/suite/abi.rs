//! The ABI: what the libraries export and what the header declares, against what is committed in
//! `c-tests/abi/`. docs/abi.md says what may change; `make abi` renews what is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::toolchain::with_tool;
use crate::{declarations, process, toolchain};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::ignorable_test("abi::exports_the_listed_symbols", || {
            with_tool("nm", exports_the_listed_symbols)
        }),
        Trial::ignorable_test("abi::the_archive_has_no_other_global_symbols", || {
            with_tool("nm", the_archive_has_no_others)
        }),
        Trial::ignorable_test("abi::types_and_functions_are_as_committed", types_and_functions),
    ]
}

fn committed(file: &str) -> PathBuf {
    library::root().join("c-tests/abi").join(file)
}

fn is_renewed() -> bool {
    env::var_os("MAJJEN_BLESS").is_some()
}

/// The listed symbols, each with the version that introduced it.
fn listed() -> Result<BTreeMap<String, String>, Failed> {
    let text = fs::read_to_string(committed("symbols")).unwrap_or_default();
    let pair = |line: &str| {
        line.split_once(' ').map(|(name, version)| (name.to_owned(), version.to_owned()))
    };
    text.lines()
        .map(|line| pair(line).ok_or_else(|| format!("no version: {line}").into()))
        .collect()
}

fn exports_the_listed_symbols() -> Result<(), Failed> {
    let exported = library::symbols("libmajjen.so", &["-D"])?;
    let listed = listed()?;
    let names: BTreeSet<String> = listed.keys().cloned().collect();
    if exported == names {
        return Ok(());
    }
    let new: Vec<_> = exported.difference(&names).collect();
    let gone: Vec<_> = names.difference(&exported).collect();
    let difference = format!("new symbols: {new:?}; symbols that are gone: {gone:?}");
    if !is_renewed() {
        return Err(format!("{difference}; `make abi` renews the list").into());
    }
    println!("{difference}");
    let lines = exported.iter().fold(String::new(), |mut lines, name| {
        let version = listed.get(name).map_or(env!("CARGO_PKG_VERSION"), String::as_str);
        writeln!(lines, "{name} {version}").expect("a string");
        lines
    });
    Ok(fs::write(committed("symbols"), lines)?)
}

/// No symbol of Rust's own, which another Rust library in the program would define as well.
fn the_archive_has_no_others() -> Result<(), Failed> {
    let exported = library::symbols("libmajjen.so", &["-D"])?;
    let global = library::symbols("libmajjen.a", &["-g"])?;
    if exported == global {
        return Ok(());
    }
    let missing: Vec<_> = exported.difference(&global).collect();
    let surplus: Vec<_> = global.difference(&exported).take(5).collect();
    Err(format!("missing: {missing:?}; there too, among others: {surplus:?}; `make` mends it")
        .into())
}

/// The library's debug information has Rust's types, not C's. So the header is compiled into a
/// library with empty functions; another test has compared the header with the library.
fn types_and_functions() -> Result<Completion, Failed> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Completion::ignored_with("what is committed is for x86-64"));
    }
    for tool in ["abidw", "abidiff"] {
        if let Some(ignored) = toolchain::missing(tool) {
            return Ok(ignored);
        }
    }
    let temp_dir = TempDir::new()?;
    let library = library_of_the_header(&temp_dir)?;
    let baseline = committed("majjen.x86_64.abi");
    if is_renewed() {
        if baseline.exists() {
            println!("{}", compare(&baseline, &library, &temp_dir)?.output);
        }
        let mut abidw = Command::new("abidw");
        // Nor is there one in the report: see `library_of_the_header`.
        abidw.args(["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--out-file"]);
        run(abidw.arg(&baseline).arg(&library), &temp_dir)?;
    }
    // abidiff's exit code is not 0 for any difference, also for a compatible one.
    let finished = compare(&baseline, &library, &temp_dir)?;
    if finished.succeeded() {
        return Ok(Completion::Completed);
    }
    Err(format!(
        "the ABI has changed. docs/abi.md says what may; `make abi` renews what is committed.\n{}",
        finished.output
    )
    .into())
}

fn library_of_the_header(temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    let mut source = String::from("#include \"majjen.h\"\n");
    for (_, prototype) in declarations::prototypes()? {
        writeln!(source, "{prototype} {{ __builtin_trap(); }}").expect("a string");
    }
    let (file, library) = (temp_dir.path().join("abi.c"), temp_dir.path().join("libmajjen.so"));
    fs::write(&file, source)?;
    let mut compiler = toolchain::c_compiler();
    compiler.args([
        "-std=c99",
        "-g",
        "-O0",
        "-shared",
        "-fPIC",
        "-w",
        "-Wl,-soname,libmajjen.so.0",
    ]);
    // What is committed has no path of this machine, and is the same each time.
    compiler.arg(format!("-ffile-prefix-map={}=.", temp_dir.path().display()));
    compiler.arg("-I").arg(library::root().join("include")).arg(&file).arg("-o").arg(&library);
    run(&mut compiler, temp_dir)?;
    Ok(library)
}

fn compare(
    baseline: &Path,
    library: &Path,
    temp_dir: &TempDir,
) -> Result<process::Finished, Failed> {
    let mut abidiff = Command::new("abidiff");
    Ok(process::run(abidiff.arg(baseline).arg(library), LIMIT, temp_dir.path())?)
}

const LIMIT: Duration = Duration::from_secs(120);

fn run(command: &mut Command, temp_dir: &TempDir) -> Result<(), Failed> {
    let finished = process::run(command, LIMIT, temp_dir.path())?;
    if finished.succeeded() {
        return Ok(());
    }
    Err(format!("{command:?} {}", finished.describe()).into())
}
