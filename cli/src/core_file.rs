//! A core file: what a process was when it ended. Of what it does not contain, such as code, the files are read
//! that were mapped there, if they are still the same. Memory that the program could write is never taken from
//! a file, which has only what was there in the beginning: it is missing then, and that is remembered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::elf::parse_notes;
use crate::memory::{Map, Memory, map_of, u16_in, u32_in, u64_in};
use crate::problem::{Problem, Result};

/// See the module.
pub struct CoreFile {
    file: File,
    path: PathBuf,
    /// How long it is, and how long it would be with all that its table says.
    bytes: u64,
    bytes_of_whole: u64,
    segments: Vec<Segment>,
    maps: Vec<Map>,
    /// Whether something was asked for that is missing: behind the end, or what was left out.
    is_end_missed: Cell<bool>,
    is_part_missed: Cell<bool>,
    /// The mapped files that were opened so far; none of those that are not as they were.
    files: RefCell<HashMap<String, Option<File>>>,
    pub pid: i32,
    pub name: String,
    pub threads: Vec<Thread>,
}

/// A thread, where it was.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pub id: i32,
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
    pub lr: u64,
}

struct Segment {
    start: u64,
    bytes: u64,
    offset: u64,
    in_file: u64,
    is_executable: bool,
    is_writable: bool,
}

const CORE: u16 = 4;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const MOST_SEGMENTS: u64 = 1 << 22;
const MOST_NOTE_BYTES: u64 = 1 << 30;

const PAGE_BYTES: usize = 4096;
/// What to do for a core file that is all there.
const WHOLE: &str =
    "`ulimit -c unlimited` before the program starts and room on the disk make whole ones";

const PRSTATUS: u32 = 1;
const PRPSINFO: u32 = 3;
const FILES: u32 = 0x4649_4c45;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

impl CoreFile {
    pub fn open(path: &Path) -> Result<CoreFile> {
        let shown = path.display();
        let not_open = |error: io::Error| {
            let is_name = error.kind() == io::ErrorKind::NotFound && path.components().count() == 1;
            let advice = match is_name {
                true => format!(": `pidof {shown}` tells the number of the process of a program"),
                false => String::new(),
            };
            Problem::new(format!(
                "{shown} is not the number of a process, and cannot be opened as a core file: \
                 {error}{advice}"
            ))
        };
        let file = File::open(path).map_err(not_open)?;
        let mut header = [0; 64];
        let is_elf =
            file.read_exact_at(&mut header, 0).is_ok() && header.starts_with(b"\x7fELF\x02\x01");
        if !is_elf || u16_in(&header, 16) != CORE {
            return Err(Problem::new(format!(
                "{shown} is not a core file, nor the number of a process"
            )));
        }
        if u16_in(&header, 18) != MACHINE {
            return Err(Problem::new(format!(
                "{shown} is of another kind of processor than this program"
            )));
        }
        let broken = || {
            Problem::new(format!(
                "{shown} is a core file that is cut off before its memory begins, so nothing can be \
                 read: {WHOLE}"
            ))
        };
        let (segments, notes) = segments(&file, &header).ok_or_else(broken)?;
        let end_of = |segment: &Segment| segment.offset.saturating_add(segment.in_file);
        let mut core = CoreFile {
            bytes: file.metadata().map_or(0, |metadata| metadata.len()),
            bytes_of_whole: segments.iter().map(end_of).max().unwrap_or(0),
            file,
            path: path.to_owned(),
            segments,
            is_end_missed: Cell::default(),
            is_part_missed: Cell::default(),
            maps: Vec::new(),
            files: RefCell::default(),
            pid: 0,
            name: String::new(),
            threads: Vec::new(),
        };
        let mut mapped = Vec::new();
        for note in parse_notes(&notes) {
            match (note.name, note.kind) {
                (b"CORE\0", PRSTATUS) => core.threads.push(thread(note.content)),
                (b"CORE\0", PRPSINFO) => {
                    core.pid = u32_in(note.content, 24).cast_signed();
                    let name = note.content.get(40..56).unwrap_or(&[]);
                    let name = name.split(|byte| *byte == 0).next().unwrap_or(&[]);
                    core.name = crate::words::printable(name);
                }
                (b"CORE\0", FILES) => mapped = files(note.content),
                _ => {}
            }
        }
        add_left_out(&mut core.segments, &mapped);
        core.maps = maps(&core.segments, mapped);
        Ok(core)
    }

