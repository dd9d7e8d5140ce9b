//! The server's output, against the guide's "Expected Output".

use std::time::{SystemTime, UNIX_EPOCH};

use super::OWN_TASKS;

/// The beginning of the line that the server logs for each connection.
pub const ACCEPTED: &str = "New connection accepted on fd ";

/// The contents of the server's output, once its form has been checked.
pub struct Report {
    pub time_stamps: Vec<String>,
    pub accepted_fds: Vec<u64>,
    pub cleanups: u64,
    pub metrics: Metrics,
}

/// The numbers of the metrics block, in order.
#[derive(Debug)]
pub struct Metrics {
    pub created: u64,
    pub exited: u64,
    pub current: u64,
    pub peak: u64,
    pub runs: u64,
    pub average_ns: u64,
    pub shortest_ns: u64,
    pub longest_ns: u64,
    pub loops: u64,
    pub waits: u64,
    pub io_events: u64,
    pub expirations: u64,
    pub cancellations: u64,
}

impl Report {
    /// Checks the whole output, line by line, against the guide's "Expected Output".
    pub fn parse(lines: &[String]) -> Report {
        let output = lines.join("\n");
        let first_of_block = lines
            .iter()
            .position(String::is_empty)
            .unwrap_or_else(|| panic!("no metrics block in the output:\n{output}"));
        let (log, rest) = lines.split_at(first_of_block);
        assert_eq!(rest.len(), Metrics::BLOCK.len() + 1, "the block and one more line:\n{output}");
        let (block, last) = rest.split_at(Metrics::BLOCK.len());

        let mut time_stamps = Vec::new();
        let mut texts = log.iter().chain(last).map(|line| {
            let (time_stamp, text) = info_line(line);
            time_stamps.push(time_stamp.to_owned());
            text
        });
        for expected in [
            "Scheduler created with epoll integration",
            "HTTP server listening on port 8080",
            "Starting scheduler...",
            "Scheduler starting with 2 runnable tasks, 0 sleeping",
        ] {
            assert_eq!(texts.next(), Some(expected), "in this order:\n{output}");
        }
        let mut accepted_fds = Vec::new();
        let mut cleanups = 0;
        let mut end = Vec::new();
        for text in texts {
            if let Some(fd) = text.strip_prefix(ACCEPTED) {
                accepted_fds.push(number(fd));
            } else if let Some(iteration) = text.strip_prefix("Cleanup task iteration ") {
                cleanups += 1;
                assert_eq!(number(iteration), cleanups, "iterations in order:\n{output}");
            } else {
                end.push(text);
                continue;
            }
            assert!(end.is_empty(), "nothing is served after the end:\n{output}");
        }
        // The loop logs a last line, then the program does.
        let metrics = Metrics::parse(block);
        let tasks = if metrics.current == 1 { "task" } else { "tasks" };
        let loop_stopped = format!("Scheduler stopped: {} {tasks} left", metrics.current);
        assert_eq!(end, [&loop_stopped, "Server stopped"], "at the end:\n{output}");

        Report { time_stamps, accepted_fds, cleanups, metrics }
    }

    /// Checks that the counters agree with each other and with what the clients did.
    pub fn assert_consistent(&self, accepted: u64, closed: u64) {
        let metrics = &self.metrics;
        assert_eq!(self.accepted_fds.len() as u64, accepted, "connections accepted");
        assert_eq!(metrics.created, accepted + OWN_TASKS, "{metrics:?}");
        assert_eq!(metrics.exited, closed, "{metrics:?}");
        assert_eq!(metrics.current, metrics.created - metrics.exited, "{metrics:?}");
        assert!((metrics.current..=metrics.created).contains(&metrics.peak), "{metrics:?}");
        assert!(metrics.runs >= metrics.created, "each task had a turn: {metrics:?}");
        assert!(metrics.shortest_ns <= metrics.average_ns, "{metrics:?}");
        assert!(metrics.average_ns <= metrics.longest_ns, "{metrics:?}");
        assert!(metrics.loops >= 1 && metrics.waits >= 1, "{metrics:?}");
        assert!(metrics.io_events >= 1, "{metrics:?}");
        // The first iteration of the cleanup task needs no timer.
        assert_eq!(metrics.expirations, self.cleanups - 1, "{metrics:?}");
    }
}

