//! `std::net`, async, on Gimmal's runtime: the same names and signatures, with `.await`.
//!
//! ```
//! use net::{TcpListener, TcpStream};
//!
//! #[runtime::main]
//! async fn main() -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     let server = runtime::spawn(async move {
//!         let (stream, _peer) = listener.accept().await?;
//!         let (received, buf) = stream.read_owned(vec![0; 16]).await?;
//!         stream.write_all(&buf[..received]).await
//!     });
//!
//!     let stream = TcpStream::connect(address).await?;
//!     stream.write_all(b"hello").await?;
//!     let mut echo = [0; 5];
//!     stream.read_exact(&mut echo).await?;
//!     assert_eq!(&echo, b"hello");
//!     server.await?
//! }
//! ```
//!
//! # Lend or give
//!
//! [`read`](TcpStream::read) and [`write`](TcpStream::write) borrow a slice, as in std, and copy once. Each has a twin
//! with `_owned`, which takes the buffer and gives it back: the kernel works on that buffer directly.
//!
//! # Dropping a future loses nothing
//!
//! An op in flight belongs to the handle, one for each direction; futures only wait for it.
//!
//! | dropped future of | what happens |
//! | --- | --- |
//! | `read`, `peek`, `read_exact` | nothing was read |
//! | `read_owned`, `read_exact_owned` | it is cancelled; bytes that arrive all the same go to the next read |
//! | `write` | nothing was sent |
//! | `write_all` | what was sent so far stays sent: a prefix, in order |
//! | `write_owned`, `write_all_owned` | the piece in flight (at most 256 KiB) is sent whole; later writes follow it, and get its error |
//! | `accept` | a connection that arrives goes to the next `accept` |
//! | `connect` | the socket is closed |
//!
//! Calls on the same direction take turns, in the order in which they were first polled. A future whose turn it is, and
//! which is neither polled nor dropped, holds up those behind it.
//!
//! # Several cores
//!
//! A handle stays on the core where it was made. [`TcpStream::detach`] and [`TcpListener::detach`] turn it into a value
//! that may be sent to another core; nothing that was received or accepted is lost.
//!
//! # How it is built
//!
//! ```text
//!  TcpStream ─► inbound (bytes nobody took, the wait for data) ┐
//!            └► outbound (the error nobody was told of, …)     ├─► line: one at a time ─► runtime: ops and calls
//!  TcpListener ─► accepting (the accept in flight)             ┘
//! ```

#![deny(unsafe_code)]

mod accepting;
mod address;
mod inbound;
mod limit;
mod line;
mod outbound;
mod readiness;
mod tcp;

pub use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};

pub use crate::address::ToSocketAddrs;
pub use crate::tcp::detached::{DetachedTcpListener, DetachedTcpStream};
pub use crate::tcp::listener::{Incoming, TcpListener};
pub use crate::tcp::stream::{Remains, TcpStream};
