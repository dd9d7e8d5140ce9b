//! A crawler: fetches a page, and all that it links to on the same server, with a few connections
//! at a time, and no more than so many requests a second. Here it crawls a server of its own, which
//! runs in the same scheduler.
//!
//! ```sh
//! cargo run --release --example crawler
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use majjen::net::{TcpListener, TcpStream};
use majjen::sync::{Semaphore, WaitGroup};
use majjen::{Instant, Scheduler, task};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scheduler = Scheduler::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = scheduler.spawn(move || serve_site(&listener));
    let crawl = scheduler.spawn(move || {
        let pages = crawl(address, "/", 4, 200);
        server.cancel();
        pages
    });
    scheduler.run()?;
    let pages = crawl.join()??;
    println!("{} pages: {pages:?}", pages.len());
    Ok(())
}

/// Lets so many requests a second through, evenly spaced.
struct RateLimit {
    spacing: Duration,
    next: Cell<Instant>,
}

impl RateLimit {
    fn per_second(requests: u32) -> RateLimit {
        let spacing = Duration::from_secs(1) / requests;
        RateLimit { spacing, next: Cell::new(Instant::now()) }
    }

    /// Waits for one's turn.
    fn wait(&self) -> Result<(), majjen::Error> {
        let turn = self.next.get().max(Instant::now());
        self.next.set(turn + self.spacing);
        task::sleep_until(turn)
    }
}

/// What the tasks share. They run on one thread, so cells do.
struct Crawl {
    address: SocketAddr,
    limit: RateLimit,
    /// One permit for each connection.
    connections: Semaphore,
    /// Pages that are being fetched, or wait to be.
    pages: Rc<WaitGroup>,
    found: RefCell<BTreeSet<String>>,
}

/// Fetches all pages that can be reached from one, and returns their paths.
pub fn crawl(
    address: SocketAddr,
    start: &str,
    connections: u32,
    per_second: u32,
) -> majjen::Result<BTreeSet<String>> {
    let crawl = Rc::new(Crawl {
        address,
        limit: RateLimit::per_second(per_second),
        connections: Semaphore::new(connections),
        pages: Rc::new(WaitGroup::new()),
        found: RefCell::default(),
    });
    visit(&crawl, start)?;
    crawl.pages.wait()?;
    Ok(crawl.found.take())
}

/// Adds a task that fetches a page, unless it was found before.
fn visit(crawl: &Rc<Crawl>, path: &str) -> majjen::Result<()> {
    if !crawl.found.borrow_mut().insert(path.to_owned()) {
        return Ok(());
    }
    let (crawl, page, path) = (crawl.clone(), crawl.pages.member()?, path.to_owned());
    task::Builder::new().spawn(move || {
        let _page = page; // Done when dropped, also if the task is canceled.
        if let Err(error) = follow(&crawl, &path) {
            eprintln!("{path}: {error}");
        }
    })?;
    Ok(())
}

/// Fetches a page, and visits what it links to.
fn follow(crawl: &Rc<Crawl>, path: &str) -> io::Result<()> {
    let connection = crawl.connections.acquire(1)?;
    crawl.limit.wait()?;
    let page = crawl.fetch(path)?;
    drop(connection);
    for link in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        if link.starts_with('/') {
            visit(crawl, link)?;
        }
    }
    Ok(())
}

impl Crawl {
    fn fetch(&self, path: &str) -> io::Result<String> {
        let timeout = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&self.address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?.1;
        Ok(body.to_owned())
    }
}

/// How many pages the site has: a tree, each page with links to three more and back to the first.
pub const SITE_PAGES: usize = 40;

/// Serves the site until the task is canceled.
pub fn serve_site(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        task::spawn(move || answer(&stream));
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("/");
    let number: usize = path[1..].parse().unwrap_or(0);
    // The rest of the head: a socket that is closed with data in it cuts its last answer off.
    while reader.read_line(&mut line)? > 2 {}
    write!(stream, "HTTP/1.0 200 OK\r\n\r\n<a href=\"/\">first</a>")?;
    for child in number * 3 + 1..number * 3 + 4 {
        if child < SITE_PAGES {
            write!(stream, "<a href=\"/{child}\">more</a>")?;
        }
    }
    Ok(())
}
