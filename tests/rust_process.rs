//! What a run leaves to threads and programs that its tasks make: the signal mask and the timer slack
//! of those that the thread makes itself. And a child's streams.

mod support;

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use majjen::io::Suspending;
use majjen::{Builder, task};
use support::in_a_task;

/// The mask of blocked signals, and the timer slack, of the calling thread.
fn inherited() -> (String, i32) {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    // SAFETY: the request gives an integer.
    (blocked(&status), unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) })
}

fn blocked(status: &str) -> String {
    status.lines().find(|line| line.starts_with("SigBlk:")).unwrap().to_owned()
}

fn of_a_program() -> String {
    let output = Command::new("cat").arg("/proc/self/status").output().unwrap();
    blocked(&String::from_utf8(output.stdout).unwrap())
}

#[test]
fn what_a_task_makes_is_as_what_its_thread_makes() {
    let of_this_thread = thread::spawn(inherited).join().unwrap();
    let of_its_program = of_a_program();
    for handle_signals in [false, true] {
        let scheduler = Builder::new().handle_signals(handle_signals).build().unwrap();
        let expected = (of_this_thread.clone(), of_its_program.clone());
        let looks = scheduler.spawn(move || {
            for _ in 0..2 {
                assert_eq!(thread::spawn(inherited).join().unwrap(), expected.0);
                assert_eq!(of_a_program(), expected.1);
                task::sleep(Duration::from_millis(1)).unwrap();
            }
        });
        scheduler.run().unwrap();
        looks.join().unwrap();
    }
}

#[test]
fn a_child_answers_by_its_streams() {
    in_a_task(|| {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut to = BufWriter::new(Suspending::new(child.stdin.take().unwrap()));
        let mut from = BufReader::new(Suspending::new(child.stdout.take().unwrap()));
        let mut errors = Suspending::new(child.stderr.take().unwrap());
        for number in 0..3 {
            writeln!(to, "{number}").unwrap();
            to.flush().unwrap();
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            assert_eq!(line, format!("{number}\n"));
        }
        drop(to);
        assert_eq!(from.read_line(&mut String::new()).unwrap(), 0);
        assert_eq!(errors.read(&mut [0; 8]).unwrap(), 0);
        assert!(child.wait().unwrap().success());
    });
}
