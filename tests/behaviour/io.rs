//! Reading, writing, accepting and connecting, tested through both APIs.

mod c_abi;
mod poll;
mod rust_api;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Api, End, Events, HOUR, MS};

/// One API of I/O. A time limit is of the whole call. Errors are errno values; that the end comes too early is
/// ENODATA.
trait Io: Api {
    /// A stream socket, which is closed when it is dropped.
    type Socket: 'static;
    type Listener: 'static;

    fn pair() -> (Self::Socket, Self::Socket);
    fn read(socket: &Self::Socket, to: &mut [u8], limit: Option<Duration>) -> Result<usize, i32>;
    fn read_exact(socket: &Self::Socket, to: &mut [u8], limit: Option<Duration>)
    -> Result<(), i32>;
    fn write_all(socket: &Self::Socket, bytes: &[u8], limit: Option<Duration>) -> Result<(), i32>;
    fn end_writing(socket: &Self::Socket);
    /// Listens at a port of this machine.
    fn listen() -> (Self::Listener, SocketAddr);
    fn accept(listener: &Self::Listener, limit: Option<Duration>) -> Result<Self::Socket, i32>;
    fn connect(address: SocketAddr, limit: Option<Duration>) -> Result<Self::Socket, i32>;
}

behaviours!(
    a_read_gives_what_is_there,
    an_exact_read_waits_for_all,
    an_exact_read_is_short_at_the_end_only,
    a_write_goes_on_until_all_is_written,
    the_end_comes_after_all_that_was_written,
    who_writes_to_nobody_is_told,
    a_read_has_a_limit,
    the_limit_of_an_exact_read_is_for_all_of_it,
    the_limit_of_a_write_is_for_all_of_it,
    nothing_is_lost_to_a_limit,
    an_accept_has_a_limit,
    a_cancellation_ends_each_call,
    a_canceled_task_reads_what_is_there,
    a_canceled_task_is_told_beside_a_peer_that_never_lets_up,
    a_deadline_ends_each_call,
    a_wake_up_ends_no_read,
    who_was_woken_for_nothing_waits_for_events,
    an_accept_meets_a_connect,
    a_refused_connection_is_an_error,
    a_peer_that_never_lets_up_does_not_stop_others,
    outside_a_task_nothing_waits,
);

const LATE: Result<(), i32> = Err(libc::ETIMEDOUT);
const TOLD: Result<(), i32> = Err(libc::ECANCELED);

/// More than the buffers of a socket hold.
const MUCH: usize = 4 << 20;

/// Runs a test as the body of a task. All tasks must end.
fn in_a_task<D: Io>(body: impl FnOnce(D) + 'static) {
    let api = D::new();
    let inner = api.clone();
    api.spawn(move || body(inner));
    assert_eq!(api.run(), End::Completed);
}

fn a_read_gives_what_is_there<D: Io>() {
    in_a_task::<D>(|_| {
        let (one, other) = D::pair();
        let mut buffer = [0; 8];
        D::write_all(&one, b"what is there", None).unwrap();
        assert_eq!(D::read(&other, &mut buffer, None), Ok(8));
        assert_eq!(&buffer, b"what is ");
        assert_eq!(D::read(&other, &mut buffer, None), Ok(5));
        assert_eq!(&buffer[..5], b"there");
        assert_eq!(D::read(&other, &mut [], None), Ok(0));
    });
}

fn an_exact_read_waits_for_all<D: Io>() {
    in_a_task::<D>(|api| {
        let (one, other) = D::pair();
        api.spawn(move || {
            for part in ["in ", "three ", "parts"] {
                D::yield_now().unwrap();
                D::write_all(&one, part.as_bytes(), None).unwrap();
            }
        });
        let mut buffer = [0; 14];
        D::read_exact(&other, &mut buffer, Some(HOUR)).unwrap();
        assert_eq!(&buffer, b"in three parts");
    });
}

fn an_exact_read_is_short_at_the_end_only<D: Io>() {
    in_a_task::<D>(|_| {
        let (one, other) = D::pair();
        D::write_all(&one, b"short", None).unwrap();
        D::end_writing(&one);
        let mut buffer = [0; 8];
        assert_eq!(D::read_exact(&other, &mut buffer, Some(HOUR)), Err(libc::ENODATA));
        assert_eq!(&buffer[..5], b"short");
        D::write_all(&other, b"still open", None).unwrap();
        assert_eq!(D::read(&one, &mut buffer, None), Ok(8));
    });
}

