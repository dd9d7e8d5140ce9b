//! What the page makes of entries: each sentence of the details from entries that were made by hand.

use libtest_mimic::Trial;
use majjen_cli::page::Recorded;

use crate::browser::Tab;
use crate::traces::{
    CHANNEL, CREATED, ENDED, FD, JOIN, MS, PARKED, POSTED, READY, RUNS, SLEEPS, US, YIELDED, entry,
    left_loop, texts, waits,
};
use crate::{open, recorded, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("reading::who_made_whom_ready_is_told", who_made_whom_ready),
        trial("reading::waits_are_told_in_words", waits_in_words),
        trial("reading::a_number_that_is_used_again_is_another_task", used_again),
        trial("reading::a_recording_may_begin_and_end_anywhere", begins_and_ends_anywhere),
        trial("reading::a_turn_may_go_on", goes_on),
        trial("reading::the_loop_has_a_row", the_loop),
        trial("reading::schedulers_are_below_each_other", schedulers),
    ]
}

/// Goes to a place, and returns the details as lines.
#[track_caller]
pub fn details(tab: &mut Tab, place: &str) -> String {
    tab.value("location.hash = ''");
    tab.value(&format!("location.hash = '{place}'"));
    tab.settle();
    assert_eq!(tab.faults(), Vec::<&serde_json::Value>::new());
    // The browser puts a tab or a line between a fact's name and the fact.
    tab.text("#details").replace("\n\n", "\n").replace('\t', " ")
}

#[track_caller]
pub fn has(text: &str, lines: &[&str]) {
    for line in lines {
        let (name, fact) = line.split_once(": ").unwrap_or(("", line));
        let is_there =
            text.contains(&format!("{name}\n{fact}\n")) || text.lines().any(|each| each == *line);
        assert!(is_there, "no {line:?} in\n{text}");
    }
}

/// Two tasks: the loop makes the one ready, and it the other.
fn two_tasks() -> Recorded {
    let entries = vec![
        entry(100 * US, POSTED, 0, 0),
        left_loop(100 * US, 90 * US),
        entry(130 * US, CREATED, 1, 0),
        waits(150 * US, 0, FD, 7),
        waits(180 * US, 1, CHANNEL, 0xab_cde8 >> 3),
        entry(2 * MS, READY, 0, 0),
        left_loop(2 * MS, 1800 * US),
        entry(2 * MS + 10 * US, READY, 1, 0),
        entry(2 * MS + 50 * US, YIELDED, 0, 0),
        entry(2 * MS + 60 * US, SLEEPS, 1, 0),
        entry(2 * MS + 70 * US, ENDED, 0, 0),
    ];
    recorded(entries, &[(1, "reader")])
}

fn who_made_whom_ready() {
    let mut tab = open("who", &[two_tasks()]);
    has(
        &details(&mut tab, "task=0&at=110us"),
        &["task 0", "runs", "Length: 50.0 µs", "It made ready: task 1 'reader'"],
    );
    has(
        &details(&mut tab, "task=reader&at=140us"),
        &[
            "is ready, and waits for its turn",
            "Length: 20.0 µs",
            "Begin: 0.000 130 000 s",
            "End: 0.000 150 000 s",
            "Made ready: created by task 0",
        ],
    );
    has(
        &details(&mut tab, "task=0&at=1ms"),
        &["waits for fd 7", "Length: 1.85 ms", "Ended by: the loop of scheduler 1"],
    );
    has(&details(&mut tab, "task=1&at=1ms"), &["waits for a channel …abcde8", "Ended by: task 0"]);
    has(
        &details(&mut tab, "task=1&at=2055us"),
        &["runs", "Length: 10.0 µs", "Afterwards: it sleeps", "Was ready for: 40.0 µs"],
    );
    has(
        &details(&mut tab, "task=0&at=2055us"),
        &["Made ready: it yielded, and could go on at once"],
    );
    has(&details(&mut tab, "task=0&at=2065us"), &["runs", "Afterwards: the task ends"]);
    // A link goes to the turn that did it.
    details(&mut tab, "task=1&at=1ms");
    tab.click_on("#details dd .link");
    has(&tab.text("#details").replace("\n\n", "\n"), &["task 0", "runs", "Length: 50.0 µs"]);
    assert_eq!(tab.value("location.hash"), "#task=0&at=2025000ns");
    // Whoever uses the keys is still in the details.
    assert_eq!(tab.value("document.activeElement.id"), "details");
    // The whole task.
    let text = details(&mut tab, "task=0");
    has(
        &text,
        &["task 0", "Created at 0.000 100 000 s; ended at 0.002 070 000 s; in scheduler 1."],
    );
    has(&text, &["waits for fd 94% 1.85 ms 1 × 1.85 ms", "runs 5.6% 110 µs 3 × 50.0 µs"]);
}

fn waits_in_words() {
    let mut entries = vec![];
    let turns = [(FD, 12), (JOIN, 3), (PARKED, 9), (5, 0x10 >> 3), (77, 1), (5, 0)];
    for (slot, (kind, which)) in turns.into_iter().enumerate() {
        entries.push(waits(slot as u64 * MS, slot as u64, kind, which));
    }
    entries.push(entry(10 * MS, SLEEPS, 6, 0));
    let mut tab = open("words", &[recorded(entries, &[(3, "three")])]);
    for (slot, expected) in [
        (0, "waits for fd 12"),
        (1, "waits for the end of task 3"),
        (2, "waits to be woken up"),
        (3, "waits for select …000010"),
        (4, "waits for something …000008"),
        (5, "waits for select"),
    ] {
        has(
            &details(&mut tab, &format!("task={slot}&at=9ms")),
            &[expected, "the recording ends there"],
        );
    }
    has(&details(&mut tab, "task=1&at=9ms"), &["Waits for: task 3 'three'"]);
}

