//! io_uring denied by a filter, as in containers: the fallback serves, or the error names the cause and the cure.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use runtime::testing::{Driver, is_here};
use runtime::{Builder, Choice};

use crate::child::in_a_child;
use crate::denied::{Denial, deny};
use crate::echo::echo;
use crate::{is_child, logged};

/// Runs `body` once under each denial that can be told from others here.
#[track_caller]
fn under_each_denial(test: &str, environment: &[(&str, &str)], body: impl Fn(Denial)) {
    for denial in Denial::ALL {
        let test = format!("denials::{test}");
        // Where rings cannot be set up anyway, none can be set up and then not be entered.
        if denial == Denial::Enter && !is_child() && !is_here(Driver::Ring, &test) {
            continue;
        }
        let prepare = |command: &mut Command| {
            command.envs(environment.iter().copied());
            denial.install();
        };
        in_a_child(&test, &denial.to_string(), prepare, || body(denial));
    }
}

/// What whoever is paged at night must find in one line: what was tried and said, the likely cause, and what it was
/// told from.
#[track_caller]
fn assert_names_the_cause(told: &str, denial: Denial) {
    let (tried, said, cause) = match denial {
        Denial::Eperm => ("io_uring_setup(2)", "Operation not permitted (os error 1)", "denied here, most likely"),
        Denial::Enosys => ("io_uring_setup(2)", "Function not implemented (os error 38)", "hidden, most likely"),
        Denial::Enter => {
            ("io_uring_enter(2), a NOP", "Operation not permitted (os error 1)", "denied here, most likely")
        }
    };
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let sysctl = sysctl.map_or_else(|_| "not to be read".to_owned(), |value| value.trim().to_owned());
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    for part in [
        &format!("{tried}: {said}: "),
        cause,
        "by the seccomp filter",
        &format!("kernel.io_uring_disabled is {sysctl}"),
        "a seccomp filter (mode 2)",
        &format!("kernel {kernel}"),
        "allow io_uring_setup, io_uring_enter and io_uring_register",
    ] {
        assert!(told.contains(part), "{denial}: no «{part}» in: {told}");
    }
}

/// Catches: a denial that ends `build` with an error; one that is not told, or told twice, or without the sysctl; an
/// error of a first enter that is logged as a driver's end; the seccomp state of another thread than the one that asks.
#[test]
fn where_io_uring_is_denied_the_fallback_serves_and_one_warning_says_why() {
    under_each_denial("where_io_uring_is_denied_the_fallback_serves_and_one_warning_says_why", &[], |denial| {
        logged::listen();
        let runtime = Builder::new().build().unwrap();
        assert_eq!(runtime.block_on(async { runtime::metrics().driver }), "fallback");
        echo(&runtime);
        drop(runtime);
        assert_eq!(logged::lines_with(None, &["ERROR"]), [""; 0], "a denial is no error");
        let warnings = logged::lines_with(None, &["WARN"]);
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        assert!(
            warnings[0].starts_with("WARN no io_uring, so epoll and a thread pool serve instead: "),
            "{warnings:#?}"
        );
        assert_names_the_cause(&warnings[0], denial);
    });
}

/// The driver is chosen once, by the first core; the others get what it got.
///
/// Catches: a warning a core; a core that has another driver than the first.
#[test]
fn all_cores_have_the_driver_of_the_first_and_one_warning_is_told_for_all() {
    const TEST: &str = "all_cores_have_the_driver_of_the_first_and_one_warning_is_told_for_all";
    under_each_denial(TEST, &[], |denial| {
        logged::listen();
        let runtime = Builder::new().cores(3).build().unwrap();
        let drivers = runtime.block_on(async {
            let mut drivers = Vec::new();
            for core in runtime::on_each_core(|| async { runtime::metrics().driver }) {
                drivers.push(core.await.unwrap());
            }
            drivers
        });
        assert_eq!(drivers, ["fallback"; 3]);
        drop(runtime);
        let warnings = logged::lines_with(None, &["WARN"]);
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        assert_names_the_cause(&warnings[0], denial);
    });
}