fn a_write_goes_on_until_all_is_written<D: Io>() {
    in_a_task::<D>(|api| {
        let (one, other) = D::pair();
        api.spawn(move || {
            let bytes: Vec<u8> = (0..MUCH).map(|place| (place / 251) as u8).collect();
            D::write_all(&one, &bytes, None).unwrap();
        });
        let (mut buffer, mut read) = (vec![0; 100_000], 0);
        loop {
            let count = D::read(&other, &mut buffer, None).unwrap();
            for (place, byte) in (read..).zip(&buffer[..count]) {
                assert_eq!(*byte, (place / 251) as u8, "at {place}");
            }
            read += count;
            if count == 0 {
                break;
            }
        }
        assert_eq!(read, MUCH);
    });
}

fn the_end_comes_after_all_that_was_written<D: Io>() {
    in_a_task::<D>(|_| {
        let (one, other) = D::pair();
        D::write_all(&one, b"last", None).unwrap();
        drop(one);
        let mut buffer = [0; 8];
        assert_eq!(D::read(&other, &mut buffer, None), Ok(4));
        for _ in 0..3 {
            assert_eq!(D::read(&other, &mut buffer, None), Ok(0));
        }
    });
}

fn who_writes_to_nobody_is_told<D: Io>() {
    in_a_task::<D>(|api| {
        let (one, other) = D::pair();
        api.spawn(move || {
            D::yield_now().unwrap();
            drop(other); // The writer waits for room.
        });
        assert_eq!(D::write_all(&one, &vec![0; MUCH], None), Err(libc::EPIPE));
        assert_eq!(D::write_all(&one, b"x", None), Err(libc::EPIPE));
    });
}

/// Checks that a call fails with this error, not before its limit.
#[track_caller]
fn takes_at_least(limit: Duration, call: impl FnOnce() -> Result<(), i32>) {
    let began = Instant::now();
    assert_eq!(call(), LATE);
    assert!(began.elapsed() >= limit, "early: {:?}", began.elapsed());
}

fn a_read_has_a_limit<D: Io>() {
    in_a_task::<D>(|_| {
        let (_one, other) = D::pair();
        let mut buffer = [0; 8];
        takes_at_least(3 * MS, || D::read(&other, &mut buffer, Some(3 * MS)).map(drop));
        takes_at_least(Duration::ZERO, || {
            D::read(&other, &mut buffer, Some(Duration::ZERO)).map(drop)
        });
    });
}

/// Writes a byte again and again, until `stop` is set.
fn drip<D: Io>(api: &D, socket: D::Socket) -> Rc<Cell<bool>> {
    let stop = Rc::new(Cell::new(false));
    let told = stop.clone();
    api.spawn(move || {
        while !told.get() {
            D::write_all(&socket, b"x", None).unwrap();
            D::sleep(MS / 4).unwrap();
        }
    });
    stop
}

fn the_limit_of_an_exact_read_is_for_all_of_it<D: Io>() {
    in_a_task::<D>(|api: D| {
        let (one, other) = D::pair();
        let stop = drip(&api, one);
        let mut buffer = vec![0; 1 << 20];
        takes_at_least(5 * MS, || D::read_exact(&other, &mut buffer, Some(5 * MS)));
        stop.set(true);
        D::sleep(MS).unwrap(); // Nobody writes to what is closed.
    });
}

fn the_limit_of_a_write_is_for_all_of_it<D: Io>() {
    in_a_task::<D>(|api: D| {
        let (one, other) = D::pair();
        let stop = Rc::new(Cell::new(false));
        let told = stop.clone();
        api.spawn(move || {
            let mut buffer = [0; 512];
            while !told.get() {
                D::read(&other, &mut buffer, None).unwrap();
                D::sleep(MS / 4).unwrap();
            }
        });
        takes_at_least(5 * MS, || D::write_all(&one, &vec![0; MUCH], Some(5 * MS)));
        stop.set(true);
    });
}

