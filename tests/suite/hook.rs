//! libmajjen-hook: the programs in `c-tests/hook/`, each of which is plain blocking code. They are run in
//! threads first, so that what they expect is known to be right: without the library, and with it, where it
//! must change nothing. Then in tasks, with the library linked or preloaded or, together with everything
//! else, in the program; with checked calls of the C library; under valgrind. With `MAJJEN_TORTURE` set also
//! by clang, with the calls of large files, and under sanitizers, which stand in for the same functions.
//!
//! Not under emulation: a library for another architecture is not built with the one of Majjen, and what is
//! architecture's own there, how signal handlers return, an emulator does in a way of its own.

mod clients;
mod copies;
mod library;
pub mod servers;
mod started;
mod worker;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library as built;
use crate::library::TempDir;
use crate::program::{self, is_cxx};
use crate::sanitizers::Sanitizer;
use crate::toolchain::{self, Compilers, torture};
use crate::{c_programs, process};

/// How a program is built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    /// Without the library.
    Plain,
    Linked,
    /// With the library and a Majjen that is in the program.
    Archive,
    /// With nothing shared.
    Wrapped,
    /// With the checks of `_FORTIFY_SOURCE`.
    Fortified2,
    Fortified3,
    LargeFiles,
    Clang,
    Sanitized(Sanitizer),
}

/// How a program is built and run.
struct Way {
    name: &'static str,
    build: Build,
    in_threads: bool,
    preloaded: bool,
    in_torture_only: bool,
}

impl Way {
    const fn linked(name: &'static str, build: Build) -> Way {
        Way { name, build, in_threads: false, preloaded: false, in_torture_only: false }
    }

    const fn for_torture(name: &'static str, build: Build) -> Way {
        Way { in_torture_only: true, ..Way::linked(name, build) }
    }
}

const VALGRIND: &str = "valgrind";

const WAYS: [Way; 14] = [
    Way { in_threads: true, ..Way::linked("threads", Build::Plain) },
    Way { in_threads: true, preloaded: true, ..Way::linked("idle", Build::Plain) },
    Way::linked("linked", Build::Linked),
    Way { preloaded: true, ..Way::linked("preloaded", Build::Plain) },
    Way::linked("archive", Build::Archive),
    Way::linked("wrapped", Build::Wrapped),
    Way::linked("fortified2", Build::Fortified2),
    Way::linked("fortified3", Build::Fortified3),
    Way::linked(VALGRIND, Build::Linked),
    Way::for_torture("large_files", Build::LargeFiles),
    Way::for_torture("clang", Build::Clang),
    Way::for_torture("address", Build::Sanitized(Sanitizer::Address)),
    Way::for_torture("thread", Build::Sanitized(Sanitizer::Thread)),
    Way::for_torture("undefined", Build::Sanitized(Sanitizer::Undefined)),
];

/// A program that is not run in some ways, and why.
struct LeftOut {
    program: &'static str,
    ways: &'static [&'static str],
}

const LEFT_OUT: &[LeftOut] = &[
    // It stands in for the allocator, as these do; and where all is linked into one, that has two.
    LeftOut { program: "memory", ways: &[VALGRIND, "wrapped", "address", "thread", "undefined"] },
    // This one calls handlers itself, later than the system would: nothing on the stack shows that one runs.
    LeftOut { program: "handlers", ways: &["thread"] },
    // Each place is reported once, and here all calls come from the sanitizer's own functions.
    LeftOut { program: "locks_report", ways: &["thread"] },
];

const LIMIT: Duration = Duration::from_secs(120);
const LIMIT_OF_TOOLS: Duration = Duration::from_secs(300);

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let sources = match sources() {
        Ok(sources) if !sources.is_empty() => sources,
        Ok(_) => return vec![Trial::test("hook", || Err("c-tests/hook/ is empty".into()))],
        Err(error) => return vec![Trial::test("hook", move || Err(error.into()))],
    };
    let mut trials = Vec::new();
    for way in &WAYS {
        for source in &sources {
            let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let is_left_out =
                LEFT_OUT.iter().any(|it| it.program == name && it.ways.contains(&way.name));
            if is_left_out || way.in_torture_only && !torture() {
                continue;
            }
            let source = source.clone();
            let name = format!("hook::{name}::{}", way.name);
            trials.push(Trial::ignorable_test(name, move || run(&source, way)));
        }
    }
    trials.extend(library::trials());
    trials.extend(copies::trials());
    trials.extend(servers::trials());
    trials.extend(worker::trials());
    trials.extend(clients::trials());
    trials
}

