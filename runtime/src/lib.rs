//! Gimmal's runtime: an async runtime for Linux built on io_uring, with one thread per core, one ring per core, and
//! each SQE a future.
//!
//! ```
//! #[runtime::main]
//! async fn main() -> std::io::Result<()> {
//!     runtime::submit(runtime::op::Nop).await?;
//!     println!("the kernel answered");
//!     Ok(())
//! }
//! ```
//!
//! Files and sockets under std's names are in the crates `fs` and `net`; this crate is what they are built on.
//!
//! # Architecture
//!
//! Five words have one meaning each. An **op** owns the memory and descriptors that the kernel will touch. Its
//! **request** borrows from it and says what to do. A **driver** services requests. A **reply** comes back under the
//! key of the **slot** where the op waits.
//!
//! ```text
//!  file.read_at_owned(buf, 0) ─► Read{fd,buf,position} ─► Submit, a lazy future                 op/file.rs, inflight.rs
//!  first poll            ─► Held::place: op in its cell, op.request() ─► slot ─► driver.start   no system call
//!  nothing ready         ─► driver.wait(until) ─► io_uring_enter ─► CQE ─► slot: Waiting → Done
//!  (borrow ends)         ─► the waiting task is queued                                          core.rs, executor.rs
//!  second poll           ─► slot: Done → op.finish(reply) ─► Ok((n, buf))
//!  dropped in between    ─► Waiting → Orphaned, cancel queued; the last reply runs op.abandon and frees the slot
//! ```
//!
//! | to … | look in |
//! | --- | --- |
//! | **add an op** | the file of its family in `op/`: struct, request, `sqe`, `call`, `finish`, about 25 lines; the compiler names the match arms |
//! | see how memory stays put | `inflight/held.rs` (who may open the op), `inflight/slots.rs` (its life, drawn) |
//! | see how the kernel is asked | `driver.rs` (the contract), then `driver/{ring,fallback,simulated}.rs` |
//! | see what runs when | `executor.rs` (the loop), `core.rs` (what a core owns), `task.rs`, `inbox.rs` (other threads) |
//! | see how cores reach each other | `cores.rs` (`spawn_on`), `task/cell/parcel.rs` (a task on its way to another core), `runtime/threads.rs` |
//! | find a limit | [`Builder`] |
//!
//! A runtime has one core on the thread that built it, and each [further](Builder::cores) core on a thread of its own,
//! with its own ring. Tasks and handles never leave their core; only a `Send` closure and its output cross over. In a
//! simulated world all cores take turns on one thread, in an order that the seed decides.
//!
//! Layers; arrows point to the right only: `net, fs ─► runtime ─► executor ─► time, inflight, blocking, call, cores ─►
//! core ─► slots, held, driver ─► task, inbox, the pool ─► op ─► fd, buf`. `op` knows no driver and no task; no driver
//! matches on a request, except the simulated one, which *is* a kernel.
//!
//! # Invariants
//!
//! - `unsafe` is only in the files marked `[unsafe]`, and each block says how it meets the contract of what it calls.
//! - A request borrows from its op and nothing else; nobody touches the op until the last reply.
//! - No code from outside (a waker, `request`, `finish`, `abandon`, a Drop) runs while the core's state is borrowed.
//! - A driver gives each key exactly one last reply and touches nothing after it.
//! - What the kernel may touch is released at the last reply, or leaked and reported: closing a ring does not stop a
//!   disk from writing.
//! - No byte, connection or descriptor is lost or leaked by dropping a future.
//! - No allocation per op in steady state; no lock and no atomic read-modify-write on a core's own fast path.
//! - Every queue, pool, loop and wait has a stated bound. The exceptions are tasks, and the ops and timers that they
//!   wait for: a program has as many as it creates, bounded by memory, and [`metrics`] counts them.
//! - An idle runtime costs nothing: no wakeups, no CPU, no I/O.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("gimmal runs on Linux: it is built on io_uring, and on epoll where that is missing");

pub mod buf;
pub mod call;
pub mod entry;
pub mod fd;
pub mod op;
pub mod signal;
pub mod simulated;
pub mod testing;
pub mod time;

mod blocking;
mod core;
mod cores;
mod driver;
mod executor;
mod fork;
mod inbox;
mod inflight;
mod metrics;
mod probe;
mod runtime;
mod sync;
mod task;

pub use gimmal_macros::{main, test};

pub use crate::blocking::spawn_blocking;
pub use crate::cores::{core_id, cores, on_each_core, spawn_on};
pub use crate::driver::setup::Feature;
pub use crate::inflight::{Deadline, Replies, Step, Submit, replies, submit};
pub use crate::metrics::{Metrics, metrics};
pub use crate::probe::{Probe, probe};
pub use crate::runtime::{Builder, Choice, Runtime};
pub use crate::task::{JoinError, JoinHandle, YieldNow, spawn, yield_now};
