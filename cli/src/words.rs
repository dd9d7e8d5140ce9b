//! What is shown to people: texts of the program's, times, sizes, and what a task waits for.
//!
//! There may be a million tasks, so what is said of each is added to a text that there is, by functions whose names
//! begin with `push`.

use std::fmt::Write;

use crate::descriptors::Descriptors;
use crate::snapshot::{Index, Scheduler, Snapshot, State, Task};
use crate::wait::{Case, Wait};

/// A text of the program's, without what a terminal would obey, nor the end of a line or a quotation mark, which
/// would look like our own.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    push_printable(&mut text, bytes);
    text
}

/// See [`printable`].
pub fn push_printable(text: &mut String, bytes: &[u8]) {
    if let Some(plain) = plain(bytes) {
        text.push_str(plain);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\'' { text.push(c) } else { text.extend(c.escape_debug()) }
        }
        for byte in chunk.invalid() {
            add(text, format_args!("\\x{byte:02x}"));
        }
    }
}

/// How many characters [`printable`] makes of a text.
pub fn printable_width(bytes: &[u8]) -> usize {
    plain(bytes).map_or_else(|| printable(bytes).chars().count(), str::len)
}

/// A text as it is, if nothing in it is to be changed, which is what most are like.
fn plain(bytes: &[u8]) -> Option<&str> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(is_plain) { str::from_utf8(bytes).ok() } else { None }
}