impl Metrics {
    /// The guide's block, with the empty lines around it. `#` stands for a number, and `@` for the
    /// preceding time in milliseconds.
    const BLOCK: [&str; 24] = [
        "",
        "=== Majjen Scheduler Metrics ===",
        "Tasks:",
        "  Created:       #",
        "  Exited:        #",
        "  Current:       #",
        "  Peak:          #",
        "",
        "Execution:",
        "  Total runs:    #",
        "  Avg time:      # ns (@ ms)",
        "  Min time:      # ns (@ ms)",
        "  Max time:      # ns (@ ms)",
        "",
        "Scheduler:",
        "  Loop cycles:   #",
        "  Wait calls:    #",
        "  I/O events:    #",
        "",
        "Timers:",
        "  Expirations:   #",
        "  Cancellations: #",
        "================================",
        "",
    ];

    fn parse(block: &[String]) -> Metrics {
        let mut values = Vec::new();
        for (line, form) in block.iter().zip(Metrics::BLOCK) {
            let Some((label, _)) = form.split_once('#') else {
                assert_eq!(line, form);
                continue;
            };
            let value = line.strip_prefix(label).map(|rest| rest.split(' ').next().unwrap_or(""));
            let value = number(value.unwrap_or_else(|| panic!("{line:?} begins with {label:?}")));
            let milliseconds = format!("{:.3}", value as f64 / 1e6);
            assert_eq!(*line, form.replace('#', &value.to_string()).replace('@', &milliseconds));
            values.push(value);
        }
        let mut values = values.into_iter();
        let mut next = || values.next().expect("a number for each field");
        // In the order of the block, which is the order in which the fields are evaluated.
        Metrics {
            created: next(),
            exited: next(),
            current: next(),
            peak: next(),
            runs: next(),
            average_ns: next(),
            shortest_ns: next(),
            longest_ns: next(),
            loops: next(),
            waits: next(),
            io_events: next(),
            expirations: next(),
            cancellations: next(),
        }
    }
}

/// Splits a line of the form `[YYYY-MM-DD HH:MM:SS] [INFO] text` into time stamp and text. The
/// server logs at level INFO, and nothing here causes a warning.
fn info_line(line: &str) -> (&str, &str) {
    let parts = line.strip_prefix('[').and_then(|rest| rest.split_once("] [INFO] "));
    let (time_stamp, text) = parts.unwrap_or_else(|| panic!("not an INFO line: {line:?}"));
    let form = "dddd-dd-dd dd:dd:dd";
    let fits = time_stamp.len() == form.len()
        && time_stamp.chars().zip(form.chars()).all(|(character, form)| match form {
            'd' => character.is_ascii_digit(),
            other => character == other,
        });
    assert!(fits, "not a time stamp: {line:?}");
    (time_stamp, text)
}

/// A number exactly as printf("%lu") writes it.
pub fn number(digits: &str) -> u64 {
    let value: u64 = digits.parse().unwrap_or_else(|_| panic!("not a number: {digits:?}"));
    assert_eq!(value.to_string(), digits);
    value
}

/// The server's time zone: not a whole number of hours, so that UTC is not taken for local time.
pub const TIME_ZONE: &str = "TST-05:30";
const TIME_ZONE_OFFSET_SECONDS: u64 = (5 * 60 + 30) * 60;

/// The current time, as the server should write it.
pub fn time_stamp() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let seconds = (since_epoch.as_secs() + TIME_ZONE_OFFSET_SECONDS) as libc::time_t;
    // SAFETY: all of a `tm` may be zero, and gmtime_r() gets pointers to two live local values.
    let time = unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        assert!(!libc::gmtime_r(&raw const seconds, &raw mut time).is_null());
        time
    };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    )
}
