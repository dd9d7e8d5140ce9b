//! `majjen ps`.

use std::io::Read;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Completion;
use serde_json::Value;

use crate::support::{Hanging, Link, build, libraries, line_of, majjen, run};

crate::support::trials! {
    tells_what_tasks_wait_for_in_a_program_with_the_shared_library,
    tells_what_tasks_wait_for_in_a_stripped_program,
    tells_what_tasks_wait_for_in_a_program_without_shared_libraries,
    tells_who_keeps_the_thread,
    tells_of_tasks_after_a_run,
    tells_the_time_of_the_programs_clock,
    needs_no_process_vm_readv,
    lists_are_sorted_and_filtered,
    many_tasks_take_little_time,
    many_tasks_take_little_memory,
    the_process_goes_on_as_fast,
    json_has_all_of_it,
    all_copies_of_the_library_are_found,
    a_process_in_other_namespaces_is_seen,
}

fn ps(process: &Hanging) -> String {
    majjen(&["ps", &process.pid()]).succeeded()
}

/// Checks that a task is in a state, and what it does.
#[track_caller]
pub fn check(text: &str, name: &str, state: &str, does: &str) {
    let line = line_of(text, name);
    assert_eq!(line.split_whitespace().nth(2), Some(state), "{line}");
    assert!(line.contains(does), "{does:?} is not in\n{line}");
}

fn tells_what_tasks_wait_for(link: Link) {
    let process = Hanging::start(&build("hang", link), &["waits"]);
    let text = ps(&process);
    let port = process.lines.iter().find_map(|line| line.strip_prefix("port ")).unwrap();
    assert!(text.contains("\nscheduler 1 'main\\n', thread "), "{text}");
    check(&text, "a", "waiting", "held by task 1 'b'");
    check(&text, "b", "waiting", "held by task 2 'c'");
    check(&text, "c", "waiting", "the end of task 0 'a'");
    // A name with escape sequences and quotation marks.
    assert!(text.contains(r#"late \u{1b}[31m\""#) && text.contains("at most 16m "));
    check(&text, "semaphore", "waiting", "semaphore: wants 3 of 2 (0x");
    assert!(text.contains(": 7 not done") && text.contains(": 1 member left"));
    check(&text, "accept", "waiting", &format!("accept at 127.0.0.1:{port} (fd "));
    check(&text, "socket", "waiting", &format!("read from 127.0.0.1:{port} (fd "));
    check(&text, "local", "waiting", "read from local socket (fd ");
    check(&text, "poll", "waiting", "read from pipe (fd ");
    check(&text, "poll", "waiting", " or read from local socket (fd ");
    check(&text, "select", "waiting", "receive from channel 0x");
    check(&text, "select", "waiting", " or the end of task 0 'a'");
    check(&text, "job", "waiting", "a job of the pool");
    check(&text, "sleeps", "sleeping", "sleeps 16m ");
    assert!(!text.contains("left out"), "{text}");
    // Nothing that a terminal would obey, and no line that is longer for a pipe.
    assert!(!text.contains('\x1b') && !text.contains('…'));
    // It goes on as before.
    let mut process = process;
    assert!(!process.has_ended());
}

fn tells_what_tasks_wait_for_in_a_program_with_the_shared_library() {
    tells_what_tasks_wait_for(Link::Shared);
}

fn tells_what_tasks_wait_for_in_a_stripped_program() {
    tells_what_tasks_wait_for(Link::StaticStripped);
}

fn tells_what_tasks_wait_for_in_a_program_without_shared_libraries() {
    tells_what_tasks_wait_for(Link::Standalone);
}

fn tells_who_keeps_the_thread() {
    let process = Hanging::start(&build("hang", Link::Shared), &["loop"]);
    let text = ps(&process);
    check(&text, "loops", "running", "computes");
    check(&text, "loops", "running", "100%");
    assert!(text.contains("no task ran in 0% of the time"), "{text}");

    let process = Hanging::start(&build("hang", Link::Shared), &["read"]);
    let text = ps(&process);
    check(&text, "reads", "running", "blocks its thread in read() of pipe (fd ");
}

fn tells_of_tasks_after_a_run() {
    // It has ended by deadlock.
    let process = Hanging::start(&build("hang", Link::Shared), &["message"]);
    let text = ps(&process);
    check(&text, "sender", "waiting", "send to channel 0x");
    check(&text, "receiver", "waiting", "receive from channel 0x");
    assert!(text.contains("scheduler 1, not running: 2 tasks"), "{text}");
}

fn tells_the_time_of_the_programs_clock() {
    let process = Hanging::start(&build("hang", Link::Shared), &["clock"]);
    let text = ps(&process);
    // The program has begun at 5 s of it, and the task soon after.
    let line = line_of(&text, "sleeps");
    let is_it = line.contains(" sleeps until 100") && line.ends_with(" ns of the program's clock");
    assert!(is_it, "{text}");
    let json = majjen(&["ps", &process.pid(), "--json"]).succeeded();
    let json: Value = serde_json::from_str(&json).unwrap();
    let scheduler = &json["schedulers"][0];
    assert!(scheduler["has_own_clock"] == true && scheduler["tasks"][0]["left_ns"].is_null());
}

/// As in a container whose filter of system calls lets nobody call it.
fn needs_no_process_vm_readv() {
    let instruction =
        |code: u32, k: u32, jt: u8| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let equal = |call: libc::c_long, jt| {
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, jt)
    };
    let end = |result| instruction(libc::BPF_RET | libc::BPF_K, result, 0);
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0), // The call's number.
        equal(libc::SYS_process_vm_readv, 2),
        equal(libc::SYS_process_vm_writev, 1),
        end(libc::SECCOMP_RET_ALLOW),
        end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ];
    let mut run_filtered = |arguments: &[&str]| {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        let program = std::ptr::from_ref(&program) as usize;
        let mut command = Command::new(env!("CARGO_BIN_EXE_majjen"));
        command.args(arguments);
        // SAFETY: prctl() is safe between fork and exec, and the program lives until then.
        unsafe {
            command.pre_exec(move || {
                let mode = libc::SECCOMP_MODE_FILTER;
                let is_set = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                    && libc::prctl(libc::PR_SET_SECCOMP, mode, program) == 0;
                if is_set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            });
        }
        run(&mut command).succeeded()
    };
    let process = Hanging::start(&build("hang", Link::Shared), &["deadlock"]);
    check(&run_filtered(&["ps", &process.pid()]), "a", "waiting", "mutex held by task 1 'b'");
    let text = run_filtered(&["bt", &process.pid(), "a"]);
    assert!(text.contains(" locks_what_b_has at "), "{text}");
    // It writes, too.
    let process = Hanging::start(&build("busy", Link::Shared), &[]);
    let text = run_filtered(&["trace", &process.pid(), "--for", "100ms", "--output", "/dev/null"]);
    assert!(text.contains("scheduler 1 'busy': "), "{text}");
}

