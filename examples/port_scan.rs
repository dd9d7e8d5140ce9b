//! Tells which ports of a host accept connections; so many are tried at a time, and each for so
//! long.
//!
//! ```sh
//! cargo run --release --example port_scan -- 127.0.0.1 1 1024 [AT-A-TIME [LIMIT-MS]]
//! ```

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use majjen::net::{TcpStream, lookup_host};
use majjen::{Scheduler, task};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, first, last, rest @ ..] = &arguments[..] else {
        return Err("port_scan HOST FIRST LAST [AT-A-TIME [LIMIT-MS]]".into());
    };
    let (host, ports) = (host.clone(), first.parse()?..=last.parse()?);
    let number = |index: usize, usual: &str| rest.get(index).map_or(usual, |text| text).parse();
    let (at_a_time, limit_ms) = (number(0, "100")? as usize, number(1, "1000")?);
    let scheduler = Scheduler::new()?;
    let open =
        scheduler.spawn(move || scan(&host, ports, at_a_time, Duration::from_millis(limit_ms)));
    scheduler.run()?;
    open.join()??.iter().for_each(|port| println!("{port}"));
    Ok(())
}

fn connect(address: IpAddr, port: u16) -> io::Result<()> {
    TcpStream::connect((address, port)).map(drop)
}

/// The ports that are open. The first failure ends it: no network, for example.
pub fn scan(
    host: &str,
    ports: RangeInclusive<u16>,
    at_a_time: usize,
    limit: Duration,
) -> io::Result<Vec<u16>> {
    // Looked up once.
    let address = lookup_host((host, 0))?.first().ok_or(ErrorKind::NotFound)?.ip();
    let mut tries = task::JoinSet::with_limit(at_a_time);
    for port in ports {
        // Waits while there are so many. When the set is dropped, those that are left are canceled.
        tries.spawn(move || (port, task::timeout(limit, || connect(address, port))));
    }
    let mut open = Vec::new();
    while let Some(tried) = tries.join_next() {
        match tried {
            Ok((port, Ok(Ok(())))) => open.push(port),
            Ok((_, Ok(Err(error)))) if error.kind() != ErrorKind::ConnectionRefused => {
                return Err(error);
            }
            Ok(_) => {} // Refused, or not in time.
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    open.sort_unstable();
    Ok(open)
}
