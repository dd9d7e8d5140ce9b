//! `examples-c/http_server2.c`, with files and links of the tests' own.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};

use super::http::{Client, Message, pattern};
use super::process::Program;
use super::scenario_trials;
use crate::library::TempDir;
use crate::process::run;
use crate::running::{PATIENCE, Running};
use crate::toolchain::{self, missing};

/// Larger than all buffers between two sides.
const BIG: usize = 32 << 20;

/// Of a file that is sent with its head, and of the next larger one.
const SMALL: usize = 16384;

const SECRET: &str = "not for everybody";

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 20] = [
        ("serves_files", serves_files),
        ("keeps_connections", keeps_connections),
        ("closes_when_all_is_read", closes_when_all_is_read),
        ("reads_requests_in_parts", reads_requests_in_parts),
        ("refuses_what_is_malformed", refuses_what_is_malformed),
        ("has_no_way_out_of_its_directory", no_way_out),
        ("has_none_on_an_old_kernel", no_way_out_on_an_old_kernel),
        ("is_asked_under_conditions", conditions),
        ("sends_ranges", ranges),
        ("throws_bodies_away", bodies),
        ("has_limits_of_time", limits_of_time),
        ("waits_for_slow_readers", slow_readers),
        ("serves_so_many_at_a_time", at_a_time),
        ("refuses_settings_without_sense", refused_settings),
        ("makes_room_as_soon_as_it_can", room_later),
        ("goes_on_without_descriptors", without_descriptors),
        ("tells_of_a_file_that_shrinks", shrinking_file),
        ("stop_finishes_what_has_begun", graceful_stop),
        ("stop_waits_for_no_reader_of_the_log", stop_without_a_reader),
        ("logs_each_request", access_log),
    ];
    let mut trials = scenario_trials("http_server2_", &scenarios);
    trials.push(Trial::ignorable_test("examples::http_server2_wrk_is_content", || Ok(wrk())));
    trials
}

struct Server {
    running: Running,
    port: u16,
    /// What it serves is in `files` here, and what it must not serve beside that.
    place: TempDir,
}

impl Server {
    fn start(settings: &[&str]) -> Server {
        Server::start_with(settings, |_| {})
    }

    fn start_with(settings: &[&str], change: impl FnOnce(&mut Command)) -> Server {
        let place = TempDir::new().expect("a directory");
        let files = place.path().join("files");
        fs::create_dir_all(files.join("sub/.hidden")).expect("directories");
        fs::create_dir_all(files.join(".well-known")).expect("a directory");
        fs::create_dir(place.path().join("files-too")).expect("a directory");
        for secret in ["secret", "files/.secret", "files/sub/.hidden/secret", "files-too/secret"] {
            fs::write(place.path().join(secret), SECRET).expect("a file that is not served");
        }
        for (name, text) in [
            ("index.html", "the first page"),
            ("sub/index.html", "the page of sub"),
            ("sub/a b+c.txt", "a name with a space"),
            (".well-known/proof", "well known"),
            ("style.CSS", "css"),
            ("..well", "dots"),
        ] {
            fs::write(files.join(name), text).expect("a file");
        }
        for size in [0, 1, 100, SMALL, SMALL + 1, 100 << 10, 10 << 20] {
            fs::write(files.join(format!("{size}.bin")), pattern(size)).expect("a file");
        }
        let directory = files.to_str().expect("a path of text");
        let program = Program::compile("http_server2", &[]);
        let running = program.start_with(&[&["0", directory], settings].concat(), change);
        let line = running.wait_for_line("http://127.0.0.1:");
        Server { running, port: port_of(&line), place }
    }

    fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    fn get(&self, path: &str) -> Message {
        self.connect().get(path)
    }

    /// Sends a request of its own connection, and returns the status.
    fn status(&self, request: &str) -> String {
        let mut client = self.connect();
        client.send(request);
        client.stream.shutdown(Shutdown::Write).expect("end the request");
        client.head().word().to_owned()
    }

    /// A file that takes no place on the disk.
    fn make_big(&self) -> File {
        let path = self.place.path().join("files/big");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.expect("a file");
        file.set_len(BIG as u64).expect("its length");
        file
    }

