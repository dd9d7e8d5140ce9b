//! What log lines name exists: calls in the header, and each exported function names itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Item, Lit};

use crate::declarations;
use crate::library;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("log_names::are_declared_in_the_header", are_declared),
        Trial::test("log_names::are_those_of_the_call_that_was_made", are_of_the_call),
    ]
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failed> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The texts in quotes, but not those of attributes, as comments are.
#[derive(Default)]
struct Texts(Vec<String>);

impl<'ast> Visit<'ast> for Texts {
    fn visit_lit(&mut self, literal: &'ast Lit) {
        match literal {
            Lit::Str(text) => self.0.push(text.value()),
            Lit::CStr(text) => self.0.push(text.value().to_string_lossy().into_owned()),
            _ => {}
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.take(call.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

impl Texts {
    fn take(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.take(group.stream()),
                TokenTree::Literal(literal) => self.visit_lit(&Lit::new(literal)),
                _ => {}
            }
        }
    }
}

/// The names of this library's functions in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(move |character| !is_part(character));
    words.filter(|word| word.starts_with("mj_") || word.starts_with("setup_scheduler"))
}

fn are_declared() -> Result<(), Failed> {
    let declared = declarations::functions()?;
    // What libmajjen-hook has is not in the library's header.
    let of_hook = fs::read_to_string(library::root().join("hook/src/core.h"))?;
    let mut files = Vec::new();
    sources(&library::root().join("src"), &mut files)?;
    let (mut checked, mut strangers) = (BTreeSet::new(), Vec::new());
    for path in files {
        let code = fs::read_to_string(&path)?;
        let mut found = Texts::default();
        found.visit_file(&syn::parse_file(&code)?);
        let is_of_rust = path.components().any(|part| part.as_os_str() == "safe");
        for name in found.0.iter().flat_map(|text| names(text)) {
            checked.insert(name.to_owned());
            let is_of_hook = of_hook.contains(&format!(" *{name}("))
                || of_hook.contains(&format!("void {name}("));
            if is_of_rust || !declared.contains(name) && !is_of_hook {
                strangers.push(format!("{}: {name}", path.display()));
            }
        }
    }
    // A reading that finds nothing must not pass.
    assert!(checked.len() > 30, "only {checked:?} were found");
    assert!(strangers.is_empty(), "not calls of that interface: {strangers:#?}");
    Ok(())
}

/// A function that hands on a name to what reports for it hands on its own.
fn are_of_the_call() -> Result<(), Failed> {
    let declared = declarations::functions()?;
    let mut files = Vec::new();
    sources(&library::root().join("src/ffi"), &mut files)?;
    let (mut checked, mut wrong) = (0, Vec::new());
    for path in files {
        for item in syn::parse_file(&fs::read_to_string(&path)?)?.items {
            let Item::Fn(function) = item else { continue };
            let own = function.sig.ident.to_string();
            if !declared.contains(&own) {
                continue;
            }
            let mut found = Texts::default();
            found.visit_item_fn(&function);
            for name in found.0.iter().flat_map(|text| names(text)) {
                checked += 1;
                if name != own {
                    wrong.push(format!("{own} says {name}"));
                }
            }
        }
    }
    assert!(checked > 30, "only {checked} were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
