//! What TCP streams and listeners promise, one file a promise, on each driver.

mod alone;
mod closing;
mod differential;
mod edges;
mod elsewhere;
mod half_closed;
mod moving;
mod nothing_lost;
mod orphans;
mod quiet;
mod settling;
mod stalled;
mod support;
mod turns;
