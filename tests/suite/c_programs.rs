//! The programs in `c-tests/`: each is linked with the shared and the static library, and must end
//! with exit code 0; and it is run once more under valgrind, without an error or a leak. With
//! `MAJJEN_TORTURE` set (`make torture`) each is also linked with no shared library at all; without
//! it, those whose behaviour could depend on that. A program
//! that cannot run on this machine ends with 77, and its last line says why. Programs that end in
//! `.cc` are C++, which is not tested under emulation.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::program::{self, Link, is_cxx};
use crate::toolchain::torture;
use crate::{install, process, toolchain};

/// Programs that are not run under valgrind, and why. The others can look at `MAJJEN_VALGRIND` to
/// leave out a test, or to do something less often.
const NOT_UNDER_VALGRIND: &[(&str, &str)] = &[
    ("cluster_memory", "valgrind has an allocator of its own"),
    (
        "counter",
        "Valgrind reads the counter itself, and does not survive the signal that is raised for it",
    ),
    ("pool_cost", "what it measures is Valgrind's there; a thread that is ending counts as lost"),
];

/// How long `make` may take to find a mistake.
const LIMIT: Duration = Duration::from_secs(60);
/// Programs that are not linked with the static library, and why.
const NOT_STATIC: &[(&str, &str)] = &[("signals_copies", "it opens the library a second time")];

/// Programs that are not linked without shared libraries, and why.
const NOT_STANDALONE: &[(&str, &str)] = &[
    ("alloc_free_paths", "it stands in front of the shared C library's malloc"),
    ("cluster_memory", "it stands in front of the shared C library's malloc"),
    ("cxx_opened", "it opens a shared library"),
    ("directories", "it stands in front of the shared C library's readdir"),
    ("log_memory", "it has a malloc of its own"),
    ("long_turns", "it stands in front of the shared C library's pthread_create"),
    ("metrics_truth", "it stands in front of the shared C library's malloc"),
    ("offload_loader", "it stands in front of the shared C library's dlopen"),
    ("offload_process", "it stands in front of the shared C library's pthread_create"),
    ("signals_copies", "it opens a shared library"),
    ("tasks", "it has a free of its own"),
];

/// Programs that look at what the library looks up in the C library or asks the kernel for.
const ALSO_STANDALONE: [&str; 5] = ["inherit", "log", "refused", "timers", "wait_builtin"];

/// How a program is linked and run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Shared,
    Static,
    Standalone,
    Valgrind,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Shared => "shared",
            Variant::Static => "static",
            Variant::Standalone => "standalone",
            Variant::Valgrind => "valgrind",
        }
    }

    /// The time limit of a program: many times what it takes, also on a busy machine.
    fn time_limit(self) -> Duration {
        let emulated = toolchain::runner().is_some();
        Duration::from_secs(match self {
            Variant::Valgrind => 300,
            _ if emulated => 240,
            _ => 60,
        })
    }
}

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let programs = match sources() {
        Ok(programs) if !programs.is_empty() => programs,
        Ok(_) => return vec![failure("there is no program in c-tests/".to_owned())],
        Err(error) => return vec![failure(format!("c-tests/ cannot be read: {error}"))],
    };
    let mut trials = Vec::new();
    for variant in [Variant::Shared, Variant::Static, Variant::Standalone, Variant::Valgrind] {
        for source in &programs {
            let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let emulated = toolchain::runner().is_some();
            let is_in = |list: &[(&str, &str)]| list.iter().any(|(program, _)| *program == name);
            let left_out = match variant {
                Variant::Valgrind => emulated || is_in(NOT_UNDER_VALGRIND),
                Variant::Standalone => {
                    is_in(NOT_STANDALONE) || !torture() && !ALSO_STANDALONE.contains(&&*name)
                }
                Variant::Static => is_in(NOT_STATIC),
                Variant::Shared => false,
            };
            if left_out || emulated && is_cxx(source) {
                continue;
            }
            let source = source.clone();
            let name = format!("c_programs::{name}::{}", variant.name());
            trials.push(Trial::ignorable_test(name, move || run(&source, variant)));
        }
    }
    if toolchain::runner().is_none() {
        let name = "c_programs::make_names_what_is_missing";
        trials.push(Trial::test(name, make_names_what_is_missing));
    }
    trials
}

