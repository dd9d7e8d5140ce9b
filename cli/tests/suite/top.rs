//! `majjen top`, on a terminal that shows what a user would see.

use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::support::{Hanging, Link, build};

crate::support::trials! {
    shows_what_a_user_asks_for,
    shows_who_computes_without_colors_if_none_are_wanted,
    puts_the_terminal_back_when_it_is_ended,
    a_pause_before_the_first_picture_is_one_of_it,
    ends_when_the_terminal_is_closed,
}

/// A terminal with `majjen top` on it.
struct Terminal {
    child: Child,
    master: File,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    raw: Vec<u8>,
}

/// Many times what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

impl Terminal {
    fn start(pid: &str, environment: &[(&str, &str)]) -> Terminal {
        let size = libc::winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let (mut master, mut slave) = (0, 0);
        let nothing = std::ptr::null_mut();
        // SAFETY: good addresses, or none.
        let result =
            unsafe { libc::openpty(&mut master, &mut slave, nothing, nothing.cast(), &size) };
        assert_eq!(result, 0);
        for fd in [master, slave] {
            // SAFETY: opened just now. What has it is to have no other end of its own terminal.
            assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }, 0);
        }
        // SAFETY: both have been opened just now, and are nobody else's.
        let (master, slave) = unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) };
        let mut command = Command::new(env!("CARGO_BIN_EXE_majjen"));
        command.args(["top", pid, "--interval", "0.2"]).env_remove("NO_COLOR").env("TERM", "xterm");
        command.envs(environment.iter().copied());
        let of_slave = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(of_slave()).stdout(of_slave()).stderr(of_slave());
        let child = command.spawn().unwrap();
        let (sender, output) = mpsc::channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child, master, output, screen: vt100::Parser::new(24, 100, 0), raw: Vec::new() }
    }

    /// Waits until the screen shows something.
    #[track_caller]
    fn wait_for(&mut self, what: &str, shows: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            // Whole screens: what is drawn at a time comes without a pause.
            while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(50)) {
                self.screen.process(&bytes);
                self.raw.extend(bytes);
            }
            let text = self.screen.screen().contents();
            if shows(&text) {
                return text;
            }
            assert!(Instant::now() < end, "{what}; the screen:\n{text}");
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the address is good.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
        // Not the child's controlling terminal, so that nobody else tells it.
        // SAFETY: it has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGWINCH) };
        self.screen.screen_mut().set_size(rows, columns);
    }

    /// Whether what is typed is read by lines, and shown, as a shell wants it.
    fn is_cooked(&self) -> bool {
        let mut settings = MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the address is good, and all zeros are a value.
        let settings = unsafe {
            libc::tcgetattr(self.master.as_raw_fd(), settings.as_mut_ptr());
            settings.assume_init()
        };
        let both = libc::ICANON | libc::ECHO;
        settings.c_lflag & both == both
    }

    fn ends(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shows_what_a_user_asks_for() {
    let process = Hanging::start(&build("hang", Link::Shared), &["waits"]);
    let mut terminal = Terminal::start(&process.pid(), &[]);
    let text = terminal.wait_for("the tasks", |text| text.contains("the end of task 0 'a'"));
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0]
            .starts_with(&format!("majjen top: process {} (hang-Shared)  16 tasks", process.pid()))
    );
    assert!(lines[1].starts_with("SCHEDULER") && lines[1].contains("LATE p50"), "{text}");
    assert!(lines[2].trim_start().starts_with('1'), "{text}");
    assert!(lines[4].contains("TASK NAME") && lines[4].contains("DOES"), "{text}");
    assert!(lines[23].contains("q quit  p pause  s sort: share"), "{text}");

    terminal.press(b"/semaphore\r");
    let only = |text: &str| text.contains("wants 3 of 2") && !text.contains("wait group");
    terminal.wait_for("the filter", only);
    terminal.press(b"\r");
    let text = terminal.wait_for("the backtrace", |text| text.contains("#1  in_semaphore"));
    assert!(text.contains(" any key "), "{text}");
    terminal.press(b"x\x1b");
    terminal.wait_for("no filter", |text| text.contains("wait group") && !text.contains("any key"));

    terminal.press(b"sss");
    terminal.wait_for("another order", |text| text.contains("s sort: task"));
    terminal.press(b"p");
    terminal.wait_for("a pause", |text| text.contains("  PAUSED"));
    terminal.press(b"p");
    terminal.wait_for("no pause", |text| !text.contains("PAUSED"));

    terminal.resize(12, 60);
    terminal.wait_for("a smaller screen", |text| {
        let has = |row: usize, texts: &[&str]| {
            let line = text.lines().nth(row).unwrap_or_default();
            texts.iter().all(|text| line.contains(text))
        };
        has(11, &["q quit"])
            && has(1, &["SCHEDULER", "TASKS", "READY", "BUSY", "TURNS/S", "LATE p99"])
            && has(4, &["TASK", "NAME", "DOES"])
            && text.contains("mutex held by task 1 'b")
            && text.lines().all(|line| line.chars().count() <= 60)
    });
    assert!(terminal.raw.windows(3).any(|bytes| bytes == b"\x1b[3"), "there are colours");
    terminal.press(b"q");
    assert!(terminal.ends().success());
}

