//! What a flight recorder has recorded, how it is asked to, and how what it has is told in the format of Chrome's
//! trace viewer, which Perfetto reads too.
//!
//! This file depends on nothing but the standard library: it is a part of the library and of the program `majjen`.
//! It takes any entries, also those of a process that is broken.

use std::fmt::{self, Write};
use std::ops::{Range, RangeInclusive};

/// What an entry says, in the top 8 bits of its word. The low 56 bits are of a task, unless said otherwise: the
/// number of its slot in 24 bits, and how often that had been used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Tasks begin to run, and the loop is left. The low bits: for how many nanoseconds it has slept since the last
    /// such entry.
    Loop = 1,
    /// A task is ready by now. Who made it ready is who the next entry with another code than this one and the two
    /// that follow is of: the task whose turn ends there, or the loop.
    Ready = 2,
    /// As `Ready`, of a new task.
    Created = 3,
    /// As `Created`, of the task of a post.
    Posted = 4,
    /// A turn has ended, and the task is ready. A turn begins where the one before it ended, or at the entry of the
    /// loop before it.
    Yielded = 5,
    /// A turn has ended, and its task with it. Up to two entries of its name follow.
    Ended = 6,
    /// A turn has ended, and the task sleeps.
    Sleeps = 7,
    /// A turn has ended, and the task waits. Behind the number of the slot there is in 8 bits which kind of wait it
    /// is, as an index into a table of the recorder, and in 24 bits what it waits for: see [`Code::waits`].
    Waits = 8,
    /// A part of a name: 8 bytes in the place of the time, and 7 in the low bits of the word, least first.
    Text = 9,
    /// The turn of this task goes on when the recording ends. The last entry, of who ends the recording or reads it.
    Runs = 10,
}

/// In a word of [`Code::Waits`]: the task has parked itself, and there is no kind.
pub const PARKED: u8 = u8::MAX;
/// The same of a kind that there is no room for.
pub const OTHER: u8 = u8::MAX - 1;

const CODE_SHIFT: u32 = 56;
const LOW_MASK: u64 = (1 << CODE_SHIFT) - 1;
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// How many bytes of a name an entry of [`Code::Text`] has.
pub const TEXT_BYTES: usize = 15;

impl Entry {
    /// A part of a name, which is not longer than [`TEXT_BYTES`].
    pub fn of_text(part: &[u8]) -> Entry {
        let mut bytes = [0; 16];
        bytes[..part.len()].copy_from_slice(part);
        let [time, low] =
            [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index])));
        Entry { time, word: Code::Text.word(low) }
    }

    /// The part of a name, if it is one.
    fn text(self) -> Option<[u8; TEXT_BYTES]> {
        let (first, last) = (self.time.to_le_bytes(), self.word.to_le_bytes());
        let byte = |index| first.get(index).copied().unwrap_or_else(|| last[index - first.len()]);
        (self.code() == Some(Code::Text)).then(|| std::array::from_fn(byte))
    }

    /// Writes an entry whose low bits are of an id. Other than by [`Code::word`] the bits of the code replace those of
    /// the id, which takes a mask and two constants less.
    ///
    /// # Safety
    /// The address is good for one.
    #[allow(dead_code, reason = "majjen only reads")]
    #[inline(always)]
    pub unsafe fn write_of(place: *mut Entry, code: Code, id: u64, time: u64) {
        const { assert!(cfg!(target_endian = "little")) };
        // SAFETY: as this function's contract says; the last byte of the word is its top 8 bits.
        unsafe {
            (*place).time = time;
            (*place).word = id;
            place.cast::<u8>().add(size_of::<Entry>() - 1).write(code as u8);
        }
    }

    /// The number of a task's slot, of its id.
    pub const fn slot_of(id: u64) -> u64 {
        id & SLOT_MASK
    }

    /// None if it is broken.
    pub fn code(self) -> Option<Code> {
        Code::of_word(self.word)
    }

    /// With another time, if it has one.
    pub fn at(self, convert: impl Fn(u64) -> u64) -> Entry {
        match self.code() {
            Some(Code::Text) => self,
            _ => Entry { time: convert(self.time), ..self },
        }
    }
}

