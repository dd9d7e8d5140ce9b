//! Channels between threads, tested through both APIs: `mj_xchan` and `sync::remote`.

mod c_abi;
mod rust_api;

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::sync::api_that_pretends;
use super::{Api, End, Events, HOUR, MS};

/// One API of channels between threads, of numbers. Copies refer to the same channel, which is never destroyed.
trait Remotes: Api {
    type Channel: Copy + Send + 'static;

    fn channel(capacity: usize) -> Self::Channel;
    fn send(channel: Self::Channel, number: u64, timeout: Option<Duration>) -> Result<(), i32>;
    fn receive(channel: Self::Channel, timeout: Option<Duration>) -> Result<u64, i32>;
    fn try_send(channel: Self::Channel, number: u64) -> Result<(), i32>;
    fn try_receive(channel: Self::Channel) -> Result<u64, i32>;
    fn close(channel: Self::Channel);
    fn len(channel: Self::Channel) -> usize;
    /// Does the first possible operation: sends a number to a channel, or receives one if there is
    /// none to send; or lets so much time pass. Returns the index, that of the time being the last one,
    /// and the received number.
    fn select(
        cases: &[(Self::Channel, Option<u64>)],
        time: Duration,
    ) -> Result<(usize, Option<u64>), i32>;
}

behaviours!(
    threads_send_to_a_task_in_order,
    tasks_of_two_schedulers_answer_each_other,
    a_sender_waits_for_room,
    calls_that_do_not_wait_say_so,
    a_closed_channel_between_threads_is_emptied_first,
    a_close_reaches_a_thread_and_a_task,
    limits_are_kept_on_threads_and_in_tasks,
    a_canceled_task_gets_what_is_there_and_else_nothing,
    a_run_goes_on_while_another_thread_may_send,
    a_select_receives_from_another_thread,
    a_select_sends_to_another_thread,
    a_select_is_told_that_a_channel_is_closed,
    sending_with_room_is_counted_in_the_budget,
    a_send_that_waits_is_one_call_of_the_budget,
    a_call_between_threads_yields_after_a_long_time,
    tasks_that_wait_are_served_in_order,
);

fn threads_send_to_a_task_in_order<D: Remotes>() {
    const EACH: u64 = 4_000;
    for capacity in [1, 5, 1000] {
        let (api, channel) = (D::new(), D::channel(capacity));
        let senders = [1, 2].map(|sender| {
            thread::spawn(move || {
                (0..EACH).for_each(|number| D::send(channel, sender << 32 | number, None).unwrap());
            })
        });
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        api.spawn(move || {
            let mut next = [0, 0, 0];
            for _ in 0..2 * EACH {
                let number = D::receive(channel, None).unwrap();
                let sender = (number >> 32) as usize;
                assert_eq!(number & u64::from(u32::MAX), next[sender]);
                next[sender] += 1;
                counted.set(counted.get() + 1);
            }
        });
        assert_eq!(api.run(), End::Completed);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!((count.get(), D::len(channel)), (2 * EACH, 0));
    }
}

