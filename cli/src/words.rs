//! What is shown to people: texts of the program's, times, sizes, and what a task waits for.

use crate::descriptors::Descriptors;
use crate::snapshot::{Index, Scheduler, Snapshot, State, Task};
use crate::wait::{Case, Wait};

/// A text of the program's, without what a terminal would obey, nor the end of a line or a quotation mark, which
/// would look like our own.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\'' { text.push(c) } else { text.extend(c.escape_debug()) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A time in at most seven characters.
pub fn duration(ns: u64) -> String {
    const MS: u64 = 1_000_000;
    const S: u64 = 1000 * MS;
    let s = ns / S;
    match ns {
        0..1000 => format!("{ns} ns"),
        1000..MS => format!("{} us", ns / 1000),
        MS..S => format!("{} ms", ns / MS),
        S..60_000_000_000 => format!("{}.{} s", s, ns % S / (100 * MS)),
        _ if s < 3600 => format!("{}m {:02}s", s / 60, s % 60),
        _ if s < 86_400 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A number of bytes.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes}"),
        10_000..10_240_000 => format!("{}K", bytes / 1024),
        _ => format!("{}M", bytes / 1024 / 1024),
    }
}

/// `1 task`, `2 tasks`.
pub fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Says what tasks wait for.
pub struct Words<'s> {
    pub snapshot: &'s Snapshot,
    pub index: &'s Index<'s>,
    pub descriptors: &'s dyn Descriptors,
    /// CLOCK_MONOTONIC of the process.
    pub now_ns: u64,
}