    /// Ends it, and returns the lines of its log, without their times.
    fn stop(self) -> Vec<String> {
        self.running.signal(libc::SIGTERM);
        let lines = self.running.succeed();
        let without_time = |line: &String| {
            let (client, rest) = line.split_once(" - - [").unwrap_or_else(|| panic!("{line:?}"));
            let (time, rest) = rest.split_once("] ").unwrap_or_else(|| panic!("{line:?}"));
            assert!(client == "127.0.0.1" && time.ends_with(" +0000"), "{line:?}");
            rest.to_owned()
        };
        lines[1..].iter().map(without_time).collect()
    }
}

/// Of the line that the server prints when it has started.
fn port_of(line: &str) -> u16 {
    let port = line.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("{line:?}"))
}

fn ask(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn serves_files() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for size in [0, 1, 100, SMALL, SMALL + 1, 100 << 10, 10 << 20] {
        let answer = client.get(&format!("/{size}.bin"));
        assert_eq!(answer.start, "HTTP/1.1 200 OK");
        assert_eq!(answer.field("Content-Length"), Some(&*size.to_string()));
        assert_eq!(answer.field("Content-Type"), Some("application/octet-stream"));
        assert!(answer.body == pattern(size), "{} of {size} bytes", answer.body.len());
        // Another request of the same connection sees whether a body follows.
        client.send(&format!("HEAD /{size}.bin HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.head();
        for field in ["Content-Length", "Content-Type", "Last-Modified", "ETag"] {
            assert_eq!(head.field(field), answer.field(field), "{field}");
        }
    }
    for (path, body, start) in [
        ("/", "the first page", "text/html"),
        ("/index.html?query=/../x", "the first page", "text/html"),
        ("/sub/", "the page of sub", "text/html"),
        ("//sub//", "the page of sub", "text/html"),
        ("http://a/sub/", "the page of sub", "text/html"),
        ("http://a", "the first page", "text/html"),
        ("http://a?/sub/", "the first page", "text/html"),
        ("/sub/a%20b+c.txt", "a name with a space", "text/plain"),
        ("/s%75b/a%20b%2bc.txt", "a name with a space", "text/plain"),
        ("/.well-known/proof", "well known", "application/octet-stream"),
        ("/style.CSS", "css", "text/css"),
    ] {
        let answer = client.get(path);
        assert_eq!((answer.word(), &*answer.body), ("200", body.as_bytes()), "{path}");
        let content_type = answer.field("Content-Type").expect("a type");
        assert!(content_type.starts_with(start), "{path}: {content_type}");
    }
    // To a directory's name with a slash, and never to another host.
    for (path, location) in [("/sub", "/sub/"), ("//sub?a=b", "/sub/?a=b"), ("///sub", "/sub/")] {
        let answer = client.get(path);
        assert_eq!((answer.word(), answer.field("Location")), ("301", Some(location)), "{path}");
    }
    for path in ["/none", "/none/", "/100.bin/", "/100.bin/x", "/.well-known/", "/index.htm"] {
        let answer = client.get(path);
        assert_eq!((answer.word(), &*answer.body), ("404", &b"404 Not Found\n"[..]), "{path}");
    }
    server.stop();
}

fn keeps_connections() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    // Several in one piece, some with bodies of their own.
    let mut requests = String::new();
    for _ in 0..200 {
        requests += ask("/100.bin", "Content-Length: 3\r\n\r\nabc").trim_end_matches("\r\n");
        requests += &ask("/none", "");
        requests += &format!("\r\n{}", ask("/16385.bin", ""));
        requests += "HEAD /100.bin HTTP/1.1\r\nHost: a\r\n\r\n";
    }
    let mut stream = client.stream.try_clone().expect("the same stream");
    let sender = thread::spawn(move || stream.write_all(requests.as_bytes()));
    for _ in 0..200 {
        assert!(client.answer().body == pattern(100));
        assert_eq!(client.answer().word(), "404");
        assert!(client.answer().body == pattern(SMALL + 1));
        assert_eq!(client.head().field("Content-Length"), Some("100"));
    }
    sender.join().expect("the sender").expect("send the requests");
    // Who wants no more, and who is of old times.
    client.send(&ask("/100.bin", "Connection: x, Close\r\n"));
    assert_eq!(client.answer().field("Connection"), Some("close"));
    assert!(client.is_closed());
    let mut client = server.connect();
    client.send(&ask("/100.bin", "Connection: x\r\nConnection: close\r\nConnection: y\r\n"));
    let answer = client.answer();
    assert_eq!((answer.word(), answer.field("Connection")), ("200", Some("close")));
    assert!(client.is_closed());
    let mut old = server.connect();
    old.send("GET /1.bin HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(old.answer().field("Connection"), Some("keep-alive"));
    old.send("GET /1.bin HTTP/1.0\r\n\r\n");
    assert_eq!((old.answer().body, old.is_closed()), (pattern(1), true));
    server.stop();
}

/// What comes while the last answer is on its way does not cut that off.
fn closes_when_all_is_read() {
    let server = Server::start(&[]);
    server.make_big();
    for request in [&*ask("/big", "Connection: close\r\n"), "GET /big HTTP/1.0\r\n\r\n"] {
        let mut client = server.connect();
        client.send(request);
        assert_eq!(client.head().field("Connection"), Some("close"));
        client.send(&ask("/1.bin", ""));
        assert_eq!(client.rest(BIG + 1), BIG, "{request:?}");
    }
    server.stop();
}

fn reads_requests_in_parts() {
    let server = Server::start(&[]);
    let request = ask("/100.bin", "Content-Length: 5\r\n\r\nhello").trim_end().to_owned();
    let both = format!("{request}\r\n{}", ask("/1.bin", ""));
    let mut client = server.connect();
    client.stream.set_nodelay(true).expect("send at once");
    for cut in 1..both.len() {
        client.send(&both[..cut]);
        thread::sleep(Duration::from_millis(2));
        client.send(&both[cut..]);
        assert!(client.answer().body == pattern(100), "cut at {cut}");
        assert!(client.answer().body == pattern(1), "cut at {cut}");
    }
    for index in 0..both.len() {
        client.send(&both[index..=index]);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((client.answer().body, client.answer().body), (pattern(100), pattern(1)));
    server.stop();
}

fn refuses_what_is_malformed() {
    let server = Server::start(&[]);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(2000));
    let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x/".repeat(3000));
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (request, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("\r\n\r\n \r\n\r\n", "400"),
        (&format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(5)), "400"),
        ("GET /\r\n\r\n", "400"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400"),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nB(c: d\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nB\u{e4}: c\r\n\r\n", "400"),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nRange: bytes=0-1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n", "400"),
        ("GET / HTTP/1.1\nHost: a\n\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", "400"),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET http:///index.html HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET http://a#/index.html HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /% HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (&format!("{post}Content-Length: -1\r\n\r\n"), "400"),
        (&format!("{post}Content-Length: 1, 1\r\n\r\n"), "400"),
        (&format!("{post}Content-Length: 0x1\r\n\r\n"), "400"),
        (&format!("{post}Content-Length:\r\n\r\n"), "400"),
        (&format!("{post}Content-Length: 18446744073709551617\r\n\r\n"), "413"),
        (&format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\na"), "400"),
        (&format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), "400"),
        (&format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: a\r\n\r\n"), "400"),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        (&format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "411"),
        (&format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"), "501"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        ("GET / HTTP/1.x\r\nHost: a\r\n\r\n", "505"),
        ("PRI * HTTP/2.0\r\n\r\n", "505"),
        (&long, "431"),
        (&many, "431"),
    ] {
        server.connect().expect_refusal(request, status);
    }
    // Those after which the connection goes on.
    let mut client = server.connect();
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        (&path, "414"),
        ("GET / HTTP/1.2\r\nHost: a\r\nA_b-!: c\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a\r\nUser-Agent: b\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: a\r\nConnection: b\r\n\r\n", "200"),
    ] {
        client.send(request);
        let answer = client.answer();
        assert_eq!(answer.word(), status, "{request:?}");
        assert_eq!(answer.field("Allow"), (status == "405").then_some("GET, HEAD"));
    }
    server.stop();
}

/// What leads out of the directory, or to what is hidden, on all ways.
fn try_ways_out(server: &Server) {
    let files = server.place.path().join("files");
    let outside = server.place.path().join("secret");
    symlink(&outside, files.join("absolute")).expect("a link");
    symlink("../secret", files.join("relative")).expect("a link");
    symlink("../../secret", files.join("sub/up")).expect("a link");
    symlink(server.place.path(), files.join("directory")).expect("a link");
    symlink("/proc/self/root", files.join("magic")).expect("a link");
    symlink("..", files.join("sub/parent")).expect("a link");
    let absolute = outside.to_str().expect("a path of text");
    let made_by_hand = [
        "/../secret",
        "/sub/../../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/.%2e/secret",
        "/%2E%2E%2Fsecret",
        "/%252e%252e/secret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/..\\secret",
        "/..%5csecret",
        "/sub/..",
        "/..",
        "/.",
        "/../files-too/secret",
        "/%2e%2e%00/secret",
        "/../secret%00.html",
        "/index.html%00",
        "/%c0%ae%c0%ae/secret",
        "/....//secret",
        "/./../secret",
        "/sub/./.hidden/secret",
        "/sub/.hidden/secret",
        "/.secret",
        "/%2esecret",
        "/.well-known/../../secret",
        "/.well-knownx",
        "http://a/../secret",
        "http:///../secret",
        "/absolute",
        "/relative",
        "/sub/up",
        "/directory/secret",
        "/directory/files-too/secret",
        "/magic/etc/passwd",
        "/sub/parent/../../secret",
    ];
    let by_path = [absolute, &absolute.replace('/', "//"), &absolute.replace('/', "/%2f")[..]];
    let slashes = [format!("/{absolute}"), format!("/%2f{}", &absolute[1..])];
    let all = made_by_hand.iter().copied().chain(by_path).chain(slashes.iter().map(|path| &**path));
    for path in all {
        let mut client = server.connect();
        client.send(&ask(path, "Connection: close\r\n"));
        let answer = client.answer();
        assert!(["400", "403", "404"].contains(&answer.word()), "{path}: {answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET), "{path}");
        assert!(client.is_closed(), "{path}");
    }
    for path in ["/absolute", "/relative", "/.secret"] {
        assert_eq!(server.get(path).word(), "403", "{path}");
    }
}

fn no_way_out() {
    // Its log would be faster than it may be read here.
    let server = Server::start(&["log=0"]);
    try_ways_out(&server);
    let files = server.place.path().join("files");
    if toolchain::runner().is_none() {
        follow_links(&server, &files); // The emulator has no openat2().
    }
    // What is no file.
    let fifo = std::ffi::CString::new(files.join("fifo").to_str().expect("text")).expect("text");
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o644) }, 0);
    assert_eq!(server.get("/fifo").word(), "403");
    server.stop();
}

