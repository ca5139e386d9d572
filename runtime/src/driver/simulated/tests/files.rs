//! Files: what reading sees, and what a power cut leaves.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::*;
use crate::driver::simulated::descriptors::Object;
use crate::op::file::{Close, FileRequest, Fsync, Position, Read, Truncate, Write};
use crate::op::path::{Base, Open, OpenHow, Stat, c_path};

fn open_with(machine: &mut Machine, path: &str, flags: OFlags, resolve: ResolveFlags) -> io::Result<SharedFd> {
    let how = OpenHow::new(flags, Mode::from_raw_mode(0o666), resolve);
    let open = Open { base: Base::Current, path: c_path(path.as_ref())?, how };
    machine.run(open).map(SharedFd::new)
}

fn open(machine: &mut Machine, path: &str, flags: OFlags) -> io::Result<SharedFd> {
    open_with(machine, path, flags, ResolveFlags::empty())
}

fn write(machine: &mut Machine, fd: &SharedFd, position: Position, bytes: &[u8]) -> io::Result<usize> {
    Ok(machine.run(Write { fd: fd.clone(), buf: bytes.to_vec(), position })?.0)
}

fn read(machine: &mut Machine, fd: &SharedFd, position: Position, len: usize) -> io::Result<Vec<u8>> {
    let (count, mut buf) = machine.run(Read { fd: fd.clone(), buf: vec![0; len], position })?;
    buf.truncate(count);
    Ok(buf)
}

fn sync(machine: &mut Machine, fd: &SharedFd) -> io::Result<()> {
    machine.run(Fsync { fd: fd.clone(), data_only: false })
}

fn code<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

#[test]
fn a_file_is_written_and_read_at_offsets_and_at_the_cursor() {
    let mut machine = Machine::new(1, Faults::none());
    let fd = open(&mut machine, "/tmp/a", OFlags::CREATE | OFlags::RDWR).unwrap();
    assert_eq!(write(&mut machine, &fd, Position::Cursor, b"hello ").unwrap(), 6);
    assert_eq!(write(&mut machine, &fd, Position::Cursor, b"world").unwrap(), 5);
    assert_eq!(write(&mut machine, &fd, Position::At(14), b"!").unwrap(), 1);
    assert_eq!(read(&mut machine, &fd, Position::At(0), 64).unwrap(), b"hello world\0\0\0!");
    assert_eq!(
        read(&mut machine, &fd, Position::Cursor, 64).unwrap(),
        b"\0\0\0!",
        "writing at an offset moves no cursor"
    );
    assert_eq!(read(&mut machine, &fd, Position::At(15), 64).unwrap(), b"", "the end");

    let append = open(&mut machine, "tmp/a", OFlags::APPEND | OFlags::WRONLY).unwrap();
    write(&mut machine, &append, Position::At(0), b"?").unwrap();
    assert_eq!(code(read(&mut machine, &append, Position::At(0), 1)), Some(Errno::BADF));
    let stat = machine.run(Stat::file(fd.clone())).unwrap();
    assert_eq!((stat.size, stat.links, stat.mode), (16, 1, 0o100_644));
    assert_eq!(code(write(&mut machine, &fd, Position::At(1 << 40), b"x")), Some(Errno::FBIG));
}

