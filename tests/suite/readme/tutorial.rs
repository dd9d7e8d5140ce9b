//! The programs of docs/tutorial.md. The one with a database is tested in `hook::servers`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

use super::{block, blocks_of, blocks_of_c, restarted_server, serves, serves_lines};
use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};
use crate::running::PATIENCE;
use crate::toolchain;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let mut tests: Vec<(&str, Test)> = vec![
        ("hello_prints_what_the_page_says", hello),
        ("lines_serves_clients_at_once", || serves_lines_of("lines.c")),
        ("chat_tells_all_and_ends_in_order", chat),
        ("programs_are_named_or_quoted", named_or_quoted),
    ];
    if toolchain::runner().is_none() {
        tests.push(("cores_serves_clients_at_once", || serves_lines_of("cores.c")));
        tests.push(("server_is_restarted_without_a_loss", || {
            let temp_dir = TempDir::new()?;
            restarted_server(&compile("server.c", &temp_dir)?)
        }));
    }
    let trial = |(name, test)| Trial::test(format!("readme::tutorial::{name}"), test);
    tests.into_iter().map(trial).collect()
}

fn page() -> Result<String, Failed> {
    Ok(fs::read_to_string(library::root().join("docs/tutorial.md"))?)
}

/// The page's program whose first line has this name.
pub fn program_of_the_tutorial(name: &str) -> Result<String, Failed> {
    let page = page()?;
    let first_line = format!("// {name}\n");
    let found = blocks_of_c(&page).into_iter().find(|block| block.starts_with(&first_line));
    Ok(found.ok_or_else(|| format!("the tutorial has no {name}"))?.to_owned())
}

fn compile(name: &str, temp_dir: &TempDir) -> Result<PathBuf, Failed> {
    let source = temp_dir.path().join(name);
    fs::write(&source, program_of_the_tutorial(name)?)?;
    program::compile(&source, &STRICT, Link::Shared, &[], temp_dir)
}

fn hello() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let output = program::run(&compile("hello.c", &temp_dir)?, PATIENCE, &temp_dir)?;
    assert_eq!(output, block(&page()?, "text")?);
    Ok(())
}

fn serves_lines_of(name: &str) -> Result<(), Failed> {
    let temp_dir = Arc::new(TempDir::new()?);
    serves_lines(&compile(name, &temp_dir)?, &temp_dir)
}

/// What one says all hear, also one that has not read it when the chat ends.
fn chat() -> Result<(), Failed> {
    let temp_dir = Arc::new(TempDir::new()?);
    let (server, address) = serves(&compile("chat.c", &temp_dir)?, &temp_dir)?;
    let mut clients = Vec::new();
    for number in 0..3 {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = BufReader::new(stream);
        // It is in the room when it hears itself.
        let said = format!("client {number} is here\n");
        client.get_mut().write_all(said.as_bytes())?;
        let mut heard = String::new();
        client.read_line(&mut heard)?;
        assert_eq!(heard, said);
        clients.push(client);
    }
    for number in 0..50 {
        writeln!(clients[0].get_mut(), "line {number}")?;
    }
    let [_, others @ ..] = &mut clients[..] else { panic!("three clients") };
    let mut heard = String::new();
    while !heard.ends_with("line 49\n") {
        assert_ne!(others[1].read_line(&mut heard)?, 0, "it is cut off: {heard}");
    }
    server.signal(libc::SIGTERM);
    let mut lines = Vec::new();
    for line in others[0].by_ref().lines() {
        lines.push(line?);
    }
    assert_eq!(lines.len(), 1 + 50, "{lines:?}");
    drop(clients);
    server.succeed();
    Ok(())
}

/// Each block of code begins with the name of its file, and what is quoted of a file here is in there. The programs
/// in Rust are tested in `rust_api::`.
fn named_or_quoted() -> Result<(), Failed> {
    let of_rust = fs::read_to_string(library::root().join("docs/tutorial-rust.md"))?;
    let page = page()?;
    let mut quoted = 0;
    for block in blocks_of_c(&page).into_iter().chain(blocks_of(&of_rust, "rust")) {
        let (first_line, rest) = block.split_once('\n').ok_or("an empty block")?;
        let name = first_line.strip_prefix("// ").ok_or("a block without a name")?;
        if name.contains('/') {
            let file = fs::read_to_string(library::root().join(name))?;
            assert!(file.contains(rest), "this is not in {name}:\n{rest}");
            quoted += 1;
        } else if name.ends_with(".c") {
            let tested = ["hello.c", "lines.c", "chat.c", "visits.c", "cores.c", "server.c"];
            assert!(tested.contains(&name), "{name} is not tested");
        }
    }
    assert_eq!(quoted, 4);
    Ok(())
}
