//! All rows, in the order in which they are printed.

use crate::harness::Row;

pub mod echo;
pub mod nop;
pub mod read;
pub mod tasks;
pub mod timeout;
pub mod wake;

/// All of them.
///
/// # Errors
///
/// Where no file can be made to read from.
pub fn all() -> std::io::Result<Vec<Row>> {
    Ok([nop::rows(), read::rows()?, echo::rows(), tasks::rows(), wake::rows(), timeout::rows()]
        .into_iter()
        .flatten()
        .collect())
}
