//! TCP: listeners and streams.

pub(crate) mod detached;
pub(crate) mod listener;
pub(crate) mod stream;

use std::io;
use std::net::SocketAddr;

use runtime::call;
use runtime::fd::SharedFd;
use runtime::op::address::family;
use runtime::op::socket::{SocketType, ipproto};

/// A TCP socket for `address`.
fn socket(address: SocketAddr) -> io::Result<SharedFd> {
    call::socket(family(address.ip()), SocketType::STREAM, Some(ipproto::TCP)).map(SharedFd::new)
}
