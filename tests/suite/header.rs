//! The header: up to date, valid in every dialect, in agreement with the guide, and equal to the
//! shared library's exports.

mod promises;
mod text;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use libtest_mimic::{Completion, Failed, Trial};

use crate::declarations;
use crate::library::{self, TempDir};
use crate::majjen_h;
use crate::toolchain::{self, with_tool};
use crate::{process, process::Finished};

/// Names that the header does not declare, since the guide's own blocks define them as `static`.
const LEFT_TO_THE_PROGRAM: &[&str] = &[
    "get_monotonic_time_ns",
    "default_wait_nanosleep",
    "wait_epoll",
    "mj_epoll_data",
    "heap_swap",
    "heap_bubble_up",
    "heap_bubble_down",
    "timer_heap_insert",
    "timer_heap_pop",
    "timer_heap_peek",
    "global_logger",
    "level_strings",
    "default_log_handler",
];

/// The names that MAJJEN_GUIDE_NAMES adds.
const GUIDE_NAMES: &[&str] =
    &["get_current_scheduler", "enqueue_runnable", "dequeue_runnable", "MAX_FDS"];

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        // In this order when they are generated: the second is made from the first.
        Trial::test("header::is_up_to_date", is_up_to_date),
        Trial::test("header::is_up_to_date_in_rust", is_up_to_date_in_rust),
        Trial::test("header::everything_is_documented", everything_is_documented),
        Trial::test("header::says_of_each_function_whether_it_suspends", says_whether_it_suspends),
        Trial::test("header::leaves_the_guides_static_names_alone", leaves_static_names_alone),
        Trial::test("header::has_the_guides_names_when_told_to", has_guide_names_when_told),
        Trial::test("header::has_the_guides_layout", has_the_guides_layout),
        Trial::test("header::has_formats_checked", has_formats_checked),
        Trial::test("header::has_log_lines_called_without_a_stub", calls_without_a_stub),
        Trial::ignorable_test("header::declares_what_the_library_exports", || {
            with_tool("nm", declares_what_the_library_exports)
        }),
        Trial::ignorable_test("header::the_library_has_a_soname", || {
            with_tool("readelf", the_library_has_a_soname)
        }),
    ];
    trials.extend(promises::trials());
    for dialect in ["c99", "c11", "c17", "c2x"] {
        let name = format!("header::compiles_as_{dialect}");
        trials.push(Trial::test(name, move || compiles_as_c(dialect)));
    }
    for dialect in ["c++11", "c++14", "c++17", "c++20", "c++23"] {
        let name = format!("header::compiles_as_{dialect}");
        trials.push(Trial::ignorable_test(name, move || compiles_as_cxx(dialect)));
    }
    for dialect in ["c++17", "c++20", "c++23"] {
        let name = format!("header::hpp_compiles_as_{dialect}");
        trials.push(Trial::ignorable_test(name, move || hpp_compiles_as(dialect)));
    }
    trials
}

/// The committed header is what is made of the sources.
fn is_up_to_date() -> Result<(), Failed> {
    renew_or_compare("include/majjen.h", &text::generate()?)
}

/// The declarations for tests in Rust match the header.
fn is_up_to_date_in_rust() -> Result<(), Failed> {
    renew_or_compare("tests/support/majjen_h.rs", &majjen_h::generate()?)
}

fn renew_or_compare(path: &str, generated: &str) -> Result<(), Failed> {
    let committed_path = library::root().join(path);
    let committed = fs::read_to_string(&committed_path).unwrap_or_default();
    if committed == generated {
        return Ok(());
    }
    if env::var_os("MAJJEN_BLESS").is_some() {
        return Ok(fs::write(&committed_path, generated)?);
    }
    let difference = first_difference(&committed, generated);
    Err(format!("{path} is out of date; `make header` renews it.\n{difference}").into())
}