/// Links that stay inside are followed.
fn follow_links(server: &Server, files: &Path) {
    symlink("sub", files.join("inner")).expect("a link");
    assert_eq!(server.get("/inner/").body, b"the page of sub");
    assert_eq!(server.get("/sub/parent/sub/").body, b"the page of sub");
    // Also while something is renamed, when the kernel cannot always tell where a way up leads.
    let [one, other] = ["one", "other"].map(|name| server.place.path().join(name));
    fs::create_dir(&one).expect("a directory");
    let renamer = thread::spawn(move || {
        for _ in 0..100_000 {
            fs::rename(&one, &other).and_then(|()| fs::rename(&other, &one)).expect("rename it");
        }
    });
    let mut client = server.connect();
    while !renamer.is_finished() {
        assert_eq!(client.get("/sub/parent/sub/").word(), "200");
    }
    renamer.join().expect("all the renames");
}

/// Has openat2(2) answer that there is no such call, in the program that the command starts.
fn without_openat2(command: &mut Command) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0), // The number of the call.
        step(IF, 0, 1, libc::SYS_openat2 as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the program is whole, and the kernel copies it.
        let refused = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
        };
        if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: prctl(2) alone, between fork and exec.
    unsafe { command.pre_exec(install) };
}

fn no_way_out_on_an_old_kernel() {
    let server = Server::start_with(&[], without_openat2);
    try_ways_out(&server);
    // There no link is followed.
    for path in ["/sub/parent/sub/", "/sub/parent"] {
        assert!(["403", "404"].contains(&server.get(path).word()), "{path}");
    }
    assert_eq!(server.get("/sub/").body, b"the page of sub");
    assert_eq!(server.get("//sub//index.html").body, b"the page of sub");
    assert_eq!(server.get("/sub").word(), "301");
    assert_eq!(server.get("/sub/none/").word(), "404");
    assert_eq!(server.get(&format!("/{}", "x".repeat(300))).word(), "404");
    server.stop();
}

