//! Faults: calls that the system may refuse are made to fail, one at a time, and the library must
//! cope. The programs are in `c-tests/faults/`; `docs/reliability.md` has the figures.
//!
//! With `MAJJEN_TORTURE` set (`make torture`) every errno value is tried, every fallback by
//! itself, and a child of fork() at each of the calls.

use std::ffi::{CStr, c_int};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::{null, null_mut};
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};
use crate::toolchain::torture;
use crate::{c_programs, process, toolchain};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("faults::allocations", || sweep(&["allocations"])),
        Trial::test("faults::system_calls", || {
            sweep(if torture() { &["system-calls", "long"] } else { &["system-calls"] })
        }),
        Trial::ignorable_test("faults::system_calls_by_strace", || by_strace(sweep_by_strace)),
        Trial::ignorable_test("system_calls::of_requests", || by_strace(count_calls_of_requests)),
        Trial::ignorable_test("system_calls::of_streams", || by_strace(count_calls_of_streams)),
    ];
    if torture() {
        trials.push(Trial::test("faults::a_child_at_each_call", || sweep(&["children"])));
    }
    if toolchain::on_fallbacks() {
        trials.push(Trial::test("fallbacks::are_in_effect", check_fallbacks));
    }
    // A directory that cannot be read is reported by the other module.
    for source in c_programs::sources().unwrap_or_default() {
        let program = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let all = FALLBACKS.join(",");
        let mut sets = vec![("all".to_owned(), all)];
        if torture() {
            sets.extend(FALLBACKS.map(|name| (name.to_owned(), name.to_owned())));
        }
        if WAIT_FOR_THREADS.contains(&program.as_str()) || torture() && program == "xchan" {
            sets.push(("futex".to_owned(), "futex".to_owned()));
        }
        for (set, names) in sets {
            let (source, program) = (source.clone(), program.clone());
            let name = format!("faults::fallbacks::{set}::{program}");
            trials.push(Trial::ignorable_test(name, move || {
                match toolchain::missing_compiler(&source) {
                    Some(ignored) => Ok(ignored),
                    None => {
                        let must_meet = program == NEEDS_ALL || names == "futex";
                        run_with_fallbacks(&source, &names, must_meet)
                    }
                }
            }));
        }
    }
    trials
}

/// For one sweep or one program: many times what it takes.
const LIMIT: Duration = Duration::from_secs(600);

fn source(name: &str) -> PathBuf {
    library::root().join("c-tests/faults").join(name)
}

// ---- In process

/// Runs a sweep in the program with fault injection built in.
fn sweep(arguments: &[&str]) -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let flags: Vec<&str> = STRICT.into_iter().chain(["-rdynamic"]).collect();
    let program = program::compile(&source("sweep.c"), &flags, Link::Shared, &[], &temp_dir)?;
    let output = program::run_command(Command::new(program).args(arguments), LIMIT, &temp_dir)?;
    println!("{}", output.lines().last().unwrap_or_default());
    Ok(())
}

/// Compiles the program that uses a bit of everything.
fn compile_ordinary(temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    let flags: Vec<&str> = STRICT.into_iter().chain(["-D_GNU_SOURCE"]).collect();
    program::compile(&source("ordinary.c"), &flags, Link::Shared, &[], temp_dir)
}

// ---- By strace

/// Runs a test that needs strace, where that is installed and may trace.
fn by_strace(test: fn(&TempDir) -> Result<(), Failed>) -> Result<Completion, Failed> {
    if toolchain::find("strace").is_none() {
        return Ok(Completion::ignored_with("strace is not installed"));
    }
    let temp_dir = TempDir::new()?;
    let mut nothing = Command::new("strace");
    nothing.args(["-o", "/dev/null", "true"]);
    if !process::run(&mut nothing, LIMIT, temp_dir.path())?.succeeded() {
        return Ok(Completion::ignored_with("strace may not trace here"));
    }
    test(&temp_dir).map(|()| Completion::Completed)
}

