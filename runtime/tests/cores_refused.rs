//! When descriptors run out between the first core and the last. A program of its own: the limit is the whole
//! process's.

#[path = "common/process.rs"]
mod process;

use std::fs;

use process::Holdings;
use runtime::testing::{Driver, builder, is_here};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CORES: usize = 6;

/// Lets this process have so many more descriptors than it has now.
fn allow(spare: u64) {
    let open = u64::try_from(fs::read_dir("/proc/self/fd").unwrap().count()).unwrap() - 1;
    set_limit(Some(open + spare));
}

fn set_limit(current: Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).unwrap();
}

/// From none at all to enough for all: at some number the first core fits and another does not.
///
/// Catches: a core that takes another driver than the first one got; a start that leaves its threads or rings behind;
/// an error that does not say which core it was.
#[test]
fn when_one_core_cannot_start_none_does_and_the_error_names_it() {
    let _alone = process::alone();
    let usual = getrlimit(Resource::Nofile).current;
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "a core that cannot start") {
            continue;
        }
        let before = Holdings::now();
        let (mut first, mut others, mut none) = (0, 0, 0);
        for spare in 0..30 {
            allow(spare);
            let built = builder(driver).ignore_environment().cores(CORES).build();
            set_limit(usual);
            match built {
                Ok(runtime) => {
                    none += 1;
                    drop(runtime);
                }
                Err(error) => {
                    let words = error.to_string();
                    assert!(words.contains("RLIMIT_NOFILE is"), "{spare} spare: {words}");
                    let place = (1..CORES).find(|core| words.starts_with(&format!("core {core} of {CORES}: ")));
                    *if place.is_some() { &mut others } else { &mut first } += 1;
                }
            }
            before.assert_unchanged();
        }
        println!(
            "{driver:?}: refused at the first core {first} times, at another {others} times, started {none} times"
        );
        // How many are too few for the first core depends on the numbers that are in use here already.
        assert!(first >= 1 && others >= CORES - 1 && none >= 1, "{first} {others} {none}");
    }
}
