//! The doctor finds what is wrong here, and what helps.

#[path = "../../runtime/tests/common/child.rs"]
mod child;
#[path = "../../runtime/tests/common/denied.rs"]
mod denied;

use std::process::{Command, Output};

use child::in_a_child;
use denied::Denial;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

fn doctor() -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_doctor")).output().unwrap();
    let report = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    println!("{report}");
    (status.code(), report)
}

#[track_caller]
fn assert_has_line(report: &str, line: &str) {
    assert!(report.lines().any(|found| found == line), "no line «{line}» in:\n{report}");
}

/// Catches: a status that does not follow the driver; a line for each thing found that is left out.
#[test]
fn a_report_has_a_line_for_each_thing_found_and_a_status() {
    let (status, report) = doctor();
    let driver = if status == Some(0) { "ring" } else { "fallback" };
    assert_has_line(&report, &format!("driver     {driver}"));
    assert_eq!(report.contains("verdict    io_uring serves"), status == Some(0), "{report}");
    for feature in runtime::Feature::ALL {
        assert_eq!(report.contains(feature.name()), status == Some(0), "{report}");
    }
    for begins in ["kernel     ", "sysctl     ", "seccomp    ", "memlock    ", "nofile     ", "verdict    "] {
        assert!(report.lines().any(|line| line.starts_with(begins)), "no line «{begins}…» in:\n{report}");
    }
}

/// Catches: a report without its cures.
#[test]
fn a_denial_is_found_with_its_cure() {
    for denial in Denial::ALL {
        in_a_child(
            "a_denial_is_found_with_its_cure",
            &denial.to_string(),
            |_| denial.install(),
            || {
                let (status, report) = doctor();
                assert_eq!(status, Some(1));
                assert_has_line(&report, "driver     fallback");
                assert_has_line(&report, "seccomp    a seccomp filter (mode 2)");
                assert_has_line(
                    &report,
                    "cure       allow io_uring_setup, io_uring_enter and io_uring_register in that filter",
                );
                assert!(report.contains("\nverdict    no ring: io_uring_"), "{report}");
            },
        );
    }
}

/// A limit below the smallest ring. A root's program has CAP_IPC_LOCK again when it starts, so the bound of its
/// capabilities is what must lack it.
///
/// Catches: a driver that is reported although no runtime starts.
#[test]
fn a_limit_on_locked_memory_is_found_with_the_sum_that_it_lacks() {
    const TEST: &str = "a_limit_on_locked_memory_is_found_with_the_sum_that_it_lacks";
    in_a_child(
        TEST,
        "8 KiB",
        |_| (),
        || {
            if capabilities(None).unwrap().effective.contains(CapabilitySet::IPC_LOCK) {
                rustix::thread::remove_capability_from_bounding_set(CapabilitySet::IPC_LOCK).unwrap();
                let mut sets = capabilities(None).unwrap();
                sets.effective.remove(CapabilitySet::IPC_LOCK);
                sets.permitted.remove(CapabilitySet::IPC_LOCK);
                sets.inheritable.remove(CapabilitySet::IPC_LOCK);
                set_capabilities(None, sets).unwrap();
            }
            let limit = Some(8 << 10);
            setrlimit(Resource::Memlock, Rlimit { current: limit, maximum: limit }).unwrap();
            let (status, report) = doctor();
            assert_has_line(&report, "memlock    8 KiB, for all rings of this user");
            if !report.contains("Cannot allocate memory") {
                runtime::testing::skipped(format_args!("rings take no locked memory here, or are denied"));
                return;
            }
            assert_eq!(status, Some(2));
            assert_has_line(&report, "driver     none");
            assert!(report.contains("the limit is 8 KiB"), "{report}");
            assert!(report.contains("\ncure       raise RLIMIT_MEMLOCK to "), "{report}");
            assert_has_line(&report, "cure       grant CAP_IPC_LOCK");
        },
    );
}
