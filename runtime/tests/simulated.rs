//! Whole programs in the simulated world: what holds whatever the seed decides.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime::fd::SharedFd;
use runtime::op::Nop;
use runtime::op::file::{Fsync, Position, Write};
use runtime::op::path::{Base, Open, OpenHow, c_path};
use runtime::op::socket::{Accept, Recv, Send};
use runtime::simulated::{self, Fault, Faults, Peer, World};
use runtime::time::sleep;
use runtime::{Builder, call, spawn, submit};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

const SERVER: &str = "127.0.0.1:7";

fn server() -> SocketAddr {
    SERVER.parse().expect("an address")
}

fn simulate<F: Future>(seed: u64, faults: Faults, program: F) -> F::Output {
    let runtime = Builder::new().simulated(seed, faults).build().expect("a world needs nothing");
    runtime.block_on(program)
}

fn listener() -> SharedFd {
    let fd = call::socket(AddressFamily::INET, SocketType::STREAM, None).and_then(|fd| {
        let fd = SharedFd::new(fd);
        call::bind(&fd, server())?;
        call::listen(&fd, 64).map(|()| fd)
    });
    fd.expect("no fault strikes yet")
}

/// Asks again while it is only interrupted, as any program must.
async fn again<T, F: Future<Output = io::Result<T>>>(mut ask: impl FnMut() -> F) -> io::Result<T> {
    loop {
        match ask().await {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

async fn recv(fd: &SharedFd, len: usize) -> io::Result<Vec<u8>> {
    let op = || Recv { fd: fd.clone(), buf: vec![0; len], flags: RecvFlags::empty(), poll_first: false };
    let (count, mut buf) = again(|| async { Ok(submit(op()).await?) }).await?;
    buf.truncate(count);
    Ok(buf)
}

async fn send_all(fd: &SharedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let op = || Send { fd: fd.clone(), buf: bytes.to_vec(), flags: SendFlags::empty(), whole: true };
        let (count, _) = again(|| async { Ok(submit(op()).await?) }).await?;
        bytes = &bytes[count..];
    }
    Ok(())
}

async fn echo(fd: SharedFd) -> io::Result<()> {
    loop {
        let bytes = recv(&fd, 1_000).await?;
        if bytes.is_empty() {
            return Ok(());
        }
        send_all(&fd, &bytes).await?;
    }
}

/// Accepts so many connections, or errors instead of them, and echoes on each.
async fn serve(listener: SharedFd, connections: usize, told: Rc<RefCell<Vec<String>>>) {
    let mut tasks = Vec::new();
    for _ in 0..connections {
        match again(|| submit(Accept::new(listener.clone()))).await {
            Ok((fd, peer)) => {
                told.borrow_mut().push(format!("{:?} {peer:?}", simulated::world().elapsed()));
                let told = told.clone();
                tasks.push(spawn(async move {
                    let ended = echo(SharedFd::new(fd)).await;
                    told.borrow_mut().push(format!("{:?} {peer:?} {ended:?}", simulated::world().elapsed()));
                }));
            }
            Err(error) => told.borrow_mut().push(error.to_string()),
        }
    }
    for task in tasks {
        task.await.expect("no panic");
    }
}

/// Many clients of a server, and everything that it noticed.
fn story(seed: u64, faults: Faults, check: impl Fn(&World, &[(Peer, Vec<u8>)])) -> Vec<String> {
    let told = Rc::new(RefCell::new(Vec::new()));
    simulate(seed, Faults::none(), async {
        let world = simulated::world();
        let server_task = spawn(serve(listener(), 10, told.clone()));
        world.set_faults(faults);
        let mut peers = Vec::new();
        for index in 0..10_u8 {
            // Where accepts fail, the listener may be gone early.
            let Ok(peer) = world.connect(server()) else { continue };
            let len = usize::try_from(world.random_u64() % 20_000).expect("small");
            let bytes = vec![index; len];
            peer.send(&bytes).expect("it is open");
            peer.shutdown_write();
            peers.push((peer, bytes));
            sleep(Duration::from_micros(world.random_u64() % 200)).await;
        }
        server_task.await.expect("no panic");
        sleep(Duration::from_secs(1)).await;
        check(&world, &peers);
    });
    told.take()
}

/// Catches: a timer, a wait or a clock that is not the world's.
#[test]
fn an_hour_of_sleeps_passes_in_milliseconds() {
    let began = Instant::now();
    let minutes = simulate(1, Faults::none(), async {
        let minutes = Rc::new(Cell::new(0));
        let seen = minutes.clone();
        let clock = spawn(async move {
            for minute in 1..=60 {
                sleep(Duration::from_secs(60)).await;
                seen.set(minute);
            }
        });
        sleep(Duration::from_millis(1_800_500)).await;
        assert_eq!(minutes.get(), 30);
        clock.await.expect("no panic");
        assert_eq!(simulated::world().elapsed().as_secs(), 3_600);
        minutes.get()
    });
    assert_eq!(minutes, 60);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// Catches: anything in the runtime that decides by the real clock, an address or the order of a hash table.
#[test]
fn a_program_tells_the_same_story_for_the_same_seed() {
    let mut stories = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let told = story(seed, Faults::all().with(Fault::PowerCut, 0.0), |_, _| {});
        assert_eq!(told, story(seed, Faults::all().with(Fault::PowerCut, 0.0), |_, _| {}), "seed {seed}");
        stories.insert(told);
    }
    assert_eq!(stories.len(), 20, "some seeds tell the same story");
}

/// Catches: a runtime that takes a short count for all, loses a reply, or mixes two up.
#[test]
fn ordinary_faults_change_no_result_that_a_program_sees() {
    for seed in 0..40 {
        story(seed, Faults::ordinary(), |world, peers| {
            assert_eq!(peers.len(), 10, "seed {seed}");
            for (peer, sent) in peers {
                assert!(peer.received() == *sent, "seed {seed}: the echo differs");
                assert!(peer.has_ended() && !peer.is_reset(), "seed {seed}: it did not end well");
            }
            // The listener went with its task.
            assert_eq!(world.descriptors(), [], "seed {seed}");
        });
    }
}

/// Catches: a path that leaks a descriptor or hangs when an op fails.
#[test]
fn whatever_fails_nothing_leaks_and_nothing_hangs() {
    for seed in 0..40 {
        story(seed, Faults::all(), |world, peers| {
            assert_eq!(world.descriptors(), [], "seed {seed}");
            for (peer, sent) in peers {
                assert!(sent.starts_with(&peer.received()), "seed {seed}: bytes that nobody sent");
            }
        });
    }
}

/// Writes a log until the power goes, and returns how many records were acknowledged.
async fn write_log(world: &World) -> u8 {
    let how = OpenHow::new(OFlags::CREATE | OFlags::RDWR, Mode::from_raw_mode(0o644), ResolveFlags::empty());
    let open = |path: &str, how| Open { base: Base::Current, path: c_path(path.as_ref()).expect("no NUL"), how };
    let log = SharedFd::new(submit(open("/tmp/log", how)).await.expect("no fault strikes yet"));
    let how = OpenHow::new(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::empty());
    let dir = SharedFd::new(submit(open("/tmp", how)).await.expect("no fault strikes yet"));
    submit(Fsync { fd: dir, data_only: false }).await.expect("no fault strikes yet");
    let power_goes_at = world.steps() + world.random_u64() % 100;
    world.set_faults(Faults::ordinary().at_step(power_goes_at, Fault::PowerCut));
    for record in 1..=u8::MAX {
        let mut offset = (u64::from(record) - 1) * 600;
        let mut left = 600;
        while left > 0 {
            let op = || Write { fd: log.clone(), buf: vec![record; left], position: Position::At(offset) };
            let Ok((count, _)) = again(|| async { Ok(submit(op()).await?) }).await else { return record - 1 };
            (left, offset) = (left - count, offset + u64::try_from(count).expect("small"));
        }
        if again(|| submit(Fsync { fd: log.clone(), data_only: true })).await.is_err() {
            return record - 1;
        }
    }
    u8::MAX
}

/// Catches: an fsync that is answered before it is done, and a world whose power cuts lose nothing.
#[test]
fn no_record_that_was_acknowledged_is_lost_with_the_power() {
    let mut torn = 0;
    for seed in 0..300 {
        simulate(seed, Faults::none(), async {
            let world = simulated::world();
            let acknowledged = write_log(&world).await;
            let files = world.files();
            let log = &files.iter().find(|file| file.path.ends_with("log")).expect("its name was synced").contents;
            for record in 1..=acknowledged {
                let start = (usize::from(record) - 1) * 600;
                assert_eq!(
                    log.get(start..start + 600),
                    Some(&[record; 600][..]),
                    "seed {seed}: record {record} is lost"
                );
            }
            torn += u32::from(log.len() % 600 != 0);
        });
    }
    assert!(torn > 20, "{torn} of 300 power cuts tore a record");
}

#[test]
fn a_world_in_which_nothing_can_happen_panics_and_names_what_is_waited_for() {
    let stuck = std::panic::catch_unwind(|| {
        simulate(5, Faults::none(), async {
            submit(Nop).await.expect("a reply");
            let _never = submit(Accept::new(listener())).await;
        });
    });
    let panic = *stuck.unwrap_err().downcast::<String>().expect("words");
    assert!(panic.contains("nothing will ever happen") && panic.contains("accept on simulated 3"), "{panic}");
    assert!(panic.contains("seed 5"), "{panic}");
}
