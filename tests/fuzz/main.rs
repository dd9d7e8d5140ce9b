//! Model-based fuzzing of the interface: programs of calls are run against the library, and what
//! happens is compared with a model of what the header promises.
//!
//! There are two kinds of programs, each with its own model: of I/O calls, streams and groups, which begin with
//! `I/O` (`interpreter/io/`), and of everything else.
//!
//! In `make test`, proptest generates programs, and shrinks one that fails. Each runs in a process
//! of its own, so that a crash or a hang is found and shrunk like any other failure.
//!
//! In `make torture`, libFuzzer does so, in `libfuzzer/`. `regressions/` has programs that have
//! found a bug; `corpus/` has programs that together reach most of the library. All are run here.
//!
//! `cargo test --release --test fuzz -- replay FILE` runs one file, and prints its calls.
//! `MAJJEN_FUZZ_CASES` is the number of generated programs, and `MAJJEN_FUZZ_SHRINK` the number of
//! steps in which a failing one is shrunk.

mod interpreter;
mod mutants;

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, io, panic};

use libtest_mimic::{Arguments, Failed, Trial};
use majjen as _; // The library under test.
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// The exit code of a process whose program has failed.
const FAILED: i32 = 101;

/// A program that takes longer hangs. Most take milliseconds.
const LIMIT_S: u32 = 30;

/// The beginning of the line that names the failing program.
const FOUND: &str = "found by program ";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, command, file] = arguments.as_slice()
        && command == "replay"
    {
        return replay(Path::new(file));
    }
    let mut trials = vec![
        Trial::test("fuzz::regressions", || run_files("regressions")),
        Trial::test("fuzz::corpus", || run_files("corpus")),
        Trial::test("fuzz::random_programs", || random_programs(&[])),
        Trial::test("fuzz::random_programs_of_io", || random_programs(&interpreter::IO)),
    ];
    trials.extend(mutants::trials());
    let mut arguments = Arguments::from_args();
    // Processes are forked: no other thread may exist that could hold a lock.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn replay(file: &Path) -> ExitCode {
    match fs::read(file) {
        Ok(bytes) => {
            fail_by_exit();
            interpreter::run(&bytes, true);
            println!("it passes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// From now on a failure ends the process: it may happen on a task's stack, below C frames.
fn fail_by_exit() {
    panic::set_hook(Box::new(|failure| {
        interpreter::write_out(&format!("FAILED: {}\n", interpreter::describe(failure)));
        // SAFETY: it ends the process, without running any code.
        unsafe { libc::_exit(FAILED) };
    }));
}

/// Runs a program in a process of its own.
fn run_apart(bytes: &[u8], tell: bool) -> Result<(), String> {
    let output = temporary_file().map_err(|error| error.to_string())?;
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: open descriptors; nothing of the parent is used again.
        unsafe {
            libc::dup2(output.as_raw_fd(), 1);
            libc::dup2(output.as_raw_fd(), 2);
            libc::alarm(LIMIT_S);
        }
        fail_by_exit();
        interpreter::run(bytes, tell);
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the child, which no other code waits for.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "waitpid: {}", io::Error::last_os_error());
    if status == 0 {
        return Ok(());
    }
    let end = match libc::WTERMSIG(status) {
        _ if libc::WIFEXITED(status) => format!("exit code {}", libc::WEXITSTATUS(status)),
        libc::SIGALRM => format!("it has not ended after {LIMIT_S} s"),
        signal => format!("signal {signal}"),
    };
    Err(format!("{}{end}", text_of(output)))
}

/// A file without a name.
fn temporary_file() -> io::Result<File> {
    // SAFETY: a string.
    let fd = unsafe { libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: opened just now, and owned by nothing else.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn text_of(mut file: File) -> String {
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.to_string(),
    }
}

/// Runs the programs of a directory.
fn run_files(directory: &str) -> Result<(), Failed> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(directory);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory)? {
        paths.push(entry?.path());
    }
    if paths.is_empty() {
        return Err(format!("{} is empty", directory.display()).into());
    }
    paths.sort();
    for path in &paths {
        let bytes = fs::read(path)?;
        run_apart(&bytes, false).map_err(|_| {
            let told = run_apart(&bytes, true).err().unwrap_or("it passes when told".to_owned());
            format!("{}:\n{told}", path.display())
        })?;
    }
    println!("fuzz: {} programs of {}", paths.len(), directory.display());
    Ok(())
}

/// Runs programs that begin so and that proptest generates: the same ones each time, others with `MAJJEN_FUZZ_SEED`.
fn random_programs(first: &[u8]) -> Result<(), Failed> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let cases = number("MAJJEN_FUZZ_CASES");
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number("MAJJEN_FUZZ_SEED").unwrap_or(1).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let config = Config {
        cases: cases.unwrap_or(5000),
        failure_persistence: None,
        max_shrink_iters: number("MAJJEN_FUZZ_SHRINK").unwrap_or(4000),
        ..Config::default()
    };
    let programs = prop::collection::vec(any::<[u8; 4]>(), 0..300);
    let (made, failed) = (Cell::new(0_u32), Cell::new(false));
    let result = TestRunner::new_with_rng(config.clone(), rng).run(&programs, |program| {
        if !failed.get() {
            made.set(made.get() + 1); // Later programs are shrunk forms of this one.
        }
        let program = [first, program.as_flattened()].concat();
        let result = run_apart(&program, false);
        failed.set(failed.get() || result.is_err());
        result.map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => {
            println!("fuzz: {} random programs", config.cases);
            Ok(())
        }
        Err(TestError::Fail(why, program)) => {
            let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz-failure");
            let program = [first, program.as_flattened()].concat();
            fs::write(&file, &program)?;
            let told = run_apart(&program, true).err();
            let told = told.unwrap_or_else(|| format!("it passes when told, and had said: {why}"));
            let file = file.display();
            println!("{FOUND}{} of {}", made.get(), config.cases);
            Err(format!("{told}\nthe program is in {file}; `-- replay {file}` runs it").into())
        }
        Err(TestError::Abort(why)) => Err(why.message().into()),
    }
}
