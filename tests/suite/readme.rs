//! The README's example: it compiles, and prints what the README says.

use std::fs;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::library::{self, Workplace};
use crate::program::{self, Link, STRICT};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test("readme::the_example_prints_what_it_says", example)]
}

fn example() -> Result<(), Failed> {
    let readme = fs::read_to_string(library::root().join("README.md"))?;
    let (code, expected) = (block(&readme, "c")?, block(&readme, "text")?);
    let workplace = Workplace::new()?;
    let source = workplace.path().join("example.c");
    fs::write(&source, code)?;
    let program = program::compile(&source, &STRICT, Link::Shared, &[], &workplace)?;
    let printed = program::run(&program, Duration::from_secs(60), &workplace)?;
    if printed == expected {
        return Ok(());
    }
    Err(format!("the README says\n{expected}\nand the program\n{printed}").into())
}

/// The first fenced block of a language.
fn block<'t>(text: &'t str, language: &str) -> Result<&'t str, Failed> {
    let start = format!("\n```{language}\n");
    text.split_once(&start)
        .and_then(|(_, rest)| rest.split_once("```\n"))
        .map(|(block, _)| block)
        .ok_or_else(|| format!("README.md has no block of {language}").into())
}
