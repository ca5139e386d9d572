//! The same script through std and through this crate: the same results, and the same kinds of errors.

use std::fmt::Debug;
use std::io::{self, Read as _, Write as _};
use std::net as blocking;

use net::Shutdown;
use runtime::time::Duration;

/// What a call said: its value, or the kind and number of its error.
fn told<T: Debug>(what: &str, result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{what}: {value:?}"),
        Err(error) => format!("{what}: {:?} {:?}", error.kind(), error.raw_os_error()),
    }
}

/// Only that the call was allowed: addresses and ports differ from run to run.
fn allowed<T>(result: io::Result<T>) -> io::Result<()> {
    result.map(drop)
}

/// The script. `$call` makes a call of std's or, with `.await`, one of ours.
macro_rules! script {
    ($net:ident, $($await:tt)*) => {{
        let mut said: Vec<String> = Vec::new();
        let mut say = |line: String| said.push(line);
        let second = Some(Duration::from_secs(1));

        // Addresses.
        let none: &[std::net::SocketAddr] = &[];
        say(told("connect nowhere", allowed($net::TcpStream::connect(none)$($await)*)));
        say(told("bind nowhere", allowed($net::TcpListener::bind(none)$($await)*)));
        for name in ["", "no port", "127.0.0.1:port", "127.0.0.1:65536"] {
            say(told(name, allowed($net::TcpStream::connect(name)$($await)*)));
        }
        say(told("connect to no host", allowed($net::TcpStream::connect("no-such-host.invalid:1")$($await)*)));
        let named = $net::TcpListener::bind("localhost:0")$($await)*.unwrap();
        let port = named.local_addr().unwrap().port();
        say(told("bind by name", named.local_addr().map(|address| address.ip().is_loopback())));
        say(told("connect by name", allowed($net::TcpStream::connect(("localhost", port))$($await)*)));
        say(told("connect by one string", allowed($net::TcpStream::connect(format!("localhost:{port}"))$($await)*)));
        say(told("bind a foreign address", allowed($net::TcpListener::bind("192.0.2.1:0")$($await)*)));

        // Listeners.
        let listener = $net::TcpListener::bind(("127.0.0.1", 0))$($await)*.unwrap();
        let address = listener.local_addr().unwrap();
        say(told("bind twice", allowed($net::TcpListener::bind(address)$($await)*)));
        let taken_then_free: &[std::net::SocketAddr] = &[address, "127.0.0.1:0".parse().unwrap()];
        say(told("bind the second", allowed($net::TcpListener::bind(taken_then_free)$($await)*)));
        say(told("ttl", listener.ttl()));
        say(told("set ttl 0", listener.set_ttl(0)));
        say(told("set ttl 256", listener.set_ttl(256)));
        say(told("set ttl 200", listener.set_ttl(200)));
        say(told("ttl", listener.ttl()));
        say(told("listener's error", listener.take_error().map(|error| error.map(|error| error.kind()))));

        // Connecting.
        let free = {
            let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap()
        };
        say(told("connect refused", allowed($net::TcpStream::connect(free)$($await)*)));
        // To a listener of its own: std refuses the timeout after the connection has begun, and that would be accepted.
        let aside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        say(told("connect in no time", allowed($net::TcpStream::connect_timeout(&aside.local_addr().unwrap(), Duration::ZERO)$($await)*)));
        say(told("connect refused in time", allowed($net::TcpStream::connect_timeout(&free, second.unwrap())$($await)*)));
        let refused_then_open: &[std::net::SocketAddr] = &[free, address];
        #[allow(unused_mut)]
        let mut client = $net::TcpStream::connect(refused_then_open)$($await)*.unwrap();
        #[allow(unused_mut)]
        let (mut server, peer) = listener.accept()$($await)*.unwrap();
        say(format!("peer {}", peer == client.local_addr().unwrap() && peer == server.peer_addr().unwrap()));
        say(format!("address {}", client.peer_addr().unwrap() == address && server.local_addr().unwrap() == address));

        // Options.
        say(told("nodelay", client.nodelay()));
        say(told("set nodelay", client.set_nodelay(true)));
        say(told("nodelay", client.nodelay()));
        say(told("set ttl 300", client.set_ttl(300)));
        say(told("set ttl 100", client.set_ttl(100)));
        say(told("ttl", client.ttl()));
        say(told("server's ttl", server.ttl()));
        say(told("no time to read", client.set_read_timeout(Some(Duration::ZERO))));
        say(told("no time to write", client.set_write_timeout(Some(Duration::ZERO))));
        say(told("read timeout", client.read_timeout()));
        say(told("set read timeout", client.set_read_timeout(Some(Duration::from_millis(40)))));
        say(told("read timeout", client.read_timeout()));
        say(told("read in vain", client.read(&mut [0; 4])$($await)*));
        say(told("peek in vain", client.peek(&mut [0; 4])$($await)*));
        say(told("set write timeout", client.set_write_timeout(second)));
        say(told("write timeout", client.write_timeout()));
        say(told("no read timeout", client.set_read_timeout(None)));

        // Bytes.
        let mut buf = [0; 4];
        say(told("write nothing", client.write(&[])$($await)*));
        say(told("write", client.write(b"abcdef")$($await)*));
        say(told("read nothing", server.read(&mut [])$($await)*));
        say(told("peek", server.peek(&mut buf)$($await)*));
        say(told("read", server.read(&mut buf)$($await)*));
        say(format!("{buf:?}"));
        say(told("read less", server.read(&mut buf)$($await)*));
        say(told("write all of nothing", server.write_all(&[])$($await)*));
        say(told("write all", server.write_all(b"xyz")$($await)*));
        say(told("flush", server.flush()$($await)*));
        say(told("read exact nothing", client.read_exact(&mut [])$($await)*));
        say(told("read exact", client.read_exact(&mut buf[..3])$($await)*));
        say(format!("{buf:?}"));

        // Ends.
        say(told("half close", client.shutdown(Shutdown::Write)$($await)*));
        say(told("read the end", server.read(&mut buf)$($await)*));
        say(told("read it again", server.read(&mut buf)$($await)*));
        say(told("read exactly beyond it", server.read_exact(&mut buf)$($await)*));
        say(told("write into the other half", server.write(b"on")$($await)*));
        say(told("read that", client.read(&mut buf)$($await)*));
        say(told("write after shutdown", client.write(b"x")$($await)*));
        say(told("write nothing after shutdown", client.write(&[])$($await)*));
        say(told("shut down again", client.shutdown(Shutdown::Write)$($await)*));
        say(told("shut down reading", client.shutdown(Shutdown::Read)$($await)*));
        say(told("read nothing after that", client.read(&mut [])$($await)*));
        say(told("peek nothing after that", client.peek(&mut [])$($await)*));
        say(told("read after that", client.read(&mut buf)$($await)*));
        say(told("shut down the server", server.shutdown(Shutdown::Both)$($await)*));
        say(told("shut down what is gone", server.shutdown(Shutdown::Both)$($await)*));
        say(told("peer of what is gone", allowed(server.peer_addr())));
        say(told("write to what is gone", server.write(b"x")$($await)*));
        say(told("error", client.take_error().map(|error| error.map(|error| error.kind()))));

        // A reset.
        let client = $net::TcpStream::connect(address)$($await)*.unwrap();
        #[allow(unused_mut)]
        let (mut server, _peer) = listener.accept()$($await)*.unwrap();
        server.write_all(b"unread")$($await)*.unwrap();
        client.peek(&mut buf)$($await)*.unwrap();
        drop(client);
        say(told("read a reset", server.read(&mut buf)$($await)*));
        say(told("read after a reset", server.read(&mut buf)$($await)*));
        say(told("write after a reset", server.write(b"x")$($await)*));
        say(told("write nothing after a reset", server.write(&[])$($await)*));
        say(told("read nothing after a reset", server.read(&mut [])$($await)*));
        say(told("shut down after a reset", server.shutdown(Shutdown::Both)$($await)*));
        said
    }};
}

