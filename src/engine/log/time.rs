//! The local time of a line, without a lock that could be held for ever in the child of a fork().
//!
//! `localtime_r` takes a lock, and a thread that holds it while another one forks leaves it locked
//! in the child. So only one thread at a time calls it, once a second, and only for the offset from
//! UTC; the rest is arithmetic. A child that was forked during that call keeps the last known
//! offset.

use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use crate::engine::sys;

/// A broken-down local time.
#[derive(Debug, PartialEq, Eq)]
pub struct LocalTime {
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

impl LocalTime {
    pub fn now() -> LocalTime {
        LocalTime::at(sys::unix_time_s())
    }

    fn at(unix_time_s: i64) -> LocalTime {
        LocalTime::from_seconds(unix_time_s.saturating_add(utc_offset_s(unix_time_s)))
    }

    /// From the seconds since the beginning of 1970, on the same clock. Times before that, and
    /// after the year 9999, become the nearest in between: a clock that shows them is wrong anyway.
    fn from_seconds(seconds: i64) -> LocalTime {
        const LAST: i64 = 253_402_300_799;
        let seconds = seconds.clamp(0, LAST) as u64;
        let (days, second_of_day) = ((seconds / 86400) as u32, (seconds % 86400) as u32);

        // Counted from 1 March of the year 0: leap days are the last of their year then, and 400
        // years are always 146097 days.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // 0 for March. Any five months from March or August on are 153 days.
        let month = (5 * day + 2) / 153;
        LocalTime {
            year: era * 400 + year + u32::from(month >= 10),
            month: if month < 10 { month + 3 } else { month - 9 },
            day: day - (153 * month + 2) / 5 + 1,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }

    /// `[YYYY-MM-DD HH:MM:SS] `, as lines begin.
    fn stamp(&self) -> Stamp {
        let mut stamp = *b"[0000-00-00 00:00:00] ";
        for (place, number) in [
            (1, self.year / 100),
            (3, self.year % 100),
            (6, self.month),
            (9, self.day),
            (12, self.hour),
            (15, self.minute),
            (18, self.second),
        ] {
            stamp[place] += (number / 10) as u8;
            stamp[place + 1] += (number % 10) as u8;
        }
        stamp
    }

    /// `Mmm dd HH:MM:SS`, as syslog has it.
    pub fn month_and_time(&self) -> [u8; 15] {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let mut text = *b"Mmm dd HH:MM:SS";
        let month = 3 * (self.month as usize - 1);
        text[..3].copy_from_slice(&MONTHS[month..month + 3]);
        text[4..].copy_from_slice(&self.stamp()[9..20]);
        if text[4] == b'0' {
            text[4] = b' ';
        }
        text
    }
}

/// A date and a time in brackets, and a space.
type Stamp = [u8; 22];

/// `[YYYY-MM-DD HH:MM:SS] ` of this moment. Cached for a second, which saves 180 instructions a
/// line.
#[inline]
pub fn stamp_of_now() -> Stamp {
    let now = sys::unix_time_s();
    LATEST.stamp_of(now).unwrap_or_else(|| stamp_of(now))
}

/// Has the C library read the file of the time zone, which it does once. That opens a stream and closes it, under the
/// lock of the list of streams, which fflush(NULL) has while it waits for each stream: so it must not be done by who has
/// locked one.
#[inline]
pub fn read_time_zone() {
    if LATEST.second.load(Relaxed) == NEVER {
        let _ = stamp_of_now();
    }
}

/// Not inlined, because the compiler would then take the stamps of both ways apart into bytes.
#[cold]
#[inline(never)]
fn stamp_of(unix_time_s: i64) -> Stamp {
    LocalTime::at(unix_time_s).stamp()
}

/// The stamp of the latest second. One thread at a time writes it, and any number read: a reader
/// that has found the same second before and after has read all of its stamp.
struct Latest {
    second: AtomicI64,
    words: [AtomicU64; 3],
}

static LATEST: Latest =
    Latest { second: AtomicI64::new(NEVER), words: [const { AtomicU64::new(0) }; 3] };

impl Latest {
    fn stamp_of(&self, second: i64) -> Option<Stamp> {
        if self.second.load(Acquire) != second {
            return None;
        }
        let mut bytes = [0; 24];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(&self.words) {
            bytes.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        fence(Acquire);
        let still = self.second.load(Relaxed) == second;
        bytes.first_chunk().copied().filter(|_| still)
    }

    fn set(&self, second: i64, stamp: Stamp) {
        self.second.store(NEVER, Relaxed);
        fence(Release);
        let mut bytes = [0; 24];
        bytes[..stamp.len()].copy_from_slice(&stamp);
        for (word, bytes) in self.words.iter().zip(bytes.as_chunks().0) {
            word.store(u64::from_ne_bytes(*bytes), Relaxed);
        }
        self.second.store(second, Release);
    }
}

const NEVER: i64 = i64::MIN;

/// The offset of the local time from UTC, renewed once a second.
fn utc_offset_s(now: i64) -> i64 {
    static OFFSET: AtomicI64 = AtomicI64::new(0);
    static ASKED_AT: AtomicI64 = AtomicI64::new(NEVER);
    /// Set while a thread calls localtime_r. In a child that was forked meanwhile it stays set, so
    /// nobody waits for it.
    static ASKING: AtomicBool = AtomicBool::new(false);

    if ASKED_AT.load(Acquire) != now {
        if !ASKING.swap(true, Acquire) {
            let offset = sys::utc_offset_s(now);
            OFFSET.store(offset, Relaxed);
            ASKED_AT.store(now, Release);
            LATEST.set(now, LocalTime::from_seconds(now.saturating_add(offset)).stamp());
            ASKING.store(false, Release);
        } else {
            // Only the process's first lines have no offset yet: they wait up to 1 ms.
            let mut patience = 100;
            while ASKED_AT.load(Acquire) == NEVER && patience > 0 {
                sys::sleep_ns(10_000);
                patience -= 1;
            }
        }
    }
    OFFSET.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: i64) -> String {
        String::from_utf8(LocalTime::from_seconds(seconds).stamp().to_vec()).unwrap()
    }

    #[test]
    fn well_known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (68_169_599, "1972-02-28 23:59:59"),
            (68_169_600, "1972-02-29 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_000_000_000, "2001-09-09 01:46:40"),
            (2_147_483_648, "2038-01-19 03:14:08"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (253_402_300_799, "9999-12-31 23:59:59"),
            (i64::MAX, "9999-12-31 23:59:59"),
            (i64::MIN, "1970-01-01 00:00:00"),
        ] {
            assert_eq!(stamp(seconds), format!("[{text}] "), "{seconds}");
        }
    }

    /// Walks through all days by the rules of the calendar.
    #[test]
    fn every_day_until_the_year_9999() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0.. {
            let time = LocalTime::from_seconds(days * 86400 + 3599);
            let expected = LocalTime { year, month, day, hour: 0, minute: 59, second: 59 };
            assert_eq!(time, expected);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
            if year > 9999 {
                return;
            }
        }
    }

    #[test]
    fn syslog_pads_the_day_with_a_space() {
        assert_eq!(&LocalTime::from_seconds(0).month_and_time(), b"Jan  1 00:00:00");
        assert_eq!(&LocalTime::from_seconds(1_000_000_000).month_and_time(), b"Sep  9 01:46:40");
        assert_eq!(&LocalTime::from_seconds(946_684_799).month_and_time(), b"Dec 31 23:59:59");
    }
}
