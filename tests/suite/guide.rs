//! The guide's C blocks, byte for byte, against the header and the library.
//!
//! `c-tests/guide/README.md` lists the blocks and says how each is tested; the trials are read from
//! there. The programs in `c-tests/guide-programs/` put the blocks to use.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};

/// What a program may define in place of the library.
const REPLACEABLE: [&str; 2] = ["mj_task_wait_readable", "setup_scheduler_with_epoll"];

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = blocks()
        .into_iter()
        .map(|block| {
            Trial::test(format!("guide::block_{}", block.name()), move || {
                block.test();
                Ok(())
            })
        })
        .collect();
    let others: [(&str, fn()); 8] = [
        ("every_block_is_listed", every_block_is_listed),
        ("types_have_the_headers_layout", layout),
        ("epoll_section_with_the_shared_library", || run("epoll", &shared())),
        ("epoll_section_with_the_static_library", || run("epoll", &archive_second())),
        ("epoll_section_and_server_with_the_shared_library", || {
            build("epoll_and_server", &shared());
        }),
        ("epoll_section_and_server_with_the_static_library", || {
            build("epoll_and_server", &archive_second());
        }),
        ("static_library_clashes_in_no_other_name", static_clashes),
        ("the_library_never_calls_the_programs_functions", || run("overrides", &shared())),
    ];
    trials.extend(others.map(|(name, test)| {
        Trial::test(format!("guide::{name}"), move || {
            test();
            Ok(())
        })
    }));
    trials.push(Trial::ignorable_test("guide::blocks_are_unchanged", || Ok(unchanged())));
    trials
}

/// A row of the list.
struct Block {
    file: String,
    types: bool,
    compiles: bool,
    sketch: bool,
    /// What comes before it in its file.
    before: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn blocks() -> Vec<Block> {
    let words = |cell: &str| -> Vec<String> {
        cell.split(", ").filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    read("c-tests/guide/README.md")
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
            let [file, _, tested, before, remark, ""] = cells[..] else {
                panic!("a row has five cells: {line}");
            };
            if !file.ends_with(".c") {
                return None; // The head of the table.
            }
            let tested = words(tested);
            let is = |word: &str| tested.iter().any(|each| each == word);
            let block = Block {
                file: file.to_owned(),
                types: is("types"),
                compiles: is("compiles"),
                sketch: is("sketch"),
                before: words(before),
            };
            let known = [block.types, block.compiles, block.sketch].into_iter().filter(|&is| is);
            assert!(known.count() == tested.len() && !tested.is_empty(), "how? {line}");
            assert!(!block.sketch || !remark.is_empty(), "a sketch needs a reason: {line}");
            Some(block)
        })
        .collect()
}

impl Block {
    fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or_default().trim_end_matches(".c")
    }

    fn test(&self) {
        if self.types {
            let include = format!("\n#include \"../guide/{}\"\n", self.file);
            assert!(
                read("c-tests/abi/layout.c").contains(&include),
                "c-tests/abi/layout.c compares its types"
            );
        }
        if self.compiles || self.sketch {
            let output = self.compile();
            assert_eq!(output.status.success(), self.compiles, "{}", complaints(&output));
        }
    }

    fn compile(&self) -> Output {
        let mut source = String::from("#include \"majjen.h\"\n");
        for word in &self.before {
            if word == "posix" {
                source.insert_str(0, "#define _POSIX_C_SOURCE 200809L\n");
            } else if let Some(name) = word.strip_prefix("rename ") {
                source += &format!("#define {name} guide_{name}\n");
            } else {
                source += &format!("#include \"{}\"\n", block_file(word));
            }
        }
        source += &format!("#include \"{}\"\n", self.file);
        let scratch = Scratch::new();
        fs::write(scratch.path.join("block.c"), source).expect("write the source");
        let strict: &[&str] =
            if self.sketch { &[] } else { &["-Wall", "-Werror", "-Wno-unused-function"] };
        compiler()
            .current_dir(&scratch.path)
            .args(["-std=c99", "-O2", "-Werror=implicit-function-declaration", "-c", "block.c"])
            .args(strict)
            .arg("-I")
            .arg(root().join("c-tests/guide"))
            .output()
            .expect("run the compiler")
    }
}

/// The file of a block, by its number.
fn block_file(number: &str) -> String {
    block_files()
        .into_iter()
        .find(|file| file.starts_with(&format!("{number}-")))
        .unwrap_or_else(|| panic!("there is no block {number}"))
}

fn block_files() -> BTreeSet<String> {
    fs::read_dir(root().join("c-tests/guide"))
        .expect("the blocks")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.ends_with(".c"))
        .collect()
}

fn every_block_is_listed() {
    let listed: BTreeSet<String> = blocks().into_iter().map(|block| block.file).collect();
    let mut expected = block_files();
    expected.insert("../../examples-c/http_server.c".to_owned());
    assert_eq!(listed, expected);
    assert_eq!(listed.len(), 23, "the guide's C blocks");
}

