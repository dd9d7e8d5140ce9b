//! Waiting for the first of several channels.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::{Events, MS, Sync, api_that_pretends, settle};

behaviours!(
    a_select_does_what_is_possible_first,
    ready_channels_are_chosen_uniformly,
    a_select_leaves_all_when_one_is_done,
    selects_queue_like_all_others,
    selects_meet_each_other,
    a_channel_may_be_in_several_cases,
    a_close_ends_a_select,
    selects_lose_and_double_nothing,
);

fn a_select_does_what_is_possible_first<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (from, to) = (api.channel(0), api.channel(0));
    let log = events.clone();
    api.spawn(move || {
        let receive_or_send = |number, timeout| {
            D::select(&[(from, None), (to, Some(number))], timeout).map(|(_, received)| received)
        };
        log.push(receive_or_send(1, Some(MS)));
        log.push(receive_or_send(2, None));
        log.push(receive_or_send(3, None));
        D::close(from);
        log.push(receive_or_send(4, None));
    });
    let log = events.clone();
    api.spawn(move || {
        D::sleep(3 * MS).unwrap();
        D::send(from, 10, None).unwrap();
        log.push(D::receive(to, None).map(Some));
        // The select leaves behind neither the unsent number nor the wait.
        log.push(D::receive(to, Some(MS)).map(Some));
    });
    api.run();
    let (timed_out, closed) = (Err(libc::ETIMEDOUT), Err(libc::EPIPE));
    let mut all = events.0.borrow().clone();
    all[1..].sort();
    let mut expected = [timed_out, Ok(Some(10)), Ok(None), closed, Ok(Some(3)), timed_out];
    expected[1..].sort();
    assert_eq!(all, expected);
}

/// One of four is not ready. Only every second select counts: a choice that alternates is not random.
fn ready_channels_are_chosen_uniformly<D: Sync>() {
    let api = api_that_pretends::<D>();
    let channels = [(); 4].map(|()| api.channel(1));
    api.spawn(move || {
        D::try_send(channels[1], 1).unwrap();
        let mut chosen = [0; 4];
        for _ in 0..3000 {
            for counts in [true, false] {
                let (index, _) = D::select(&channels.map(|to| (to, Some(1))), None).unwrap();
                D::try_receive(channels[index]).unwrap();
                chosen[index] += usize::from(counts);
            }
        }
        // A third each: 1000, with a standard deviation of 26.
        assert_eq!(chosen[1], 0);
        for index in [0, 2, 3] {
            assert!(chosen[index] > 850, "{chosen:?}");
        }
    });
    api.run();
}

/// It waits for all channels, and for none of them once one has ended the wait.
fn a_select_leaves_all_when_one_is_done<D: Sync>() {
    for done in 0..4 {
        let api = api_that_pretends::<D>();
        let channels = [(); 4].map(|()| api.channel(0));
        let numbers = [None, Some(21), None, Some(23)];
        let cases: Vec<_> = channels.into_iter().zip(numbers).collect();
        api.spawn(move || {
            let received = numbers[done].is_none().then_some(60);
            assert_eq!(D::select(&cases, None), Ok((done, received)));
        });
        api.spawn(move || {
            // The peer's operation on a channel: it succeeds if the select waits there.
            let meet = |index: usize| match numbers[index] {
                None => D::try_send(channels[index], 60),
                Some(number) => D::try_receive(channels[index]).map(|got| assert_eq!(got, number)),
            };
            meet(done).unwrap();
            // It has left them though it has not run yet.
            for index in 0..4 {
                assert_eq!(meet(index), Err(libc::EAGAIN), "channel {index}");
            }
        });
        api.run();
    }
}

fn selects_queue_like_all_others<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let [left, right] = [(); 2].map(|()| api.channel(0));
    for cases in [[left, right], [right, left]] {
        let log = events.clone();
        api.spawn(move || {
            log.push(D::select(&cases.map(|channel| (channel, None)), None));
        });
    }
    let log = events.clone();
    api.spawn(move || log.push(D::receive(right, None).map(|number| (9, Some(number)))));
    api.spawn(move || (5..8).for_each(|number| D::try_send(right, number).unwrap()));
    api.run();
    events.are(&[Ok((1, Some(5))), Ok((0, Some(6))), Ok((9, Some(7)))]);
}

/// Two selects match each other; but a select does not match itself.
fn selects_meet_each_other<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let [common, other] = [(); 2].map(|()| api.channel(0));
    let log = events.clone();
    api.spawn(move || {
        log.push(D::select(&[(common, None), (common, Some(8))], None));
    });
    let log = events.clone();
    api.spawn(move || {
        D::yield_now().unwrap();
        log.are(&[]);
        log.push(D::select(&[(other, None), (common, Some(9))], None));
    });
    api.run();
    events.are(&[Ok((1, None)), Ok((0, Some(9)))]);
}

fn a_channel_may_be_in_several_cases<D: Sync>() {
    let api = api_that_pretends::<D>();
    let channel = api.channel(0);
    api.spawn(move || {
        let (index, received) = D::select(&[(channel, None); 3], None).unwrap();
        assert!(index < 3 && received == Some(4));
    });
    api.spawn(move || {
        D::try_send(channel, 4).unwrap();
        assert_eq!(D::try_send(channel, 4), Err(libc::EAGAIN));
    });
    api.run();
}

fn a_close_ends_a_select<D: Sync>() {
    for number in [None, Some(3)] {
        let (api, events) = (api_that_pretends::<D>(), Events::new());
        let [open, closed] = [(); 2].map(|()| api.channel(0));
        let log = events.clone();
        api.spawn(move || log.push(D::select(&[(open, None), (closed, number)], None)));
        api.spawn(move || {
            D::close(closed);
            assert_eq!(D::try_send(open, 1), Err(libc::EAGAIN));
        });
        api.run();
        events.are(&[Err(libc::EPIPE)]);
    }
}

fn selects_lose_and_double_nothing<D: Sync>() {
    let api = api_that_pretends::<D>();
    let channels = [(); 4].map(|()| api.channel(1));
    let (over, sums) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new([0, 0])));
    for seed in 1..=20 {
        let (over, sums) = (over.clone(), sums.clone());
        api.spawn(move || {
            let mut state: u64 = seed * 7919;
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            while !over.get() {
                let cases = [(); 3].map(|()| {
                    let number = random() >> 40;
                    (channels[random() as usize % 4], (number % 2 == 0).then_some(number))
                });
                match D::select(&cases, Some(Duration::from_nanos(random() % 20_000))) {
                    Ok((index, None)) => sums.borrow_mut()[0] += cases[index].1.unwrap(),
                    Ok((_, Some(number))) => sums.borrow_mut()[1] += number,
                    Err(error) => assert_eq!(error, libc::ETIMEDOUT),
                }
                if random() % 8 == 0 {
                    D::yield_now().unwrap();
                }
            }
        });
    }
    let all = sums.clone();
    api.spawn(move || {
        for _ in 0..50 {
            settle::<D>();
        }
        over.set(true);
        D::sleep(5 * MS).unwrap();
        for channel in channels {
            while let Ok(number) = D::try_receive(channel) {
                all.borrow_mut()[1] += number;
            }
        }
    });
    api.run();
    let [sent, received] = *sums.borrow();
    assert!(sent > 0);
    assert_eq!(received, sent);
}
