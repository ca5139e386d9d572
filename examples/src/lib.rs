//! What the example programs are made of, where it can stand on its own: a reader's server or log would look like this.

#![deny(unsafe_code)]

pub mod locks;
pub mod wal;
pub mod warnings;
