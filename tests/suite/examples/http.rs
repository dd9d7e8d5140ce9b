//! HTTP as far as the tests of the proxy need it: a server for it to stand before, and a client.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::running;
use crate::server::reset;

/// A message: the words of its first line, its fields, and its body.
#[derive(Debug)]
pub struct Message {
    pub start: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn field(&self, wanted: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| &**value)
    }

    /// The second word of the first line: of an answer the status.
    pub fn word(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// Reads a message's head; none at the end.
fn read_head(from: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let start = lines.next().unwrap_or_default();
    let field = |line: String| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("a field: {line:?}"));
        (name.to_owned(), value.to_owned())
    };
    Ok(Some(Message { start, fields: lines.map(field).collect(), body: Vec::new() }))
}

/// Hands on a body, part by part. What has no length ends with the connection, if it is an answer.
fn read_body(
    from: &mut impl BufRead,
    head: &Message,
    mut part: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut take = |from: &mut dyn BufRead, mut bytes: u64| {
        while bytes > 0 {
            let there = from.fill_buf()?;
            if there.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let count = there.len().min(bytes.try_into().unwrap_or(usize::MAX));
            part(&there[..count])?;
            from.consume(count);
            bytes -= count as u64;
        }
        Ok(())
    };
    if head.field("Transfer-Encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim_end(), 16)
                .map_err(|_| io::Error::new(ErrorKind::UnexpectedEof, line))?;
            take(from, size)?;
            from.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(());
            }
        }
    }
    match head.field("Content-Length") {
        Some(length) => take(from, length.parse().expect("a length")),
        None if head.start.starts_with("HTTP/") && !["204", "304"].contains(&head.word()) => {
            match take(from, u64::MAX) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
                result => result,
            }
        }
        None => Ok(()),
    }
}

/// Bytes that are not the same everywhere.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index ^ (index >> 8) ^ (index >> 16)) as u8).collect()
}

// ---- The client

/// A connection of a client.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        let stream = running::connect(port);
        let reader = BufReader::new(stream.try_clone().expect("the same stream"));
        Client { stream, reader }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("send to the proxy");
    }

    pub fn get(&mut self, path: &str) -> Message {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.answer()
    }

    pub fn answer(&mut self) -> Message {
        self.try_answer().expect("an answer")
    }

    /// Sends what is answered with this status, and ends the connection.
    pub fn expect_refusal(mut self, request: &str, status: &str) {
        self.send(request);
        assert_eq!(self.answer().word(), status, "{request:?}");
        assert!(self.is_closed(), "{request:?}");
    }

    /// An answer that may be cut off.
    pub fn try_answer(&mut self) -> io::Result<Message> {
        let mut answer = read_head(&mut self.reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        let mut body = Vec::new();
        read_body(&mut self.reader, &answer, |part| {
            body.extend_from_slice(part);
            Ok(())
        })?;
        answer.body = body;
        Ok(answer)
    }

    /// Closes the connection with a reset.
    pub fn reset(self) {
        drop(self.reader);
        reset(self.stream);
    }

    /// An answer without its body.
    pub fn head(&mut self) -> Message {
        read_head(&mut self.reader).expect("an answer").expect("an answer")
    }

    /// Reads what comes behind an answer's head, but no more than so many bytes, and says how much it was.
    pub fn rest(&mut self, most: usize) -> usize {
        let mut rest = io::sink();
        let copied = io::copy(&mut self.reader.by_ref().take(most as u64), &mut rest);
        copied.expect("what is left of the answer") as usize
    }

    /// A line of a body that comes in chunks.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Whether nothing has come, nor the end.
    pub fn has_nothing(&self) -> bool {
        self.stream.set_nonblocking(true).expect("make the stream non-blocking");
        let peeked = self.stream.peek(&mut [0]).map_err(|error| error.kind());
        self.stream.set_nonblocking(false).expect("make the stream blocking");
        peeked == Err(ErrorKind::WouldBlock)
    }

    /// Whether the proxy has closed the connection, for which it has all the time.
    pub fn is_closed(&mut self) -> bool {
        match self.reader.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

// ---- The server

/// What the server tells of itself.
#[derive(Default)]
pub struct Counts {
    /// Connections with a request. Another test may scan ports, or take this one for a closed one.
    pub connections: AtomicUsize,
    /// Requests whose body was cut off.
    pub cut_off: AtomicUsize,
    /// Bytes of answers that were taken from it.
    pub written: AtomicUsize,
}

/// A server with a thread for each connection, which end with the test's process.
pub struct Upstream {
    pub port: u16,
    pub counts: Arc<Counts>,
}

impl Upstream {
    pub fn start() -> Upstream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &counts));
            }
        });
        Upstream { port, counts }
    }
}