#[test]
fn names_are_found_or_refused_as_by_openat2() {
    let mut machine = Machine::new(1, Faults::none());
    machine.world().write_file("/etc/deep/motd", b"hi").unwrap();
    let (beneath, none) = (ResolveFlags::BENEATH, ResolveFlags::empty());
    let cases = [
        ("/etc/deep/motd", OFlags::RDONLY, none, None),
        ("/etc//./deep/../deep/motd", OFlags::RDONLY, none, None),
        ("/../etc/deep/motd", OFlags::RDONLY, none, None),
        ("/etc/deep", OFlags::RDONLY | OFlags::DIRECTORY, none, None),
        ("/etc/none", OFlags::RDONLY, none, Some(Errno::NOENT)),
        ("/none/motd", OFlags::CREATE | OFlags::WRONLY, none, Some(Errno::NOENT)),
        ("/etc/deep/motd/x", OFlags::RDONLY, none, Some(Errno::NOTDIR)),
        ("/etc/deep/motd/", OFlags::RDONLY, none, Some(Errno::NOTDIR)),
        ("/etc/deep/motd", OFlags::DIRECTORY, none, Some(Errno::NOTDIR)),
        ("/etc/deep", OFlags::WRONLY, none, Some(Errno::ISDIR)),
        ("/etc/deep/motd", OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, none, Some(Errno::EXIST)),
        ("etc/deep/../deep/motd", OFlags::RDONLY, beneath, None),
        ("/etc/deep/motd", OFlags::RDONLY, beneath, Some(Errno::XDEV)),
        ("etc/../../etc/deep/motd", OFlags::RDONLY, beneath, Some(Errno::XDEV)),
        ("", OFlags::RDONLY, none, Some(Errno::NOENT)),
    ];
    for (path, flags, resolve, expected) in cases {
        let opened = open_with(&mut machine, path, flags, resolve);
        assert_eq!(opened.as_ref().err().and_then(Errno::from_io_error), expected, "{path} {flags:?} {resolve:?}");
    }
    assert_eq!(machine.world().open_descriptors(), 0);
}

/// Catches: an odd path that is taken for a name; a name that a power cut takes although it was put there durably.
#[test]
fn files_are_put_where_their_paths_lead() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    for path in ["//srv//a", "/srv/./b", "/srv/www/../c", "/../srv/d", "/tmp/./../srv/e"] {
        world.write_file(path, path.as_bytes()).unwrap();
    }
    for path in ["/srv/f/", "/srv/www", "/srv/.", "/srv/..", "/", "//"] {
        assert_eq!(code(world.write_file(path, b"")), Some(Errno::ISDIR), "{path}");
    }
    assert_eq!(code(world.write_file("/srv/a/g", b"")), Some(Errno::NOTDIR));
    world.power_cut();
    let found: Vec<_> = world.files().into_iter().map(|file| (file.path, file.name_is_synced)).collect();
    assert_eq!(found, ["a", "b", "c", "d", "e"].map(|name| (format!("/srv/{name}").into(), true)));
    let fd = open(&mut machine, "/srv/e", OFlags::RDONLY).unwrap();
    assert_eq!(read(&mut machine, &fd, Position::At(0), 64).unwrap(), b"/tmp/./../srv/e");
}

/// Catches: an open that makes or cuts a file before it finds that no descriptor is left.
#[test]
fn without_a_descriptor_no_file_is_made_or_cut() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    world.write_file("/tmp/a", b"kept").unwrap();
    for number in 3..65_536 {
        machine.driver.shared.lock().descriptors.replace(number, Object::Dead);
    }
    for path in ["/tmp/a", "/tmp/b"] {
        let opened = open(&mut machine, path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC);
        assert_eq!(code(opened), Some(Errno::MFILE));
    }
    let found: Vec<_> = world.files().into_iter().map(|file| (file.path, file.contents)).collect();
    assert_eq!(found, [("/tmp/a".into(), b"kept".to_vec())]);
}

