//! A clock that jumps.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;

/// Catches: a wait that sleeps in real time, or that stops short of its moment.
#[test]
fn a_year_of_waiting_takes_no_time() {
    let began = Instant::now();
    let mut machine = Machine::new(1, Faults::none());
    let year = Duration::from_secs(365 * 24 * 3600);
    for day in 1..=365 {
        let until = machine.driver.now() + year / 365;
        assert_eq!(machine.wait(Park::Until(Some(until))).unwrap(), 0);
        assert_eq!(machine.driver.now(), until, "day {day}");
    }
    assert_eq!(machine.world().elapsed(), year);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Catches: a jump to the timer over a reply that is due before it.
#[test]
fn what_is_due_first_comes_first() {
    for seed in 0..100 {
        let mut machine = Machine::new(seed, Faults::none());
        let key = machine.start(Nop);
        let until = machine.driver.now() + Duration::from_secs(3600);
        assert_eq!(machine.wait(Park::Until(Some(until))).unwrap(), 1, "seed {seed}");
        machine.poll::<Nop>(key).expect("answered").unwrap();
        assert!(machine.world().elapsed() < Duration::from_millis(1), "seed {seed}");
    }
}

/// A program that never waits must get its replies all the same.
/// Catches: a wait that stands still under `Park::No`.
#[test]
fn time_passes_for_who_never_waits() {
    let mut machine = Machine::new(2, Faults::none());
    let key = machine.start(Nop);
    let mut waits = 0;
    while machine.poll::<Nop>(key).is_none() {
        machine.wait(Park::No).unwrap();
        waits += 1;
        assert!(waits < 10_000, "no reply");
    }
}

/// Catches: a driver that sleeps for ever where nothing can wake it.
#[test]
fn waiting_for_nothing_is_an_error_that_names_what_waits() {
    let mut machine = Machine::new(4, Faults::none());
    let listener = machine.listener("127.0.0.1:80");
    let _never = machine.start(Accept::new(listener));
    let error = loop {
        if let Err(error) = machine.wait(Park::Until(None)) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::Deadlock);
    assert!(error.to_string().contains("accept on simulated 3"), "{error}");
    assert!(error.to_string().contains("seed 4"), "{error}");
}

/// Catches: a clock that jumps while a thread of the blocking pool works, so that everything times out meanwhile.
#[test]
fn time_stands_still_while_another_thread_works() {
    let inbox = Inbox::new().unwrap();
    let busy = Rc::new(Cell::new(true));
    let is_busy = busy.clone();
    let driver = Simulated::new(1, Faults::none(), inbox).with_helpers(move || is_busy.get());
    let mut machine = Machine::with(driver);
    let began = machine.driver.now();
    let until = began + Duration::from_secs(60);
    for _ in 0..3 {
        assert_eq!(machine.wait(Park::Until(Some(until))).unwrap(), 0);
        assert_eq!(machine.driver.now(), began);
    }
    busy.set(false);
    machine.wait(Park::Until(Some(until))).unwrap();
    assert_eq!(machine.driver.now(), until);
}

/// Catches: a wait that does not watch the inbox, or sees the same ring of its bell for ever.
#[test]
fn a_thread_that_works_rings_and_is_heard_once() {
    let inbox = Inbox::new().unwrap();
    let driver = Simulated::new(1, Faults::none(), Arc::clone(&inbox)).with_helpers(|| true);
    let mut machine = Machine::with(driver);
    for _ in 0..3 {
        assert!(inbox.prepare_to_park());
        let helper = Arc::clone(&inbox);
        std::thread::spawn(move || helper.notify_only()).join().unwrap();
        machine.wait(Park::Until(None)).unwrap();
        assert!(!is_rung(&inbox), "heard, and silent again");
        inbox.unparked();
    }
}

fn is_rung(inbox: &Inbox) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(inbox.eventfd(), PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
}
