//! The compiler checks the arguments of a log line against its format.

use std::env;
use std::process::Command;

const WRONG: &[&str] = &[
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

const RIGHT: &[&str] = &[
    r#"mj_log(MJ_LOG_INFO, "%s %d %ld %%", "one", 2, 3L)"#,
    r#"mj_vlog(MJ_LOG_INFO, "%d", arguments)"#,
    r#"MJ_INFO("text")"#,
    r#"MJ_FATAL("%zu %.1f %p %m", sizeof(int), 1.0, (void*)0)"#,
];

/// What the compiler says about a program with one statement. Empty when it accepts it.
fn complaint(statement: &str, name: &str) -> String {
    let source = format!(
        "#include \"majjen.h\"\n\
         void log_a_line(va_list arguments);\n\
         void log_a_line(va_list arguments) {{ (void)arguments; {statement}; }}\n"
    );
    let path = env::temp_dir().join(format!("majjen-format-{}-{name}.c", std::process::id()));
    std::fs::write(&path, source).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(compiler)
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror=format", "-Werror=format-extra-args"])
        .args(["-fsyntax-only", "-I", concat!(env!("CARGO_MANIFEST_DIR"), "/include")])
        .arg(&path)
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), !said.contains("error"), "{statement}\n{said}");
    said
}

#[test]
fn wrong_formats_do_not_compile() {
    for (number, statement) in WRONG.iter().enumerate() {
        let said = complaint(statement, &format!("wrong-{number}"));
        // For that reason, and not for any other.
        assert!(said.contains("-Werror=format"), "{statement}\n{said}");
    }
}

#[test]
fn right_formats_do() {
    for (number, statement) in RIGHT.iter().enumerate() {
        assert_eq!(complaint(statement, &format!("right-{number}")), "", "{statement}");
    }
}
