//! The documents: examples compile and print what the README shows, links have targets, commands
//! exist, and versions are right.

mod coming_from;
mod scaling;
mod tutorial;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed, Trial};

pub use coming_from::serves_lines;
pub use tutorial::program_of_the_tutorial;

use crate::c_programs;
use crate::header;
use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};
use crate::running::{PATIENCE, Running};
use crate::toolchain::{self, with_tool};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("readme::the_example_serves_clients_at_once", example),
        Trial::test("readme::the_rust_example_is_tested", rust_example),
        Trial::test("readme::the_wait_functions_compile", wait_functions_compile),
        Trial::test("readme::the_blocks_on_c_compile", blocks_on_c_compile),
        Trial::test("readme::the_recipes_run", recipes_run),
        Trial::ignorable_test("readme::the_restarted_server_loses_nobody", || {
            if toolchain::runner().is_some() {
                return Ok(Completion::ignored_with(
                    "the emulator is not there for the next version",
                ));
            }
            let page = fs::read_to_string(library::root().join("docs/restart.md"))?;
            let [code] = blocks_of_c(&page)[..] else { return Err("it is not one program".into()) };
            let temp_dir = TempDir::new()?;
            let source = temp_dir.path().join("restarted.c");
            fs::write(&source, code)?;
            let program = program::compile(&source, &STRICT, Link::Shared, &[], &temp_dir)?;
            restarted_server(&program).map(|()| Completion::Completed)
        }),
        Trial::ignorable_test("readme::the_block_of_cxx_compiles", block_of_cxx_compiles),
        Trial::test("readme::links_lead_to_files", links_lead_to_files),
        Trial::test("readme::the_c_api_lists_its_sections", c_api_lists_sections),
        Trial::test("readme::the_site_has_all_documents", site_has_all),
        Trial::test("readme::commands_are_in_the_makefile", commands_are_in_the_makefile),
        Trial::test("readme::tests_that_are_named_are_there", tests_are_there),
        Trial::test("readme::names_what_the_static_library_needs", names_private_libraries),
        Trial::test("readme::names_the_oldest_rust", names_the_oldest_rust),
        Trial::test("readme::prose_is_wrapped", prose_is_wrapped),
    ];
    trials.extend(coming_from::trials());
    trials.extend(scaling::trials());
    trials.extend(tutorial::trials());
    trials
}

/// The program in C that the page begins with.
pub fn example_in_c() -> Result<String, Failed> {
    let readme = fs::read_to_string(library::root().join("README.md"))?;
    block(&readme, "c").map(str::to_owned)
}

/// As the page shows, beside clients that are silent, and with the lines that it says. It has port 7000 unless told
/// otherwise.
fn example() -> Result<(), Failed> {
    let readme = fs::read_to_string(library::root().join("README.md"))?;
    let (code, session) = (block(&readme, "c")?, block(&readme, "text")?);
    let temp_dir = Arc::new(TempDir::new()?);
    let source = temp_dir.path().join("example.c");
    fs::write(&source, code)?;
    let program = program::compile(&source, &STRICT, Link::Shared, &[], &temp_dir)?;
    let (server, address) = serves(&program, &temp_dir)?;

    let silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    let lines: Vec<&str> = session.lines().skip(1).collect();
    let [sent, answered] = lines[..] else { panic!("a line and its echo: {session}") };
    assert!(session.starts_with("$ nc 127.0.0.1 7000\n") && code.contains("\"7000\""));
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    for _ in 0..100 {
        writeln!(client, "{sent}")?;
        let mut line = String::new();
        BufReader::new(&client).read_line(&mut line)?;
        assert_eq!(line.trim_end(), answered);
    }
    drop(silent);
    server.signal(libc::SIGINT);
    let lines = server.succeed(); // All on stdout.
    let told = ["Scheduler created with epoll", "Scheduler starting", "Scheduler stopped"];
    assert_eq!(lines.len(), told.len(), "{lines:?}");
    assert!(lines.iter().zip(told).all(|(line, text)| line.contains(text)), "{lines:?}");
    Ok(())
}

/// Starts a program with a port that is free; another one, if somebody else takes it meanwhile.
fn serves(program: &Path, temp_dir: &Arc<TempDir>) -> io::Result<(Running, SocketAddr)> {
    for _ in 0..20 {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = program::command(program);
        command.arg(address.port().to_string());
        let mut server = Running::start(command, libc::SIGKILL, Arc::clone(temp_dir));
        let began = Instant::now();
        while !server.ends_within(Duration::ZERO) {
            if TcpStream::connect(address).is_ok() {
                return Ok((server, address));
            }
            assert!(began.elapsed() < PATIENCE, "it does not serve: {}", server.output());
            thread::sleep(Duration::from_millis(5));
        }
    }
    panic!("it never serves")
}

