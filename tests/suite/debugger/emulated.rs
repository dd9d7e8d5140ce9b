//! gdb's view of programs of another architecture: in a process through the emulator's gdb server,
//! and in the core file that the emulator writes.
//!
//! They are linked statically, since gdb would need the path of the other architecture's libraries.
//! It does not know the thread pointer here, so the scheduler is always passed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};

use super::{GDB_FOR_ALL, LIMIT, LOOK, STOPPED, check_look, load_script, run_gdb};
use crate::library::{self, TempDir};
use crate::program::{self, Link};
use crate::running::{PATIENCE, Running};
use crate::{process, toolchain};

pub fn shows_a_process(temp_dir: &TempDir) -> Result<Completion, Failed> {
    let program = build(temp_dir)?;
    let socket = temp_dir.path().join("gdb");
    let (runner, arguments) = toolchain::runner().ok_or("no emulator")?;
    let mut emulator = Command::new(runner);
    emulator.args(arguments).arg("-g").arg(&socket).arg(&program);
    let _emulator = Running::start(emulator, libc::SIGKILL, Arc::new(TempDir::new()?));
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        if Instant::now() >= deadline {
            return Err("the emulator does not wait for gdb".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let connect = format!("target remote {}", socket.display());
    let stop = [connect.as_str(), "break stop_here if depth == 0", "continue"];
    let output = look(temp_dir, &stop, &[&program])?;
    check_look(&output, &STOPPED)?;
    Ok(Completion::Completed)
}

pub fn shows_a_core_file(temp_dir: &TempDir) -> Result<Completion, Failed> {
    let program = build(temp_dir)?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"]);
    let (runner, arguments) = toolchain::runner().ok_or("no emulator")?;
    shell.arg(runner).args(arguments).arg(&program).arg("abort");
    let finished = process::run(shell.current_dir(temp_dir.path()), LIMIT, temp_dir.path())?;
    // The kernel may write a core file of the emulator, too.
    let is_core = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "core");
    let mut entries = fs::read_dir(temp_dir.path())?.filter_map(Result::ok);
    let Some(core) = entries.find_map(|entry| Some(entry.path()).filter(is_core)) else {
        return Err(format!("there is no core file; the program {}", finished.describe()).into());
    };
    check_look(&look(temp_dir, &[], &[&program, &core])?, &["runner"])?;
    Ok(Completion::Completed)
}

fn build(temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    let source = library::root().join("c-tests/debugger/tasks.c");
    program::compile(&source, &["-std=c99", "-O1", "-g", "-static"], Link::Static, &[], temp_dir)
}

/// The output of gdb for some commands and then for [`LOOK`].
fn look(temp_dir: &TempDir, first: &[&str], files: &[&PathBuf]) -> Result<String, Failed> {
    let script = load_script();
    let named = LOOK.map(|command| match command {
        _ if command.contains("main_scheduler") || !command.starts_with("mj ") => {
            command.to_owned()
        }
        _ => format!("{command} main_scheduler"),
    });
    let look = named.iter().map(String::as_str);
    let commands: Vec<&str> = first.iter().copied().chain([script.as_str()]).chain(look).collect();
    let files: Vec<_> = files.iter().map(|file| file.as_path()).collect();
    run_gdb(GDB_FOR_ALL, temp_dir, &commands, &files)
}
