//! Ops that a user writes with the public requests: whatever they do, no other descriptor and no other memory is
//! touched.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use runtime::fd::FdRef;
use runtime::op::file::Close;
use runtime::op::ready::{Interest, ReadyRequest};
use runtime::op::{Op, Reply, Request};
use runtime::{metrics, submit};

/// Asks what [`Close`] asks, and does not tell it what came.
struct CloseAndForget(Close);

impl Op for CloseAndForget {
    type Output = io::Result<Reply>;

    fn request(&mut self) -> Request<'_> {
        self.0.request()
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<Reply> {
        // In this moment the number may be a stranger's.
        let stranger = File::open("/dev/null").unwrap();
        drop(self);
        assert!(stranger.metadata().is_ok(), "a stranger's descriptor was closed");
        reply
    }
}

/// Catches: an op of a ring's close that relies on its `finish` to forget the number.
#[runtime::test(driver = each)]
async fn a_descriptor_that_a_ring_has_closed_is_not_closed_again() {
    if metrics().driver == "simulated" {
        return;
    }
    let file = File::open("/dev/null").unwrap();
    let number = file.as_raw_fd();
    submit(CloseAndForget(Close::new(OwnedFd::from(file)))).await.unwrap();
    // Whoever has the number now keeps it.
    let again = File::open("/dev/null").unwrap();
    let others: Vec<File> = (0..64).map(|_| File::open("/dev/null").unwrap()).collect();
    assert!(others.iter().chain([&again]).all(|file| file.metadata().is_ok()), "{number}");
}

/// Polls the current directory's number that is none.
struct PollNothing;

impl Op for PollNothing {
    type Output = io::Result<Reply>;

    fn request(&mut self) -> Request<'_> {
        Request::Ready(ReadyRequest::Poll { fd: FdRef::Os(rustix::fs::CWD), interest: Interest::READABLE, many: false })
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<Reply> {
        reply
    }
}

/// Catches: a driver that takes any number for a descriptor's.
#[runtime::test(driver = each)]
async fn an_op_on_a_number_that_is_no_descriptor_fails_with_ebadf() {
    if metrics().driver == "simulated" {
        return;
    }
    let error = submit(PollNothing).await.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()), "{error}");
    assert_eq!(metrics().in_flight, 0);
}
