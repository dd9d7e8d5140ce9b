//! An echo server: sends back what each client sends, a task for each client.
//!
//! ```sh
//! cargo run --release --example echo -- 127.0.0.1:7000
//! ```

use std::io::{self, Write};
use std::time::Duration;

use majjen::net::{TcpListener, TcpStream};
use majjen::{Builder, task};

/// A client that is silent for so long is let go.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening at {}", listener.local_addr()?);
    let scheduler = Builder::new().name("echo").handle_signals(true).build()?;
    scheduler.spawn(move || serve(&listener));
    scheduler.run()?;
    println!("{}", scheduler.metrics_text());
    Ok(())
}

/// Accepts clients until the task is canceled.
pub fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(task::spawn(move || echo(&stream))),
            // Out of descriptors, for example: it may pass.
            Err(_) => drop(task::sleep(Duration::from_millis(10))),
        }
    }
}

/// Serves one client. Returns how much it has sent.
fn echo(stream: &TcpStream) -> io::Result<u64> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut reader, mut writer) = (stream, stream);
    let count = io::copy(&mut reader, &mut writer)?;
    writer.flush()?;
    Ok(count)
}
