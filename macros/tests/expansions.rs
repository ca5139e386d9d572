//! What the attributes expand to: the right body, with the right plan.
//!
//! The runtime's part is played by `played`, which polls a body once and remembers the plan.

mod played {
    //! As much of the runtime as the attributes' code needs.

    #[derive(Debug, PartialEq)]
    pub enum Choice {
        Ring,
        Fallback,
        Auto,
    }

    #[derive(Debug, Default, PartialEq)]
    pub struct Builder {
        pub driver: Option<Choice>,
        pub cores: Option<usize>,
        pub entries: Option<u32>,
    }

    impl Builder {
        pub fn driver(self, choice: Choice) -> Builder {
            Builder { driver: Some(choice), ..self }
        }

        pub fn cores(self, cores: usize) -> Builder {
            Builder { cores: Some(cores), ..self }
        }

        pub fn entries(self, entries: u32) -> Builder {
            Builder { entries: Some(entries), ..self }
        }
    }

    pub mod entry {
        use std::cell::RefCell;

        use super::{Builder, poll_to_the_end};

        thread_local! {
            pub static BUILT: RefCell<Builder> = RefCell::default();
        }

        pub fn main<T>(configure: impl FnOnce(Builder) -> Builder, body: impl Future<Output = T>) -> T {
            BUILT.set(configure(Builder::default()));
            poll_to_the_end(body)
        }
    }

    pub mod testing {
        use std::cell::Cell;
        use std::process::{ExitCode, Termination};

        use super::poll_to_the_end;

        pub struct Outcome<T>(T);

        impl<T: Termination> Termination for Outcome<T> {
            fn report(self) -> ExitCode {
                self.0.report()
            }
        }

        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Driver {
            Ring,
            Fallback,
            Simulated,
            Auto,
        }

        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct Plan {
            pub name: &'static str,
            pub package: Option<&'static str>,
            pub driver: Driver,
            pub cores: usize,
            pub seeds: u32,
            pub watchdog_secs: u64,
        }

        thread_local! {
            pub static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
        }

        pub fn run<T, F: Fn() -> B, B: Future<Output = T>>(plan: Plan, body: F) -> Outcome<T> {
            PLAN.set(Some(plan));
            Outcome(poll_to_the_end(body()))
        }
    }

    fn poll_to_the_end<T>(body: impl Future<Output = T>) -> T {
        use std::task::{Context, Poll, Waker};

        match std::pin::pin!(body).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => unreachable!("the bodies here wait for nothing"),
        }
    }
}

use std::process::{Command, ExitCode, Termination};

use played::testing::{Driver, PLAN, Plan};
use played::{Builder, Choice};

/// Where the tests of this file are.
const PACKAGE: Option<&str> = Some("gimmal-macros");

/// Every test that this file must have, in the harness's order: a test that an attribute swallowed would fail nothing
/// else. Catches: `#[::core::prelude::v1::test]` left out of an expansion.
#[test]
fn the_harness_finds_each_test_and_each_driver_of_it() {
    assert_eq!(
        tests_listed(&[]),
        [
            "a_test_has_the_driver_that_is_there_and_a_minute",
            "a_test_says_what_it_wants",
            "a_test_that_returns_a_failure_fails",
            "each_driver_gets_its_test::fallback",
            "each_driver_gets_its_test::ring",
            "each_driver_gets_its_test::simulated",
            "each_may_be_ignored_and_should_panic::fallback",
            "each_may_be_ignored_and_should_panic::ring",
            "each_may_be_ignored_and_should_panic::simulated",
            "made_by_a_macro::fallback",
            "made_by_a_macro::ring",
            "made_by_a_macro::simulated",
            "main_configures_the_builder_and_gives_back_what_the_body_gave",
            "main_may_stand_on_any_function_and_leaves_the_builder_alone",
            "raw",
            "returns_a_failure",
            "should_panic_sees_the_panic_of_the_body",
            "the_harness_finds_each_test_and_each_driver_of_it",
            "this_one_is_ignored",
        ]
    );
    assert_eq!(
        tests_listed(&["--ignored"]),
        [
            "each_may_be_ignored_and_should_panic::fallback",
            "each_may_be_ignored_and_should_panic::ring",
            "each_may_be_ignored_and_should_panic::simulated",
            "returns_a_failure",
            "this_one_is_ignored",
        ]
    );
}

fn tests_listed(options: &[&str]) -> Vec<String> {
    let this_program = std::env::current_exe().expect("a test knows its program");
    let output = Command::new(this_program)
        .args(["--list", "--format", "terse"])
        .args(options)
        .output()
        .expect("a program that runs can be run");
    let listed = String::from_utf8(output.stdout).expect("names of tests are text");
    let mut names: Vec<_> = listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    names.sort();
    names
}

#[gimmal_macros::main(driver = fallback, cores = 4, entries = 1_024, crate = crate::played)]
async fn fails() -> Result<(), String> {
    Err(String::from("as it should"))?;
    Ok(())
}

