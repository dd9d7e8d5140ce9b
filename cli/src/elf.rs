//! Programs and libraries as they are mapped: their program headers, and the notes among these. Read in memory,
//! so that it does not matter whether the file is there, and what has been stripped from it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::memory::{Memory, Place, Read, u16_in, u32_in, u64_in};

/// A program or a library.
#[derive(Clone, Debug)]
pub struct Module {
    /// What is added to the addresses in the file.
    pub bias: u64,
    pub start: u64,
    pub end: u64,
    pub path: String,
    pub inode: u64,
    /// Whether the file of this name is known to be another one than that which is mapped.
    pub is_file_other: bool,
    /// Where the tables for unwinding are, and how long, if it has any.
    pub unwind_header: Option<(u64, u64)>,
    /// The loaded segment that these are in: its end.
    pub unwind_end: u64,
    notes: Vec<(u64, u64)>,
}

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const MOST_PROGRAM_HEADERS: usize = 256;
const MOST_NOTE_BYTES: u64 = 1 << 16;

const LOAD: u32 = 1;
const NOTE: u32 = 4;
const GNU_EH_FRAME: u32 = 0x6474_e550;

/// All modules, by address.
pub fn modules(memory: &dyn Memory) -> Vec<Module> {
    let firsts: Vec<_> = memory.maps().iter().filter(|map| map.offset == 0).collect();
    let mut headers = vec![[0u8; HEADER_BYTES]; firsts.len()];
    let mut places: Vec<Place> = firsts
        .iter()
        .zip(&mut headers)
        .map(|(map, into)| Place { address: map.start, into, is_read: false })
        .collect();
    memory.read_many(&mut places);
    let is_read: Vec<bool> = places.iter().map(|place| place.is_read).collect();
    let mut found = Vec::new();
    for ((map, header), is_read) in firsts.iter().zip(&headers).zip(is_read) {
        if is_read
            && header.starts_with(b"\x7fELF\x02\x01")
            && let Some(mut module) = parse(memory, map.start, header)
        {
            module.path.clone_from(&map.path);
            module.inode = map.inode;
            found.push(module);
        }
    }
    found
}

fn parse(memory: &dyn Memory, start: u64, header: &[u8]) -> Option<Module> {
    let count = usize::from(u16_in(header, 56));
    if usize::from(u16_in(header, 54)) != PROGRAM_HEADER_BYTES || count > MOST_PROGRAM_HEADERS {
        return None;
    }
    let at = start.checked_add(u64_in(header, 32))?;
    let table = memory.bytes_at(at, count * PROGRAM_HEADER_BYTES)?;
    let rows: Vec<Row> = table.chunks_exact(PROGRAM_HEADER_BYTES).map(Row::parse).collect();
    let first = rows.iter().filter(|row| row.kind == LOAD).min_by_key(|row| row.address)?;
    let bias = start.wrapping_sub(first.address & !0xfff);
    let end_of = |row: &Row| bias.wrapping_add(row.address).checked_add(row.bytes);
    let end = rows.iter().filter(|row| row.kind == LOAD).filter_map(end_of).max()?;
    let unwind = rows.iter().find(|row| row.kind == GNU_EH_FRAME);
    let unwind_end = unwind.and_then(|unwind| {
        let holds = |row: &&Row| {
            row.kind == LOAD
                && (row.address..=row.address.saturating_add(row.bytes)).contains(&unwind.address)
        };
        rows.iter().find(holds).and_then(end_of)
    });
    let place_of = |row: &Row| (bias.wrapping_add(row.address), row.bytes);
    Some(Module {
        bias,
        start,
        end: end.max(start),
        path: String::new(),
        inode: 0,
        is_file_other: false,
        unwind_header: unwind.map(place_of),
        unwind_end: unwind_end.unwrap_or(0),
        notes: rows.iter().filter(|row| row.kind == NOTE).map(place_of).collect(),
    })
}

/// A program header.
struct Row {
    kind: u32,
    address: u64,
    bytes: u64,
}

impl Row {
    fn parse(bytes: &[u8]) -> Row {
        Row { kind: u32_in(bytes, 0), address: u64_in(bytes, 16), bytes: u64_in(bytes, 40) }
    }
}