fn conditions() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let first = client.get("/100.bin");
    let [tag, date] = ["ETag", "Last-Modified"].map(|field| first.field(field).expect(field));
    for (fields, status) in [
        (format!("If-None-Match: {tag}\r\n"), "304"),
        (format!("If-None-Match: \"x\", W/{tag}\r\n"), "304"),
        ("If-None-Match: *\r\n".to_owned(), "304"),
        ("If-None-Match: \"x\"\r\n".to_owned(), "200"),
        (format!("If-Modified-Since: {date}\r\n"), "304"),
        ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(), "200"),
        // The tag counts.
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"), "200"),
    ] {
        client.send(&ask("/100.bin", &fields));
        let answer = client.answer();
        assert_eq!(answer.word(), status, "{fields}");
        assert_eq!(answer.body.is_empty(), status == "304", "{fields}");
        assert_eq!((answer.field("ETag"), answer.field("Last-Modified")), (Some(tag), Some(date)));
    }
    // A file that has changed is another one.
    fs::write(server.place.path().join("files/100.bin"), "new").expect("write the file");
    client.send(&ask("/100.bin", &format!("If-None-Match: {tag}\r\n")));
    assert_eq!(client.answer().body, b"new");
    server.stop();
}

fn ranges() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for size in [100, 100 << 10] {
        let all = pattern(size);
        for (range, from, to) in [
            ("0-0".to_owned(), 0, 1),
            ("5-9".to_owned(), 5, 10),
            ("7-".to_owned(), 7, size),
            ("-1".to_owned(), size - 1, size),
            (format!("-{}", size + 5), 0, size),
            (format!("1-{}", size - 1), 1, size),
            ("2-999999999".to_owned(), 2, size),
            ("2-18446744073709551616".to_owned(), 2, size),
            ("-18446744073709551616".to_owned(), 0, size),
        ] {
            client.send(&ask(&format!("/{size}.bin"), &format!("Range: bytes={range}\r\n")));
            let answer = client.answer();
            assert_eq!(answer.word(), "206", "{range}");
            let content = format!("bytes {from}-{}/{size}", to - 1);
            assert_eq!(answer.field("Content-Range"), Some(&*content), "{range}");
            assert!(answer.body == all[from..to], "{range}: {} bytes", answer.body.len());
        }
        // Several, and what is none: the whole file.
        for range in ["0-1,3-4", "", "-", "5-4", "a-b", "1", " 1-2"] {
            client.send(&ask(&format!("/{size}.bin"), &format!("Range: bytes={range}\r\n")));
            let answer = client.answer();
            assert_eq!((answer.word(), answer.body.len()), ("200", size), "{range}");
        }
        client.send(&ask(&format!("/{size}.bin"), "Range: lines=1-2\r\n"));
        assert_eq!(client.answer().word(), "200");
        for range in [format!("{size}-"), "-0".to_owned(), "18446744073709551616-".to_owned()] {
            client.send(&ask(&format!("/{size}.bin"), &format!("Range: bytes={range}\r\n")));
            let answer = client.answer();
            let content = format!("bytes */{size}");
            assert_eq!((answer.word(), answer.field("Content-Range")), ("416", Some(&*content)));
        }
        let tag = client.get(&format!("/{size}.bin")).field("ETag").expect("a tag").to_owned();
        for (tag, status) in [(&*tag, "206"), ("\"old\"", "200")] {
            let fields = format!("Range: bytes=1-2\r\nIf-Range: {tag}\r\n");
            client.send(&ask(&format!("/{size}.bin"), &fields));
            assert_eq!(client.answer().word(), status, "{tag}");
        }
    }
    // Of nothing there are no parts.
    for range in ["0-", "-1"] {
        client.send(&ask("/0.bin", &format!("Range: bytes={range}\r\n")));
        assert_eq!(client.answer().word(), "200", "{range}");
    }
    server.stop();
}

