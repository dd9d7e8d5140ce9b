//! The logger's settings: the receiver of lines, and their prefix.
//!
//! A line needs consistent settings, such as a callback and its data, while another thread may
//! change them. So settings are immutable records that are never freed, and the current one is an
//! atomic pointer: lines take no lock. Equal settings reuse their record, so a program that
//! switches back and forth does not leak.
//!
//! Threads that change settings hold a lock, which lines do not wait for.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{fn_addr_eq, from_ref, null};
use std::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::engine::context::sanitizer;
use crate::engine::sys::{self, Error, Result};
use crate::engine::threads::{ForkSafeMutex, ForkSafeMutexGuard};

/// The program's callback: level, text, user data.
pub type Callback = unsafe extern "C-unwind" fn(u32, *const c_char, *mut c_void);

/// The receiver of lines.
#[derive(Clone, Copy)]
pub enum Receiver {
    Streams,
    /// All lines to stderr.
    Stderr,
    Callback {
        function: Callback,
        user_data: *mut c_void,
    },
    File {
        path: &'static CStr,
    },
    Syslog {
        ident: &'static CStr,
    },
}

impl PartialEq for Receiver {
    fn eq(&self, other: &Receiver) -> bool {
        match (*self, *other) {
            (Receiver::Streams, Receiver::Streams) | (Receiver::Stderr, Receiver::Stderr) => true,
            (
                Receiver::Callback { function, user_data },
                Receiver::Callback { function: other, user_data: other_data },
            ) => fn_addr_eq(function, other) && user_data == other_data,
            (Receiver::File { path }, Receiver::File { path: other }) => path == other,
            (Receiver::Syslog { ident }, Receiver::Syslog { ident: other }) => ident == other,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub struct Settings {
    pub receiver: Receiver,
    pub include_time: bool,
    pub include_level: bool,
}

pub struct Record {
    settings: Settings,
    next: *const Record,
}

// SAFETY: a record does not change. `user_data` is only handed to the callback, which the program
// says may be called by any thread.
unsafe impl Sync for Record {}

static DEFAULT: Record = Record {
    settings: Settings { receiver: Receiver::Streams, include_time: true, include_level: true },
    next: null(),
};

/// The settings in force; never null.
static CURRENT: AtomicPtr<Record> = AtomicPtr::new((&raw const DEFAULT).cast_mut());

/// All records, linked by `next`.
static RECORDS: AtomicPtr<Record> = AtomicPtr::new((&raw const DEFAULT).cast_mut());

/// The settings' version.
static VERSION: AtomicU32 = AtomicU32::new(0);

/// The settings' version. Load it before the settings: they are at least as new.
pub fn version() -> u32 {
    VERSION.load(Acquire)
}

/// The settings in force. Acquires the writes of the thread that set them: a callback may read its
/// data.
pub fn current() -> &'static Settings {
    // SAFETY: points to a record, and records are never freed.
    let settings = unsafe { &(*CURRENT.load(Acquire)).settings };
    sanitizer::acquire(&CURRENT);
    settings
}

/// The lock of the settings' writers. The holder must not call the program, nor log.
pub struct SettingsLock(#[expect(dead_code, reason = "held")] ForkSafeMutexGuard<'static, ()>);

impl SettingsLock {
    pub fn lock() -> SettingsLock {
        static LOCK: ForkSafeMutex<()> = ForkSafeMutex::new(());
        SettingsLock(LOCK.lock())
    }

    /// The record of these settings, created if there is none.
    pub fn record(&self, settings: Settings) -> Result<&'static Record> {
        if let Some(record) = records().find(|record| record.settings == settings) {
            return Ok(record);
        }
        let record = sys::allocate::<Record>(1);
        if record.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory for a record, which no other thread knows until the store.
        unsafe { record.write(Record { settings, next: RECORDS.load(Relaxed) }) };
        RECORDS.store(record, Release);
        // SAFETY: written just now, and never changed or freed.
        Ok(unsafe { &*record })
    }

    /// The record of the current settings with another receiver. Its text is shared with an earlier
    /// record, or copied and never freed.
    pub fn record_of_text(
        &self,
        text: &CStr,
        receiver: fn(&'static CStr) -> Receiver,
    ) -> Result<&'static Record> {
        let known = records().find_map(|record| match record.settings.receiver {
            Receiver::File { path: known } | Receiver::Syslog { ident: known } => {
                (known == text).then_some(known)
            }
            _ => None,
        });
        let kept = known.map_or_else(|| sys::copy_text(text), Ok)?;
        let record = self.record(Settings { receiver: receiver(kept), ..*current() });
        if record.is_err() && known.is_none() {
            // SAFETY: copied just now, and no record has it.
            unsafe { sys::free(kept.as_ptr().cast_mut().cast()) };
        }
        record
    }

    /// Puts settings in force. Returns the previous and the new receiver.
    pub fn set(&self, record: &'static Record) -> (Receiver, Receiver) {
        let before = current().receiver;
        sanitizer::release(&CURRENT);
        CURRENT.store(from_ref(record).cast_mut(), Release);
        VERSION.fetch_add(1, Release);
        (before, record.settings.receiver)
    }
}

fn records() -> impl Iterator<Item = &'static Record> {
    let mut next = RECORDS.load(Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: null, or a record, and records are never freed.
        let record = unsafe { next.as_ref() }?;
        next = record.next;
        Some(record)
    })
}
