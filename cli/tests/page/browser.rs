//! Debian's browser without a screen, driven by the DevTools protocol through two pipes: messages of JSON, each with a
//! 0 behind it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PROGRAM: &str = "chromium";
/// Nothing takes so long, also on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(120);

/// The directory of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project").to_owned()
}

/// Why the tests cannot run, if so.
pub fn missing() -> Option<String> {
    let version = Command::new(PROGRAM).arg("--version").stderr(Stdio::null()).output();
    let is_there = version.is_ok_and(|output| output.status.success());
    (!is_there).then(|| format!("{PROGRAM} is not installed"))
}

pub struct Browser {
    child: Child,
    commands: File,
    messages: Receiver<Value>,
    next_id: u64,
    profile: PathBuf,
}

/// A page in the browser.
pub struct Tab {
    browser: Browser,
    session: String,
    /// What the page has done, so far as it was told: requests, errors, lines of its log.
    events: Vec<Value>,
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

impl Browser {
    pub fn start(name: &str) -> Browser {
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("profile-{name}"));
        let _ = std::fs::remove_dir_all(&profile);
        let (its_commands, commands) = pipe();
        let (answers, its_answers) = pipe();
        let mut command = Command::new(PROGRAM);
        command.args(["--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"]);
        // A name that is looked up would be a fault of the page.
        command.arg("--host-resolver-rules=MAP * ~NOTFOUND");
        command.args(["--no-sandbox", "--hide-scrollbars", "--force-color-profile=srgb"]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (from, to) = (its_commands.as_raw_fd(), its_answers.as_raw_fd());
        // SAFETY: these calls are safe between fork and exec. The copies make room for each other.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let from = libc::fcntl(from, libc::F_DUPFD, 10);
                let to = libc::fcntl(to, libc::F_DUPFD, 10);
                libc::dup2(from, 3);
                libc::dup2(to, 4);
                libc::close(from);
                libc::close(to);
                Ok(())
            });
        }
        let child = command.spawn().expect("the browser");
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            for message in BufReader::new(File::from(answers)).split(0) {
                let Ok(message) = message else { break };
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Browser { child, commands: commands.into(), messages, next_id: 0, profile }
    }

    /// Calls a method, and returns what comes back. Events that come first are put aside.
    fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        parameters: Value,
        events: &mut Vec<Value>,
    ) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser listens");
        let begin = Instant::now();
        loop {
            let left = LIMIT.saturating_sub(begin.elapsed());
            let message =
                self.messages.recv_timeout(left).unwrap_or_else(|_| panic!("{method}: no answer"));
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            events.push(message);
        }
    }

    /// Opens a page in a window of this size.
    pub fn open(mut self, url: &str, width: u32, height: u32) -> Tab {
        let mut events = Vec::new();
        let target =
            self.call(None, "Target.createTarget", json!({ "url": "about:blank" }), &mut events);
        let parameters = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", parameters, &mut events);
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let mut tab = Tab { browser: self, session, events: Vec::new() };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        tab.call("Emulation.setDeviceMetricsOverride", size);
        tab.go(url);
        tab
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends the processes that it has started.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

impl Tab {
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.browser.call(Some(&self.session), method, parameters, &mut self.events)
    }

    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.until("document.documentElement?.dataset.openedMs !== undefined");
    }

    /// The value of an expression of the page's.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let expression = format!("document.querySelector({})?.innerText", json!(selector));
        self.value(&expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let begin = Instant::now();
        while self.value(expression) != true {
            assert!(begin.elapsed() < LIMIT, "never: {expression}\n{:#?}", self.faults());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The mouse goes to a place of the window.
    pub fn mouse(&mut self, kind: &str, x: f64, y: f64, more: Value) {
        let mut parameters = json!({ "type": kind, "x": x, "y": y });
        let all = parameters.as_object_mut().expect("an object");
        all.extend(more.as_object().expect("an object").clone());
        self.call("Input.dispatchMouseEvent", parameters);
    }

    pub fn click(&mut self, x: f64, y: f64) {
        self.mouse("mouseMoved", x, y, json!({}));
        for (kind, buttons) in [("mousePressed", 1), ("mouseReleased", 0)] {
            let button = json!({ "button": "left", "buttons": buttons, "clickCount": 1 });
            self.mouse(kind, x, y, button);
        }
        self.settle();
    }

    /// Clicks into the middle of an element.
    #[track_caller]
    pub fn click_on(&mut self, selector: &str) {
        let expression = format!(
            "(() => {{ const box = document.querySelector({}).getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let place = self.value(&expression);
        self.click(place[0].as_f64().expect("x"), place[1].as_f64().expect("y"));
    }

    pub fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 { json!(key) } else { Value::Null };
        let mut down = json!({ "type": "keyDown", "key": key });
        if !text.is_null() {
            down["text"] = text;
        }
        self.call("Input.dispatchKeyEvent", down);
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
        self.settle();
    }

    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Until what has been asked for is drawn.
    pub fn settle(&mut self) {
        let twice = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))";
        self.call("Runtime.evaluate", json!({ "expression": twice, "awaitPromise": true }));
    }

    pub fn make_dark(&mut self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": value });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
        self.settle();
    }

    /// What is seen, as a file of PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let image = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let text = image["data"].as_str().expect("an image").to_owned();
        let mut decoder = Command::new("base64");
        let mut decoder =
            decoder.arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = decoder.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
        let mut bytes = Vec::new();
        decoder.stdout.take().expect("a pipe").read_to_end(&mut bytes).unwrap();
        writer.join().unwrap();
        assert!(decoder.wait().unwrap().success());
        bytes
    }

    /// The addresses that the page has asked for, without what its own policy has refused.
    pub fn requests(&self) -> Vec<&str> {
        let refused: Vec<&Value> = self
            .of_method("Network.loadingFailed")
            .map(|event| &event["params"])
            .filter(|failure| failure["blockedReason"] == "csp")
            .map(|failure| &failure["requestId"])
            .collect();
        self.of_method("Network.requestWillBeSent")
            .map(|event| &event["params"])
            .filter(|request| !refused.contains(&&request["requestId"]))
            .filter_map(|request| request["request"]["url"].as_str())
            .collect()
    }

    /// Exceptions, and what the browser has refused or warned of.
    pub fn faults(&self) -> Vec<&Value> {
        let thrown = self.of_method("Runtime.exceptionThrown");
        let called = self.of_method("Runtime.consoleAPICalled");
        thrown.chain(called).chain(self.of_method("Log.entryAdded")).collect()
    }

    fn of_method<'t>(&'t self, method: &'static str) -> impl Iterator<Item = &'t Value> {
        self.events.iter().filter(move |event| event["method"] == method)
    }
}