/// A system call, and the errno values to inject; the short form uses the first only.
const INJECTED: [(&str, &[&str]); 14] = [
    ("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("eventfd2", &["EMFILE", "ENFILE", "ENOMEM", "ENODEV"]),
    ("epoll_ctl", &["ENOSPC", "ENOMEM", "EBADF", "ENOENT", "EEXIST", "EPERM"]),
    ("epoll_pwait2", &["ENOSYS", "EPERM", "EBADF", "EINTR"]),
    ("epoll_wait", &["EINTR", "EBADF", "EINVAL"]),
    ("mmap", &["ENOMEM", "EAGAIN"]),
    ("mprotect", &["ENOMEM", "EACCES"]),
    ("madvise", &["ENOMEM", "EINVAL", "EPERM", "ENOSYS", "EAGAIN"]),
    ("munmap", &["ENOMEM", "EINVAL"]),
    ("write", &["ENOSPC", "EINTR", "EAGAIN", "EIO", "EPIPE"]),
    ("read", &["EINTR", "EIO"]),
    ("openat", &["EMFILE", "ENOENT"]),
    ("fcntl", &["EBADF"]),
    ("rt_sigaction", &["EINVAL"]),
];

/// A call that must fail as well, each time, since the library makes the other one only in its
/// place.
fn missing_besides(call: &str) -> Option<(&'static str, &'static str)> {
    match call {
        "epoll_wait" => Some(("epoll_pwait2", "ENOSYS")),
        "mprotect" => Some(("madvise", "EINVAL")),
        _ => None,
    }
}

/// Runs an ordinary program repeatedly, with the n-th call failing, until it makes fewer calls than
/// that; each call must be made at least once. The loader's calls before `main` do not fail.
fn sweep_by_strace(temp_dir: &TempDir) -> Result<(), Failed> {
    let program = compile_ordinary(temp_dir)?;
    let trace = temp_dir.path().join("trace");
    let (mut points, mut runs) = (0, 0);
    for (call, errors) in INJECTED {
        let errors = if torture() { errors } else { &errors[..1] };
        // `main` begins with a pipe.
        let mut strace = Command::new("strace");
        strace.arg("-f").arg("-o").arg(&trace);
        strace.args(["-e", &format!("trace={call},pipe,pipe2")]).arg(&program);
        program::run_command(&mut strace, LIMIT, temp_dir)?;
        let traced = fs::read_to_string(&trace)?;
        let by_loader = traced.lines().take_while(|line| !line.contains(" pipe")).count();
        let was_injected =
            |line: &str| line.contains(&format!(" {call}(")) && line.contains("(INJECTED)");
        // strace injects only into calls that it traces.
        let besides = missing_besides(call).map(|(missing, error)| {
            [format!("trace={call},{missing}"), format!("inject={missing}:error={error}")]
        });
        let mut most = 0;
        for error in errors {
            for from_then_on in ["", "+"] {
                let mut number = by_loader;
                loop {
                    number += 1;
                    let inject = format!("inject={call}:error={error}:when={number}{from_then_on}");
                    let mut strace = Command::new("strace");
                    strace.arg("-f").arg("-o").arg(&trace);
                    strace.args(["-e", &format!("trace={call}"), "-e", &inject]);
                    strace.args(besides.iter().flatten().flat_map(|besides| ["-e", besides]));
                    strace.arg(&program);
                    let finished =
                        process::run(&mut strace, Duration::from_secs(20), temp_dir.path())?;
                    let code = finished.status.and_then(|status| status.code());
                    if !matches!(code, Some(0 | 1)) {
                        return Err(format!("with {inject} it {}", finished.describe()).into());
                    }
                    if !fs::read_to_string(&trace)?.lines().any(was_injected) {
                        break;
                    }
                    runs += 1;
                }
                most = most.max(number - 1 - by_loader);
            }
        }
        if most == 0 {
            return Err(format!("the program never calls {call}").into());
        }
        points += most;
    }
    println!("strace: 1 program x {points} injection points, {runs} runs");
    Ok(())
}

/// What a request on a connection that stays takes: one read and one write on each side, and no change of
/// what is watched.
fn count_calls_of_requests(temp_dir: &TempDir) -> Result<(), Failed> {
    const REQUESTS: usize = 1000;
    let traced = trace_of("c-tests/server/keep_alive.c", temp_dir)?;
    for (name, most) in [("recvfrom", 2 * REQUESTS + 20), ("sendto", 2 * REQUESTS)] {
        let count = traced.of(name).count();
        assert!((2 * REQUESTS..=most).contains(&count), "{count} times {name}");
    }
    for name in ["epoll_ctl", "poll", "ppoll", "preadv2", "readv"] {
        assert!(traced.of(name).count() < 20, "{} times {name}", traced.of(name).count());
    }
    Ok(())
}

/// Of a large message each part is written when there is room for it, and not tried before.
fn count_calls_of_streams(temp_dir: &TempDir) -> Result<(), Failed> {
    const MESSAGES: usize = 2 * 50;
    let traced = trace_of("c-tests/server/large_messages.c", temp_dir)?;
    assert!(traced.of("sendto").count() > MESSAGES);
    let in_vain = traced.of("sendto").filter(|line| line.contains("EAGAIN")).count();
    assert!(in_vain < MESSAGES / 10, "{in_vain} times sendto has found no room");
    assert!(
        traced.of("epoll_ctl").count() < 20,
        "{} times epoll_ctl",
        traced.of("epoll_ctl").count()
    );
    Ok(())
}

/// The lines of strace.
struct Trace(String);

impl Trace {
    /// Those of a system call.
    fn of(&self, name: &str) -> impl Iterator<Item = &str> {
        let begin = format!(" {name}(");
        self.0.lines().filter(move |line| line.contains(&begin))
    }
}

/// What a program calls.
fn trace_of(source: &str, temp_dir: &TempDir) -> Result<Trace, Failed> {
    let source = library::root().join(source);
    let program = program::compile(&source, &STRICT, Link::Shared, &[], temp_dir)?;
    let trace = temp_dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&trace).arg(&program);
    let finished = process::run(&mut strace, LIMIT, temp_dir.path())?;
    if !finished.succeeded() {
        return Err(finished.describe().into());
    }
    Ok(Trace(fs::read_to_string(&trace)?))
}

