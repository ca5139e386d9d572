//! A disk writes where it was told to, also when the ring is closed and its owner gone. So memory of an op must outlive
//! the runtime's end until the disk is done.

#[path = "common/bounded.rs"]
mod bounded;

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime::buf::{IoBuf, IoBufMut};
use runtime::fd::SharedFd;
use runtime::op::file::{Position, Read};
use runtime::op::path::{Base, Open, OpenHow, c_path};
use runtime::testing::{Driver, builder, is_here};
use runtime::{metrics, submit, yield_now};
use rustix::fs::{Mode, OFlags, ResolveFlags};

const READS: usize = 64;
const READ_LEN: usize = 1024 * 1024;
/// O_DIRECT wants memory aligned to a block; a page is enough for all of them.
const ALIGN: usize = 4096;
const ROUNDS: usize = 50;
/// How long an end may take when a device does not answer.
const END_MAX: Duration = Duration::from_secs(1);
/// What memory holds that the disk must not write to. The file holds something else.
const CANARY: u8 = 0xa5;
const CONTENTS: u8 = 0x3c;

/// Memory for all reads of a round. Given back, it is filled with canaries at once.
struct Arena {
    free: RefCell<Vec<&'static mut [u8]>>,
}

impl Arena {
    fn new() -> Rc<Arena> {
        let memory = vec![0; READS * READ_LEN + ALIGN].leak();
        let unaligned = memory.as_ptr().addr().next_multiple_of(ALIGN) - memory.as_ptr().addr();
        let pieces = memory[unaligned..].chunks_exact_mut(READ_LEN).collect();
        Rc::new(Arena { free: RefCell::new(pieces) })
    }

    fn take(self: &Rc<Arena>) -> Piece {
        let memory = self.free.borrow_mut().pop().expect("a piece for each read");
        memory.fill(0);
        Piece { memory, arena: self.clone() }
    }

    fn is_intact(&self) -> bool {
        let canaries = vec![CANARY; READ_LEN];
        self.free.borrow().iter().all(|piece| **piece == canaries[..])
    }
}

struct Piece {
    memory: &'static mut [u8],
    arena: Rc<Arena>,
}

impl IoBuf for Piece {
    fn bytes(&self) -> &[u8] {
        self.memory
    }
}

impl IoBufMut for Piece {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        memory.fill(CANARY);
        self.arena.free.borrow_mut().push(memory);
    }
}

/// Catches: a `drain` that frees what is in flight instead of waiting for it.
#[test]
fn a_disk_that_is_late_never_writes_to_memory_that_a_ring_gave_back() {
    bounded::within(Duration::from_secs(300), "late writes by a ring", || end_runtimes_while_reading(Driver::Ring));
}

/// Catches: a request that is answered while a thread of the pool still services it; an end that sleeps for its whole
/// second, since the threads do not know that it sleeps.
#[test]
fn a_disk_that_is_late_never_writes_to_memory_that_the_fallback_gave_back() {
    bounded::within(Duration::from_secs(300), "late writes by threads", || {
        end_runtimes_while_reading(Driver::Fallback)
    });
}

fn end_runtimes_while_reading(driver: Driver) {
    if !is_here(driver, "ending while a disk writes") {
        return;
    }
    let file = Large::new(driver);
    let mut arena = Arena::new();
    let in_flight = Rc::new(Cell::new(0));
    let mut shortest = Duration::MAX;
    for round in 0..ROUNDS {
        let runtime = builder(driver).build().unwrap();
        let (opened, reading) = (arena.clone(), in_flight.clone());
        let open = file.open();
        let refused = runtime.block_on(async move {
            let fd = match submit(open).await {
                Ok(fd) => SharedFd::new(fd),
                Err(error) if error.kind() == ErrorKind::InvalidInput => return true,
                Err(error) => panic!("{error}"),
            };
            let answered = metrics().completed;
            for number in 0..READS {
                let op = Read { fd: fd.clone(), buf: opened.take(), position: Position::At(position_of(number)) };
                drop(runtime::spawn(async { drop(submit(op).await) }));
            }
            while metrics().submitted < answered + u64::try_from(READS).unwrap() {
                yield_now().await;
            }
            reading.set(reading.get() + metrics().in_flight);
            false
        });
        if refused {
            runtime::testing::skipped(format_args!("the file system of {} refuses O_DIRECT", file.path.display()));
            return;
        }
        let began = Instant::now();
        drop(runtime);
        let took = began.elapsed();
        shortest = shortest.min(took);
        // A disk that answers this has answered what it was asked before.
        file.read_last();
        assert!(arena.is_intact(), "round {round}: the disk wrote to memory that was given back");
        let given_back = arena.free.borrow().len();
        if took < END_MAX {
            assert_eq!(
                given_back, READS,
                "round {round}: memory was leaked, although the disk was done within the bound"
            );
        } else if given_back < READS {
            println!("round {round}: the disk took more than the bound, and {} pieces are leaked", READS - given_back);
            arena = Arena::new();
        }
    }
    assert!(shortest < END_MAX / 2, "the shortest of {ROUNDS} ends took {shortest:?}, as if nobody woke it");
    let in_flight = in_flight.get();
    println!("{driver:?}: {in_flight} of {} reads were in flight when their runtime ended", READS * ROUNDS);
    assert!(in_flight > READS * ROUNDS / 10, "the disk was so fast that this proves nothing");
}

/// A file to read, past all caches.
struct Large {
    path: PathBuf,
}

impl Large {
    fn new(driver: Driver) -> Large {
        let name = format!("late-writes-{driver:?}-{}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut file = fs::File::create(&path).unwrap();
        for _piece in 0..READS {
            file.write_all(&vec![CONTENTS; READ_LEN]).unwrap();
        }
        file.sync_all().unwrap();
        Large { path }
    }

    fn open(&self) -> Open {
        let how = OpenHow::new(OFlags::RDONLY | OFlags::DIRECT, Mode::empty(), ResolveFlags::empty());
        Open { base: Base::Current, path: c_path(&self.path).unwrap(), how }
    }

    fn read_last(&self) {
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.path, flags, Mode::empty()).unwrap();
        let mut memory = vec![0; READ_LEN + ALIGN];
        let unaligned = memory.as_ptr().addr().next_multiple_of(ALIGN) - memory.as_ptr().addr();
        let piece = &mut memory[unaligned..unaligned + READ_LEN];
        assert_eq!(rustix::io::pread(&file, &mut *piece, position_of(READS - 1)).unwrap(), READ_LEN);
        assert_eq!(*piece, [CONTENTS; READ_LEN]);
    }
}

fn position_of(number: usize) -> u64 {
    u64::try_from(number * READ_LEN).expect("small")
}

impl Drop for Large {
    fn drop(&mut self) {
        // A test that failed before it was written has nothing to remove.
        let _removed = fs::remove_file(&self.path);
    }
}
