//! Opening, closing, connecting, and who owns descriptors.

use std::ffi::{CString, c_int};
use std::mem::size_of;
use std::ptr::null_mut;

use libc::{EBADF, ECONNREFUSED, ECONNRESET, EINVAL, EPIPE, POLLIN, POLLOUT};

use super::super::majjen_h::*;
use super::super::waits::get_errno;
use super::super::{is_open, uninterrupted};
use super::calls::make;
use super::files::{File, Listener};
use super::program::{Closing, Kind};
use super::transfers::number_of;
use super::verdict::{For, Use};
use super::{SLOTS, World, with};

/// The slot of the listener.
const LISTENER: usize = SLOTS - 1;

/// The smallest buffers, so that writing has to wait.
const BUFFER: c_int = 1;

fn set_option(fd: c_int, level: c_int, option: c_int, value: &impl Sized) {
    let (place, length) = (std::ptr::from_ref(value).cast(), size_of_val(value));
    // SAFETY: an option's value, as long as said.
    assert_eq!(unsafe { libc::setsockopt(fd, level, option, place, length as u32) }, 0);
}

fn is_free(slot: usize) -> bool {
    with(|world| !world.numbers.contains_key(&world.slots[slot].number))
}

/// Opens a link at a slot and the next one.
pub fn open(kind: Kind, slot: usize, blocks: bool, owned: bool) {
    if slot + 1 >= LISTENER || !is_free(slot) || !is_free(slot + 1) {
        return;
    }
    let mut ends = [0; 2];
    let flag = if blocks { 0 } else { libc::O_NONBLOCK } | libc::O_CLOEXEC;
    // SAFETY: room for two.
    let result = unsafe {
        match kind {
            Kind::Pipe => libc::pipe2(ends.as_mut_ptr(), flag),
            _ => libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | flag, 0, ends.as_mut_ptr()),
        }
    };
    assert_eq!(result, 0);
    if kind == Kind::Tcp {
        connect_ends(&mut ends, flag);
    }
    match kind {
        // SAFETY: a pipe.
        Kind::Pipe => unsafe {
            assert!(libc::fcntl(ends[0], libc::F_SETPIPE_SZ, 4096) > 0);
        },
        Kind::Unix => {
            for end in ends {
                set_option(end, libc::SOL_SOCKET, libc::SO_SNDBUF, &BUFFER);
            }
        }
        _ => {}
    }
    with(|world| {
        let there = world.new_flow();
        let back = (kind != Kind::Pipe).then(|| world.new_flow());
        world.new_file(kind, ends[0], Some(there), back);
        world.new_file(kind, ends[1], back, Some(there));
        (world.slots[slot].number, world.slots[slot + 1].number) = (ends[0], ends[1]);
    });
    if owned {
        adopt(slot);
        adopt(slot + 1);
    }
}

/// Replaces a pair of sockets by a TCP connection with the same numbers.
fn connect_ends(ends: &mut [c_int; 2], flags: c_int) {
    let address = here();
    // SAFETY: descriptors of this function, and addresses as long as said.
    unsafe {
        let listener = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert_eq!(libc::bind(listener, (&raw const address).cast(), ADDRESS_BYTES), 0);
        assert_eq!(libc::listen(listener, 1), 0);
        let address = own_address(listener);
        let client = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        // Interrupted, it goes on, and the next call waits for its end or finds it connected.
        let connect = || libc::connect(client, (&raw const address).cast(), ADDRESS_BYTES);
        assert!(uninterrupted(connect) == 0 || get_errno() == libc::EISCONN);
        let server = libc::accept4(listener, null_mut(), null_mut(), 0);
        for (made, end) in [client, server].into_iter().zip(*ends) {
            assert_eq!(libc::dup3(made, end, libc::O_CLOEXEC), end);
            assert_eq!(libc::fcntl(end, libc::F_SETFL, flags & libc::O_NONBLOCK), 0);
            libc::close(made);
        }
        libc::close(listener);
    }
}

const ADDRESS_BYTES: u32 = size_of::<libc::sockaddr_in>() as u32;

/// An address of this machine that no other process uses: one that tries all ports of 127.0.0.1 would connect
/// to a program's listener.
fn own_host() -> [u8; 4] {
    let [.., high, middle, low] = std::process::id().to_be_bytes();
    [127, 64 + high % 64, middle, low]
}

fn here() -> libc::sockaddr_in {
    // SAFETY: zero is one.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_addr.s_addr = u32::from_be_bytes(own_host()).to_be();
    address
}

fn own_address(fd: c_int) -> libc::sockaddr_in {
    let (mut address, mut length) = (here(), ADDRESS_BYTES);
    // SAFETY: room for an address.
    let result = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &raw mut length) };
    assert_eq!(result, 0);
    address
}