fn shows_who_computes_without_colors_if_none_are_wanted() {
    let process = Hanging::start(&build("hang", Link::Shared), &["loop"]);
    let mut terminal = Terminal::start(&process.pid(), &[("NO_COLOR", "1")]);
    let text = terminal
        .wait_for("who computes", |text| text.contains("100%") && text.contains("computes"));
    let first = text.lines().nth(5).unwrap();
    assert!(
        first.contains("loops") && first.contains("running") && first.contains("100%"),
        "{text}"
    );
    // Bold and the like are no colours; those have numbers from 30 to 49.
    let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
    let has_color = |parameters: &str| {
        parameters.split(';').any(|number| {
            number.parse().is_ok_and(|number: u32| matches!(number, 30..=38 | 40..=48))
        })
    };
    let sequences = raw
        .split("\x1b[")
        .filter_map(|rest| rest.split_once('m'))
        .map(|(parameters, _)| parameters);
    assert!(!sequences.filter(|parameters| parameters.len() < 12).any(has_color), "{raw:?}");
    // The process ends.
    drop(process);
    assert!(!terminal.ends().success());
}

fn puts_the_terminal_back_when_it_is_ended() {
    let process = Hanging::start(&build("hang", Link::Shared), &["waits"]);
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        let mut terminal = Terminal::start(&process.pid(), &[]);
        terminal.wait_for("the tasks", |text| text.contains("the end of task 0 'a'"));
        assert!(terminal.screen.screen().alternate_screen() && !terminal.is_cooked());
        // SAFETY: it has not been waited for.
        unsafe { libc::kill(terminal.child.id() as i32, signal) };
        assert_eq!(terminal.ends().signal(), Some(signal));
        terminal.wait_for("the screen from before", |text| text.is_empty());
        let screen = terminal.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && terminal.is_cooked());
    }
}

fn a_pause_before_the_first_picture_is_one_of_it() {
    let process = Hanging::start(&build("hang", Link::Shared), &["waits"]);
    let mut terminal = Terminal::start(&process.pid(), &[]);
    terminal.press(b"p");
    terminal.wait_for("the tasks", |text| {
        text.contains("the end of task 0 'a'") && text.contains("  PAUSED")
    });
    terminal.press(b"q");
    assert!(terminal.ends().success());
}

/// Also without a signal, which only comes to who has the terminal as its own.
fn ends_when_the_terminal_is_closed() {
    let process = Hanging::start(&build("hang", Link::Shared), &["waits"]);
    let mut terminal = Terminal::start(&process.pid(), &[]);
    terminal.wait_for("there is no picture", |text| text.contains("TASK"));
    // The thread that reads ends with the next picture, and with it goes the last descriptor of this end.
    terminal.output = mpsc::channel().1;
    terminal.master = File::open("/dev/null").unwrap();
    let status = terminal.ends();
    assert_eq!(status.code(), Some(1), "{status}");
}
