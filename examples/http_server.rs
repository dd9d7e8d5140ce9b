//! The guide's server in Rust: answers every request with `Hello, World!`, with a task for each
//! connection, and one that looks after the whole every 30 seconds. On Ctrl+C it prints its
//! metrics.
//!
//! ```sh
//! cargo run --release --example http_server -- 127.0.0.1:8080
//! ```

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::rc::Rc;
use std::time::Duration;

use majjen::logger::{self, Level};
use majjen::net::{TcpListener, TcpStream};
use majjen::{Builder, task};

/// How long a connection may be silent.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A request's head is no longer than this.
const HEAD_BYTES: usize = 8192;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    logger::set_level(Level::Info);
    let address = std::env::args().nth(1).unwrap_or("0.0.0.0:8080".to_owned());
    let scheduler = Builder::new().name("http").handle_signals(true).build()?;
    let listener = TcpListener::bind(address)?;
    logger::log(Level::Info, format_args!("Listening at {}", listener.local_addr()?));
    let open = Rc::new(Cell::new(0));
    let count = open.clone();
    task::Builder::new().name("accept").spawn_on(&scheduler, move || accept(&listener, &count))?;
    task::Builder::new().name("cleanup").spawn_on(&scheduler, move || cleanup(&open))?;
    scheduler.run()?;
    println!("{}", scheduler.metrics_text());
    Ok(())
}

/// Tells every so often how many connections are open.
fn cleanup(open: &Cell<usize>) {
    for iteration in 1.. {
        let text = format_args!("Cleanup task iteration {iteration}: {} open", open.get());
        logger::log(Level::Info, text);
        if task::sleep(PATIENCE).is_err() {
            return;
        }
    }
}

/// Accepts connections until the task is canceled.
pub fn accept(listener: &TcpListener, open: &Rc<Cell<usize>>) {
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                logger::log(Level::Error, format_args!("accept: {error}"));
                let _ = task::sleep(Duration::from_millis(10));
                continue;
            }
        };
        let open = Open::count(open);
        task::spawn(move || {
            let _open = open;
            if let Err(error) = serve(&stream) {
                logger::log(Level::Debug, format_args!("Connection closed: {error}"));
            }
        });
    }
}

/// Counts a connection while it lives, however its task ends.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn count(open: &Rc<Cell<usize>>) -> Open {
        open.set(open.get() + 1);
        Open(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Answers the requests of one connection, until the client closes it or wants it closed.
pub fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(HEAD_BYTES, stream);
    while let Some(Request { close }) = read_head(&mut reader)? {
        let connection = if close { "close" } else { "keep-alive" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\
             Connection: {connection}\r\n\r\nHello, World!"
        );
        (&mut &*stream).write_all(answer.as_bytes())?;
        if close {
            break;
        }
    }
    Ok(())
}

/// What the server wants to know of a request.
struct Request {
    close: bool,
}

/// Reads a request's head; none if the client has closed the connection.
fn read_head(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    loop {
        let data = reader.fill_buf()?;
        let length = data.len();
        if length == 0 {
            return if head.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        let before = head.len();
        head.extend_from_slice(data);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(end)) => {
                let close = wants_close(&request);
                reader.consume(end - before); // The next request may be there already.
                return Ok(Some(Request { close }));
            }
            Ok(httparse::Status::Partial) if head.len() < HEAD_BYTES => reader.consume(length),
            Ok(httparse::Status::Partial) => return Err(ErrorKind::InvalidData.into()),
            Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
    }
}

fn wants_close(request: &httparse::Request<'_, '_>) -> bool {
    let connection = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("connection"))
        .map(|header| header.value);
    match connection {
        Some(value) => value.eq_ignore_ascii_case(b"close"),
        None => request.version == Some(0),
    }
}
