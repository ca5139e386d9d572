//! TCP echo of 64 bytes over loopback: what a request costs its server, in CPU time of the server's thread.
//!
//! Connections are accepted before the clock starts, and it stops when all peers have closed.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use runtime::buf::IoBuf;
use runtime::{Runtime, spawn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Contender, Row, Target};
use crate::machine::{self, thread_cpu};
use crate::{hand, load};

/// So much a server has room for at once.
pub const BUFFER: usize = 4096;

pub type Serve = fn(Vec<TcpStream>) -> io::Result<Duration>;

pub fn rows() -> Vec<Row> {
    let contender = |name, connections, serve: Serve| {
        Contender::new(name, move |requests| {
            accept_and(serve, connections, |server| load::ask(server, connections, requests))
        })
    };
    let all = |connections| {
        vec![
            contender("gimmal owned", connections, owned),
            contender("gimmal lent", connections, lent),
            contender("hand ring", connections, hand::ring::echo),
            contender("hand epoll", connections, hand::epoll::echo),
            contender("tokio", connections, tokio),
            contender("gimmal owned, fallback", connections, owned_fallback),
            contender("gimmal lent, fallback", connections, lent_fallback),
        ]
    };
    let many = Row {
        name: "TCP echo of 64 B, 64 connections",
        unit: "server CPU a request",
        ops: 60_000,
        contenders: all(64),
        targets: vec![
            Target::ratio("gimmal owned", 1.06, &["hand ring"]),
            Target::ratio("gimmal lent", 1.0, &["tokio"]),
            Target::ratio("gimmal owned, fallback", 1.1, &["hand epoll"]),
            Target::ratio("gimmal lent, fallback", 1.1, &["hand epoll"]),
        ],
    };
    let mut contenders = all(1);
    contenders.push(contender("std, blocking", 1, hand::epoll::echo_blocking));
    let one = Row {
        name: "TCP echo of 64 B, 1 connection",
        unit: "server CPU a request",
        ops: 20_000,
        contenders,
        targets: vec![
            Target::ratio("gimmal owned", 1.06, &["hand ring", "hand epoll"]),
            Target::ratio("gimmal lent", 1.0, &["tokio"]),
        ],
    };
    vec![many, one]
}

/// Serves on this thread while another asks.
fn accept_and(
    serve: Serve,
    connections: usize,
    ask: impl FnOnce(std::net::SocketAddr) -> io::Result<()> + Send,
) -> io::Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        let client = scope.spawn(move || {
            machine::stay_on(machine::CLIENT);
            ask(address)
        });
        let served = accept(&listener, connections).and_then(serve);
        client.join().map_err(|_| io::Error::other("the client panicked"))??;
        served
    })
}

/// Takes so many connections.
pub fn accept(listener: &TcpListener, connections: usize) -> io::Result<Vec<TcpStream>> {
    (0..connections).map(|_| Ok(listener.accept()?.0)).collect()
}

pub fn owned(streams: Vec<TcpStream>) -> io::Result<Duration> {
    serve_owned(&machine::gimmal()?, streams)
}

pub fn owned_fallback(streams: Vec<TcpStream>) -> io::Result<Duration> {
    serve_owned(&machine::gimmal_fallback()?, streams)
}

pub fn lent(streams: Vec<TcpStream>) -> io::Result<Duration> {
    serve_lent(&machine::gimmal()?, streams)
}

pub fn lent_fallback(streams: Vec<TcpStream>) -> io::Result<Duration> {
    serve_lent(&machine::gimmal_fallback()?, streams)
}

fn serve_owned(runtime: &Runtime, streams: Vec<TcpStream>) -> io::Result<Duration> {
    let echo = |stream: net::TcpStream| async move {
        let mut buf = vec![0; BUFFER];
        loop {
            let received;
            (received, buf) = stream.read_owned(buf).await?;
            if received == 0 {
                return io::Result::Ok(());
            }
            let ((), sent) = stream.write_all_owned(buf.slice(..received)).await?;
            buf = sent.into_inner();
        }
    };
    serve_each(runtime, streams, echo)
}

fn serve_lent(runtime: &Runtime, streams: Vec<TcpStream>) -> io::Result<Duration> {
    let echo = |stream: net::TcpStream| async move {
        let mut buf = vec![0; BUFFER];
        loop {
            match stream.read(&mut buf).await? {
                0 => return io::Result::Ok(()),
                received => stream.write_all(&buf[..received]).await?,
            }
        }
    };
    serve_each(runtime, streams, echo)
}

/// A task for each stream, until the peers close.
fn serve_each<F: Future<Output = io::Result<()>> + 'static>(
    runtime: &Runtime,
    streams: Vec<TcpStream>,
    echo: impl Fn(net::TcpStream) -> F,
) -> io::Result<Duration> {
    runtime.block_on(async {
        let start = thread_cpu();
        let tasks: io::Result<Vec<_>> =
            streams.into_iter().map(|stream| Ok(spawn(echo(net::TcpStream::from_std(stream)?)))).collect();
        for task in tasks? {
            task.await??;
        }
        Ok(thread_cpu() - start)
    })
}

fn tokio(streams: Vec<TcpStream>) -> io::Result<Duration> {
    let echo = |mut stream: tokio::net::TcpStream| async move {
        let mut buf = vec![0; BUFFER];
        loop {
            match stream.read(&mut buf).await? {
                0 => return io::Result::Ok(()),
                received => stream.write_all(&buf[..received]).await?,
            }
        }
    };
    machine::tokio()?.block_on(async {
        let start = thread_cpu();
        let mut tasks = Vec::new();
        for stream in streams {
            stream.set_nonblocking(true)?;
            tasks.push(tokio::spawn(echo(tokio::net::TcpStream::from_std(stream)?)));
        }
        for task in tasks {
            task.await??;
        }
        Ok(thread_cpu() - start)
    })
}
