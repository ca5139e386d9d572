//! What TCP streams and listeners promise, one file a promise, on each driver.

#[macro_use]
#[path = "../../../runtime/tests/common/real_drivers.rs"]
mod real_drivers;

mod alone;
mod closing;
mod differential;
mod edges;
mod elsewhere;
mod half_closed;
mod moving;
mod nothing_lost;
mod orphans;
#[path = "../../../runtime/tests/common/polled.rs"]
mod polled;
mod quiet;
#[path = "../../../runtime/tests/common/random.rs"]
mod random;
mod settling;
mod stalled;
mod support;
mod turns;
