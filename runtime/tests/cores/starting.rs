//! The start of a runtime with several cores: all of them, or none.

use std::io::ErrorKind;
use std::thread;

use runtime::{Builder, Choice, metrics, on_each_core};

use crate::{on_each_driver, once};

#[test]
fn all_cores_have_the_driver_of_the_first() {
    on_each_driver("one driver", |builder| {
        let runtime = builder.cores(3).build().unwrap();
        runtime.block_on(async {
            let here = metrics().driver;
            for there in on_each_core(|| async { metrics().driver }) {
                assert_eq!(there.await.unwrap(), here);
            }
        });
    });
}

#[test]
fn threads_are_named_after_their_core() {
    on_each_driver("names", |builder| {
        let runtime = builder.cores(3).build().unwrap();
        runtime.block_on(async {
            let is_simulated = metrics().driver == "simulated";
            let names = on_each_core(|| async { thread::current().name().map(str::to_owned) });
            for (core, name) in names.into_iter().enumerate().skip(1) {
                let name = name.await.unwrap();
                assert_eq!(name.as_deref() == Some(&*format!("gimmal-core-{core}")), !is_simulated, "{name:?}");
            }
        });
    });
}

#[test]
fn a_number_of_cores_that_makes_no_sense_is_refused() {
    for cores in [0, 1025, usize::MAX] {
        let error = Builder::new().cores(cores).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("1 to 1024 cores"), "{error}");
    }
}

#[test]
fn several_runtimes_with_several_cores_each_live_side_by_side() {
    on_each_driver("side by side", |builder| {
        let run = |builder: Builder| {
            let runtime = builder.cores(2).build().unwrap();
            runtime.block_on(async {
                for (core, there) in on_each_core(|| async { runtime::core_id() }).into_iter().enumerate() {
                    assert_eq!(there.await.unwrap(), core);
                }
            });
        };
        let other = builder.clone();
        let beside = thread::spawn(move || run(other));
        run(builder);
        beside.join().unwrap();
    });
}

/// Catches: `insist_on` that is forgotten in what the threads get.
#[test]
fn the_fallback_can_be_chosen_for_all_cores() {
    once("chosen", || {
        let runtime = Builder::new().ignore_environment().driver(Choice::Fallback).cores(2).build().unwrap();
        runtime.block_on(async {
            for there in on_each_core(|| async { metrics().driver }) {
                assert_eq!(there.await.unwrap(), "fallback");
            }
        });
    });
}