/// Closes the descriptor at a slot, open or not.
pub fn close(slot: usize, how: Closing) {
    let number = number_of(slot);
    if with(|world| world.file(number)).is_none() && is_open(number) {
        return; // The process's own.
    }
    let has_stream = with(|world| world.streams.iter().flatten().any(|it| it.number == number));
    let moves = with(|world| world.is_used(number, &[Use::ReadsOn, Use::Writes]));
    if how == Closing::Raw && (has_stream || moves || slot == LISTENER) {
        return; // The rest would be read from the next file, or written to it.
    }
    close_number(number, how);
}

fn close_number(number: c_int, how: Closing) {
    with(World::note_ports);
    let file = with(|world| world.file(number));
    let is_tcp = file.is_some_and(|file| with(|world| world.files[file].kind == Kind::Tcp));
    let resets = how == Closing::Reset && is_tcp;
    if resets {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        set_option(number, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
    }
    let result = if how == Closing::Raw {
        // SAFETY: opened by the program, or not open.
        unsafe { libc::close(number) };
        0
    } else {
        mj_fd_close(number)
    };
    let expected = if how != Closing::Raw && file.is_none() { -EBADF } else { 0 };
    assert_eq!(result, expected, "closing {number}");
    with(|world| world.has_closed(number, resets, how != Closing::Raw));
}

impl World {
    /// Learns the ports of those that have connected. A new attempt after one that has failed has another port.
    fn note_ports(&mut self) {
        let World { listener, files, .. } = self;
        let pending = listener.iter_mut().flat_map(|it| &mut it.pending);
        for (file, port) in pending.filter(|(file, _)| files[*file].is_open) {
            *port = own_address(files[*file].number).sin_port;
        }
    }

    /// Whether an attempt to connect a file may find nobody, or be reset: a listener was closed before
    /// anybody accepted the connection, or whoever did has closed it already.
    fn may_fail_to_connect(&self, file: usize) -> bool {
        let File { sought, input, .. } = &self.files[file];
        sought.iter().any(|listener| !self.files[*listener].is_open)
            || input.is_some_and(|input| self.flows[input].may_be_reset)
    }

    /// The library does not own a number any more, nor does a stream.
    fn disown(&mut self, number: c_int) {
        self.owned.retain(|owned| *owned != number);
        for stream in self.streams.iter_mut().flatten().filter(|it| it.number == number) {
            stream.is_lost = true;
        }
    }

    /// A number is not open any more.
    pub fn has_closed(&mut self, number: c_int, resets: bool, by_library: bool) {
        let is_open = self.file(number).is_some();
        self.close_for_calls(number, by_library && is_open);
        if by_library {
            self.disown(number);
        } else if self.owned.contains(&number) {
            self.closed_unseen.push(number);
        }
        if let Some(file) = self.file(number) {
            self.forget_file(file, resets);
        }
        if self.listener.as_ref().is_some_and(|listener| listener.number == number) {
            for (file, _) in self.listener.take().map_or(Vec::new(), |it| it.pending) {
                let File { input, output, .. } = self.files[file];
                for flow in input.into_iter().chain(output) {
                    let flow = &mut self.flows[flow];
                    (flow.is_ended, flow.is_refused) = (true, true);
                    (flow.may_be_reset, flow.may_lose) = (true, true);
                }
            }
        }
    }
}

pub fn shutdown(slot: usize, how: c_int) {
    let number = number_of(slot);
    let Some(file) = with(|world| world.file(number)) else { return };
    let (kind, input, output, is_new) = with(|world| {
        let File { kind, input, output, is_new, .. } = world.files[file];
        (kind, input, output, is_new)
    });
    if is_new || matches!(kind, Kind::Pipe | Kind::Listener) {
        return;
    }
    // SAFETY: no pointers.
    if unsafe { libc::shutdown(number, how) } != 0 {
        return; // Not connected any more.
    }
    with(|world| {
        if let Some(input) = input.filter(|_| how != libc::SHUT_WR) {
            world.files[file].is_shut = true;
            world.flows[input].is_refused = true;
        }
        if let Some(output) = output.filter(|_| how != libc::SHUT_RD) {
            world.flows[output].is_ended = true;
        }
        // What comes nevertheless resets a TCP connection.
        for flow in input.into_iter().chain(output).filter(|_| kind == Kind::Tcp) {
            let flow = &mut world.flows[flow];
            flow.may_be_reset |= how != libc::SHUT_WR;
            flow.may_lose |= how != libc::SHUT_WR;
        }
    });
}

pub fn adopt(slot: usize) {
    let number = number_of(slot);
    let has_file = with(|world| world.file(number).is_some());
    if !has_file && is_open(number) {
        return;
    }
    assert_eq!(mj_fd_adopt(number), if has_file { 0 } else { -EBADF });
    with(|world| {
        if has_file && !world.owned.contains(&number) {
            world.owned.push(number);
        }
    });
}

pub fn release(slot: usize) {
    let number = number_of(slot);
    let is_owned = with(|world| world.owned.contains(&number));
    assert_eq!(mj_fd_release(number), if is_owned { 0 } else { -EINVAL });
    with(|world| world.disown(number));
}

pub fn listen() {
    if with(|world| world.listener.is_some()) || !is_free(LISTENER) {
        return;
    }
    let host = CString::new(own_host().map(|byte| byte.to_string()).join(".")).expect("digits");
    let number = mj_listen(host.as_ptr(), c"0".as_ptr(), 0, 0);
    assert!(number >= 0, "mj_listen returned {number}");
    with(|world| {
        let file = world.new_file(Kind::Listener, number, None, None);
        world.slots[LISTENER].number = number;
        world.owned.retain(|owned| *owned != number);
        world.owned.push(number);
        let address = own_address(number);
        world.listener = Some(Listener { number, file, address, pending: Vec::new() });
    });
}

/// Makes a connection at a slot, or goes on with one that was begun.
pub fn connect(slot: usize, span: u64) {
    let found = with(|world| world.listener.as_ref().map(|it| (it.address, it.file)));
    let Some((address, listener)) = found.filter(|_| slot < LISTENER) else { return };
    if is_free(slot) {
        let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let number = unsafe { libc::socket(libc::AF_INET, flags, 0) };
        assert!(number >= 0);
        with(|world| {
            let (input, output) = (world.new_flow(), world.new_flow());
            let file = world.new_file(Kind::Tcp, number, Some(input), Some(output));
            world.files[file].is_new = true;
            world.slots[slot].number = number;
        });
    }
    let number = number_of(slot);
    let (file, used) = with(|world| {
        (world.file(number), world.is_used(number, &[Use::Writes, Use::ReadsOn, Use::Reads]))
    });
    let Some(file) = file.filter(|file| !used && with(|world| world.files[*file].is_new)) else {
        return;
    };
    // Known to whoever accepts it, perhaps before this call returns.
    with(|world| {
        let pending = &mut world.listener.as_mut().expect("there is one").pending;
        if !pending.iter().any(|(other, _)| *other == file) {
            pending.push((file, 0));
        }
        world.files[file].sought.push(listener);
    });
    let (task, result, op) = make(For::Fd(number, POLLOUT), Use::Writes, span, || {
        mj_connect(number, (&raw const address).cast(), ADDRESS_BYTES, span)
    });
    with(|world| {
        if op.is_closed {
            return assert_eq!(result, -EBADF);
        }
        world.note_ports();
        match -result {
            0 => {
                world.files[file].is_new = false;
                world.owned.retain(|owned| *owned != number);
                world.owned.push(number);
            }
            error @ (ECONNREFUSED | ECONNRESET | EPIPE) => {
                assert!(world.may_fail_to_connect(file), "connecting: {error}, {op:?}");
            }
            error => assert_eq!(world.may_fail(task, &op, -error), Ok(()), "connecting: {result}"),
        }
    });
}

pub fn accept(slot: usize, span: u64) {
    let number = number_of(LISTENER);
    if slot >= LISTENER || !is_free(slot) {
        return;
    }
    let (mut peer, mut length) = (here(), ADDRESS_BYTES);
    let (task, result, op) = make(For::Fd(number, POLLIN), Use::Waits, span, || {
        mj_accept(number, (&raw mut peer).cast(), &raw mut length, span)
    });
    if op.is_closed {
        return assert_eq!(result, -EBADF);
    }
    if result < 0 {
        return with(|world| {
            let verdict = world.may_fail(task, &op, result);
            let listens =
                world.file(number).is_some_and(|file| world.files[file].kind == Kind::Listener);
            if !listens && [-EINVAL, -libc::ENOTSOCK].contains(&result) {
                return; // Another file has the number.
            }
            assert!(verdict.is_ok() && result != -libc::EINTR, "{result}, {verdict:?}, {op:?}");
        });
    }
    assert_eq!(length, ADDRESS_BYTES);
    with(|world| {
        world.note_ports();
        let listener = world.listener.as_mut().expect("it has accepted");
        let place = listener.pending.iter().position(|(_, port)| *port == peer.sin_port);
        let (file, _) = listener.pending.remove(place.expect("nobody has connected"));
        let File { input, output, .. } = world.files[file];
        world.new_file(Kind::Tcp, result, output, input);
        world.owned.retain(|owned| *owned != result);
        world.owned.push(result);
    });
    if is_free(slot) {
        return with(|world| world.slots[slot].number = result);
    }
    close_number(result, Closing::Library); // Another task has used the slot meanwhile.
}

/// Closes what a finished program has left, also numbers that the library still owns.
pub fn close_all() {
    let numbers = with(|world| {
        let open: Vec<c_int> = world.numbers.keys().copied().collect();
        open.into_iter().chain(world.owned.clone()).collect::<Vec<c_int>>()
    });
    for number in numbers {
        let is_ours = with(|world| world.file(number).is_some());
        if is_ours || !is_open(number) {
            let how = if is_ours { Closing::Reset } else { Closing::Library };
            close_number(number, how);
        }
    }
}
