//! Programs of the tests, and `majjen` run on them.

#![allow(dead_code)] // Each test uses some.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use libtest_mimic::{Completion, Failed};

/// How a test ends that does not panic.
pub trait Outcome {
    fn completion(self) -> Result<Completion, Failed>;
}

impl Outcome for () {
    fn completion(self) -> Result<Completion, Failed> {
        Ok(Completion::Completed)
    }
}

impl Outcome for Completion {
    fn completion(self) -> Result<Completion, Failed> {
        Ok(self)
    }
}

/// The function `trials` of a module: its tests, which return nothing, or a completion if they can be ignored.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        /// The trials of this module.
        pub fn trials() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$(
                libtest_mimic::Trial::ignorable_test(
                    format!("{module}::{}", stringify!($test)),
                    || crate::support::Outcome::completion($test()),
                )
            ),*]
        }
    };
}

pub(crate) use trials;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project").to_owned()
}

/// Where the library is: `make` puts it there.
pub fn libraries() -> PathBuf {
    if let Some(directory) = std::env::var_os("MAJJEN_LIB_DIR") {
        return directory.into();
    }
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Of the package, which has its own directory in that of the project, or of the project.
    let places = tests.ancestors().map(|directory| directory.join("release"));
    let mut with_library = places.filter(|place| place.join("libmajjen.so").exists());
    with_library.next().unwrap_or_else(|| root().join("target/release"))
}

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Shared,
    /// With the static library, without symbols, and at no fixed address.
    StaticStripped,
    /// With static libraries only, and without what nobody refers to; stripped, and at a fixed address.
    Standalone,
}

static BUILDING: Mutex<()> = Mutex::new(());

/// A program of the directory `programs`, built once.
pub fn build(name: &str, link: Link) -> PathBuf {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(|error| error.into_inner());
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{link:?}"));
    static BUILT: OnceLock<Mutex<Vec<PathBuf>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().expect("the list");
    if built.contains(&out) {
        return out;
    }
    let libraries = libraries();
    let sources = root().join("cli/tests/programs");
    let is_cxx = sources.join(format!("{name}.cc")).exists();
    let (compiler, standard, ending) =
        if is_cxx { ("c++", "-std=c++17", "cc") } else { ("cc", "-std=gnu11", "c") };
    let mut compiler = Command::new(compiler);
    compiler.args([standard, "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"]);
    compiler.arg(root().join("include")).arg(sources.join(format!("{name}.{ending}")));
    compiler.arg("-o").arg(&out);
    match link {
        Link::Shared => {
            compiler.arg("-L").arg(&libraries).arg("-lmajjen");
            compiler.arg(format!("-Wl,-rpath,{}", libraries.display()));
        }
        Link::StaticStripped => {
            compiler.args(["-pie", "-s", "-Wl,--gc-sections"]).arg(libraries.join("libmajjen.a"));
            compiler.args(["-lutil", "-lrt", "-lm", "-ldl"]);
        }
        Link::Standalone => {
            compiler.args(["-static", "-no-pie", "-s", "-Wl,--gc-sections", "-Wno-unused"]);
            compiler.arg(libraries.join("libmajjen.a")).args(["-lutil", "-lrt", "-lm", "-ldl"]);
        }
    }
    let output = compiler.output().expect("a compiler");
    assert!(
        output.status.success() || libraries.join("libmajjen.so").exists(),
        "the library is to be built first, by `make`"
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    built.push(out.clone());
    out
}

/// A program that hangs. It is killed in the end.
pub struct Hanging {
    child: Child,
    pub lines: Vec<String>,
}

impl Hanging {
    /// Starts it, and waits until it has said that it is ready.
    pub fn start(program: &Path, arguments: &[&str]) -> Hanging {
        Hanging::start_command(Command::new(program).args(arguments))
    }

    pub fn start_command(command: &mut Command) -> Hanging {
        // SAFETY: prctl() is safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program");
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
            let line = line.expect("text");
            if line == "ready" {
                // The task that has said it ends, and those that begin to hang do so.
                std::thread::sleep(std::time::Duration::from_millis(100));
                return Hanging { child, lines };
            }
            lines.push(line);
        }
        panic!("the program has ended: {:?}", child.wait());
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `majjen` has written.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn majjen(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_majjen")).args(arguments))
}

pub fn run(command: &mut Command) -> Output {
    let output = command.output().expect("majjen");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Output {
    /// The standard output, of a call that has succeeded.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert!(self.code == 0 && self.stderr.is_empty(), "{self:#?}");
        self.stdout
    }

    /// The message, of a call that has failed.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(self.code == 1 && self.stdout.is_empty(), "{self:#?}");
        self.stderr
    }
}

/// The line of a list with this name in it.
#[track_caller]
pub fn line_of<'t>(text: &'t str, name: &str) -> &'t str {
    let is_it = |line: &&str| line.split_whitespace().nth(1) == Some(name);
    text.lines().find(is_it).unwrap_or_else(|| panic!("no task {name} in\n{text}"))
}