    /// How many bytes from an address on there are, up to a number: from the core file or from a mapped one.
    fn read_some(&self, address: u64, into: &mut [u8]) -> usize {
        let after = self.segments.partition_point(|segment| segment.start <= address);
        let Some(segment) = after.checked_sub(1).and_then(|index| self.segments.get(index)) else {
            return 0;
        };
        let at = address - segment.start;
        let count = |end: u64| end.saturating_sub(at).min(into.len() as u64) as usize;
        let here = count(segment.in_file.min(segment.bytes));
        if here > 0 {
            let Some(offset) = segment.offset.checked_add(at) else { return 0 };
            let read = self.file.read_at(&mut into[..here], offset).unwrap_or(0);
            if read == 0 {
                self.is_end_missed.set(true);
            }
            return read;
        }
        let here = count(segment.bytes);
        if here == 0 {
            return 0;
        }
        let read =
            if segment.is_writable { None } else { self.read_mapped(address, &mut into[..here]) };
        if read.is_none() {
            self.is_part_missed.set(true);
        }
        read.unwrap_or(0)
    }

    fn read_mapped(&self, address: u64, into: &mut [u8]) -> Option<usize> {
        let map = map_of(&self.maps, address).filter(|map| !map.path.is_empty())?;
        let offset = map.offset.checked_add(address - map.start)?;
        if !self.is_same_file(&map.path) {
            return None;
        }
        let files = self.files.borrow();
        let file = files.get(&map.path)?.as_ref()?;
        file.read_at(into, offset).ok().filter(|count| *count > 0)
    }

    /// Whether a file is there and is the one that was mapped, as far as can be told: core files have the
    /// first page of a program or library, with its build id.
    pub fn is_same_file(&self, path: &str) -> bool {
        let open = || {
            let file = File::open(path).ok()?;
            let first = self.maps.iter().find(|map| map.path == path && map.offset == 0);
            let segment = first
                .and_then(|map| self.segments.iter().find(|segment| segment.start == map.start));
            let mut pages = [[0; PAGE_BYTES]; 2];
            if let Some(segment) = segment.filter(|of| of.in_file >= PAGE_BYTES as u64) {
                let [here, there] = &mut pages;
                self.file.read_exact_at(here, segment.offset).ok()?;
                let count = file.read_at(there, 0).ok()?;
                if here[..count] != there[..count] {
                    return None;
                }
            }
            Some(file)
        };
        let mut files = self.files.borrow_mut();
        files.entry(path.to_owned()).or_insert_with(open).is_some()
    }

    /// Takes no notice of what was missing so far: it was only looked for.
    pub fn forget_missing(&self) {
        self.is_end_missed.set(false);
        self.is_part_missed.set(false);
    }

    /// What memory was asked for and is missing, and what to do, in sentences; none if it was all there.
    pub fn missing_memory(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.is_end_missed.get() {
            missing.push(format!(
                "{} is cut off: it has {} of {} bytes, and what was behind them cannot be shown. \
                 {WHOLE}",
                self.path.display(),
                self.bytes,
                self.bytes_of_whole
            ));
        }
        if self.is_part_missed.get() {
            missing.push(format!(
                "{} was written without some of the memory that this needs: what was in it cannot be \
                 shown. `echo 0x33 >/proc/PID/coredump_filter` has the kernel write all of it the next time, \
                 and in gdb `mj core FILE`, where `gcore` leaves out the stacks of tasks",
                self.path.display()
            ));
        }
        missing
    }

    /// Which files were asked for and are not here, in a sentence.
    pub fn missing_files(&self) -> Option<String> {
        let files = self.files.borrow();
        let missing = files.iter().filter(|(path, file)| file.is_none() && !path.is_empty());
        let mut missing: Vec<String> =
            missing.map(|(path, _)| crate::words::printable(path.as_bytes())).collect();
        missing.sort();
        (!missing.is_empty()).then(|| {
            format!(
                "files that were mapped are not here, or are others by now, so that nothing is known of what is in \
                 them, such as names of functions: {}",
                missing.join(", ")
            )
        })
    }
}

impl Memory for CoreFile {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let mut done = 0;
        while done < into.len() {
            let Some(at) = address.checked_add(done as u64) else { return false };
            match self.read_some(at, &mut into[done..]) {
                0 => return false,
                count => done += count,
            }
        }
        true
    }

    fn maps(&self) -> &[Map] {
        &self.maps
    }
}

