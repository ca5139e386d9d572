//! Several cores: on threads of their own, and in turns on one thread of a simulated world.

#[path = "../common/bounded.rs"]
mod bounded;
#[path = "../common/gate.rs"]
mod gate;
#[path = "../common/polled.rs"]
mod polled;
#[path = "../common/process.rs"]
mod process;

mod ending;
mod messages;
mod same_story;
mod sending;
mod starting;

use std::time::Duration;

use runtime::Builder;
use runtime::testing::{Driver, builder, is_here};

const TEST_MAX: Duration = Duration::from_secs(60);

/// Runs `test` three times, on a thread without a runtime: with the builder of each driver.
fn on_each_driver(what: &'static str, test: fn(Builder)) {
    let _alone = process::alone();
    for driver in [Driver::Ring, Driver::Fallback, Driver::Simulated] {
        if is_here(driver, what) {
            println!("{what}, {driver:?}");
            bounded::within(TEST_MAX, what, move || {
                let before = process::Holdings::now();
                test(builder(driver));
                before.assert_unchanged();
            });
        }
    }
}

/// Runs `test` once, on a thread without a runtime.
fn once(what: &'static str, test: fn()) {
    let _alone = process::alone();
    bounded::within(TEST_MAX, what, test);
}