/// Catches: an old or foreign kernel's answer to a set-up it does not know that is taken for a mistake of ours.
#[test]
fn where_the_kernel_does_not_know_such_a_ring_the_fallback_serves_and_says_which_kernel_does() {
    const TEST: &str =
        "denials::where_the_kernel_does_not_know_such_a_ring_the_fallback_serves_and_says_which_kernel_does";
    let prepare = |_: &mut Command| deny(&[libc::SYS_io_uring_setup], libc::EINVAL);
    in_a_child(TEST, "EINVAL", prepare, || {
        logged::listen();
        let runtime = Builder::new().build().unwrap();
        assert_eq!(runtime.block_on(async { runtime::metrics().driver }), "fallback");
        drop(runtime);
        let warnings = logged::lines_with(None, &["WARN"]);
        let error = Builder::new().driver(Choice::Ring).build().unwrap_err();
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        for told in [&warnings[0], &error.to_string()] {
            for part in [
                "io_uring_setup(2): Invalid argument (os error 22): ",
                "does not know how rings are set up since 6.1",
                "kernel ",
            ] {
                assert!(told.contains(part), "no «{part}» in: {told}");
            }
        }
        assert!(error.to_string().contains("use kernel 6.1 or newer"), "{error}");
    });
}

/// Catches: `Choice::Ring` that falls back; an error without its cure.
#[test]
fn who_insists_on_a_ring_is_refused_with_the_cause_and_the_cure() {
    under_each_denial("who_insists_on_a_ring_is_refused_with_the_cause_and_the_cure", &[], |denial| {
        logged::listen();
        let error = Builder::new().driver(Choice::Ring).build().unwrap_err();
        assert_names_the_cause(&error.to_string(), denial);
        assert!(error.to_string().contains("Builder::driver(Choice::Fallback), or GIMMAL_DRIVER=fallback"), "{error}");
        let kind = if denial == Denial::Enosys { ErrorKind::Unsupported } else { ErrorKind::PermissionDenied };
        assert_eq!(error.kind(), kind);
        assert_eq!(logged::lines_with(None, &["WARN"]), [""; 0], "whoever gets the error decides who hears of it");
    });
}

/// Catches: an environment that is read only where the program left the choice open.
#[test]
fn the_environment_has_the_last_word_about_the_driver() {
    const TEST: &str = "denials::the_environment_has_the_last_word_about_the_driver";
    let with = |driver: &'static str| {
        move |command: &mut Command| {
            command.env("GIMMAL_DRIVER", driver);
        }
    };
    let denied = |driver: &'static str| {
        move |command: &mut Command| {
            command.env("GIMMAL_DRIVER", driver);
            Denial::Eperm.install();
        }
    };
    let driver =
        |choice| Builder::new().driver(choice).build().map(|built| built.block_on(async { runtime::metrics().driver }));
    in_a_child(TEST, "fallback", with("fallback"), || {
        assert_eq!(driver(Choice::Auto).unwrap(), "fallback");
        assert_eq!(driver(Choice::Ring).unwrap(), "fallback");
        let deaf = Builder::new().ignore_environment().driver(Choice::Ring);
        assert!(
            !is_here(Driver::Ring, "a deaf builder")
                || deaf.build().is_ok_and(|runtime| format!("{runtime:?}").contains("ring"))
        );
    });
    in_a_child(TEST, "fallback, denied", denied("fallback"), || {
        logged::listen();
        echo(&Builder::new().driver(Choice::Ring).build().unwrap());
        assert_eq!(logged::lines_with(None, &["WARN"]), [""; 0], "who asked for it needs no warning");
    });
    in_a_child(TEST, "ring, denied", denied("ring"), || {
        assert_names_the_cause(&driver(Choice::Auto).unwrap_err().to_string(), Denial::Eperm);
        assert_names_the_cause(&driver(Choice::Fallback).unwrap_err().to_string(), Denial::Eperm);
    });
    in_a_child(TEST, "auto, denied", denied("auto"), || {
        assert_eq!(driver(Choice::Ring).unwrap(), "fallback");
    });
    in_a_child(TEST, "nonsense", with("epoll"), || {
        let error = driver(Choice::Auto).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "GIMMAL_DRIVER=epoll: it is one of auto, ring, fallback");
    });
    if is_child() || is_here(Driver::Ring, TEST) {
        in_a_child(TEST, "ring", with("ring"), || assert_eq!(driver(Choice::Fallback).unwrap(), "ring"));
        in_a_child(TEST, "auto", with("auto"), || assert_eq!(driver(Choice::Fallback).unwrap(), "ring"));
    }
}

