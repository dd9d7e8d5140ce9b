//! All programs of `c-tests/`, instrumented, with the ordinary library: there must be no report.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libtest_mimic::{Completion, Failed, Trial};

use super::{LIMIT, Sanitizer};
use crate::c_programs;
use crate::library::TempDir;
use crate::process::{self, Finished};
use crate::program::{self, Link, strict};
use crate::toolchain::{Compilers, torture};

/// A program that is not run under some sanitizers.
struct LeftOut {
    program: &'static str,
    under: &'static [Sanitizer],
    with: Libraries,
}

#[derive(PartialEq, Eq)]
enum Libraries {
    All,
    Instrumented,
}

impl LeftOut {
    const fn with_all(program: &'static str, under: &'static [Sanitizer]) -> LeftOut {
        LeftOut { program, under, with: Libraries::All }
    }

    const fn with_instrumented(program: &'static str, under: &'static [Sanitizer]) -> LeftOut {
        LeftOut { program, under, with: Libraries::Instrumented }
    }
}

const BOTH: &[Sanitizer] = &[Sanitizer::Address, Sanitizer::Thread];
const THREAD: &[Sanitizer] = &[Sanitizer::Thread];

const LEFT_OUT: &[LeftOut] = &[
    // These replace malloc or vsnprintf, as the sanitizers do.
    LeftOut::with_all("alloc_free_paths", BOTH),
    LeftOut::with_all("cluster_memory", BOTH),
    LeftOut::with_all("log_format", BOTH),
    LeftOut::with_all("log_memory", BOTH),
    LeftOut::with_all("metrics_truth", BOTH),
    LeftOut::with_all("tasks", BOTH),
    // It tests the masks of signal handlers and the depth of stacks, which the sanitizers change.
    LeftOut::with_all("overflow", BOTH),
    // It opens a library that finds its own symbols first, which the sanitizers do not let it.
    LeftOut::with_all("signals_copies", BOTH),
    // In a child of fork() ThreadSanitizer keeps a signal back until the thread calls something that it knows.
    LeftOut::with_all("signals_passed", THREAD),
    // In the child of a fork() ThreadSanitizer ignores accesses, but only in the task that has
    // forked.
    LeftOut::with_instrumented("fork", THREAD),
];

/// The trials of this module, for `make torture`.
pub fn trials() -> Vec<Trial> {
    if !torture() {
        return Vec::new();
    }
    let mut trials = Vec::new();
    for sanitizer in [Sanitizer::Address, Sanitizer::Thread] {
        let sources = match sources(sanitizer, None) {
            Ok(sources) => sources,
            Err(failed) => return vec![Trial::test("sanitizers::programs", || Err(failed))],
        };
        for source in sources {
            let program = source.file_stem().unwrap_or_default().to_string_lossy();
            let name = format!("sanitizers::programs::{program}::{}", sanitizer.name());
            trials.push(Trial::ignorable_test(name, move || {
                let compilers = Compilers::Usual;
                if let Some(ignored) = sanitizer.missing(&compilers, &TempDir::new()?)? {
                    return Ok(ignored);
                }
                run(&source, sanitizer, &compilers, None)?.verdict()
            }));
        }
    }
    trials
}

/// The programs that are run under a sanitizer, with the ordinary library or one in this directory.
pub fn sources(sanitizer: Sanitizer, instrumented: Option<&Path>) -> Result<Vec<PathBuf>, Failed> {
    let is_left_out = |source: &Path, it: &LeftOut| {
        source.file_stem().is_some_and(|stem| stem == it.program)
            && it.under.contains(&sanitizer)
            && (instrumented.is_some() || it.with == Libraries::All)
    };
    let mut sources = c_programs::sources()?;
    sources.retain(|source| !LEFT_OUT.iter().any(|it| is_left_out(source, it)));
    Ok(sources)
}

/// The result of a program, and what the sanitizer wrote to files, in case the program has
/// redirected its own output.
pub struct Ran {
    source: PathBuf,
    pub finished: Finished,
    report: String,
}

impl Ran {
    /// Whether the output contains this.
    pub fn says(&self, part: &str) -> bool {
        self.report.contains(part) || self.finished.output.contains(part)
    }

    /// Whether the program succeeded without a report.
    pub fn verdict(&self) -> Result<Completion, Failed> {
        program::verdict(&self.finished).map_err(|failed| {
            let message = failed.message().unwrap_or_default();
            format!("{}: {message}\n{}", self.source.display(), self.report).into()
        })
    }
}

/// Runs a program, instrumented, with the ordinary library or with the one in this directory.
pub fn run(
    source: &Path,
    sanitizer: Sanitizer,
    compilers: &Compilers,
    instrumented: Option<&Path>,
) -> Result<Ran, Failed> {
    let temp_dir = TempDir::new()?;
    let mut flags: Vec<&str> = strict(source).to_vec();
    flags.extend(sanitizer.flags());
    flags.push("-Wno-error"); // Instrumented code makes gcc see less, and warn more.
    let compiler = compilers.of(source);
    let program = program::compile_by(compiler, source, &flags, Link::Shared, &[], &temp_dir)?;
    let mut command = program::command(&program);
    if let Some(directory) = instrumented {
        // In place of the ordinary library, with which it was linked.
        let link = temp_dir.path().join("libmajjen.so.0");
        fs::remove_file(&link)?;
        symlink(directory.join("libmajjen.so"), &link)?;
        // Cargo sets it for tests, and it takes precedence over the program's own path.
        command.env_remove("LD_LIBRARY_PATH");
    }
    let reports = temp_dir.path().join("reports");
    fs::create_dir(&reports)?;
    sanitizer.configure(&mut command, &reports);
    let finished = process::run(&mut command, LIMIT, temp_dir.path())?;
    let mut report = String::new();
    for entry in fs::read_dir(&reports)? {
        report += &fs::read_to_string(entry?.path())?;
    }
    Ok(Ran { source: source.to_owned(), finished, report })
}
