//! What `majjen` says when it cannot do what is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Completion;

use crate::support::{Hanging, Link, build, libraries, majjen, run};

crate::support::trials! {
    a_message_that_nobody_can_be_told_is_no_crash,
    what_is_no_process_is_said_to_be_none,
    a_process_without_a_command_gets_a_tip,
    a_process_without_majjen_is_said_to_be_one,
    a_newer_library_is_said_to_be_one,
    a_missing_permission_is_said_to_be_missing,
    a_newer_copy_beside_one_that_is_known_is_left_out,
}

fn what_is_no_process_is_said_to_be_none() {
    // More than the kernel gives.
    let text = majjen(&["ps", "999999999"]).failed();
    assert!(text.starts_with("majjen: there is no process 999999999"), "{text}");
    for (whom, expected) in [
        ("0", "0 is not the number of a process"),
        ("-1", ""), // An option.
        ("99999999999", "it is too large"),
        ("/does/not/exist", "cannot be opened as a core file: No such file"),
        ("Cargo.toml", "is not a core file, nor the number of a process"),
        ("/proc/self/exe", "is not a core file"),
        (".", "is not a core file"),
    ] {
        let output = majjen(&["ps", whom]);
        assert!(output.code != 0 && output.stderr.contains(expected), "{output:#?}");
    }
}

fn a_process_without_a_command_gets_a_tip() {
    for whom in ["4242", "Cargo.toml"] {
        let output = majjen(&[whom]);
        let tip = format!("  tip: `majjen ps {whom}` lists the tasks");
        assert!(output.code == 2 && output.stderr.contains(&tip), "{output:#?}");
    }
    let output = majjen(&["graf"]);
    assert!(
        output.stderr.contains("'graph'") && !output.stderr.contains("majjen ps"),
        "{output:#?}"
    );
    let text = majjen(&["ps", "no-such-program"]).failed();
    assert!(
        text.ends_with(": `pidof no-such-program` tells the number of the process of a program\n")
    );
}

fn a_process_without_majjen_is_said_to_be_one() {
    let mut sleep = Command::new("sleep").arg("1000").spawn().unwrap();
    let text = majjen(&["ps", &sleep.id().to_string()]).failed();
    sleep.kill().unwrap();
    assert!(text.contains("(sleep) does not use Majjen"), "{text}");
    // It has ended, and is not waited for yet.
    let text = loop {
        let text = majjen(&["ps", &sleep.id().to_string()]).failed();
        if !text.contains("does not use Majjen") {
            break text;
        }
    };
    assert!(text.contains("has ended: it only waits for its parent"), "{text}");
    sleep.wait().unwrap();
}

fn a_newer_library_is_said_to_be_one() {
    let program = build("hang", Link::StaticStripped);
    let mut bytes = fs::read(&program).unwrap();
    let magic = b"majjen\0\0\x05\0\0\0";
    let at = bytes.windows(magic.len()).position(|window| window == magic).unwrap();
    bytes[at + 8] = 6;
    let newer = Path::new(env!("CARGO_TARGET_TMPDIR")).join("newer");
    fs::write(&newer, &bytes).unwrap();
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o755)).unwrap();
    let process = Hanging::start(&newer, &["deadlock"]);
    let text = majjen(&["ps", &process.pid()]).failed();
    assert!(
        text.contains("its table has version 6") && text.contains("install the majjen of"),
        "{text}"
    );

    // And with numbers that cannot be right.
    bytes[at + 8] = 5;
    bytes[at + 16 + 4 * 5..][..4].fill(0xff); // scheduler_bytes
    fs::write(&newer, &bytes).unwrap_or_default(); // It may still be in use.
    drop(process);
    fs::write(&newer, &bytes).unwrap();
    let process = Hanging::start(&newer, &["deadlock"]);
    let text = majjen(&["ps", &process.pid()]).failed();
    assert!(text.contains("cannot be right"), "{text}");
}

fn a_missing_permission_is_said_to_be_missing() -> Completion {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Completion::ignored_with("only root can become somebody else");
    }
    let process = Hanging::start(&build("hang", Link::Shared), &["deadlock"]);
    // Where another user may read it.
    let copy = std::env::temp_dir().join(format!("majjen-of-a-test-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_majjen"), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
    let output = run(command.args(["ps", &process.pid()]));
    fs::remove_file(&copy).unwrap();
    let text = output.failed();
    assert!(
        text.contains(&format!("no permission to look into process {}", process.pid())),
        "{text}"
    );
    assert!(text.contains("it is of user 0, and this is user 65534: run majjen as root"), "{text}");
    Completion::Completed
}

fn a_newer_copy_beside_one_that_is_known_is_left_out() {
    let mut bytes = fs::read(libraries().join("libmajjen.so")).unwrap();
    let magic = b"majjen\0\0\x05\0\0\0";
    let at = bytes.windows(magic.len()).position(|window| window == magic).unwrap();
    bytes[at + 8] = 6;
    let newer = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libnewer.so");
    fs::write(&newer, &bytes).unwrap();
    let program = build("hang", Link::StaticStripped);
    let process = Hanging::start(&program, &["copies", newer.to_str().unwrap()]);
    let output = majjen(&["ps", &process.pid()]);
    assert!(output.code == 0 && output.stdout.contains(": 1 scheduler, 4 tasks\n"), "{output:#?}");
    let expected = "has another copy of Majjen, which is left out: its table has version 6, not 5";
    assert!(output.stderr.contains(expected), "{output:#?}");
}

fn a_message_that_nobody_can_be_told_is_no_crash() {
    let mut majjen = std::process::Command::new(env!("CARGO_BIN_EXE_majjen"));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = majjen.args(["ps", "999999999"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(1), "{status}");
}
