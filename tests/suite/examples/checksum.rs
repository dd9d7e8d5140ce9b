//! `examples-c/checksum.c`, on a tree of the test's own.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::ptr::{null, null_mut};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;

use super::process::Program;
use super::scenario_trials;
use crate::library::TempDir;

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 2] = [
        ("hashes_all_files_of_a_tree", hashes_all_files),
        ("shows_how_far_it_is", shows_how_far_it_is),
    ];
    scenario_trials("checksum_", &scenarios)
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

fn hashes_all_files() {
    let program = Program::compile("checksum", &[]);
    let tree = TempDir::new().expect("a directory");
    let root = tree.path().to_str().expect("a path in UTF-8");
    let mut expected = Vec::new();
    for number in 0..300_usize {
        let folder = tree.path().join(format!("{}/{}", number % 7, number % 3));
        fs::create_dir_all(&folder).expect("make a directory");
        let data: Vec<u8> = (0..number * 1000).map(|place| (place * number) as u8).collect();
        let path = folder.join(format!("file {number}"));
        fs::write(&path, &data).expect("write a file");
        expected.push((path.to_str().expect("a path in UTF-8").to_owned(), hash(&data)));
    }
    expected.sort();
    let lines: Vec<String> =
        expected.iter().map(|(path, hash)| format!("{hash:016x}  {path}")).collect();
    // Links are passed over, wherever they lead.
    symlink("nowhere", tree.path().join("dangling")).expect("make a link");
    symlink("..", tree.path().join("0/up")).expect("make a link");
    assert_eq!(program.start(&[root]).succeed(), lines);
    // What cannot be read is told.
    let missing = format!("{root}/missing");
    let mut running = program.start(&[&missing]);
    assert_eq!(running.wait().code(), Some(1), "{}", running.output());
    assert_eq!(running.stderr(), [format!("checksum: {missing}: No such file or directory")]);
}

/// On a terminal a line tells of it, while threads of the pool, as many as there are processors, read and compute.
fn shows_how_far_it_is() {
    const FILES: usize = 8;
    const BYTES: u64 = 128 << 20; // Without any on the disk.
    let program = Program::compile("checksum", &[]);
    let tree = TempDir::new().expect("a directory");
    for number in 0..FILES {
        let file = File::create(tree.path().join(number.to_string())).expect("a file");
        file.set_len(BYTES).expect("a sparse file");
    }
    let (mut terminal, stderr) = terminal();
    let mut command = program.command();
    command.arg(tree.path()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().expect("checksum");
    drop(command); // It has the terminal, too.
    let shown = thread::spawn(move || {
        let mut shown = Vec::new();
        let _ = terminal.read_to_end(&mut shown); // An error when nobody has the other end.
        String::from_utf8_lossy(&shown).into_owned()
    });
    let mut most_threads = 0;
    while child.try_wait().expect("its state").is_none() {
        let names = fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten();
        let names =
            names.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        most_threads = most_threads.max(names.filter(|name| name.starts_with("mj-cpu")).count());
        thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().expect("its output");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), FILES);
    assert_eq!(most_threads, processors.min(FILES));
    let shown = shown.join().expect("what it shows");
    let bytes = |line: &str| -> Option<u64> {
        line.trim_end().strip_suffix(" bytes")?.rsplit(' ').next()?.parse().ok()
    };
    let bytes: Vec<u64> = shown.split('\r').filter_map(bytes).collect();
    assert!(bytes.len() > 1 && bytes.is_sorted(), "{shown:?}");
    assert!(bytes.iter().any(|&bytes| 0 < bytes && bytes < FILES as u64 * BYTES), "{shown:?}");
}

/// Both ends: a reader of what is shown there, and what is a program's.
fn terminal() -> (File, OwnedFd) {
    let (mut shown, mut program) = (-1, -1);
    // SAFETY: it writes two descriptors, which are nobody's yet; the rest may be null.
    let opened = unsafe { libc::openpty(&mut shown, &mut program, null_mut(), null(), null()) };
    assert_eq!(opened, 0, "openpty");
    // SAFETY: opened just now.
    unsafe { (File::from_raw_fd(shown), OwnedFd::from_raw_fd(program)) }
}