fn through_std() -> Vec<String> {
    script!(blocking,)
}

async fn through_ours() -> Vec<String> {
    script!(net, .await)
}

on_ring_and_fallback! {
    a_script_goes_as_it_goes_through_std,
}

async fn a_script_goes_as_it_goes_through_std() {
    let (ours, std) = (through_ours().await, through_std());
    for (ours, std) in ours.iter().zip(&std) {
        assert_eq!(ours, std, "ours, and std's");
    }
    assert_eq!(ours.len(), std.len());
}

/// The owned twins, by the same measure: what the lent ones say.
#[runtime::test(driver = each)]
async fn owned_calls_answer_as_lent_calls_do() {
    let (client, server) = crate::support::pair().await;
    let empty = client.read_owned(Vec::new()).await.unwrap_err();
    assert_eq!(empty.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(client.write_owned(Vec::new()).await.unwrap(), (0, Vec::new()));
    assert_eq!(client.write_all_owned(Vec::new()).await.unwrap(), ((), Vec::new()));
    assert_eq!(client.read_exact_owned(Vec::new()).await.unwrap(), ((), Vec::new()));

    let ((), sent) = client.write_all_owned(String::from("hello")).await.unwrap();
    let ((), received) = server.read_exact_owned([0; 5]).await.unwrap();
    assert_eq!(received, *sent.as_bytes());

    client.shutdown(Shutdown::Write).await.unwrap();
    let (end, _buf) = server.read_owned([0; 5]).await.unwrap();
    assert_eq!(end, 0);
    let beyond = server.read_exact_owned([0; 5]).await.unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    let after = client.write_owned(b"x".as_slice()).await.unwrap_err();
    assert_eq!(after.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(after.into_buf(), b"x");
}
