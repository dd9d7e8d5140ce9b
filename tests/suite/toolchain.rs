//! Compilers and other tools: found, or reported as missing.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Completion, Failed};

use crate::program::is_cxx;

/// The path of a tool: a program on the PATH, or the path itself.
pub fn find(tool: &str) -> Option<PathBuf> {
    if tool.contains('/') {
        return Some(PathBuf::from(tool)).filter(|path| is_executable(path));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(tool)).find(|file| is_executable(file))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The outcome of a test whose tool is missing.
pub fn missing(tool: &str) -> Option<Completion> {
    let is_missing = find(tool).is_none();
    is_missing.then(|| Completion::ignored_with(format!("{tool} is not installed")))
}

/// The outcome of a test of this program if there is no compiler for it. A C compiler is required.
pub fn missing_compiler(source: &Path) -> Option<Completion> {
    if is_cxx(source) { missing(&cxx_compiler().0) } else { None }
}

/// Runs a test that uses a tool, or reports it as ignored if the tool is missing.
pub fn with_tool(
    tool: &str,
    test: impl FnOnce() -> Result<(), Failed>,
) -> Result<Completion, Failed> {
    with_tools(&[tool], test)
}

/// `with_tool` for several tools.
pub fn with_tools(
    tools: &[&str],
    test: impl FnOnce() -> Result<(), Failed>,
) -> Result<Completion, Failed> {
    match tools.iter().find_map(|tool| missing(tool)) {
        Some(ignored) => Ok(ignored),
        None => test().map(|()| Completion::Completed),
    }
}

/// Whether to run the long forms, for `make torture`.
pub fn torture() -> bool {
    env::var_os("MAJJEN_TORTURE").is_some()
}

/// Whether `c-tests/faults/fallbacks.c` is preloaded into everything that runs.
pub fn on_fallbacks() -> bool {
    env::var_os("MAJJEN_FALLBACKS").is_some()
}

/// For a program with AddressSanitizer, which checks that its runtime is the first library. That only
/// matters if the one before it replaced the same functions.
pub fn allow_preloaded(command: &mut Command) {
    if on_fallbacks() {
        command.env("ASAN_OPTIONS", "verify_asan_link_order=0");
    }
}

/// The C compiler, with the arguments in `CC`.
pub fn c_compiler() -> Command {
    let (program, arguments) = words("CC").unwrap_or(("cc".to_owned(), Vec::new()));
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The name of the C++ compiler, and the arguments in `CXX`.
pub fn cxx_compiler() -> (String, Vec<String>) {
    words("CXX").unwrap_or_else(|| {
        let name = if find("c++").is_some() { "c++" } else { "g++" };
        (name.to_owned(), Vec::new())
    })
}

/// The compilers of a program.
pub enum Compilers {
    /// Those of `CC` and `CXX`.
    Usual,
    /// clang of rustc's LLVM version, by Debian's names.
    OfRustc { llvm: String },
}

impl Compilers {
    pub fn of_rustc() -> Result<Compilers, Failed> {
        let output = Command::new("rustc").arg("-vV").output()?;
        let text = String::from_utf8(output.stdout)?;
        let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let major = version.and_then(|version| version.split('.').next());
        let llvm = major.ok_or("rustc does not say which LLVM it has")?.to_owned();
        Ok(Compilers::OfRustc { llvm })
    }

    /// The name of the C compiler, with its first arguments.
    pub fn c_name(&self) -> String {
        match self {
            Compilers::Usual => env::var("CC").unwrap_or("cc".to_owned()),
            Compilers::OfRustc { llvm } => format!("clang-{llvm}"),
        }
    }

    /// The compiler for a source.
    pub fn of(&self, source: &Path) -> Command {
        match self {
            Compilers::Usual if is_cxx(source) => {
                let (name, arguments) = cxx_compiler();
                let mut compiler = Command::new(name);
                compiler.args(arguments);
                compiler
            }
            Compilers::Usual => c_compiler(),
            Compilers::OfRustc { llvm } if is_cxx(source) => {
                Command::new(format!("clang++-{llvm}"))
            }
            Compilers::OfRustc { .. } => Command::new(self.c_name()),
        }
    }
}

/// The command that runs programs of another architecture.
pub fn runner() -> Option<(String, Vec<String>)> {
    words("MAJJEN_RUNNER")
}

/// The first word and the other words of an environment variable, if it has any.
fn words(variable: &str) -> Option<(String, Vec<String>)> {
    let value: OsString = env::var_os(variable)?;
    let mut words = value.to_str()?.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.collect()))
}
