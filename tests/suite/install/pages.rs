//! The manual pages: one for each function and type, well-formed, and found by `man`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};

use super::{Prefix, strict_c_compiler};
use crate::declarations;
use crate::readme;
use crate::toolchain::{with_tool, with_tools};

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("install::pages::every_function_has_one", every_function_has_one),
        Trial::ignorable_test("install::pages::are_clean_under_mandoc_and_groff", || {
            with_tools(&["mandoc", "groff"], are_clean)
        }),
        Trial::ignorable_test("install::pages::fit_a_terminal", || {
            with_tool("groff", fit_a_terminal)
        }),
        Trial::test("install::pages::the_example_works", the_example_works),
        Trial::ignorable_test("install::pages::are_found_by_man", || {
            with_tool("man", are_found_by_man)
        }),
        Trial::ignorable_test("install::pages::are_found_by_subject", || {
            with_tools(&["mandb", "apropos"], are_found_by_subject)
        }),
    ]
}

/// The names of the pages in a section.
fn pages(prefix: &Prefix, section: &str) -> Result<BTreeSet<String>, Failed> {
    let directory = prefix.path("share/man").join(format!("man{section}"));
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(&format!(".{section}")).ok_or("a page's name")?;
        names.insert(name.to_owned());
    }
    Ok(names)
}

fn every_function_has_one() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let pages = pages(&prefix, "3")?;
    let mut expected = declarations::functions()?;
    expected
        .extend(["mj_scheduler", "mj_task", "mj_metrics", "mj_logger", "MJ_INFO"].map(Into::into));
    let missing: Vec<_> = expected.difference(&pages).collect();
    assert!(missing.is_empty(), "without a page: {missing:?}");
    let overview = fs::read_to_string(prefix.path("share/man/man7/majjen.7"))?;
    let header = fs::read_to_string(prefix.path("include/majjen.h"))?;
    let mut with_errors = 0;
    for (name, prototype) in declarations::prototypes()? {
        let page = fs::read_to_string(prefix.path(&format!("share/man/man3/{name}.3")))?;
        let mut sections = vec!["NAME", "LIBRARY", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"];
        if prototype.starts_with("void ") {
            assert!(!page.contains("\n.SH RETURN VALUE\n"), "{name}(3) returns nothing");
        } else {
            sections.push("RETURN VALUE");
        }
        for section in sections {
            let (_, rest) = page
                .split_once(&format!("\n.SH {section}\n"))
                .ok_or(format!("{name}(3) has no section {section}"))?;
            let empty = rest.trim().is_empty() || rest.starts_with(".SH");
            // If the comment only says what the function returns, all of it is in that section.
            let is_result = section == "DESCRIPTION" && rest.starts_with(".SH RETURN VALUE");
            assert!(!empty || is_result, "{name}(3) has nothing in {section}");
        }
        let lists_errors = declarations::comment_of(&header, &name)?.contains("Errors");
        let has_errors = page.split_once("\n.SH ERRORS\n").is_some_and(|(_, rest)| {
            with_errors += 1;
            !rest.starts_with(".SH")
        });
        assert_eq!(has_errors, lists_errors, "ERRORS of {name}(3)");
        if name == "mj_dial" {
            let last = "\nAn answer of another machine says more than a missing way to it.\n.SH ";
            assert!(page.contains(last), "the last item has two lines, and two sentences: {page}");
        }
        let listed = format!(".BR {name} (3)\n");
        assert!(overview.contains(&listed), "majjen(7) does not list {name}(3)");
    }
    assert!(with_errors > 50, "only {with_errors} pages have errors");
    Ok(())
}

/// The files of all pages.
fn files(prefix: &Prefix) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    for section in ["3", "7"] {
        for name in pages(prefix, section)? {
            files.push(prefix.path(&format!("share/man/man{section}/{name}.{section}")));
        }
    }
    Ok(files)
}