/// Each declaration, constant and field has a comment above it, or directly follows one that has.
fn everything_is_documented() -> Result<(), Failed> {
    let header = fs::read_to_string(library::root().join("include/majjen.h"))?;
    let mut undocumented = Vec::new();
    let mut documented = 0;
    let mut above = "";
    for line in header.lines() {
        // What follows a comment or another part of the same declaration needs no comment of its
        // own.
        let begins = !line.is_empty()
            && !line.starts_with(['#', '}', '{'])
            && !line.trim_start().starts_with("//")
            && !line.starts_with("   ")
            && !line.starts_with("extern \"C\"")
            && !["struct mj_scheduler;", "  (void)mj_scheduler_enqueue(scheduler, task);"]
                .contains(&line)
            && !["  return ", "  __attribute__"].iter().any(|part| line.starts_with(part));
        if begins && above.trim_start().starts_with("//") {
            documented += 1;
        } else if begins {
            undocumented.push(line);
        }
        above = line;
    }
    // If parsing found nothing, this must not pass.
    let functions = declarations::functions()?.len();
    if documented < functions {
        return Err(
            format!("only {documented} declarations found, with {functions} functions").into()
        );
    }
    if undocumented.is_empty() {
        return Ok(());
    }
    Err(format!("without a comment:\n{}", undocumented.join("\n")).into())
}

/// In its comment, the lines above its declaration.
fn says_whether_it_suspends() -> Result<(), Failed> {
    let header = fs::read_to_string(library::root().join("include/majjen.h"))?;
    let mut silent = Vec::new();
    for name in declarations::functions()? {
        let comment = declarations::comment_of(&header, &name)?;
        if !comment.to_lowercase().contains("suspend") {
            silent.push(name);
        }
    }
    assert!(silent.is_empty(), "nothing is said of {silent:?}");
    Ok(())
}

/// The first line in which two texts differ, in both versions.
fn first_difference(committed: &str, generated: &str) -> String {
    let (mut left, mut right) = (committed.lines(), generated.lines());
    let mut number = 1;
    loop {
        match (left.next(), right.next()) {
            (None, None) => return "They differ in how lines end.".to_owned(),
            (left, right) if left == right => number += 1,
            (left, right) => {
                let (left, right) = (left.unwrap_or("(end)"), right.unwrap_or("(end)"));
                return format!("line {number}\n  committed: {left}\n  generated: {right}");
            }
        }
    }
}

/// Compiles a text, with a compiler whose dialect and language are set, and checks that it
/// succeeds.
fn compile(compiler: &mut Command, text: &str) -> Result<(), Failed> {
    let finished = compiler_output(compiler, text)?;
    if finished.succeeded() {
        return Ok(());
    }
    Err(format!("the compiler {}\nof\n{text}", finished.describe()).into())
}

/// Compiles a text, and returns the compiler's output.
pub fn compiler_output(compiler: &mut Command, text: &str) -> Result<Finished, Failed> {
    let temp_dir = TempDir::new()?;
    let source = temp_dir.path().join("source");
    fs::write(&source, text)?;
    compiler.arg("-I").arg(library::root().join("include")).arg(&source);
    process::run(compiler, Duration::from_secs(60), temp_dir.path())
        .map_err(|error| format!("the compiler cannot be run: {error}").into())
}

/// A C compiler that only checks the syntax, with all warnings as errors.
fn checking_c_compiler(dialect: &str) -> Command {
    let mut compiler = toolchain::c_compiler();
    compiler.arg(format!("-std={dialect}")).args(CHECKING_FLAGS).args(["-x", "c"]);
    compiler
}

const CHECKING_FLAGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"];

/// The header by itself, twice, and with the guide's names.
pub const WAYS_TO_INCLUDE: [&str; 3] = [
    "#include \"majjen.h\"\n",
    "#include \"majjen.h\"\n#include \"majjen.h\"\n",
    "#define MAJJEN_GUIDE_NAMES\n#include \"majjen.h\"\n#include \"majjen.h\"\n",
];

fn compiles_as_c(dialect: &str) -> Result<(), Failed> {
    for text in WAYS_TO_INCLUDE {
        compile(&mut checking_c_compiler(dialect), text)?;
    }
    Ok(())
}

