//! The Rust API from outside: its documentation, programs that the compiler must refuse, and
//! valgrind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::process;
use crate::readme;
use crate::toolchain;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("rust_api::shows_nothing_of_c", shows_nothing_of_c),
        Trial::test("rust_api::is_refused_for_the_reasons_given", refused_for_the_reasons_given),
        Trial::test("rust_api::documents_show_programs_that_run", documents_run),
        Trial::test("rust_api::reports_overflow_in_its_own_terms", overflow_in_its_own_terms),
        Trial::test("rust_api::prints_nothing_unasked", prints_nothing_unasked),
        Trial::ignorable_test("rust_api::is_clean_under_valgrind", clean_under_valgrind),
    ]
}

const TIME_LIMIT: Duration = Duration::from_secs(240);

/// The pages of the documentation, without those of the sources, and their text.
fn documentation(temp_dir: &TempDir) -> Result<Vec<(PathBuf, String)>, Failed> {
    let target = temp_dir.path().join("target");
    let mut cargo = library::cargo(&target);
    cargo.args(["doc", "--no-deps", "--all-features"]);
    let finished = process::run(&mut cargo, TIME_LIMIT, temp_dir.path())?;
    if !finished.succeeded() {
        return Err(format!("cargo doc {}", finished.describe()).into());
    }
    let mut pages = Vec::new();
    for page in files(&target.join("doc/majjen"), "html")? {
        let html = fs::read_to_string(&page)?;
        pages.push((page, html));
    }
    Ok(pages)
}

/// The files below a directory with an extension.
fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|other| other == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// The text without what is in angle brackets.
fn text_of(html: &str) -> String {
    let parts = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect()
}

/// The mark of an example in the documentation.
const EXAMPLE: &str = "rust-example-rendered";

/// No name of the C ABI, no C struct, and nothing unsafe. And each item and method has an example.
fn shows_nothing_of_c() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let mut wrong = Vec::new();
    let mut items = 0;
    for (page, html) in documentation(&temp_dir)? {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // `clone_to_uninit` is the standard library's, and on the page of every `Clone` type.
        let text =
            text_of(&html).replace("unsafe fn clone_to_uninit(&amp;self, dest: *mut u8)", "");
        for sign in ["mj_", "unsafe fn", "extern \"C\"", "repr(C)", "*mut ", "*const "] {
            if text.contains(sign) {
                wrong.push(format!("{name}: {sign}"));
            }
        }
        let kinds = ["struct.", "enum.", "trait.", "fn.", "type."];
        if kinds.iter().any(|kind| name.starts_with(kind))
            && !html.contains("http-equiv=\"refresh\"")
        {
            items += 1;
            let about = html.split("<h2 id=").next().unwrap_or_default();
            if !about.contains(EXAMPLE) {
                wrong.push(format!("{name}: no example"));
            }
            let methods = html.split("id=\"implementations-list\"").nth(1).unwrap_or_default();
            let methods = methods.split("<h2 id=").next().unwrap_or_default();
            for method in methods.split("<section id=\"method.").skip(1) {
                items += 1;
                if !method.contains(EXAMPLE) {
                    let called = method.split('"').next().unwrap_or_default();
                    wrong.push(format!("{name}: no example of {called}"));
                }
            }
        }
    }
    assert!(items > 150, "only {items} items were found");
    assert!(wrong.is_empty(), "in the documentation: {wrong:#?}");
    Ok(())
}

/// The crate as it is built for release, like the libraries for C, and the directory of what it depends on.
fn built() -> Result<(PathBuf, PathBuf), Failed> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || -> Result<PathBuf, Failed> {
        let temp_dir = TempDir::new()?;
        let release = library::path("")?;
        let target = release.parent().ok_or("a release without a directory")?;
        let mut cargo = library::cargo(target);
        cargo.args(["build", "--release", "--lib"]);
        let finished = process::run(&mut cargo, TIME_LIMIT, temp_dir.path())?;
        if finished.succeeded() { Ok(release) } else { Err(finished.describe().into()) }
    };
    let release = BUILT.get_or_init(|| {
        build().map_err(|failed| failed.message().unwrap_or("cargo build").to_owned())
    });
    let release = release.clone()?;
    Ok((release.join("libmajjen.rlib"), release.join("deps")))
}

