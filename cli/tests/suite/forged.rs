//! Files that were made to harm the reader: a small core file, changed at random, mostly in its headers, its notes
//! and the library's table; and a program, in what tells the names of its functions. Whatever they say, the reader
//! ends, and keeps no more memory than a file of that size deserves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::sink;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use majjen_cli::elf::{self, Module};
use majjen_cli::graph::{self, Form};
use majjen_cli::look::Subject;
use majjen_cli::memory::{Memory, map_of};
use majjen_cli::process::Process;
use majjen_cli::stacks;
use majjen_cli::style::Style;
use majjen_cli::symbols::Symbols;
use majjen_cli::{json, ps};

use crate::hostile::{Faults, PAGE, Recording, look};
use crate::support::{Hanging, Link, build, trials};

trials! {
    no_core_file_does_harm,
    no_program_with_names_does_harm,
    no_program_with_compressed_names_does_harm,
}

/// Counts what is allocated: by all threads, since other tests are small beside the limit.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller has it.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
            PEAK.fetch_max(live, Ordering::Relaxed);
        }
        memory
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller has it.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const MOST_BYTES: usize = 512 << 20;
/// What one reading may take on a machine that is busy.
pub const MOST_TIME: Duration = Duration::from_secs(20);

/// How many bytes more than before were allocated at a time while a function ran. Two tests at a time may do this, and
/// see less than there was.
pub fn most_kept(function: impl FnOnce()) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    function();
    PEAK.load(Ordering::Relaxed).saturating_sub(before)
}

/// A file that is changed at random, and back.
struct Forger<'w> {
    whole: &'w [u8],
    path: PathBuf,
    file: File,
}

/// How much one round has seen that was not harmed.
type Found = usize;

impl Forger<'_> {
    fn new<'w>(name: &str, whole: &'w [u8]) -> Forger<'w> {
        let name = format!("forged-{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, whole).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        Forger { whole, path, file }
    }

    /// Has a function read it, again and again, changed in some parts of it, of each as often.
    fn run(self, parts: &[Range<usize>], read: impl Fn(&Path) -> Found) {
        let unharmed = read(&self.path);
        let torture = std::env::var_os("MAJJEN_TORTURE").is_some();
        let end = Instant::now() + Duration::from_secs(if torture { 300 } else { 8 });
        let (mut rounds, mut found) = (0u64, 0);
        let kept = most_kept(|| {
            // Some in any case, on a machine that is busy.
            while Instant::now() < end || rounds < 25 {
                rounds += 1;
                let mut random =
                    Faults { state: 0x2545_f491_4f6c_dd1d ^ (rounds << 20), one_of: 1 };
                (0..4).for_each(|_| _ = random.next());
                let changed = self.change(parts, &mut random);
                let is_cut = random.next().is_multiple_of(8);
                if is_cut {
                    self.file.set_len(random.next() % self.whole.len() as u64).unwrap();
                }
                let begun = Instant::now();
                found += read(&self.path);
                assert!(begun.elapsed() < MOST_TIME, "round {rounds} took {:?}", begun.elapsed());
                if is_cut {
                    self.file.write_all_at(self.whole, 0).unwrap();
                }
                for place in changed {
                    self.file.write_all_at(&self.whole[place.clone()], place.start as u64).unwrap();
                }
            }
        });
        assert!(kept < MOST_BYTES, "{kept} bytes");
        assert_eq!(read(&self.path), unharmed, "as it was");
        fs::remove_file(&self.path).unwrap();
        // Most of what is changed is in places that do not matter, or a file is refused.
        assert!(found > rounds as usize, "{found} in {rounds} rounds");
        if torture {
            println!("{}: {rounds} files, {found} of {unharmed} each", self.path.display());
        }
    }

    fn change(&self, parts: &[Range<usize>], random: &mut Faults) -> Vec<Range<usize>> {
        let (whole, count) = (self.whole, 1 + random.next() % 4);
        let change = |_| {
            let part = &parts[random.next() as usize % parts.len()];
            let at = part.start + random.next() as usize % part.len();
            let width = [1, 2, 4, 8][random.next() as usize % 4];
            let at = (at / width * width).min(whole.len() - width);
            let old = u64::from_le_bytes(std::array::from_fn(|index| {
                if index < width { whole[at + index] } else { 0 }
            }));
            let new = match random.next() % 8 {
                0 => 0,
                1 => u64::MAX,
                2 => old ^ 1 << (random.next() % 64),
                3 => old.wrapping_add(1),
                4 => old.wrapping_neg(),
                5 => 1 << (random.next() % 64),
                6 => whole.len() as u64 - random.next() % 64,
                _ => random.next(),
            };
            self.file.write_all_at(&new.to_le_bytes()[..width], at as u64).unwrap();
            at..at + width
        };
        (0..count).map(change).collect()
    }
}

