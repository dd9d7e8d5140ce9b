//! `examples-c/checksum.c`, on a tree of the test's own.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Read;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::process::Program;
use super::scenario_trials;
use crate::library::TempDir;
use crate::running::PATIENCE;

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

/// On a terminal a line tells of it, while threads of the pool, at least two, read and compute.
fn shows_how_far_it_is() {
    let threads = processors().max(2);
    let files = 4 * threads;
    let bytes_of_each: u64 = 128 << 20; // None of them on the disk.
    let program = Program::compile("checksum", &[]);
    let tree = TempDir::new().expect("a directory");
    for number in 0..files {
        let file = File::create(tree.path().join(number.to_string())).expect("a file");
        file.set_len(bytes_of_each).expect("a sparse file");
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
    let began = Instant::now();
    while child.try_wait().expect("its state").is_none() {
        let names = fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten();
        let names =
            names.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        most_threads = most_threads.max(names.filter(|name| name.starts_with("mj-cpu")).count());
        if began.elapsed() > PATIENCE {
            child.kill().expect("killed");
        }
        thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), files);
    assert_eq!(most_threads, threads);
    let shown = shown.join().expect("what it shows");
    let bytes = |line: &str| -> Option<u64> {
        line.trim_end().strip_suffix(" bytes")?.rsplit(' ').next()?.parse().ok()
    };
    let bytes: Vec<u64> = shown.split('\r').filter_map(bytes).collect();
    assert!(bytes.is_sorted(), "{shown:?}");
    assert!(
        bytes.iter().any(|&bytes| 0 < bytes && bytes < files as u64 * bytes_of_each),
        "{shown:?}"
    );
}

/// How many processors this process may use, whatever its quota is: as the pool counts them.
fn processors() -> usize {
    // SAFETY: it may be all zeros.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: a set, and its size.
    let found = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    assert_eq!(found, 0, "sched_getaffinity");
    // SAFETY: a set.
    unsafe { libc::CPU_COUNT(&set) as usize }
}

/// A terminal: what is shown there, and what is a program's. Neither is inherited by what other tests start meanwhile.
fn terminal() -> (File, File) {
    const FLAGS: libc::c_int = libc::O_NOCTTY | libc::O_CLOEXEC;
    let open = |path: &str| File::options().read(true).write(true).custom_flags(FLAGS).open(path);
    let shown = open("/dev/ptmx").expect("a terminal");
    let mut name = [0; 64];
    let fd = shown.as_raw_fd();
    // SAFETY: a terminal's descriptor, and room for a name.
    let is_named = unsafe {
        libc::unlockpt(fd) == 0 && libc::ptsname_r(fd, name.as_mut_ptr(), name.len()) == 0
    };
    assert!(is_named, "a terminal without a name");
    // SAFETY: the name ends with a zero.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    let program = open(name.to_str().expect("a path in UTF-8")).expect("its other end");
    (shown, program)
}