/// The comparison is the compiler's, by static assertions.
fn layout() {
    let scratch = Scratch::new();
    let output = compiler()
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-c", "-o"])
        .arg(scratch.path.join("layout.o"))
        .arg(root().join("c-tests/abi/layout.c"))
        .output()
        .expect("run the compiler");
    assert!(output.status.success(), "{}", complaints(&output));
}

fn unchanged() -> Completion {
    let sums = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(root().join("c-tests/guide"))
        .output();
    let Ok(output) = sums else {
        return Completion::ignored_with("sha256sum is not installed");
    };
    assert!(output.status.success(), "{}{}", printed(&output.stdout), printed(&output.stderr));
    let summed = read("c-tests/guide/SHA256SUMS").lines().count();
    assert_eq!(summed, blocks().len(), "each block has a sum");
    Completion::Completed
}

/// Without the flag of [`archive_second`] the linker may complain of the two names, and of nothing else.
fn static_clashes() {
    let scratch = Scratch::new();
    let output = link("epoll", &archive(), &scratch).0;
    let text = printed(&output.stderr);
    let clashes: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_once("multiple definition of `"))
        .filter_map(|(_, rest)| rest.split(['\'', '`', ';']).next())
        .collect();
    assert!(clashes.iter().all(|name| REPLACEABLE.contains(name)), "{clashes:?}\n{text}");
    assert_eq!(output.status.success(), clashes.is_empty(), "{text}");
}

// Building and running.

/// Links the shared library.
fn shared() -> Vec<String> {
    vec!["-L".to_owned(), library_dir().display().to_string(), "-lmajjen".to_owned()]
}

/// Links the static library.
fn archive() -> Vec<String> {
    vec![library_dir().join("libmajjen.a").display().to_string()]
}

/// Links the static library for a program whose own functions take the place of the library's.
fn archive_second() -> Vec<String> {
    [archive(), vec!["-Wl,-z,muldefs".to_owned()]].concat()
}

fn library_dir() -> PathBuf {
    std::env::var_os("MAJJEN_LIB_DIR")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("../release"), PathBuf::from)
}

/// The C compiler, with the header's directory.
fn compiler() -> Command {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut words = compiler.split_whitespace();
    let mut command = Command::new(words.next().expect("CC names a compiler"));
    command.args(words).env("LC_ALL", "C").arg("-I").arg(root().join("include"));
    command
}

/// Compiles and links a program of `c-tests/guide-programs/`, with the flags that the guide gives.
fn link(program: &str, flags: &[String], scratch: &Scratch) -> (Output, PathBuf) {
    let library = library_dir().join("libmajjen.so");
    let library = library
        .canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; `make build` makes it", library.display()));
    // The loader looks for the SONAME, and finds it beside the program.
    symlink(library, scratch.path.join("libmajjen.so.0")).expect("link the library");
    let executable = scratch.path.join(program);
    let output = compiler()
        .args(["-std=c99", "-O2", "-o"])
        .arg(&executable)
        .arg(root().join(format!("c-tests/guide-programs/{program}.c")))
        .args(flags)
        .args(["-ldl", "-lpthread", "-lm"])
        .arg(format!("-Wl,-rpath,{}", scratch.path.display()))
        .output()
        .expect("run the compiler");
    (output, executable)
}

/// Builds a program; the scratch directory that it is in.
fn build(program: &str, flags: &[String]) -> (PathBuf, Scratch) {
    let scratch = Scratch::new();
    let (output, executable) = link(program, flags, &scratch);
    assert!(output.status.success(), "{}", complaints(&output));
    (executable, scratch)
}

/// Builds a program and runs it, with a time limit.
fn run(program: &str, flags: &[String]) {
    const PATIENCE: Duration = Duration::from_secs(120);

    let (executable, scratch) = build(program, flags);
    let runner = std::env::var("MAJJEN_RUNNER").unwrap_or_default();
    let mut words: Vec<&OsStr> = runner.split_whitespace().map(OsStr::new).collect();
    words.push(executable.as_os_str());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    let log_path = scratch.path.join("output");
    let log = fs::File::create(&log_path).expect("a file for the output");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the file once more"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait for the program") {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().expect("end the program");
            child.wait().expect("wait for the program");
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let output = fs::read_to_string(&log_path).unwrap_or_default();
    let status = status.unwrap_or_else(|| panic!("no end after {PATIENCE:?}:\n{output}"));
    assert!(status.success(), "{status}:\n{output}");
}

fn printed(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn complaints(output: &Output) -> String {
    format!("{}\n{}", output.status, printed(&output.stderr))
}

/// A directory of its own for one trial, removed with it.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("guide-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // One that is there is left over from a process that was killed and had the same number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("create a scratch directory");
        Scratch { path }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
