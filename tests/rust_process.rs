//! Child processes of tasks: `majjen::process`.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use majjen::{Builder, Error, JoinError, Scheduler, process, task};

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
const LONG: Duration = Duration::from_secs(100);

fn in_task<T: 'static>(body: impl FnOnce() -> T + 'static) -> T {
    let scheduler = Scheduler::new().unwrap();
    let handle = scheduler.spawn(body);
    scheduler.run().unwrap();
    handle.join().unwrap()
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn sleeper() -> Command {
    shell("exec sleep 100")
}

#[test]
fn a_child_is_talked_to_while_others_run() {
    in_task(|| {
        let mut child =
            process::spawn(shell("tr a-z A-Z").stdin(Stdio::piped()).stdout(Stdio::piped()))
                .unwrap();
        let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let writer = task::spawn(move || to.write_all("word ".repeat(50_000).as_bytes()));
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(text, "WORD ".repeat(50_000));
        assert!(child.wait().unwrap().success());
        assert!(child.wait().unwrap().success());
        assert_eq!(child.signal(SIGTERM), Err(Error::NoSuchTask));
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    in_task(|| {
        let error = process::spawn(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    });
}

#[test]
fn several_tasks_wait_for_one() {
    in_task(|| {
        let child = Rc::new(process::spawn(&mut sleeper()).unwrap());
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let child = Rc::clone(&child);
                task::spawn(move || child.wait())
            })
            .collect();
        task::yield_now().unwrap();
        child.signal(SIGKILL).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().unwrap().signal(), Some(SIGKILL));
        }
    });
}

#[test]
fn a_canceled_task_lets_its_child_go() {
    in_task(|| {
        let (sender, receiver) = majjen::sync::channel(1);
        let waits = task::spawn(move || {
            let child = process::spawn(&mut shell("echo; exec sleep 0.05")).unwrap();
            sender.send(child.id()).unwrap();
            child.wait().unwrap()
        });
        let id = receiver.recv().unwrap();
        waits.cancel();
        assert!(matches!(waits.join(), Err(JoinError::Canceled)));
        // It runs on, and is no zombie for long.
        for looks in 0.. {
            if !std::fs::exists(format!("/proc/{id}")).unwrap() {
                break;
            }
            assert!(looks < 2000, "it is still there");
            task::sleep(Duration::from_millis(5)).unwrap();
            drop(process::spawn(&mut shell("true")).unwrap());
        }
    });
}

#[test]
fn a_time_limit_ends_a_wait_and_no_child() {
    in_task(|| {
        let child = process::spawn(&mut sleeper()).unwrap();
        assert!(task::timeout(Duration::from_millis(1), || child.wait()).is_err());
        child.signal(0).unwrap();
        // Nor does it cut short how a child is ended.
        let ended = task::timeout(Duration::ZERO, || child.end(LONG));
        assert!(
            ended.is_err() || ended.is_ok_and(|ended| ended.unwrap().signal() == Some(SIGTERM))
        );
    });
}

#[test]
fn a_stubborn_child_is_killed() {
    in_task(|| {
        let script = "trap '' TERM; echo ready; for i in $(seq 1000); do sleep 0.01; done";
        let mut child = process::spawn(shell(script).stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        assert_eq!(child.end(Duration::from_millis(1)).unwrap().signal(), Some(SIGKILL));
    });
}

/// A shell that starts another process, which has its output, too. Returns that one's number.
fn group_of_two(script: &str) -> (process::Child, i32, impl Read + 'static) {
    let script = format!("sleep 100 & echo $!; {script}");
    let mut child = process::spawn_group(shell(&script).stdout(Stdio::piped())).unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    (child, line.trim_end().parse().unwrap(), output)
}

/// Whether a process is there, and has not ended.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Its descriptors are closed a little before.
fn await_end(pid: i32) {
    for looks in 0.. {
        if !runs(pid) {
            return;
        }
        assert!(looks < 2000, "it is still there");
        task::sleep(Duration::from_millis(5)).unwrap();
    }
}

#[test]
fn what_a_child_has_started_ends_with_it() {
    in_task(|| {
        for script in ["wait", "exit 3"] {
            let (child, other, mut output) = group_of_two(script);
            if script != "wait" {
                assert_eq!(child.wait().unwrap().code(), Some(3));
                child.signal(0).unwrap(); // To the one that is left.
            }
            assert!(runs(other));
            let ended = child.end(LONG).unwrap();
            assert_eq!(ended.signal(), if script == "wait" { Some(SIGTERM) } else { None });
            output.read_to_end(&mut Vec::new()).unwrap();
            await_end(other);
        }
    });
}

#[test]
fn a_signal_is_for_the_whole_group() {
    in_task(|| {
        let (child, other, mut output) = group_of_two("wait");
        child.signal(SIGKILL).unwrap();
        output.read_to_end(&mut Vec::new()).unwrap();
        await_end(other);
        assert_eq!(child.wait().unwrap().signal(), Some(SIGKILL));
        // Without a group it is the child's alone.
        let mut command = shell("sleep 1 & echo; exec sleep 100");
        let mut child = process::spawn(command.stdout(Stdio::piped())).unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0]).unwrap(); // Both are there.
        child.signal(SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(SIGKILL));
        assert!(task::timeout(Duration::from_millis(1), || output.read(&mut [0])).is_err());
        output.read_to_end(&mut Vec::new()).unwrap();
    });
}