impl Code {
    /// A word with these low bits.
    #[inline(always)]
    pub const fn word(self, low: u64) -> u64 {
        (self as u64) << CODE_SHIFT | low & LOW_MASK
    }

    /// The word of a task that waits. `object` is the descriptor's number, that of the task that is joined, or bits
    /// of the address of something else.
    #[inline(always)]
    pub const fn waits(id: u64, kind: u8, object: u64) -> u64 {
        let slot = id & SLOT_MASK;
        Code::Waits.word(object << (SLOT_BITS + 8) | (kind as u64) << SLOT_BITS | slot)
    }

    fn of_word(word: u64) -> Option<Code> {
        const CODES: [Code; 10] = [
            Code::Loop,
            Code::Ready,
            Code::Created,
            Code::Posted,
            Code::Yielded,
            Code::Ended,
            Code::Sleeps,
            Code::Waits,
            Code::Text,
            Code::Runs,
        ];
        CODES.into_iter().find(|code| *code as u64 == word >> CODE_SHIFT)
    }
}

/// One entry.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Entry {
    /// In the ring a reading of the counter; to be told, nanoseconds from a moment that all schedulers share.
    pub time: u64,
    /// A [`Code`], and what it is about.
    pub word: u64,
}

/// Of `majjen trace`, which writes it as one word from outside: to record so many entries, until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The number of entries, as the exponent of two.
    pub exponent: u32,
    /// CLOCK_MONOTONIC in units of 2^20 ns, which are about as long as a millisecond; only the low bits.
    until: u32,
}

/// The top bits of a request's word.
const IS_REQUEST: u64 = 0x6d_6a72;
const REQUEST_SHIFT: u32 = 40;
const EXPONENT_SHIFT: u32 = 32;
const UNIT_BITS: u32 = 20;

/// How many entries a ring has: 16 KiB to 1 GiB.
pub const EXPONENTS: RangeInclusive<u32> = 10..=26;

impl Request {
    /// Until a moment, or up to a unit longer.
    #[allow(dead_code, reason = "majjen asks, the library answers")]
    pub const fn new(exponent: u32, until_ns: u64) -> Request {
        Request { exponent, until: (until_ns >> UNIT_BITS).wrapping_add(1) as u32 }
    }

    /// [`IS_REQUEST`] in the top 24 bits, the exponent in 8, the moment in the low 32.
    #[allow(dead_code, reason = "majjen asks, the library answers")]
    pub const fn word(self) -> u64 {
        IS_REQUEST << REQUEST_SHIFT | (self.exponent as u64) << EXPONENT_SHIFT | self.until as u64
    }

    /// None if nobody has asked by this word.
    pub fn of_word(word: u64) -> Option<Request> {
        let exponent = (word >> EXPONENT_SHIFT) as u32 & 0xff;
        let is_one = word >> REQUEST_SHIFT == IS_REQUEST && EXPONENTS.contains(&exponent);
        is_one.then_some(Request { exponent, until: word as u32 })
    }

    /// Its moment, unless that is past.
    pub fn until_ns(self, now_ns: u64) -> Option<u64> {
        let now = now_ns >> UNIT_BITS;
        let left = self.until.wrapping_sub(now as u32).cast_signed();
        let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
        Some((now + left) << UNIT_BITS)
    }
}

