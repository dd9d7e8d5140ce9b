//! Keeps ARCHITECTURE.md true: its table of arrows is compared with the imports of `src/`, and only
//! the files that it names may import each other. Imports of unit tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::library;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("architecture::arrows_are_those_of_the_table", arrows),
        Trial::test("architecture::files_do_not_import_each_other", rings),
        Trial::test("architecture::files_are_short", lengths),
    ]
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The files of `src/` by their module paths, such as `engine::task::wait`.
fn sources() -> Result<BTreeMap<String, String>, Failed> {
    fn collect(
        folder: &Path,
        module: &str,
        found: &mut BTreeMap<String, String>,
    ) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let inner = if module.is_empty() { name } else { format!("{module}::{name}") };
            if path.is_dir() {
                collect(&path, &inner, found)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(inner, fs::read_to_string(path)?);
            }
        }
        Ok(())
    }
    let mut found = BTreeMap::new();
    collect(&library::root().join("src"), "", &mut found)?;
    Ok(found)
}

/// The paths that a file imports, with groups expanded: without comments, unit tests, and
/// re-exports.
fn paths(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let code: String = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .fold(String::new(), |all, line| all + line + "\n");
    let mut found = Vec::new();
    for statement in code.split_inclusive([';', '(', ')', ' ', '&', '<', '\n']) {
        // Paths in the middle of code.
        found.extend(statement.find("crate::").map(|at| statement[at..].to_owned()));
    }
    for (at, _) in code.match_indices("use ") {
        let is_start =
            code[..at].ends_with(['\n', ' ']) && !code[..at].trim_end_matches(' ').ends_with("pub");
        if let (true, Some(statement)) = (is_start, code[at + 4..].split(';').next()) {
            expand("", statement, &mut found);
        }
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        return found.push(prefix.to_owned() + tree.trim());
    };
    let (mut depth, mut start) = (0, 0);
    let group = &group[..group.rfind('}').unwrap_or(group.len())];
    for (at, byte) in group.bytes().chain([b',']).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                if !group[start..at].trim().is_empty() {
                    expand(&format!("{prefix}{}", head.trim()), &group[start..at], found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Which files each file imports.
fn imports() -> Result<Graph, Failed> {
    let sources = sources()?;
    let mut graph = Graph::new();
    for (module, text) in &sources {
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        let imported = graph.entry(module.clone()).or_default();
        for path in paths(text) {
            let absolute = if let Some(path) = path.strip_prefix("crate::") {
                path.to_owned()
            } else if let Some(path) = path.strip_prefix("super::") {
                format!("{parent}::{path}")
            } else {
                format!("{module}::{path}") // A child module, if there is one with that name.
            };
            // The longest prefix that is a file.
            let mut words: Vec<&str> = absolute
                .split("::")
                .map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_'))
                .collect();
            while !words.is_empty() && !sources.contains_key(&words.join("::")) {
                words.pop();
            }
            let file = words.join("::");
            if !file.is_empty() && file != *module {
                imported.insert(file);
            }
        }
    }
    Ok(graph)
}

/// The folder of a module: a folder of the engine, or one of the two APIs.
fn folder(module: &str) -> Option<&str> {
    let mut words = module.split("::");
    match words.next()? {
        "engine" => words.next(),
        api => (api != "lib").then_some(api),
    }
}

/// The text in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn page() -> Result<String, Failed> {
    Ok(fs::read_to_string(library::root().join("ARCHITECTURE.md"))?)
}

fn arrows() -> Result<(), Failed> {
    let page = page()?;
    let table =
        page.split("## The arrows").nth(1).and_then(|rest| rest.split("No two files").next());
    let rows = table.ok_or("there is no table")?.lines().filter(|line| line.starts_with("| `"));
    let mut allowed = Graph::new();
    for row in rows {
        let columns: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [name, _, uses] = columns[..] else {
            return Err(format!("not three columns: {row}").into());
        };
        let name = quoted(name).next().ok_or("a row without a name")?;
        let uses: BTreeSet<String> = quoted(uses).map(str::to_owned).collect();
        if let Some(later) = uses.iter().find(|other| !allowed.contains_key(*other)) {
            return Err(format!("`{name}` uses `{later}`, which stands behind it").into());
        }
        allowed.insert(name.to_owned(), uses);
    }
    let mut found: Graph = allowed.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (module, imported) in imports()? {
        let Some(from) = folder(&module) else { continue };
        let to = imported.iter().filter_map(|other| folder(other)).filter(|to| *to != from);
        let arrows = found.get_mut(from).ok_or(format!("`{from}` is not in the table"))?;
        arrows.extend(to.map(str::to_owned));
    }
    if found == allowed {
        Ok(())
    } else {
        Err(format!("the table: {allowed:#?}\nsrc: {found:#?}").into())
    }
}

fn rings() -> Result<(), Failed> {
    let graph = imports()?;
    let reaches = |from: &str| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(module) = left.pop() {
            for next in graph.get(&module).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    left.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        graph.keys().map(|module| (module, reaches(module))).collect();
    let found: BTreeSet<String> = reached
        .iter()
        .filter(|(module, reached)| reached.contains(module.as_str()))
        .map(|(module, _)| format!("{}.rs", module.replace("::", "/")))
        .collect();
    let page = page()?;
    let list = page.split("No two files").nth(1).and_then(|rest| rest.split("\n## ").next());
    let allowed: BTreeSet<String> = quoted(list.ok_or("there is no list")?)
        .filter(|name| name.contains('/'))
        .map(str::to_owned)
        .collect();
    let unknown: Vec<_> = found.difference(&allowed).collect();
    let gone: Vec<_> =
        allowed.difference(&found).filter(|name| !name.contains("/switch")).collect();
    if unknown.is_empty() && gone.is_empty() {
        return Ok(());
    }
    Err(format!(
        "in rings, and not in the list: {unknown:?}; in the list, and in no ring: {gone:?}"
    )
    .into())
}

fn lengths() -> Result<(), Failed> {
    const MOST: usize = 500;
    let long: Vec<_> = sources()?
        .into_iter()
        .map(|(module, text)| (module, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST)
        .collect();
    if long.is_empty() { Ok(()) } else { Err(format!("over {MOST} lines: {long:?}").into()) }
}
