//! An example program: how it is compiled and started.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use crate::library::{TempDir, root};
use crate::program::{self, Link};
use crate::running::Running;

/// A compiled example, in its own directory, which is removed after the program and all its
/// processes.
pub struct Program {
    path: PathBuf,
    temp_dir: Arc<TempDir>,
}

impl Program {
    /// Compiles an example, with flags under which code that users copy has no warnings.
    pub fn compile(name: &str, libraries: &[&str]) -> Program {
        const FLAGS: [&str; 6] = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
        let temp_dir = Arc::new(TempDir::new().expect("a directory"));
        let source = root().join(format!("examples-c/{name}.c"));
        let path = program::compile(&source, &FLAGS, Link::Shared, libraries, &temp_dir)
            .unwrap_or_else(|failed| panic!("{}", failed.message().unwrap_or("not compiled")));
        Program { path, temp_dir }
    }

    /// Starts the program.
    pub fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, |_| {})
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        program::command(&self.path)
    }

    /// Starts it in another environment.
    pub fn start_with(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Running {
        let mut command = self.command();
        command.args(arguments).current_dir(self.temp_dir.path());
        change(&mut command);
        Running::start(command, libc::SIGKILL, Arc::clone(&self.temp_dir))
    }
}