/// Catches: a relative path that starts at the root whatever directory was given.
#[test]
fn a_relative_path_starts_at_its_directory() {
    let mut machine = Machine::new(1, Faults::none());
    machine.world().write_file("/srv/www/index", b"page").unwrap();
    let dir = open(&mut machine, "/srv/www", OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
    let how = OpenHow::new(OFlags::RDONLY, Mode::empty(), ResolveFlags::BENEATH);
    let open = |path: &str| Open { base: Base::Dir(dir.clone()), path: c_path(path.as_ref()).unwrap(), how };
    let fd = SharedFd::new(machine.run(open("index")).unwrap());
    assert_eq!(read(&mut machine, &fd, Position::At(0), 16).unwrap(), b"page");
    assert_eq!(code(machine.run(open("../www/index"))), Some(Errno::XDEV));
}

#[test]
fn closing_by_an_op_frees_the_number_also_when_it_fails() {
    for (faults, expected) in [(Faults::none(), None), (Faults::none().with(Fault::IoError, 1.0), Some(Errno::IO))] {
        let mut machine = Machine::new(1, Faults::none());
        let fd = open(&mut machine, "/tmp/a", OFlags::CREATE | OFlags::RDWR).unwrap();
        machine.world().set_faults(faults);
        let Ok(fd) = fd.try_into_fd() else { panic!("it is shared") };
        assert_eq!(code(machine.run(Close::new(fd))), expected);
        assert_eq!(machine.world().open_descriptors(), 0);
    }
}

/// The story of every log: what was acknowledged after a sync is there, whatever the power does.
/// Catches: a power cut that drops synced bytes, a sync of the file that is taken for one of its directory, and a power
/// cut that drops nothing.
#[test]
fn what_was_synced_with_its_directory_survives_a_power_cut() {
    let (mut lost_tail, mut kept_tail, mut lost_name) = (0, 0, 0);
    for seed in 0..200 {
        let mut machine = Machine::new(seed, Faults::none());
        let world = machine.world();
        let log = open(&mut machine, "/tmp/log", OFlags::CREATE | OFlags::RDWR).unwrap();
        let dir = open(&mut machine, "/tmp", OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
        write(&mut machine, &log, Position::At(0), &[1; 1_000]).unwrap();
        sync(&mut machine, &log).unwrap();
        sync(&mut machine, &dir).unwrap();
        write(&mut machine, &log, Position::At(1_000), &[2; 3_000]).unwrap();
        let other = open(&mut machine, "/tmp/other", OFlags::CREATE | OFlags::RDWR).unwrap();
        sync(&mut machine, &other).unwrap();

        assert_eq!(world.power_cuts(), 0);
        world.power_cut();
        assert_eq!(world.power_cuts(), 1);
        assert_eq!(code(read(&mut machine, &log, Position::At(0), 8)), Some(Errno::IO), "its descriptor is dead");
        let log = open(&mut machine, "/tmp/log", OFlags::RDWR).unwrap();
        let left = read(&mut machine, &log, Position::At(0), 8_000).unwrap();
        assert_eq!(left[..1_000], [1; 1_000], "seed {seed}");
        assert!(left[1_000..].iter().all(|&byte| byte == 2 || byte == 0), "seed {seed}");
        match left.iter().filter(|&&byte| byte == 2).count() {
            0 => lost_tail += 1,
            3_000 => kept_tail += 1,
            _ => {}
        }
        lost_name += u32::from(open(&mut machine, "/tmp/other", OFlags::RDONLY).is_err());
        let files = world.files();
        assert!(files.iter().all(|file| file.contents == file.synced && file.name_is_synced), "seed {seed}: {files:?}");
    }
    assert!(lost_tail > 20 && kept_tail > 2 && kept_tail + lost_tail < 190, "{lost_tail} lost, {kept_tail} kept");
    assert!((50..150).contains(&lost_name), "{lost_name} names lost");
}

/// `O_SYNC` does not change that.
/// Catches: a cut that is durable at once, one that is never undone, and one that takes what was synced behind it.
#[test]
fn a_cut_that_was_not_synced_may_come_undone() {
    let (mut cut, mut undone) = (0, 0);
    for seed in 0..100 {
        let mut machine = Machine::new(seed, Faults::none());
        machine.world().write_file("/tmp/a", &[7; 2_000]).unwrap();
        let fd = open(&mut machine, "/tmp/a", OFlags::RDWR | OFlags::SYNC).unwrap();
        machine.run(Truncate { fd: fd.clone(), len: 1_000 }).unwrap();
        assert_eq!(read(&mut machine, &fd, Position::At(0), 4_000).unwrap(), [7; 1_000]);
        if seed % 2 == 0 {
            sync(&mut machine, &fd).unwrap();
        }
        machine.world().power_cut();
        let left = machine.world().files()[0].contents.len();
        assert!(left == 1_000 || (left == 2_000 && seed % 2 == 1), "seed {seed}: {left}");
        if left == 1_000 { cut += 1 } else { undone += 1 }
    }
    assert!(cut > 55 && undone > 10, "{cut} cut, {undone} undone");
}

#[test]
fn a_file_is_cut_or_filled_up_only_where_ftruncate_would() {
    let mut machine = Machine::new(1, Faults::none());
    let fd = open(&mut machine, "/tmp/a", OFlags::CREATE | OFlags::RDWR).unwrap();
    write(&mut machine, &fd, Position::Cursor, b"abc").unwrap();
    machine.run(Truncate { fd: fd.clone(), len: 5 }).unwrap();
    assert_eq!(read(&mut machine, &fd, Position::At(0), 8).unwrap(), b"abc\0\0");
    machine.run(Truncate { fd: fd.clone(), len: 1 }).unwrap();
    assert_eq!(read(&mut machine, &fd, Position::Cursor, 8).unwrap(), b"", "the cursor stays behind the end");

    let reader = open(&mut machine, "/tmp/a", OFlags::RDONLY).unwrap();
    assert_eq!(code(machine.run(Truncate { fd: reader, len: 0 })), Some(Errno::INVAL));
    let dir = open(&mut machine, "/tmp", OFlags::RDONLY).unwrap();
    assert_eq!(code(machine.run(Truncate { fd: dir, len: 0 })), Some(Errno::INVAL));
    let socket = machine.socket();
    assert_eq!(code(machine.run(Truncate { fd: socket, len: 0 })), Some(Errno::INVAL));
    assert_eq!(code(machine.run(Truncate { fd, len: 1 << 40 })), Some(Errno::FBIG));
}

/// Catches: a sync that failed, after which another one makes good what was lost, as Linux does not.
#[test]
fn what_a_failed_sync_lost_stays_lost() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut machine = Machine::new(seed, Faults::none().at_step(3, Fault::IoError));
        let fd = open(&mut machine, "/tmp/a", OFlags::CREATE | OFlags::RDWR).unwrap();
        write(&mut machine, &fd, Position::At(0), &[7; 512]).unwrap();
        assert_eq!(code(sync(&mut machine, &fd)), Some(Errno::IO), "seed {seed}");
        sync(&mut machine, &fd).unwrap();
        let file = &machine.world().files()[0];
        assert_eq!(file.contents, [7; 512], "reading sees it all the same");
        lost += u32::from(file.synced.is_empty());
    }
    assert!((30..95).contains(&lost), "{lost} of 100 lost");
}

