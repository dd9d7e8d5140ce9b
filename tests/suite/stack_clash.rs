//! A program that is compiled with `-fstack-clash-protection`, and a frame that is larger than the
//! guard: the report names the task.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{TempDir, root};
use crate::program::{self, Link};
use crate::{process, toolchain};

const FLAG: &str = "-fstack-clash-protection";
const LIMIT: Duration = Duration::from_secs(60);

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let trial = |compiler: &'static str| {
        let name = format!("stack_clash::{compiler}");
        Trial::ignorable_test(name, move || names_the_task(compiler))
    };
    // clang's is one more where it is installed.
    ["gcc", "clang"]
        .into_iter()
        .filter(|compiler| *compiler == "gcc" || toolchain::find(compiler).is_some())
        .map(trial)
        .collect()
}

fn names_the_task(compiler: &str) -> Result<Completion, Failed> {
    if let Some(ignored) = toolchain::missing(compiler) {
        return Ok(ignored);
    }
    let temp_dir = TempDir::new()?;
    // A compiler that does not have it for this architecture says so, or ignores it with a warning.
    let probe = temp_dir.path().join("probe.c");
    fs::write(&probe, "int main(void) { return 0; }\n")?;
    let mut command = Command::new(compiler);
    command.args([FLAG, "-Werror"]).arg(&probe).arg("-o").arg(temp_dir.path().join("probe"));
    if !process::run(&mut command, LIMIT, temp_dir.path())?.succeeded() {
        return Ok(Completion::ignored_with(format!("{compiler} has no {FLAG}")));
    }
    let source = root().join("c-tests/stacks/clash.c");
    let flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", FLAG];
    let command = Command::new(compiler);
    let program = program::compile_by(command, &source, &flags, Link::Shared, &[], &temp_dir)?;
    let mut command = program::command(&program);
    let finished = process::run(&mut command, LIMIT, temp_dir.path())?;
    let killed = finished.status.and_then(|status| status.signal()) == Some(libc::SIGSEGV);
    if killed && finished.output.contains("\"steps far\" has overflowed its stack of 262144 bytes")
    {
        return Ok(Completion::Completed);
    }
    Err(format!("the program {}", finished.describe()).into())
}
