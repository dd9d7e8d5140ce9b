//! C programs: compiled against one of the libraries, and run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Failed;

use crate::library::{self, Workplace};
use crate::{process, toolchain};

/// Which library a program is linked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Shared,
    Static,
}

/// What the tests' own programs are held to.
pub const STRICT: [&str; 6] = ["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];

/// Compiles and links a program. `flags` come before the source, `libraries` after it.
pub fn compile(
    source: &Path,
    flags: &[&str],
    link: Link,
    libraries: &[&str],
    workplace: &Workplace,
) -> Result<PathBuf, Failed> {
    let program = workplace.path().join("program");
    let mut compiler = toolchain::c_compiler();
    compiler.args(flags).arg("-I").arg(library::root().join("include"));
    compiler.arg(source).arg("-o").arg(&program).args(libraries);
    match link {
        Link::Static => workplace.link_static(&mut compiler)?,
        Link::Shared => workplace.link_shared(&mut compiler)?,
    }
    run_compiler(&mut compiler, workplace)?;
    Ok(program)
}

/// Compiles a library to be preloaded, with `LD_PRELOAD`.
pub fn compile_preload(source: &Path, workplace: &Workplace) -> Result<PathBuf, Failed> {
    let library = workplace.path().join("preload.so");
    let mut compiler = toolchain::c_compiler();
    compiler.args(STRICT).args(["-shared", "-fPIC"]).arg(source).arg("-o").arg(&library);
    compiler.arg("-ldl");
    run_compiler(&mut compiler, workplace)?;
    Ok(library)
}

fn run_compiler(compiler: &mut Command, workplace: &Workplace) -> Result<(), Failed> {
    let finished = process::run(compiler, Duration::from_secs(120), workplace.path())
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

/// Runs a program, which must end with exit code 0, and returns what it printed.
pub fn run(program: &Path, limit: Duration, workplace: &Workplace) -> Result<String, Failed> {
    run_command(&mut command(program), limit, workplace)
}

/// The same for a command.
pub fn run_command(
    command: &mut Command,
    limit: Duration,
    workplace: &Workplace,
) -> Result<String, Failed> {
    let finished = process::run(command, limit, workplace.path())?;
    if !finished.succeeded() {
        return Err(format!("the program {}", finished.describe()).into());
    }
    Ok(finished.output)
}
