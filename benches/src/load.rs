//! Who asks the echo servers: the same for all of them, on a processor of its own.
//!
//! Each connection sends 64 bytes, waits until they have come back, compares them, and sends again: one request in
//! flight a connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

const MESSAGE: [u8; 64] = *b"what goes out comes back the same, in one piece, 64 bytes of it.";

/// Makes `requests` requests over `connections`, and closes them.
///
/// # Errors
///
/// A connection's, or that what came back is not what went out.
pub fn ask(server: SocketAddr, connections: usize, requests: u64) -> io::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    match &mut streams[..] {
        [stream] => ask_one(stream, requests),
        streams => ask_many(streams, requests),
    }
}

fn ask_one(stream: &mut TcpStream, requests: u64) -> io::Result<()> {
    for _ in 0..requests {
        stream.write_all(&MESSAGE)?;
        hear(stream)?;
    }
    Ok(())
}

fn ask_many(streams: &mut [TcpStream], requests: u64) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut asked = 0;
    for (index, stream) in (0..).zip(&mut *streams) {
        epoll::add(&epoll, &*stream, EventData::new_u64(index), EventFlags::IN)?;
        stream.write_all(&MESSAGE)?;
        asked += 1;
    }
    let mut heard = 0;
    let mut events = Vec::with_capacity(streams.len());
    while heard < asked {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let stream = &mut streams[event.data.u64() as usize];
            hear(stream)?;
            heard += 1;
            if asked < requests {
                stream.write_all(&MESSAGE)?;
                asked += 1;
            }
        }
    }
    Ok(())
}

fn hear(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = [0; MESSAGE.len()];
    stream.read_exact(&mut answer)?;
    if answer != MESSAGE {
        return Err(io::Error::other("an echo server answered something else"));
    }
    Ok(())
}