/// Catches: a report that is a guess; cures that are forgotten.
#[test]
fn a_probe_reports_the_denial_and_its_cure() {
    under_each_denial("a_probe_reports_the_denial_and_its_cure", &[("GIMMAL_DRIVER", "ring")], |denial| {
        let probe = runtime::probe();
        assert_eq!((probe.driver, probe.sizes), ("fallback", None));
        let refusal = probe.refusal.clone().unwrap();
        assert_names_the_cause(&format!("{refusal} {}", probe.cures.join(" ")), denial);
        assert!(probe.features.iter().all(|(_, is_there)| !is_there));
        let report = probe.to_string();
        for line in ["driver     fallback", "seccomp    a seccomp filter (mode 2)", "override   GIMMAL_DRIVER=ring"] {
            assert!(report.lines().any(|found| found == line), "no «{line}» in:\n{report}");
        }
        assert!(report.ends_with(&format!("no ring: {refusal}")), "{report}");
    });
}

/// A filter may be on one thread of many. Catches: the seccomp state of the process's first thread, which has none
/// here.
#[test]
fn a_filter_on_one_thread_is_found_on_that_thread() {
    std::thread::spawn(|| {
        Denial::Enosys.install();
        assert_names_the_cause(
            &Builder::new().ignore_environment().driver(Choice::Ring).build().unwrap_err().to_string(),
            Denial::Enosys,
        );
    })
    .join()
    .unwrap();
}

/// Z110: no step of setting up is taken for granted, and what was done before it failed is undone.
///
/// Catches: a step that panics, or is not tried; a descriptor that is left behind.
#[test]
fn whichever_step_of_setting_up_is_denied_there_is_an_error_or_a_fallback_and_nothing_is_left() {
    const TEST: &str =
        "denials::whichever_step_of_setting_up_is_denied_there_is_an_error_or_a_fallback_and_nothing_is_left";
    let steps = [
        ("setup", libc::SYS_io_uring_setup, "fallback"),
        ("register", libc::SYS_io_uring_register, "fallback"),
        ("enter", libc::SYS_io_uring_enter, "fallback"),
        ("eventfd", libc::SYS_eventfd2, "an error"),
    ];
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        for (name, call, outcome) in steps {
            let case = format!("{name} answers {errno}");
            in_a_child(
                TEST,
                &case,
                |_| (),
                || {
                    deny(&[call], errno);
                    let before = open_descriptors();
                    let built =
                        Builder::new().build().map(|runtime| runtime.block_on(async { runtime::metrics().driver }));
                    assert_eq!(built.unwrap_or("an error"), outcome);
                    assert!(Builder::new().driver(Choice::Ring).build().is_err());
                    assert_eq!(open_descriptors(), before);
                },
            );
        }
    }
    in_a_child(
        TEST,
        "no way at all",
        |_| (),
        || {
            deny(&[libc::SYS_io_uring_setup, libc::SYS_epoll_create1], libc::EPERM);
            let before = open_descriptors();
            assert_eq!(Builder::new().build().unwrap_err().kind(), ErrorKind::PermissionDenied);
            assert_eq!(open_descriptors(), before);
        },
    );
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("procfs is mounted").count()
}