fn lists_are_sorted_and_filtered() {
    let process = Hanging::start(&build("hang", Link::Shared), &["leak"]);
    let text = ps(&process);
    assert!(text.contains(": 1 scheduler, 1001 tasks\n"), "{text}");
    assert_eq!(text.matches(" read from pipe (fd ").count(), 1000);
    let sorted = majjen(&["ps", &process.pid(), "--sort", "name", "--samples", "0"]).succeeded();
    let names: Vec<&str> =
        sorted.lines().skip(4).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert!(names.len() == 1001 && names.is_sorted());
    let filtered = majjen(&["ps", &process.pid(), "--filter", "listener"]).succeeded();
    assert_eq!(filtered.lines().count(), 5, "{filtered}");
    let ids = majjen(&["ps", &process.pid(), "--ids", "--filter", "listener"]).succeeded();
    assert!(ids.contains(" 0x9e3779b97f000000 "), "{ids}");
}

/// What a list takes of processors, in seconds, at best.
#[expect(clippy::zombie_processes, reason = "wait4() waits for it")]
fn cpu_seconds(process: &Hanging) -> f64 {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let once = || {
        let child = list(process).stdout(Stdio::null()).spawn().unwrap();
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: a child of ours that nobody has waited for; all zeros are a value.
        let usage = unsafe {
            let mut status = 0;
            libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr());
            assert_eq!(status, 0);
            usage.assume_init()
        };
        seconds(usage.ru_utime) + seconds(usage.ru_stime)
    };
    (0..5).map(|_| once()).fold(f64::MAX, f64::min)
}

fn list(process: &Hanging) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_majjen"));
    command.args(["ps", &process.pid(), "--samples", "0"]);
    command
}

/// The most memory that a list was seen to have, in KiB, while it waited for its output to be read. getrusage(2)
/// does not tell: a child's maximum begins with what its parent had when it called execve(2).
fn peak_kib(process: &Hanging) -> usize {
    let mut child = list(process).stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut output = child.stdout.take().unwrap();
    let (mut peak, mut buffer) = (0, vec![0; 1 << 16]);
    while output.read(&mut buffer).unwrap() > 0 {
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or(0)); // none any more at its end
    }
    assert!(child.wait().unwrap().success());
    assert!(peak > 0);
    peak
}

fn many_tasks_take_little_time() {
    let program = build("hang", Link::Shared);
    let few = cpu_seconds(&Hanging::start(&program, &["many", "10000"]));
    let process = Hanging::start(&program, &["many", "100000"]);
    let many = cpu_seconds(&process);
    assert!(majjen(&["ps", &process.pid()]).succeeded().contains(": 1 scheduler, 100000 tasks\n"));
    assert!(many < 20.0 * few, "{few} s for 10,000 tasks, {many} s for 100,000");
    // It takes a tenth of a second; unoptimized ten times as much.
    assert!(many < 1.0 || cfg!(debug_assertions), "{many} s for 100,000 tasks");
}

