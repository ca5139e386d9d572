//! The simulated kernel, for tests of programs: see [`Builder::simulated`](crate::Builder::simulated).

pub use crate::driver::simulated::Faults;
