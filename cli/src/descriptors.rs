//! What the descriptors of a process are, as /proc has it.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use crate::words::{add, printable};

/// Tells what a descriptor is.
pub trait Descriptors {
    fn describe(&self, fd: i32) -> Rc<What>;
}

/// What a descriptor is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum What {
    Listener(SocketAddr),
    Connecting(SocketAddr),
    /// With the other end, if it is connected.
    Socket(Option<SocketAddr>),
    UnixListener(String),
    /// By the name that this end or the other has, if any.
    Unix(String),
    Pipe,
    /// A file by its path, or something else by its name.
    Named(String),
    #[default]
    Unknown,
}

impl What {
    /// Adds what is waited for when it is waited for.
    pub fn push_wait(&self, text: &mut String, fd: i32, reads: bool, writes: bool) {
        text.push_str(match self {
            What::Listener(_) | What::UnixListener(_) if reads => "accept at ",
            What::Connecting(_) if writes => "connect to ",
            _ => verb(reads, writes),
        });
        self.push_noun(text, fd);
    }

    /// Adds what it is, with its number.
    pub fn push_noun(&self, text: &mut String, fd: i32) {
        match self {
            What::Listener(address) | What::Connecting(address) | What::Socket(Some(address)) => {
                add(text, format_args!("{address}"))
            }
            What::Socket(None) => text.push_str("socket"),
            What::Unix(name) if name.is_empty() => text.push_str("local socket"),
            What::Unix(name) | What::UnixListener(name) | What::Named(name) => text.push_str(name),
            What::Pipe => text.push_str("pipe"),
            What::Unknown => return add(text, format_args!("fd {fd}")),
        }
        add(text, format_args!(" (fd {fd})"));
    }
}

fn verb(reads: bool, writes: bool) -> &'static str {
    match (reads, writes) {
        (true, true) => "read from or write to ",
        (false, true) => "write to ",
        (true, false) => "read from ",
        (false, false) => "an error of ",
    }
}

/// Of a core file nothing is known.
pub struct NoDescriptors;

impl Descriptors for NoDescriptors {
    fn describe(&self, _: i32) -> Rc<What> {
        Rc::new(What::Unknown)
    }
}

/// Those of a process, and the sockets of its network namespace, which are read when the first one is asked for.
pub struct OfProcess {
    pid: i32,
    sockets: OnceCell<HashMap<u64, What>>,
    /// Those that were asked for: many tasks may wait for one.
    known: RefCell<HashMap<i32, Rc<What>>>,
}

impl OfProcess {
    pub fn new(pid: i32) -> OfProcess {
        OfProcess { pid, sockets: OnceCell::new(), known: RefCell::default() }
    }

    fn read_sockets(&self) -> HashMap<u64, What> {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{}/net/{name}", self.pid)).unwrap_or_default()
        };
        let mut sockets = HashMap::new();
        for name in ["tcp", "tcp6", "udp", "udp6"] {
            let is_tcp = name.starts_with("tcp");
            sockets.extend(read(name).lines().skip(1).filter_map(|line| parse_inet(line, is_tcp)));
        }
        sockets.extend(read("unix").lines().skip(1).filter_map(parse_unix));
        sockets
    }
}

impl Descriptors for OfProcess {
    fn describe(&self, fd: i32) -> Rc<What> {
        if let Some(known) = self.known.borrow().get(&fd) {
            return Rc::clone(known);
        }
        let what = Rc::new(self.look_at(fd));
        self.known.borrow_mut().insert(fd, Rc::clone(&what));
        what
    }
}

impl OfProcess {
    fn look_at(&self, fd: i32) -> What {
        let Ok(target) = fs::read_link(format!("/proc/{}/fd/{fd}", self.pid)) else {
            return What::Unknown;
        };
        let target = printable(target.as_os_str().as_encoded_bytes());
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'))
        {
            let sockets = self.sockets.get_or_init(|| self.read_sockets());
            let found = inode.parse().ok().and_then(|inode: u64| sockets.get(&inode));
            return found.cloned().unwrap_or(What::Socket(None));
        }
        if target.starts_with("pipe:[") {
            return What::Pipe;
        }
        What::Named(
            target
                .strip_prefix("anon_inode:")
                .unwrap_or(&target)
                .trim_matches(['[', ']'])
                .to_owned(),
        )
    }
}

/// A line of /proc/net/tcp or udp.
fn parse_inet(line: &str, is_tcp: bool) -> Option<(u64, What)> {
    const SYN_SENT: &str = "02";
    const LISTEN: &str = "0A";
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, remote) = (parse_address(words.get(1)?)?, parse_address(words.get(2)?)?);
    let inode = words.get(9)?.parse().ok()?;
    let what = match *words.get(3)? {
        LISTEN if is_tcp => What::Listener(local),
        SYN_SENT if is_tcp => What::Connecting(remote),
        _ if remote.port() != 0 => What::Socket(Some(remote)),
        _ if local.port() != 0 => What::Socket(Some(local)),
        _ => What::Socket(None),
    };
    Some((inode, what))
}

/// As in `0100007F:1F90`: words in the order of this machine's bytes.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let ip = if address.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes()))
    } else {
        let mut bytes = [0; 16];
        for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
            part.copy_from_slice(&word(index * 8)?.to_ne_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// A line of /proc/net/unix.
fn parse_unix(line: &str) -> Option<(u64, What)> {
    const LISTENS: u32 = 1 << 16;
    let words: Vec<&str> = line.split_whitespace().collect();
    let flags = u32::from_str_radix(words.get(3)?, 16).ok()?;
    let inode = words.get(6)?.parse().ok()?;
    let name = printable(words.get(7..).unwrap_or_default().join(" ").as_bytes());
    let what = if flags & LISTENS != 0 { What::UnixListener(name) } else { What::Unix(name) };
    Some((inode, what))
}

#[cfg(test)]
mod tests {
    use super::{What, parse_inet, parse_unix};

    fn wait(what: &What, fd: i32, reads: bool, writes: bool) -> String {
        let mut text = String::new();
        what.push_wait(&mut text, fd, reads, writes);
        text
    }

    #[test]
    fn sockets_are_parsed() {
        let line =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77 1";
        let (inode, what) = parse_inet(line, true).unwrap();
        assert_eq!(inode, 77);
        assert_eq!(wait(&what, 3, true, false), "accept at 127.0.0.1:8080 (fd 3)");
        let line =
            "   1: 0100007F:D431 0700000A:1538 01 00000000:00000000 00:00000000 00000000 0 0 78 1";
        let (_, what) = parse_inet(line, true).unwrap();
        assert_eq!(wait(&what, 4, true, false), "read from 10.0.0.7:5432 (fd 4)");
        let line = "   1: 00000000000000000000000001000000:0050 0000000000000000FFFF00000700000A:1538 \
                    02 0:0 00:0 0 0 0 79 1";
        let (_, what) = parse_inet(line, true).unwrap();
        assert_eq!(wait(&what, 5, false, true), "connect to 10.0.0.7:5432 (fd 5)");
        let line = "0000: 00000002 00000000 00010000 0001 01 80 /run/a socket";
        let (inode, what) = parse_unix(line).unwrap();
        assert_eq!(
            (inode, wait(&what, 6, true, false).as_str()),
            (80, "accept at /run/a socket (fd 6)")
        );
        for bad in ["", "a b", "0: 01:1 02:2 0A"] {
            assert!(parse_inet(bad, true).is_none() && parse_unix(bad).is_none());
        }
        assert_eq!(wait(&What::Unknown, 7, true, true), "read from or write to fd 7");
    }
}
