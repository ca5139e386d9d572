//! What is between programs of one machine, and inside one: unix sockets.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;

use runtime::fd::SharedFd;
use runtime::op::socket::{Accept, Connect};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, now};
use runtime::{call, metrics, submit};
use rustix::net::{AddressFamily, SocketType};

fn unix() -> SharedFd {
    SharedFd::new(call::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap())
}

fn connect(to: &SocketAddr) -> Connect {
    Connect { fd: unix(), address: to.into(), ours: true }
}

/// Where a full listener makes it wait, a connect keeps a thread of the kernel's, which says that it was interrupted.
/// Catches: a deadline that tells of the interruption instead of itself; a connect that comes about after its deadline.
#[test]
fn a_deadline_ends_a_connect_that_waits_for_a_full_unix_listener() {
    for driver in [Driver::Ring, Driver::Simulated] {
        if !is_here(driver, "a connect with a deadline") {
            continue;
        }
        builder(driver).build().unwrap().block_on(async {
            let name = format!("gimmal-full-{}-{driver:?}", std::process::id());
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let listener = unix();
            call::bind(&listener, &address).unwrap();
            call::listen(&listener, 0).unwrap();
            submit(connect(&address)).await.unwrap();

            let late = submit(connect(&address)).deadline(now() + Duration::from_millis(30)).await;
            assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{driver:?}");
            assert_eq!(metrics().in_flight, 0);

            submit(Accept::new(listener.clone())).await.unwrap();
            let nobody = submit(Accept::new(listener)).deadline(now() + Duration::from_millis(30)).await;
            assert_eq!(nobody.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{driver:?}");
        });
    }
}
