//! The logger's settings: who receives the lines, and what stands before them.
//!
//! A line must meet settings that belong together, such as a callback and its data, while another
//! thread may be changing them. So they are kept as records that never change and are never freed,
//! and the current one is a pointer: lines take no lock. Settings that were set before are found
//! again, so a program that switches to and fro does not leak.
//!
//! Threads that change settings take turns. Lines do not wait for them.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{fn_addr_eq, from_ref, null};
use std::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::engine::context::sanitizer;
use crate::engine::sys::{self, Error, Result};
use crate::engine::threads::{ForkSafeMutex, ForkSafeMutexGuard};

/// Receives lines: level, text, user data.
pub type Callback = unsafe extern "C" fn(u32, *const c_char, *mut c_void);

/// Who receives the lines.
#[derive(Clone, Copy)]
pub enum Receiver {
    Streams,
    Callback { function: Callback, user_data: *mut c_void },
    File { path: &'static CStr },
    Syslog { ident: &'static CStr },
}

impl PartialEq for Receiver {
    fn eq(&self, other: &Receiver) -> bool {
        match (*self, *other) {
            (Receiver::Streams, Receiver::Streams) => true,
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

/// How often the settings have changed.
static VERSION: AtomicU32 = AtomicU32::new(0);

/// A number that is another one after a change. Settings that are read after it are those of this
/// number, or later ones.
pub fn version() -> u32 {
    VERSION.load(Acquire)
}

/// The settings in force. What a thread did before it set them is seen from here on: a callback may
/// look at its data.
pub fn current() -> &'static Settings {
    // SAFETY: points to a record, and records are never freed.
    let settings = unsafe { &(*CURRENT.load(Acquire)).settings };
    sanitizer::acquire(&CURRENT);
    settings
}

/// While it lives, no other thread changes settings. Nothing of the program's is called meanwhile,
/// nor anything logged.
pub struct SettingsLock(#[expect(dead_code, reason = "held")] ForkSafeMutexGuard<'static, ()>);

impl SettingsLock {
    pub fn lock() -> SettingsLock {
        static LOCK: ForkSafeMutex<()> = ForkSafeMutex::new(());
        SettingsLock(LOCK.lock())
    }

    /// The record of these settings, made if there is none.
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

    /// The record of the settings in force with another receiver, whose text is that of some record,
    /// or else a copy that is kept for ever.
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

    /// Puts settings in force. Returns the receivers before and from now on.
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
