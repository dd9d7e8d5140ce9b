//! Daemons, which keep no run going.

use super::{Api, End, Events, HOUR, MS};

behaviours!(
    a_run_ends_when_only_daemons_are_left,
    daemons_have_time_to_clean_up,
    daemons_that_do_not_end_are_left,
    a_run_with_parked_tasks_and_daemons_is_a_deadlock,
);

fn a_run_ends_when_only_daemons_are_left<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    api.spawn(move || {
        D::set_daemon(true);
        log.push(("daemon", D::sleep(HOUR)));
    });
    let log = events.clone();
    api.spawn(move || log.push(("other", D::sleep(MS))));
    assert_eq!(api.run(), End::Completed);
    events.are(&[("other", Ok(())), ("daemon", Err(libc::ECANCELED))]);
    assert_eq!(api.tasks(), (2, 2));
}

fn daemons_have_time_to_clean_up<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    api.spawn(move || {
        D::set_daemon(true);
        assert_eq!(D::park(None), Err(libc::ECANCELED));
        D::shield(|| log.push(D::sleep(MS)));
    });
    assert_eq!(api.run(), End::Completed);
    events.are(&[Ok(())]);
}

fn daemons_that_do_not_end_are_left<D: Api>() {
    let (api, events) = (D::with_daemon_limit(MS), Events::new());
    let log = events.clone();
    let daemon = api.spawn(move || {
        D::set_daemon(true);
        D::shield(|| log.push(D::park(Some(HOUR))));
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(api.tasks(), (1, 0));
    api.wake_in(&daemon).unwrap();
    assert_eq!(api.run(), End::Completed);
    events.are(&[Ok(())]);
    assert_eq!(api.tasks(), (1, 1));
}

fn a_run_with_parked_tasks_and_daemons_is_a_deadlock<D: Api>() {
    let api = D::new();
    api.spawn(|| {
        D::set_daemon(true);
        let _ = D::park(None);
    });
    let other = api.spawn(|| assert_eq!(D::park(None), Err(libc::ECANCELED)));
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    api.cancel_in(&other).unwrap();
    assert_eq!(api.run(), End::Completed);
    assert_eq!(api.tasks(), (2, 2));
}
