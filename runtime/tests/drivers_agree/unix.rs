//! Scenarios for sockets of unix streams: their names, their pairs, and how their connections end.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;

use runtime::fd::SharedFd;
use runtime::op::address::SocketAddress;
use runtime::op::path::{Base, Stat, c_path};
use runtime::op::ready::Interest;
use runtime::op::socket::{Accept, Connect, End};
use runtime::time::{Duration, now};
use runtime::{call, spawn, submit, yield_now};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketType};

use crate::names::LOOPBACK_6;
use crate::scene::{LOOPBACK, Scene, recv, recv_to_end, send, tcp};
use crate::shown::Shown;

pub fn unix() -> SharedFd {
    SharedFd::new(call::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket"))
}

pub fn unix_pair() -> (SharedFd, SharedFd) {
    let (one, other) = call::socketpair(SocketType::STREAM).expect("two descriptors");
    (SharedFd::new(one), SharedFd::new(other))
}

impl Scene {
    /// A name in the folder, which is there from now on.
    pub fn unix_path(&self, name: &str) -> SocketAddr {
        self.put("folder-of-sockets", b"");
        SocketAddr::from_pathname(self.path(name)).expect("the folder's path is short")
    }

    /// A name beside the files that no other scene has.
    pub fn unix_name(&self, name: &str) -> SocketAddr {
        SocketAddr::from_abstract_name(self.path(name).as_os_str().as_encoded_bytes()).expect("the path is short")
    }

    /// A pair, which is told of.
    pub fn makes_pair(&self, kind: SocketType) -> (SharedFd, SharedFd) {
        let made = call::socketpair(kind);
        self.tell("a pair", &made);
        let (one, other) = made.expect("two descriptors");
        (SharedFd::new(one), SharedFd::new(other))
    }

    pub fn unix_listener(&self, name: &str, backlog: i32) -> (SharedFd, SocketAddr) {
        let (fd, address) = (unix(), self.unix_path(name));
        call::bind(&fd, &address).expect("nobody else has the name");
        call::listen(&fd, backlog).expect("it has a name");
        (fd, address)
    }
}

pub fn to(fd: &SharedFd, address: impl Into<SocketAddress>) -> Connect {
    Connect { fd: fd.clone(), address: address.into(), ours: true }
}

pub async fn add_kinds(all: &mut Vec<(&'static str, SharedFd)>, far: &mut Vec<SharedFd>) {
    all.push(("fresh unix socket", unix()));
    // A scene makes all kinds more than once, so the kernel chooses their names.
    let bound = || {
        let fd = unix();
        call::bind(&fd, SocketAddr::from_pathname("").expect("no name")).expect("there are names enough");
        fd
    };
    let listener = || {
        let fd = bound();
        call::listen(&fd, 16).expect("it has a name");
        fd
    };
    all.push(("bound unix socket", bound()));
    all.push(("unix listener", listener()));
    let busy = listener();
    let address = call::name(&busy, End::Local).expect("it has a name");
    let client = unix();
    submit(to(&client, address)).await.expect("somebody listens");
    all.push(("unix listener where somebody waits", busy));
    far.push(client);
    let (ours, theirs) = unix_pair();
    all.push(("quiet unix stream", ours));
    far.push(theirs);
    let (ours, theirs) = unix_pair();
    submit(send(&theirs, b"hello")).await.expect("there is room");
    all.push(("unix stream with bytes", ours));
    far.push(theirs);
    all.push(("unix stream that was ended", unix_pair().0));
    let (ours, theirs) = unix_pair();
    submit(send(&ours, b"unread")).await.expect("there is room");
    drop(theirs);
    all.push(("broken unix stream", ours));
}

pub async fn makes_pairs_that_speak_with_each_other(scene: Scene) {
    scene.tell("of no type", &call::socketpair(SocketType::from_raw(9)));
    let (one, other) = scene.makes_pair(SocketType::STREAM);
    for (from, to) in [(&one, &other), (&other, &one)] {
        scene.tell("its name", &call::name(from, End::Local));
        scene.tell("the other's", &call::name(from, End::Peer));
        scene.tell("sending", &submit(send(from, b"hello")).await);
        scene.tell("receiving", &submit(recv(to, 5, RecvFlags::WAITALL)).await);
    }
    scene.tell("connecting one of them", &submit(to(&one, scene.unix_path("nobody"))).await);
    scene.tell("listening on it", &call::listen(&one, 1));
    scene.tell("naming it", &call::bind(&one, scene.unix_path("one")));
    let named = call::name(&other, End::Peer).expect("it is connected");
    scene.tell("which the other learns", &(named == scene.unix_path("one").into()).to_string());
    drop(one);
    scene.tell("the other hears", &recv_to_end(&other).await);
    scene.tell("and still knows", &call::name(&other, End::Peer).map(|name| (name == named).to_string()));
}

pub async fn binds_unix_sockets_to_names(scene: Scene) {
    let fd = unix();
    let named = |fd: &SharedFd, name: &SocketAddr| {
        let told = call::name(fd, End::Local).map(|told| (told == name.into()).to_string());
        told.shown()
    };
    scene.tell("no name", &call::name(&fd, End::Local));
    let first = scene.unix_path("first");
    scene.tell("a path", &call::bind(&fd, &first));
    scene.tell("which is its name", &named(&fd, &first));
    scene.tell("another path", &call::bind(&fd, scene.unix_path("another")));
    scene.tell("a name beside the files", &call::bind(&fd, scene.unix_name("beside")));
    scene.tell("that of another", &call::bind(&unix(), &first));
    drop(fd);
    scene.tell("that of one which is gone", &call::bind(&unix(), &first));
    let fd = unix();
    let beside = scene.unix_name("first");
    scene.tell("beside the files", &call::bind(&fd, &beside));
    scene.tell("which is its name", &named(&fd, &beside));
    scene.tell("that of another", &call::bind(&unix(), &beside));
    drop(fd);
    scene.tell("that of one which is gone", &call::bind(&unix(), &beside));
    for name in ["no-folder/name", "folder-of-sockets/name", "folder-of-sockets", "with-slash/", "."] {
        scene.tell(name, &call::bind(&unix(), scene.unix_path(name)));
    }
    scene.tell("an IPv4 address", &call::bind(&unix(), LOOPBACK));
    scene.tell("an IPv6 address", &call::bind(&unix(), LOOPBACK_6));
    for path in ["/a", "/a-path-that-is-longer-than-any-address"] {
        let path = SocketAddr::from_pathname(path).expect("it is short");
        scene.tell("a path for a socket of another family", &call::bind(&tcp(), &path));
        scene.tell("connecting with it", &submit(to(&tcp(), &path)).await);
    }
    let fd = unix();
    let nowhere = SocketAddr::from_pathname("").expect("no name");
    scene.tell("any name", &call::bind(&fd, &nowhere));
    scene.tell("which is", &call::name(&fd, End::Local));
    scene.tell("any name, once more", &call::bind(&fd, &nowhere));
}

pub async fn a_name_of_a_unix_socket_is_a_file(scene: Scene) {
    let (fd, _address) = scene.unix_listener("name", 1);
    let path = || c_path(&scene.path("name")).expect("no NUL");
    for _ in 0..2 {
        scene.tell("what it is", &submit(Stat::path(Base::Current, path(), true)).await);
        for flags in [OFlags::RDONLY, OFlags::RDWR, OFlags::PATH, OFlags::CREATE | OFlags::EXCL, OFlags::DIRECTORY] {
            scene.tell(format!("opened with {flags:?}"), &submit(scene.open("name", flags)).await);
        }
        call::shutdown(&fd, Shutdown::Both).expect("it is a socket");
    }
    drop(fd);
    scene.tell("it stays", &submit(Stat::path(Base::Current, path(), true)).await);
}

pub async fn connects_unix_sockets_by_their_names(scene: Scene) {
    let (listener, address) = scene.unix_listener("listener", 16);
    let fd = unix();
    scene.tell("where one listens", &submit(to(&fd, &address)).await);
    scene.tell("once more", &submit(to(&fd, &address)).await);
    scene.tell("the peer", &(call::name(&fd, End::Peer).expect("connected") == (&address).into()).to_string());
    scene.tell("itself", &call::name(&fd, End::Local));
    scene.tell("a listener itself", &submit(to(&listener, &address)).await);
    for name in ["nobody", "no-folder/name", "folder-of-sockets/name", "folder-of-sockets", ".", "listener/"] {
        scene.tell(name, &submit(to(&unix(), scene.unix_path(name))).await);
    }
    scene.tell("beside the files", &submit(to(&unix(), scene.unix_name("listener"))).await);
    scene.tell("no name", &submit(to(&unix(), SocketAddr::from_pathname("").expect("no name"))).await);
    scene.tell("an IPv4 address", &submit(to(&unix(), LOOPBACK)).await);
    scene.tell("an IPv6 address", &submit(to(&unix(), LOOPBACK_6)).await);
    let bound = unix();
    call::bind(&bound, scene.unix_path("bound")).expect("nobody else has the name");
    scene.tell("who does not listen", &submit(to(&unix(), scene.unix_path("bound"))).await);
    drop(listener);
    scene.tell("who listens no more", &submit(to(&unix(), &address)).await);
    scene.tell("who waited in it receives", &submit(recv(&fd, 9, RecvFlags::empty())).await);
    let beside = unix();
    call::bind(&beside, scene.unix_name("beside")).expect("nobody else has the name");
    call::listen(&beside, 1).expect("it has a name");
    for ours in [true, false] {
        let connect = Connect { ours, ..to(&unix(), scene.unix_name("beside")) };
        scene.tell(format!("who listens beside the files, ours: {ours}"), &submit(connect).await);
    }
}

pub async fn waits_for_room_in_the_backlog_of_a_unix_listener(scene: Scene) {
    for ours in [true, false] {
        let (listener, address) = scene.unix_listener(&format!("listener-{ours}"), 0);
        let (first, second) = (unix(), unix());
        scene.tell("the first", &submit(to(&first, &address)).await);
        let mut waiting = spawn(submit(Connect { ours, ..to(&second, &address) }));
        scene.tell("whether the second waits", &scene.limit(&mut waiting).await.is_none().to_string());
        scene.tell("one is accepted", &submit(Accept::new(listener.clone())).await.map(|_accepted| ()));
        scene.tell("the second is connected", &waiting.await.expect("no panic"));
        let mut third = spawn(submit(to(&unix(), &address)));
        scene.tell("whether the third waits", &scene.limit(&mut third).await.is_none().to_string());
        drop(listener);
        scene.tell("the third finds nobody", &third.await.expect("no panic"));
        scene.tell("and the second neither", &submit(recv(&second, 9, RecvFlags::empty())).await);
    }
}

pub async fn accepts_on_a_unix_listener(scene: Scene) {
    let (listener, address) = scene.unix_listener("listener", 16);
    let waiting = spawn(submit(Accept::new(listener.clone())));
    yield_now().await;
    let unnamed = unix();
    submit(to(&unnamed, &address)).await.expect("somebody listens");
    let (accepted, peer) = waiting.await.expect("no panic").expect("it connected");
    let accepted = SharedFd::new(accepted);
    scene.tell("who has no name", &peer);
    scene.tell(
        "of the accepted one the name",
        &(call::name(&accepted, End::Local).expect("a socket") == (&address).into()).to_string(),
    );
    scene.tell("and the peer's", &call::name(&accepted, End::Peer));
    let named = unix();
    let name = scene.unix_path("client");
    call::bind(&named, &name).expect("nobody else has the name");
    submit(to(&named, &address)).await.expect("somebody listens");
    let (second, peer) = submit(Accept::new(listener.clone())).await.expect("it connected");
    scene.tell("who has one", &(peer == (&name).into()).to_string());
    let second = SharedFd::new(second);
    submit(send(&second, b"before the end")).await.expect("there is room");
    drop(second);
    scene.tell("the far side receives", &recv_to_end(&named).await);
    scene.tell("shutting the listener down", &call::shutdown(&listener, Shutdown::Read));
    scene.tell("who connects then", &submit(to(&unix(), &address)).await);
    scene.tell("accepting", &scene.ask(Accept::new(listener.clone())).await.map(|_accepted| ()));
    scene.tell("waiting with nobody there", &{
        let (quiet, _address) = scene.unix_listener("quiet", 1);
        submit(Accept::new(quiet)).deadline(now() + Duration::from_millis(20)).await.map(|_accepted| ())
    });
}

pub async fn a_unix_stream_ends_for_both_sides(scene: Scene) {
    for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
        let (ours, theirs) = unix_pair();
        submit(send(&ours, b"ours")).await.expect("there is room");
        submit(send(&theirs, b"theirs")).await.expect("there is room");
        scene.tell(format!("shutting down: {how:?}"), &call::shutdown(&ours, how));
        scene.tell("once more", &call::shutdown(&ours, how));
        for (who, fd) in [("ours", &ours), ("theirs", &theirs)] {
            scene.tell(format!("{who}, receiving"), &submit(recv(fd, 9, RecvFlags::empty())).await);
            scene.tell(format!("{who}, sending"), &submit(send(fd, b"more")).await);
            scene.tell(format!("{who}, sending nothing"), &submit(send(fd, b"")).await);
            scene.tell(format!("{who}, ready"), &scene.ask(poll(fd)).await);
            scene.tell(format!("{who}, receiving again"), &scene.ask(recv(fd, 9, RecvFlags::empty())).await);
        }
    }
    let (ours, theirs) = unix_pair();
    submit(send(&ours, b"unread")).await.expect("there is room");
    submit(send(&theirs, b"last words")).await.expect("there is room");
    drop(theirs);
    scene.tell("sending to who went with bytes unread", &submit(send(&ours, b"more")).await);
    scene.tell("receiving", &submit(recv(&ours, 4, RecvFlags::empty())).await);
    scene.tell("all of it", &recv_to_end(&ours).await);
    scene.tell("and then", &submit(recv(&ours, 4, RecvFlags::empty())).await);
    scene.tell("shutting down", &call::shutdown(&ours, Shutdown::Both));
}

fn poll(fd: &SharedFd) -> runtime::op::ready::Poll {
    runtime::op::ready::Poll { fd: fd.clone(), interest: Interest::READABLE | Interest::WRITABLE }
}
