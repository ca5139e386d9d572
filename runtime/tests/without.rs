//! What newer kernels' rings have is done without where it is missing: each such feature is hidden in turn, and all at once.

#[path = "common/bounded.rs"]
mod bounded;
#[path = "common/child.rs"]
mod child;

use std::future::pending;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;

use child::in_a_child;

use runtime::fd::SharedFd;
use runtime::op::file::{Fsync, Position, Read, Write};
use runtime::op::path::{Base, Open, OpenHow, c_path};
use runtime::op::socket::{Accept, Recv, Send};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, Instant, timeout};
use runtime::{Builder, Feature, call, spawn, spawn_blocking, submit};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{RecvFlags, SendFlags};

const LIMIT: Duration = Duration::from_secs(60);

/// Catches: `without` that hides nothing; a feature that is used without looking; a ring that needs one of them to start.
#[test]
fn whichever_feature_is_hidden_a_ring_does_the_same() {
    if !is_here(Driver::Ring, "a ring with features hidden") {
        return;
    }
    let mut hidden: Vec<Vec<Feature>> = Feature::ALL.into_iter().map(|feature| vec![feature]).collect();
    hidden.push(Feature::ALL.to_vec());
    let expected = story(&[]);
    for features in hidden {
        assert_eq!(story(&features), expected, "without {features:?}");
    }
}

/// Catches: a variable that is not read, or only to its first comma; a name that is mistyped and so hides nothing, unheard.
#[test]
fn the_environment_hides_features_by_their_names() {
    const TEST: &str = "the_environment_hides_features_by_their_names";
    let hides = |names: &str| {
        let names = names.to_owned();
        move |command: &mut Command| {
            command.env("GIMMAL_WITHOUT", names);
        }
    };
    let offered = || -> Vec<Feature> {
        let runtime = Builder::new().build().unwrap();
        let offers = |feature: &Feature| call::offers(*feature);
        runtime.block_on(async { Feature::ALL.into_iter().filter(offers).collect() })
    };
    in_a_child(TEST, "a name that is none", hides("no_sqarray,no_such_thing"), || {
        let error = Builder::new().build().unwrap_err().to_string();
        assert!(error.contains("no_such_thing") && error.contains("registered_ring"), "{error}");
    });
    if !is_here(Driver::Ring, TEST) {
        return;
    }
    let all = Feature::ALL.map(Feature::name).join(",");
    in_a_child(TEST, "all", hides(&all), || assert_eq!(offered(), []));
    for hidden in Feature::ALL {
        in_a_child(TEST, hidden.name(), hides(hidden.name()), || assert!(!offered().contains(&hidden)));
    }
}

/// What a runtime makes of files, sockets, time, threads and tasks without some features, as far as everybody must see the
/// same.
fn story(hidden: &[Feature]) -> Vec<String> {
    let hidden = hidden.to_vec();
    bounded::within(LIMIT, "a ring with features hidden", move || {
        let built = hidden.iter().fold(builder(Driver::Ring), |builder: Builder, feature| builder.without(*feature));
        built.build().unwrap().block_on(async {
            assert!(hidden.iter().all(|feature| !call::offers(*feature)));
            let mut told = vec![runtime::metrics().driver.to_owned()];
            told.push(format!("file: {:?}", file().await));
            told.push(format!("echo: {:?}", echo().await));
            told.push(format!("pool: {:?}", spawn_blocking(|| 6 * 7).await.unwrap()));
            told.push(format!("tasks: {:?}", spawn(async { spawn(async { "nested" }).await.unwrap() }).await.unwrap()));
            let began = Instant::now();
            let expired = timeout(Duration::from_millis(2), pending::<()>()).await;
            assert!(expired.is_err(), "nothing is waited for");
            told.push(format!("waited long enough: {}", began.elapsed() >= Duration::from_millis(2)));
            told.push(format!("left: {}", runtime::metrics().in_flight));
            told
        })
    })
}

async fn file() -> (usize, Vec<u8>) {
    let flags = OFlags::RDWR | OFlags::TMPFILE;
    let how = OpenHow::new(flags, Mode::RUSR | Mode::WUSR, ResolveFlags::empty());
    let path = c_path(&std::env::temp_dir()).unwrap();
    let fd = SharedFd::new(submit(Open { base: Base::Current, path, how }).await.unwrap());
    let write = Write { fd: fd.clone(), buf: b"what is written is read".to_vec(), position: Position::At(100) };
    submit(write).await.unwrap();
    submit(Fsync { fd: fd.clone(), data_only: true }).await.unwrap();
    submit(Read { fd, buf: vec![0; 200], position: Position::At(98) }).await.unwrap()
}

async fn echo() -> (usize, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    let (connection, _peer) = submit(Accept::new(SharedFd::new(OwnedFd::from(listener)))).await.unwrap();
    let fd = SharedFd::new(connection);
    let receive = Recv { fd: fd.clone(), buf: vec![0; 64], flags: RecvFlags::empty(), poll_first: false };
    let (came, buf) = submit(receive).await.unwrap();
    let answer = Send { fd, buf: buf[..came].to_vec(), flags: SendFlags::empty(), whole: true };
    let (sent, _answer) = submit(answer).await.unwrap();
    // The core is parked while another thread ends.
    let answer = spawn_blocking(move || client.join().unwrap()).await.unwrap();
    (sent, answer.to_vec())
}