impl Words<'_> {
    /// A task by its number, and its scheduler's if there are several.
    pub fn label(&self, scheduler: &Scheduler, task: &Task) -> String {
        if self.snapshot.schedulers.len() > 1 {
            format!("{}:{}", scheduler.number, task.number)
        } else {
            task.number.to_string()
        }
    }

    /// A task by number and name.
    pub fn who(&self, scheduler: &Scheduler, task: &Task) -> String {
        let label = self.label(scheduler, task);
        match task.name() {
            [] => format!("task {label}"),
            name => format!("task {label} '{}'", printable(name)),
        }
    }

    pub fn who_has_id(&self, id: u64) -> String {
        match self.index.id(id) {
            Some((scheduler, task)) => self.who(scheduler, task),
            None => format!("task {id:#x}, which is gone"),
        }
    }

    /// What a task does or waits for; empty if its state says it all.
    pub fn doing(&self, scheduler: &Scheduler, task: &Task) -> String {
        let mut text = self.wait(&task.wait);
        if task.state == State::Sleeping {
            text = "sleeps".to_owned();
        }
        if let (Some(at_ns), true) = (task.wake_time_ns, task.waits()) {
            let left = match at_ns.checked_sub(self.now_ns) {
                _ if scheduler.has_own_clock => {
                    format!("until {at_ns} ns of the program's clock")
                }
                Some(left_ns) if task.state == State::Sleeping => {
                    format!("{} more", duration(left_ns))
                }
                Some(left_ns) => format!("at most {} more", duration(left_ns)),
                None => "overdue".to_owned(),
            };
            text = match (text.is_empty(), task.state) {
                (true, _) => left,
                (_, State::Sleeping) if left != "overdue" => format!("{text} {left}"),
                _ => format!("{text}, {left}"),
            };
        }
        if task.is_canceled && task.waits() {
            let canceled = if text.is_empty() { "canceled" } else { ", canceled" };
            text.push_str(canceled);
        }
        text
    }

    fn wait(&self, wait: &Wait) -> String {
        match wait {
            Wait::None => String::new(),
            Wait::Unknown => "something that cannot be read".to_owned(),
            Wait::Descriptor { fd, events } => self.descriptor(*fd, *events),
            Wait::Descriptors(descriptors) => self.one_of(
                descriptors.iter().map(|(fd, events)| self.descriptor(*fd, *events)).collect(),
            ),
            Wait::Task(address) => match self.index.address(*address) {
                Some((scheduler, task)) => format!("the end of {}", self.who(scheduler, task)),
                None => "the end of a task".to_owned(),
            },
            Wait::Mutex(mutex) if mutex.owner == 0 => format!("mutex {:#x}", mutex.address),
            Wait::Mutex(mutex) => {
                format!("mutex held by {} ({:#x})", self.who_has_id(mutex.owner), mutex.address)
            }
            Wait::Condition { address, .. } => format!("condition {address:#x}"),
            Wait::Semaphore { address, wanted, available } => {
                format!("semaphore: wants {wanted} of {available} ({address:#x})")
            }
            Wait::WaitGroup { address, left } => {
                format!("wait group: {left} not done ({address:#x})")
            }
            Wait::Group { address, taken } => {
                format!("group: {} left ({address:#x})", count(*taken as usize, "member"))
            }
            Wait::PlaceInGroup { address, taken } => {
                format!("a place in a group: all {taken} taken ({address:#x})")
            }
            Wait::Cases(cases) => self.one_of(cases.iter().map(|case| self.case(case)).collect()),
            Wait::Other(name) => match &**name {
                "job" => "a job of the pool".to_owned(),
                "signal" => "a signal".to_owned(),
                name => name.to_owned(),
            },
        }
    }

    fn case(&self, case: &Case) -> String {
        match case {
            Case::Send(channel) => format!("send to channel {channel:#x}"),
            Case::Receive(channel) => format!("receive from channel {channel:#x}"),
            Case::SendOut(channel) => format!("send to channel {channel:#x} between threads"),
            Case::ReceiveFromOutside(channel) => {
                format!("receive from channel {channel:#x} between threads")
            }
            Case::Descriptor { fd, events } => self.descriptor(*fd, *events),
            Case::Task(id) => format!("the end of {}", self.who_has_id(*id)),
            Case::Deadline(at_ns) => match at_ns.checked_sub(self.now_ns) {
                Some(left_ns) => format!("{} more", duration(left_ns)),
                None => "the time".to_owned(),
            },
            Case::Nothing => "nothing".to_owned(),
        }
    }

    fn one_of(&self, mut things: Vec<String>) -> String {
        const MOST: usize = 4;
        match things.len() {
            0 => "nothing".to_owned(),
            1 => things.remove(0),
            all => {
                let left_out = all.saturating_sub(MOST);
                things.truncate(MOST);
                let more =
                    if left_out > 0 { format!(" or {left_out} more") } else { String::new() };
                format!("{}{more}", things.join(" or "))
            }
        }
    }

    fn descriptor(&self, fd: i32, events: u16) -> String {
        let what = self.descriptors.describe(fd);
        let reads = events & (libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP) as u16 != 0;
        let writes = events & libc::POLLOUT as u16 != 0;
        what.wait(fd, reads, writes)
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, duration, printable};

    #[test]
    fn texts_are_harmless() {
        assert_eq!(printable("a b'é".as_bytes()), "a b'é");
        assert_eq!(printable(b"\x1b[2J\n\"\\\xff"), "\\u{1b}[2J\\n\\\"\\\\\\xff");
        assert_eq!(printable("\u{202e}x".as_bytes()), "\\u{202e}x");
    }

    #[test]
    fn times_and_sizes_are_short() {
        let times = [0, 999, 1500, 999_999, 12_000_000, 1_250_000_000, 61_000_000_000];
        let shown: Vec<String> = times.into_iter().map(duration).collect();
        assert_eq!(shown, ["0 ns", "999 ns", "1 us", "999 us", "12 ms", "1.2 s", "1m 01s"]);
        assert_eq!(duration(7_500_000_000_000), "2h 05m");
        assert_eq!(duration(90_000 * 1_000_000_000), "1d 01h");
        assert!(duration(u64::MAX).len() <= 12);
        assert_eq!([bytes(912), bytes(20_480), bytes(64 << 20)], ["912", "20K", "64M"]);
    }
}
