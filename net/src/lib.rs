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
//! [`read`](TcpStream::read) and [`write`](TcpStream::write) take std's slices, and copy once. Beside each stands its
//! twin with `_owned`, which takes the buffer and gives it back: the kernel works on it directly.
//!
//! # Dropping a future loses nothing
//!
//! What is in flight belongs to the handle, one op a direction; futures only wait on it.
//!
//! | dropped | what becomes of it |
//! | --- | --- |
//! | `read`, `peek`, `read_exact` | nothing was read |
//! | `read_owned`, `read_exact_owned` | cancelled; bytes that came all the same are the next read's |
//! | `write` | nothing was sent |
//! | `write_all` | what was sent is sent: whole calls of `write`, in order |
//! | `write_owned`, `write_all_owned` | the piece in flight (at most 256 KiB) goes out whole; later writes come behind it, and get its error |
//! | `accept` | a connection that comes is the next `accept`'s |
//! | `connect` | the socket is closed |
//!
//! Calls on one direction take turns in the order in which they were first polled. A future that has the turn and is
//! neither polled nor dropped holds up those behind it.
//!
//! # Several cores
//!
//! A handle stays on the core where it was made. [`TcpStream::detach`] and [`TcpListener::detach`] give what may travel
//! to another one, and lose nothing of what was received or accepted.
//!
//! # How it is built
//!
//! ```text
//!  TcpStream ─► inbound (what is parked, the wait for data)   ┐
//!            └► outbound (the error nobody has heard of, …)   ├─► line: one at a time ─► runtime: ops and plain calls
//!  TcpListener ─► accepting (the accept in flight)            ┘
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
