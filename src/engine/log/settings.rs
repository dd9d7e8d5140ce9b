//! The logger's settings: the receiver of lines, and their prefix.
//!
//! A line needs consistent settings, such as a callback and its data, while another thread may change
//! them. Lines take no lock, and wait for nobody: there are two slots, of which the version's lowest
//! bit says which one is in force. Whoever changes settings fills in the other slot, and then counts
//! the version up. A line that finds the version as it was before it read the slot has read what
//! belongs together, since the slot is not written again before the version has changed. If not, it
//! reads again; a thread that stops for ever in the middle of a change is in nobody's way.
//!
//! So changes take no memory, however many there are. Threads that change settings hold a lock.

use std::ffi::{CStr, c_char, c_void};
use std::mem::transmute;
use std::ptr::{fn_addr_eq, null_mut};
use std::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use crate::engine::context::sanitizer;
use crate::engine::sys::{Error, Result};
use crate::engine::threads::{Lock, LockGuard};

/// The program's callback: level, text, user data.
pub type Callback = unsafe extern "C-unwind" fn(u32, *const c_char, *mut c_void);

/// The receiver of lines. The path of a file, and the ident of the system log, are the settings' text.
#[derive(Clone, Copy)]
pub enum Receiver {
    Streams,
    Callback { function: Callback, user_data: *mut c_void },
    File,
    Syslog,
}

