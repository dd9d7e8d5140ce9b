//! `majjen trace`.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libtest_mimic::Completion;
use majjen_cli::entry::{Entry, Recording, write_chrome};
use serde_json::Value;

use crate::hostile::Faults;
use crate::support::{Hanging, Link, build, majjen};

crate::support::trials! {
    what_tasks_do_is_recorded_in_every_kind_of_program,
    it_stops_by_itself,
    a_turn_that_goes_on_is_shown,
    an_idle_process_has_nothing_to_show,
    an_idle_process_begins_when_it_wakes_up,
    problems_are_told,
    any_entries_are_told,
    a_program_that_is_told_to_writes_files_itself,
    a_program_with_more_rights_writes_none,
}

/// A file of this test alone.
fn file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file");
    let whole: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    whole["traceEvents"].as_array().expect("events").clone()
}

/// How many events of each name there are, by the name of the row.
fn rows(events: &[Value]) -> HashMap<String, HashMap<String, usize>> {
    let (mut names, mut rows) = (HashMap::new(), HashMap::<_, HashMap<_, _>>::new());
    for event in events {
        let row = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
        let name = event["name"].as_str().unwrap_or("").to_owned();
        if name == "thread_name" {
            names.insert(row, event["args"]["name"].as_str().unwrap().to_owned());
        } else if event["ph"] != "M" {
            *rows.entry(row).or_default().entry(name).or_default() += 1;
        }
    }
    let name = |row: &(u64, u64)| names.get(row).cloned().unwrap_or_else(|| format!("{row:?}"));
    rows.into_iter().map(|(row, events)| (name(&row), events)).collect()
}

fn record(program: &Hanging, path: &Path, more: &[&str]) -> String {
    let (pid, output) = (program.pid(), path.to_str().expect("UTF-8"));
    let mut arguments = vec!["trace", &pid, "--for", "300ms", "-o", output];
    arguments.extend(more);
    majjen(&arguments).succeeded()
}

fn what_tasks_do_is_recorded_in_every_kind_of_program() {
    for link in [Link::Shared, Link::StaticStripped, Link::Standalone] {
        let program = Hanging::start(&build("busy", link), &[]);
        let path = file(&format!("trace-{link:?}.json"));
        let text = record(&program, &path, &[]);
        assert!(text.starts_with("scheduler 1 'busy': ") && text.contains("written to"), "{text}");
        let rows = rows(&events(&path));
        let holder = &rows["holder"];
        assert!(holder["runs"] > 10 && holder["sleeps"] > 5, "{link:?}: {rows:?}");
        assert!(rows["waiter"]["waits for mutex"] > 5, "{link:?}: {rows:?}");
        assert!(rows["maker"]["runs"] > 5, "{link:?}: {rows:?}");
        assert!(rows["loop"]["sleeps"] > 5, "{link:?}: {rows:?}");
        let page = file(&format!("trace-{link:?}.html"));
        record(&program, &page, &[]);
        let page = fs::read_to_string(&page).expect("the page");
        assert!(page.starts_with("<!doctype html>"), "{}", &page[..200]);
        assert!(page.contains("scheduler 1 'busy'") && page.contains("holder"));
        // A second time, of another size. Fewer are shown where the program overwrites some while they are read, as it
        // does on a busy machine, but not each time.
        let is_full = |text: &String| text.contains("1023 events") || text.contains("1024 events");
        let again = || record(&program, &path, &["--events", "1000"]);
        let text = (0..10).map(|_| again()).find(is_full).expect("all that there is room for");
        assert!(text.contains("earlier ones did not fit, see --events"), "{text}");
        assert!(events(&path).len() > 500);
    }
}