/// The loaded segments, by address, and all notes.
fn segments(file: &File, header: &[u8]) -> Option<(Vec<Segment>, Vec<u8>)> {
    const MANY: u16 = 0xffff;
    let table = u64_in(header, 32);
    let row_bytes = 56;
    let mut count = u64::from(u16_in(header, 56));
    if u16_in(header, 54) != row_bytes {
        return None;
    }
    if u16_in(header, 56) == MANY {
        // The first section says how many.
        let mut section = [0; 64];
        file.read_exact_at(&mut section, u64_in(header, 40)).ok()?;
        count = u64::from(u32_in(&section, 44));
    }
    let length = file.metadata().ok()?.len();
    if count > MOST_SEGMENTS || table.checked_add(count * 56)? > length {
        return None;
    }
    let mut rows = vec![0; (count * 56) as usize];
    file.read_exact_at(&mut rows, table).ok()?;
    let mut segments = Vec::new();
    let mut notes = Vec::new();
    for row in rows.chunks_exact(56) {
        let (offset, start) = (u64_in(row, 8), u64_in(row, 16));
        let (in_file, bytes) = (u64_in(row, 32), u64_in(row, 40));
        match u32_in(row, 0) {
            LOAD if start.checked_add(bytes).is_some() => segments.push(Segment {
                start,
                bytes,
                offset,
                in_file,
                is_executable: u32_in(row, 4) & 1 != 0,
                is_writable: u32_in(row, 4) & 2 != 0,
            }),
            NOTE if in_file <= MOST_NOTE_BYTES && offset.checked_add(in_file)? <= length => {
                let mut content = vec![0; in_file as usize];
                file.read_exact_at(&mut content, offset).ok()?;
                notes.append(&mut content);
            }
            _ => {}
        }
    }
    segments.sort_by_key(|segment| segment.start);
    Some((segments, notes))
}

/// What of mapped files has no segment: gdb leaves out what was not written to.
fn add_left_out(segments: &mut Vec<Segment>, mapped: &[Map]) {
    let mut left_out = Vec::new();
    for map in mapped.iter().filter(|map| map.start < map.end) {
        let before = segments.partition_point(|segment| segment.start <= map.start);
        let ends_before = |segment: &Segment| segment.start + segment.bytes <= map.start;
        let is_free = before.checked_sub(1).is_none_or(|at| ends_before(&segments[at]))
            && segments.get(before).is_none_or(|next| map.end <= next.start);
        if is_free {
            left_out.push(Segment {
                start: map.start,
                bytes: map.end - map.start,
                offset: 0,
                in_file: 0,
                is_executable: true, // That is not told.
                is_writable: false,
            });
        }
    }
    segments.append(&mut left_out);
    segments.sort_by_key(|segment| segment.start);
}

/// The mappings: those of files have their names in a note.
fn maps(segments: &[Segment], mut mapped: Vec<Map>) -> Vec<Map> {
    mapped.sort_by_key(|map| map.start);
    segments
        .iter()
        .map(|segment| {
            let file = map_of(&mapped, segment.start);
            Map {
                start: segment.start,
                end: segment.start + segment.bytes,
                is_executable: segment.is_executable,
                offset: file
                    .map_or(0, |file| file.offset.saturating_add(segment.start - file.start)),
                path: file.map(|file| file.path.clone()).unwrap_or_default(),
                ..Map::default()
            }
        })
        .collect()
}

/// The note of mapped files: their number, the size of a page, three numbers for each, and their names.
fn files(note: &[u8]) -> Vec<Map> {
    let (count, page) = (u64_in(note, 0), u64_in(note, 8));
    let count = count.min(note.len() as u64 / 24);
    let names = note.get(16 + count as usize * 24..).unwrap_or(&[]);
    let mut names = names.split(|byte| *byte == 0);
    (0..count)
        .map(|index| {
            let at = 16 + 24 * index;
            Map {
                start: u64_in(note, at),
                end: u64_in(note, at + 8),
                offset: u64_in(note, at + 16).saturating_mul(page),
                path: String::from_utf8_lossy(names.next().unwrap_or(&[])).into_owned(),
                ..Map::default()
            }
        })
        .collect()
}

fn thread(note: &[u8]) -> Thread {
    let register = |index: u64| u64_in(note, 112 + 8 * index);
    let id = u32_in(note, 32).cast_signed();
    if cfg!(target_arch = "x86_64") {
        Thread { id, pc: register(16), sp: register(19), fp: register(4), lr: 0 }
    } else {
        Thread { id, pc: register(32), sp: register(31), fp: register(29), lr: register(30) }
    }
}
