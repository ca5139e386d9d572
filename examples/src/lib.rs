//! What the example programs are made of, where it can stand on its own: a reader's server or log would look like this.

#![deny(unsafe_code)]

pub mod locks;
pub mod wal;
pub mod warnings;

/// The program in the README is one that compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
