//! The guide's C blocks, byte for byte, against the header and the library.
//!
//! `c-tests/guide/README.md` lists the blocks and how each is tested; the trials are read from
//! there. The programs in `c-tests/guide-programs/` use the blocks.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::library::{self, TempDir};
use crate::program::{self, Link};
use crate::{process, toolchain};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = blocks()
        .into_iter()
        .map(|block| Trial::test(format!("guide::block_{}", block.name()), move || block.test()))
        .collect();
    type Test = fn() -> Result<(), Failed>;
    let others: [(&str, Test); 6] = [
        ("every_block_is_listed", every_block_is_listed),
        ("epoll_section_with_the_shared_library", || runs("epoll", Link::Shared)),
        ("epoll_section_with_the_static_library", || runs("epoll", Link::Static)),
        ("epoll_section_and_server_with_the_shared_library", || {
            builds("epoll_and_server", Link::Shared)
        }),
        ("epoll_section_and_server_with_the_static_library", || {
            builds("epoll_and_server", Link::Static)
        }),
        ("the_library_never_calls_the_programs_functions", || runs("overrides", Link::Shared)),
    ];
    trials.extend(others.map(|(name, test)| Trial::test(format!("guide::{name}"), test)));
    trials.push(Trial::ignorable_test("guide::blocks_are_unchanged", || {
        toolchain::with_tool("sha256sum", unchanged)
    }));
    trials
}

/// A row of the list.
struct Block {
    file: String,
    types: bool,
    compiles: bool,
    sketch: bool,
    /// The text before it in its file.
    before: Vec<String>,
}

fn read(path: &str) -> String {
    fs::read_to_string(library::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
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
                return None; // The header of the table.
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

    fn test(&self) -> Result<(), Failed> {
        if self.types {
            let include = format!("\n#include \"../guide/{}\"\n", self.file);
            assert!(
                read("c-tests/abi/layout.c").contains(&include),
                "c-tests/abi/layout.c compares its types"
            );
        }
        if self.compiles || self.sketch {
            let finished = self.compile()?;
            if finished.succeeded() != self.compiles {
                return Err(format!("the compiler {}", finished.describe()).into());
            }
        }
        Ok(())
    }

    fn compile(&self) -> Result<process::Finished, Failed> {
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
        let temp_dir = TempDir::new()?;
        fs::write(temp_dir.path().join("block.c"), source)?;
        let strict: &[&str] =
            if self.sketch { &[] } else { &["-Wall", "-Werror", "-Wno-unused-function"] };
        let mut compiler = toolchain::c_compiler();
        compiler
            .current_dir(temp_dir.path())
            .args(GUIDE_FLAGS)
            .args(["-Werror=implicit-function-declaration", "-c", "block.c"])
            .args(strict);
        for directory in ["include", "c-tests/guide"] {
            compiler.arg("-I").arg(library::root().join(directory));
        }
        Ok(process::run(&mut compiler, Duration::from_secs(60), temp_dir.path())?)
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
    fs::read_dir(library::root().join("c-tests/guide"))
        .expect("the blocks")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.ends_with(".c"))
        .collect()
}

fn every_block_is_listed() -> Result<(), Failed> {
    let listed: BTreeSet<String> = blocks().into_iter().map(|block| block.file).collect();
    let mut expected = block_files();
    expected.insert("../../examples-c/http_server.c".to_owned());
    assert_eq!(listed, expected);
    assert_eq!(listed.len(), 23, "the guide's C blocks");
    Ok(())
}

fn unchanged() -> Result<(), Failed> {
    let output = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(library::root().join("c-tests/guide"))
        .output()?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        return Err(String::from_utf8_lossy(&text).into_owned().into());
    }
    let summed = read("c-tests/guide/SHA256SUMS").lines().count();
    assert_eq!(summed, blocks().len(), "each block has a sum");
    Ok(())
}

/// A program of `c-tests/guide-programs/`.
fn program(name: &str) -> PathBuf {
    library::root().join(format!("c-tests/guide-programs/{name}.c"))
}

/// The guide's flags, and its names without a prefix.
const GUIDE_FLAGS: [&str; 3] = ["-std=c99", "-O2", "-DMAJJEN_GUIDE_NAMES"];

fn builds(name: &str, link: Link) -> Result<(), Failed> {
    program::compile(&program(name), &GUIDE_FLAGS, link, &[], &TempDir::new()?)?;
    Ok(())
}

fn runs(name: &str, link: Link) -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let program = program::compile(&program(name), &GUIDE_FLAGS, link, &[], &temp_dir)?;
    program::run(&program, Duration::from_secs(120), &temp_dir)?;
    Ok(())
}