/// In 80 columns, but for the program in `majjen(7)`, also the text in the files that are made from the header; and
/// each parenthesis is closed, and each sentence once.
fn fit_a_terminal() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let is_long = |line: &&str| line.len() > 80;
    for file in files(&prefix)? {
        let mut groff = prefix.command("groff");
        groff.args(["-man", "-Tascii", "-P-cbou", "-rLL=80n"]).arg(&file);
        let page = prefix.run(&mut groff)?;
        let page = page.split_once("\nEXAMPLES\n").map_or(&*page, |(before, _)| before);
        let mut long: Vec<_> = page.lines().filter(is_long).collect();
        let source = fs::read_to_string(&file)?;
        if file.extension().is_some_and(|section| section == "3") {
            let (_, text) = source.split_once("\n.fi\n").ok_or("a synopsis")?;
            long.extend(text.lines().filter(is_long));
        }
        assert!(long.is_empty(), "{file:?}: {long:#?}");
        let twice = source.lines().find(|line| line.ends_with(".."));
        assert_eq!(twice, None, "{file:?}: a sentence has two periods");
        for paragraph in page.split("\n\n") {
            let count = |character| paragraph.matches(character).count();
            assert_eq!(count('('), count(')'), "{file:?}: {paragraph}");
        }
    }
    Ok(())
}

fn are_clean() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let files = files(&prefix)?;
    let complaints =
        prefix.run(prefix.command("mandoc").args(["-Tlint", "-Wwarning"]).args(&files))?;
    assert_eq!(complaints, "", "mandoc");
    let complaints =
        prefix.run(prefix.command("groff").args(["-ww", "-man", "-Tutf8", "-z"]).args(&files))?;
    assert_eq!(complaints, "", "groff");
    Ok(())
}

/// The example in `majjen(7)` compiles with what is installed, and is that of the README, which another test
/// runs.
fn the_example_works() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let page = fs::read_to_string(prefix.path("share/man/man7/majjen.7"))?;
    let (_, rest) = page.split_once("\n.EX\n").ok_or("majjen(7) has no example")?;
    let example = rest.split(".EE\n").next().unwrap_or_default().replace("\\e", "\\");
    let of_readme = readme::example_in_c()?.replace("\"majjen.h\"", "<majjen.h>");
    assert_eq!(example, of_readme, "majjen(7), and README.md");
    let source = prefix.path("../example.c");
    fs::write(&source, example)?;
    prefix.compile(strict_c_compiler(), source, &prefix.search_paths())
}

/// Also by cross-reference: under another name, in both sections.
fn are_found_by_man() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    for (name, text) in [
        ("mj_task_wait_fd", "int mj_task_wait_fd(int fd, short events, uint64_t timeout_ns);"),
        ("MJ_WARN", "void mj_log(mj_log_level level"),
        ("majjen", "mj_scheduler_create(3)"),
    ] {
        let mut man = prefix.command("man");
        man.args(["-P", "cat", "-M"]).arg(prefix.path("share/man")).arg(name);
        let output = prefix.run(man.env("MANWIDTH", "200").env("LC_ALL", "C"))?;
        assert!(output.contains(text), "man {name}: {output}");
    }
    Ok(())
}

/// By apropos, all of them and those of one subject.
fn are_found_by_subject() -> Result<(), Failed> {
    let prefix = Prefix::new()?;
    let manual = prefix.path("share/man");
    prefix.run(prefix.command("mandb").args(["-q", "-c", "-u"]).arg(&manual))?;
    let apropos = |words: &[&str]| {
        let mut command = prefix.command("apropos");
        prefix.run(command.args(["-l", "-a", "-M"]).arg(&manual).args(words).env("LC_ALL", "C"))
    };
    let all = apropos(&["majjen"])?;
    for name in declarations::functions()? {
        assert!(all.contains(&format!("{name} (3)")), "apropos majjen does not list {name}");
    }
    let channels = apropos(&["majjen", "channels"])?;
    assert!(channels.contains("mj_chan_send (3)     - Majjen, channels: copies"), "{channels}");
    assert!(!channels.contains("mj_mutex_lock"), "{channels}");
    Ok(())
}
