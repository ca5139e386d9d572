//! A server and a client, as a proof that a runtime serves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;

use runtime::fd::SharedFd;
use runtime::op::socket::{Accept, Recv, Send};
use runtime::time::{Duration, timeout};
use runtime::{Runtime, submit};
use rustix::net::{RecvFlags, SendFlags};

const ROUNDS: u8 = 100;

/// Echoes what a client of std's sends, under a deadline that does not come, beside a job on the blocking pool.
pub fn echo(runtime: &Runtime) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for round in 0..ROUNDS {
            stream.write_all(&[round; 64]).unwrap();
            let mut answer = [0; 64];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [round; 64]);
        }
    });
    runtime.block_on(async {
        let job = runtime::spawn_blocking(|| 7);
        let (connection, _peer) = submit(Accept::new(SharedFd::new(OwnedFd::from(listener)))).await.unwrap();
        let served = timeout(Duration::from_secs(60), serve(SharedFd::new(connection))).await;
        served.expect("a client on this machine is served in time");
        assert_eq!(job.await.unwrap(), 7);
    });
    client.join().unwrap();
}

async fn serve(fd: SharedFd) {
    let mut buf = vec![0; 4096];
    loop {
        let (came, given) =
            submit(Recv { fd: fd.clone(), buf, flags: RecvFlags::empty(), poll_first: false }).await.unwrap();
        if came == 0 {
            return;
        }
        let answer = given[..came].to_vec();
        submit(Send { fd: fd.clone(), buf: answer, flags: SendFlags::empty(), whole: true }).await.unwrap();
        buf = given;
    }
}
