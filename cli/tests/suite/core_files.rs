//! Core files: whole ones, and those in which something is missing.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Completion;
use majjen_cli::core_file::CoreFile;
use majjen_cli::look::Subject;
use majjen_cli::memory::{Read, u16_in, u32_in, u64_in};

use crate::ps::check;
use crate::support::{Hanging, Link, build, majjen, root, trials};

trials! {
    core_files_are_read,
    core_files_of_gdb_are_read,
    a_core_file_that_is_cut_off_is_said_to_be,
    memory_that_was_left_out_is_said_to_be,
    stacks_that_were_left_out_are_said_to_be,
    a_file_that_is_another_by_now_is_not_believed,
}

/// A directory that is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let name = format!("{name}-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        Directory(directory)
    }

    /// A core file of a program, which the kernel writes to the working directory if it is told so.
    fn core_file(&self, program: &Path, filter: &str) -> Option<PathBuf> {
        let script = "echo $1 >/proc/self/coredump_filter && exec $0 core";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(program).arg(filter);
        assert!(!shell.current_dir(&self.0).output().unwrap().status.success());
        let mut files = fs::read_dir(&self.0).unwrap().flatten();
        let is_core = |name: &str| name.starts_with("core");
        let file = files.find(|file| is_core(&file.file_name().to_string_lossy()))?.path();
        let renamed = self.0.join("whole");
        fs::rename(file, &renamed).unwrap();
        Some(renamed)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the kernel does if it is not told otherwise.
const USUAL: &str = "0x33";

fn none_here() -> Completion {
    Completion::ignored_with("this system writes no core files to the working directory")
}

fn core_files_are_read() -> Completion {
    let directory = Directory::new("core");
    let Some(file) = directory.core_file(&build("hang", Link::Shared), USUAL) else {
        return none_here();
    };
    let text = majjen(&["ps", file.to_str().unwrap()]).succeeded();
    assert!(text.starts_with("the core file of process "), "{text}");
    check(&text, "a", "waiting", "held by task 1 'b'");
    check(&text, "c", "waiting", "the end of task 0 'a'");
    check(&text, "aborts", "running", "");
    let output = majjen(&["graph", file.to_str().unwrap()]);
    assert!(output.code == 3 && output.stdout.contains("deadlock: 3 tasks wait"), "{output:#?}");
    let text = majjen(&["bt", file.to_str().unwrap(), "a"]).succeeded();
    assert!(text.contains("#1 locks_what_b_has at ") && text.contains("#2 a at "), "{text}");
    // The running one is where its thread was.
    let text = majjen(&["bt", file.to_str().unwrap(), "aborts"]).succeeded();
    assert!(text.contains(" aborts at ") && text.contains("abort"), "{text}");
    Completion::Completed
}

/// gdb writes no segments for what is in files.
fn core_files_of_gdb_are_read() -> Completion {
    let directory = Directory::new("gdb");
    let file = directory.0.join("core");
    let process = Hanging::start(&build("hang", Link::Shared), &["deadlock"]);
    let script = format!("source {}", root().join("tools/majjen-gdb.py").display());
    let write = format!("mj core {}", file.display());
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled off", "-p", &process.pid()]);
    let Ok(output) = gdb.args(["-ex", &script, "-ex", &write]).output() else {
        return Completion::ignored_with("gdb is not installed");
    };
    if !file.exists() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(why.contains("ptrace") || why.contains("Python"), "{why}");
        return Completion::ignored_with("gdb cannot look into processes here");
    }
    let graph = majjen(&["graph", file.to_str().unwrap()]);
    assert!(graph.code == 3 && graph.stdout.contains("deadlock: 3 tasks wait"), "{graph:#?}");
    let text = majjen(&["ps", file.to_str().unwrap()]).succeeded();
    check(&text, "a", "waiting", "mutex held by task 1 'b'");
    let text = majjen(&["bt", file.to_str().unwrap(), "a"]).succeeded();
    assert!(
        text.contains("#0 mj_mutex_lock ") && text.contains("#1 locks_what_b_has at "),
        "{text}"
    );
    Completion::Completed
}

// The list of schedulers is before the tasks in the file, since the library is a part of the program.
fn a_core_file_that_is_cut_off_is_said_to_be() -> Completion {
    let directory = Directory::new("cut");
    let Some(file) = directory.core_file(&build("hang", Link::StaticStripped), USUAL) else {
        return none_here();
    };
    let whole = majjen(&["stacks", file.to_str().unwrap()]).succeeded();
    let bytes = fs::read(&file).unwrap();
    let cut = directory.0.join("cut");
    let (mut failed, mut partly) = (0, 0);
    let lengths = (1..30).map(|part| bytes.len() * part / 30);
    for length in [0, 10, 64, 1000, 5000].into_iter().chain(lengths) {
        fs::write(&cut, &bytes[..length]).unwrap();
        for command in ["ps", "stacks"] {
            let output = majjen(&[command, cut.to_str().unwrap()]);
            if command == "stacks" && output.stdout == whole {
                continue; // What is missing was not needed.
            }
            let says =
                ["is cut off: it has ", "is cut off before its memory", "is not a core file"];
            let is_said = says.iter().any(|text| output.stderr.contains(text));
            assert!(is_said || (command == "ps" && output.code == 0), "{length}: {output:#?}");
            assert_eq!(output.code == 1, output.stdout.is_empty(), "{length}: {output:#?}");
            failed += usize::from(output.code == 1);
            partly += usize::from(output.code == 0 && is_said);
        }
    }
    assert!(failed > 0 && partly > 0, "{failed} {partly}");
    Completion::Completed
}