/// A core file of what was read of a process: the bytes, and how many of them are headers and notes.
fn make(recording: &Recording<'_>) -> (Vec<u8>, usize) {
    let maps = recording.process.maps();
    // Pages that follow each other in one mapping are a segment.
    let mut segments: Vec<(u64, Vec<u8>, bool)> = Vec::new();
    for (page, bytes) in &*recording.pages.borrow() {
        let start = page * PAGE;
        let map = map_of(maps, start).expect("it was read");
        match segments.last_mut() {
            Some((first, content, _))
                if *first + content.len() as u64 == start && start != map.start =>
            {
                content.extend(bytes);
            }
            _ => segments.push((start, bytes.clone(), map.is_executable)),
        }
    }
    let mut notes = Vec::new();
    let mut note = |kind: u32, content: &[u8]| {
        for number in [5, content.len() as u32, kind] {
            notes.extend(number.to_le_bytes());
        }
        notes.extend(b"CORE\0\0\0\0");
        notes.extend(content);
        notes.resize(notes.len().next_multiple_of(4), 0);
    };
    note(3, &[0; 136]);
    let mut thread = [0; 336];
    let pid = recording.process.pid.to_le_bytes();
    thread[32..36].copy_from_slice(&pid);
    note(1, &thread);
    let mapped: Vec<_> = maps.iter().filter(|map| map.path.starts_with('/')).collect();
    let mut files = Vec::new();
    for number in [mapped.len() as u64, PAGE] {
        files.extend(number.to_le_bytes());
    }
    for map in &mapped {
        for number in [map.start, map.end, map.offset / PAGE] {
            files.extend(number.to_le_bytes());
        }
    }
    for map in &mapped {
        files.extend(map.path.as_bytes());
        files.push(0);
    }
    note(0x4649_4c45, &files);

    let rows = segments.len() + 1;
    let notes_at = 64 + 56 * rows;
    let contents_at = (notes_at + notes.len()).next_multiple_of(PAGE as usize);
    let mut core = b"\x7fELF\x02\x01\x01".to_vec();
    core.resize(64, 0);
    core[16] = 4;
    core[18] = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    core[32] = 64;
    core[54] = 56;
    core[56..58].copy_from_slice(&(rows as u16).to_le_bytes());
    let mut row = |kind: u32, flags: u32, numbers: [u64; 6]| {
        core.extend(kind.to_le_bytes());
        core.extend(flags.to_le_bytes());
        numbers.iter().for_each(|number| core.extend(number.to_le_bytes()));
    };
    row(4, 0, [notes_at as u64, 0, 0, notes.len() as u64, 0, 0]);
    let mut at = contents_at as u64;
    for (start, content, is_executable) in &segments {
        let bytes = content.len() as u64;
        row(1, if *is_executable { 5 } else { 6 }, [at, *start, 0, bytes, bytes, PAGE]);
        at += bytes;
    }
    core.extend(&notes);
    core.resize(contents_at, 0);
    segments.iter().for_each(|(_, content, _)| core.extend(content));
    (core, contents_at)
}

