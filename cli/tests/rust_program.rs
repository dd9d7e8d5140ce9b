//! A program in Rust has the library inside: this test is one, and is looked into.

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use majjen::{Scheduler, task};

#[inline(never)]
fn waits_at_a_known_place() {
    task::sleep(Duration::from_secs(1000)).unwrap();
}

#[test]
fn is_looked_into_as_any_other() {
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        let scheduler = Scheduler::new().unwrap();
        task::Builder::new().name("sleeper").spawn_on(&scheduler, waits_at_a_known_place).unwrap();
        let tell = move || sender.send(()).unwrap();
        task::Builder::new().name("tells").spawn_on(&scheduler, tell).unwrap();
        scheduler.run().unwrap();
    });
    ready.recv().unwrap();
    thread::sleep(Duration::from_millis(100)); // The task that has told ends.
    let majjen = |arguments: &[&str]| {
        let pid = std::process::id().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_majjen"));
        let output = command.arg(arguments[0]).arg(&pid).args(&arguments[1..]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = majjen(&["ps"]);
    assert!(text.contains(": 1 scheduler, 1 task\n"), "{text}");
    assert!(
        text.contains("  sleeper  sleeping  ") && text.contains("sleeps 16m 39s more"),
        "{text}"
    );
    let text = majjen(&["bt", "sleeper"]);
    // Where it is optimized, what it calls is a part of it, or of something else.
    assert!(text.contains("  #0 majjen::safe::"), "{text}");
    assert!(text.contains("  #1 rust_program::waits_at_a_known_place "), "{text}");
}
