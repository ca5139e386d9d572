//! Cancels, which race with what they cancel.

use rustix::io::Errno;

use super::*;
use crate::op::ready::{Interest, Poll, PollMany};
use crate::op::socket::AcceptMany;

/// Catches: a cancel that always wins, or one that always loses.
#[test]
fn a_cancel_may_win_or_lose_and_there_is_one_reply_all_the_same() {
    let (mut won, mut lost) = (0, 0);
    for seed in 0..200 {
        let mut machine = Machine::new(seed, Faults::none());
        let key = machine.start(Nop);
        machine.driver.cancel(key);
        match machine.finish::<Nop>(key) {
            Ok(()) => lost += 1,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(Errno::CANCELED.raw_os_error()), "seed {seed}");
                won += 1;
            }
        }
        // Neither the cancel nor the attempt that is left comes as a second reply.
        let until = machine.driver.now() + Duration::from_secs(10);
        assert_eq!(machine.wait(Park::Until(Some(until))).unwrap(), 0, "seed {seed}");
    }
    assert!(won > 20 && lost > 20, "{won} won, {lost} lost");
}

#[test]
fn what_waits_for_ever_ends_by_a_cancel() {
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::none().with(Fault::LateCancel, 1.0));
        let (client, _server) = machine.pair();
        let recv_key = machine.start(recv(&client, vec![0; 8]));
        let poll_key = machine.start(Poll { fd: client.clone(), interest: Interest::READABLE });
        machine.driver.cancel(recv_key);
        machine.driver.cancel(poll_key);
        let received = machine.finish::<Recv<Vec<u8>>>(recv_key).unwrap_err();
        assert_eq!(received.error().raw_os_error(), Some(Errno::CANCELED.raw_os_error()), "seed {seed}");
        let polled = machine.finish::<Poll>(poll_key).unwrap_err();
        assert_eq!(polled.raw_os_error(), Some(Errno::CANCELED.raw_os_error()), "seed {seed}");
    }
}

/// A cancel that comes when an attempt is about to be made may leave it its chance, but not a second one.
/// Catches: a cancel that lost the race and is forgotten, so that the op waits for ever.
#[test]
fn what_was_cancelled_does_not_begin_to_wait() {
    for seed in 0..100 {
        let mut machine = Machine::new(seed, Faults::none());
        let (client, _server) = machine.pair();
        let key = machine.start(recv(&client, vec![0; 8]));
        machine.driver.cancel(key);
        let error = machine.finish::<Recv<Vec<u8>>>(key).unwrap_err();
        assert_eq!(error.error().raw_os_error(), Some(Errno::CANCELED.raw_os_error()), "seed {seed}");
    }
}

/// Catches: a late cancel that answers ECANCELED after the bytes were taken.
#[test]
fn a_cancel_that_comes_too_late_leaves_the_result() {
    let mut late = 0;
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::none().with(Fault::LateCancel, 1.0));
        let (client, server) = machine.pair();
        let key = machine.start(recv(&client, vec![0; 8]));
        machine.driver.cancel(key);
        machine.send(&server, b"bytes").unwrap();
        match machine.finish::<Recv<Vec<u8>>>(key) {
            Ok((count, buf)) => {
                assert_eq!(&buf[..count], &b"bytes"[..count], "seed {seed}");
                late += 1;
            }
            Err(_) => assert_eq!(machine.recv(&client, 1).unwrap(), b"b", "seed {seed}"),
        }
    }
    assert!(late > 40, "{late} of 50");
}

/// Catches: an orphan whose connection is neither the next caller's nor closed.
#[test]
fn a_connection_that_an_orphan_accepted_is_closed() {
    for seed in 0..100 {
        let mut machine = Machine::new(seed, Faults::none());
        let world = machine.world();
        let listener = machine.listener("127.0.0.1:80");
        let peer = world.connect(address("127.0.0.1:80")).unwrap();
        let key = machine.start(Accept::new(listener.clone()));
        machine.orphan(key);
        machine.run_until(Duration::from_secs(1));
        assert_eq!(machine.slots.len(), 0, "seed {seed}");
        assert_eq!(world.open_descriptors(), 1, "seed {seed}: {:?}", world.descriptors());
        if !peer.has_ended() {
            // The cancel was faster, so the connection still waits for its caller.
            machine.accept(&listener);
        }
    }
}

#[test]
fn an_accept_of_many_goes_on_until_it_is_cancelled() {
    for seed in 0..20 {
        let mut machine = Machine::new(seed, Faults::none());
        let world = machine.world();
        let listener = machine.listener("127.0.0.1:80");
        let key = machine.start_stream(AcceptMany { fd: listener });
        let mut accepted = Vec::new();
        for _ in 0..5 {
            world.connect(address("127.0.0.1:80")).unwrap();
            let Ok(connection) = machine.next::<AcceptMany>(key) else { panic!("seed {seed}: it ended") };
            accepted.push(connection.unwrap());
        }
        assert_eq!(world.open_descriptors(), 6, "seed {seed}");
        machine.driver.cancel(key);
        match machine.next::<AcceptMany>(key) {
            Err(Err(error)) => assert_eq!(error.raw_os_error(), Some(Errno::CANCELED.raw_os_error())),
            other => panic!("seed {seed}: {other:?}"),
        }
        assert_eq!(machine.slots.len(), 0);
    }
}

/// Catches: a poll of many that reports what it has reported, over and over.
#[test]
fn a_poll_of_many_speaks_when_something_comes_anew() {
    let mut machine = Machine::new(5, Faults::none());
    let (client, server) = machine.pair();
    let key = machine.start_stream(PollMany { fd: client.clone(), interest: Interest::READABLE });
    for round in 0..3 {
        machine.send(&server, b"x").unwrap();
        let Ok(ready) = machine.next::<PollMany>(key) else { panic!("round {round}: it ended") };
        assert!(ready.unwrap().intersects(Interest::READABLE));
        machine.run_until(machine.world().elapsed() + Duration::from_secs(1));
        assert!(matches!(machine.slots.next(key), Next::Nothing), "round {round}: nothing was new");
    }
}

#[test]
fn an_op_with_many_replies_may_end_with_a_good_one() {
    let mut machine = Machine::new(1, Faults::none().at_step(0, Fault::EndsEarly));
    let world = machine.world();
    let listener = machine.listener("127.0.0.1:80");
    world.connect(address("127.0.0.1:80")).unwrap();
    let key = machine.start_stream(AcceptMany { fd: listener });
    match machine.next::<AcceptMany>(key) {
        Err(Ok(Fd::Simulated(_))) => {}
        other => panic!("{other:?}"),
    }
}
