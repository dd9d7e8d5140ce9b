//! How mutants are made: which part of a function is found, and how it is replaced.

use std::fs;

use libtest_mimic::Failed;

use crate::library::TempDir;
use crate::sources::{Edit, Sources, call, condition, delete, delete_arm, mutant, replace, words};

const RUST: &str = r#"
impl<T> Drop for Heap<T> {
    fn drop(&mut self) {
        if self.slots . is_some() { sys::free( // all of them
            self.slots ); }
        log::free("sys::free(1)"); // sys::free(2)
    }
}

fn drop() { while a  <  b || free { sys::free(0) } }

mod clock {
    pub fn read() -> u64 {
        fn again() -> u64 { 0 }
        match now() { Err(Interrupted) => again(), Ok(now) => now + 1 }
    }
}

#[cfg(test)]
mod tests {
    fn only_here() { works() }
}
"#;

const C: &str = r#"
static int calls(void) { return logs('"'); }
int logs(int kind) {
  /* if (heap) { */
  if ( heap != NULL ) { free(heap); }
}
"#;

/// A function, an edit of it, the text before, and the text after.
type Made = (&'static str, Edit, &'static str, &'static str);

#[rustfmt::skip] // A row stays a row.
const MADE: [Made; 11] = [
    ("Heap::drop", delete("sys::free"),
        "sys::free( // all of them\n            self.slots );", ""),
    ("Heap::drop", replace("log", "{ $ }"),
        "log::free(\"sys::free(1)\");", "{ log::free(\"sys::free(1)\"); }"),
    ("Heap::drop", condition("slots.is_some()", "false"),
        "self.slots . is_some()", "false"),
    ("Heap::drop", call("slots.is_some", "!$"),
        "self.slots . is_some()", "!self.slots . is_some()"),
    ("drop", condition("a<b", "($) && c"), "a  <  b || free", "(a  <  b || free) && c"),
    ("drop", call("free", "0"), "sys::free(0)", "0"),
    ("clock::read", delete_arm("Interrupted"), "Err(Interrupted) => again(),", ""),
    ("read", words("now+1", "$ + 1"), "now + 1", "now + 1 + 1"),
    ("again", words("0", "1"), "{ 0 }", "{ 1 }"),
    ("logs", words("if(heap!=NULL)", "if (1)"), "if ( heap != NULL )", "if (1)"),
    ("calls", words("logs", "log"), "return logs", "return log"),
];

/// A function, an edit that is impossible there, and the error.
type Refused = (&'static str, Edit, &'static str);

#[rustfmt::skip] // A row stays a row.
const REFUSED: [Refused; 8] = [
    ("Heap::close", delete("free"), "src/ has no function `Heap::close`; if it has"),
    ("Pool::drop", delete("free"),
        "no function `Pool::drop` (but `Heap::drop` (src/lib.rs), `drop` (src/lib.rs))"),
    ("read", delete("sleep"), "`clock::read` (src/lib.rs) has no statement with `sleep`"),
    ("Heap::drop", call("free", "0"), "has 2 times a call of `free`"),
    ("Heap::drop", words("sys::free(2)", ""), "has no `sys::free(2)`"),
    ("only_here", delete("works"), "src/ has no function `only_here`"),
    ("logs", delete("free"), "`logs` (src/shim.c) is C, in which only words can be found"),
    ("logs", words("if (heap)", ""), "has no `if (heap)`"),
];

/// With a small library of its own.
pub fn test() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let directory = temp_dir.path().join("src");
    fs::create_dir(&directory)?;
    let (rust, c) = (directory.join("lib.rs"), directory.join("shim.c"));
    fs::write(&rust, RUST)?;
    fs::write(&c, C)?;
    let sources = Sources::in_directory(temp_dir.path());
    let read = || Ok::<_, Failed>([fs::read_to_string(&rust)?, fs::read_to_string(&c)?].concat());
    let original = read()?;

    for (function, edit, before, after) in MADE {
        assert_eq!(original.matches(before).count(), 1, "{before}");
        let made = sources.with(&mutant("made", function, edit), read)??;
        assert_eq!(made, original.replace(before, after), "{function}");
        assert_eq!(read()?, original, "{function}: it is not as it was before");
    }
    for (function, edit, said) in REFUSED {
        let refused = sources.with(&mutant("refused", function, edit), read);
        let why = refused.err().ok_or_else(|| format!("{function} has a mutant: {said}"))?;
        assert!(why.contains(said), "{said}: {why}");
        assert!(why.starts_with("mutants/edits.rs:"), "no place in a table: {why}");
    }
    Ok(())
}
