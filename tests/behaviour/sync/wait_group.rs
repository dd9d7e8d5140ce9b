//! Wait groups.

use super::{Events, MS, Sync, api_that_pretends};

behaviours!(a_group_is_waited_for_until_all_is_done, a_group_can_be_used_again,);

fn a_group_is_waited_for_until_all_is_done<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let group = api.group();
    assert_eq!(D::done(group), Err(libc::EINVAL));
    D::add(group, 3).unwrap();
    assert_eq!(D::add(group, usize::MAX), Err(libc::EOVERFLOW));
    for _ in 0..2 {
        let log = events.clone();
        api.spawn(move || {
            assert_eq!(D::wait_for_group(group, Some(MS)), Err(libc::ETIMEDOUT));
            D::wait_for_group(group, None).unwrap();
            log.push("waited");
        });
    }
    for _ in 0..3 {
        let log = events.clone();
        api.spawn(move || {
            D::sleep(5 * MS).unwrap();
            log.push("done");
            D::done(group).unwrap();
        });
    }
    api.run();
    events.are(&["done", "done", "done", "waited", "waited"]);
}

fn a_group_can_be_used_again<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (group, inner, log) = (api.group(), api.clone(), events.clone());
    api.spawn(move || {
        D::wait_for_group(group, None).unwrap(); // Its count is 0.
        for round in 0..3 {
            D::add(group, 4).unwrap();
            for _ in 0..4 {
                let log = log.clone();
                inner.spawn(move || {
                    D::yield_now().unwrap();
                    log.push(round);
                    D::done(group).unwrap();
                });
            }
            D::wait_for_group(group, None).unwrap();
            log.push(round);
        }
    });
    api.run();
    events.are(&[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
}
