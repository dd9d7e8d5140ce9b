//! What a run leaves to threads and programs that its tasks make: the signal mask and the timer slack
//! of those that the thread makes itself.

use std::process::Command;
use std::thread;
use std::time::Duration;

use majjen::{Builder, task};

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