/// Adds to a text, which cannot fail.
pub fn add(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

/// A time in at most seven characters.
pub fn duration(ns: u64) -> String {
    let mut text = String::new();
    push_duration(&mut text, ns);
    text
}

/// See [`duration`].
pub fn push_duration(text: &mut String, ns: u64) {
    const MS: u64 = 1_000_000;
    const S: u64 = 1000 * MS;
    let s = ns / S;
    match ns {
        0..1000 => add(text, format_args!("{ns} ns")),
        1000..MS => add(text, format_args!("{} us", ns / 1000)),
        MS..S => add(text, format_args!("{} ms", ns / MS)),
        S..60_000_000_000 => add(text, format_args!("{}.{} s", s, ns % S / (100 * MS))),
        _ if s < 3600 => add(text, format_args!("{}m {:02}s", s / 60, s % 60)),
        _ if s < 86_400 => add(text, format_args!("{}h {:02}m", s / 3600, s % 3600 / 60)),
        _ => add(text, format_args!("{}d {:02}h", s / 86_400, s % 86_400 / 3600)),
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
        let mut text = String::new();
        self.push_label(&mut text, scheduler, task);
        text
    }

    /// See [`Words::label`].
    pub fn push_label(&self, text: &mut String, scheduler: &Scheduler, task: &Task) {
        if self.snapshot.schedulers.len() > 1 {
            add(text, format_args!("{}:{}", scheduler.number, task.number));
        } else {
            add(text, format_args!("{}", task.number));
        }
    }

    /// A task by number and name.
    pub fn who(&self, scheduler: &Scheduler, task: &Task) -> String {
        let mut text = String::new();
        self.push_who(&mut text, scheduler, task);
        text
    }

    fn push_who(&self, text: &mut String, scheduler: &Scheduler, task: &Task) {
        text.push_str("task ");
        self.push_label(text, scheduler, task);
        if !task.name().is_empty() {
            text.push_str(" '");
            push_printable(text, task.name());
            text.push('\'');
        }
    }

    fn push_who_has_id(&self, text: &mut String, id: u64) {
        match self.index.id(id) {
            Some((scheduler, task)) => self.push_who(text, scheduler, task),
            None => add(text, format_args!("task {id:#x}, which is gone")),
        }
    }

    /// What a task does or waits for; nothing if its state says it all.
    pub fn push_doing(&self, text: &mut String, scheduler: &Scheduler, task: &Task) {
        let start = text.len();
        let sleeps = task.state == State::Sleeping;
        if sleeps {
            text.push_str("sleeps");
        } else {
            self.push_wait(text, &task.wait);
        }
        if let (Some(at_ns), true) = (task.wake_time_ns, task.waits()) {
            let left_ns = at_ns.checked_sub(self.now_ns);
            let goes_on = sleeps && (scheduler.has_own_clock || left_ns.is_some());
            if text.len() > start {
                text.push_str(if goes_on { " " } else { ", " });
            }
            match left_ns {
                _ if scheduler.has_own_clock => {
                    add(text, format_args!("until {at_ns} ns of the program's clock"));
                }
                Some(left_ns) => {
                    text.push_str(if sleeps { "" } else { "at most " });
                    push_duration(text, left_ns);
                    text.push_str(" more");
                }
                None => text.push_str("overdue"),
            }
        }
        if task.is_canceled && task.waits() {
            text.push_str(if text.len() > start { ", canceled" } else { "canceled" });
        }
    }

    fn push_wait(&self, text: &mut String, wait: &Wait) {
        match wait {
            Wait::None => {}
            Wait::Unknown => text.push_str("something that cannot be read"),
            Wait::Descriptor { fd, events } => self.push_descriptor(text, *fd, *events),
            Wait::Descriptors(descriptors) => {
                self.push_one_of(text, descriptors, |text, (fd, events)| {
                    self.push_descriptor(text, *fd, *events);
                });
            }
            Wait::Task(address) => match self.index.address(*address) {
                Some((scheduler, task)) => {
                    text.push_str("the end of ");
                    self.push_who(text, scheduler, task);
                }
                None => text.push_str("the end of a task"),
            },
            Wait::Mutex(mutex) if mutex.owner == 0 => {
                add(text, format_args!("mutex {:#x}", mutex.address));
            }
            Wait::Mutex(mutex) => {
                text.push_str("mutex held by ");
                self.push_who_has_id(text, mutex.owner);
                add(text, format_args!(" ({:#x})", mutex.address));
            }
            Wait::Condition { address, .. } => add(text, format_args!("condition {address:#x}")),
            Wait::Semaphore { address, wanted, available } => {
                add(text, format_args!("semaphore: wants {wanted} of {available} ({address:#x})"));
            }
            Wait::WaitGroup { address, left } => {
                add(text, format_args!("wait group: {left} not done ({address:#x})"));
            }
            Wait::Group { address, taken } => {
                let members = count(*taken as usize, "member");
                add(text, format_args!("group: {members} left ({address:#x})"));
            }
            Wait::PlaceInGroup { address, taken } => {
                add(text, format_args!("a place in a group: all {taken} taken ({address:#x})"));
            }
            Wait::Cases(cases) => {
                self.push_one_of(text, cases, |text, case| self.push_case(text, case));
            }
            Wait::Other(name) => text.push_str(match &**name {
                "job" => "a job of the pool",
                "signal" => "a signal",
                name => name,
            }),
        }
    }

    fn push_case(&self, text: &mut String, case: &Case) {
        match case {
            Case::Send(channel) => add(text, format_args!("send to channel {channel:#x}")),
            Case::Receive(channel) => add(text, format_args!("receive from channel {channel:#x}")),
            Case::SendOut(channel) => {
                add(text, format_args!("send to channel {channel:#x} between threads"));
            }
            Case::ReceiveFromOutside(channel) => {
                add(text, format_args!("receive from channel {channel:#x} between threads"));
            }
            Case::Descriptor { fd, events } => self.push_descriptor(text, *fd, *events),
            Case::Task(id) => {
                text.push_str("the end of ");
                self.push_who_has_id(text, *id);
            }
            Case::Deadline(at_ns) => match at_ns.checked_sub(self.now_ns) {
                Some(left_ns) => {
                    push_duration(text, left_ns);
                    text.push_str(" more");
                }
                None => text.push_str("the time"),
            },
            Case::Nothing => text.push_str("nothing"),
        }
    }

    fn push_one_of<T>(&self, text: &mut String, things: &[T], push: impl Fn(&mut String, &T)) {
        const MOST: usize = 4;
        if things.is_empty() {
            text.push_str("nothing");
        }
        for (place, thing) in things.iter().take(MOST).enumerate() {
            if place > 0 {
                text.push_str(" or ");
            }
            push(text, thing);
        }
        if things.len() > MOST {
            add(text, format_args!(" or {} more", things.len() - MOST));
        }
    }

    fn push_descriptor(&self, text: &mut String, fd: i32, events: u16) {
        let reads = events & (libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP) as u16 != 0;
        let writes = events & libc::POLLOUT as u16 != 0;
        self.descriptors.describe(fd).push_wait(text, fd, reads, writes);
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
