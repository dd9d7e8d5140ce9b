//! Core files that were made to harm the reader: a small one is made here, and changed at random, mostly in its
//! headers, its notes and the library's table. Whatever they say, the reader ends, and keeps no more memory than
//! a file of that size deserves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::sink;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use majjen_cli::graph::{self, Form};
use majjen_cli::look::Subject;
use majjen_cli::memory::{Memory, map_of};
use majjen_cli::process::Process;
use majjen_cli::stacks;
use majjen_cli::style::Style;
use majjen_cli::{json, ps};

use crate::hostile::{Faults, PAGE, Recording, look};
use crate::support::{Hanging, Link, build, trials};

trials! {
    no_core_file_does_harm,
}

/// Counts what is allocated: by all threads, since other tests are small beside the limit.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: as the caller has it.
        unsafe { System.alloc(layout) }
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
const MOST_TIME: Duration = Duration::from_secs(20);

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
    assert_eq!(look(&recording), 16);
    let (whole, head_bytes) = make(&recording);
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("forged-{}", std::process::id()));
    fs::write(&path, &whole).unwrap();
    assert_eq!(show(&path), 16, "unchanged");
    let table_at = whole.windows(8).position(|window| window == b"majjen\0\0").unwrap();

    let file = File::options().write(true).open(&path).unwrap();
    let torture = std::env::var_os("MAJJEN_TORTURE").is_some();
    let end = Instant::now() + Duration::from_secs(if torture { 300 } else { 8 });
    let (mut rounds, mut found) = (0u64, 0);
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    while Instant::now() < end {
        rounds += 1;
        let mut random = Faults { state: 0x2545_f491_4f6c_dd1d ^ (rounds << 20), one_of: 1 };
        (0..4).for_each(|_| _ = random.next());
        let mut changed = Vec::new();
        for _ in 0..1 + random.next() % 4 {
            let (start, bytes) = match random.next() % 8 {
                0..4 => (0, head_bytes),
                4..6 => (table_at, 320),
                _ => (0, whole.len()),
            };
            let at = start + random.next() as usize % bytes;
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
            file.write_all_at(&new.to_le_bytes()[..width], at as u64).unwrap();
            changed.push((at, width));
        }
        let is_cut = random.next().is_multiple_of(8);
        if is_cut {
            file.set_len(random.next() % whole.len() as u64).unwrap();
        }
        let begun = Instant::now();
        found += show(&path);
        assert!(begun.elapsed() < MOST_TIME, "round {rounds} took {:?}", begun.elapsed());
        let kept = PEAK.load(Ordering::Relaxed).saturating_sub(before);
        assert!(kept < MOST_BYTES, "round {rounds} took {kept} bytes");
        if is_cut {
            file.write_all_at(&whole, 0).unwrap();
        }
        for (at, width) in changed {
            file.write_all_at(&whole[at..at + width], at as u64).unwrap();
        }
    }
    assert_eq!(show(&path), 16, "as it was");
    fs::remove_file(&path).unwrap();
    // Most of what is changed is in places that do not matter, or a file is refused.
    assert!(rounds > 20 && found > rounds as usize, "{found} tasks in {rounds} rounds");
    if torture {
        println!("forged: {rounds} core files, {found} tasks");
    }
}