/// The newest of the programs that cargo has made of a test of the crate.
fn newest(test: &str) -> Result<Option<PathBuf>, Failed> {
    let mut found: Option<(SystemTime, PathBuf)> = None;
    for entry in fs::read_dir(built()?.1)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let hash = name.strip_prefix(test).and_then(|rest| rest.strip_prefix('-'));
        let is_one = hash.is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let made = entry.metadata()?.modified()?;
        if is_one && found.as_ref().is_none_or(|(before, _)| *before < made) {
            found = Some((made, entry.path()));
        }
    }
    Ok(found.map(|(_, path)| path))
}

/// rustc for a program that uses this crate.
pub fn rustc(temp_dir: &TempDir, source: &str) -> Result<Command, Failed> {
    let file = temp_dir.path().join("main.rs");
    fs::write(&file, source)?;
    let (crate_file, dependencies) = built()?;
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "--crate-type", "bin", "-o"])
        .arg(temp_dir.path().join("main"));
    rustc.arg("--extern").arg(format!("majjen={}", crate_file.display()));
    rustc.arg("-L").arg(format!("dependency={}", dependencies.display())).arg(file);
    rustc.current_dir(temp_dir.path());
    Ok(rustc)
}

/// The documents' programs, as they are or in a function that may fail. Quotations of files are compared with these
/// in `readme::`.
fn documents_run() -> Result<(), Failed> {
    let mut count = 0;
    let documents =
        ["README.md", "docs/rust-api.md", "docs/from-tokio.md", "docs/tutorial-rust.md"];
    for document in documents {
        let text = fs::read_to_string(library::root().join(document))?;
        for rest in text.split("\n```rust\n").skip(1) {
            let block = rest.split("```\n").next().unwrap_or_default();
            let first_line = block.lines().next().unwrap_or_default();
            if first_line.strip_prefix("// ").is_some_and(|name| name.contains('/')) {
                continue;
            }
            runs(block).map_err(|failed| {
                format!("{document}:\n{block}\n{}", failed.message().unwrap_or_default())
            })?;
            count += 1;
        }
    }
    assert_eq!(count, 25, "the documents' programs");
    Ok(())
}

/// Compiles a block, and runs it to its end. A server, which is given its port, serves, or is restarted.
fn runs(block: &str) -> Result<(), Failed> {
    let temp_dir = Arc::new(TempDir::new()?);
    let source = if block.contains("fn main()") {
        block.to_owned()
    } else {
        format!("fn main() -> Result<(), Box<dyn std::error::Error>> {{\n{block}\nOk(())\n}}\n")
    };
    let run = |command: &mut Command| -> Result<(), Failed> {
        let finished = process::run(command, TIME_LIMIT, temp_dir.path())?;
        if finished.succeeded() { Ok(()) } else { Err(finished.describe().into()) }
    };
    run(rustc(&temp_dir, &source)?.arg("-Dwarnings"))?;
    let program = temp_dir.path().join("main");
    if block.contains("Successor") {
        readme::restarted_server(&program)
    } else if block.contains("args().nth(1)") {
        readme::serves_lines(&program, &temp_dir)
    } else {
        run(&mut Command::new(program))
    }
}

/// Programs that must not compile, besides the examples of the documentation.
const ALSO_REFUSED: [(&str, &str); 2] = [
    // An end of a channel cannot be used as one for shorter-lived elements.
    (
        "E0597",
        "let (sender, receiver) = majjen::sync::channel::<&'static str>(1);
         {
             let short = String::from(\"gone\");
             let sender: &majjen::sync::Sender<&str> = &sender;
             sender.try_send(&short).unwrap();
         }
         receiver.try_recv().unwrap();",
    ),
    // A guard cannot outlive its mutex.
    (
        "E0505",
        "let mutex = majjen::sync::Mutex::new(1);
         let guard = mutex.try_lock();
         drop(mutex);
         drop(guard);",
    ),
];

/// The documentation's examples that must not compile, and the error's code. Stable rustdoc does
/// not check the code.
fn refused_examples() -> Result<Vec<(String, String)>, Failed> {
    const START: &str = "/// ```compile_fail,";
    let mut examples = Vec::new();
    for file in files(&library::root().join("src"), "rs")? {
        let text = fs::read_to_string(file)?;
        for rest in text.split(START).skip(1) {
            let mut lines = rest.lines();
            let code = lines.next().unwrap_or_default().to_owned();
            let body = lines
                .map_while(|line| line.trim_start().strip_prefix("///"))
                .take_while(|line| !line.contains("```"))
                .map(|line| line.replacen("# ", "", 1) + "\n");
            examples.push((code, body.collect()));
        }
    }
    Ok(examples)
}

fn refused_for_the_reasons_given() -> Result<(), Failed> {
    let mut examples = refused_examples()?;
    assert!(examples.len() > 8, "only {} were found", examples.len());
    examples.extend(ALSO_REFUSED.map(|(code, body)| (code.to_owned(), body.to_owned())));
    // A program that compiles shows that the others do not fail for another reason.
    examples.push((String::new(), "let _ = majjen::sync::Mutex::new(1);".to_owned()));
    for (code, body) in examples {
        let temp_dir = TempDir::new()?;
        let mut rustc = rustc(&temp_dir, &format!("fn main() {{\n{body}}}\n"))?;
        rustc.arg("--emit=metadata");
        let finished = process::run(&mut rustc, TIME_LIMIT, temp_dir.path())?;
        let codes: Vec<&str> = finished
            .output
            .split("error[")
            .skip(1)
            .filter_map(|rest| rest.split_once(']').map(|(code, _)| code))
            .collect();
        let as_expected = match code.as_str() {
            "" => finished.succeeded(),
            code => !finished.succeeded() && !codes.is_empty() && codes.iter().all(|c| *c == code),
        };
        if !as_expected {
            let found = finished.describe();
            return Err(format!("{code:?} was expected of\n{body}\nbut {found}").into());
        }
    }
    Ok(())
}

/// Overflows the stack of a task. Its argument says what the builder is told.
const DEEP: &str = "fn deep(n: u64) -> u64 {
    let data = [n; 100];
    std::hint::black_box(&data);
    if n == 0 { 0 } else { deep(n - 1) + data[5] }
}

