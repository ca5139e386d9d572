//! What files and directories promise on each driver; on the simulated kernel also when replies come late and in
//! another order.

use std::future::Future;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use runtime::simulated::{Fault, Faults};
use runtime::testing::{Driver, builder, is_here};

/// A name that nobody else has, neither here nor in a simulated `/tmp`.
fn fresh_name() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("/tmp/gimmal-fs-every-{}-{number}", std::process::id()))
}

/// The simulated kernel keeps its files to itself.
fn clean_up(path: PathBuf) {
    let _not_there_if_simulated = std::fs::remove_file(path);
}

#[runtime::test(driver = each)]
async fn what_is_written_is_read() {
    let path = fresh_name();
    let contents: Vec<u8> = (0..600_000_u32).map(|at| at.wrapping_mul(31).to_le_bytes()[1]).collect();
    fs::write(&path, &contents).await.unwrap();
    assert!(fs::read(&path).await.unwrap() == contents);
    assert_eq!(fs::metadata(&path).await.unwrap().len(), 600_000);

    let file = fs::File::open(&path).await.unwrap();
    let ((), end) = file.read_exact_at_owned(vec![0; 100_000], 500_000).await.unwrap();
    assert!(end == contents[500_000..]);
    let mut read = Vec::new();
    assert_eq!(file.read_to_end(&mut read).await.unwrap(), 600_000);
    assert!(read == contents);
    assert_eq!(file.write(b"x").await.unwrap_err().raw_os_error(), Some(9), "EBADF: it is open to read");
    assert_eq!(file.write(b"").await.unwrap_err().raw_os_error(), Some(9), "EBADF: also to write nothing");
    assert_eq!(file.read(&mut []).await.unwrap(), 0);
    file.close().await.unwrap();

    assert_eq!(fs::File::create_new(&path).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::File::open(path.join("below")).await.unwrap_err().kind(), ErrorKind::NotADirectory);
    clean_up(path);
}

