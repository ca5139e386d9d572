//! The write-ahead log keeps what it acknowledged, whatever happens to the power, the disk or the program.

mod kills;
mod model;
mod power;
mod promises;
#[path = "../../../runtime/tests/common/random.rs"]
mod random;
