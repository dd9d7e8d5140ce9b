//! The functions of the library's sources, found by name in any file, and the places in them that a
//! mutant changes.

use std::fmt::{self, Display};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// All functions of the sources that have a body, except the library's unit tests.
pub struct Functions {
    functions: Vec<Function>,
}

/// One of them.
pub struct Function {
    /// Its modules, perhaps a type or a trait, and its own name.
    path: Vec<String>,
    has_type: bool,
    /// Its file, relative to the repository.
    pub file: PathBuf,
    tokens: Vec<Token>,
    /// `None` in C, of which only the tokens are known.
    syntax: Option<syn::Block>,
}

/// A word, a literal, or a single punctuation character, and its range of bytes in the file.
/// Whitespace and comments are not tokens, so they are ignored.
#[derive(Clone)]
struct Token {
    text: String,
    place: Range<usize>,
}

/// What a mutant changes. The words are compared token by token.
#[derive(Clone, Copy)]
pub enum Part {
    /// The innermost statement that contains the words.
    Statement(&'static str),
    /// The call, with its arguments, whose callee ends with the words: `canceled.set` for
    /// `task.canceled.set(true)`.
    Call(&'static str),
    /// The innermost condition, of an `if` or a `while`, that contains the words.
    Condition(&'static str),
    /// The arm of a `match` whose pattern contains the words.
    Arm(&'static str),
    /// The words themselves. Also for C.
    Words(&'static str),
}

impl Functions {
    /// Reads the files below `src` in a repository.
    pub fn read(root: &Path) -> Result<Functions, String> {
        let mut files = Vec::new();
        list_files(&root.join("src"), &mut files).map_err(|error| error.to_string())?;
        let mut functions = Vec::new();
        for path in files {
            let file = path.strip_prefix(root).map_err(|error| error.to_string())?;
            let of_language = match file.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => of_rust,
                Some("c") => of_c,
                _ => continue,
            };
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            let of_file = text.and_then(|text| of_language(file, &text));
            functions.extend(of_file.map_err(|why| format!("{}: {why}", file.display()))?);
        }
        Ok(Functions { functions })
    }

    /// The functions with that name: `Type::function`, `Trait::function` for a default body in the
    /// trait, or `function` for one without a type. Modules may precede it.
    pub fn named(&self, name: &str) -> Vec<&Function> {
        self.functions.iter().filter(|function| function.is_named(name)).collect()
    }

    /// Other functions with the same last word, perhaps because one has moved to another type.
    pub fn alike(&self, name: &str) -> Vec<String> {
        let last = name.rsplit("::").next();
        let functions = self.functions.iter();
        let alike = functions.filter(|function| function.path.last().map(String::as_str) == last);
        alike.map(Function::to_string).collect()
    }
}

impl Function {
    fn is_named(&self, name: &str) -> bool {
        let words: Vec<&str> = name.split("::").collect();
        // A name alone does not mean methods of a type.
        let least = if self.has_type { 2 } else { 1 };
        words.len() >= least
            && self.path.len() >= words.len()
            && self.path[self.path.len() - words.len()..] == words
    }

    /// The ranges of bytes of such parts in the function.
    pub fn places(&self, part: Part) -> Result<Vec<Range<usize>>, String> {
        let (Part::Statement(words)
        | Part::Call(words)
        | Part::Condition(words)
        | Part::Arm(words)
        | Part::Words(words)) = part;
        let words = match self.syntax {
            Some(_) => rust_tokens(&words.parse().map_err(|error| format!("{words}: {error}"))?),
            None => c_tokens(words),
        };
        if let Part::Words(_) = part {
            let found = self.tokens.windows(words.len()).filter(|tokens| same(tokens, &words));
            return Ok(found
                .map(|tokens| tokens[0].place.start..tokens[tokens.len() - 1].place.end)
                .collect());
        }
        let Some(block) = &self.syntax else {
            return Err(format!("{self} is C, in which only words can be found"));
        };
        let mut search = Search { part, words, tokens: &self.tokens, found: Vec::new() };
        search.visit_block(block);
        let found = &search.found;
        let is_innermost = |outer: &&Range<usize>| {
            let is_inside = |inner: &Range<usize>| {
                inner != *outer && outer.start <= inner.start && inner.end <= outer.end
            };
            !matches!(part, Part::Statement(_) | Part::Condition(_)) || !found.iter().any(is_inside)
        };
        Ok(found.iter().filter(is_innermost).cloned().collect())
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "`{}` ({})", self.path.join("::"), self.file.display())
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Part::Statement(words) => write!(f, "statement with `{words}`"),
            Part::Call(words) => write!(f, "call of `{words}`"),
            Part::Condition(words) => write!(f, "condition with `{words}`"),
            Part::Arm(words) => write!(f, "pattern with `{words}`"),
            Part::Words(words) => write!(f, "`{words}`"),
        }
    }
}

fn same(tokens: &[Token], words: &[Token]) -> bool {
    tokens.iter().map(|token| &token.text).eq(words.iter().map(|token| &token.text))
}

fn list_files(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn of_rust(file: &Path, text: &str) -> Result<Vec<Function>, String> {
    let stream: TokenStream = text.parse().map_err(|error| format!("{error}"))?;
    let syntax: syn::File = syn::parse2(stream.clone()).map_err(|error| error.to_string())?;
    // The modules: src/log/time.rs is `log::time`, and so is src/log/time/mod.rs.
    let module = file.with_extension("");
    let names = module.iter().skip(1).map(|name| name.to_string_lossy().into_owned());
    let path = names.filter(|name| name != "lib" && name != "mod").collect();
    let tokens = rust_tokens(&stream);
    let mut collector = Collector { file, tokens, path, has_type: false, functions: Vec::new() };
    collector.visit_file(&syntax);
    Ok(collector.functions)
}

/// The tokens of a stream, with the brackets around its groups.
fn rust_tokens(stream: &TokenStream) -> Vec<Token> {
    let mut tokens = Vec::new();
    let token = |text: &str, span: Span| Token { text: text.to_owned(), place: span.byte_range() };
    for tree in stream.clone() {
        let TokenTree::Group(group) = tree else {
            tokens.push(token(&tree.to_string(), tree.span()));
            continue;
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        tokens.push(token(open, group.span_open()));
        tokens.extend(rust_tokens(&group.stream()));
        tokens.push(token(close, group.span_close()));
    }
    tokens
}

/// The tokens in a range of bytes.
fn part_of(tokens: &[Token], place: Range<usize>) -> &[Token] {
    let first = tokens.partition_point(|token| token.place.start < place.start);
    let end = tokens.partition_point(|token| token.place.end <= place.end);
    &tokens[first..end.max(first)]
}

/// Collects the functions of a file.
struct Collector<'a> {
    file: &'a Path,
    /// The file's tokens.
    tokens: Vec<Token>,
    path: Vec<String>,
    has_type: bool,
    functions: Vec<Function>,
}

impl Collector<'_> {
    fn add(&mut self, name: &syn::Ident, block: &syn::Block) {
        self.functions.push(Function {
            path: [&self.path[..], &[name.to_string()]].concat(),
            has_type: self.has_type,
            file: self.file.to_owned(),
            tokens: part_of(&self.tokens, block.span().byte_range()).to_vec(),
            syntax: Some(block.clone()),
        });
        self.inside(name.to_string(), false, |this| visit::visit_block(this, block));
    }

    fn inside(&mut self, name: String, is_type: bool, look: impl FnOnce(&mut Self)) {
        let had_type = std::mem::replace(&mut self.has_type, is_type);
        self.path.push(name);
        look(self);
        self.path.pop();
        self.has_type = had_type;
    }
}

impl Visit<'_> for Collector<'_> {
    fn visit_item_mod(&mut self, module: &syn::ItemMod) {
        let is_for_tests = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test")
        };
        if !module.attrs.iter().any(is_for_tests) {
            let name = module.ident.to_string();
            self.inside(name, false, |this| visit::visit_item_mod(this, module));
        }
    }

    fn visit_item_impl(&mut self, block: &syn::ItemImpl) {
        let name = match &*block.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.inside(name.unwrap_or_default(), true, |this| visit::visit_item_impl(this, block));
    }

    fn visit_item_trait(&mut self, item: &syn::ItemTrait) {
        self.inside(item.ident.to_string(), true, |this| visit::visit_item_trait(this, item));
    }

    fn visit_item_fn(&mut self, function: &syn::ItemFn) {
        self.add(&function.sig.ident, &function.block);
    }

    fn visit_impl_item_fn(&mut self, function: &syn::ImplItemFn) {
        self.add(&function.sig.ident, &function.block);
    }

    fn visit_trait_item_fn(&mut self, function: &syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig.ident, block);
        }
    }
}