/// All that can be done with one. Returns how many tasks it shows.
fn show(path: &Path) -> usize {
    let Ok(subject) = Subject::open(path.to_str().expect("text")) else { return 0 };
    let style = Style { width: Some(80), colors: true };
    let look = subject.look(&mut subject.reader(), 0);
    let wanted = ps::Wanted { ids: true, ..ps::Wanted::default() };
    ps::write(&mut sink(), style, &subject, &look, &wanted).expect("to nowhere");
    json::write(&mut sink(), &subject, &look).expect("to nowhere");
    for form in [Form::Text, Form::Json, Form::Dot] {
        graph::run(&mut sink(), style, &subject, form).expect("to nowhere");
    }
    let form = stacks::Form { is_json: false, is_full: true };
    stacks::all(&mut sink(), style, &subject, form).expect("to nowhere");
    subject.target.missing(true);
    look.snapshot.schedulers.iter().map(|scheduler| scheduler.tasks.len()).sum()
}

fn no_core_file_does_harm() {
    majjen_cli::guard::install();
    let process = Hanging::start(&build("hang", Link::StaticStripped), &["waits"]);
    let process = Process::open(process.pid().parse().unwrap()).unwrap();
    let recording = Recording { process: &process, pages: RefCell::default() };
    assert_eq!(look(&recording).tasks, 16);
    let (whole, head_bytes) = make(&recording);
    let table_at = whole.windows(8).position(|window| window == b"majjen\0\0").unwrap();
    let (head, table, all) = (0..head_bytes, table_at..table_at + 320, 0..whole.len());
    let parts = [&head, &head, &head, &head, &table, &table, &all, &all].map(Range::clone);
    let forger = Forger::new("core", &whole);
    assert_eq!(show(&forger.path), 16, "unchanged");
    forger.run(&parts, show);
}

/// Where the sections are that tell names of functions, and what tells where these are.
fn parts_with_names(program: &[u8]) -> Vec<Range<usize>> {
    let number = |at: usize, bytes: usize| {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&program[at..at + bytes]);
        u64::from_le_bytes(number) as usize
    };
    let (table, rows) = (number(40, 8), number(60, 2));
    let row = |index: usize| table + 64 * index;
    let names_at = number(row(number(62, 2)) + 24, 8);
    let mut parts = vec![0..64, table..row(rows), table..row(rows)];
    for row in (0..rows).map(row) {
        let name = &program[names_at + number(row, 4)..];
        let (start, bytes) = (number(row + 24, 8), number(row + 32, 8));
        let is_one = [&b".debug"[..], b".symtab", b".strtab"];
        if is_one.iter().any(|part| name.starts_with(part)) && bytes > 0 {
            parts.push(start..start + bytes);
            // Its beginning says how long it and its parts are.
            parts.push(start..start + bytes.min(64));
        }
    }
    assert!(parts.len() > 10, "{parts:?}");
    parts
}

fn no_program_with_names_does_harm() {
    names_of(&build("hang", Link::Shared), "names");
}

fn no_program_with_compressed_names_does_harm() {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compressed");
    let mut objcopy = Command::new("objcopy");
    objcopy.arg("--compress-debug-sections").arg(build("hang", Link::Shared)).arg(&program);
    assert!(objcopy.status().expect("objcopy, of the compiler's binutils").success());
    names_of(&program, "compressed");
}

fn names_of(program: &Path, name: &str) {
    majjen_cli::guard::install();
    let process = Hanging::start(program, &["waits"]);
    let process = Process::open(process.pid().parse().unwrap()).unwrap();
    let is_it = |module: &Module| Path::new(&module.path) == fs::canonicalize(program).unwrap();
    let module = elf::modules(&process).into_iter().find(is_it).expect("the program");
    let addresses: Vec<u64> = (module.start..module.end).step_by(128).collect();
    let whole = fs::read(program).unwrap();
    let forger = Forger::new(name, &whole);
    let read = |path: &Path| {
        let path = path.to_str().expect("text").to_owned();
        let mut module = module.clone();
        (module.path, module.inode) = (path, 0);
        elf::section_of_file(Path::new(&module.path), b".eh_frame");
        let modules = [module];
        let mut symbols = Symbols::new(&modules, None);
        addresses.iter().filter(|address| !symbols.name(**address).is_empty()).count()
    };
    let unharmed = read(&forger.path);
    assert!(unharmed > 20, "{unharmed} names");
    forger.run(&parts_with_names(&whole), read);
}