/// 200 MiB for a million, which `make torture` has.
fn many_tasks_take_little_memory() {
    let torture = std::env::var_os("MAJJEN_TORTURE").is_some();
    let (count, most_mib) = if torture { (1_000_000, 200) } else { (100_000, 30) };
    let process = Hanging::start(&build("hang", Link::Shared), &["many", &count.to_string()]);
    let mib = peak_kib(&process) >> 10;
    assert!(mib < most_mib, "{mib} MiB for {count} tasks");
    if torture {
        println!("{count} tasks are listed with {mib} MiB, in {:.2} s", cpu_seconds(&process));
    }
}

/// What turns take while lists of 100,000 tasks are made, and while none is, by turns.
fn the_process_goes_on_as_fast() {
    let torture = std::env::var_os("MAJJEN_TORTURE").is_some();
    let (rounds, most) = if torture { (20, 1.05) } else { (5, 1.25) };
    let name = format!("paces-{}", std::process::id());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let arguments = ["paced", "100000", file.to_str().unwrap()];
    let process = Hanging::start(&build("hang", Link::Shared), &arguments);
    let paces = || -> Vec<u64> {
        let text = std::fs::read_to_string(&file).unwrap();
        text.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n')?.parse().ok())
            .collect()
    };
    // Until a whole round has been like this: the one that has begun before is not one.
    let next = |meanwhile: &dyn Fn()| {
        let seen = paces().len();
        while paces().len() < seen + 2 {
            meanwhile();
        }
        paces()[seen + 1]
    };
    let list = || _ = majjen(&["ps", &process.pid(), "--samples", "0"]).succeeded();
    let attempt = || {
        let mut results = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            results[0].push(next(&|| std::thread::sleep(Duration::from_millis(20))));
            results[1].push(next(&list));
        }
        let [without, with] = results.map(|mut all| {
            all.sort_unstable();
            all[all.len() / 2] as f64
        });
        with / without
    };
    // What else runs on the machine disturbs it, too, now and then; what lists do would show each time.
    let mut ratios = Vec::new();
    while ratios.len() < 6 && ratios.last().is_none_or(|ratio| *ratio >= most) {
        ratios.push(attempt());
    }
    drop(process);
    std::fs::remove_file(&file).unwrap();
    assert!(
        ratios.iter().any(|ratio| *ratio < most),
        "p99 of turns, with lists and without: {ratios:?}"
    );
}

fn json_has_all_of_it() {
    let process = Hanging::start(&build("hang", Link::Shared), &["waits"]);
    let text = majjen(&["ps", &process.pid(), "--json"]).succeeded();
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(all["pid"].to_string(), process.pid());
    assert_eq!((&all["left_out"], &all["is_core_file"]), (&Value::from(0), &Value::from(false)));
    let tasks = all["schedulers"][0]["tasks"].as_array().unwrap();
    let named = |name: &str| tasks.iter().find(|task| task["name"] == name).unwrap();
    assert_eq!(named("a")["waits_for"]["owner"], named("b")["id"]);
    assert_eq!(named("c")["waits_for"]["task"], named("a")["id"]);
    assert_eq!(named("select")["waits_for"]["cases"].as_array().unwrap().len(), 3);
    assert_eq!(named("sleeps")["state"], "sleeping");
    assert!(named("sleeps")["left_ns"].as_u64().unwrap() > 900_000_000_000);
    assert!(named("sleeps")["stack_bytes"].as_u64().unwrap() > 100);
}

fn all_copies_of_the_library_are_found() {
    let shared = libraries().join("libmajjen.so.0");
    let process =
        Hanging::start(&build("hang", Link::StaticStripped), &["copies", shared.to_str().unwrap()]);
    let text = ps(&process);
    assert!(text.contains(": 2 schedulers, 5 tasks\n"), "{text}");
    assert!(
        text.contains("held by task 1:1 'b'") || text.contains("held by task 2:1 'b'"),
        "{text}"
    );
    assert_eq!(text.matches("  sleeping  ").count(), 1, "{text}");
}

fn a_process_in_other_namespaces_is_seen() -> Completion {
    let program = build("hang", Link::Shared);
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount",
        "--time",
    ]);
    unshare.args(["--monotonic", "100000", "--"]);
    if !run(Command::new(unshare.get_program()).args(unshare.get_args()).arg("true"))
        .stderr
        .is_empty()
    {
        return Completion::ignored_with("no namespaces can be made here");
    }
    let process = Hanging::start_command(unshare.arg(&program).arg("waits"));
    let children = format!("/proc/{0}/task/{0}/children", process.pid());
    let child = std::fs::read_to_string(children).unwrap();
    let text = majjen(&["ps", child.trim()]).succeeded();
    check(&text, "a", "waiting", "held by task 1 'b'");
    check(&text, "sleeps", "sleeping", "sleeps 16m ");
    Completion::Completed
}
