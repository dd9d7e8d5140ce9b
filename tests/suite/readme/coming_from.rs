//! The pages for people who come from other libraries, docs/from-*.md: what they name is there, our programs do
//! what they say, and the others' compile where their headers are installed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Completion, Failed, Trial};

use super::{block, blocks_of, documents, serves};
use crate::header;
use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};
use crate::running::PATIENCE;
use crate::toolchain;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("readme::coming_from::programs_run", programs_run),
        Trial::test("readme::coming_from::each_call_has_a_counterpart", have_counterparts),
        Trial::test("readme::coming_from::names_of_c_are_in_the_header", names_of_c),
    ];
    // Debian has no neco and no libdill.
    for peer in ["libuv", "state-threads", "pthreads"] {
        let name = format!("readme::coming_from::{peer}_compiles");
        trials.push(Trial::ignorable_test(name, move || compiles(peer)));
    }
    trials
}

/// These pages, by what they are called after "from-".
fn pages() -> Result<Vec<(String, String)>, Failed> {
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.strip_prefix("from-")?.to_owned());
    let pages = documents()?.into_iter().filter_map(|(path, text)| Some((name(path)?, text)));
    let pages: Vec<(String, String)> = pages.collect();
    assert_eq!(pages.len(), 6, "a page for each");
    Ok(pages)
}

/// Those in C; `rust_api::` runs that in Rust. A server sends lines back, another program prints what the page says.
fn programs_run() -> Result<(), Failed> {
    let mut servers = 0;
    for (peer, page) in pages()? {
        let code = match &blocks_of(&page, "c")[..] {
            [] if peer == "tokio" => continue,
            [code] => *code,
            _ => return Err(format!("from {peer}: not one program").into()),
        };
        let temp_dir = Arc::new(TempDir::new()?);
        let source = temp_dir.path().join("program.c");
        fs::write(&source, code)?;
        let program = program::compile(&source, &STRICT, Link::Shared, &[], &temp_dir)?;
        if code.contains("mj_listen(") {
            serves_lines(&program, &temp_dir)
                .map_err(|failed| format!("from {peer}: {failed:?}"))?;
            servers += 1;
        } else {
            let output = program::run(&program, PATIENCE, &temp_dir)?;
            assert_eq!(output, block(&page, "text")?, "from {peer}");
        }
    }
    assert_eq!(servers, 4);
    Ok(())
}

/// To two clients at once, until it is interrupted.
pub fn serves_lines(program: &Path, temp_dir: &Arc<TempDir>) -> Result<(), Failed> {
    let (server, address) = serves(program, temp_dir)?;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(PATIENCE))?;
        clients.push(BufReader::new(client));
    }
    for text in ["one\n", "two\n"] {
        for client in &mut clients {
            client.get_mut().write_all(text.as_bytes())?;
            let mut line = String::new();
            client.read_line(&mut line)?;
            assert!(line.ends_with(text), "{line:?} is the answer to {text:?}");
        }
    }
    drop(clients);
    server.signal(libc::SIGINT);
    server.succeed();
    Ok(())
}

/// A row of the table has a call of theirs, and what is here instead; of Rust, the crate has the words of that.
fn have_counterparts() -> Result<(), Failed> {
    let words_of_rust = words_of_rust()?;
    for (peer, page) in pages()? {
        let mut count = 0;
        let rows =
            page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| Majjen |"));
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [theirs, ours] = cells[..] else {
                return Err(format!("from {peer}: a row has two cells: {row}").into());
            };
            assert!(!theirs.is_empty(), "from {peer}: {row}");
            let says_that_there_is_none =
                ["none", "not needed", "often nothing"].iter().any(|word| ours.starts_with(word));
            assert!(says_that_there_is_none || ours.contains(['`', '(']), "from {peer}: {row}");
            count += 1;
            if peer == "tokio" {
                for word in paths(ours) {
                    assert!(words_of_rust.contains(&word), "{word} is not in the crate: {row}");
                }
            } else {
                let is_ours = |code: &str| code.starts_with("mj_") || code.starts_with("MJ_");
                assert!(!codes(theirs).any(is_ours), "from {peer}: the columns: {row}");
            }
        }
        assert!(count > 20, "from {peer}: only {count} rows were found");
    }
    Ok(())
}

/// What is in backquotes.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The words of the paths and calls in backquotes, without arguments.
fn paths(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for code in codes(text) {
        let mut depth = 0;
        let without_arguments: String = code
            .chars()
            .filter(|character| {
                depth += i32::from(*character == '(') - i32::from(*character == ')');
                depth == 0 && *character != ')'
            })
            .collect();
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        words.extend(
            without_arguments
                .split(|c| !is_word(c))
                .filter(|word| !word.is_empty())
                .map(str::to_owned),
        );
    }
    // The standard library's.
    words.retain(|word| !["std", "Command", "Rc", "Read", "Write"].contains(&word.as_str()));
    words
}

/// All words of the crate's code, which has none of those that are only in its comments.
fn words_of_rust() -> Result<BTreeSet<String>, Failed> {
    fn collect(path: &Path, words: &mut BTreeSet<String>) -> Result<(), Failed> {
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                collect(&entry?.path(), words)?;
            }
            return Ok(());
        }
        for line in fs::read_to_string(path)?.lines() {
            let code = line.split("//").next().unwrap_or_default();
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            words.extend(code.split(|c| !is_word(c)).map(str::to_owned));
        }
        Ok(())
    }
    let mut words = BTreeSet::new();
    for path in ["src/lib.rs", "src/safe.rs", "src/safe"] {
        collect(&library::root().join(path), &mut words)?;
    }
    assert!(words.contains("block_on") && !words.contains("spawn_blocking"));
    Ok(words)
}

/// Whatever a document calls a function, a type or a constant of ours is one; but for what the changes tell of.
fn names_of_c() -> Result<(), Failed> {
    let mut known = BTreeSet::new();
    for file in ["include/majjen.h", "include/majjen.hpp", "hook/majjen-hook.h"] {
        known.extend(names_in(&fs::read_to_string(library::root().join(file))?));
    }
    let (mut unknown, mut count) = (Vec::new(), 0);
    for (path, text) in documents()? {
        if path.ends_with("CHANGELOG.md") {
            continue;
        }
        for name in names_in(&text) {
            count += 1;
            if !known.contains(&name) && !name.ends_with('_') {
                unknown.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(count > 500, "only {count} names were found");
    assert!(unknown.is_empty(), "in no header: {unknown:#?}");
    Ok(())
}

/// The words that begin as our names do. What ends in an underscore stands for several.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_word(c));
    words
        .filter(|word| word.starts_with("mj_") || word.starts_with("MJ_"))
        .map(str::to_owned)
        .collect()
}

/// The other library's program.
fn compiles(peer: &'static str) -> Result<Completion, Failed> {
    let page = fs::read_to_string(library::root().join(format!("docs/from-{peer}.md")))?;
    let code = block(&page, &format!("c {peer}"))?;
    let mut compiler = toolchain::c_compiler();
    compiler.args(["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c"]);
    let finished = header::compiler_output(&mut compiler, code)?;
    if finished.succeeded() {
        return Ok(Completion::Completed);
    }
    let is_missing = |line: &str| line.contains("No such file or directory");
    if let Some(line) = finished.output.lines().find(|line| is_missing(line)) {
        return Ok(Completion::ignored_with(format!("not installed: {}", line.trim())));
    }
    Err(format!("from {peer}: the compiler {}", finished.describe()).into())
}