fn compiles_as_cxx(dialect: &str) -> Result<Completion, Failed> {
    let (program, arguments) = toolchain::cxx_compiler();
    with_tool(&program, || {
        for text in WAYS_TO_INCLUDE {
            let mut compiler = Command::new(&program);
            compiler.args(&arguments).arg(format!("-std={dialect}"));
            compiler.args(CHECKING_FLAGS).args(["-x", "c++"]);
            compile(&mut compiler, text)?;
        }
        Ok(())
    })
}

/// `majjen.hpp`, twice, with each template used; by Clang too, where there is one.
fn hpp_compiles_as(dialect: &str) -> Result<Completion, Failed> {
    const TEXT: &str = r#"
        #include "majjen.hpp"
        #include "majjen.hpp"
        #include <string>
        template class majjen::channel<int>;
        template class majjen::channel<std::string>;
        int use(majjen::scheduler &scheduler, majjen::group &group, majjen::mutex &mutex) {
            auto function = [&] { mutex.lock(); };
            return scheduler.go(function) + group.go(function) + group.try_go([] { return 1; })
                + majjen::defer(function) + majjen::stream(majjen::process(nullptr).pid()).close();
        }
    "#;
    let (program, arguments) = toolchain::cxx_compiler();
    with_tool(&program, || {
        let mut compilers = vec![(program.clone(), arguments.clone())];
        let clang = ["clang++", "clang++-22"].iter().find(|name| toolchain::find(name).is_some());
        compilers.extend(clang.map(|name| (name.to_string(), Vec::new())));
        for (program, arguments) in compilers {
            for flags in [&[][..], &["-fno-exceptions", "-fno-rtti"]] {
                let mut compiler = Command::new(&program);
                compiler.args(&arguments).arg(format!("-std={dialect}")).args(flags);
                compile(compiler.args(CHECKING_FLAGS).args(["-x", "c++"]), TEXT)?;
            }
        }
        Ok(())
    })
}

/// A text that includes the header and then uses each name for something else, which would conflict
/// with any other declaration or macro.
fn text_that_defines(names: &[&str], before: &str) -> String {
    let mut text = format!("{before}#include \"majjen.h\"\n");
    for name in names {
        writeln!(text, "#ifdef {name}\n#error \"{name} is a macro\"\n#endif").unwrap();
        writeln!(text, "struct {name} {{ char of_its_own; }};").unwrap();
        writeln!(text, "struct {name} {name}(struct {name} argument);").unwrap();
    }
    text
}

fn leaves_static_names_alone() -> Result<(), Failed> {
    let text = text_that_defines(LEFT_TO_THE_PROGRAM, "");
    compile(&mut checking_c_compiler("c99"), &text)
}

fn has_guide_names_when_told() -> Result<(), Failed> {
    let text = text_that_defines(GUIDE_NAMES, "");
    compile(&mut checking_c_compiler("c99"), &text)?;
    // The names are there when asked for: the same text must not compile.
    for name in GUIDE_NAMES {
        let text = text_that_defines(&[name], "#define MAJJEN_GUIDE_NAMES\n");
        if compiler_output(&mut checking_c_compiler("c99"), &text)?.succeeded() {
            return Err(format!("the header does not declare {name}").into());
        }
    }
    Ok(())
}

/// Sizes, offsets and values match the guide's own declarations.
fn has_the_guides_layout() -> Result<(), Failed> {
    let path = library::root().join("c-tests/abi/layout.c");
    // Compiled in its own directory, beside the guide's declarations.
    let mut compiler = checking_c_compiler("c11");
    compiler.arg("-I").arg(path.parent().unwrap_or(Path::new(".")));
    compile(&mut compiler, &fs::read_to_string(&path)?)
}

/// Log lines whose arguments do not match the format.
const WRONG_FORMATS: &[&str] = &[
    r#"mj_log(MJ_LOG_INFO, "%s", 1)"#,
    r#"mj_log(MJ_LOG_INFO, "%d")"#,
    r#"mj_log(MJ_LOG_INFO, "%d", 1L)"#,
    r#"mj_log(MJ_LOG_INFO, "%d", 1, 2)"#,
    r#"mj_vlog(MJ_LOG_INFO, "%y", arguments)"#,
    r#"MJ_TRACE("%d", "one")"#,
    r#"MJ_DEBUG("%d", "one")"#,
    r#"MJ_INFO("%d", "one")"#,
    r#"MJ_WARN("%d", "one")"#,
    r#"MJ_ERROR("%d", "one")"#,
    r#"MJ_FATAL("%d", "one")"#,
];

