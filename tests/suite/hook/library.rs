//! The library itself: its names, what it and the core tell each other, and what it costs those who do not
//! use it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use super::preload;
use crate::library::{self as built, TempDir};
use crate::program::{self, Link};
use crate::toolchain::with_tools;

const LIMIT: Duration = Duration::from_secs(60);

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("hook::library::knows_the_calls_of_the_core", calls),
        Trial::test("hook::library::knows_what_a_run_is", fields_of_a_run),
        Trial::ignorable_test("hook::library::exports_what_it_hooks", || {
            with_tools(&["nm"], exports)
        }),
        Trial::test("hook::library::is_described", described),
        Trial::ignorable_test("hook::library::hooks_each_name_of_a_function", || {
            with_tools(&["nm", "ldd"], all_names)
        }),
        Trial::ignorable_test("hook::library::is_an_ordinary_shared_library", || {
            with_tools(&["readelf"], sections)
        }),
        Trial::ignorable_test("hook::library::wraps_what_programs_call", || {
            with_tools(&["nm"], wrapped)
        }),
        Trial::test("hook::library::is_looked_for_once_a_run", looked_for),
        Trial::ignorable_test("hook::library::costs_few_instructions_outside_tasks", instructions),
    ]
}

fn read(file: &str) -> Result<String, Failed> {
    fs::read_to_string(built::root().join(file)).map_err(|error| format!("{file}: {error}").into())
}

/// The text between the two.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Result<&'a str, Failed> {
    let rest = text.split_once(from).ok_or_else(|| format!("there is no {from:?}"))?.1;
    Ok(rest.split_once(to).ok_or_else(|| format!("there is no {to:?} after {from:?}"))?.0)
}

/// The functions of `struct mj_hook_calls`, in order.
fn calls_in_c() -> Result<Vec<String>, Failed> {
    let text = read("hook/src/core.h")?;
    let fields = between(&text, "struct mj_hook_calls {\n", "\n};")?;
    // At the start of a line: parameters may be functions, too.
    Ok(fields
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| Some(line.split_once("(*")?.1.split_once(')')?.0.to_owned()))
        .collect())
}

/// The two declare the same table: its order, and the types, which are those of the header.
fn calls() -> Result<(), Failed> {
    let in_c = calls_in_c()?;
    let text = read("src/ffi/hook_calls.rs")?;
    let listed = between(&text, "    functions: [\n", "\n    ],")?;
    let in_rust: Vec<String> = listed
        .split(',')
        .filter_map(|entry| entry.split_whitespace().next())
        .map(|entry| entry.rsplit("::").next().unwrap_or(entry).to_lowercase())
        .collect();
    // Those of the C ABI have its prefix in Rust; the others are for the library alone.
    let is_public = |at: usize| in_rust.get(at).is_some_and(|name| name.starts_with("mj_"));
    let expected: Vec<String> = (0..)
        .zip(&in_c)
        .map(|(at, name)| if is_public(at) { format!("mj_{name}") } else { name.clone() })
        .collect();
    assert_eq!(expected, in_rust, "hook/src/core.h and src/ffi/hook_calls.rs");

    let temp_dir = TempDir::new()?;
    let source = temp_dir.path().join("calls.c");
    let mut code = "#include \"majjen.h\"\n#include \"hook/src/core.h\"\n\
                    #define SAME(a, b) __builtin_types_compatible_p(__typeof__(a), __typeof__(b))\n\
                    static const struct mj_hook_calls* calls;\n"
        .to_owned();
    for (_, name) in in_c.iter().enumerate().filter(|(at, _)| is_public(*at)) {
        code += &format!("_Static_assert(SAME(calls->{name}, &mj_{name}), \"{name}\");\n");
    }
    code += "int main(void) { return calls == NULL && \
             sizeof *calls == sizeof(size_t) + ";
    code += &format!("{} * sizeof(void (*)(void)) ? 0 : 1; }}\n", in_c.len());
    fs::write(&source, code)?;
    let root = format!("-I{}", built::root().display());
    let flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", &root];
    let program = program::compile(&source, &flags, Link::Shared, &[], &temp_dir)?;
    program::run(&program, LIMIT, &temp_dir)?;
    Ok(())
}

