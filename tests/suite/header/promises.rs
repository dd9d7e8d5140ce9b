//! What `docs/c-api.md` says of all functions in one place is what their comments in the header say: the
//! error numbers, and who may call what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use libtest_mimic::{Failed, Trial};

use crate::declarations;
use crate::library;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("header::errors_are_in_the_table", errors_are_in_the_table),
        Trial::test("header::threads_are_in_the_list", threads_are_in_the_list),
        Trial::test("header::threads_are_said_in_one_way", threads_are_said_in_one_way),
    ]
}

/// The comments of all functions, each as one line.
fn comments() -> Result<BTreeMap<String, String>, Failed> {
    let header = fs::read_to_string(library::root().join("include/majjen.h"))?;
    let comment = |name: String| {
        let lines = declarations::comment_of(&header, &name)?;
        let words = lines.lines().flat_map(|line| line.trim_start_matches('/').split_whitespace());
        let text = words.collect::<Vec<_>>().join(" ");
        Ok((name, text))
    };
    declarations::functions()?.into_iter().map(comment).collect()
}

/// The rows of the table behind a sentence of the page, as cells.
fn table_behind(sentence: &str) -> Result<Vec<Vec<String>>, Failed> {
    let page = fs::read_to_string(library::root().join("docs/c-api.md"))?;
    let (_, rest) = page.split_once(sentence).ok_or(format!("the page has no {sentence:?}"))?;
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|it| it.trim().to_owned()).collect();
    Ok(rows.take_while(|line| line.starts_with('|')).skip(2).map(cells).collect())
}

/// The code in a cell.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The error numbers in a text, without their signs.
fn numbers(text: &str) -> BTreeSet<String> {
    let is_number = |word: &&str| {
        word.len() > 3 && word.starts_with('E') && word.chars().all(|c| c.is_ascii_uppercase())
    };
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(is_number).filter(|word| *word != "ERROR").map(str::to_owned).collect()
}

/// Each number that the header lists, none that it does not, and each beside functions that have it.
fn errors_are_in_the_table() -> Result<(), Failed> {
    let header = fs::read_to_string(library::root().join("include/majjen.h"))?;
    let lists =
        header.lines().filter(|line| line.starts_with("//   -E") || line.starts_with("//   E"));
    // What stands before the text: "-EINTR, -ENOMEM  as mj_sleep_ns()".
    let heads = lists.filter_map(|line| line[5..].split("  ").next());
    let listed: BTreeSet<String> = heads.flat_map(numbers).collect();
    assert!(listed.len() > 20, "only {listed:?} were found");

    let comments = comments()?;
    let mut explained = BTreeSet::new();
    for row in table_behind("These are the numbers that the library itself returns.")? {
        let [head, text] = &row[..] else { return Err(format!("not two cells: {row:?}").into()) };
        let of_row = numbers(head);
        for name in quoted(text).filter(|code| code.starts_with("mj_") && code.len() > 4) {
            // Some are told of what others do.
            let Some(comment) = comments.get(name) else { continue };
            let is_named = ["mj_task_exit", "mj_task_wake", "mj_scheduler_enqueue", "mj_fd_close"];
            let has_one = !numbers(comment).is_disjoint(&of_row);
            assert!(has_one || is_named.contains(&name), "{name} has none of {of_row:?}");
        }
        explained.extend(of_row);
    }
    let missing: Vec<_> = listed.difference(&explained).collect();
    let surplus: Vec<_> = explained.difference(&listed).collect();
    assert!(missing.is_empty(), "the header lists them, docs/c-api.md does not: {missing:?}");
    assert!(surplus.is_empty(), "docs/c-api.md explains them, the header has none: {surplus:?}");
    Ok(())
}

const BY_ANY_THREAD: &str = "Callable from any thread";
const BY_A_HANDLER: &str = "Callable from any thread and from a signal handler";

fn threads_are_in_the_list() -> Result<(), Failed> {
    let comments = comments()?;
    let with = |words: &str| -> BTreeSet<String> {
        let has = comments.iter().filter(|(_, comment)| comment.contains(words));
        has.map(|(name, _)| name.clone()).collect()
    };
    let rows = table_behind("`header::threads_are_in_the_list` compares")?;
    let in_rows = |begins: &str| -> BTreeSet<String> {
        let rows = rows.iter().filter(|row| row[0].starts_with(begins));
        rows.flat_map(|row| quoted(&row[1])).map(str::to_owned).collect()
    };
    assert_eq!(in_rows("any "), with(BY_ANY_THREAD), "docs/c-api.md, and the header's comments");
    assert_eq!(in_rows("a signal handler"), with(BY_A_HANDLER), "the same for signal handlers");
    Ok(())
}

/// So that nothing escapes the comparison.
fn threads_are_said_in_one_way() -> Result<(), Failed> {
    let mut others = Vec::new();
    for (name, comment) in comments()? {
        for words in ["any thread", "signal handler"] {
            for (at, _) in comment.match_indices(words) {
                let before = &comment[..at];
                if before.ends_with(char::is_alphabetic) {
                    continue; // Of "many threads".
                }
                let is_known = match words {
                    "any thread" => {
                        before.ends_with("Callable from ") || before.ends_with("handed to ")
                    }
                    // "For signal handlers", and what a scheduler installs none of.
                    _ => ["and from a ", "not from a ", "for ", "no "]
                        .iter()
                        .any(|it| before.ends_with(it)),
                };
                if !is_known {
                    others.push(format!("{name}: ...{}", &comment[at.saturating_sub(40)..]));
                }
            }
        }
    }
    assert!(others.is_empty(), "say {BY_ANY_THREAD:?}, ...: {others:#?}");
    Ok(())
}
