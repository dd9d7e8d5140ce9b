//! `majjen graph`.

use serde_json::Value;

use crate::support::{Hanging, Link, build, majjen};

crate::support::trials! {
    a_deadlock_is_named,
    without_a_circle_there_is_no_deadlock,
}

fn a_deadlock_is_named() {
    let process = Hanging::start(&build("hang", Link::Shared), &["deadlock"]);
    let output = majjen(&["graph", &process.pid()]);
    assert_eq!((output.code, output.stderr.as_str()), (3, ""));
    let lines: Vec<&str> = output.stdout.lines().collect();
    let at =
        lines.iter().position(|line| *line == "deadlock: 3 tasks wait for each other").unwrap();
    let [a, b, c] = lines[at + 1..at + 4] else { panic!("{}", output.stdout) };
    assert!(a.starts_with("  task 0 'a' waits for mutex held by task 1 'b' (0x"));
    assert!(b.starts_with("  task 1 'b' waits for mutex held by task 2 'c' (0x"));
    assert_eq!(c, "  task 2 'c' waits for the end of task 0 'a'");
    // Who waits for the circle, and is not in it.
    assert!(
        output.stdout.contains("    task 3 'late \\u{1b}[31m\\\"' has waited"),
        "{}",
        output.stdout
    );

    let output = majjen(&["graph", &process.pid(), "--json"]);
    let all: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(all["circles"][0]["tasks"].as_array().unwrap().len(), 3);
    assert_eq!((output.code, all["waits"].as_array().unwrap().len()), (3, 4));
    let output = majjen(&["graph", &process.pid(), "--dot"]);
    assert!(output.stdout.starts_with("digraph majjen {\n"));
    assert!(output.stdout.contains("  \"task 2 'c'\" -> \"task 0 'a'\";\n"), "{}", output.stdout);
}

fn without_a_circle_there_is_no_deadlock() {
    let process = Hanging::start(&build("hang", Link::Shared), &["message"]);
    let text = majjen(&["graph", &process.pid()]).succeeded();
    assert!(
        text.contains(": 0 tasks wait for other tasks\n") && !text.contains("deadlock"),
        "{text}"
    );
    assert!(text.contains("1 task waits for room in channel 0x"), "{text}");
    assert!(text.contains("1 task waits for an element of channel 0x"), "{text}");
}
