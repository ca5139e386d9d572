//! Reading and writing allocate nothing, once they are under way.

#[path = "../../runtime/tests/common/counting.rs"]
mod counting;

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use counting::{Counting, asked};
use fs::File;
use runtime::op::Nop;
use runtime::testing::{Driver, builder, is_here};

#[path = "common/folder.rs"]
mod folder;

use folder::Folder;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 1000;

/// After the first few, which fill the pools.
/// Catches: a boxed future or op; a waker that is cloned into an Arc; a buffer that is made for each transfer.
#[test]
fn reads_and_writes_allocate_nothing_in_steady_state() {
    if !is_here(Driver::Ring, "counting allocations") {
        return;
    }
    let folder = Folder::new();
    std::fs::write(folder.file("file"), vec![7; 65_536]).unwrap();
    let runtime = builder(Driver::Ring).build().unwrap();
    runtime.block_on(async {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).open(folder.file("file")).await.unwrap();
        let mut given = Some(vec![0; 4096]);
        let mut lent = vec![0; 4096];
        let mut allocations = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            let before = asked();
            let offset = (round % 16 * 4096) as u64;
            let (n, buf) = file.read_at_owned(given.take().unwrap(), offset).await.unwrap();
            assert_eq!(n, 4096);
            given = Some(file.write_at_owned(buf, offset).await.unwrap().1);
            file.read_exact_at(&mut lent, offset).await.unwrap();
            file.write_all_at(&lent, offset).await.unwrap();
            file.rewind().await.unwrap();
            file.read_exact(&mut lent).await.unwrap();
            given = Some(file.read_owned(given.take().unwrap()).await.unwrap().1);
            allocations.push(asked() - before);
        }
        assert_eq!(allocations[ROUNDS / 10..].iter().sum::<u64>(), 0, "of each round: {:?}", &allocations[..50]);
    });
}

/// Three readers with open files of their own, of one pipe: each byte wakes all, and two come too late.
/// Catches: a read that goes on waiting with memory of its own, once it has found nothing.
#[test]
fn waiting_for_a_pipe_allocates_nothing_in_steady_state() {
    if !is_here(Driver::Ring, "counting allocations") {
        return;
    }
    let (reader, writer) = std::io::pipe().unwrap();
    let runtime = builder(Driver::Ring).build().unwrap();
    runtime.block_on(async {
        let taken = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let file = File::from(OwnedFd::from(reader.try_clone().unwrap()));
            let taken = taken.clone();
            let read = async move {
                while file.read(&mut [0; 1]).await.unwrap() > 0 {
                    taken.set(taken.get() + 1);
                }
            };
            drop(runtime::spawn(read));
        }
        let writer = File::from(OwnedFd::from(writer));
        let mut allocations = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            let before = asked();
            writer.write_all(b"x").await.unwrap();
            while taken.get() == round {
                runtime::submit(Nop).await.unwrap();
            }
            allocations.push(asked() - before);
        }
        assert_eq!(allocations[ROUNDS / 10..].iter().sum::<u64>(), 0, "of each round: {:?}", &allocations[..50]);
    });
}
