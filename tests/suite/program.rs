//! C and C++ programs: compiled against one of the libraries, and run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libtest_mimic::{Completion, Failed};

use crate::library::{self, TempDir};
use crate::process::{self, Finished};
use crate::toolchain::{self, Compilers};

/// The library that a program is linked with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    Shared,
    Static,
    /// With static libraries only, the C library's among them.
    Standalone,
}

/// The flags for the tests' own programs.
pub const STRICT: [&str; 6] = ["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];

/// The flags for C++.
pub const STRICT_CXX: [&str; 6] = ["-std=c++11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];

/// The flags for C++ with `majjen.hpp`.
const STRICT_CXX17: [&str; 7] =
    ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Whether a source is C++.
pub fn is_cxx(source: &Path) -> bool {
    source.extension().is_some_and(|extension| extension == "cc")
}

/// The flags for a program of the tests.
pub fn strict(source: &Path) -> &'static [&'static str] {
    match source.file_name().and_then(OsStr::to_str) {
        Some("hpp.cc") => &STRICT_CXX17,
        _ if is_cxx(source) => &STRICT_CXX,
        _ => &STRICT,
    }
}

/// Compiles and links a program. `flags` come before the source, `libraries` after it.
pub fn compile(
    source: &Path,
    flags: &[&str],
    link: Link,
    libraries: &[&str],
    temp_dir: &TempDir,
) -> Result<PathBuf, Failed> {
    compile_by(Compilers::Usual.of(source), source, flags, link, libraries, temp_dir)
}

/// Compiles and links a program with this compiler.
pub fn compile_by(
    mut compiler: Command,
    source: &Path,
    flags: &[&str],
    link: Link,
    libraries: &[&str],
    temp_dir: &TempDir,
) -> Result<PathBuf, Failed> {
    let program = temp_dir.path().join("program");
    compiler.args(flags).arg("-I").arg(library::root().join("include"));
    compiler.arg(source).arg("-o").arg(&program).args(libraries);
    match link {
        Link::Static => temp_dir.link_static(&mut compiler)?,
        Link::Standalone => temp_dir.link_static(compiler.arg("-static"))?,
        Link::Shared => temp_dir.link_shared(&mut compiler)?,
    }
    run_compiler(&mut compiler, temp_dir)?;
    Ok(program)
}

/// What is built from a source, once for all trials.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Product {
    Object,
    Program(Link),
    Preload,
    /// Of another module, by its name there.
    Other(&'static str),
}

type Slot = Arc<Mutex<Option<(TempDir, PathBuf)>>>;

/// The products that several trials share.
static MADE: Mutex<BTreeMap<(PathBuf, Product), Slot>> = Mutex::new(BTreeMap::new());

/// Removes the shared products.
pub fn clean_up() {
    lock(&MADE).clear();
}

/// A program of the tests' own, with [`strict`] flags. It is compiled once for all trials, and
/// linked once with each library: that takes longer than most programs run.
pub fn shared_by_trials(source: &Path, link: Link) -> Result<PathBuf, Failed> {
    make_once(source, Product::Program(link), |temp_dir| {
        let object = make_once(source, Product::Object, |temp_dir| {
            let object = temp_dir.path().join("object.o");
            let mut compiler = Compilers::Usual.of(source);
            compiler.args(strict(source)).arg("-I").arg(library::root().join("include"));
            run_compiler(compiler.arg("-c").arg(source).arg("-o").arg(&object), temp_dir)?;
            Ok(object)
        })?;
        compile_by(Compilers::Usual.of(source), &object, strict(source), link, &[], temp_dir)
    })
}

/// What is made of a source by this name, once for all trials, in a directory of its own.
pub fn made_once(
    source: &Path,
    name: &'static str,
    make: impl FnOnce(&TempDir) -> Result<PathBuf, Failed>,
) -> Result<PathBuf, Failed> {
    make_once(source, Product::Other(name), make)
}

fn make_once(
    source: &Path,
    product: Product,
    make: impl FnOnce(&TempDir) -> Result<PathBuf, Failed>,
) -> Result<PathBuf, Failed> {
    let slot = lock(&MADE).entry((source.to_owned(), product)).or_default().clone();
    let mut slot = lock(&slot);
    if let Some((_, made)) = &*slot {
        return Ok(made.clone());
    }
    let temp_dir = TempDir::new()?;
    let made = make(&temp_dir)?;
    *slot = Some((temp_dir, made.clone()));
    Ok(made)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiles a library for `LD_PRELOAD`; once for all trials.
pub fn compile_preload(source: &Path) -> Result<PathBuf, Failed> {
    make_once(source, Product::Preload, |temp_dir| {
        let library = temp_dir.path().join("preload.so");
        let mut compiler = toolchain::c_compiler();
        compiler.args(STRICT).args(["-shared", "-fPIC"]).arg(source).arg("-o").arg(&library);
        run_compiler(compiler.arg("-ldl"), temp_dir)?;
        Ok(library)
    })
}

/// Runs a compiler, which must find nothing wrong.
pub fn run_compiler(compiler: &mut Command, temp_dir: &TempDir) -> Result<(), Failed> {
    let finished = process::run(compiler, Duration::from_secs(120), temp_dir.path())
        .map_err(|error| format!("the C compiler cannot be run: {error}"))?;
    if !finished.succeeded() {
        return Err(format!("the compiler {}", finished.describe()).into());
    }
    Ok(())
}

/// The command that runs a program, on this machine or by the emulator.
pub fn command(program: &Path) -> Command {
    match toolchain::runner() {
        Some((runner, arguments)) => {
            let mut command = Command::new(runner);
            command.args(arguments).arg(program).env("MAJJEN_EMULATED", "1");
            command
        }
        None => Command::new(program),
    }
}

/// The exit code of a program that cannot run here. Its last line says why.
const CANNOT_RUN: i32 = 77;

/// The verdict of a test program: it must have ended with exit code 0, or have said why it could
/// not run.
pub fn verdict(finished: &Finished) -> Result<Completion, Failed> {
    if finished.status.and_then(|status| status.code()) == Some(CANNOT_RUN) {
        return Ok(Completion::ignored_with(finished.output.lines().last().unwrap_or_default()));
    }
    if !finished.succeeded() {
        return Err(format!("the program {}", finished.describe()).into());
    }
    Ok(Completion::Completed)
}

/// Runs a program, which must end with exit code 0, and returns its output.
pub fn run(program: &Path, limit: Duration, temp_dir: &TempDir) -> Result<String, Failed> {
    run_command(&mut command(program), limit, temp_dir)
}

/// Runs a command, which must end with exit code 0, and returns its output.
pub fn run_command(
    command: &mut Command,
    limit: Duration,
    temp_dir: &TempDir,
) -> Result<String, Failed> {
    let finished = process::run(command, limit, temp_dir.path())?;
    if !finished.succeeded() {
        return Err(format!("the program {}", finished.describe()).into());
    }
    Ok(finished.output)
}