#[test]
fn main_configures_the_builder_and_gives_back_what_the_body_gave() {
    assert_eq!(fails().report(), ExitCode::FAILURE);
    let built = played::entry::BUILT.take();
    assert_eq!(built, Builder { driver: Some(Choice::Fallback), cores: Some(4), entries: Some(1_024) });
}

#[gimmal_macros::main(crate = crate::played)]
async fn succeeds() {}

#[gimmal_macros::main(crate = crate::played, driver = auto,)]
pub(crate) async fn calls_itself_once() -> ExitCode {
    thread_local! {
        static CALLS: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
    }
    CALLS.set(CALLS.get() + 1);
    if CALLS.get() == 1 {
        return Box::pin(calls_itself_once()).await;
    }
    ExitCode::from(CALLS.get())
}

#[test]
fn main_may_stand_on_any_function_and_leaves_the_builder_alone() {
    assert_eq!(succeeds().report(), ExitCode::SUCCESS);
    assert_eq!(played::entry::BUILT.take(), Builder::default());

    assert_eq!(calls_itself_once().report(), ExitCode::from(2));
    assert_eq!(played::entry::BUILT.take(), Builder { driver: Some(Choice::Auto), ..Builder::default() });

    assert_eq!(made_by_another_macro().report(), ExitCode::FAILURE);
    assert_eq!(played::entry::BUILT.take(), Builder { driver: Some(Choice::Ring), ..Builder::default() });
}

/// A macro's parts arrive wrapped in groups without delimiters.
macro_rules! make {
    ($(#[$meta:meta])* $visibility:vis async fn $name:ident() -> $returns:ty $body:block) => {
        $(#[$meta])* $visibility async fn $name() -> $returns $body
    };
}

make! {
    #[gimmal_macros::main(crate = crate::played, driver = ring)]
    #[must_use]
    pub(crate) async fn made_by_another_macro() -> Result<(), String> {
        Err(String::from("as it should"))
    }
}

make! {
    #[gimmal_macros::test(driver = each, crate = crate::played)]
    async fn made_by_a_macro() -> Result<(), String> {
        Ok(())
    }
}

/// The test's own words stay with it.
#[gimmal_macros::test(crate = crate::played)]
async fn a_test_has_the_driver_that_is_there_and_a_minute() {
    let name = "expansions::a_test_has_the_driver_that_is_there_and_a_minute";
    assert_eq!(
        PLAN.take(),
        Some(Plan { name, package: PACKAGE, driver: Driver::Auto, cores: 1, seeds: 1, watchdog_secs: 60 })
    );
}

#[gimmal_macros::test(driver = simulated, cores = 3, seeds = 100, watchdog = 5, crate = crate::played)]
async fn a_test_says_what_it_wants() -> Result<(), String> {
    let name = "expansions::a_test_says_what_it_wants";
    assert_eq!(
        PLAN.take(),
        Some(Plan { name, package: PACKAGE, driver: Driver::Simulated, cores: 3, seeds: 100, watchdog_secs: 5 })
    );
    Ok(())
}

/// `simulated` and `fallback` mean what they mean around the test, not the tests of its module.
/// Catches: a body moved into the module.
#[gimmal_macros::test(driver = each, cores = 2, watchdog = 7, crate = crate::played)]
async fn each_driver_gets_its_test() -> Result<(), std::fmt::Error> {
    let plan = PLAN.take().expect("set before the body runs");
    let (name, seeds) = match plan.driver {
        Driver::Ring => ("ring", 1),
        Driver::Fallback => ("fallback", 1),
        Driver::Simulated => (simulated(), 16),
        Driver::Auto => unreachable!("each is never auto"),
    };
    let name = format!("expansions::each_driver_gets_its_test::{name}");
    assert_eq!(
        plan,
        Plan { name: plan.name, package: PACKAGE, driver: plan.driver, cores: 2, seeds, watchdog_secs: 7 }
    );
    assert_eq!(plan.name, name);
    Ok(())
}

fn simulated() -> &'static str {
    "simulated"
}

#[gimmal_macros::test(crate = crate::played)]
#[should_panic(expected = "as it should")]
async fn should_panic_sees_the_panic_of_the_body() {
    panic!("as it should");
}

/// What a body returns is what the harness hears, though the test's own type is another.
/// Catches: an expansion that drops the outcome of a test that returns something.
#[test]
fn a_test_that_returns_a_failure_fails() {
    assert_eq!(returns_a_failure().report(), ExitCode::FAILURE);
}

#[gimmal_macros::test(crate = crate::played)]
#[ignore = "another test calls it"]
async fn returns_a_failure() -> Result<(), String> {
    Err(String::from("as it should"))
}

#[gimmal_macros::test(crate = crate::played)]
#[ignore = "the list of ignored tests is what looks at it"]
async fn this_one_is_ignored() {
    panic!("an ignored test has run");
}

#[gimmal_macros::test(driver = each, crate = crate::played)]
#[should_panic(expected = "as it should")]
#[cfg_attr(test, ignore)]
async fn each_may_be_ignored_and_should_panic() -> () {
    panic!("as it should");
}

#[gimmal_macros::test(crate = crate::played)]
async fn r#raw() {
    assert_eq!(PLAN.take().map(|plan| plan.name), Some("expansions::raw"));
}