/// What there is to tell of a scheduler.
pub trait Recording {
    /// Its number among those of the process, from 1 on.
    fn number(&self) -> u32;
    /// What it is called.
    fn name(&self) -> &[u8];
    /// The numbers of its entries.
    fn numbers(&self) -> Range<u64>;
    /// One of these, unless it is gone.
    fn entry(&self, number: u64) -> Option<Entry>;
    /// Calls a function with the slot and the name of each task that has a name and is alive.
    fn names(&self, call: &mut dyn FnMut(u64, &[u8]) -> fmt::Result) -> fmt::Result;
    /// Calls a function with what the tasks wait for whose wait has an index.
    fn kind(&self, index: u8, call: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result;
}

/// Writes what is recorded of some schedulers: a process for each of them, with a thread for the loop and one for
/// each slot of tasks, in which each task of that slot is shown. Needs no memory: what a task does begins with one
/// event and ends with another.
pub fn write_chrome(out: &mut dyn Write, recordings: &[&dyn Recording]) -> fmt::Result {
    out.write_str("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n")?;
    for (index, &recording) in recordings.iter().enumerate() {
        out.write_str(if index == 0 { "" } else { ",\n" })?;
        Writer { recording, out, turn_began: None, maker: None }.write()?;
    }
    out.write_str("\n]}\n")
}

/// Writes text between quotes, with a backslash in front of some characters, and without control characters if it is
/// for JSON. What is not UTF-8 is replaced.
pub fn write_quoted(text: &[u8], for_json: bool, out: &mut dyn Write) -> fmt::Result {
    out.write_char('"')?;
    write_escaped(text, for_json, out)?;
    out.write_char('"')
}

fn write_escaped(text: &[u8], for_json: bool, out: &mut dyn Write) -> fmt::Result {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => write!(out, "\\{character}")?,
                '\n' => out.write_str("\\n")?,
                control @ '\0'..' ' if for_json => write!(out, "\\u{:04x}", u32::from(control))?,
                other => out.write_char(other)?,
            }
        }
        if !chunk.invalid().is_empty() {
            out.write_char(char::REPLACEMENT_CHARACTER)?;
        }
    }
    Ok(())
}

struct Writer<'w> {
    recording: &'w dyn Recording,
    out: &'w mut dyn Write,
    /// When the turn began of which the next entry of an end is.
    turn_began: Option<u64>,
    /// Who has made ready the tasks of the entries with lower numbers than this: the slot, or none for the loop.
    maker: Option<(u64, Option<u64>)>,
}

/// The thread of the loop, and that of a slot.
const LOOP: u64 = 0;
const fn thread_of(slot: u64) -> u64 {
    slot + 1
}