// ---- Fallbacks

/// The names in `fallbacks.c`. Only x86-64 has a counter that may be unreliable.
#[cfg(target_arch = "x86_64")]
pub const FALLBACKS: [&str; 7] =
    ["guards", "batches", "pwait2", "nowait", "nosignal", "wipe", "counter"];
#[cfg(not(target_arch = "x86_64"))]
pub const FALLBACKS: [&str; 6] = ["guards", "batches", "pwait2", "nowait", "nosignal", "wipe"];

/// Programs whose threads wait for each other by the library's own means, which a filter may refuse as well. So
/// does `xchan`, which takes two minutes then.
const WAIT_FOR_THREADS: [&str; 2] = ["cluster", "offload"];

/// When `fallbacks.c` is preloaded into everything that runs: checks that it works, in this process
/// and in a program, whose library notices. `make torture` runs this by name, before all others.
fn check_fallbacks() -> Result<(), Failed> {
    const CLOCK_SOURCE: &CStr = c"/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let refuses = |what: &str, answer: c_int, error: c_int| {
        let found = io::Error::last_os_error();
        let is_refused = answer == -1 && found.raw_os_error() == Some(error);
        is_refused.then_some(()).ok_or(format!("{what} is there: {answer}, {found}"))
    };
    // SAFETY: an empty range of memory.
    refuses("madvise(102)", unsafe { libc::madvise(null_mut(), 0, 102) }, libc::EINVAL)?;
    // SAFETY: an empty range of memory.
    let wiped = unsafe { libc::madvise(null_mut(), 0, libc::MADV_WIPEONFORK) };
    refuses("MADV_WIPEONFORK", wiped, libc::EINVAL)?;
    // SAFETY: an empty list of ranges. The number is the process itself.
    let many = unsafe { libc::syscall(libc::SYS_process_madvise, -10_000, null::<u8>(), 0, 0, 0) };
    refuses("process_madvise", many as c_int, libc::EBADF)?;
    // SAFETY: no descriptor, and room for no event. By its number, as the library calls it.
    let events = unsafe {
        libc::syscall(libc::SYS_epoll_pwait2, -1, null::<u8>(), 0, null::<u8>(), null::<u8>(), 0)
    };
    refuses("epoll_pwait2", events as c_int, libc::ENOSYS)?;
    // SAFETY: no descriptor, and no buffers.
    let read = unsafe { libc::preadv2(-1, null(), 0, -1, libc::RWF_NOWAIT) };
    refuses("RWF_NOWAIT", read as c_int, libc::EOPNOTSUPP)?;
    // SAFETY: as above. The flag is RWF_NOSIGNAL.
    let written = unsafe { libc::pwritev2(-1, null(), 0, -1, 0x100) };
    refuses("RWF_NOSIGNAL", written as c_int, libc::EOPNOTSUPP)?;
    // SAFETY: a C string.
    let clock = unsafe { libc::open(CLOCK_SOURCE.as_ptr(), libc::O_RDONLY) };
    refuses("the clock source", clock, libc::ENOENT)?;

    let temp_dir = TempDir::new()?;
    let source = library::root().join(format!("c-tests/{NEEDS_ALL}.c"));
    let program = program::shared_by_trials(&source, Link::Shared)?;
    run_and_meet(&mut Command::new(program), &FALLBACKS.join(","), &temp_dir)
}

/// The program in `c-tests/` that is known to use all of these.
const NEEDS_ALL: &str = "resources";

/// Runs one of the C programs on a system that lacks these features.
fn run_with_fallbacks(source: &Path, names: &str, must_meet: bool) -> Result<Completion, Failed> {
    let temp_dir = TempDir::new()?;
    let preload = program::compile_preload(&self::source("fallbacks.c"))?;
    let program = program::shared_by_trials(source, Link::Shared)?;
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", preload).env("MAJJEN_FALLBACKS", names);
    if must_meet {
        return run_and_meet(&mut command, names, &temp_dir).map(|()| Completion::Completed);
    }
    program::verdict(&process::run(&mut command, LIMIT, temp_dir.path())?)
}

/// Runs a program that must notice which features its system lacks.
fn run_and_meet(command: &mut Command, names: &str, temp_dir: &TempDir) -> Result<(), Failed> {
    let met = temp_dir.path().join("met");
    program::run_command(command.env("MAJJEN_FALLBACKS_MET", &met), LIMIT, temp_dir)?;
    let met = fs::read_to_string(&met).unwrap_or_default();
    match names.split(',').find(|name| !met.contains(name)) {
        Some(name) => Err(format!("the program has not met the fallback `{name}`").into()),
        None => Ok(()),
    }
}
