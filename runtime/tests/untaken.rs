//! Replies that nobody takes (here: accepted connections) are bounded in number, and none of them is lost.

#[path = "common/bounded.rs"]
mod bounded;

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::task::Poll;
use std::time::Duration;

use runtime::fd::{Fd, SharedFd};
use runtime::op::socket::{AcceptMany, End};
use runtime::testing::{Driver, builder, is_here};
use runtime::{Replies, Step, call, metrics, replies, yield_now};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

const VISITORS: usize = 200;

/// So many wait to be taken before the accepting stops; a few more come until the kernel has heard of that.
const UNTAKEN_MAX: usize = 64 + 16;

async fn a_turn() {
    let turn = metrics().ticks + 1;
    while metrics().ticks <= turn {
        yield_now().await;
    }
}

/// What is there now, and whether that was the end.
async fn take_all(accepting: &mut Replies<AcceptMany>, accepted: &mut Vec<Fd>) -> bool {
    poll_fn(|context| {
        loop {
            match accepting.poll_next(context) {
                Poll::Ready(Step::Item(connection)) => accepted.push(connection.unwrap()),
                Poll::Ready(Step::End(end)) => {
                    match end {
                        Ok(connection) => accepted.push(connection),
                        Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::CANCELED.raw_os_error())),
                    }
                    return Poll::Ready(true);
                }
                Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// Visitors come one by one, and the program is busy with others.
/// Catches: items that nobody takes and that do not stop their op; a stop that drops those that are there.
#[test]
fn connections_that_nobody_takes_stop_the_accepting_and_are_there_when_it_goes_on() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "connections that nobody takes") {
            continue;
        }
        let what = "connections that nobody takes";
        bounded::within(Duration::from_secs(20), what, move || {
            builder(driver).build().unwrap().block_on(accept_late(driver));
        });
    }
}

async fn accept_late(driver: Driver) {
    let fd = SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
    call::bind(&fd, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    call::listen(&fd, i32::try_from(VISITORS).unwrap()).unwrap();
    let address = call::name(&fd, End::Local).unwrap().ip().unwrap();

    let (mut accepted, mut visitors) = (Vec::new(), Vec::new());
    let mut accepting = replies(AcceptMany { fd: fd.clone() });
    assert!(!take_all(&mut accepting, &mut accepted).await, "nobody is there");
    for _visitor in 0..VISITORS {
        visitors.push(TcpStream::connect(address).unwrap());
        a_turn().await;
    }
    let mut has_ended = take_all(&mut accepting, &mut accepted).await;
    assert!(has_ended && accepted.len() <= UNTAKEN_MAX, "{driver:?}: {} connections", accepted.len());

    while accepted.len() < VISITORS {
        if has_ended {
            accepting = replies(AcceptMany { fd: fd.clone() });
        }
        has_ended = take_all(&mut accepting, &mut accepted).await;
        a_turn().await;
    }
    for (connection, visitor) in accepted.into_iter().zip(&visitors) {
        let peer = call::name(&SharedFd::new(connection), End::Peer).unwrap().ip().unwrap();
        assert_eq!(peer, visitor.local_addr().unwrap(), "{driver:?}");
    }
}
