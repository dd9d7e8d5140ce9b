//! Turns that are too long are reported while they last.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use majjen::logger::Level;
use majjen::{Builder, Scheduler, logger, task};

const LIMIT: Duration = Duration::from_millis(5);

/// One turn, until the scheduler has counted so many.
fn last_until(scheduler: &Scheduler, turns: u64) {
    while scheduler.metrics().long_turns < turns {}
}

#[test]
fn a_long_turn_is_reported_while_it_lasts() {
    let (lines, reports) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (taken, counted) = (lines.clone(), reports.clone());
    logger::set_callback(move |level, line: &str| {
        taken.lock().unwrap().push((level, line.to_owned()));
        if line.contains("\"slow one\" has kept") {
            counted.fetch_add(1, SeqCst);
        }
    })
    .unwrap();
    let scheduler = Builder::new().report_long_turns(LIMIT).build().unwrap();
    task::Builder::new()
        .name("slow one")
        .spawn_on(&scheduler, move || while reports.load(SeqCst) == 0 {})
        .unwrap();
    scheduler.run().unwrap();
    assert_eq!(scheduler.metrics().long_turns, 1);
    let lines = lines.lock().unwrap();
    let (level, line) = lines.iter().find(|(_, line)| line.contains("slow one")).unwrap();
    assert_eq!(*level, Level::Warn);
    assert!(line.contains("has kept its thread for") && line.contains("5 ms"), "{line}");
}

#[test]
fn a_task_can_switch_it() {
    let scheduler = Rc::new(Scheduler::new().unwrap());
    let inner = scheduler.clone();
    scheduler.spawn(move || {
        inner.report_long_turns(Some(LIMIT));
        last_until(&inner, 1);
        inner.report_long_turns(None);
        task::yield_now().unwrap();
        std::thread::sleep(10 * LIMIT);
    });
    scheduler.run().unwrap();
    assert_eq!(scheduler.metrics().long_turns, 1);
}

#[test]
fn the_signal_is_a_real_time_signal() {
    assert_eq!(majjen::set_long_turn_signal(Some(2)), Err(majjen::Error::InvalidArgument));
}
