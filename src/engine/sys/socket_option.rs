//! What a socket can be set to.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use super::errno::check;
use super::error::{Error, Result};
use super::transfer::socklen_t;

/// An option with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    ReuseAddress(bool),
    ReusePort(bool),
    /// Has no effect on sockets of other families than IPv6.
    OnlyV6(bool),
    ReceiveBuffer(usize),
    SendBuffer(usize),
    /// How many hops a packet may make.
    Ttl(u32),
    Broadcast(bool),
    Nodelay(bool),
    /// A probe when nothing has come for so long.
    Keepalive(Option<Duration>),
    KeepaliveInterval(Duration),
    KeepaliveCount(u32),
    /// How long sent data may stay without an answer.
    UserTimeout(Duration),
    /// How long the system goes on sending what is left when the socket is closed.
    Linger(Option<Duration>),
}

/// In whole units, rounded up, and at least one: shorter times would be none.
fn units(span: Duration, unit: Duration) -> c_int {
    let units = span.as_nanos().div_ceil(unit.as_nanos()).max(1);
    c_int::try_from(units).unwrap_or(c_int::MAX)
}

fn seconds(span: Duration) -> c_int {
    units(span, Duration::from_secs(1))
}

fn number<N: TryInto<c_int>>(number: N) -> Result<c_int> {
    number.try_into().map_err(|_| Error::InvalidArgument)
}

impl SocketOption {
    /// Sets it, for a socket of this family.
    pub fn set(self, fd: c_int, family: c_int) -> Result<()> {
        use SocketOption::*;
        let of_socket = |option, value| set(fd, libc::SOL_SOCKET, option, &value);
        let of_tcp = |option, value| set(fd, libc::IPPROTO_TCP, option, &value);
        let is_v6 = family == libc::AF_INET6;
        match self {
            ReuseAddress(on) => of_socket(libc::SO_REUSEADDR, on.into()),
            ReusePort(on) => of_socket(libc::SO_REUSEPORT, on.into()),
            OnlyV6(on) if is_v6 => set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &c_int::from(on)),
            OnlyV6(_) => Ok(()),
            ReceiveBuffer(bytes) => of_socket(libc::SO_RCVBUF, number(bytes)?),
            SendBuffer(bytes) => of_socket(libc::SO_SNDBUF, number(bytes)?),
            Ttl(hops) if is_v6 => {
                set(fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, &number(hops)?)
            }
            Ttl(hops) => set(fd, libc::IPPROTO_IP, libc::IP_TTL, &number(hops)?),
            Broadcast(on) => of_socket(libc::SO_BROADCAST, on.into()),
            Nodelay(on) => of_tcp(libc::TCP_NODELAY, on.into()),
            Keepalive(None) => of_socket(libc::SO_KEEPALIVE, 0),
            Keepalive(Some(idle)) => {
                of_tcp(libc::TCP_KEEPIDLE, seconds(idle))?;
                of_socket(libc::SO_KEEPALIVE, 1)
            }
            KeepaliveInterval(interval) => of_tcp(libc::TCP_KEEPINTVL, seconds(interval)),
            KeepaliveCount(count) => of_tcp(libc::TCP_KEEPCNT, number(count)?),
            UserTimeout(limit) => {
                of_tcp(libc::TCP_USER_TIMEOUT, units(limit, Duration::from_millis(1)))
            }
            Linger(linger) => {
                let value = libc::linger {
                    l_onoff: linger.is_some().into(),
                    // Zero is a value of its own: a reset.
                    l_linger: linger.filter(|span| !span.is_zero()).map_or(0, seconds),
                };
                set(fd, libc::SOL_SOCKET, libc::SO_LINGER, &value)
            }
        }
    }
}

pub(super) fn set<T>(fd: c_int, level: c_int, option: c_int, value: &T) -> Result<()> {
    let address = (&raw const *value).cast::<c_void>();
    // SAFETY: the address is that of a value of the option's type.
    check(unsafe { libc::setsockopt(fd, level, option, address, size_of::<T>() as socklen_t) })
        .map(drop)
}

/// The value of an option, which is integers.
fn get<T: Default>(fd: c_int, level: c_int, option: c_int) -> Result<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as socklen_t;
    let address = (&raw mut value).cast::<c_void>();
    // SAFETY: the addresses are good for a value of the option's type and its length.
    check(unsafe { libc::getsockopt(fd, level, option, address, &mut length) })?;
    Ok(value)
}

/// Whether a descriptor is a TCP socket that delivers bytes, not records: no kTLS.
pub fn is_plain_tcp(fd: c_int) -> bool {
    /// A name of an upper layer is shorter, and empty if there is none.
    const NAME: usize = 16;
    let upper_layer = || get::<[u8; NAME]>(fd, libc::IPPROTO_TCP, libc::TCP_ULP);
    get(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Ok(libc::IPPROTO_TCP)
        && upper_layer().map_or(true, |name| name[0] == 0)
}

/// The error that is pending at a socket, which is cleared.
pub fn take_socket_error(fd: c_int) -> Result<()> {
    match get(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(()),
        error => Err(Error::Os(error)),
    }
}

/// Whether a descriptor is a socket that listens.
pub fn is_listening(fd: c_int) -> bool {
    get::<c_int>(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).is_ok_and(|listens| listens != 0)
}

/// Whether a descriptor is a stream socket that listens.
pub fn is_stream_listener(fd: c_int) -> bool {
    is_listening(fd) && get(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
}

fn span_of(seconds: c_int) -> Duration {
    Duration::from_secs(seconds.try_into().unwrap_or(0))
}

/// After how long without news it is probed whether the other end is there, if it is.
pub fn keepalive(fd: c_int) -> Result<Option<Duration>> {
    if get::<c_int>(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE)? == 0 {
        return Ok(None);
    }
    get(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE).map(|idle| Some(span_of(idle)))
}

/// How long the system goes on sending when a socket is closed, if that is set.
pub fn linger(fd: c_int) -> Result<Option<Duration>> {
    let [on, seconds]: [c_int; 2] = get(fd, libc::SOL_SOCKET, libc::SO_LINGER)?;
    Ok((on != 0).then(|| span_of(seconds)))
}