/// It is the example in the documentation of `Scheduler`, which `cargo test` runs.
fn rust_example() -> Result<(), Failed> {
    let readme = fs::read_to_string(library::root().join("README.md"))?;
    let source = fs::read_to_string(library::root().join("src/safe/scheduler.rs"))?;
    let (_, rest) = source.split_once("\n/// ```\n").ok_or("Scheduler has no example")?;
    let documented: String = rest
        .lines()
        .take_while(|line| *line != "/// ```")
        .map(|line| line.trim_start_matches("///").strip_prefix(' ').unwrap_or_default())
        .filter(|line| !line.starts_with("# "))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(block(&readme, "rust")?, documented, "README.md, and Scheduler's documentation");
    Ok(())
}

/// The first fenced block of a language.
fn block<'t>(text: &'t str, language: &str) -> Result<&'t str, Failed> {
    let start = format!("\n```{language}\n");
    text.split_once(&start)
        .and_then(|(_, rest)| rest.split_once("```\n"))
        .map(|(block, _)| block)
        .ok_or_else(|| format!("the page has no block of {language}").into())
}

/// The documents at the root and in `docs/`.
fn documents() -> Result<Vec<(PathBuf, String)>, Failed> {
    let mut documents = Vec::new();
    for directory in [library::root().to_owned(), library::root().join("docs")] {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push((path.clone(), fs::read_to_string(path)?));
            }
        }
    }
    Ok(documents)
}

/// All blocks of a language on a page.
fn blocks_of<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let start = format!("\n```{language}\n");
    let rests = page.split(start.as_str()).skip(1);
    rests.map(|rest| rest.split("```\n").next().unwrap_or_default()).collect()
}

fn blocks_of_c(page: &str) -> Vec<&str> {
    blocks_of(page, "c")
}

fn wait_functions_compile() -> Result<(), Failed> {
    let page = fs::read_to_string(library::root().join("docs/wait-functions.md"))?;
    let blocks = blocks_of_c(&page);
    assert_eq!(blocks.len(), 2, "the page's programs");
    for block in blocks {
        let temp_dir = TempDir::new()?;
        let source = temp_dir.path().join("block.c");
        // A static function that is not used is one that the page leaves to the reader.
        fs::write(&source, format!("{block}\nint main(void) {{ return 0; }}\n"))?;
        let flags = [&STRICT[..], &["-Wno-unused-function"]].concat();
        program::compile(&source, &flags, Link::Shared, &[], &temp_dir)?;
    }
    Ok(())
}

/// Each is a program that checks what it does.
fn recipes_run() -> Result<(), Failed> {
    let page = fs::read_to_string(library::root().join("docs/recipes.md"))?;
    let blocks = blocks_of_c(&page);
    assert_eq!(blocks.len(), page.matches("\n## ").count(), "one for each heading");
    for block in blocks {
        let temp_dir = TempDir::new()?;
        let source = temp_dir.path().join("recipe.c");
        fs::write(&source, block)?;
        let program = program::compile(&source, &STRICT, Link::Shared, &[], &temp_dir)?;
        program::run(&program, PATIENCE, &temp_dir)?;
    }
    Ok(())
}

/// Processes of a program, which are ended if a test fails.
struct Processes<'p> {
    program: &'p Path,
    pids: RefCell<BTreeSet<i32>>,
}