impl Module {
    /// The notes with a name and a type: where each is, and what is in it.
    pub fn notes(&self, memory: &dyn Memory, name: &[u8], kind: u32) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        for (address, bytes) in &self.notes {
            let count = (*bytes).min(MOST_NOTE_BYTES) as usize;
            let Some(notes) = memory.bytes_at(*address, count) else { continue };
            for note in parse_notes(&notes) {
                if note.name.strip_suffix(b"\0") == Some(name) && note.kind == kind {
                    found.push((address.wrapping_add(note.at as u64), note.content.to_vec()));
                }
            }
        }
        found
    }

    /// The file, if it is the one that is mapped: as the process sees it, wherever that is, or of a core file at its
    /// name.
    pub fn file(&self, pid: Option<i32>) -> Option<PathBuf> {
        if self.path.is_empty() || self.path.starts_with('[') || self.is_file_other {
            return None;
        }
        let path = match pid {
            Some(pid) => PathBuf::from(format!("/proc/{pid}/root{}", self.path)),
            None => PathBuf::from(&self.path),
        };
        let metadata = fs::metadata(&path).ok().filter(|metadata| metadata.is_file())?;
        (self.inode == 0 || self.inode == metadata.ino()).then_some(path)
    }
}

/// Where a section is, by the address in the file, and how long: a program without shared libraries has no header
/// that leads to its tables for unwinding.
pub fn section_of_file(path: &Path, name: &[u8]) -> Option<(u64, u64)> {
    let Sections { file, rows, names_at } = Sections::read(path)?;
    let names = rows.chunks_exact(SECTION_BYTES).nth(names_at)?;
    let count = u64_in(names, 32).min(1 << 20);
    let mut texts = vec![0; count as usize];
    file.read_exact_at(&mut texts, u64_in(names, 24)).ok()?;
    let is_it = |row: &&[u8]| {
        let text = texts.get(u32_in(row, 0) as usize..).unwrap_or(&[]);
        text.split(|byte| *byte == 0).next() == Some(name)
    };
    let section = rows.chunks_exact(SECTION_BYTES).find(is_it)?;
    Some((u64_in(section, 16), u64_in(section, 32)))
}

/// Whether the sections of a file that are compressed can have been as long as they say. Who reads them reserves
/// memory for that.
pub fn has_plausible_sections(path: &Path) -> bool {
    /// Deflate makes no less of zeros.
    const MOST_RATIO: u64 = 1032;
    let Some(Sections { file, rows, .. }) = Sections::read(path) else { return true };
    rows.chunks_exact(SECTION_BYTES).all(|row| {
        const COMPRESSED: u64 = 0x800;
        let mut head = [0; 16];
        if file.read_exact_at(&mut head, u64_in(row, 24)).is_err() {
            return true;
        }
        let long = if u64_in(row, 8) & COMPRESSED != 0 {
            u64_in(&head, 8)
        } else if head.starts_with(b"ZLIB") {
            // The older way.
            u64_in(&head, 4).swap_bytes()
        } else {
            return true;
        };
        long <= u64_in(row, 32).saturating_mul(MOST_RATIO)
    })
}

const SECTION_BYTES: usize = 64;

/// The section headers of a file.
struct Sections {
    file: File,
    rows: Vec<u8>,
    /// Which of them has the names.
    names_at: usize,
}

impl Sections {
    /// None if there are none.
    fn read(path: &Path) -> Option<Sections> {
        let file = File::open(path).ok()?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).ok()?;
        let mut count = u64::from(u16_in(&header, 60));
        if !header.starts_with(b"\x7fELF\x02\x01")
            || usize::from(u16_in(&header, 58)) != SECTION_BYTES
        {
            return None;
        }
        let at = u64_in(&header, 40);
        if count == 0 {
            // The first one has the number, if it is too large for its place.
            let mut first = [0; SECTION_BYTES];
            file.read_exact_at(&mut first, at).ok()?;
            count = u64_in(&first, 32);
        }
        let bytes = count.checked_mul(SECTION_BYTES as u64)?;
        if bytes > file.metadata().ok()?.len() {
            return None;
        }
        let mut rows = vec![0; bytes as usize];
        file.read_exact_at(&mut rows, at).ok()?;
        Some(Sections { file, rows, names_at: usize::from(u16_in(&header, 62)) })
    }
}

/// A note.
pub struct Note<'n> {
    pub name: &'n [u8],
    pub kind: u32,
    pub content: &'n [u8],
    /// Where the content begins.
    pub at: usize,
}

/// The notes in a segment of them, up to the first that is not whole.
pub fn parse_notes(bytes: &[u8]) -> impl Iterator<Item = Note<'_>> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        let head = bytes.get(at..at.checked_add(12)?)?;
        let (name_bytes, content_bytes) = (u32_in(head, 0) as usize, u32_in(head, 4) as usize);
        let name = bytes.get(at + 12..(at + 12).checked_add(name_bytes)?)?;
        let content_at = (at + 12 + name_bytes).checked_next_multiple_of(4)?;
        let content = bytes.get(content_at..content_at.checked_add(content_bytes)?)?;
        at = (content_at + content_bytes).checked_next_multiple_of(4)?;
        Some(Note { name, kind: u32_in(head, 8), content, at: content_at })
    })
}