fn main() {
    let builder = majjen::Builder::new();
    let builder = match std::env::args().nth(1).as_deref() {
        Some(\"on\") => builder.report_overflow(true),
        Some(\"off\") => builder.report_overflow(false),
        Some(\"off, with signals\") => builder.report_overflow(false).handle_signals(true),
        Some(\"signals\") => builder.handle_signals(true),
        _ => builder,
    };
    let scheduler = builder.build().unwrap();
    scheduler.spawn(|| deep(1_000_000));
    scheduler.run().unwrap();
}
";

fn overflow_in_its_own_terms() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let compiled = process::run(&mut rustc(&temp_dir, DEEP)?, TIME_LIMIT, temp_dir.path())?;
    assert!(compiled.succeeded(), "{}", compiled.describe());
    for (told, reports) in
        [("", true), ("on", true), ("signals", true), ("off", false), ("off, with signals", false)]
    {
        let mut program = Command::new(temp_dir.path().join("main"));
        let finished = process::run(program.arg(told), TIME_LIMIT, temp_dir.path())?;
        assert!(!finished.succeeded(), "{told:?}");
        let line = finished.output.lines().find(|line| line.contains("has overflowed its stack"));
        assert_eq!(line.is_some(), reports, "{told:?}: {}", finished.describe());
        let of_rust = |line: &str| line.contains("task::Builder::stack_size()");
        assert!(line.is_none_or(|line| of_rust(line) && !line.contains("mj_")), "{line:?}");
    }
    Ok(())
}

/// Runs a scheduler, and logs. Its argument is code that sets up the logger.
const LOGS: &str = "use majjen::logger::{self, Level};

unsafe extern \"C\" {
    safe fn mj_scheduler_create() -> *mut std::ffi::c_void;
    safe fn mj_log_get_config(logger: &mut Config);
    safe fn mj_log_set_config(logger: &Config) -> i32;
}

/// An `mj_logger`.
#[repr(C)]
#[derive(Default)]
struct Config {
    min_level: u32,
    pointers: [usize; 2],
    prefix: [bool; 2],
}

/// What a part of the program that is in C does: it changes a setting, and none of the others.
fn set_unchanged() {
    let mut config = Config::default();
    mj_log_get_config(&mut config);
    assert_eq!(mj_log_set_config(&config), 0);
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(\"level\") => logger::set_level(Level::Info),
        Some(\"streams\") => logger::to_streams().unwrap(),
        Some(\"config\") => {
            logger::set_level(Level::Warn);
            set_unchanged();
        }
        Some(\"callback\") => {
            logger::set_callback(|level, text| logger::log(level, format_args!(\"{text} by it\"))).unwrap();
        }
        Some(\"ended\") => {
            logger::set_callback(|_, _| ()).unwrap();
            let mut config = Config::default();
            mj_log_get_config(&mut config);
            config.pointers = [0; 2];
            assert_eq!(mj_log_set_config(&config), 0);
        }
        Some(\"c\") => assert!(!mj_scheduler_create().is_null()),
        _ => {}
    }
    let scheduler = majjen::Scheduler::new().unwrap();
    scheduler.spawn(|| logger::log(Level::Warn, format_args!(\"told\")));
    scheduler.run().unwrap();
}
";

/// A Rust program has stdout for itself, unless it asks for lines there, or C did before.
fn prints_nothing_unasked() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let compiled = process::run(&mut rustc(&temp_dir, LOGS)?, TIME_LIMIT, temp_dir.path())?;
    assert!(compiled.succeeded(), "{}", compiled.describe());
    let lines = |argument: &str| -> Result<[Vec<String>; 2], Failed> {
        let output = Command::new(temp_dir.path().join("main")).arg(argument).output()?;
        assert!(output.status.success(), "{argument}: {output:?}");
        Ok([output.stdout, output.stderr].map(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().filter_map(|line| Some(line.split_once("] ")?.1.to_owned())).collect()
        }))
    };
    let (start, end) = (
        "[INFO] Scheduler starting with 1 runnable tasks, 0 sleeping",
        "[INFO] Scheduler stopped: all tasks completed",
    );
    let told = "[WARN] told";
    let [out, err] = lines("")?;
    assert!(out.is_empty() && err == [told], "{out:?} {err:?}");
    for unchanged in ["config", "ended"] {
        let [out, err] = lines(unchanged)?;
        assert!(out.is_empty() && err == [told], "{unchanged}: {out:?} {err:?}");
    }
    let [out, err] = lines("callback")?;
    assert!(out.is_empty() && err == ["[WARN] told by it"], "{out:?} {err:?}");
    let [out, err] = lines("level")?;
    assert!(out.is_empty() && err == [start, told, end], "{out:?} {err:?}");
    let [out, err] = lines("streams")?;
    assert!(out == [told] && err.is_empty(), "{out:?} {err:?}");
    let [out, err] = lines("c")?;
    assert!(out == [start, told, end] && err.is_empty(), "{out:?} {err:?}");
    Ok(())
}

/// Reads freed memory in a task.
const WRONG: &str = "fn main() {
    let scheduler = majjen::Scheduler::new().unwrap();
    scheduler.spawn(|| {
        let number = Box::new(5u64);
        let address: *const u64 = &*number;
        drop(number);
        std::process::exit(unsafe { address.read_volatile() } as i32 & 1);
    });
    scheduler.run().unwrap();
}
";

fn clean_under_valgrind() -> Result<Completion, Failed> {
    if let Some(ignored) = toolchain::missing("valgrind") {
        return Ok(ignored);
    }
    let temp_dir = TempDir::new()?;
    let compiled = process::run(&mut rustc(&temp_dir, WRONG)?, TIME_LIMIT, temp_dir.path())?;
    assert!(compiled.succeeded(), "{}", compiled.describe());
    let report = under_valgrind(&temp_dir.path().join("main"), &temp_dir)?;
    assert!(report.contains("Invalid read of size 8"), "valgrind has missed a mistake:\n{report}");

    for test in [
        "rust_tasks",
        "rust_lifetimes",
        "rust_thread_end",
        "rust_scopes",
        "rust_join_set",
        "rust_sync",
        "rust_cluster",
        "behaviour",
    ] {
        let Some(program) = newest(test)? else {
            return Ok(Completion::ignored_with(format!(
                "{test} is not built for release: `make test-long` does"
            )));
        };
        let report = under_valgrind(&program, &temp_dir)?;
        // One for each process: some tests fork.
        let summaries: Vec<_> =
            report.lines().filter(|line| line.contains("ERROR SUMMARY:")).collect();
        let clean = summaries.iter().filter(|line| line.contains("ERROR SUMMARY: 0 errors"));
        let is_clean = !summaries.is_empty() && clean.count() == summaries.len();
        assert!(is_clean && report.contains("test result: ok."), "{test}:\n{report}");
        // The library registers its stacks, so there is no reason for this warning.
        assert!(!report.contains("client switching stacks"), "{test}:\n{report}");
    }
    Ok(Completion::Completed)
}

fn under_valgrind(program: &Path, temp_dir: &TempDir) -> Result<String, Failed> {
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--error-exitcode=99");
    // Otherwise spinning threads keep the threads that they wait for from running.
    valgrind.arg("--fair-sched=try");
    // The harness keeps what it has allocated; and each forked child would look through all memory.
    valgrind.arg("--leak-check=no");
    // For the tests' harness; the other program ignores it.
    valgrind.arg(program).arg("--test-threads=1");
    Ok(process::run(&mut valgrind, TIME_LIMIT, temp_dir.path())?.output)
}
