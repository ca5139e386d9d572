//! Promises of the simulated kernel.
