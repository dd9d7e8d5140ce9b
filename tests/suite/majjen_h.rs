//! Generates `tests/support/majjen_h.rs` from the header: the C ABI in Rust, for the tests that
//! call it. It is committed, so that building the tests does not require parsing C.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use libtest_mimic::Failed;

use crate::declarations::{self, Statement};
use crate::library;

const HEAD: &str = r#"//! The C ABI as `include/majjen.h` declares it, for tests that call it from Rust.
//!
//! Generated from the header by `tests/suite/majjen_h.rs`; do not edit. `make header` renews it.
#![allow(dead_code)] // No test uses all of it.
#![allow(non_camel_case_types)] // C's names.

use std::ffi::{c_char, c_int, c_short, c_uint, c_ulong, c_void};

/// As a parameter, the address of one: an array is that in C, and so is a struct of this size in the
/// calling convention of AArch64.
pub type va_list = *mut c_void;
"#;

/// Why the functions are declared safe.
const SAFETY: &str = "
// SAFETY: these are the header's declarations. What the header asks of arguments is for the tests to
// keep, as for any C program; marking each call would say no more than that it is a call of C.
";

/// The longest line that rustfmt keeps.
const WIDTH: usize = 100;

/// The text that the committed file should have.
pub fn generate() -> Result<String, Failed> {
    let mut types = Types::default();
    let mut text = HEAD.to_owned();
    constants(&mut text)?;
    for statement in declarations::typedefs()? {
        types.define(&statement, &mut text)?;
    }
    text.push_str(SAFETY);
    text.push_str("unsafe extern \"C\" {\n");
    for (name, prototype) in declarations::prototypes()? {
        let tokens = tokens(&prototype);
        let open = tokens.iter().position(|token| token == "(").ok_or("no parameters")?;
        let (_, result) = types.declared(&tokens[..open])?;
        let head = format!("    pub safe fn {name}");
        types.signature(&head, &tokens[open..], result, &mut text)?;
    }
    text.push_str("}\n");
    Ok(text)
}

/// The macros that are numbers, which are not in the preprocessor's output.
fn constants(text: &mut String) -> Result<(), Failed> {
    let header = fs::read_to_string(library::root().join("include/majjen.h"))?;
    let mut separator = "\n";
    for line in header.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["#define", name, value] = words[..] else { continue };
        let constant = match value {
            "UINT64_MAX" => "u64 = u64::MAX".to_owned(),
            _ => match value.parse::<i32>() {
                Ok(number) if name.starts_with("MJ_") => format!("c_int = {number}"),
                _ => continue,
            },
        };
        writeln!(text, "{separator}pub const {name}: {constant};")?;
        separator = "";
    }
    Ok(())
}

/// The types that the header has defined so far.
#[derive(Default)]
struct Types {
    /// Structs, enums and aliases of numbers.
    plain: BTreeSet<String>,
    /// Function types. In Rust these are pointers already, which cannot be NULL.
    functions: BTreeSet<String>,
    /// Types that are pointers to functions in C, too.
    function_pointers: BTreeSet<String>,
}

