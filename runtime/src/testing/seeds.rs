//! Which seeds a simulated test runs with: those it asks for, or those that the environment names.

use std::ops::Range;

/// Reads the environment: `GIMMAL_SEED=7` replays one seed, `GIMMAL_SEEDS=5000` or `GIMMAL_SEEDS=1000..6000` takes
/// others than the test's own, which are `0..wanted`.
///
/// # Panics
///
/// If a variable makes no sense: a test that ran with other seeds than it was told would find nothing, and say so with
/// a green tick.
pub(super) fn from_environment(wanted: u64) -> Range<u64> {
    let variable = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    match choose(wanted, variable("GIMMAL_SEED"), variable("GIMMAL_SEEDS")) {
        Ok(seeds) => seeds,
        Err(words) => panic!("{words}"),
    }
}

fn choose(wanted: u64, one: Option<String>, many: Option<String>) -> Result<Range<u64>, String> {
    if let Some(one) = one {
        let seed = one.parse::<u64>().ok().filter(|&seed| seed < u64::MAX);
        return seed.map(|seed| seed..seed + 1).ok_or_else(|| format!("GIMMAL_SEED={one}: a seed is a whole number"));
    }
    let Some(many) = many else { return Ok(0..wanted) };
    let (from, to) = many.split_once("..").unwrap_or(("0", &many));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from < to => Ok(from..to),
        _ => Err(format!("GIMMAL_SEEDS={many}: it is how many seeds, or from which up to which, as in 1000..6000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(one: Option<&str>, many: Option<&str>) -> Result<Range<u64>, String> {
        choose(16, one.map(str::to_owned), many.map(str::to_owned))
    }

    #[test]
    fn the_environment_comes_before_the_test_and_one_seed_before_many() {
        assert_eq!(chosen(None, None), Ok(0..16));
        assert_eq!(chosen(Some("7"), None), Ok(7..8));
        assert_eq!(chosen(None, Some("5000")), Ok(0..5_000));
        assert_eq!(chosen(None, Some("1000..1003")), Ok(1_000..1_003));
        assert_eq!(chosen(Some("7"), Some("1000")), Ok(7..8));
    }

    /// Catches: a variable that is overlooked when it does not parse.
    #[test]
    fn seeds_that_make_no_sense_are_refused_with_the_cause() {
        for one in ["", "seven", "-1", "18446744073709551615", "18446744073709551616"] {
            assert!(chosen(Some(one), None).is_err_and(|words| words.contains("GIMMAL_SEED=")), "{one}");
        }
        for many in ["", "0", "9..3", "3..3", "..", "1...3", "all"] {
            assert!(chosen(None, Some(many)).is_err_and(|words| words.contains("GIMMAL_SEEDS=")), "{many}");
        }
    }
}
