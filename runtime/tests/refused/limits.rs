//! Limits on locked memory and on descriptors: a ring shrinks to what is allowed, or the error names the limit.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use runtime::testing::{Driver, is_here};
use runtime::{Builder, Choice, Probe, probe};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::child::in_a_child;
use crate::echo::echo;
use crate::{descriptors, is_child, logged};

/// The kernel gives the memory of a closed ring back when it comes to it.
const GIVEN_BACK_MAX: Duration = Duration::from_secs(10);
/// So long it is left alone between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Lets this thread, and those that it starts, lock `kib` and no more.
fn lower_memlock(kib: u64) {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    sets.permitted.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).unwrap();
    let limit = Some(kib << 10);
    setrlimit(Resource::Memlock, Rlimit { current: limit, maximum: limit }).unwrap();
}

/// Locked memory belongs to a user, not to a process, so one test at a time counts it. `None`: it cannot be counted
/// here.
fn memory(test: &str) -> Option<MutexGuard<'static, ()>> {
    static MEMORY: Mutex<()> = Mutex::new(());
    let page = rustix::param::page_size();
    if page != 4096 {
        runtime::testing::skipped(format_args!(
            "the sums of {test} are for pages of 4096 bytes, and here they have {page}"
        ));
        return None;
    }
    // In a child it is the parent who asks.
    let can_run = is_child() || is_here(Driver::Ring, test);
    can_run.then(|| MEMORY.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Catches: an ENOMEM that is not met by a smaller ring; one that is taken for a denial, so that the fallback hides it;
/// an error without the sums.
#[test]
fn under_64_kib_the_first_rings_are_smaller_and_the_last_error_names_memlock_and_the_sum() {
    const TEST: &str = "limits::under_64_kib_the_first_rings_are_smaller_and_the_last_error_names_memlock_and_the_sum";
    let Some(_alone) = memory(TEST) else { return };
    in_a_child(
        TEST,
        "64 KiB",
        |_| (),
        || {
            logged::listen();
            lower_memlock(64);
            let (made, error) = runtimes_side_by_side(64);
            let warnings = logged::lines_with(None, &["WARN"]);
            println!("{made} runtimes under 64 KiB, {error:?}, {warnings:#?}");
            let Some(error) = error else {
                assert_eq!(warnings, [""; 0]);
                runtime::testing::skipped(format_args!("this kernel does not count the memory of rings"));
                return;
            };
            // How many it is depends on what this user's other programs have. Each at its smallest takes 12 KiB.
            assert!(made <= 5, "{made} runtimes");
            assert_eq!(warnings.len(), made, "a ring of 84 KiB cannot be");
            assert!(warnings.iter().all(|warning| warning.contains("RLIMIT_MEMLOCK is 64 KiB): made a smaller one")));
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
            let text = error.to_string();
            for part in [
                "io_uring_setup(2): Cannot allocate memory (os error 12): ",
                "RLIMIT_MEMLOCK",
                "this one takes 84 KiB, 12 KiB at the least, and the limit is 64 KiB",
                "raise RLIMIT_MEMLOCK to 84 KiB and what this user's other programs take (ulimit -l, LimitMEMLOCK=)",
                "grant CAP_IPC_LOCK",
            ] {
                assert!(text.contains(part), "no «{part}» in: {text}");
            }
        },
    );
}

/// Catches: an error that names one ring's memory where several are wanted; a core that falls back beside others on
/// rings.
#[test]
fn an_error_of_one_core_names_the_memory_of_all() {
    const TEST: &str = "limits::an_error_of_one_core_names_the_memory_of_all";
    let Some(_alone) = memory(TEST) else { return };
    in_a_child(
        TEST,
        "8 cores under 64 KiB",
        |_| (),
        || {
            lower_memlock(64);
            let Err(error) = Builder::new().cores(8).build() else {
                runtime::testing::skipped(format_args!("this kernel does not count the memory of rings"));
                return;
            };
            let sums = "8 cores take 84 KiB each, 672 KiB in all, 96 KiB at the least, and the limit is 64 KiB";
            assert!(error.to_string().contains(sums), "{error}");
            assert!(error.to_string().contains("raise RLIMIT_MEMLOCK to 672 KiB"), "{error}");
        },
    );
}

/// Makes up to `most` runtimes, each on a thread of its own; all serve, and stay, until one is refused.
fn runtimes_side_by_side(most: usize) -> (usize, Option<io::Error>) {
    let runtime = match Builder::new().build() {
        Ok(runtime) => runtime,
        Err(error) => return (0, Some(error)),
    };
    assert_eq!(runtime.block_on(async { runtime::metrics().driver }), "ring");
    echo(&runtime);
    if most == 1 {
        return (1, None);
    }
    let (others, error) = thread::scope(|scope| scope.spawn(|| runtimes_side_by_side(most - 1)).join().unwrap());
    (1 + others, error)
}

/// The sums that errors name, 84 KiB for a whole ring and 12 for the smallest, are those that the kernel counts: with a
/// KiB less there is a smaller ring, and then none.
///
/// Catches: a ladder that does not begin with the whole ring, or ends before the smallest; an ENOMEM that is not met at
/// all.
#[test]
fn the_sums_that_are_named_are_the_sums_that_are_needed() {
    const TEST: &str = "limits::the_sums_that_are_named_are_the_sums_that_are_needed";
    let Some(_alone) = memory(TEST) else { return };
    if !is_child() && !capabilities(None).unwrap().effective.contains(CapabilitySet::IPC_LOCK) {
        runtime::testing::skipped(format_args!(
            "without CAP_IPC_LOCK this user's other programs are counted too, so no sum is certain"
        ));
        return;
    }
    for (kib, expected) in [(84, Some((256, 4096))), (83, Some((256, 2048))), (12, Some((64, 256))), (11, None)] {
        in_a_child(
            TEST,
            &format!("{kib} KiB"),
            |_| (),
            || {
                lower_memlock(kib);
                let found = probe_until(|probe| probe.sizes == expected);
                if kib < 84 && found.sizes == Some((256, 4096)) {
                    runtime::testing::skipped(format_args!("this kernel does not count the memory of rings"));
                    return;
                }
                assert_eq!(found.sizes, expected, "{found}");
                assert_eq!(found.driver, if expected.is_some() { "ring" } else { "none" });
                assert_eq!(found.memlock, format!("{kib} KiB"));
                assert_eq!(found.cures.is_empty(), kib == 84, "{:?}", found.cures);
            },
        );
    }
}

/// The first report that is as wanted; or what was found in the end.
fn probe_until(is_wanted: impl Fn(&Probe) -> bool) -> Probe {
    let began = Instant::now();
    loop {
        let probe = probe();
        if is_wanted(&probe) || began.elapsed() > GIVEN_BACK_MAX {
            return probe;
        }
        // The kernel gives a ring's memory back a moment after its end, and tells nobody; each look makes another ring.
        thread::sleep(LOOK_AGAIN);
    }
}

/// Catches: an error without words; a step whose descriptor is left behind when the next one fails.
#[test]
fn out_of_descriptors_a_runtime_is_refused_with_the_limit_and_leaves_nothing_behind() {
    const TEST: &str = "limits::out_of_descriptors_a_runtime_is_refused_with_the_limit_and_leaves_nothing_behind";
    for (case, choice) in [("ring", Choice::Ring), ("fallback", Choice::Fallback), ("auto", Choice::Auto)] {
        if choice == Choice::Ring && !is_child() && !is_here(Driver::Ring, TEST) {
            continue;
        }
        in_a_child(
            TEST,
            case,
            |_| (),
            || {
                let (_limit, mut taken) = descriptors::take_all(64);
                let mut spare = 0;
                let runtime = loop {
                    let error = match Builder::new().driver(choice).build() {
                        Ok(runtime) => break runtime,
                        Err(error) => error.to_string(),
                    };
                    for part in ["Too many open files (os error 24)", "RLIMIT_NOFILE is 64", "ulimit -n"] {
                        assert!(error.contains(part), "no «{part}» with {spare} to spare: {error}");
                    }
                    assert_eq!(descriptors::take_all(64).1.len(), spare);
                    taken.pop();
                    spare += 1;
                };
                assert!((1..=2).contains(&spare), "one to be woken by and one to wait on, and not {spare}");
                drop(taken);
                echo(&runtime);
            },
        );
    }
}
