//! An echo server on bare epoll: level-triggered, each descriptor registered once, one receive and one send an event.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::machine::thread_cpu;

/// Echoes until all peers have closed.
///
/// # Errors
///
/// epoll's, and a connection's.
pub fn echo(mut streams: Vec<TcpStream>) -> io::Result<Duration> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    for (index, stream) in (0..).zip(&streams) {
        epoll::add(&epoll, stream, EventData::new_u64(index), EventFlags::IN)?;
    }
    let mut buf = vec![0; crate::rows::echo::BUFFER];
    let mut events = Vec::with_capacity(streams.len());
    let mut open = streams.len();
    let start = thread_cpu();
    while open > 0 {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let stream = &mut streams[event.data.u64() as usize];
            match stream.read(&mut buf)? {
                0 => {
                    epoll::delete(&epoll, &*stream)?;
                    open -= 1;
                }
                received => stream.write_all(&buf[..received])?,
            }
        }
    }
    Ok(thread_cpu() - start)
}

/// Echoes to one peer by system calls that block.
///
/// # Errors
///
/// The connection's.
pub fn echo_blocking(streams: Vec<TcpStream>) -> io::Result<Duration> {
    let [mut stream] = <[TcpStream; 1]>::try_from(streams).map_err(|_| io::Error::other("one thread serves one"))?;
    let mut buf = vec![0; crate::rows::echo::BUFFER];
    let start = thread_cpu();
    loop {
        match stream.read(&mut buf)? {
            0 => return Ok(thread_cpu() - start),
            received => stream.write_all(&buf[..received])?,
        }
    }
}