fn it_stops_by_itself() {
    let program = Hanging::start(&build("busy", Link::Shared), &[]);
    let path = file("trace-stops.json");
    record(&program, &path, &[]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    // What is recorded now is all that there is: had it gone on, the ring would have wrapped long since.
    let text = record(&program, &path, &["--events", "65536"]);
    assert!(!text.contains("did not fit"), "{text}");
}

fn a_turn_that_goes_on_is_shown() {
    let program = Hanging::start(&build("computes", Link::Shared), &[]);
    let path = file("trace-computes.json");
    let output = path.to_str().unwrap();
    majjen(&["trace", &program.pid(), "--for", "1s", "-o", output]).succeeded();
    let events = events(&path);
    let is_named = |event: &&Value| event["args"]["name"] == "computer";
    let row = &events.iter().find(is_named).expect("its name")["tid"];
    let of_row: Vec<&Value> = events.iter().filter(|event| event["tid"] == *row).collect();
    let [.., began, ended] = of_row[..] else { panic!("{of_row:?}") };
    assert!(began["name"] == "runs" && ended["ph"] == "E", "{of_row:?}");
    // It has begun with the recording, nearly.
    let us = |event: &Value| event["ts"].as_f64().unwrap();
    assert!(us(ended) - us(began) > 1000.0, "{of_row:?}");
    let tasks = record(&program, &file("trace-computes.html"), &[]);
    assert!(tasks.contains("of 1 task"), "{tasks}");
}

fn an_idle_process_has_nothing_to_show() {
    let program = Hanging::start(&build("hang", Link::Shared), &["pipe"]);
    let path = file("trace-idle.json");
    let path_text = path.to_str().unwrap();
    let text = majjen(&["trace", &program.pid(), "--for", "50ms", "-o", path_text]).failed();
    assert!(
        text.contains("nothing was recorded of process") && text.contains("majjen ps"),
        "{text}"
    );
    assert!(!path.exists());
    // One that is there stays as it is.
    fs::write(&path, "earlier").unwrap();
    majjen(&["trace", &program.pid(), "--for", "50ms", "-o", path_text]).failed();
    assert_eq!(fs::read_to_string(&path).unwrap(), "earlier");
    // A shorter one that is written to it has no rest of it.
    fs::write(&path, "earlier".repeat(1 << 20)).unwrap();
    let busy = Hanging::start(&build("busy", Link::Shared), &[]);
    record(&busy, &path, &["--events", "1024"]);
    assert!(events(&path).len() > 500);
}

fn an_idle_process_begins_when_it_wakes_up() {
    let program = Hanging::start(&build("hang", Link::Shared), &["leak"]);
    let path = file("trace-wakes.json");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_majjen"));
    command.args(["trace", &program.pid(), "--for", "1500ms", "-o"]).arg(&path);
    let mut majjen = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    // One of its tasks reads a byte from the pipe that they all wait for.
    let pipe = fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap().find_map(|fd| {
        let fd = fd.unwrap().path();
        let is_own = fd.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap() > 2;
        let is_pipe = fs::read_link(&fd).unwrap().to_string_lossy().starts_with("pipe:");
        (is_own && is_pipe).then_some(fd)
    });
    fs::write(pipe.unwrap(), "x").unwrap();
    assert!(majjen.wait().unwrap().success());
    let ended = events(&path).into_iter().filter(|event| event["name"] == "ended");
    assert_eq!(ended.map(|event| event["args"]["name"].clone()).collect::<Vec<_>>(), ["session"]);
}

fn problems_are_told() {
    let program = Hanging::start(&build("busy", Link::Shared), &[]);
    let pid = program.pid();
    // At once, and not when all is recorded.
    let text = majjen(&["trace", &pid, "--for", "60min", "-o", "/nowhere/x.json"]).failed();
    assert!(text.contains("/nowhere/x.json cannot be written"), "{text}");
    let text = majjen(&["trace", &pid, "--for", "50ms", "-o", "/dev/full"]).failed();
    assert!(text.contains("/dev/full cannot be written: No space left"), "{text}");
    for time in ["0", "5 hours", "x", "-1s", "1e9s"] {
        let refused = majjen(&["trace", &pid, &format!("--for={time}")]);
        assert!(refused.code == 2 && refused.stderr.contains("--for"), "{time}: {refused:?}");
    }
    let text = majjen(&["trace", &std::process::id().to_string(), "--for", "50ms"]).failed();
    assert!(
        text.contains("does not use Majjen") || text.contains("nothing was recorded"),
        "{text}"
    );
}

fn run_with(variable: Option<&Path>) -> std::process::Output {
    run_program_with(&build("busy", Link::Shared), variable)
}

fn run_program_with(program: &Path, variable: Option<&Path>) -> std::process::Output {
    let mut program = std::process::Command::new(program);
    program.arg("20").env_remove("MAJJEN_TRACE");
    variable.into_iter().for_each(|path| _ = program.env("MAJJEN_TRACE", path));
    program.output().expect("the program")
}

fn a_program_that_is_told_to_writes_files_itself() {
    let path = file("trace-itself.json");
    let of_second = file("trace-itself.json.2");
    assert!(run_with(None).status.success());
    assert!(run_with(Some(Path::new(""))).status.success());
    assert!(!path.exists());
    let output = run_with(Some(&path));
    assert!(output.status.success(), "{output:?}");
    for (path, name, number, runs) in [(path, "busy", 1, 20), (of_second, "next", 2, 1)] {
        let events = events(&path);
        let process = events.iter().find(|event| event["name"] == "process_name").unwrap();
        assert_eq!(process["args"]["name"], name);
        // So that the events of both can be put into one file.
        assert!(events.iter().all(|event| event["pid"] == number), "{events:?}");
        let rows = rows(&events);
        assert!(rows["loop"]["sleeps"] > 0 && rows["holder"]["runs"] > 0, "{rows:?}");
        let ended: usize = rows.values().filter_map(|row| row.get("ended")).sum();
        assert!(ended >= 20 * runs, "{ended}: {rows:?}");
    }
    // One that cannot be written is no harm to the program.
    let output = run_with(Some(Path::new("/nowhere/trace.json")));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success()
            && text.contains("cannot write a trace: ")
            && text.contains(": /nowhere/trace.json"),
        "{text}"
    );
}