/// The names of the fields of `struct NAME` in Rust or in C: the last word before a separator.
fn field_names(fields: &str, end: impl Fn(&str) -> Option<&str>) -> Vec<String> {
    fields
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .filter_map(|line| end(line.trim()))
        .filter_map(|part| part.rsplit(['*', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// What the core tells of a run: the same fields in the same order, all of them words.
fn fields_of_a_run() -> Result<(), Failed> {
    let text = read("hook/src/core.h")?;
    let fields = between(&text, "struct mj_hook_run {\n", "\n};")?;
    let in_c = field_names(fields, |line| Some(line.split_once(';')?.0));
    let text = read("src/engine/scheduler/hook_library.rs")?;
    let fields = between(&text, "pub(super) struct HookLibrary {\n", "\n}")?;
    let in_rust = field_names(fields, |line| Some(line.split_once(": ")?.0));
    assert!(!in_c.is_empty() && in_rust.starts_with(&in_c), "{in_c:?}\n{in_rust:?}");
    Ok(())
}

/// The functions of `hook/src/functions.h`.
fn hooked() -> Result<BTreeSet<String>, Failed> {
    let text = read("hook/src/functions.h")?;
    let names = text.split(" X(").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    Ok(names.map(str::to_owned).collect())
}

/// The document and the manual page name each function that is hooked; locks by their first words.
fn described() -> Result<(), Failed> {
    for file in ["docs/hook.md", "packaging/majjen-hook.7.in"] {
        let text = read(file)?;
        let words: BTreeSet<&str> =
            text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        let forgotten: Vec<String> = hooked()?
            .into_iter()
            .filter(|name| {
                let is_lock = ["pthread_", "mtx_", "sigprocmask"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
                let plain = name.trim_end_matches("_r").trim_end_matches("v2");
                !is_lock && !words.contains(name.as_str()) && !words.contains(plain)
            })
            .collect();
        assert!(forgotten.is_empty(), "{file} does not name {forgotten:?}");
    }
    Ok(())
}

/// All sources of the library.
fn code() -> Result<String, Failed> {
    let mut code = String::new();
    for entry in fs::read_dir(built::root().join("hook/src"))? {
        code += &fs::read_to_string(entry?.path())?;
    }
    Ok(code)
}

/// What the library exports: functions that are hooked, other names of these, their checked forms, and
/// what the two headers declare.
fn exports() -> Result<(), Failed> {
    let mut expected = hooked()?;
    let code = code()?;
    for part in code.split("\nALSO(").skip(1) {
        expected.extend(part.split_once(',').map(|(name, _)| name.to_owned()));
    }
    for part in code.split(" HOOK(__").skip(1) {
        let name = part.split_once(')').map(|(name, _)| format!("__{name}"));
        expected.extend(name.filter(|name| name.ends_with("_chk")));
    }
    for header in ["hook/majjen-hook.h", "hook/src/core.h"] {
        for line in read(header)?.lines().filter(|line| !line.starts_with([' ', '/', '#'])) {
            let word = line.split_once('(').and_then(|(head, _)| head.rsplit([' ', '*']).next());
            expected.extend(word.filter(|word| word.starts_with("mj_hook_")).map(str::to_owned));
        }
    }
    let exported = built::symbols("libmajjen-hook.so", &["-D"])?;
    let missing: Vec<_> = expected.difference(&exported).collect();
    let surplus: Vec<_> = exported.difference(&expected).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
    Ok(())
}

/// Each name that the C library has for a function that is hooked is hooked.
fn all_names() -> Result<(), Failed> {
    let library = built::path("libmajjen-hook.so")?;
    let temp_dir = TempDir::new()?;
    let listed = program::run_command(Command::new("ldd").arg(&library), LIMIT, &temp_dir)?;
    let libc = between(&listed, "libc.so.6 => ", " (")?;
    let names = program::run_command(
        Command::new("nm").args(["-D", "--defined-only", libc]),
        LIMIT,
        &temp_dir,
    )?;
    let symbols: Vec<(&str, &str)> = names
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [address, _, name] = words[..] else { return None };
            // One `@` is of a version that is not for new programs.
            let (name, version) = name.split_once("@@")?;
            (version != "GLIBC_PRIVATE").then_some((address, name))
        })
        .collect();
    let exported = built::symbols("libmajjen-hook.so", &["-D"])?;
    let hooked = hooked()?;
    let addresses: BTreeSet<&str> = symbols
        .iter()
        .filter(|(_, name)| hooked.contains(*name))
        .map(|(address, _)| *address)
        .collect();
    assert!(addresses.len() > 40, "of {} functions", addresses.len());
    let forgotten: Vec<&str> = symbols
        .iter()
        .filter(|(address, name)| addresses.contains(address) && !exported.contains(*name))
        .map(|(_, name)| *name)
        .collect();
    let checked: Vec<&str> = symbols
        .iter()
        .map(|(_, name)| *name)
        .filter(|name| {
            let plain = name.strip_prefix("__").and_then(|name| name.strip_suffix("_chk"));
            plain.is_some_and(|plain| exported.contains(plain)) && !exported.contains(*name)
        })
        .collect();
    assert!(forgotten.is_empty() && checked.is_empty(), "not hooked: {forgotten:?} {checked:?}");
    Ok(())
}

/// Its name for the loader is that of the ABI; it is position-independent and needs the C library alone.
fn sections() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let library = built::path("libmajjen-hook.so")?;
    let text =
        program::run_command(Command::new("readelf").arg("-dW").arg(library), LIMIT, &temp_dir)?;
    assert!(text.contains("Library soname: [libmajjen-hook.so.0]"), "{text}");
    assert!(!text.contains("TEXTREL"), "{text}");
    let needed: Vec<&str> = text
        .split("Shared library: [")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(']')?.0))
        .filter(|name| !["libc.so.6", "libgcc_s.so.1"].contains(name))
        .filter(|name| !name.starts_with("ld-linux"))
        .collect();
    assert!(needed.is_empty(), "it needs {needed:?}");
    Ok(())
}