fn nothing_is_lost_to_a_limit<D: Io>() {
    in_a_task::<D>(|_| {
        let (one, other) = D::pair();
        let bytes: Vec<u8> = (0..MUCH).map(|place| (place / 251) as u8).collect();
        assert_eq!(D::write_all(&one, &bytes, Some(MS)), LATE);
        drop(one);
        let (mut buffer, mut read) = (vec![0; 100_000], 0);
        loop {
            let count = D::read(&other, &mut buffer, None).unwrap();
            assert_eq!(buffer[..count], bytes[read..read + count]);
            read += count;
            if count == 0 {
                break;
            }
        }
        assert!(read > 0 && read < MUCH);
    });
}

fn an_accept_has_a_limit<D: Io>() {
    in_a_task::<D>(|_| {
        let (listener, _) = D::listen();
        takes_at_least(2 * MS, || D::accept(&listener, Some(2 * MS)).map(drop));
    });
}

/// The calls that wait, of which none can be done.
fn calls_that_wait<D: Io>() -> [Box<dyn FnMut() -> Result<(), i32>>; 4] {
    let (one, other) = D::pair();
    let (full, unread) = D::pair();
    let _ = D::write_all(&full, &vec![0; MUCH], Some(Duration::ZERO));
    let (listener, _) = D::listen();
    let (one, other) = (Rc::new(one), Rc::new(other));
    let kept = (one.clone(), unread);
    [
        Box::new({
            let other = other.clone();
            move || D::read(&other, &mut [0; 8], None).map(drop)
        }),
        Box::new(move || D::read_exact(&other, &mut [0; 8], None)),
        Box::new(move || {
            let _ = &kept;
            D::write_all(&full, &vec![0; MUCH], None)
        }),
        Box::new(move || D::accept(&listener, None).map(drop)),
    ]
}

fn a_cancellation_ends_each_call<D: Io>() {
    in_a_task::<D>(|api| {
        let events = Events::new();
        let calls = calls_that_wait::<D>();
        let count = calls.len();
        let tasks = calls.map(|mut call| {
            let log = events.clone();
            api.spawn(move || {
                log.push(call());
                log.push(call()); // And so does each later one.
            })
        });
        D::sleep(MS).unwrap();
        events.are(&[]);
        tasks.iter().for_each(D::cancel);
        for task in &tasks {
            D::join(task, None).unwrap();
        }
        events.are(&vec![TOLD; 2 * count]);
    });
}

fn a_canceled_task_reads_what_is_there<D: Io>() {
    in_a_task::<D>(|api: D| {
        let (one, other) = D::pair();
        let events = Events::new();
        let log = events.clone();
        let reads = api.spawn(move || {
            let mut buffer = [0; 4];
            for _ in 0..3 {
                log.push(D::read(&other, &mut buffer, None));
            }
        });
        D::yield_now().unwrap(); // It waits.
        D::write_all(&one, b"what is", None).unwrap();
        D::cancel(&reads);
        D::join(&reads, None).unwrap();
        events.are(&[Ok(4), Ok(3), Err(libc::ECANCELED)]);
    });
}

/// There is nothing when it begins to wait, and something whenever it looks again.
fn a_canceled_task_is_told_beside_a_peer_that_never_lets_up<D: Io>() {
    in_a_task::<D>(|api: D| {
        let (one, other) = D::pair();
        let (count, told) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (reads, is_told) = (count.clone(), told.clone());
        let canceled = api.spawn(move || {
            while D::read(&other, &mut [0; 4], None).is_ok() {
                reads.set(reads.get() + 1);
            }
            is_told.set(true);
        });
        D::yield_now().unwrap(); // It waits.
        D::cancel(&canceled);
        while !told.get() {
            let _ = D::write_all(&one, b"x", None); // It may just have been told.
            assert!(count.get() < 1000);
            D::yield_now().unwrap();
        }
        assert!(count.get() > 0);
    });
}

fn a_deadline_ends_each_call<D: Io>() {
    in_a_task::<D>(|_| {
        for mut call in calls_that_wait::<D>() {
            takes_at_least(2 * MS, || {
                D::set_deadline(Some(2 * MS)).unwrap(); // It passes from here on.
                call()
            });
            takes_at_least(Duration::ZERO, &mut call); // And so does each later one.
            D::set_deadline(None).unwrap();
        }
        let (one, other) = D::pair();
        D::write_all(&one, b"there", None).unwrap();
        D::set_deadline(Some(Duration::ZERO)).unwrap();
        assert_eq!(D::read(&other, &mut [0; 8], None), Ok(5)); // It need not wait.
        D::set_deadline(None).unwrap();
    });
}

