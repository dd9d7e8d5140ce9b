//! Snapshots of tasks that come and go as fast as they can: nothing wrong is said of any.

use serde_json::Value;

use crate::support::{Hanging, Link, build, majjen};

crate::support::trials! {
    no_task_is_wrong_in_a_storm,
}

fn no_task_is_wrong_in_a_storm() {
    let snapshots = if std::env::var_os("MAJJEN_TORTURE").is_some() { 1000 } else { 50 };
    let mut process = Hanging::start(&build("hang", Link::Shared), &["storm"]);
    let (mut tasks_seen, mut waits_seen) = (0, 0);
    for _ in 0..snapshots {
        let text = majjen(&["ps", &process.pid(), "--json", "--samples", "0"]).succeeded();
        let all: Value = serde_json::from_str(&text).unwrap();
        for scheduler in all["schedulers"].as_array().unwrap() {
            let mut numbers = std::collections::HashSet::new();
            for task in scheduler["tasks"].as_array().unwrap() {
                let (id, name) = (task["id"].as_str().unwrap(), task["name"].as_str().unwrap());
                let is_right = name.is_empty()
                    || name == "tells"
                    || name.strip_prefix('t') == id.strip_prefix("0x");
                assert!(is_right, "{task}");
                assert!(numbers.insert(task["number"].as_u64().unwrap()), "twice: {task}");
                let state = task["state"].as_str().unwrap();
                if state == "waiting" {
                    let number = |name: &str| task["waits_for"][name].as_u64().unwrap_or(0);
                    assert_eq!(number("wanted"), number("available") + 1, "{task}");
                    waits_seen += 1;
                } else {
                    let states = ["running", "ready", "busy", "sleeping", "parked"];
                    assert!(states.contains(&state) && task["waits_for"].is_null(), "{task}");
                }
                tasks_seen += 1;
            }
        }
        // Those that stay are there each time.
        let first = all["schedulers"][0]["tasks"].as_array().unwrap();
        let sleeping = first.iter().filter(|task| task["state"] == "sleeping").count();
        assert_eq!(sleeping, 10, "{text}");
    }
    // How many of the others are there is a matter of the moment.
    assert!(tasks_seen > snapshots * 10 && waits_seen > 0 && !process.has_ended());
}
