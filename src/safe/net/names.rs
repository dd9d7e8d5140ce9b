//! What stands for addresses of sockets, and looking up what is a name.

use std::borrow::Cow;
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::thread;

use crate::engine::names;
use crate::engine::scheduler::running_task;
use crate::engine::sys::{Error, Hints, NameError, Uncancelable, describe_name_error};
use crate::safe::time::limit;
use crate::safe::unwind::suspending;

/// What may stand for addresses: those for which [`std::net::ToSocketAddrs`] is implemented. Here a task
/// is suspended while a name is looked up, and not the thread.
///
/// ```
/// use majjen::net::lookup_host;
///
/// let one = lookup_host(("127.0.0.1", 80))?; // Numeric, so nothing is looked up.
/// assert_eq!(one, lookup_host("127.0.0.1:80")?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// It cannot be implemented elsewhere.
pub trait ToSocketAddrs: sealed::Targets {}

impl<T: sealed::Targets + ?Sized> ToSocketAddrs for T {}

mod sealed {
    use super::Target;

    pub trait Targets {
        #[doc(hidden)]
        fn target(&self) -> Target<'_>;
    }
}

use sealed::Targets;

/// What something stands for.
#[doc(hidden)]
#[derive(Debug)]
pub enum Target<'t> {
    Addresses(Cow<'t, [SocketAddr]>),
    Name(&'t str, u16),
    /// It is no address.
    Wrong(&'static str),
}

impl Target<'_> {
    fn one(address: impl Into<SocketAddr>) -> Target<'static> {
        Target::Addresses(Cow::Owned(vec![address.into()]))
    }
}

macro_rules! address {
    ($($kind:ty),+) => {
        $(impl Targets for $kind {
            fn target(&self) -> Target<'_> {
                Target::one(*self)
            }
        })+
    };
}

address!(SocketAddr, SocketAddrV4, SocketAddrV6);
address!((IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl Targets for (&str, u16) {
    fn target(&self) -> Target<'_> {
        match self.0.parse::<IpAddr>() {
            Ok(address) => Target::one((address, self.1)),
            Err(_) => Target::Name(self.0, self.1),
        }
    }
}

impl Targets for (String, u16) {
    fn target(&self) -> Target<'_> {
        match self.0.parse::<IpAddr>() {
            Ok(address) => Target::one((address, self.1)),
            Err(_) => Target::Name(&self.0, self.1),
        }
    }
}

impl Targets for str {
    fn target(&self) -> Target<'_> {
        if let Ok(address) = self.parse::<SocketAddr>() {
            return Target::one(address);
        }
        let Some((host, port)) = self.rsplit_once(':') else {
            return Target::Wrong("there is no port in the address");
        };
        port.parse().map_or(Target::Wrong("the port is no number"), |port| Target::Name(host, port))
    }
}

impl Targets for String {
    fn target(&self) -> Target<'_> {
        self.as_str().target()
    }
}

impl Targets for [SocketAddr] {
    fn target(&self) -> Target<'_> {
        Target::Addresses(Cow::Borrowed(self))
    }
}

impl<const COUNT: usize> Targets for [SocketAddr; COUNT] {
    fn target(&self) -> Target<'_> {
        Target::Addresses(Cow::Borrowed(self))
    }
}

impl Targets for Vec<SocketAddr> {
    fn target(&self) -> Target<'_> {
        Target::Addresses(Cow::Borrowed(self))
    }
}

impl<T: Targets + ?Sized> Targets for &T {
    fn target(&self) -> Target<'_> {
        T::target(self)
    }
}

/// Looks up the addresses of a host, for a port, in the order in which the system prefers them. A thread of
/// the pool asks the system's resolver; only the task waits. Outside a task the thread does.
///
/// ```
/// use majjen::{Scheduler, net::lookup_host};
///
/// let scheduler = Scheduler::new()?;
/// let found = scheduler.spawn(|| lookup_host(("localhost", 80)));
/// scheduler.run()?;
/// assert!(found.join()??.iter().all(|address| address.ip().is_loopback()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no such name, and others as the resolver tells. A look-up cannot be
/// stopped: when the task is canceled, or its time is over, it goes on by itself.
pub fn lookup_host(host: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    resolve(&host).map(Cow::into_owned)
}

/// The addresses, of which there is one at the least.
pub(super) fn resolve(addresses: &impl ToSocketAddrs) -> io::Result<Cow<'_, [SocketAddr]>> {
    let wrong = |why| io::Error::new(ErrorKind::InvalidInput, why);
    match addresses.target() {
        Target::Addresses(addresses) if addresses.is_empty() => Err(wrong("there is no address")),
        Target::Addresses(addresses) => Ok(addresses),
        Target::Wrong(why) => Err(wrong(why)),
        Target::Name(host, port) => look_up(host, port).map(Cow::Owned),
    }
}

fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if running_task().is_none() || thread::panicking() {
        let _uncancelable = Uncancelable::begin();
        return std::net::ToSocketAddrs::to_socket_addrs(&(host, port)).map(Iterator::collect);
    }
    let text = CString::new(host)
        .map_err(|_| io::Error::new(ErrorKind::InvalidInput, "there is a NUL in the name"))?;
    let hints = Hints::of_streams(0);
    let find = || match names::find_addresses(Some(&text), None, hints, limit(None)) {
        Err(NameError::Call(error)) => Err(error), // The task may be canceled.
        found => Ok(found),
    };
    let list = suspending(find)?.map_err(|error| {
        let kind = match error.as_error() {
            Error::Os(errno) => io::Error::from_raw_os_error(errno).kind(),
            _ => ErrorKind::InvalidInput,
        };
        io::Error::new(kind, format!("cannot look up {host}: {}", describe_name_error(error)))
    })?;
    let with_port = |mut address: SocketAddr| {
        address.set_port(port);
        address
    };
    let found: Vec<SocketAddr> = list.inet().map(with_port).collect();
    if found.is_empty() {
        return Err(io::Error::new(ErrorKind::NotFound, format!("{host} has no address")));
    }
    Ok(found)
}
