//! The built programs, run as users run them, with real clients.
//!
//! `serve` is asked by `curl` and `wrk` where these are installed, and by a client of our own always, so that nothing
//! is shown only where somebody has installed something.

mod cat;
mod client;
mod copy;
#[path = "../../../runtime/tests/common/denied.rs"]
mod denied;
mod directories;
mod echo;
mod files;
mod folder;
mod large;
mod limits;
mod load;
mod log;
mod outside;
mod program;
mod refused;
mod start;
mod stop;
