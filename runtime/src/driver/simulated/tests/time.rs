//! A clock that jumps.

use std::time::Instant;

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
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_busy = Arc::clone(&busy);
    let driver = Simulated::new(1, Faults::none(), Arc::clone(&inbox))
        .with_helpers(move || is_busy.load(std::sync::atomic::Ordering::SeqCst));
    let mut machine = Machine::with(driver);
    let began = machine.driver.now();
    let helper = std::thread::spawn(move || {
        busy.store(false, std::sync::atomic::Ordering::SeqCst);
        inbox.notify_only();
    });
    let until = began + Duration::from_secs(60);
    // The helper may be done before the first wait, which then goes on to the timer as it should.
    while machine.driver.now() < until {
        let was_busy = (machine.driver.are_helpers_busy)();
        let before = machine.driver.now();
        machine.wait(Park::Until(Some(until))).unwrap();
        assert!(!(machine.driver.are_helpers_busy)() || machine.driver.now() == before, "busy: {was_busy}");
    }
    helper.join().unwrap();
}
