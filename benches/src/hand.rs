//! The floors: what a careful person writes by hand for one purpose, without tasks and futures.

pub mod epoll;
pub mod queue;
pub mod ring;