fn a_program_with_more_rights_writes_none() -> Completion {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Completion::ignored_with(
            "only root can make a program that has another user's rights",
        );
    }
    // Where both users may run it, and write.
    let directory = std::env::temp_dir().join(format!("majjen-of-a-test-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&directory, 0o777);
    let (program, path) = (directory.join("program"), directory.join("trace.json"));
    fs::copy(build("busy", Link::StaticStripped), &program).unwrap();
    set_mode(&program, 0o755);
    let run = || {
        let output = run_program_with(&program, Some(&path));
        assert!(output.status.success(), "{output:?}");
        let is_privileged = String::from_utf8_lossy(&output.stdout).contains("has more rights");
        (is_privileged, fs::remove_file(&path).is_ok())
    };
    let usual = run();
    std::os::unix::fs::chown(&program, Some(65534), None).unwrap();
    set_mode(&program, 0o4755);
    let privileged = run();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(usual, (false, true));
    if !privileged.0 {
        return Completion::ignored_with("set-uid programs have no other rights here");
    }
    assert!(!privileged.1, "it has written a file");
    Completion::Completed
}

/// Any entries.
struct Broken(Vec<Entry>);

impl Recording for Broken {
    fn number(&self) -> u32 {
        1
    }

    fn name(&self) -> &[u8] {
        b"\xff\"</script>"
    }

    fn numbers(&self) -> Range<u64> {
        0..self.0.len() as u64 + 3
    }

    fn entry(&self, number: u64) -> Option<Entry> {
        // Some are gone.
        self.0.get(number as usize).copied().filter(|_| number % 17 != 3)
    }

    fn names(&self, call: &mut dyn FnMut(u64, &[u8]) -> fmt::Result) -> fmt::Result {
        call(u64::MAX >> 40, b"\x00\x1f\xc3")
    }

    fn kind(&self, index: u8, call: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        call(if index.is_multiple_of(2) { "\"\\\n" } else { "mutex" })
    }
}

fn any_entries_are_told() {
    let mut faults = Faults { state: 0x2545_f491_4f6c_dd1d, one_of: 1 };
    let mut random = || faults.next();
    for round in 0..200 {
        let entries = (0..round * 3).map(|_| {
            // Mostly codes that there are.
            let code = if random() % 8 == 0 { random() } else { 1 + random() % 10 };
            Entry { time: random() >> (random() % 64), word: code << 56 | random() >> 8 }
        });
        let broken = Broken(entries.collect());
        let mut text = String::new();
        write_chrome(&mut text, &[&broken, &broken]).expect("text");
        serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}