impl PartialEq for Receiver {
    fn eq(&self, other: &Receiver) -> bool {
        match (*self, *other) {
            (
                Receiver::Callback { function, user_data },
                Receiver::Callback { function: other, user_data: other_data },
            ) => fn_addr_eq(function, other) && user_data == other_data,
            (Receiver::Streams, Receiver::Streams)
            | (Receiver::File, Receiver::File)
            | (Receiver::Syslog, Receiver::Syslog) => true,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub struct Settings {
    pub receiver: Receiver,
    /// Whether lines for the streams, among them those that a callback logs itself, all go to stderr.
    pub stderr_only: bool,
    pub include_time: bool,
    pub include_level: bool,
}

/// Room for a text and its NUL: for the longest path.
const TEXT_BYTES: usize = libc::PATH_MAX as usize;
const WORD: usize = size_of::<u64>();

struct Slot {
    /// The kind of the receiver, a bit for stderr only, and one for each part of the prefix that is
    /// left out.
    kind: AtomicU32,
    function: AtomicPtr<c_void>,
    user_data: AtomicPtr<c_void>,
    /// NUL-terminated. As words, to be copied by few instructions.
    text: [AtomicU64; TEXT_BYTES / WORD],
}

const STREAMS: u32 = 0;
const CALLBACK: u32 = 1;
const FILE: u32 = 2;
const SYSLOG: u32 = 3;
const KIND: u32 = 3;
const STDERR_ONLY: u32 = 4;
const WITHOUT_TIME: u32 = 8;
const WITHOUT_LEVEL: u32 = 16;

impl Slot {
    const fn new() -> Slot {
        Slot {
            kind: AtomicU32::new(STREAMS),
            function: AtomicPtr::new(null_mut()),
            user_data: AtomicPtr::new(null_mut()),
            text: [const { AtomicU64::new(0) }; TEXT_BYTES / WORD],
        }
    }

    fn store(&self, settings: Settings, text: &CStr) {
        let (kind, function, user_data) = match settings.receiver {
            Receiver::Streams => (STREAMS, null_mut(), null_mut()),
            Receiver::Callback { function, user_data } => {
                (CALLBACK, function as *mut c_void, user_data)
            }
            Receiver::File => (FILE, null_mut(), null_mut()),
            Receiver::Syslog => (SYSLOG, null_mut(), null_mut()),
        };
        let stderr_only = if settings.stderr_only { STDERR_ONLY } else { 0 };
        let time = if settings.include_time { 0 } else { WITHOUT_TIME };
        let level = if settings.include_level { 0 } else { WITHOUT_LEVEL };
        self.kind.store(kind | stderr_only | time | level, Relaxed);
        self.function.store(function, Relaxed);
        self.user_data.store(user_data, Relaxed);
        for (word, bytes) in self.text.iter().zip(text.to_bytes_with_nul().chunks(WORD)) {
            let mut padded = [0; WORD];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(padded), Relaxed);
        }
    }

    /// What `store` has stored, if `is_whole` says so after it was read.
    fn load(&self, is_whole: impl FnOnce() -> bool) -> Option<Settings> {
        let kind = self.kind.load(Relaxed);
        let function = self.function.load(Relaxed);
        let user_data = self.user_data.load(Relaxed);
        if !is_whole() {
            return None;
        }
        let receiver = match kind & KIND {
            CALLBACK => {
                // SAFETY: stored with this kind, so it is a callback.
                let function = unsafe { transmute::<*mut c_void, Callback>(function) };
                Receiver::Callback { function, user_data }
            }
            FILE => Receiver::File,
            SYSLOG => Receiver::Syslog,
            _ => Receiver::Streams,
        };
        Some(Settings {
            receiver,
            stderr_only: kind & STDERR_ONLY != 0,
            include_time: kind & WITHOUT_TIME == 0,
            include_level: kind & WITHOUT_LEVEL == 0,
        })
    }
}

static SLOTS: [Slot; 2] = [const { Slot::new() }; 2];

/// The settings' version.
static VERSION: AtomicU32 = AtomicU32::new(0);

fn slot(version: u32) -> &'static Slot {
    &SLOTS[version as usize % SLOTS.len()]
}

/// Whether the version's settings are still in force, so that what was read of its slot belongs
/// together.
pub fn is_in_force(version: u32) -> bool {
    // Pairs with the fence of a writer that has written to the slot what was read: then the version
    // is another one by now.
    fence(Acquire);
    VERSION.load(Relaxed) == version
}

/// The settings in force, and their version. Acquires the writes of the thread that set them: a
/// callback may read its data.
pub fn read() -> (u32, Settings) {
    loop {
        let version = VERSION.load(Acquire);
        if let Some(settings) = slot(version).load(|| is_in_force(version)) {
            sanitizer::acquire(&VERSION);
            return (version, settings);
        }
    }
}

/// The settings in force.
pub fn current() -> Settings {
    read().1
}

/// The text of the version's settings, without its NUL, or its beginning, as much as fits in the
/// buffer; nothing if the settings have changed.
pub fn text(version: u32, buffer: &mut [u8]) -> Option<&[u8]> {
    let words = slot(version).text.iter();
    for (bytes, word) in buffer.chunks_mut(WORD).zip(words) {
        bytes.copy_from_slice(&word.load(Relaxed).to_ne_bytes()[..bytes.len()]);
        if bytes.contains(&0) {
            break;
        }
    }
    let length = buffer.iter().position(|byte| *byte == 0).unwrap_or(buffer.len());
    is_in_force(version).then_some(&buffer[..length])
}

/// The lock of the settings' writers. The holder must not call the program, nor log.
pub struct SettingsLock(#[expect(dead_code, reason = "held")] LockGuard<'static, ()>);

impl SettingsLock {
    pub fn lock() -> SettingsLock {
        static LOCK: Lock<()> = Lock::in_static(());
        SettingsLock(LOCK.lock())
    }

    /// The text of the settings in force.
    pub fn text(&self) -> &CStr {
        let text = &slot(VERSION.load(Relaxed)).text;
        // SAFETY: NUL-terminated, and the slot in force is not written to while the lock is held.
        unsafe { CStr::from_ptr(text.as_ptr().cast()) }
    }

    /// Puts settings in force, with a text that is not longer than a path. Returns the previous
    /// receiver, and whether lines go elsewhere from now on.
    pub fn set(&self, settings: Settings, text: &CStr) -> (Receiver, bool) {
        let version = VERSION.load(Relaxed);
        let before = current();
        let is_other = settings.receiver != before.receiver
            || settings.stderr_only != before.stderr_only
            || text != self.text();
        // A line that reads one of the stores below sees in `is_in_force` the version of now.
        fence(Release);
        slot(version.wrapping_add(1)).store(settings, text);
        sanitizer::release(&VERSION);
        VERSION.store(version.wrapping_add(1), Release);
        (before.receiver, is_other)
    }
}

/// Whether a text fits in: as open(2) says it of a path.
pub fn check_text(text: &CStr) -> Result<()> {
    if text.count_bytes() < TEXT_BYTES { Ok(()) } else { Err(Error::Os(libc::ENAMETOOLONG)) }
}

#[cfg(test)]
mod tests {
    use std::ffi::{c_char, c_void};
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::{Receiver, Settings, SettingsLock, read, text};

    unsafe extern "C-unwind" fn ignore(_: u32, _: *const c_char, _: *mut c_void) {}

    #[test]
    fn what_is_read_belongs_together() {
        static ENDS: AtomicBool = AtomicBool::new(false);
        const TEXTS: [&std::ffi::CStr; 3] =
            [c"a", c"bbbbbbbbbbbbbbbbbbbbbbbb", c"ccccccccccccccccccccccccccccccccccccccccccccc"];
        // The callback's data says which text is set with it, and the prefix too.
        let settings = |which: usize| Settings {
            receiver: Receiver::Callback { function: ignore, user_data: which as *mut c_void },
            stderr_only: which == 0,
            include_time: which == 1,
            include_level: which == 2,
        };
        let before = super::current();
        SettingsLock::lock().set(settings(0), TEXTS[0]);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut seen = [0usize; 3];
                    while !ENDS.load(Relaxed) || seen.contains(&0) {
                        let (version, found) = read();
                        let Receiver::Callback { user_data, .. } = found.receiver else {
                            panic!("another receiver")
                        };
                        let which = user_data as usize;
                        assert_eq!(found.stderr_only, which == 0);
                        assert_eq!(found.include_time, which == 1);
                        assert_eq!(found.include_level, which == 2);
                        let mut buffer = [0; 64];
                        if let Some(text) = text(version, &mut buffer) {
                            assert_eq!(text, TEXTS[which].to_bytes());
                            seen[which] += 1;
                        }
                    }
                })
            })
            .collect();
        let mut changes = 0;
        while changes < 300_000 || readers.iter().any(|reader| !reader.is_finished()) {
            let lock = SettingsLock::lock();
            lock.set(settings(changes % 3), TEXTS[changes % 3]);
            assert_eq!(lock.text(), TEXTS[changes % 3]);
            drop(lock);
            changes += 1;
            ENDS.store(changes >= 300_000, Relaxed);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        SettingsLock::lock().set(before, c"");
    }
}