fn bodies() {
    let server = Server::start(&["body_bytes=100000", "body_ms=400"]);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client.send(&"x".repeat(100_000));
    assert_eq!(client.answer().word(), "405");
    client.send(ask("/1.bin", "Content-Length: 4\r\n\r\nGET ").trim_end_matches("\r\n"));
    assert_eq!(client.answer().body, pattern(1));
    assert_eq!(client.get("/100.bin").body, pattern(100), "the connection goes on");
    // Too large: refused before it comes.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n");
    assert_eq!((client.answer().word(), client.is_closed()), ("413", true));
    // Nobody is asked for a body.
    let mut client = server.connect();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    assert_eq!((client.answer().word(), client.is_closed()), ("405", true));
    // One that does not come.
    let began = Instant::now();
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
    assert_eq!((client.answer().word(), client.is_closed()), ("408", true));
    assert!(began.elapsed() >= Duration::from_millis(400));
    server.stop();
}

fn limits_of_time() {
    let server = Server::start(&["head_ms=400", "idle_ms=800"]);
    let began = Instant::now();
    let mut silent = server.connect();
    let mut kept = server.connect();
    assert_eq!(kept.get("/1.bin").word(), "200");
    let mut trickling = server.connect();
    // A byte now and then does not extend the limit.
    for byte in "GET / HTTP/1.1\r\nX-Much: ".bytes() {
        if !trickling.has_nothing() || trickling.stream.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(40));
    }
    assert_eq!((trickling.answer().word(), trickling.is_closed()), ("408", true));
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(silent.is_closed() && kept.is_closed());
    assert!(began.elapsed() >= Duration::from_millis(800));
    let log = server.stop();
    assert_eq!(log.len(), 2, "nothing of those that have asked for nothing: {log:?}");
    // An empty line begins no request.
    let server = Server::start(&["head_ms=200"]);
    let mut empty = server.connect();
    empty.send("\r\n");
    thread::sleep(Duration::from_millis(400));
    assert_eq!(empty.get("/1.bin").word(), "200");
    server.stop();
}