/// Catches: a set_len that goes past the kernel that serves; one that later writes overtake.
#[runtime::test(driver = each, seeds = 200)]
async fn a_file_gets_the_length_that_it_is_told() {
    let path = fresh_name();
    let file = fs::File::create(&path).await.unwrap();
    file.write_all_at(&[7; 3_000], 0).await.unwrap();
    file.set_len(1_000).await.unwrap();
    assert_eq!(fs::read(&path).await.unwrap(), [7; 1_000]);
    file.set_len(1_500).await.unwrap();
    assert_eq!(fs::read(&path).await.unwrap(), [[7; 1_000].as_slice(), &[0; 500]].concat());

    assert_eq!(file.set_len(u64::MAX).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let reader = fs::File::open(&path).await.unwrap();
    assert_eq!(reader.set_len(1).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let dropped_on_its_way = pin!(file.set_len(0)).poll(&mut Context::from_waker(Waker::noop())).is_pending();
    if dropped_on_its_way {
        file.write_all_at(&[8; 10], 0).await.unwrap();
        assert_eq!(fs::read(&path).await.unwrap(), [8; 10], "the dropped cut came later, or never");
    }
    clean_up(path);
}

/// Signals are not for those who sync or cut, as in std.
/// Catches: an EINTR that comes through.
#[runtime::test(driver = simulated, seeds = 50)]
async fn interrupted_syncs_and_changes_of_length_are_repeated() {
    let file = fs::File::create("/tmp/a").await.unwrap();
    runtime::simulated::world().set_faults(Faults::none().with(Fault::Interrupted, 0.5));
    file.set_len(1_000).await.unwrap();
    file.sync_data().await.unwrap();
    file.sync_all().await.unwrap();
    assert_eq!(runtime::simulated::world().files()[0].synced, [0; 1_000]);
}

/// Catches: a call that reaches the real file system from a simulated program.
#[runtime::test(driver = simulated)]
async fn what_a_simulated_kernel_lacks_is_refused_and_listed() {
    let path = fresh_name();
    std::fs::write(&path, "the real one's").unwrap();
    assert_eq!(fs::remove_file(&path).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(fs::create_dir("/tmp/gimmal-fs-never").await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(std::fs::read(&path).unwrap(), b"the real one's");
    fs::write("/tmp/a", b"the simulated one's").await.unwrap();
    let file = fs::File::open("/tmp/a").await.unwrap();
    assert_eq!(file.read_to_end(&mut Vec::new()).await.unwrap(), 19);
    file.rewind().await.unwrap();
    assert_eq!(runtime::simulated::world().unsupported(), ["create_dir", "remove_file"]);

    assert_eq!(file.try_clone().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(fs::read_dir("/tmp").await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(file.into_std().await.unwrap_err().kind(), ErrorKind::Unsupported);
    let listed = runtime::simulated::world().unsupported();
    assert_eq!(listed, ["create_dir", "into_std", "read_dir", "remove_file", "try_clone"]);
    std::fs::remove_file(&path).unwrap();
}

/// Catches: a `Feature::Ftruncate` that nobody asks about.
#[test]
fn a_ring_without_ftruncate_sets_the_length_on_the_pool() {
    if !is_here(Driver::Ring, "a ring without the op") {
        return;
    }
    let runtime = builder(Driver::Ring).without(runtime::Feature::Ftruncate).build();
    runtime.unwrap().block_on(async {
        assert!(!runtime::call::offers(runtime::Feature::Ftruncate));
        let path = fresh_name();
        let file = fs::File::create(&path).await.unwrap();
        assert_eq!(runtime::metrics().pool_threads, 0);
        file.set_len(12_345).await.unwrap();
        assert_eq!(runtime::metrics().pool_threads, 1);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 12_345);
        clean_up(path);
    });
}

/// Catches: a later write that does not wait for a dropped one; a dropped write that is cancelled.
#[runtime::test(driver = each, seeds = 200)]
async fn dropped_writes_are_written_whole_and_overwrite_nothing_later() {
    let path = fresh_name();
    let file = fs::File::create(&path).await.unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for round in 0..20_u8 {
        assert!(pin!(file.write_at_owned(vec![b'-'; 5_000], 0)).poll(&mut context).is_pending());
        file.write_all_at(&[round; 100], 2_000).await.unwrap();
        let found = fs::read(&path).await.unwrap();
        assert_eq!(found.len(), 5_000, "round {round}: the dropped write is cut");
        assert_eq!(found[2_000..2_100], [round; 100], "round {round}: the dropped write came later");
    }
    file.close().await.unwrap();
    clean_up(path);
}

/// Catches: a turn that ends with the future; an `abandon` that does not seek back.
#[runtime::test(driver = each, seeds = 200)]
async fn a_dropped_read_loses_nothing() {
    let path = fresh_name();
    let contents: Vec<u8> = (0..10_000_u32).map(|at| at.wrapping_mul(7).to_le_bytes()[0]).collect();
    fs::write(&path, &contents).await.unwrap();
    let file = fs::File::open(&path).await.unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    while read.len() < contents.len() {
        // What an earlier one took, and could not put back, is there at once.
        if let Poll::Ready(parked) = pin!(file.read_owned(vec![0; 300])).poll(&mut context) {
            let (n, buf) = parked.unwrap();
            read.extend_from_slice(&buf[..n]);
        }
        let (n, buf) = file.read_owned([0; 111]).await.unwrap();
        assert!(n > 0 || read.len() == contents.len(), "an end at {}", read.len());
        read.extend_from_slice(&buf[..n]);
    }
    assert!(read == contents);
    clean_up(path);
}

/// Catches: bytes that are kept for the next read where the next one writes.
#[runtime::test(driver = each, seeds = 50)]
async fn a_write_after_a_dropped_read_goes_where_that_began() {
    let path = fresh_name();
    fs::write(&path, b"0123456789").await.unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).await.unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for at in 0..5 {
        drop(pin!(file.read_owned([0; 2])).poll(&mut context));
        file.write_all(b"x").await.unwrap();
        assert_eq!(fs::read(&path).await.unwrap()[..=at], b"xxxxx"[..=at]);
    }
    clean_up(path);
}

/// The kernel tells once of a write that it lost; if it told a sync that nobody waited for, the next one must say so.
/// Catches: an `abandon` of a sync that throws its error away; a sync that does not wait for a dropped one.
#[runtime::test(driver = simulated, seeds = 50)]
async fn the_error_of_a_dropped_sync_is_told_to_the_next() {
    let world = runtime::simulated::world();
    let file = fs::File::create("/tmp/kept").await.unwrap();
    file.write_all(b"not to be lost").await.unwrap();
    // The disk fails once, and the cancel of the dropped one comes too late to spare it that.
    world.set_faults(Faults::none().with(Fault::LateCancel, 1.0).at_step(world.steps(), Fault::IoError));
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(file.sync_all()).poll(&mut context).is_pending());
    assert_eq!(file.sync_all().await.unwrap_err().raw_os_error(), Some(5), "EIO");
    file.sync_all().await.unwrap();
}

/// Catches: a sync or a change of length that shows EINTR, which std's never do; one that was dropped and is not gone
/// on with.
#[runtime::test(driver = simulated, seeds = 50)]
async fn signals_interrupt_no_sync_and_no_change_of_length() {
    let file = fs::File::create("/tmp/kept").await.unwrap();
    file.write_all(b"long enough").await.unwrap();
    runtime::simulated::world().set_faults(Faults::none().with(Fault::Interrupted, 0.5));
    let mut context = Context::from_waker(Waker::noop());
    for len in 0..10 {
        assert!(pin!(file.set_len(20 + len)).poll(&mut context).is_pending());
        file.sync_data().await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 20 + len);
        file.set_len(len).await.unwrap();
        file.sync_all().await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), len);
    }
}