/// `make c-test` with a typo says so, before it compiles anything.
fn make_names_what_is_missing() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    for (arguments, error) in [
        (&["TEST=nothing"][..], "c-tests/ has no program nothing."),
        (&["TEST=nothing/at_all"], "c-tests/ has no program nothing."),
        (&["TEST=version/nothing"], "c-tests/version.c has no test nothing."),
        (
            &["TEST=version", "LINK=nothing"],
            "LINK is shared, static, standalone or valgrind, not nothing.",
        ),
        (&[], "TEST names a program of c-tests/, or a test of one"),
    ] {
        let mut make = install::make("c-test");
        make.args(arguments).env_remove("TEST").env_remove("LINK");
        let finished = process::run(&mut make, LIMIT, temp_dir.path())?;
        assert!(
            !finished.succeeded() && finished.output.contains(error),
            "{}",
            finished.describe()
        );
        assert!(!finished.output.contains("cargo"), "{}", finished.describe());
    }
    Ok(())
}

/// A trial that fails: a suite without programs must not pass.
fn failure(message: String) -> Trial {
    Trial::test("c_programs", || Err(Failed::from(message)))
}

/// The source files of the programs, sorted by name.
pub fn sources() -> std::io::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(library::root().join("c-tests"))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("c")) || is_cxx(&path) {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

fn run(source: &Path, variant: Variant) -> Result<Completion, Failed> {
    if let Some(ignored) = toolchain::missing_compiler(source) {
        return Ok(ignored);
    }
    let temp_dir = TempDir::new()?;
    let program = match variant {
        Variant::Static => program::shared_by_trials(source, Link::Static)?,
        Variant::Standalone => program::shared_by_trials(source, Link::Standalone)?,
        Variant::Shared => program::shared_by_trials(source, Link::Shared)?,
        Variant::Valgrind => {
            return match toolchain::missing("valgrind") {
                Some(ignored) => Ok(ignored),
                None => {
                    let program = program::shared_by_trials(source, Link::Shared)?;
                    run_under_valgrind(&program, variant.time_limit(), &temp_dir)
                }
            };
        }
    };
    let mut command = program::command(&program);
    if let Variant::Standalone = variant {
        command.env_remove("MAJJEN_FALLBACKS"); // Nothing can be preloaded into it.
    }
    program::verdict(&process::run(&mut command, variant.time_limit(), temp_dir.path())?)
}

/// Runs a program under valgrind, which must find neither an error nor a leak.
pub fn run_under_valgrind(
    program: &Path,
    limit: Duration,
    temp_dir: &TempDir,
) -> Result<Completion, Failed> {
    let logs = temp_dir.path().join("valgrind");
    fs::create_dir(&logs)?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        // Not --quiet, which would also suppress the warning that is checked below.
        .args([
            "--error-exitcode=99",
            "--leak-check=full",
            "--show-leak-kinds=definite,indirect,possible",
            "--errors-for-leak-kinds=definite,indirect,possible",
            // Otherwise spinning threads keep the threads that they wait for from running.
            "--fair-sched=try",
            // No files for a debugger: they would be open descriptors.
            "--vgdb=no",
        ])
        // A log file for each process: a program may fork.
        .arg(format!("--log-file={}/%p", logs.display()))
        .arg(program)
        .env("MAJJEN_VALGRIND", "1");
    let finished = process::run(&mut valgrind, limit, temp_dir.path())?;
    let mut report = String::new();
    for entry in fs::read_dir(&logs)? {
        report += &String::from_utf8_lossy(&fs::read(entry?.path())?);
    }
    let verdict = program::verdict(&finished).map_err(|failed| {
        let message = failed.message().unwrap_or_default();
        format!("{message}\nvalgrind's report:\n{report}")
    })?;
    // Valgrind only warns about this. The library registers its stacks, so there is no reason for
    // the warning, and the report can be trusted.
    if report.contains("client switching stacks") {
        return Err(format!("valgrind does not know the tasks' stacks:\n{report}").into());
    }
    Ok(verdict)
}
