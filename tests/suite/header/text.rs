//! Makes the text of `include/majjen.h`: cbindgen writes the declarations of `src/ffi`, and the template
//! `src/ffi/majjen.h.in` says in which order they are read, under which headings, and has what is C
//! by hand.
//!
//! Lines of the template: `## TITLE` is a heading, `@name` a declaration, `@contents` the list of the
//! headings. All others are copied.

use std::collections::BTreeMap;
use std::fs;

use libtest_mimic::Failed;

use crate::library;

/// The columns of a heading.
const WIDTH: usize = 100;

/// The text that the committed header should have.
pub fn generate() -> Result<String, Failed> {
    let root = library::root();
    let template = fs::read_to_string(root.join("src/ffi/majjen.h.in"))?;
    let mut declarations = declarations()?;
    let titles: Vec<&str> = template.lines().filter_map(|line| line.strip_prefix("## ")).collect();

    let mut text = String::new();
    for line in template.lines() {
        if line == "@contents" {
            for title in &titles {
                text.push_str(&format!("//   {title}\n"));
            }
        } else if let Some(name) = line.strip_prefix('@') {
            let declaration = declarations.remove(name);
            let declaration = declaration.ok_or(format!("src/ffi does not declare {name} once"))?;
            // A blank line between declarations, whatever the template has.
            if !text.ends_with("\n\n") {
                text.push('\n');
            }
            text.push_str(&declaration);
        } else if let Some(title) = line.strip_prefix("## ") {
            text.push_str(&format!("// ---- {title} {}\n", "-".repeat(WIDTH - 9 - title.len())));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    match declarations.into_keys().next() {
        None => Ok(text),
        Some(name) => Err(format!("src/ffi/majjen.h.in has no place for {name}").into()),
    }
}

/// What cbindgen makes of the sources: each declaration with the comment above it, by its name.
fn declarations() -> Result<BTreeMap<String, String>, Failed> {
    let root = library::root();
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    // By the source files and not as a crate: only these are for C.
    let mut builder = cbindgen::Builder::new().with_config(config);
    for entry in fs::read_dir(root.join("src/ffi"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            builder = builder.with_src(path);
        }
    }
    let bindings =
        builder.generate().map_err(|error| format!("cbindgen cannot read the sources: {error}"))?;
    let mut generated = Vec::new();
    bindings.write(&mut generated);

    let mut declarations = BTreeMap::new();
    // Blank lines stand between them, and nowhere else.
    for declaration in String::from_utf8(generated)?.split("\n\n") {
        let declaration = declaration.trim_matches('\n');
        if declaration.is_empty() {
            continue;
        }
        let name = name(declaration).ok_or(format!("what does this declare?\n{declaration}"))?;
        if declarations.insert(name.clone(), format!("{declaration}\n")).is_some() {
            return Err(format!("{name} is declared twice").into());
        }
    }
    Ok(declarations)
}

/// The name that a declaration declares.
fn name(declaration: &str) -> Option<String> {
    let code = declaration.lines().find(|line| !line.starts_with("//"))?;
    let code = code.split(['{', ';']).next()?;
    let head = match code.strip_prefix("#define ") {
        Some(definition) => definition.split(' ').next()?,
        // A pointer to a function, `(*name)(...)`, or a function, or a type.
        None => match code.split_once("(*") {
            Some((_, rest)) => rest.split(')').next()?,
            None => code.split('(').next()?,
        },
    };
    Some(head.trim_end().rsplit([' ', '*']).next()?.to_owned())
}