fn slow_readers() {
    let server = Server::start(&["send_ms=700"]);
    server.make_big();
    // One that takes nothing is cut off.
    let mut silent = server.connect();
    silent.send(&ask("/big", ""));
    // One that is slow is not, and delays nobody.
    let mut slow = server.connect();
    slow.send(&ask("/big", ""));
    let began = Instant::now();
    let mut read = 0;
    let mut part = vec![0; 1 << 20];
    while began.elapsed() < Duration::from_millis(2500) {
        read += slow.stream.read(&mut part).expect("more of it");
        thread::sleep(Duration::from_millis(100));
        assert_eq!(server.get("/1.bin").word(), "200");
    }
    loop {
        match slow.stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) => panic!("{error}"),
        }
        if read >= BIG {
            break;
        }
    }
    assert!(read >= BIG, "{read} bytes");
    let error = silent.try_answer().expect_err("the answer is cut off");
    assert!([ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()));
    server.stop();
}

fn at_a_time() {
    let server = Server::start(&["max=2"]);
    server.make_big();
    // Who is idle for longest makes room.
    let mut first = server.connect();
    assert_eq!(first.get("/1.bin").word(), "200");
    let mut second = server.connect();
    assert_eq!(second.get("/1.bin").word(), "200");
    let mut third = server.connect();
    assert_eq!(third.get("/1.bin").word(), "200");
    assert!(first.is_closed());
    assert_eq!(second.get("/1.bin").word(), "200");
    // Who is busy does not.
    for client in [&mut second, &mut third] {
        client.send(&ask("/big", ""));
        assert_eq!(client.head().word(), "200");
    }
    let mut fourth = server.connect();
    fourth.send(&ask("/1.bin", ""));
    thread::sleep(Duration::from_millis(200));
    assert!(fourth.has_nothing(), "there are two already");
    second.reset();
    assert_eq!(fourth.answer().word(), "200");
    assert_eq!(fourth.get("/1.bin").word(), "200", "nobody wants its place");
    server.stop();
}

