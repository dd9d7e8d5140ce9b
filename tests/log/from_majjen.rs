//! The feature `log`: Majjen's lines go to the `log` crate's logger, here one that stores them. A
//! process has only one logger, so this is not in `to_majjen.rs`.

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use majjen::Scheduler;
use majjen::logger::{self, Level};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Keeps;

impl Log for Keeps {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {} {}", record.level(), record.target(), record.args());
        LINES.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

#[test]
fn lines_go_from_majjen_to_the_facade() {
    log::set_boxed_logger(Box::new(Keeps)).unwrap();
    log::set_max_level(LevelFilter::Info);
    logger::set_level(Level::Debug);
    logger::forward().unwrap();
    let scheduler = Scheduler::new().unwrap();
    scheduler.spawn(|| {
        logger::log(Level::Warn, format_args!("from {}", "a task"));
        logger::log(Level::Debug, format_args!("below the crate's level"));
        logger::log(Level::Fatal, format_args!("last"));
    });
    scheduler.run().unwrap();
    logger::to_streams().unwrap();
    let lines = LINES.lock().unwrap();
    let own: Vec<_> = lines.iter().filter(|line| !line.contains("Scheduler ")).collect();
    assert_eq!(own, ["WARN majjen from a task", "ERROR majjen last"]);
    assert_eq!(lines.len(), 4, "with the scheduler's start and end: {lines:?}");
}