#[test]
fn the_power_goes_for_what_is_in_flight_too() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    let (client, server) = machine.pair();
    let outside = world.listen(address("10.1.1.1:1")).unwrap();
    let far = machine.socket();
    machine.run(connect(&far, "10.1.1.1:1")).unwrap();
    let peer = outside.accept().unwrap();
    let waiting = machine.start(recv(&client, vec![0; 8]));
    machine.run_until(Duration::from_millis(1));
    world.power_cut();
    assert!(peer.is_reset(), "the outside learns of it");
    let error = machine.finish::<Recv<Vec<u8>>>(waiting).unwrap_err();
    assert_eq!(error.error().raw_os_error(), Some(Errno::IO.raw_os_error()));
    drop((client, server));
    assert_eq!(machine.socket().borrow().number(), -1, "the machine is up again");
}

/// Catches: O_DIRECT that is taken for a wish.
#[test]
fn direct_io_wants_whole_sectors() {
    let mut machine = Machine::new(1, Faults::none());
    let fd = open(&mut machine, "/tmp/a", OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT).unwrap();
    assert_eq!(write(&mut machine, &fd, Position::At(0), &[1; 1024]).unwrap(), 1024);
    assert_eq!(code(write(&mut machine, &fd, Position::At(0), &[2; 100])), Some(Errno::INVAL));
    assert_eq!(code(write(&mut machine, &fd, Position::At(100), &[2; 512])), Some(Errno::INVAL));
    assert_eq!(code(read(&mut machine, &fd, Position::At(512), 100)), Some(Errno::INVAL));
    assert_eq!(code(read(&mut machine, &fd, Position::At(8), 512)), Some(Errno::INVAL));
    assert_eq!(read(&mut machine, &fd, Position::At(512), 1024).unwrap(), [1; 512]);

    machine.world().set_faults(Faults::none().with(Fault::Short, 1.0));
    assert_eq!(read(&mut machine, &fd, Position::At(0), 1024).unwrap().len() % 512, 0, "also where it comes short");

    machine.world().set_faults(Faults::none());
    machine.world().write_file("/tmp/odd", b"odd").unwrap();
    let odd = open(&mut machine, "/tmp/odd", OFlags::WRONLY | OFlags::APPEND | OFlags::DIRECT).unwrap();
    assert_eq!(code(write(&mut machine, &odd, Position::At(0), &[1; 512])), Some(Errno::INVAL), "it goes to the end");
    let odd = open(&mut machine, "/tmp/odd", OFlags::RDONLY | OFlags::DIRECT).unwrap();
    assert_eq!(read(&mut machine, &odd, Position::At(0), 512).unwrap(), b"odd");
    assert_eq!(read(&mut machine, &odd, Position::At(3), 512).unwrap(), b"", "the end");
}