fn refused_settings() {
    let program = Program::compile("http_server2", &[]);
    for setting in ["max=0", "max=1000000001", "head_ms=99999999999999", "max=", "max=a", "mix=1"] {
        let mut running = program.start(&["0", ".", setting]);
        assert!(!running.wait().success(), "{setting}");
        assert!(running.output().contains(setting), "{setting}: {}", running.output());
    }
}

/// All places are taken by who is busy; one of them has no request later.
fn room_later() {
    let server = Server::start(&["max=1", "idle_ms=1000000000"]);
    server.make_big();
    let mut busy = server.connect();
    busy.send(&ask("/big", ""));
    assert_eq!(busy.head().word(), "200");
    let mut next = server.connect();
    next.send(&ask("/1.bin", ""));
    thread::sleep(Duration::from_millis(200));
    assert!(next.has_nothing(), "there is one already");
    assert_eq!(busy.rest(BIG), BIG);
    assert_eq!((next.answer().word(), busy.is_closed()), ("200", true));
    assert_eq!(next.get("/1.bin").word(), "200", "nobody wants its place");
    server.stop();
}

fn without_descriptors() {
    const MOST: libc::rlim_t = 24;

    let limit = || {
        let limit = libc::rlimit { rlim_cur: MOST, rlim_max: MOST };
        // SAFETY: a limit, for the process alone.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: setrlimit(2) may be called between fork and exec.
    let server = Server::start_with(&[], |command| unsafe {
        command.pre_exec(limit);
    });
    let mut clients = Vec::new();
    // Connections until there are none left for files, and then for connections.
    let refused = (0..MOST).any(|_| {
        let mut client = server.connect();
        client.send(&ask("/1.bin", ""));
        client.stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a limit");
        let word = client.try_answer().map(|answer| answer.word().to_owned());
        clients.push(client);
        word.map_or(true, |word| word != "200")
    });
    assert!(refused, "{MOST} connections and a file with {MOST} descriptors");
    clients.truncate(3);
    let mut client = server.connect();
    assert_eq!(client.get("/1.bin").word(), "200", "when there are some again");
    server.running.signal(libc::SIGTERM);
    let mut running = server.running;
    assert!(running.wait().success(), "{}", running.output());
}

fn shrinking_file() {
    let server = Server::start(&[]);
    let file = server.make_big();
    let mut client = server.connect();
    client.send(&ask("/big", ""));
    assert_eq!(client.head().field("Content-Length"), Some(&*BIG.to_string()));
    file.set_len(1000).expect("make it shorter");
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).expect("what there was, and the end");
    assert!(rest.len() < BIG, "{} bytes", rest.len());
    assert_eq!(server.get("/big").body.len(), 1000);
    let log = server.stop();
    assert!(log[0].starts_with("\"GET /big HTTP/1.1\" 200 "), "{log:?}");
    assert!(!log[0].contains(&BIG.to_string()), "it tells how much was sent: {log:?}");
}

fn graceful_stop() {
    for stop_ms in ["stop_ms=60000", "stop_ms=300"] {
        let server = Server::start(&[stop_ms]);
        server.make_big();
        let mut idle = server.connect();
        assert_eq!(idle.get("/1.bin").word(), "200");
        let mut loading = server.connect();
        loading.send(&ask("/big", ""));
        let mut asking = server.connect();
        asking.send("GET /1.bin HTTP/1.1\r\nHo");
        let mut stuck = server.connect();
        stuck.send(&ask("/big", ""));
        assert_eq!((loading.head().word(), stuck.head().word()), ("200", "200"));
        server.running.signal(libc::SIGTERM);
        assert!(idle.is_closed(), "it had no request");
        let refused = TcpStream::connect(("127.0.0.1", server.port)).map(drop);
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
        if stop_ms == "stop_ms=300" {
            // The limit cuts them off, and it ends all the same.
            let log = server.running.succeed();
            assert_eq!(log.len(), 1 + 3, "each has its line: {log:?}");
            continue;
        }
        asking.send("st: a\r\n\r\n");
        let answer = asking.answer();
        assert_eq!((answer.word(), answer.field("Connection")), ("200", Some("close")));
        assert!(asking.is_closed());
        stuck.reset();
        assert_eq!(loading.rest(BIG), BIG);
        let log = server.running.succeed();
        assert_eq!(log.len(), 1 + 4, "each has its line: {log:?}");
    }
}