/// Searches a body for a part.
struct Search<'a> {
    part: Part,
    words: Vec<Token>,
    /// The body's tokens.
    tokens: &'a [Token],
    found: Vec<Range<usize>>,
}

impl Search<'_> {
    fn has_words(&self, span: Span) -> bool {
        let tokens = part_of(self.tokens, span.byte_range());
        tokens.windows(self.words.len()).any(|tokens| same(tokens, &self.words))
    }

    fn ends_with_words(&self, place: Range<usize>) -> bool {
        let tokens = part_of(self.tokens, place);
        tokens.len() >= self.words.len()
            && same(&tokens[tokens.len() - self.words.len()..], &self.words)
    }

    fn condition(&mut self, condition: &syn::Expr) {
        if matches!(self.part, Part::Condition(_)) && self.has_words(condition.span()) {
            self.found.push(condition.span().byte_range());
        }
    }

    fn call(&mut self, call: Span, called: Range<usize>) {
        if matches!(self.part, Part::Call(_)) && self.ends_with_words(called) {
            self.found.push(call.byte_range());
        }
    }
}

impl Visit<'_> for Search<'_> {
    fn visit_stmt(&mut self, statement: &syn::Stmt) {
        if matches!(self.part, Part::Statement(_)) && self.has_words(statement.span()) {
            self.found.push(statement.span().byte_range());
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_arm(&mut self, arm: &syn::Arm) {
        if matches!(self.part, Part::Arm(_)) && self.has_words(arm.pat.span()) {
            self.found.push(arm.span().byte_range());
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_if(&mut self, expression: &syn::ExprIf) {
        self.condition(&expression.cond);
        visit::visit_expr_if(self, expression);
    }

    fn visit_expr_while(&mut self, expression: &syn::ExprWhile) {
        self.condition(&expression.cond);
        visit::visit_expr_while(self, expression);
    }

    fn visit_expr_call(&mut self, call: &syn::ExprCall) {
        self.call(call.span(), call.func.span().byte_range());
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        let start = call.receiver.span().byte_range().start;
        self.call(call.span(), start..call.method.span().byte_range().end);
        visit::visit_expr_method_call(self, call);
    }
}

/// The functions of a C file: a name, a group in parentheses, and one in braces.
fn of_c(file: &Path, text: &str) -> Result<Vec<Function>, String> {
    let tokens = c_tokens(text);
    let mut functions = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let parameters_end = group_end(&tokens, at + 1, "(", ")");
        let body = parameters_end.and_then(|end| Some(end..group_end(&tokens, end, "{", "}")?));
        let Some(body) = body else {
            at += 1;
            continue;
        };
        functions.push(Function {
            path: vec![tokens[at].text.clone()],
            has_type: false,
            file: file.to_owned(),
            tokens: tokens[body.clone()].to_vec(),
            syntax: None,
        });
        at = body.end;
    }
    Ok(functions)
}

/// The end of the group that begins at an index, if there is one.
fn group_end(tokens: &[Token], start: usize, open: &str, close: &str) -> Option<usize> {
    if tokens.get(start)?.text != open {
        return None;
    }
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        if token.text == open {
            depth += 1;
        } else if token.text == close {
            depth -= 1;
        }
        if depth == 0 {
            return Some(index + 1);
        }
    }
    None
}

fn c_tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let rest = &text[start..];
        let comment_end = match rest.get(..2) {
            Some("//") => rest.find('\n').or(Some(rest.len())),
            Some("/*") => rest[2..].find("*/").map(|end| end + 4).or(Some(rest.len())),
            _ => None,
        };
        let bytes = comment_end.unwrap_or_else(|| match first {
            '"' | '\'' => quoted_bytes(rest, first),
            _ => rest.find(|character| !is_of_word(character)).unwrap_or(rest.len()),
        });
        let bytes = bytes.max(first.len_utf8());
        if comment_end.is_none() && !first.is_whitespace() {
            tokens.push(Token { text: rest[..bytes].to_owned(), place: start..start + bytes });
        }
        start += bytes;
    }
    tokens
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of a quoted literal, with its quotes.
fn quoted_bytes(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let is_end = |character| {
        let is_end = character == quote && !escaped;
        escaped = character == '\\' && !escaped;
        is_end
    };
    text[1..].find(is_end).map_or(text.len(), |end| end + 2)
}
