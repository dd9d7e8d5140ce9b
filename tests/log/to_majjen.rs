//! The feature `log`: lines of the `log` crate go to Majjen's logger.

use std::sync::Mutex;

use majjen::logger::{self, Level};
use majjen::{Scheduler, task};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn take_lines() -> Vec<String> {
    std::mem::take(&mut LINES.lock().unwrap())
}

#[test]
fn lines_go_from_the_facade_to_majjen() {
    logger::set_callback(|level, text| LINES.lock().unwrap().push(format!("{level:?} {text}")))
        .unwrap();
    let installed = logger::install();
    logger::set_level(Level::Warn);
    let scheduler = Scheduler::new().unwrap();
    scheduler.spawn(|| {
        log::warn!(target: "library", "from {}", "a task");
        task::yield_now().unwrap();
        log::info!(target: "library", "below the level");
        log::error!(target: "library", "last");
    });
    scheduler.run().unwrap();
    installed.unwrap();
    assert_eq!(take_lines(), ["Warn library: from a task", "Error library: last"]);
    assert!(log::log_enabled!(log::Level::Warn) && !log::log_enabled!(log::Level::Info));
    assert!(logger::install().is_err(), "the crate has a logger already");
    logger::to_streams().unwrap();
}
