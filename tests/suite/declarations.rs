//! The header's declarations, read from the preprocessor's output: macros are expanded, and
//! comments removed.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::Failed;

use crate::header::{WAYS_TO_INCLUDE, compiler_output};
use crate::toolchain;

/// The names of the functions that the header declares without defining them.
pub fn functions() -> Result<BTreeSet<String>, Failed> {
    Ok(prototypes()?.into_iter().map(|(name, _)| name).collect())
}

/// These functions, each with its declaration, without attributes and the semicolon.
pub fn prototypes() -> Result<Vec<(String, String)>, Failed> {
    let prototypes: Vec<(String, String)> = statements()?
        .iter()
        .filter_map(|Statement { text, .. }| {
            let prototype = text.split("__attribute__").next()?.trim();
            Some((declared_function(text)?, prototype.to_owned()))
        })
        .collect();
    // If parsing failed it would find nothing, and an empty header must not match an empty library.
    for known in ["mj_scheduler_create", "setup_scheduler_with_epoll", "mj_log"] {
        if !prototypes.iter().any(|(name, _)| name == known) {
            return Err(format!("no declaration of {known} was found").into());
        }
    }
    Ok(prototypes)
}

/// The comment above the declaration of a function, in the text of the header.
pub fn comment_of(header: &str, name: &str) -> Result<String, Failed> {
    let is_comment = |line: &&str| line.starts_with("//");
    let declares = |block: &&str| {
        let code = block.lines().find(|line| !is_comment(line)).unwrap_or_default();
        code.contains(&format!(" {name}(")) || code.contains(&format!("*{name}("))
    };
    let block = header.split("\n\n").find(declares).ok_or(format!("no declaration of {name}"))?;
    Ok(block.lines().take_while(is_comment).collect::<Vec<_>>().join("\n"))
}

/// The header's type definitions, in order.
pub fn typedefs() -> Result<Vec<Statement>, Failed> {
    let mut statements = statements()?;
    statements.retain(|statement| statement.text.trim_start().starts_with("typedef"));
    Ok(statements)
}

/// The statements of the header, without the headers that it includes.
fn statements() -> Result<Vec<Statement>, Failed> {
    let mut compiler = toolchain::c_compiler();
    compiler.args(["-std=c99", "-E", "-x", "c"]);
    let finished = compiler_output(&mut compiler, WAYS_TO_INCLUDE[0])?;
    if !finished.succeeded() {
        return Err(format!("the preprocessor {}", finished.describe()).into());
    }
    Ok(split(&lines_of_the_header(&finished.output)))
}

/// The lines of majjen.h itself. Lines like `# 12 "file"` say where the following lines are from.
fn lines_of_the_header(preprocessed: &str) -> String {
    let mut ours = false;
    let mut text = String::new();
    for line in preprocessed.lines() {
        if line.starts_with('#') {
            if let Some(file) = line.split('"').nth(1) {
                ours = Path::new(file).file_name().is_some_and(|name| name == "majjen.h");
            }
        } else if ours {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A declaration or a definition.
#[derive(Default)]
pub struct Statement {
    /// With `{}` in place of a braced block.
    pub text: String,
    /// The contents of the braces.
    pub body: String,
}

/// Splits C at the top level: at semicolons, and after the closing braces of function bodies.
fn split(text: &str) -> Vec<Statement> {
    let mut statements = vec![Statement::default()];
    let mut depth = 0;
    for character in text.chars() {
        let statement = statements.last_mut().expect("one from the start");
        match character {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                // Marks a definition, of a function or a type.
                statement.text.push_str("{}");
                if depth == 0 && statement.text.contains('(') {
                    statements.push(Statement::default());
                }
            }
            _ if depth > 0 => statement.body.push(character),
            ';' => statements.push(Statement::default()),
            _ => statement.text.push(character),
        }
    }
    statements
}

/// The name of the function that a statement declares, unless it is a definition or a type.
fn declared_function(statement: &str) -> Option<String> {
    let statement = statement.trim();
    if statement.starts_with("typedef") || statement.contains('{') {
        return None;
    }
    // The declared name is the word before the parameters.
    let before = statement.split('(').next().filter(|before| before.len() < statement.len())?;
    let is_part_of_a_name = |character: char| character.is_alphanumeric() || character == '_';
    let name = before.trim_end().rsplit(|character| !is_part_of_a_name(character)).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}