impl Types {
    /// Adds a type, and its definition in Rust.
    fn define(&mut self, statement: &Statement, text: &mut String) -> Result<(), Failed> {
        let tokens = tokens(&statement.text);
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).skip(1).collect();
        text.push('\n');
        match tokens[..] {
            ["enum", .., "{", "}", name] => {
                self.plain.insert(name.to_owned());
                // C's compilers choose a type that has all of the values.
                let value = if statement.body.contains('-') { "c_int" } else { "c_uint" };
                writeln!(text, "pub type {name} = {value};")?;
                enumerators(name, &statement.body, text)?;
            }
            ["struct", _, "{", "}", name] => {
                self.plain.insert(name.to_owned());
                writeln!(text, "#[repr(C)]\n#[derive(Clone, Copy)]\npub struct {name} {{")?;
                for field in statement.body.split(';').filter(|field| !field.trim().is_empty()) {
                    let (name, field_type) = self.declared(&self::tokens(field))?;
                    writeln!(text, "    pub {name}: {},", field_type.ok_or("a field of no type")?)?;
                }
                text.push_str("}\n");
                default(name, text)?;
            }
            ["struct", _, name] => {
                self.plain.insert(name.to_owned());
                writeln!(text, "#[repr(C)]\npub struct {name} {{\n    _opaque: [u8; 0],\n}}")?;
            }
            // `result (*name)(...)` and `result name(...)`.
            [.., ")"] => {
                let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
                let first = tokens.iter().position(|token| token == "(").ok_or("no parameters")?;
                let is_pointer = tokens[first + 1] == "*";
                let (name, result, parameters) = if is_pointer {
                    let result = self.declared(&[&tokens[..first], &["_".to_owned()]].concat())?;
                    (tokens[first + 2].clone(), result.1, &tokens[first + 4..])
                } else {
                    let (name, result) = self.declared(&tokens[..first])?;
                    (name, result, &tokens[first..])
                };
                let head = format!("pub type {name} = unsafe extern \"C\" fn");
                self.signature(&head, parameters, result, text)?;
                let kind =
                    if is_pointer { &mut self.function_pointers } else { &mut self.functions };
                kind.insert(name);
            }
            _ => {
                let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
                let (name, other) = self.declared(&tokens)?;
                writeln!(text, "pub type {name} = {};", other.ok_or("a name for nothing")?)?;
                self.plain.insert(name);
            }
        }
        Ok(())
    }

    /// Adds a function or a function type, in as many lines as rustfmt would.
    fn signature(
        &self,
        head: &str,
        parameters: &[String],
        result: Option<String>,
        text: &mut String,
    ) -> Result<(), Failed> {
        let mut list = Vec::new();
        for parameter in parameters[1..parameters.len() - 1].split(|token| token == ",") {
            match parameter {
                [nothing] if nothing == "void" => {}
                [others] if others == "..." => list.push("...".to_owned()),
                _ => {
                    let (name, parameter_type) = self.declared(parameter)?;
                    list.push(format!("{name}: {}", parameter_type.ok_or("a parameter of void")?));
                }
            }
        }
        let result = result.map_or(String::new(), |result| format!(" -> {result}"));
        let line = format!("{head}({}){result};", list.join(", "));
        if line.len() == WIDTH
            && let Some((call, result)) = line.split_once(" -> ")
            && !call.contains(" = ")
        {
            // rustfmt takes the semicolon for too much here.
            let indent = " ".repeat(head.len() - head.trim_start().len());
            return Ok(writeln!(text, "{call}\n{indent}-> {result}")?);
        }
        if line.len() <= WIDTH {
            return Ok(writeln!(text, "{line}")?);
        }
        if let Some((name, of)) = line.split_once(" = ")
            && of.len() + 4 <= WIDTH
        {
            return Ok(writeln!(text, "{name} =\n    {of}")?);
        }
        let indent = " ".repeat(head.len() - head.trim_start().len());
        writeln!(text, "{head}(")?;
        for parameter in list {
            // Nothing may follow the end of a variable argument list.
            let comma = if parameter == "..." { "" } else { "," };
            writeln!(text, "{indent}    {parameter}{comma}")?;
        }
        Ok(writeln!(text, "{indent}){result};")?)
    }

    /// The name that a declaration introduces, and its type, `None` for void.
    fn declared(&self, tokens: &[String]) -> Result<(String, Option<String>), Failed> {
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let (tokens, length) = match &tokens[..] {
            [rest @ .., "[", length, "]"] => (rest, Some(*length)),
            all => (all, None),
        };
        let [of @ .., name] = tokens else { return Err("a declaration of nothing".into()) };
        let is_star = |token: &&&str| **token == "*";
        let mut stars = of.iter().filter(is_star).count();
        let base: Vec<&str> = of.iter().copied().take_while(|token| *token != "*").collect();
        let is_constant = base.contains(&"const");
        let words: Vec<&str> =
            base.into_iter().filter(|word| !["const", "struct", "enum"].contains(word)).collect();
        let mut result = match words.join(" ").as_str() {
            "void" if stars == 0 => return Ok((name.to_string(), None)),
            "void" => "c_void".to_owned(),
            "int" => "c_int".to_owned(),
            "short" => "c_short".to_owned(),
            "char" => "c_char".to_owned(),
            "_Bool" | "bool" => "bool".to_owned(),
            "size_t" => "usize".to_owned(),
            "uint32_t" => "u32".to_owned(),
            "uint64_t" => "u64".to_owned(),
            "ssize_t" => "isize".to_owned(),
            "unsigned char" => "u8".to_owned(),
            "unsigned int" | "unsigned" => "c_uint".to_owned(),
            "unsigned long" => "c_ulong".to_owned(),
            of_libc @ ("FILE" | "addrinfo" | "iovec" | "mode_t" | "msghdr" | "nfds_t" | "off_t"
            | "pid_t" | "pollfd" | "sockaddr" | "stat" | "socklen_t" | "uid_t") => {
                format!("libc::{of_libc}")
            }
            "va_list" => "va_list".to_owned(),
            function if self.functions.contains(function) && stars > 0 => {
                stars -= 1;
                format!("Option<{function}>")
            }
            pointer if self.function_pointers.contains(pointer) => format!("Option<{pointer}>"),
            // Structs may refer to themselves and to each other before they are defined.
            known if self.plain.contains(known) || known.starts_with("mj_") => known.to_owned(),
            unknown => return Err(format!("{unknown}, of {name}, is unknown in Rust").into()),
        };
        for star in 0..stars {
            let kind = if star == 0 && is_constant { "const" } else { "mut" };
            result = format!("*{kind} {result}");
        }
        if let Some(length) = length {
            result = format!("[{result}; {length}]");
        }
        Ok((name.to_string(), Some(result)))
    }
}

/// A struct as C has it with `{0}`.
fn default(name: &str, text: &mut String) -> Result<(), Failed> {
    writeln!(
        text,
        "\nimpl Default for {name} {{\n    fn default() -> {name} {{\n        \
         // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.\n        \
         unsafe {{ std::mem::zeroed() }}\n    }}\n}}"
    )?;
    Ok(())
}

/// The constants of an enum.
fn enumerators(name: &str, body: &str, text: &mut String) -> Result<(), Failed> {
    let mut next = 0;
    for enumerator in body.split(',').filter(|enumerator| !enumerator.trim().is_empty()) {
        let (constant, value) = enumerator.split_once('=').unwrap_or((enumerator, ""));
        if !value.is_empty() {
            next = value.trim().parse()?;
        }
        writeln!(text, "pub const {}: {name} = {next};", constant.trim())?;
        next += 1;
    }
    Ok(())
}

/// Words, numbers, `...`, and each other character by itself.
fn tokens(text: &str) -> Vec<String> {
    let is_part_of_a_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut tokens: Vec<String> = Vec::new();
    let mut continues = false;
    for character in text.chars() {
        let joins = is_part_of_a_word(character) || character == '.';
        match tokens.last_mut() {
            Some(last) if joins && continues => last.push(character),
            _ if !character.is_whitespace() => tokens.push(character.to_string()),
            _ => {}
        }
        continues = joins;
    }
    tokens
}