fn memory_that_was_left_out_is_said_to_be() -> Completion {
    // Without what the program has written: only that of files is there.
    for filter in ["0x10", "0"] {
        let directory = Directory::new("left-out");
        let Some(file) = directory.core_file(&build("hang", Link::Shared), filter) else {
            return none_here();
        };
        for command in ["ps", "stacks", "graph"] {
            let text = majjen(&[command, file.to_str().unwrap()]).failed();
            assert!(text.contains("the schedulers in the core file of process "), "{text}");
            assert!(
                text.contains("without some of the memory") && text.contains("echo 0x33 "),
                "{text}"
            );
        }
        // What could be written is not taken from the file, which has what was there in the beginning.
        let bytes = fs::read(&file).unwrap();
        let core = CoreFile::open(&file).unwrap();
        let rows =
            (0..usize::from(u16_in(&bytes, 56))).map(|index| &bytes[64 + 56 * index..][..56]);
        let writable = rows.filter(|row| u32_in(row, 0) == 1 && u32_in(row, 4) & 2 != 0);
        let left_out: Vec<&[u8]> = writable.filter(|row| u64_in(row, 32) == 0).collect();
        assert!(left_out.len() > 3);
        for row in left_out {
            assert!(core.u64_at(u64_in(row, 16)).is_none(), "{:#x}", u64_in(row, 16));
        }
    }
    Completion::Completed
}

/// The program header of the segment that has an address: where it is in the file, and the segment's place.
fn segment(core: &[u8], address: u64) -> (usize, usize, usize) {
    let (table, count) = (u64_in(core, 32), u64::from(u16_in(core, 56)));
    let rows = (0..count).map(|index| table + 56 * index);
    let holds = |row: &u64| {
        let (start, bytes) = (u64_in(core, row + 16), u64_in(core, row + 40));
        u32_in(core, *row) == 1 && (start..start + bytes).contains(&address)
    };
    let row = rows.into_iter().find(holds).expect("a segment");
    (row as usize, u64_in(core, row + 8) as usize, u64_in(core, row + 32) as usize)
}

fn stacks_that_were_left_out_are_said_to_be() -> Completion {
    let directory = Directory::new("stacks");
    let Some(file) = directory.core_file(&build("hang", Link::Shared), USUAL) else {
        return none_here();
    };
    let subject = Subject::open(file.to_str().unwrap()).unwrap();
    let look = subject.look(&mut subject.reader(), 0);
    let a = look.snapshot.schedulers[0].tasks.iter().find(|task| task.name() == b"a").unwrap();
    let (row, at, bytes) = segment(&fs::read(&file).unwrap(), a.context);
    let whole = majjen(&["ps", file.to_str().unwrap()]).succeeded();
    let core = fs::OpenOptions::new().write(true).open(&file).unwrap();
    // As gdb does it: a hole.
    core.write_all_at(&vec![0; bytes], at as u64).unwrap();
    let text = majjen(&["bt", file.to_str().unwrap(), "a"]).succeeded();
    assert!(text.contains("waits for") || text.contains("held by task 1 'b'"), "{text}");
    assert!(
        text.contains("  its stack is empty in the core file: gdb leaves stacks out"),
        "{text}"
    );
    // Left out.
    core.write_all_at(&0u64.to_le_bytes(), row as u64 + 32).unwrap();
    let output = majjen(&["bt", file.to_str().unwrap(), "a"]);
    assert!(output.stdout.contains("  its stack is not in the core file\n"), "{output:#?}");
    assert!(output.stderr.contains("was written without some of the memory"), "{output:#?}");
    let output = majjen(&["stacks", file.to_str().unwrap()]);
    assert!(output.stdout.contains("  its stack is not in the core file\n"), "{output:#?}");
    // All else is there.
    assert_eq!(majjen(&["ps", file.to_str().unwrap()]).succeeded(), whole);
    Completion::Completed
}

fn a_file_that_is_another_by_now_is_not_believed() -> Completion {
    let directory = Directory::new("other");
    let program = directory.0.join("program");
    fs::copy(build("hang", Link::Shared), &program).unwrap();
    let Some(file) = directory.core_file(&program, USUAL) else { return none_here() };
    let bt = || majjen(&["bt", file.to_str().unwrap(), "a"]);
    assert!(bt().succeeded().contains("locks_what_b_has at "));
    // Another program of the same name.
    fs::copy(build("hang", Link::StaticStripped), &program).unwrap();
    let output = bt();
    let expected = format!("such as names of functions: {}\n", program.display());
    assert!(output.code == 0 && output.stderr.ends_with(&expected), "{output:#?}");
    assert!(output.stdout.contains("?? in program+0x"), "{output:#?}");
    assert_eq!(majjen(&["ps", file.to_str().unwrap()]).code, 0);
    Completion::Completed
}