/// The source files of the programs, sorted by name.
fn sources() -> std::io::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(built::root().join("c-tests/hook"))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("c")) || is_cxx(&path) {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

fn run(source: &Path, way: &Way) -> Result<Completion, Failed> {
    let temp_dir = TempDir::new()?;
    if let Some(ignored) = missing(source, way, &temp_dir)? {
        return Ok(ignored);
    }
    let program = match way.build {
        Build::Plain => {
            program::made_once(source, "plain", |dir| compile(source, Build::Plain, dir))
        }
        Build::Linked => {
            program::made_once(source, "linked", |dir| compile(source, Build::Linked, dir))
        }
        _ => compile(source, way.build, &temp_dir),
    }?;
    if way.name == VALGRIND {
        return c_programs::run_under_valgrind(&program, LIMIT_OF_TOOLS, &temp_dir);
    }
    let mut command = program::command(&program);
    if way.in_threads {
        command.env("MAJJEN_HOOK_THREADS", "1");
    }
    if way.preloaded {
        preload(&mut command, &built::path("libmajjen-hook.so")?);
    }
    let mut limit = LIMIT;
    match way.build {
        // Nothing can be preloaded into it.
        Build::Wrapped => drop(command.env_remove("MAJJEN_FALLBACKS")),
        Build::Sanitized(sanitizer) => {
            let reports = temp_dir.path().join("reports");
            fs::create_dir(&reports)?;
            sanitizer.configure(&mut command, &reports);
            limit = LIMIT_OF_TOOLS;
        }
        _ => (),
    }
    program::verdict(&process::run(&mut command, limit, temp_dir.path())?)
}

/// The outcome of a test whose tool is missing.
fn missing(source: &Path, way: &Way, temp_dir: &TempDir) -> Result<Option<Completion>, Failed> {
    let tool = match way.build {
        Build::Sanitized(sanitizer) => return sanitizer.missing(&Compilers::Usual, temp_dir),
        Build::Clang => toolchain::missing(&Compilers::of_rustc()?.c_name()),
        _ if way.name == VALGRIND => toolchain::missing(VALGRIND),
        _ => None,
    };
    Ok(tool.or_else(|| toolchain::missing_compiler(source)))
}

/// Before what is preloaded into this process.
fn preload(command: &mut Command, library: &Path) {
    let mut all = library.as_os_str().to_owned();
    if let Some(others) = std::env::var_os("LD_PRELOAD") {
        all.push(":");
        all.push(others);
    }
    command.env("LD_PRELOAD", all);
}

const FLAGS: [&str; 5] = ["-g", "-pthread", "-Wall", "-Wextra", "-Werror"];

/// Compiles a program of `c-tests/hook/`.
fn compile(source: &Path, build: Build, temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    let program = temp_dir.path().join("program");
    let compilers = match build {
        Build::Clang => Compilers::of_rustc()?,
        _ => Compilers::Usual,
    };
    let mut compiler = compilers.of(source);
    compiler.arg(if is_cxx(source) { "-std=gnu++17" } else { "-std=gnu11" }).args(FLAGS);
    match build {
        // Checked calls and instrumented code have more warnings.
        Build::Fortified2 => compiler.args(["-O2", "-D_FORTIFY_SOURCE=2", "-Wno-error"]),
        Build::Fortified3 => compiler.args(["-O2", "-D_FORTIFY_SOURCE=3", "-Wno-error"]),
        Build::LargeFiles => compiler.args(["-O1", "-D_FILE_OFFSET_BITS=64"]),
        Build::Sanitized(sanitizer) => compiler.args(["-O1", "-Wno-error"]).args(sanitizer.flags()),
        _ => compiler.arg("-O1"),
    };
    for directory in ["include", "hook"] {
        compiler.arg("-I").arg(built::root().join(directory));
    }
    compiler.arg(source).arg("-o").arg(&program);
    match build {
        Build::Plain => temp_dir.link_shared(&mut compiler)?,
        Build::Wrapped => {
            let options = built::path("majjen-hook.wrap")?;
            compiler.arg("-static").arg(format!("-Wl,@{}", options.display()));
            compiler.arg(built::path("libmajjen-hook.a")?);
            temp_dir.link_static(&mut compiler)?;
        }
        Build::Archive => {
            link_hook(&mut compiler, temp_dir)?;
            temp_dir.link_static(&mut compiler)?;
        }
        _ => {
            link_hook(&mut compiler, temp_dir)?;
            temp_dir.link_shared(&mut compiler)?;
        }
    }
    program::run_compiler(&mut compiler, temp_dir)?;
    Ok(program)
}

/// Makes a compiler link with the library, before Majjen and the C library.
fn link_hook(compiler: &mut Command, temp_dir: &TempDir) -> Result<(), Failed> {
    let library = built::path("libmajjen-hook.so")?;
    for name in ["libmajjen-hook.so", "libmajjen-hook.so.0"] {
        std::os::unix::fs::symlink(&library, temp_dir.path().join(name))?;
    }
    compiler.arg("-L").arg(temp_dir.path()).arg("-lmajjen-hook");
    compiler.arg(format!("-Wl,-rpath,{}", temp_dir.path().display()));
    Ok(())
}