fn used_again() {
    let mut entries = vec![entry(MS, CREATED, 5, 0), left_loop(MS, 0), entry(2 * MS, ENDED, 5, 0)];
    entries.extend(texts("the first of them, with its name cut off"));
    entries.extend([
        entry(3 * MS, CREATED, 5, 1),
        left_loop(3 * MS, 0),
        entry(4 * MS, ENDED, 5, 1),
    ]);
    entries.extend(texts("second"));
    entries.extend([
        entry(5 * MS, CREATED, 5, 2),
        left_loop(5 * MS, 0),
        entry(6 * MS, SLEEPS, 5, 2),
    ]);
    let mut tab = open("again", &[recorded(entries, &[(5, "third")])]);
    assert_eq!(tab.text("#row-count"), "3 tasks");
    let text = details(&mut tab, "task=5&at=1500us");
    has(&text, &["task 5 'the first of them, with its na'", "runs", "Afterwards: the task ends"]);
    let text = details(&mut tab, "task=5.1");
    has(&text, &["task 5 'second'"]);
    assert!(text.contains("Created at 0.003 000 000 s; ended at 0.004 000 000 s"), "{text}");
    has(&details(&mut tab, "task=second&at=3500us"), &["task 5 'second'", "runs"]);
    let text = details(&mut tab, "task=third");
    assert!(
        text.contains("alive at the end; in scheduler 1; 2 tasks had its number before."),
        "{text}"
    );
    // The address leads to the one of them.
    assert_eq!(tab.value("location.hash"), "#task=5.2");
}

fn begins_and_ends_anywhere() {
    let begin = 1000 * MS;
    let entries = vec![
        entry(begin, READY, 2, 7),
        entry(begin + MS, SLEEPS, 1, 3),
        waits(begin + 2 * MS, 2, FD, 4),
        entry(begin + 3 * MS, READY, 1, 3),
        entry(begin + 3 * MS, READY, 3, 0),
    ];
    let mut recorded = recorded(entries, &[(1, "one"), (2, "two"), (3, "three"), (4, "silent")]);
    recorded.lost = 123_456;
    let mut tab = open("anywhere", &[recorded]);
    let text = tab.text("#summary");
    assert_eq!(
        text,
        "3.00 ms of 1 scheduler: 4 tasks, 5 entries; 123\u{202f}456 before these were overwritten"
    );
    has(
        &details(&mut tab, "task=one&at=1000.5ms"),
        &[
            "runs",
            "Length: at least 1.00 ms",
            "Begin: before the first entry",
            "It made ready: task 2 'two'",
        ],
    );
    has(&details(&mut tab, "task=two&at=1001.5ms"), &["runs", "Length: 1.00 ms"]);
    has(&details(&mut tab, "task=three&at=1001ms"), &["waits or sleeps", "Length: 3.00 ms"]);
    has(
        &details(&mut tab, "task=one&at=1002ms"),
        &["sleeps", "Ended by: a turn that went on when the recording ended"],
    );
    has(&details(&mut tab, "task=silent&at=1001ms"), &["waits or sleeps", "Length: 3.00 ms"]);
    let text = details(&mut tab, "scheduler=1");
    assert!(text.contains("123\u{202f}456 entries of this scheduler before these"), "{text}");
}

fn goes_on() {
    let entries = vec![
        entry(MS, CREATED, 1, 0),
        entry(MS, CREATED, 2, 0),
        left_loop(MS, 0),
        entry(2 * MS, YIELDED, 1, 0),
        entry(2 * MS, SLEEPS, 2, 0),
        entry(5 * MS, RUNS, 1, 0),
    ];
    let mut tab = open("goes_on", &[recorded(entries, &[(1, "computes")])]);
    has(
        &details(&mut tab, "task=computes&at=4ms"),
        &["runs", "Length: 3.00 ms", "Afterwards: it goes on: the recording ends there"],
    );
    has(&details(&mut tab, "task=2&at=4ms"), &["sleeps", "the recording ends there"]);
    has(&details(&mut tab, "scheduler=1&at=4ms"), &["runs tasks", "Length: 4.00 ms"]);
}

fn the_loop() {
    let mut tab = open("loop", &[two_tasks()]);
    has(&details(&mut tab, "scheduler=1&at=50us"), &["sleeps in the kernel", "Length: 90.0 µs"]);
    let text = details(&mut tab, "scheduler=1&at=95us");
    has(&text, &["looks for events, timers and posts", "Length: 10.0 µs", "It made ready: task 0"]);
    let text = details(&mut tab, "scheduler=1&at=160us");
    has(&text, &["runs tasks", "Length: 80.0 µs"]);
    let text = details(&mut tab, "scheduler=1&at=2020us");
    has(&text, &["runs tasks", "Length: 70.0 µs", "Turns: 3 times", "task 0", "task 1 'reader'"]);
}

fn schedulers() {
    let mut other = two_tasks();
    other.name = "worker".to_owned();
    let mut tab = open("schedulers", &[two_tasks(), other]);
    let names = "[...document.querySelectorAll('#labels .row:not([hidden]) .name')].map(e => e.innerText).sort().join()";
    assert_eq!(tab.value(names), ",,reader,reader,scheduler 1,worker");
    has(&details(&mut tab, "scheduler=worker&task=1&at=1ms"), &["Ended by: task 0"]);
    assert_eq!(tab.value("location.hash"), "#scheduler=2&task=1&at=1095000ns");
    has(&details(&mut tab, "scheduler=2"), &["the loop of worker"]);
    tab.click_on("#labels .row.is-loop .fold");
    assert_eq!(tab.value(names), ",reader,scheduler 1,worker");
}
