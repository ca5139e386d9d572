//! Out of descriptors: a limit that the whole process shares, so this runs in one of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::op::file::Position;
use runtime::op::ready::Interest;
use runtime::op::socket::{Accept, AcceptMany};
use runtime::simulated::{Fault, Faults};
use runtime::{Step, call, replies, simulated, submit};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, setrlimit};

use crate::child::in_a_child;
use crate::descriptors;
use crate::scene::{Scene, connect, count, is_ready, listener, local, next, read, tcp};
use crate::shown::Shown;
use crate::table::{Variant, Without};

/// Catches: a driver that takes EMFILE for «not yet», or a fault of the simulated kernel's that is not the real one's.
#[test]
fn out_of_descriptors_every_driver_says_the_same() {
    let test = "exhausted::out_of_descriptors_every_driver_says_the_same";
    in_a_child(test, "full", |_| (), compare_without_descriptors);
}

fn compare_without_descriptors() {
    let drivers = [Variant::Ring(Without::Nothing), Variant::Fallback, Variant::Simulated { seed: 0 }];
    let told: Vec<(Variant, Vec<String>)> = drivers
        .into_iter()
        .filter_map(|driver| {
            let runtime = driver.build().inspect_err(|why| println!("not {driver:?}: {why}")).ok()?;
            let scene = Scene::new(driver, Arc::new(Mutex::new(Vec::new())), Duration::from_secs(10));
            Some((driver, runtime.block_on(without_descriptors(&scene))))
        })
        .collect();
    for (driver, said) in &told {
        assert_eq!(*said, told[0].1, "{driver:?} and {:?}", told[0].0);
    }
    assert!(told[0].1.iter().all(|said| said.contains("os error 24")), "{told:?}");
}

/// What the ops answer that make descriptors.
async fn without_descriptors(scene: &Scene) -> Vec<String> {
    scene.put("file", b"kept");
    let listener = listener();
    let client = tcp();
    submit(connect(&client, local(&listener))).await.expect("somebody listens");
    is_ready(&listener, Interest::READABLE).await.expect("it is connected");

    let taken = if scene.is_simulated() {
        simulated::world().set_faults(Faults::none().with(Fault::DescriptorsFull, 1.0));
        None
    } else {
        Some(descriptors::take_all(64))
    };
    let opened = submit(scene.open("file", OFlags::RDONLY)).await.shown();
    let made_anew = submit(scene.open("new", OFlags::WRONLY | OFlags::CREATE)).await.shown();
    let cut = submit(scene.open("file", OFlags::WRONLY | OFlags::TRUNC)).await.shown();
    let accepted = submit(Accept::new(listener.clone())).await.map(|(fd, _peer)| fd).shown();
    let made = call::socket(AddressFamily::INET, SocketType::STREAM, None).shown();
    let pair = call::socketpair(SocketType::STREAM).shown();
    let pipe = call::pipe().shown();
    let many = match next(&mut replies(AcceptMany { fd: listener })).await {
        Step::Item(item) => item.shown(),
        Step::End(end) => end.shown(),
    };
    if let Some((limit, taken)) = taken {
        drop(taken);
        setrlimit(Resource::Nofile, limit).expect("the limit from before");
    } else {
        simulated::world().set_faults(Faults::none());
    }
    assert!(submit(scene.open("new", OFlags::RDONLY)).await.is_err(), "what could not be opened was made");
    let kept = scene.opened("file", OFlags::RDONLY).await;
    assert_eq!(count(submit(read(&kept, 9, Position::At(0))).await).ok(), Some(4), "what could not be opened was cut");
    vec![opened, made_anew, cut, accepted, made, pair, pipe, many]
}
