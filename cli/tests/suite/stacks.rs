//! `majjen bt` and `majjen stacks`.

use serde_json::Value;

use crate::support::{Hanging, Link, build, majjen};

crate::support::trials! {
    a_parked_task_has_a_backtrace,
    a_stripped_program_has_addresses,
    a_task_with_an_exception_has_a_backtrace,
    a_task_that_blocks_its_thread_has_a_backtrace,
    of_a_task_that_computes_it_is_said_for_how_long,
    tasks_at_one_place_are_shown_together,
}

/// The functions of a backtrace, the innermost first.
fn functions(text: &str) -> Vec<&str> {
    let frames = text.lines().filter_map(|line| line.trim_start().strip_prefix('#'));
    frames.filter_map(|line| line.split_whitespace().nth(1)).collect()
}

fn bt(process: &Hanging, task: &str) -> String {
    majjen(&["bt", &process.pid(), task]).succeeded()
}

fn a_parked_task_has_a_backtrace() {
    let process = Hanging::start(&build("hang", Link::Shared), &["waits"]);
    let text = bt(&process, "a");
    assert!(text.starts_with("task 0 'a' waiting for "), "{text}");
    assert_eq!(functions(&text), ["mj_mutex_lock", "locks_what_b_has", "a"], "{text}");
    assert!(text.contains("locks_what_b_has at ") && text.contains("hang.c:"), "{text}");
    assert_eq!(functions(&bt(&process, "poll")), ["mj_poll", "in_poll"]);
    assert_eq!(functions(&bt(&process, "sleeps")), ["mj_task_sleep_s", "sleeps"]);
    // By its number and by its id.
    assert_eq!(functions(&bt(&process, "0")), functions(&text));
    assert_eq!(functions(&bt(&process, "0x9e3779b97f000000")), functions(&text));
    // With all of the library.
    let full = majjen(&["bt", &process.pid(), "a", "--full"]).succeeded();
    let all = functions(&full);
    assert!(all.len() > 6 && all[0] == "suspend_parked" && full.contains("task_entry"), "{full}");
    let json = majjen(&["bt", &process.pid(), "a", "--json"]).succeeded();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["frames"][1]["functions"][0]["name"], "locks_what_b_has");

    let text = majjen(&["bt", &process.pid(), "nobody"]).failed();
    assert!(text.contains("no living task has the number, the id or the name nobody"), "{text}");
}

fn a_stripped_program_has_addresses() {
    for link in [Link::StaticStripped, Link::Standalone] {
        let process = Hanging::start(&build("hang", link), &["waits"]);
        let text = bt(&process, "a");
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let file = format!("?? in hang-{link:?}+0x");
        assert!(lines.len() >= 4 && lines.iter().all(|line| line.contains(&file)), "{text}");
    }
}

fn a_task_with_an_exception_has_a_backtrace() {
    let process = Hanging::start(&build("throws", Link::Shared), &[]);
    let text = bt(&process, "throws");
    let names = functions(&text);
    assert!(names[0] == "mj_task_sleep_s" && names.ends_with(&["throws"]), "{text}");
    assert!(names.iter().any(|name| name.starts_with("Guard::~Guard")), "{text}");
    let text = bt(&process, "catches");
    let names = functions(&text);
    assert!(names[0] == "mj_task_sleep_s" && names.ends_with(&["catches"]), "{text}");
}

fn a_task_that_blocks_its_thread_has_a_backtrace() {
    let process = Hanging::start(&build("hang", Link::Shared), &["read"]);
    let text = bt(&process, "reads");
    assert!(text.contains(": blocks its thread in read() of pipe (fd "), "{text}");
    let names = functions(&text);
    assert!(names.ends_with(&["reads_it", "reads"]) && names[0].contains("read"), "{text}");
}

fn of_a_task_that_computes_it_is_said_for_how_long() {
    let process = Hanging::start(&build("hang", Link::Shared), &["loop"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let text = bt(&process, "loops");
    assert!(
        text.contains("  it computes, for ") && text.contains("mj_scheduler_report_long_turns"),
        "{text}"
    );
    let lasts = text.split("for ").last().unwrap();
    let is_likely =
        lasts.contains(" ms by now") || lasts.contains(" s by now") || lasts.contains("m ");
    assert!(is_likely, "{text}");
}

fn tasks_at_one_place_are_shown_together() {
    let process = Hanging::start(&build("hang", Link::Shared), &["leak"]);
    let text = majjen(&["stacks", &process.pid()]).succeeded();
    assert!(text.contains(": 1001 tasks at 2 places\n"), "{text}");
    let groups: Vec<&str> = text.split("\n\n").collect();
    assert!(groups[1].starts_with("1000 tasks: ") && groups[1].contains(" 994 more\n"), "{text}");
    assert!(
        groups[1].contains("    mj_read ") && groups[1].contains("    waits_for_ever at "),
        "{text}"
    );
    assert!(
        groups[2].starts_with("task 0 'listener' sleeping for ")
            && groups[2].contains("    leaks at "),
        "{text}"
    );
    let json = majjen(&["stacks", &process.pid(), "--json"]).succeeded();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["stacks"][0]["tasks"].as_array().unwrap().len(), 1000);
    // Of one name, too.
    let text = majjen(&["bt", &process.pid(), "session"]).failed();
    let hint = "session is 1000 tasks: write the number of one, or its id: 2, 3, ";
    assert!(text.contains(hint) && text.ends_with(", 9, ...\n"), "{text}");
}
