//! A simulated kernel in memory, for testing programs: every order of events and every fault can be replayed from one
//! number.
//!
//! [`Builder::simulated`](crate::Builder::simulated) builds a runtime on it, and `#[runtime::test(driver = simulated,
//! seeds = 1000)]` runs a test with many seeds. In it, [`world`] is the handle to the other side: connect to the
//! program under test, send, cut the network or the power, inspect files and descriptors.
//!
#![doc = include_str!("simulated/guide.md")]

pub use crate::driver::simulated::handle::{
    Datagram, Descriptor, MatrixCell, Peer, PeerDatagrams, PeerListener, SimulatedFile, World,
};
pub use crate::driver::simulated::{Fault, Faults};

/// Returns the world of this core's simulated kernel.
///
/// # Panics
///
/// Outside a runtime, and in a runtime whose driver is not simulated.
///
/// # Examples
///
/// ```
/// use runtime::simulated::{Faults, world};
///
/// let runtime = runtime::Builder::new().simulated(7, Faults::none()).build()?;
/// runtime.block_on(async { assert_eq!(world().seed(), 7) });
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn world() -> World {
    crate::core::world()
}