fn a_wake_up_ends_no_read<D: Io>() {
    in_a_task::<D>(|api: D| {
        let (one, other) = D::pair();
        let events = Events::new();
        let log = events.clone();
        let reads = api.spawn(move || log.push(D::read(&other, &mut [0; 8], Some(HOUR))));
        for _ in 0..5 {
            D::yield_now().unwrap();
            D::wake(&reads);
        }
        events.are(&[]);
        D::write_all(&one, b"now", None).unwrap();
        D::join(&reads, None).unwrap();
        events.are(&[Ok(3)]);
    });
}

/// Each byte wakes both readers, and one of them gets it.
fn who_was_woken_for_nothing_waits_for_events<D: Io>() {
    in_a_task::<D>(|api: D| {
        let (one, other) = D::pair();
        let other = Rc::new(other);
        let read = Rc::new(Cell::new(0));
        for _ in 0..2 {
            let (socket, read) = (other.clone(), read.clone());
            api.spawn(move || {
                while D::read(&socket, &mut [0], None).unwrap() == 1 {
                    read.set(read.get() + 1);
                }
            });
        }
        D::yield_now().unwrap();
        for bytes in 1..=50 {
            D::write_all(&one, b"x", None).unwrap();
            while read.get() < bytes {
                D::sleep(MS / 10).unwrap();
            }
        }
        let before = api.turns();
        D::sleep(100 * MS).unwrap();
        let turns = api.turns() - before;
        assert!(turns < 10, "who waits had {turns} turns");
    });
}

fn an_accept_meets_a_connect<D: Io>() {
    in_a_task::<D>(|api| {
        let (listener, address) = D::listen();
        for _ in 0..20 {
            api.spawn(move || {
                let socket = D::connect(address, Some(HOUR)).unwrap();
                let mut buffer = [0; 5];
                D::write_all(&socket, b"hello", None).unwrap();
                D::read_exact(&socket, &mut buffer, Some(HOUR)).unwrap();
                assert_eq!(&buffer, b"hello");
                assert_eq!(D::read(&socket, &mut buffer, Some(HOUR)), Ok(0));
            });
        }
        for _ in 0..20 {
            let socket = D::accept(&listener, Some(HOUR)).unwrap();
            api.spawn(move || {
                let mut buffer = [0; 5];
                D::read_exact(&socket, &mut buffer, Some(HOUR)).unwrap();
                D::write_all(&socket, &buffer, None).unwrap();
            });
        }
    });
}

fn a_refused_connection_is_an_error<D: Io>() {
    in_a_task::<D>(|_| {
        let (_listener, address) = D::listen();
        let client = std::net::TcpStream::connect(address).unwrap();
        let address = client.local_addr().unwrap(); // It is taken, and nobody listens there.
        assert_eq!(D::connect(address, Some(HOUR)).map(drop), Err(libc::ECONNREFUSED));
        let nowhere = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::BROADCAST, 1));
        assert!(D::connect(nowhere, Some(HOUR)).is_err());
    });
}

fn a_peer_that_never_lets_up_does_not_stop_others<D: Io>() {
    in_a_task::<D>(|api: D| {
        let (one, other) = D::pair();
        let (stop, turns) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u32)));
        let (told, seen) = (stop.clone(), turns.clone());
        api.spawn(move || {
            let mut buffer = [0; 8];
            // There is something whenever it reads.
            D::write_all(&one, &[1; 16], None).unwrap();
            while !told.get() {
                D::write_all(&one, &[1; 8], None).unwrap();
                D::read_exact(&other, &mut buffer, None).unwrap();
            }
        });
        api.spawn(move || {
            while seen.get() < 100 {
                D::yield_now().unwrap();
                seen.set(seen.get() + 1);
            }
        });
        D::sleep(MS).unwrap();
        while turns.get() < 100 {
            D::yield_now().unwrap();
        }
        stop.set(true);
    });
}

fn outside_a_task_nothing_waits<D: Io>() {
    let (one, other) = D::pair();
    assert_eq!(D::read(&other, &mut [0; 8], None), Err(libc::EPERM));
    drop(one);
}