fn stop_without_a_reader() {
    let place = TempDir::new().expect("a directory");
    let (reader, writer) = UnixStream::pair().expect("two sockets");
    reader.set_read_timeout(Some(PATIENCE)).expect("set the read timeout");
    let log = writer.as_raw_fd();
    let write_there = move || {
        // SAFETY: both are open, and what was the first one is not used any more.
        match unsafe { libc::dup2(log, libc::STDOUT_FILENO) } {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    let directory = place.path().to_str().expect("a path of text");
    let program = Program::compile("http_server2", &[]);
    // SAFETY: dup2(2) may be called between fork and exec.
    let mut running = program.start_with(&["0", directory], |command| unsafe {
        command.pre_exec(write_there);
    });
    drop(writer);
    let mut line = String::new();
    BufReader::new(&reader).read_line(&mut line).expect("its first line");
    let mut client = Client::connect(port_of(line.trim_end()));
    // More than the sockets and its own buffers hold.
    let request = ask("/none", &format!("User-Agent: {}\r\n", "u".repeat(900)));
    for _ in 0..1000 {
        client.send(&request);
        assert_eq!(client.answer().word(), "404");
    }
    running.signal(libc::SIGTERM);
    assert!(running.wait().success(), "{}", running.output());
    assert!(running.output().contains("the last lines are lost"), "{}", running.output());
}

fn access_log() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(&ask("/1.bin", "Referer: http://b/\r\nUser-Agent: a \"q\" \\ \u{e4}\r\n"));
    assert_eq!(client.answer().word(), "200");
    // It is written a little later, while the server runs.
    server.running.wait_for_line("127.0.0.1 - - [");
    client.send("HEAD /100.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    client.get("/none?\"x");
    client.send(&ask("/100.bin", "Range: bytes=0-9\r\n"));
    client.answer();
    assert_eq!(server.status("GET /1.bin HTTP/1.1\r\nHost:\u{1b}[31m\r\n\r\n"), "400");
    let many: usize = 1500; // What the pipe and its buffers hold, if nobody reads.
    for _ in 0..many {
        client.get("/1.bin");
    }
    let log = server.stop();
    assert_eq!(
        log[..5],
        [
            r#""GET /1.bin HTTP/1.1" 200 1 "http://b/" "a \x22q\x22 \x5C \xC3\xA4""#,
            r#""HEAD /100.bin HTTP/1.1" 200 0 "-" "-""#,
            r#""GET /none?\x22x HTTP/1.1" 404 14 "-" "-""#,
            r#""GET /100.bin HTTP/1.1" 206 10 "-" "-""#,
            r#""GET /1.bin HTTP/1.1" 400 16 "-" "-""#,
        ]
    );
    assert_eq!(log.len(), 5 + many, "none is lost");
    assert!(log[5..].iter().all(|line| line == r#""GET /1.bin HTTP/1.1" 200 1 "-" "-""#));
}

fn wrk() -> Completion {
    if let Some(skipped) = missing("wrk") {
        return skipped;
    }
    // Its log is faster than this process may read it.
    let server = Server::start(&["log=0"]);
    for path in ["100.bin", "102400.bin"] {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c20", "-d1s", "--timeout", "30s"]);
        wrk.arg(format!("http://127.0.0.1:{}/{path}", server.port));
        let temp_dir = TempDir::new().expect("a directory");
        let finished = run(&mut wrk, PATIENCE, temp_dir.path()).expect("run it");
        assert!(finished.succeeded(), "{}", finished.describe());
        let errors = ["Socket errors", "Non-2xx", " 0 requests in"];
        let found = errors.map(|error| finished.output.contains(error));
        assert_eq!(found, [false; 3], "{path}: {}", finished.output);
    }
    server.stop();
    Completion::Completed
}
