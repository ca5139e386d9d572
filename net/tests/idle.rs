//! Waiting costs nothing: no wakeup, no processor time, no buffer. Alone in its process, whose costs it counts.

use std::fs;
use std::time::Duration;

use net::{TcpListener, TcpStream};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::sleep;
use runtime::{Metrics, metrics, on_each_core, spawn, spawn_blocking};
use rustix::time::{ClockId, clock_gettime};

/// Connections of each core, half of them waited for with lent memory and half with given buffers.
const CONNECTIONS: usize = 32;

const CORES: usize = 2;

/// So long nothing happens.
const QUIET: Duration = Duration::from_millis(500);

/// What may cost something meanwhile is this test: each core is asked twice, and told that the time is over.
const WAKEUPS_MAX: u64 = 16;
const ENTERS_MAX: u64 = 6;
const CPU_MAX: Duration = Duration::from_millis(10);

/// Catches: a driver that looks around on a timer of its own; a wait for a connection that ends by itself and is asked
/// for again; a thread of the pool that polls for work; a lent read that takes its buffer before there is something to
/// read.
#[test]
fn connections_listeners_timers_and_threads_that_wait_cost_nothing() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "what waiting costs") {
            continue;
        }
        let runtime = builder(driver).cores(CORES).build().unwrap();
        runtime.block_on(async {
            let waiting = on_each_core(async || {
                for _connection in 0..CONNECTIONS / 2 {
                    wait_in_vain().await;
                }
                drop(spawn(sleep(Duration::from_secs(3600))));
                // Its thread stays for the next job.
                spawn_blocking(|| ()).await.unwrap();
            });
            for core in waiting {
                core.await.unwrap();
            }
            sleep(Duration::from_millis(50)).await;

            let before = Costs::now().await;
            sleep(QUIET).await;
            let after = Costs::now().await;

            println!("{driver:?}: from {before:?}\nto {after:?}");
            for (before, after) in before.cores.iter().zip(&after.cores) {
                assert_eq!(after.buffers, 0, "waiting for bytes takes no buffer");
                let enters = after.enters - before.enters;
                assert!(enters <= ENTERS_MAX, "core {} entered {enters} times", after.core);
            }
            let wakeups = after.switches - before.switches;
            assert!(wakeups <= WAKEUPS_MAX, "{wakeups} wakeups in {QUIET:?}");
            let cpu = after.cpu - before.cpu;
            assert!(cpu <= CPU_MAX, "{cpu:?} of processor time in {QUIET:?}");
        });
    }
}

/// Leaves tasks that wait for two connections and for a third.
async fn wait_in_vain() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _connection in 0..2 {
        far.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        near.push(listener.accept().await.unwrap().0);
    }
    drop(spawn(async move {
        let accepted = listener.accept().await;
        panic!("nobody connects, and yet {accepted:?}");
    }));
    let (lent, given) = (near.remove(0), near.remove(0));
    drop(spawn(async move {
        let mut buf = [0; 4096];
        let received = lent.read(&mut buf).await;
        panic!("nobody sends, and yet {received:?}");
    }));
    drop(spawn(async move {
        let received = given.read_owned(vec![0; 4096]).await;
        drop(far);
        panic!("nobody sends, and yet {received:?}");
    }));
}

/// What all of this process has cost so far.
#[derive(Debug)]
struct Costs {
    cores: Vec<Metrics>,
    /// How often a thread was woken.
    switches: u64,
    cpu: Duration,
}

impl Costs {
    async fn now() -> Costs {
        let mut cores = Vec::new();
        for core in on_each_core(async || metrics()) {
            cores.push(core.await.unwrap());
        }
        Costs { cores, switches: switches(), cpu: cpu() }
    }
}

fn switches() -> u64 {
    let threads = fs::read_dir("/proc/self/task").expect("procfs is mounted").flatten();
    let statuses = threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    statuses.map(|status| field(&status, "voluntary_ctxt_switches")).sum()
}

fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.expect("each kernel tells it").trim().parse().expect("a number")
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}
