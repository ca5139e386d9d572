//! What `#[runtime::main]` expands to. It is not meant to be used directly.

use std::future::Future;
use std::process::{ExitCode, Termination};

use crate::runtime::Builder;

/// How a program ended: with what its `main` returned, or because no runtime could be built.
pub enum Outcome<T> {
    /// `main` returned.
    Returned(T),
    /// No runtime could be built.
    NotStarted,
}

impl<T: Termination> Termination for Outcome<T> {
    fn report(self) -> ExitCode {
        match self {
            Outcome::Returned(value) => value.report(),
            Outcome::NotStarted => ExitCode::FAILURE,
        }
    }
}

/// Builds a runtime and runs `main` on it. If no runtime can be built, prints why and ends with status 1.
pub fn main<T: Termination>(configure: impl FnOnce(Builder) -> Builder, main: impl Future<Output = T>) -> Outcome<T> {
    match configure(Builder::new()).build() {
        Ok(runtime) => Outcome::Returned(runtime.block_on(main)),
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            Outcome::NotStarted
        }
    }
}
