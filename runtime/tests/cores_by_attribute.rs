//! `#[runtime::main]` and `#[runtime::test]` with `cores = N` start that many cores, and run their body once.

use runtime::{core_id, cores, metrics, on_each_core, spawn_on};

#[runtime::test(driver = each, cores = 3)]
async fn a_test_may_have_several_cores() {
    assert_eq!((core_id(), cores()), (0, 3));
    for (core, there) in on_each_core(|| async { core_id() }).into_iter().enumerate() {
        assert_eq!(there.await.unwrap(), core);
    }
}

#[runtime::main(cores = 2)]
async fn program() -> std::process::ExitCode {
    let there = spawn_on(1, || async { (core_id(), metrics().core) });
    std::process::ExitCode::from(u8::from(there.await.unwrap() != (1, 1)))
}

#[test]
fn main_runs_once_on_the_first_of_its_cores() {
    use std::process::{ExitCode, Termination};
    assert_eq!(program().report(), ExitCode::SUCCESS);
}