/// Log lines whose arguments match.
const RIGHT_FORMATS: &[&str] = &[
    r#"mj_log(MJ_LOG_INFO, "%s %d %ld %%", "one", 2, 3L)"#,
    r#"mj_vlog(MJ_LOG_INFO, "%d", arguments)"#,
    r#"MJ_INFO("text")"#,
    r#"MJ_FATAL("%zu %.1f %p", sizeof(int), 1.0, (void *)0)"#,
];

/// The compiler checks the arguments of a log line.
fn has_formats_checked() -> Result<(), Failed> {
    let program = |statement: &str| {
        format!(
            "#include \"majjen.h\"\n\
             void log_a_line(va_list arguments);\n\
             void log_a_line(va_list arguments) {{ (void)arguments; {statement}; }}\n"
        )
    };
    for statement in RIGHT_FORMATS {
        compile(&mut checking_c_compiler("c99"), &program(statement))?;
    }
    for statement in WRONG_FORMATS {
        let finished = compiler_output(&mut checking_c_compiler("c99"), &program(statement))?;
        // It fails for that reason, and for no other.
        let says_why =
            ["-Werror=format", "-Wformat"].iter().any(|flag| finished.output.contains(flag));
        if finished.succeeded() || !says_why {
            return Err(format!("{statement}: the compiler {}", finished.describe()).into());
        }
    }
    Ok(())
}

/// A log line calls through the global offset table, other calls use a stub of the linkage table.
fn calls_without_a_stub() -> Result<(), Failed> {
    let text = "#include \"majjen.h\"\n\
                int log_a_line(void);\n\
                int log_a_line(void) { MJ_DEBUG(\"text\"); return mj_log_enabled(MJ_LOG_DEBUG); }\n";
    let mut compiler = toolchain::c_compiler();
    compiler.args(["-O2", "-fPIE", "-S", "-o", "-", "-x", "c"]);
    let finished = compiler_output(&mut compiler, text)?;
    assert!(finished.succeeded(), "the compiler {}", finished.describe());
    let by_stub = |name: &str| {
        let is_call = |line: &str| {
            let mut words = line.split_whitespace();
            let (operation, target) = (words.next(), words.next().unwrap_or_default());
            matches!(operation, Some("call" | "jmp" | "bl" | "b"))
                && target.strip_suffix("@PLT").unwrap_or(target) == name
        };
        finished.output.lines().any(is_call)
    };
    assert!(by_stub("mj_log_enabled") && !by_stub("mj_log"), "{}", finished.output);
    Ok(())
}

/// The exported symbols are exactly the header's functions.
fn declares_what_the_library_exports() -> Result<(), Failed> {
    let declared = declarations::functions()?;
    for name in &declared {
        if !name.starts_with("mj_") && name != "setup_scheduler_with_epoll" {
            return Err(format!("{name} does not begin with mj_").into());
        }
    }
    let exported = library::symbols("libmajjen.so", &["-D"])?;
    if declared == exported {
        return Ok(());
    }
    let missing: Vec<_> = declared.difference(&exported).collect();
    let surplus: Vec<_> = exported.difference(&declared).collect();
    Err(format!("declared and not exported: {missing:?}; exported and not declared: {surplus:?}")
        .into())
}

/// Programs are bound to the ABI's number.
fn the_library_has_a_soname() -> Result<(), Failed> {
    let library = library::path("libmajjen.so")?;
    let output = Command::new("readelf").arg("-d").arg(library).env("LC_ALL", "C").output()?;
    let text = String::from_utf8(output.stdout)?;
    let soname = text.lines().find(|line| line.contains("(SONAME)")).unwrap_or("no SONAME").trim();
    let expected = concat!("[libmajjen.so.", env!("CARGO_PKG_VERSION_MAJOR"), "]");
    if soname.ends_with(expected) {
        return Ok(());
    }
    Err(format!("not {expected}: {soname}").into())
}