/// Catches: a cursor that always moves, on which a program relies that a ring then lets down.
#[test]
fn direct_io_at_the_cursor_may_leave_it_where_it_was() {
    let mut left = 0;
    for seed in 0..100 {
        let mut machine = Machine::new(seed, Faults::none());
        machine.world().write_file("/tmp/a", &[[1; 512], [2; 512], [3; 512]].concat()).unwrap();
        let fd = open(&mut machine, "/tmp/a", OFlags::RDONLY | OFlags::DIRECT).unwrap();
        assert_eq!(read(&mut machine, &fd, Position::Cursor, 512).unwrap(), [1; 512]);
        let (mut now, flags) = ([0; 512], rustix::io::ReadWriteFlags::empty());
        let request = FileRequest::Read { fd: fd.borrow(), buf: &mut now, position: Position::Cursor, flags };
        machine.call(Request::File(request)).unwrap();
        assert!(now == [1; 512] || now == [2; 512]);
        left += u32::from(now == [1; 512]);
        assert_eq!(read(&mut machine, &fd, Position::Cursor, 512).unwrap(), [now[0] + 1; 512], "a call moves it");
    }
    assert!((30..70).contains(&left), "{left} of 100");
}

/// Catches: a write through a synced descriptor that makes durable what others wrote before; an older write that comes
/// back over it.
#[test]
fn a_write_that_is_synced_syncs_nothing_else() {
    let mut lost = 0;
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::none());
        machine.world().write_file("/tmp/a", &[0; 2048]).unwrap();
        let plain = open(&mut machine, "/tmp/a", OFlags::RDWR).unwrap();
        let synced = open(&mut machine, "/tmp/a", OFlags::RDWR | OFlags::DSYNC).unwrap();
        write(&mut machine, &plain, Position::At(0), &[1; 512]).unwrap();
        write(&mut machine, &plain, Position::At(1024), &[1; 512]).unwrap();
        write(&mut machine, &plain, Position::At(1536), &[1; 512]).unwrap();
        write(&mut machine, &synced, Position::At(1024), &[2; 512]).unwrap();
        machine.world().power_cut();
        let left = &machine.world().files()[0].contents;
        assert!(left[1024..1536] == [2; 512], "seed {seed}: what was synced is lost");
        lost += usize::from(left[..512] == [0; 512]);
    }
    assert!((5..45).contains(&lost), "lost {lost}");
}