fn serve(stream: &TcpStream, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut is_first = true;
    while let Some(request) = read_head(&mut reader)? {
        counts.connections.fetch_add(usize::from(is_first), Relaxed);
        is_first = false;
        answer(stream, &mut reader, &request, counts).inspect_err(|_| {
            let _ = stream.shutdown(Shutdown::Both);
        })?;
    }
    Ok(())
}

/// `/KIND/NUMBER`
fn answer(
    mut stream: &TcpStream,
    reader: &mut BufReader<&TcpStream>,
    request: &Message,
    counts: &Counts,
) -> io::Result<()> {
    let mut path = request.word().split('/').skip(1);
    let kind = path.next().unwrap_or_default();
    let number: usize = path.next().and_then(|number| number.parse().ok()).unwrap_or_default();
    let ok = "HTTP/1.1 200 OK\r\n";
    if kind == "refuses" {
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n")?;
        return Err(ErrorKind::Other.into());
    }
    if kind == "echo" {
        // Part by part, as they come.
        write!(stream, "{ok}Transfer-Encoding: chunked\r\n\r\n")?;
        read_body(reader, request, |part| {
            write!(stream, "{:x}\r\n", part.len())?;
            stream.write_all(part)?;
            stream.write_all(b"\r\n")
        })
        .inspect_err(|_| {
            counts.cut_off.fetch_add(1, Relaxed);
        })?;
        return stream.write_all(b"0\r\n\r\n");
    }
    read_body(reader, request, |_| Ok(())).inspect_err(|_| {
        counts.cut_off.fetch_add(1, Relaxed);
    })?;
    match kind {
        "sized" => {
            write!(stream, "{ok}Content-Length: {number}\r\n\r\n")?;
            if request.start.starts_with("HEAD ") {
                return Ok(());
            }
            stream.write_all(&pattern(number))
        }
        "chunked" => {
            write!(stream, "{ok}Transfer-Encoding: chunked\r\n\r\n")?;
            for part in pattern(number).chunks(10_007) {
                write!(stream, "{:x};extension=1\r\n", part.len())?;
                stream.write_all(part)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\nTrailing: field\r\n\r\n")
        }
        "closed" => {
            stream.write_all(b"HTTP/1.1 200\r\n\r\n")?; // Without a reason.
            for part in pattern(number).chunks(64 * 1024) {
                stream.write_all(part)?;
                counts.written.fetch_add(part.len(), Relaxed);
            }
            Err(ErrorKind::Other.into())
        }
        "cut" => {
            write!(stream, "{ok}Content-Length: {number}\r\n\r\nsome of it")?;
            Err(ErrorKind::Other.into())
        }
        "chunk" => {
            write!(stream, "{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
            Err(ErrorKind::Other.into()) // There would be more.
        }
        "status" => {
            let status = request.word().rsplit('/').next().unwrap_or_default();
            write!(stream, "HTTP/1.1 {status} It\r\n\r\n{ok}Content-Length: 0\r\n\r\n")
        }
        "late" => {
            thread::sleep(Duration::from_millis(number as u64));
            write!(stream, "HTTP/1.1 103 Early Hints\r\n\r\n{ok}Content-Length: 5\r\n\r\nlate\n")
        }
        "last" => {
            write!(stream, "{ok}Content-Length: 5\r\n\r\nlast\n")?;
            Err(ErrorKind::Other.into()) // As if it had been idle for too long.
        }
        "nothing" => write!(stream, "HTTP/1.1 204 No Content\r\n\r\n"),
        "fields" => {
            let body = format!("{:?}", request.fields);
            write!(stream, "{ok}Connection: X-Own\r\nX-Own: 1\r\nX-Other: 2\r\n")?;
            write!(stream, "Content-Length: {}\r\n\r\n{body}", body.len())
        }
        _ => {
            stream.write_all(b"nonsense\r\n\r\n")?;
            Err(ErrorKind::Other.into())
        }
    }
}
