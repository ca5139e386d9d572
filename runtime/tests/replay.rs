//! A simulated test that fails names its seed, and the line that replays it does.

use std::io;
use std::process::{Command, Output};

use runtime::simulated::world;

/// Fails with about one seed in thirty.
#[runtime::test(driver = simulated, seeds = 1000)]
#[ignore = "it fails: another test runs it"]
async fn panics_with_some_seeds() {
    let drawn = world().random_u64();
    assert!(drawn % 32 != 7, "drew {drawn}");
}

/// Fails with its last seed, which no later one gives away.
#[runtime::test(driver = simulated, seeds = 3)]
#[ignore = "it fails: another test runs it"]
async fn returns_an_error_with_its_last_seed() -> io::Result<()> {
    let world = world();
    if world.seed() < 2 { Ok(()) } else { Err(io::Error::other(format!("drew {}", world.random_u64()))) }
}

/// Waits for what never comes.
#[runtime::test(driver = simulated, seeds = 3)]
#[ignore = "it fails: another test runs it"]
async fn waits_for_ever() {
    std::future::pending::<()>().await;
}

/// Runs one of the tests above, and returns its output, which must be a failure's.
fn fails(name: &str, environment: &[(&str, &str)]) -> String {
    let mut test = Command::new(std::env::current_exe().expect("a test knows its program"));
    test.args(["--exact", name, "--include-ignored"]).env_remove("GIMMAL_SEED").env_remove("GIMMAL_SEEDS");
    told(test.envs(environment.iter().copied()).output())
}

fn told(output: io::Result<Output>) -> String {
    let output = output.expect("a program that runs can be run");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it did not fail:\n{told}");
    told
}

fn line<'a>(told: &'a str, start: &str) -> &'a str {
    let found = told.lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line «{start} …» in:\n{told}"))
}

/// Runs the line by a shell, in which `cargo` finds and runs this program as the real one would.
fn run_as_told(command: &str) -> String {
    let script = format!(
        "cargo() {{ test \"$1 $2 $3 $4\" = 'test -p gimmal-runtime --' && shift 4 && exec \"$PROGRAM\" --include-ignored \"$@\"; }}; export GIMMAL_SEED; {command}"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env("PROGRAM", std::env::current_exe().expect("a test knows its program"));
    told(shell.env_remove("GIMMAL_SEED").env_remove("GIMMAL_SEEDS").output())
}

/// Catches: a seed that is not printed, a line that runs another test or none, and a replay that draws other numbers.
#[test]
fn the_line_that_a_failing_test_prints_makes_it_fail_again_with_the_same_words() {
    let cases = [
        ("panics_with_some_seeds", "drew "),
        ("returns_an_error_with_its_last_seed", "Error: Custom { kind: Other, error: \"drew "),
        ("waits_for_ever", "nothing will ever happen"),
    ];
    for (name, words) in cases {
        let told = fails(name, &[]);
        let replay = line(&told, "seed ");
        let (seed, command) = replay.split_once(" failed; to replay it: ").expect("both are told");
        assert!(command.ends_with(&format!(" cargo test -p gimmal-runtime -- --exact {name}")), "{command}");
        let again = run_as_told(command);
        assert_eq!(line(&again, "seed "), replay, "{seed} is replayed as another one");
        let first =
            told.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words} is not in:\n{told}"));
        assert!(again.lines().any(|line| line == first), "«{first}» is not in:\n{again}");
        assert!(again.contains("1 failed"), "{again}");
    }
}

/// Catches: seeds of the environment that are overlooked, for which a run with 0 of them would pass.
#[test]
fn the_environment_says_which_seeds() {
    let first = line(&fails("panics_with_some_seeds", &[]), "seed ").to_owned();
    let seed: u64 = first.split(' ').nth(1).and_then(|seed| seed.parse().ok()).expect("a number");
    let later = fails("panics_with_some_seeds", &[("GIMMAL_SEEDS", &format!("{}..100000", seed + 1))]);
    let next: u64 = line(&later, "seed ").split(' ').nth(1).and_then(|seed| seed.parse().ok()).expect("a number");
    assert!(next > seed, "{next} after {seed}");
    let told = fails("panics_with_some_seeds", &[("GIMMAL_SEED", "seven")]);
    assert!(told.contains("GIMMAL_SEED=seven: a seed is a whole number"), "{told}");
}
