//! Who wakes a core whose completion queue was too small for what came.

use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

/// The poll that tells of wakes is one of many replies, so an overflow of the completion queue ends it, and without an
/// error. Nobody could wake the core any more.
/// Catches: a poll for wakes that is armed once and for all.
#[test]
fn a_core_is_woken_also_after_an_overflow_has_ended_the_poll_for_that() {
    let Some(mut desk) = Desk::new("the end of the poll for wakes") else { return };
    let mut writers = Vec::new();
    let mut read_later = |desk: &mut Desk| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        writers.push(writer);
        desk.start(Read { fd: SharedFd::new(reader), buf: [0; 8], position: Position::Cursor })
    };
    let keys: Vec<Key> = (0..20).map(|_| read_later(&mut desk)).collect();
    desk.wait(Park::Until(Some(Instant::now())));
    assert!(desk.ring.wake_armed, "it is armed before the first park");

    for writer in &writers {
        assert_eq!(rustix::io::write(writer, b"together").unwrap(), 8);
    }
    assert!(desk.inbox.prepare_to_park(), "nothing has come");
    desk.inbox.notify_only();
    while desk.answered.len() < keys.len() {
        desk.wait(Park::No);
    }
    desk.inbox.unparked();
    assert!(desk.ring.counters().overflows > 0);
    let has_ended = !desk.ring.wake_armed;

    // The next park arms it anew, and hears of the wake before once more.
    desk.wait(Park::Until(Some(Instant::now())));
    assert!(desk.inbox.prepare_to_park(), "nothing has come since");
    let (inbox, began) = (desk.inbox.clone(), Instant::now());
    let waker = std::thread::spawn(move || inbox.notify_only());
    desk.wait(Park::Until(Some(began + Duration::from_secs(20))));
    waker.join().unwrap();
    assert!(desk.inbox.is_wanted() && began.elapsed() < Duration::from_secs(10), "the wake was not heard");
    assert!(has_ended, "the overflow has ended nothing, so this has shown nothing");
    desk.inbox.unparked();
}
