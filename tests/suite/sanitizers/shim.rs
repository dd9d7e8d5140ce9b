//! The library's own C, `src/shim/`, under UndefinedBehaviorSanitizer: a library is built in which it is
//! instrumented, and the programs that log are run against it, instrumented too. With a bug planted in
//! the shim, the same must be reported.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Completion, Failed, Trial};

use super::{LIMIT, flags, ignored};
use crate::library::{self, Workplace};
use crate::process::{self, Finished};
use crate::program::{self, Link, strict};
use crate::sources::{Bug, Sources};
use crate::{c_programs, toolchain};

/// For `make test`: those that log. `make torture` has all that are C.
const LOGGING: [&str; 4] = ["log.c", "log_format.c", "log_memory.c", "log_threads.c"];

/// The length of a message, in a type that is too small for it.
const BUG: Bug = Bug {
    name: "overflow",
    file: "src/shim/log.c",
    right: "size_t bytes = (size_t)length + 1;",
    wrong: "size_t bytes = (size_t)(length + 2147483647 - 1100) + 1;",
};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![Trial::ignorable_test("sanitizers::shim::undefined", run)]
}

fn run() -> Result<Completion, Failed> {
    let workplace = Workplace::new()?;
    let Some(flags) = flags("undefined", &workplace)? else { return Ok(ignored("undefined")) };
    if let Some(ignored) = toolchain::missing("cargo") {
        return Ok(ignored);
    }
    let sources = Sources::copy_to(&workplace.path().join("sources"))?;
    let built = build(&sources, &flags, &workplace)?;
    for source in c_programs::sources()? {
        let is_one = |name: &&str| source.ends_with(*name);
        let is_c = !program::is_cxx(&source);
        if is_c && (toolchain::torture() || LOGGING.iter().any(is_one)) {
            let (finished, report) = run_program(&source, &built, &flags)?;
            program::verdict(&finished).map_err(|failed| {
                let message = failed.message().unwrap_or_default();
                format!("{}: {message}\n{report}", source.display())
            })?;
        }
    }

    let built = sources.with(&BUG, || build(&sources, &flags, &workplace))??;
    let program = library::root().join("c-tests/log.c");
    let (finished, report) = run_program(&program, &built, &flags)?;
    let reported = ["signed integer overflow", "majjen_shim_vlog"];
    if reported.iter().all(|part| report.contains(part)) && !finished.succeeded() {
        return Ok(Completion::Completed);
    }
    Err(format!("a bug in the shim is not reported: {report:?}; {}", finished.describe()).into())
}

/// Builds the shared library with the sanitizer in its C, and returns its directory.
fn build(sources: &Sources, flags: &[String], workplace: &Workplace) -> Result<PathBuf, Failed> {
    let target = workplace.path().join("target");
    let mut cargo = Command::new("cargo");
    cargo.args(["rustc", "--lib", "--crate-type=cdylib", "--offline"]);
    cargo.current_dir(sources.root()).env("CARGO_TARGET_DIR", &target);
    // The flags of the C compiler; and of the linker, which adds the sanitizer's runtime.
    cargo.env("CFLAGS", format!("-g -fno-omit-frame-pointer {}", flags.join(" ")));
    cargo.args(["--", "-Clink-arg=-fsanitize=undefined"]);
    let finished = process::run(&mut cargo, LIMIT, workplace.path())?;
    if finished.succeeded() {
        return Ok(target.join("debug"));
    }
    Err(format!("cargo {}", finished.describe()).into())
}

/// Runs a program, instrumented too, with the library in a directory. Returns how it ended, and what the
/// sanitizer says: in files, because the program may have its output elsewhere.
fn run_program(
    source: &Path,
    library: &Path,
    flags: &[String],
) -> Result<(Finished, String), Failed> {
    let workplace = Workplace::new()?;
    let mut all: Vec<&str> = strict(source).to_vec();
    all.extend(flags.iter().map(String::as_str));
    all.push("-Wno-error"); // What is instrumented makes gcc see less, and warn of more.
    let program = program::compile(source, &all, Link::Shared, &[], &workplace)?;
    // In the place of the ordinary one, with which it was linked.
    let link = workplace.path().join("libmajjen.so.0");
    fs::remove_file(&link)?;
    symlink(library.join("libmajjen.so"), &link)?;
    let reports = workplace.path().join("reports");
    fs::create_dir(&reports)?;
    let mut command = program::command(&program);
    // Cargo sets it for tests, and it comes before the program's own path.
    command.env_remove("LD_LIBRARY_PATH");
    let options = format!("print_stacktrace=1:log_path={}/ubsan", reports.display());
    command.env("UBSAN_OPTIONS", options);
    let finished = process::run(&mut command, LIMIT, workplace.path())?;
    let mut report = String::new();
    for entry in fs::read_dir(&reports)? {
        report += &fs::read_to_string(entry?.path())?;
    }
    Ok((finished, report))
}