impl Drop for Processes<'_> {
    fn drop(&mut self) {
        for &pid in self.pids.borrow().iter() {
            if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == self.program) {
                // SAFETY: no preconditions.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }
}

/// A server that is given its socket as by systemd, says which process it is, and is restarted twice.
pub fn restarted_server(program: &Path) -> Result<(), Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (address, given) = (listener.local_addr()?, listener.as_raw_fd());
    let mut server = program::command(program);
    server.arg(address.port().to_string()).env("LISTEN_FDS", "1").env_remove("LISTEN_PID");
    server.stdin(Stdio::null());
    // SAFETY: fcntl() and dup2() only; the number is above that of the standard library's own pipe or it is not used.
    unsafe {
        server.pre_exec(move || match libc::dup2(given, 3) {
            3 if given != 3 => Ok(()),
            3 if libc::fcntl(3, libc::F_SETFD, 0) == 0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    };
    let mut first = server.spawn()?;
    drop(listener);
    let processes = Processes { program, pids: RefCell::new(BTreeSet::new()) };
    processes.pids.borrow_mut().insert(i32::try_from(first.id())?);
    let ask = || -> io::Result<i32> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"who is it?\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let pid = line.strip_prefix("served by ").and_then(|pid| pid.trim_end().parse().ok());
        let pid = pid.ok_or_else(|| io::Error::other(format!("it has said {line:?}")))?;
        processes.pids.borrow_mut().insert(pid);
        Ok(pid)
    };
    let signal = |pid, signal| {
        // SAFETY: no preconditions. It answers requests, so it is there.
        unsafe { libc::kill(pid, signal) }
    };
    // Of those after the first one this is not the parent.
    let runs = |pid: i32| {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z")
    };
    let mut pid = ask()?;
    assert_eq!(u32::try_from(pid)?, first.id());
    for _ in 0..2 {
        assert_eq!(signal(pid, libc::SIGHUP), 0);
        let deadline = Instant::now() + PATIENCE;
        let before = pid;
        while pid == before {
            assert!(Instant::now() < deadline, "it is not restarted");
            pid = ask()?; // Nobody is refused.
        }
        // One that has not ended goes on if the next one does not come up.
        while runs(before) {
            assert!(Instant::now() < deadline, "the old one is still there");
            ask()?;
        }
    }
    assert_eq!(signal(pid, libc::SIGTERM), 0);
    let status = first.wait()?;
    assert!(status.success(), "{status}");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Those of docs/c-api.md are parts of programs: functions, or what is in one. What they leave to the reader
/// is in `c-tests/documents.h`.
fn blocks_on_c_compile() -> Result<(), Failed> {
    let page = fs::read_to_string(library::root().join("docs/c-api.md"))?;
    let blocks = blocks_of_c(&page);
    assert!(blocks.len() > 10, "only {} were found", blocks.len());
    for block in blocks {
        let mut complaints = Vec::new();
        for [before, after] in [["", ""], ["void block(void) {\n", "}\n"]] {
            let mut compiler = toolchain::c_compiler();
            compiler.args(STRICT).args(["-Wno-unused", "-fsyntax-only", "-x", "c", "-I"]);
            compiler.arg(library::root().join("c-tests"));
            let text = format!("#include \"documents.h\"\n{before}{block}{after}");
            let finished = header::compiler_output(&mut compiler, &text)?;
            if finished.succeeded() {
                complaints.clear();
                break;
            }
            complaints.push(finished.describe());
        }
        assert!(complaints.is_empty(), "{block}\n{}", complaints.join("\nor, in a function:\n"));
    }
    Ok(())
}

/// That of C++ on the same page, which is what is in a function.
fn block_of_cxx_compiles() -> Result<Completion, Failed> {
    let page = fs::read_to_string(library::root().join("docs/c-api.md"))?;
    let block = block(&page, "cpp")?;
    let text = format!(
        "#include \"majjen.hpp\"\n#include <iostream>\n#include <mutex>\n#include <string>\n\
         void block() {{\n{block}}}\n"
    );
    let (program, arguments) = toolchain::cxx_compiler();
    with_tool(&program, || {
        let mut compiler = Command::new(&program);
        compiler.args(&arguments).args(["-std=c++17", "-Wall", "-Wextra", "-Werror"]);
        let finished =
            header::compiler_output(compiler.args(["-fsyntax-only", "-x", "c++"]), &text)?;
        assert!(finished.succeeded(), "{text}\n{}", finished.describe());
        Ok(())
    })
}

/// To files, and to headings of documents.
fn links_lead_to_files() -> Result<(), Failed> {
    let mut broken = Vec::new();
    let (mut count, mut places) = (0, 0);
    let documents = documents()?;
    for (path, text) in &documents {
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            if target.contains("://") {
                continue;
            }
            count += usize::from(!file.is_empty());
            let path_there = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let Ok(there) = path_there.canonicalize() else {
                broken.push(format!("{}: {target}", path.display()));
                continue;
            };
            let is_there = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == there);
            let document = documents.iter().find(|(other, _)| is_there(other));
            if let (false, Some((_, text))) = (place.is_empty(), document) {
                places += 1;
                if !headings(text).contains(place) {
                    broken.push(format!("{}: {target}: no such heading", path.display()));
                }
            }
        }
    }
    assert!(count > 20 && places > 20, "only {count} links and {places} places were found");
    assert!(broken.is_empty(), "links to what is not there: {broken:#?}");
    Ok(())
}

/// The headings of a page as links name them: small letters, digits, and dashes for spaces.
fn headings(page: &str) -> BTreeSet<String> {
    let outside_of_code = page.split("\n```").step_by(2).flat_map(str::lines);
    let headings = outside_of_code.filter(|line| line.starts_with('#'));
    let name = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
        text.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(name).collect()
}

/// A page of that length has a list of what is on it.
fn c_api_lists_sections() -> Result<(), Failed> {
    let page = fs::read_to_string(library::root().join("docs/c-api.md"))?;
    let start = page.find("\n## ").ok_or("docs/c-api.md has no sections")?;
    let (list, sections) = page.split_at(start);
    let missing = |name: &String| !list.contains(&format!("](#{name})"));
    let missing: Vec<String> = headings(sections).into_iter().filter(missing).collect();
    assert!(missing.is_empty(), "docs/c-api.md does not list {missing:?}");
    Ok(())
}