/// Waits when it is dropped.
struct Waits(process::Child, Rc<Cell<Option<Error>>>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.1.set(self.0.wait().err());
    }
}

#[test]
fn nothing_waits_while_a_panic_unwinds() {
    let seen = Rc::new(Cell::new(None));
    let its = Rc::clone(&seen);
    in_task(move || {
        let panics = task::spawn(move || {
            let _waits = Waits(process::spawn(&mut shell("exec sleep 0.05")).unwrap(), its);
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(matches!(panics.join(), Err(JoinError::Panicked(_))));
    });
    assert_eq!(seen.take(), Some(Error::Unwinding));
}

#[test]
fn a_child_is_let_go_in_a_task_of_another_scheduler() {
    let child = process::spawn(&mut sleeper()).unwrap();
    let id = child.id();
    assert_eq!(format!("{child:?}"), format!("Child {{ id: {id}, .. }}"));
    let first = Scheduler::new().unwrap();
    let waited = first.spawn(move || {
        assert!(task::timeout(Duration::from_millis(1), || child.wait()).is_err());
        child.signal(SIGKILL).unwrap();
        child
    });
    first.run().unwrap();
    let child = waited.join().unwrap();
    in_task(move || drop(child));
    for _ in 0..2000 {
        if !std::fs::exists(format!("/proc/{id}")).unwrap() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        process::spawn(&mut shell("true")).unwrap().end(LONG).unwrap();
    }
    assert!(!std::fs::exists(format!("/proc/{id}")).unwrap());
}

#[test]
fn outside_tasks_a_child_is_only_ended() {
    let child = process::spawn(&mut sleeper()).unwrap();
    assert_eq!(child.wait(), Err(Error::NotInTask));
    assert_eq!(child.end(LONG).unwrap().signal(), Some(SIGTERM));
}

#[test]
fn a_child_is_of_the_scheduler_that_has_waited_for_it() {
    let child = Rc::new(process::spawn(&mut sleeper()).unwrap());
    let first = Scheduler::new().unwrap();
    let its = Rc::clone(&child);
    first.spawn(move || task::timeout(Duration::from_millis(1), || its.wait()).is_err());
    first.run().unwrap();
    let others = Rc::clone(&child);
    in_task(move || {
        assert_eq!(others.wait(), Err(Error::WrongScheduler));
        assert_eq!(others.signal(0), Err(Error::WrongScheduler));
    });
    drop(first);
    Rc::into_inner(child).unwrap().end(LONG).unwrap();
}

/// Which signals a program has blocked and ignored that is started here, and the timer slack of its thread.
fn heritage() -> Vec<String> {
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; cat /proc/self/timerslack_ns";
    let output = shell(script).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// By the standard library, which gives SIGPIPE back its default action, and nothing else. SIGINT is ignored, as
/// by what a shell starts in the background.
#[test]
fn a_program_started_in_an_application_inherits_what_one_started_before_does() {
    // SAFETY: no function is set, and no other test raises it.
    let before = unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let of_main = heritage();
    assert_eq!(of_main.len(), 3, "{of_main:?}");
    let scheduler = Builder::new().handle_signals(true).build().unwrap();
    let expected = of_main.clone();
    let compares = scheduler.spawn(move || {
        for _ in 0..2 {
            assert_eq!(heritage(), expected);
            // The loop has waited then, by timers as exact as can be.
            task::sleep(Duration::from_millis(1)).unwrap();
        }
    });
    scheduler.run().unwrap();
    compares.join().unwrap();
    assert_eq!(heritage(), of_main);
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGINT, before) };
}