fn tasks_of_two_schedulers_answer_each_other<D: Remotes>() {
    let (there, back) = (D::channel(1), D::channel(1));
    let other = thread::spawn(move || {
        let api = D::new();
        api.spawn(move || {
            while let Ok(number) = D::receive(there, None) {
                D::send(back, 2 * number, None).unwrap();
            }
        });
        api.run()
    });
    let api = D::new();
    api.spawn(move || {
        for number in 0..1000 {
            D::send(there, number, None).unwrap();
            assert_eq!(D::receive(back, None), Ok(2 * number));
        }
        D::close(there);
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(other.join().unwrap(), End::Completed);
}

fn a_sender_waits_for_room<D: Remotes>() {
    let (api, channel, events) = (D::new(), D::channel(2), Events::new());
    let log = events.clone();
    api.spawn(move || {
        for number in 0..4 {
            D::send(channel, number, None).unwrap();
            log.push(number);
        }
        log.push(100);
    });
    api.spawn(move || {
        D::yield_now().unwrap();
        events.are(&[0, 1]);
        assert_eq!(D::receive(channel, None), Ok(0));
        while events.0.borrow().len() < 3 {
            D::yield_now().unwrap();
        }
        events.are(&[0, 1, 2]);
        assert_eq!(D::len(channel), 2);
        assert_eq!((1..4).map(|_| D::receive(channel, None).unwrap()).sum::<u64>(), 6);
        while events.0.borrow().len() < 5 {
            D::yield_now().unwrap();
        }
    });
    assert_eq!(api.run(), End::Completed);
    // The same on threads.
    let channel = D::channel(1);
    let sender = thread::spawn(move || {
        (0..100).for_each(|number| D::send(channel, number, None).unwrap());
    });
    (0..100).for_each(|number| assert_eq!(D::receive(channel, None), Ok(number)));
    sender.join().unwrap();
}

fn calls_that_do_not_wait_say_so<D: Remotes>() {
    let (api, channel) = (D::new(), D::channel(1));
    let looks = move || {
        assert_eq!(D::try_receive(channel), Err(libc::EAGAIN));
        D::try_send(channel, 3).unwrap();
        assert_eq!(D::try_send(channel, 4), Err(libc::EAGAIN));
        assert_eq!((D::len(channel), D::try_receive(channel)), (1, Ok(3)));
        assert_eq!(D::len(channel), 0);
    };
    looks();
    api.spawn(looks);
    assert_eq!(api.run(), End::Completed);
    D::close(channel);
    assert_eq!(D::try_send(channel, 4), Err(libc::EPIPE));
    assert_eq!(D::try_receive(channel), Err(libc::EPIPE));
}

fn a_closed_channel_between_threads_is_emptied_first<D: Remotes>() {
    let channel = D::channel(3);
    for number in 0..3 {
        D::send(channel, number, None).unwrap();
    }
    D::close(channel);
    assert_eq!(D::send(channel, 3, None), Err(libc::EPIPE));
    let api = D::new();
    api.spawn(move || {
        assert_eq!((D::receive(channel, None), D::receive(channel, None)), (Ok(0), Ok(1)));
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!((D::receive(channel, None), D::receive(channel, None)), (Ok(2), Err(libc::EPIPE)));
}

fn a_close_reaches_a_thread_and_a_task<D: Remotes>() {
    let (api, empty, full) = (D::new(), D::channel(1), D::channel(1));
    let events = Events::new();
    D::send(full, 1, None).unwrap();
    let threads = [
        thread::spawn(move || D::receive(empty, None).map(drop)),
        thread::spawn(move || D::send(full, 2, None)),
    ];
    let log = events.clone();
    api.spawn(move || log.push(D::receive(empty, None).map(drop)));
    let log = events.clone();
    api.spawn(move || log.push(D::send(full, 2, None)));
    api.spawn(move || {
        D::sleep(10 * MS).unwrap();
        D::close(empty);
        D::close(full);
    });
    assert_eq!(api.run(), End::Completed);
    events.are(&[Err(libc::EPIPE); 2]);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Err(libc::EPIPE));
    }
    assert_eq!(D::receive(full, None), Ok(1));
}

fn limits_are_kept_on_threads_and_in_tasks<D: Remotes>() {
    let (api, empty, full) = (D::new(), D::channel(1), D::channel(1));
    D::send(full, 1, None).unwrap();
    let waits = move || {
        let began = Instant::now();
        assert_eq!(D::receive(empty, Some(3 * MS)), Err(libc::ETIMEDOUT));
        assert_eq!(D::send(full, 2, Some(3 * MS)), Err(libc::ETIMEDOUT));
        assert!(began.elapsed() >= 6 * MS);
        assert_eq!(D::receive(empty, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
    };
    waits();
    api.spawn(waits);
    assert_eq!(api.run(), End::Completed);
    assert_eq!((D::len(empty), D::receive(full, None)), (0, Ok(1)));
}

fn a_canceled_task_gets_what_is_there_and_else_nothing<D: Remotes>() {
    for is_there in [false, true] {
        let (api, channel, events) = (api_that_pretends::<D>(), D::channel(1), Events::new());
        let log = events.clone();
        let waiting = api.spawn(move || log.push(D::receive(channel, Some(HOUR))));
        api.spawn(move || {
            if is_there {
                D::send(channel, 5, None).unwrap();
            }
            D::cancel(&waiting);
        });
        assert_eq!(api.run(), End::Completed);
        events.are(&[if is_there { Ok(5) } else { Err(libc::ECANCELED) }]);
        assert_eq!(D::len(channel), 0);
    }
}

fn a_run_goes_on_while_another_thread_may_send<D: Remotes>() {
    let (api, channel) = (D::new(), D::channel(1));
    api.spawn(move || assert_eq!(D::receive(channel, None), Ok(4)));
    let sender = thread::spawn(move || {
        thread::sleep(5 * MS);
        D::send(channel, 4, None)
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(sender.join().unwrap(), Ok(()));
    // When nobody waits there, it ends as ever.
    api.spawn(|| {
        let _ = D::park(None);
    });
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
}

fn a_select_receives_from_another_thread<D: Remotes>() {
    let (api, first, second) = (D::new(), D::channel(1), D::channel(1));
    let sender = thread::spawn(move || {
        thread::sleep(5 * MS);
        D::send(second, 8, None)
    });
    api.spawn(move || {
        let cases = [(first, None), (second, None)];
        assert_eq!(D::select(&cases, HOUR), Ok((1, Some(8))));
        let began = Instant::now();
        assert_eq!(D::select(&cases, 3 * MS), Ok((2, None)));
        assert!(began.elapsed() >= 3 * MS);
        D::send(first, 1, None).unwrap();
        assert_eq!(D::select(&cases, HOUR), Ok((0, Some(1))));
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(sender.join().unwrap(), Ok(()));
}

fn a_select_sends_to_another_thread<D: Remotes>() {
    let (api, full, empty) = (D::new(), D::channel(1), D::channel(1));
    D::send(full, 1, None).unwrap();
    let receiver = thread::spawn(move || {
        thread::sleep(5 * MS);
        (D::receive(full, None), D::receive(full, None))
    });
    api.spawn(move || {
        let cases = [(full, Some(2)), (empty, None)];
        assert_eq!(D::select(&cases, HOUR), Ok((0, None)));
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(receiver.join().unwrap(), (Ok(1), Ok(2)));
    assert_eq!(D::len(empty), 0);
}

fn a_select_is_told_that_a_channel_is_closed<D: Remotes>() {
    let (api, channel, open) = (D::new(), D::channel(1), D::channel(1));
    let closer = thread::spawn(move || {
        thread::sleep(5 * MS);
        D::close(channel);
    });
    api.spawn(move || {
        assert_eq!(D::select(&[(open, None), (channel, None)], HOUR), Err(libc::EPIPE));
        assert_eq!(D::select(&[(channel, Some(1))], HOUR), Err(libc::EPIPE));
    });
    assert_eq!(api.run(), End::Completed);
    closer.join().unwrap();
}

fn sending_with_room_is_counted_in_the_budget<D: Remotes>() {
    let (api, channel) = (api_that_pretends::<D>(), D::channel(1000));
    let sent = Rc::new(Cell::new(0));
    let count = sent.clone();
    api.spawn(move || {
        for number in 0..500 {
            D::send(channel, number, None).unwrap();
            count.set(number + 1);
        }
    });
    api.spawn(move || assert_eq!(sent.get(), 64));
    assert_eq!(api.run(), End::Completed);
}

/// The last one of a budget suspends once; the next one yields first.
fn a_send_that_waits_is_one_call_of_the_budget<D: Remotes>() {
    let (room, full) = (D::channel(1000), D::channel(1));
    D::try_send(full, 0).unwrap();
    let (api, turns, over) =
        (api_that_pretends::<D>(), Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let (others, is_over) = (turns.clone(), over.clone());
    api.spawn(move || {
        while !is_over.get() {
            others.set(others.get() + 1);
            D::yield_now().unwrap();
        }
    });
    api.spawn(move || {
        for (calls_before, suspends) in [(63, 1), (64, 2)] {
            D::yield_now().unwrap();
            turns.set(0);
            (0..calls_before).for_each(|number| D::send(room, number, None).unwrap());
            assert_eq!(D::send(full, 1, Some(Duration::ZERO)), Err(libc::ETIMEDOUT));
            assert_eq!(turns.get(), suspends, "after {calls_before} calls");
        }
        over.set(true);
    });
    assert_eq!(api.run(), End::Completed);
}

type Call = (&'static str, Box<dyn Fn()>);

/// As `a_call_after_a_long_time_yields`, of channels of one scheduler.
fn a_call_between_threads_yields_after_a_long_time<D: Remotes>() {
    let (room, elements, both) = (D::channel(1000), D::channel(1000), D::channel(1));
    (0..1000).for_each(|_| D::try_send(elements, 1).unwrap());
    let calls: [Call; 3] = [
        ("send", Box::new(move || D::send(room, 1, None).unwrap())),
        ("receive", Box::new(move || assert_eq!(D::receive(elements, None), Ok(1)))),
        (
            "select",
            Box::new(move || assert!(D::select(&[(both, Some(2)), (both, None)], HOUR).is_ok())),
        ),
    ];
    for (name, call) in calls {
        let (api, others, count) = (D::new(), Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let (seen, counted) = (others.clone(), count.clone());
        api.spawn(move || {
            while counted.get() < 1000 && !seen.get() {
                let began = Instant::now();
                while began.elapsed() < Duration::from_micros(20) {}
                call();
                counted.set(counted.get() + 1);
            }
        });
        api.spawn(move || others.set(true));
        assert_eq!(api.run(), End::Completed);
        assert!(count.get() <= 10, "{name}: {} calls of 20 us each", count.get());
    }
}

fn tasks_that_wait_are_served_in_order<D: Remotes>() {
    let (api, channel, events) = (api_that_pretends::<D>(), D::channel(2), Events::new());
    for task in 0..6 {
        let log = events.clone();
        api.spawn(move || log.push((task, D::receive(channel, None).unwrap())));
    }
    let sender = thread::spawn(move || {
        thread::sleep(5 * MS);
        (0..6).for_each(|number| D::send(channel, number, None).unwrap());
    });
    assert_eq!(api.run(), End::Completed);
    sender.join().unwrap();
    events.are(&[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
}
