//! A server without descriptors does not spin, and goes on when it has some. Alone in its process, whose limit it
//! lowers.

use std::time::Duration;

use net::{TcpListener, TcpStream};
use runtime::time::{now, timeout};
use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The kernel says at once that there is no descriptor, connection or not, and whoever asks again in a loop takes a
/// core.
/// Catches: an accept that does not pause after EMFILE; a pause that nobody ends.
#[runtime::test(driver = auto)]
async fn a_server_without_descriptors_rests_and_goes_on_when_it_has_some() {
    const CLIENTS: usize = 8;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _client in 0..CLIENTS {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let limit = getrlimit(Resource::Nofile);
    let used = rustix::fs::open("/dev/null", OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let current = u64::try_from(rustix::fd::AsRawFd::as_raw_fd(&used)).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum }).unwrap();

    let (began, used_before) = (now(), cpu_time());
    let mut refusals = 0;
    while now() - began < Duration::from_secs(1) {
        if let Ok(accepted) = timeout(Duration::from_secs(1), listener.accept()).await {
            let error = accepted.expect_err("there is no descriptor");
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
            refusals += 1;
        }
    }
    let used_cpu = cpu_time() - used_before;
    assert!(refusals > 1, "the caller is told, {refusals} times");
    assert!(used_cpu <= Duration::from_millis(50), "{used_cpu:?} in a second, for {refusals} refusals");

    setrlimit(Resource::Nofile, limit).unwrap();
    let served = timeout(Duration::from_secs(1), async {
        for client in &clients {
            let (_stream, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
    });
    served.await.expect("all clients are served within a second");
}

/// Of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}
