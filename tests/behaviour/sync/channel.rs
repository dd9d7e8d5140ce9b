//! Channels.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::{Events, MS, Sync, api_that_pretends, settle};

behaviours!(
    a_channel_keeps_its_order_and_its_bound,
    a_channel_without_room_hands_over,
    a_closed_channel_is_emptied_first,
    a_channel_has_time_limits,
    a_channels_buffer_goes_round,
    senders_wait_in_order,
    receivers_wait_in_order,
    a_channel_loses_and_doubles_nothing,
);

fn a_channel_keeps_its_order_and_its_bound<D: Sync>() {
    // By the system's clock a send with room could yield, if the machine is busy.
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let channel = api.channel(2);
    let log = events.clone();
    api.spawn(move || {
        for number in 0..5 {
            D::send(channel, number, None).unwrap();
            log.push(("sent", number));
        }
    });
    let log = events.clone();
    api.spawn(move || {
        assert_eq!(D::try_send(channel, 9), Err(libc::EAGAIN));
        for _ in 0..5 {
            let number = D::receive(channel, None).unwrap();
            log.push(("received", number));
        }
        assert_eq!(D::try_receive(channel), Err(libc::EAGAIN));
    });
    api.run();
    let all = events.0.borrow();
    let of = |what: &str| {
        let numbers = all.iter().filter(|(kind, _)| *kind == what).map(|(_, number)| *number);
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(of("sent"), [0, 1, 2, 3, 4]);
    assert_eq!(of("received"), [0, 1, 2, 3, 4]);
    assert_eq!(all[..3], [("sent", 0), ("sent", 1), ("received", 0)]);
}

fn a_channel_without_room_hands_over<D: Sync>() {
    let (api, events) = (D::new(), Events::new());
    let channel = api.channel(0);
    let log = events.clone();
    api.spawn(move || {
        assert_eq!(D::try_send(channel, 1), Err(libc::EAGAIN));
        D::send(channel, 7, None).unwrap();
        log.push(0);
    });
    let log = events.clone();
    api.spawn(move || {
        D::sleep(2 * MS).unwrap();
        log.push(D::receive(channel, None).unwrap());
    });
    api.run();
    events.are(&[7, 0]);
}

fn a_closed_channel_is_emptied_first<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new()); // As above.
    let (channel, empty, full) = (api.channel(2), api.channel(1), api.channel(0));
    D::try_send(channel, 5).unwrap();
    let log = events.clone();
    api.spawn(move || log.push(D::receive(empty, None)));
    let log = events.clone();
    api.spawn(move || log.push(D::send(full, 1, None).map(|()| 0)));
    let log = events.clone();
    api.spawn(move || {
        for channel in [channel, empty, full] {
            D::close(channel);
        }
        log.push(D::send(channel, 6, None).map(|()| 0));
        log.push(D::receive(channel, None));
        log.push(D::receive(channel, None));
    });
    api.run();
    let closed = Err(libc::EPIPE);
    events.are(&[closed, Ok(5), closed, closed, closed]);
}

fn a_channel_has_time_limits<D: Sync>() {
    let (api, events) = (D::new(), Events::new());
    let (channel, log) = (api.channel(0), events.clone());
    api.spawn(move || {
        let began = Instant::now();
        log.push(D::receive(channel, Some(2 * MS)));
        log.push(D::send(channel, 1, Some(2 * MS)).map(|()| 0));
        assert!(began.elapsed() >= 4 * MS);
    });
    api.run();
    events.are(&[Err(libc::ETIMEDOUT); 2]);
}

fn a_channels_buffer_goes_round<D: Sync>() {
    let api = D::new();
    let channel = api.channel(3);
    api.spawn(move || {
        let (mut sent, mut received) = (0, 0);
        for round in 0..20 {
            while D::try_send(channel, sent).is_ok() {
                sent += 1;
            }
            assert_eq!(sent - received, 3);
            for _ in 0..=round % 3 {
                assert_eq!(D::receive(channel, None), Ok(received));
                received += 1;
            }
        }
    });
    api.run();
}

/// What was received makes room for the element of the first that waits, and for nobody else's.
fn senders_wait_in_order<D: Sync>() {
    for capacity in 0..3 {
        let (api, events) = (D::new(), Events::new());
        let (channel, inner, log) = (api.channel(capacity), api.clone(), events.clone());
        api.spawn(move || {
            let capacity = capacity as u64;
            (0..capacity).for_each(|number| D::try_send(channel, number).unwrap());
            for number in capacity..capacity + 4 {
                let log = log.clone();
                inner.spawn(move || {
                    D::send(channel, number, None).unwrap();
                    log.push(number);
                });
            }
            settle::<D>();
            for number in 0..4 {
                assert_eq!(D::try_send(channel, 77), Err(libc::EAGAIN));
                assert_eq!(D::receive(channel, None), Ok(number));
                assert_eq!(D::try_send(channel, 77), Err(libc::EAGAIN));
                log.are(&(capacity..capacity + number).collect::<Vec<_>>());
                settle::<D>();
                log.are(&(capacity..=capacity + number).collect::<Vec<_>>());
            }
            for number in 4..4 + capacity {
                assert_eq!(D::try_receive(channel), Ok(number));
            }
            assert_eq!(D::try_receive(channel), Err(libc::EAGAIN));
        });
        api.run();
    }
}

/// Nobody takes from them what they were given.
fn receivers_wait_in_order<D: Sync>() {
    for capacity in 0..3 {
        let (api, events) = (D::new(), Events::new());
        let channel = api.channel(capacity);
        for name in 0..4 {
            let log = events.clone();
            api.spawn(move || log.push((name, D::receive(channel, None).unwrap())));
        }
        api.spawn(move || {
            for number in 10..14 {
                D::try_send(channel, number).unwrap();
            }
            assert_eq!(D::try_receive(channel), Err(libc::EAGAIN));
        });
        api.run();
        events.are(&[(0, 10), (1, 11), (2, 12), (3, 13)]);
    }
}

fn a_channel_loses_and_doubles_nothing<D: Sync>() {
    const SHORT: std::time::Duration = std::time::Duration::from_micros(3);
    for capacity in [0, 1, 3, 7] {
        let api = D::new();
        let channel = api.channel(capacity);
        let sums = Rc::new(RefCell::new([0, 0]));
        let senders: Vec<D::Task> = (0..20)
            .map(|_| {
                let sums = sums.clone();
                api.spawn(move || {
                    for number in 1..=100 {
                        match D::send(channel, number, (number % 5 == 0).then_some(SHORT)) {
                            Ok(()) => sums.borrow_mut()[0] += number,
                            Err(error) => assert_eq!(error, libc::ETIMEDOUT),
                        }
                        if number % 7 == 0 {
                            D::yield_now().unwrap();
                        }
                    }
                })
            })
            .collect();
        for _ in 0..10 {
            let sums = sums.clone();
            api.spawn(move || {
                loop {
                    match D::receive(channel, Some(SHORT)) {
                        Ok(number) => sums.borrow_mut()[1] += number,
                        Err(libc::EPIPE) => break,
                        Err(error) => assert_eq!(error, libc::ETIMEDOUT),
                    }
                }
            });
        }
        api.spawn(move || {
            senders.iter().for_each(|sender| D::join(sender, None).unwrap());
            D::close(channel);
        });
        api.run();
        let [sent, received] = *sums.borrow();
        assert!(sent > 0);
        assert_eq!(received, sent);
    }
}
