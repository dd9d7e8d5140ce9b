//! Hashes all files below a directory (FNV-1a, 64 bits), on all processors at once, while a line on
//! stderr tells every 100 ms how far it is.
//!
//! ```sh
//! cargo run --release --example checksum -- DIRECTORY
//! ```

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use majjen::{Scheduler, blocking, fs, task};

/// How far it is.
#[derive(Default)]
pub struct Progress {
    /// How many files there are.
    pub files: Cell<usize>,
    /// Their sizes, together.
    pub bytes: Cell<u64>,
}

/// A file, and what it holds: a hash, or why it could not be read.
pub type Hashed = (PathBuf, io::Result<u64>);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory: PathBuf = std::env::args_os().nth(1).ok_or("checksum DIRECTORY")?.into();
    let scheduler = Scheduler::new()?;
    let progress = Rc::new(Progress::default());
    let shown = progress.clone();
    let shows = scheduler.spawn(move || {
        while io::stderr().is_terminal() {
            task::sleep(Duration::from_millis(100)).unwrap();
            eprint!("\r{} files, {} bytes", shown.files.get(), shown.bytes.get());
        }
    });
    let hashed = scheduler.spawn(move || {
        let hashed = hash_tree(&directory, &progress);
        shows.cancel();
        hashed
    });
    scheduler.run()?;
    for (path, hash) in hashed.join()?? {
        match hash {
            Ok(hash) => println!("{hash:016x}  {}", path.display()),
            Err(error) => eprintln!("checksum: {}: {error}", path.display()),
        }
    }
    Ok(())
}

/// Hashes all files below a directory, in the order of their names. Links are passed over.
pub fn hash_tree(directory: &Path, progress: &Rc<Progress>) -> io::Result<Vec<Hashed>> {
    // Many files wait for a processor, so that none is idle; but not all of them.
    let mut files = task::JoinSet::with_limit(256);
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if entry.file_type()?.is_file() {
                let (path, progress) = (entry.path(), progress.clone());
                files.spawn(move || hash_file(path, &progress));
            }
        }
    }
    let mut hashed = Vec::new();
    while let Some(one) = files.join_next() {
        hashed.push(one.map_err(io::Error::other)?);
    }
    hashed.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(hashed)
}

fn hash_file(path: PathBuf, progress: &Progress) -> Hashed {
    let of_thread = path.clone();
    let hashed = blocking::run(move || hash(&of_thread)).map_err(io::Error::from).flatten();
    progress.files.set(progress.files.get() + 1);
    let hash = hashed.map(|(hash, bytes)| {
        progress.bytes.set(progress.bytes.get() + bytes);
        hash
    });
    (path, hash)
}

/// On a thread of the library, which may block and take its time.
fn hash(path: &Path) -> io::Result<(u64, u64)> {
    let (mut hash, mut bytes) = (0xcbf2_9ce4_8422_2325_u64, 0);
    let mut file = File::open(path)?;
    let mut piece = [0; 1 << 14];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok((hash, bytes));
        }
        for byte in &piece[..count] {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        bytes += count as u64;
    }
}