impl Writer<'_> {
    fn write(mut self) -> fmt::Result {
        let recording = self.recording;
        self.write_name("process_name", LOOP, recording.name())?;
        self.out.write_str(",\n")?;
        self.write_name("thread_name", LOOP, b"loop")?;
        recording.names(&mut |slot, name| {
            self.out.write_str(",\n")?;
            self.write_name("thread_name", thread_of(slot), name)
        })?;
        for number in recording.numbers() {
            match recording.entry(number) {
                Some(entry) => self.write_entry(number, entry)?,
                None => self.turn_began = None,
            }
        }
        Ok(())
    }

    fn write_name(&mut self, what: &str, thread: u64, name: &[u8]) -> fmt::Result {
        let process = self.recording.number();
        let head = "{\"ph\":\"M\",\"pid\":";
        write!(
            self.out,
            "{head}{process},\"tid\":{thread},\"name\":\"{what}\",\"args\":{{\"name\":"
        )?;
        write_quoted(name, true, self.out)?;
        self.out.write_str("}}")
    }

    /// Begins an event; its name, if it has one, and what else it has follow.
    fn begin(&mut self, kind: char, thread: u64, ns: u64) -> fmt::Result {
        let (process, us) = (self.recording.number(), ns / 1000);
        write!(
            self.out,
            ",\n{{\"ph\":\"{kind}\",\"pid\":{process},\"tid\":{thread},\"ts\":{us}.{:03}",
            ns % 1000
        )
    }

    fn end_state(&mut self, slot: u64, ns: u64) -> fmt::Result {
        self.begin('E', thread_of(slot), ns)?;
        self.out.write_char('}')
    }

    fn begin_state(&mut self, slot: u64, ns: u64, name: &str) -> fmt::Result {
        self.begin('B', thread_of(slot), ns)?;
        write!(self.out, ",\"name\":\"{name}\"}}")
    }

    fn write_entry(&mut self, number: u64, Entry { time: ns, word }: Entry) -> fmt::Result {
        let slot = word & SLOT_MASK;
        match Code::of_word(word) {
            None | Some(Code::Text) => Ok(()),
            Some(Code::Loop) => self.write_loop(ns, word & LOW_MASK),
            Some(Code::Runs) => self.write_turn(slot, ns),
            Some(code @ (Code::Ready | Code::Created | Code::Posted)) => {
                let maker = self.maker_at(number);
                self.write_ready(code, slot, ns, maker)
            }
            Some(code) => {
                self.write_turn(slot, ns)?;
                match code {
                    Code::Yielded => self.begin_state(slot, ns, "ready"),
                    Code::Sleeps => self.begin_state(slot, ns, "sleeps"),
                    Code::Waits => self.write_wait(slot, ns, word),
                    _ => self.write_end(number, slot, ns),
                }
            }
        }
    }

    fn write_turn(&mut self, slot: u64, ended: u64) -> fmt::Result {
        if let Some(began) = self.turn_began.replace(ended) {
            self.end_state(slot, began)?;
            self.begin_state(slot, began, "runs")?;
        }
        self.end_state(slot, ended)
    }

    fn write_loop(&mut self, ns: u64, slept_ns: u64) -> fmt::Result {
        self.turn_began = Some(ns);
        if slept_ns == 0 {
            return Ok(());
        }
        self.begin('X', LOOP, ns.saturating_sub(slept_ns))?;
        write!(
            self.out,
            ",\"dur\":{}.{:03},\"name\":\"sleeps\"}}",
            slept_ns / 1000,
            slept_ns % 1000
        )
    }

    /// Who has made the task ready of the entry with a number.
    fn maker_at(&mut self, number: u64) -> Option<u64> {
        if let Some((until, maker)) = self.maker
            && number < until
        {
            return maker;
        }
        let mut until = number;
        let maker = loop {
            until += 1;
            let entry =
                self.recording.entry(until).filter(|_| self.recording.numbers().contains(&until));
            let Some(Entry { word, .. }) = entry else { break None };
            match Code::of_word(word) {
                Some(Code::Ready | Code::Created | Code::Posted) => {}
                Some(Code::Yielded | Code::Ended | Code::Sleeps | Code::Waits) => {
                    break Some(word & SLOT_MASK);
                }
                _ => break None,
            }
        };
        self.maker = Some((until, maker));
        maker
    }

    fn write_ready(&mut self, code: Code, slot: u64, ns: u64, maker: Option<u64>) -> fmt::Result {
        let thread = thread_of(slot);
        if code == Code::Ready {
            self.end_state(slot, ns)?;
        } else {
            self.begin('i', thread, ns)?;
            self.out.write_str(",\"s\":\"t\",\"name\":\"created\"}")?;
        }
        self.begin('B', thread, ns)?;
        self.out.write_str(",\"name\":\"ready\",\"args\":{\"by\":\"")?;
        match (code, maker) {
            (Code::Posted, _) => self.out.write_str("another thread")?,
            (_, None) => self.out.write_str("the loop")?,
            (_, Some(slot)) => write!(self.out, "task {slot}")?,
        }
        self.out.write_str("\"}}")
    }

    fn write_wait(&mut self, slot: u64, ns: u64, word: u64) -> fmt::Result {
        let kind = (word >> SLOT_BITS) as u8;
        let object = (word & LOW_MASK) >> (SLOT_BITS + 8);
        self.begin('B', thread_of(slot), ns)?;
        if kind == PARKED {
            return self.out.write_str(",\"name\":\"parked\"}");
        }
        self.out.write_str(",\"name\":\"waits for ")?;
        self.recording.kind(kind, &mut |text| write_escaped(text.as_bytes(), true, self.out))?;
        write!(self.out, "\",\"args\":{{\"object\":\"{object:#x}\"}}}}")
    }

    /// A task has ended, whose name follows.
    fn write_end(&mut self, number: u64, slot: u64, ns: u64) -> fmt::Result {
        self.begin('i', thread_of(slot), ns)?;
        self.out.write_str(",\"s\":\"t\",\"name\":\"ended\",\"args\":{\"name\":")?;
        let mut name = [0; 2 * TEXT_BYTES];
        for (next, place) in (number + 1..).zip(name.chunks_mut(TEXT_BYTES)) {
            match self.recording.entry(next).and_then(Entry::text) {
                Some(part) => place.copy_from_slice(&part),
                None => break,
            }
        }
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        write_quoted(&name[..length], true, self.out)?;
        self.out.write_str("}}")
    }
}
