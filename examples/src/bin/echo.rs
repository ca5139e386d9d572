//! Sends back whatever it is sent, over TCP.
//!
//! Run it: `cargo run --release --bin echo`. Its counterpart is `nc 127.0.0.1 7000`, or any load generator.
//!
//! The two halves of the API stand side by side here: [`lend`] reads and writes as std does, [`give`] hands the buffer
//! to the kernel and gets it back. To a client they are the same.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{ExitCode, Termination};

use net::{TcpListener, TcpStream};
use runtime::buf::IoBuf;
use runtime::signal::ctrl_c;
use runtime::time::{Duration, sleep};

const USAGE: &str = "\
Sends back whatever it is sent, over TCP.

usage: echo [--owned] [--addr ADDR:PORT]

  --owned           give buffers to the kernel instead of lending them: no copy, the same bytes
  --addr ADDR:PORT  where to listen; 127.0.0.1:7000 if not given. Port 0 picks a free one and prints it
  --help            print this and end

As many clients are served as descriptors allow (ulimit -n); the others wait. Ctrl-c ends it.
";

/// What a client may have on its way through us.
const BUFFER_LEN: usize = 16 * 1024;

/// After an error of accept(2): most concern one connection, and the pause bounds what the others can do. The listener
/// itself pauses when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

fn main() -> impl Termination {
    gimmal_examples::warnings::to_stderr();
    start()
}

#[runtime::main]
async fn start() -> ExitCode {
    let settings = match parse(std::env::args_os().skip(1)) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("echo: {message}");
            return ExitCode::from(2);
        }
    };
    match run(&settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: cannot listen on {}: {error}; take another address with --addr", settings.address);
            ExitCode::FAILURE
        }
    }
}

struct Settings {
    address: SocketAddr,
    owned: bool,
}

/// None if help is asked for.
fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Option<Settings>, String> {
    let mut settings = Settings { address: SocketAddr::from(([127, 0, 0, 1], 7000)), owned: false };
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(None),
            Some("--owned") => settings.owned = true,
            Some("--addr") => {
                let value = arguments.next().ok_or("--addr wants an address and a port after it")?;
                let parsed = value.to_str().and_then(|text| text.parse().ok());
                settings.address =
                    parsed.ok_or_else(|| format!("--addr {}: not an address and a port", value.display()))?;
            }
            _ => return Err(format!("unknown argument {}; --help lists those there are", argument.display())),
        }
    }
    Ok(Some(settings))
}

/// Serves until ctrl-c. What is in flight then is dropped with the runtime.
async fn run(settings: &Settings) -> io::Result<()> {
    let interrupted = ctrl_c()?;
    let listener = TcpListener::bind(settings.address).await?;
    let _closed = writeln!(io::stdout(), "echoing at {}", listener.local_addr()?);
    drop(runtime::spawn(accept(listener, settings.owned)));
    interrupted.await
}

async fn accept(listener: TcpListener, owned: bool) {
    loop {
        match listener.accept().await {
            // A client's error ends that client, whose network has told it already.
            Ok((stream, _peer)) if owned => drop(runtime::spawn(give(stream))),
            Ok((stream, _peer)) => drop(runtime::spawn(lend(stream))),
            Err(_gone) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn lend(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = vec![0; BUFFER_LEN];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            received => stream.write_all(&buf[..received]).await?,
        }
    }
}

async fn give(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = vec![0; BUFFER_LEN];
    loop {
        let received;
        (received, buf) = stream.read_owned(buf).await?;
        if received == 0 {
            return Ok(());
        }
        let ((), sent) = stream.write_all_owned(buf.slice(..received)).await?;
        buf = sent.into_inner();
    }
}
