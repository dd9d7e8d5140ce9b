//! A chat: a line that a client sends goes to all of them.
//!
//! ```sh
//! cargo run --release --example chat -- 127.0.0.1:7001
//! ```
//!
//! Each client has a task that reads, and one that writes what is in the client's outbox. Who puts a
//! line there never waits: a client whose outbox is full is too slow, and is let go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use majjen::net::{TcpListener, TcpStream};
use majjen::sync::{Receiver, Sender, channel};
use majjen::{Builder, task};

const OUTBOX_LINES: usize = 1000;
const LINE_BYTES: u64 = 512;
/// A client that says nothing for so long is let go, and so is one that takes nothing.
const PATIENCE: Duration = Duration::from_secs(600);

/// Lines are shared, and not copied, by all the outboxes that they are in.
type Line = Rc<str>;

/// The clients by their numbers.
#[derive(Clone, Default)]
pub struct Room(Rc<RefCell<BTreeMap<u32, Client>>>);

struct Client {
    stream: Rc<TcpStream>,
    outbox: Sender<Line>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7001".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    let scheduler = Builder::new().name("chat").handle_signals(true).build()?;
    scheduler.spawn(move || serve(&listener, &Room::default()));
    scheduler.run()?; // Ctrl+C ends it, and the tasks are unwound with the scheduler.
    Ok(())
}

/// Accepts clients until the task is canceled.
pub fn serve(listener: &TcpListener, room: &Room) {
    for (number, stream) in (1..).zip(listener.incoming()) {
        match stream {
            Ok(stream) => {
                let room = room.clone();
                task::spawn(move || room.talk(number, stream));
            }
            // Out of descriptors, for example: it may pass.
            Err(_) => drop(task::sleep(Duration::from_millis(10))),
        }
    }
}

impl Room {
    /// Tells all of a line. It does not wait, so nobody comes or goes in between.
    fn say(&self, who: u32, what: &str) {
        let line: Line = format!("{who} {what}\n").into();
        for client in self.0.borrow().values() {
            if client.outbox.try_send(line.clone()).is_err() {
                let _ = client.stream.shutdown(Shutdown::Both); // Both of its tasks find the end.
            }
        }
    }

    /// A client, from its coming to its going.
    fn talk(&self, number: u32, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let stream = Rc::new(stream);
        let (outbox, inbox) = channel(OUTBOX_LINES);
        // Canceled with this task, however that ends.
        let _writer = task::spawn({
            let stream = stream.clone();
            move || write_lines(&stream, &inbox)
        })
        .cancel_on_drop();
        self.0.borrow_mut().insert(number, Client { stream: stream.clone(), outbox });
        let _leaves = Leaves { room: self, number };
        self.say(number, "has come");
        self.listen_to(number, &stream)
    }

    fn listen_to(&self, number: u32, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.by_ref().take(LINE_BYTES).read_line(&mut line)? > 0 {
            let Some(said) = line.strip_suffix('\n') else { break }; // Too long, or the end.
            self.say(number, said);
            line.clear();
            task::yield_now()?; // Who says many lines takes turns with those who write them.
        }
        Ok(())
    }
}

/// Takes a client out of the room, also when its task is unwound.
struct Leaves<'r> {
    room: &'r Room,
    number: u32,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.room.0.borrow_mut().remove(&self.number);
        self.room.say(self.number, "has gone");
    }
}

fn write_lines(stream: &TcpStream, inbox: &Receiver<Line>) {
    let mut writer = BufWriter::new(stream);
    let mut write = |line: Line| {
        writer.write_all(line.as_bytes())?;
        // What is there goes out together.
        if inbox.is_empty() { writer.flush() } else { Ok(()) }
    };
    while let Ok(line) = inbox.recv() {
        if write(line).is_err() {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}