/// `make docs` makes pages of what its list has.
fn site_has_all() -> Result<(), Failed> {
    let list = fs::read_to_string(library::root().join("packaging/site/SUMMARY.md"))?;
    for (path, _) in documents()? {
        let name = path.strip_prefix(library::root())?.display().to_string();
        assert!(list.contains(&format!("]({name})")), "packaging/site/SUMMARY.md has no {name}");
    }
    Ok(())
}

fn commands_are_in_the_makefile() -> Result<(), Failed> {
    let mut goals = BTreeSet::new();
    for file in ["Makefile", "packaging/install.mk", "packaging/cli.mk", "packaging/docs.mk"] {
        let text = fs::read_to_string(library::root().join(file))?;
        let phony = text.lines().filter_map(|line| line.strip_prefix(".PHONY: "));
        goals.extend(phony.flat_map(str::split_whitespace).map(str::to_owned));
    }
    let mut unknown = Vec::new();
    let mut named = BTreeSet::new();
    for (path, text) in documents()? {
        // Only in code: at its start, or after another command.
        for start in ["`make ", "\nmake ", "sudo make "] {
            for rest in text.split(start).skip(1) {
                let end =
                    |character: char| !(character.is_ascii_alphanumeric() || character == '-');
                let goal = rest.split(end).next().unwrap_or_default().to_owned();
                if goal.is_empty() {
                    continue; // A bare `make`.
                }
                if !goals.contains(&goal) {
                    unknown.push(format!("{}: make {goal}", path.display()));
                }
                named.insert(goal);
            }
        }
    }
    assert!(named.len() > 10, "only {named:?} were found");
    assert!(unknown.is_empty(), "what is no goal: {unknown:#?}");
    Ok(())
}

/// The suite's tests: `c_programs::` and a program, or a module.
fn tests_are_there() -> Result<(), Failed> {
    let programs: Vec<String> = c_programs::sources()?
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let mut count = 0;
    for (path, text) in documents()? {
        for code in text.split('`').skip(1).step_by(2) {
            let name = code.rsplit(' ').next().unwrap_or_default();
            let Some((module, program)) = name.split_once("::") else { continue };
            let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if !is_name(module)
                || !is_name(program)
                || !(program.is_empty() || module == "c_programs")
            {
                continue; // A test of Rust's own, or of another library.
            }
            count += 1;
            let is_there = if module == "c_programs" {
                programs.iter().any(|name| name.starts_with(program))
            } else {
                library::root().join("tests/suite").join(format!("{module}.rs")).exists()
                    || module == "load"
            };
            assert!(is_there, "{} names the test {name}", path.display());
        }
    }
    assert!(count > 10, "only {count} were found");
    Ok(())
}

/// Tables and code may be as wide as they need to be, and a page that is generated is as its generator
/// writes it.
fn prose_is_wrapped() -> Result<(), Failed> {
    const MOST: usize = 120;
    let (mut long, mut count) = (Vec::new(), 0);
    for (path, text) in documents()? {
        if text.contains("<!-- Written by `make ") {
            continue;
        }
        let mut in_code = false;
        for (index, line) in text.lines().enumerate() {
            in_code ^= line.starts_with("```");
            if in_code || line.starts_with('|') {
                continue;
            }
            count += 1;
            if line.chars().count() > MOST {
                long.push(format!("{}:{}", path.display(), index + 1));
            }
        }
    }
    assert!(count > 1000, "only {count} lines were found");
    assert!(long.is_empty(), "over {MOST} columns: {long:#?}");
    Ok(())
}

/// As `majjen.pc` does.
fn names_private_libraries() -> Result<(), Failed> {
    let makefile = fs::read_to_string(library::root().join("packaging/install.mk"))?;
    let needed = makefile.lines().find_map(|line| line.strip_prefix("private_libs = "));
    let needed = needed.ok_or("no private_libs")?;
    for (file, sentence) in [
        ("README.md", format!("the static library needs `{needed}`")),
        ("docs/c-api.md", format!("libmajjen.a {needed} ")),
    ] {
        let text = fs::read_to_string(library::root().join(file))?;
        assert!(text.contains(&sentence), "{file} does not say: {sentence}");
    }
    Ok(())
}

fn names_the_oldest_rust() -> Result<(), Failed> {
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    for (file, sentence) in [
        ("README.md", format!("a Rust toolchain ({oldest} or later)")),
        ("CONTRIBUTING.md", format!("the oldest one that is supported, {oldest}.")),
    ] {
        let text = fs::read_to_string(library::root().join(file))?;
        assert!(text.contains(&sentence), "{file} does not say {sentence:?}");
    }
    Ok(())
}