/// The options of the archive name each function that is hooked, and nothing that only the C library calls.
fn wrapped() -> Result<(), Failed> {
    let options = fs::read_to_string(built::path("majjen-hook.wrap")?)?;
    let wrapped: BTreeSet<String> = options
        .lines()
        .filter_map(|line| line.strip_prefix("--wrap="))
        .map(str::to_owned)
        .collect();
    let missing: Vec<String> = hooked()?.difference(&wrapped).cloned().collect();
    assert!(missing.is_empty(), "missing {missing:?}");
    let surplus: Vec<&String> =
        wrapped.iter().filter(|name| name.starts_with("__") && !name.ends_with("_chk")).collect();
    assert!(surplus.is_empty(), "{surplus:?}");
    // No other names get into a program's way.
    let defined = built::symbols("libmajjen-hook.a", &["-g"])?;
    let others: Vec<&String> = defined
        .iter()
        .filter(|name| !name.starts_with("__wrap_") && !name.starts_with("mj_hook_"))
        .collect();
    assert!(others.is_empty(), "the archive defines {others:?}");
    Ok(())
}

fn part(name: &str) -> std::path::PathBuf {
    built::root().join(format!("c-tests/hook/parts/{name}.c"))
}

/// A program without the library looks for it once a run, and finds nothing.
fn looked_for() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let program =
        program::compile(&part("looks"), &program::STRICT, Link::Shared, &["-ldl"], &temp_dir)?;
    program::run(&program, LIMIT, &temp_dir)?;
    Ok(())
}

/// How many instructions, or why they cannot be counted.
type Counted = Result<Vec<u64>, Completion>;

/// A call outside tasks has a few instructions more than without the library, and in a program whose
/// scheduler runs, too: counted one by one.
fn instructions() -> Result<Completion, Failed> {
    const MOST: [u64; 2] = [15, 2 * 15]; // A read; locking and unlocking.
    let temp_dir = TempDir::new()?;
    let program = program::compile(&part("steps"), &program::STRICT, Link::Shared, &[], &temp_dir)?;
    let count = |with: bool| -> Result<Counted, Failed> {
        let mut command = program::command(&program);
        if with {
            preload(&mut command, &built::path("libmajjen-hook.so")?);
        }
        let finished = crate::process::run(&mut command, LIMIT, temp_dir.path())?;
        if let ignored @ Completion::Ignored { .. } = program::verdict(&finished)? {
            return Ok(Err(ignored));
        }
        let counts: Result<Vec<u64>, _> =
            finished.output.split_whitespace().map(str::parse).collect();
        Ok(Ok(counts.map_err(|error| format!("{error}: {}", finished.output))?))
    };
    let (without, with) = match (count(false)?, count(true)?) {
        (Ok(without), Ok(with)) => (without, with),
        (Err(ignored), _) | (_, Err(ignored)) => return Ok(ignored),
    };
    assert!(without.len() == with.len() && without.len() >= 3, "{without:?} {with:?}");
    for (index, (before, after)) in without.iter().zip(&with).enumerate() {
        let most = before + MOST[index % MOST.len()];
        assert!(*after <= most, "{without:?} instructions, with the library {with:?}");
    }
    Ok(Completion::Completed)
}
