//! Rows: what is measured against what, in rounds that take turns, so that whatever the machine does meanwhile hits all
//! alike.
//!
//! ```text
//!  round 0 (warms up, is forgotten)   A B C
//!  round 1                            A B C   ─► A/B, A/C of this round
//!  round 2                            A B C   ─► A/B, A/C of this round   … ─► the median of the ratios, and their range
//! ```

use std::io;
use std::thread;
use std::time::Duration;

use crate::machine;

/// One kind of work, done by several.
pub struct Row {
    pub name: &'static str,
    /// What the numbers count.
    pub unit: &'static str,
    /// So many in each round.
    pub ops: u64,
    /// Ours first.
    pub contenders: Vec<Contender>,
    pub targets: Vec<Target>,
}

/// Who does the work, and how to have it done so many times. What comes back is the time it took.
pub struct Contender {
    pub name: &'static str,
    pub run: Box<dyn Fn(u64) -> io::Result<Duration> + Send + Sync>,
}

impl Contender {
    pub fn new(name: &'static str, run: impl Fn(u64) -> io::Result<Duration> + Send + Sync + 'static) -> Contender {
        Contender { name, run: Box::new(run) }
    }
}

/// What one contender must not exceed.
pub struct Target {
    pub who: &'static str,
    pub bound: Bound,
}

/// How much is too much.
pub enum Bound {
    /// So many times the best of these.
    Ratio(f64, &'static [&'static str]),
    /// So many nanoseconds an op, on the machine where the targets were set.
    Nanoseconds(f64),
}

impl Target {
    pub fn ratio(who: &'static str, at_most: f64, to: &'static [&'static str]) -> Target {
        Target { who, bound: Bound::Ratio(at_most, to) }
    }

    pub fn nanoseconds(who: &'static str, at_most: f64) -> Target {
        Target { who, bound: Bound::Nanoseconds(at_most) }
    }
}

/// How long and how often to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    /// Each round does the row's number of ops divided by this: 1 to measure, more to see that everything works.
    pub divisor: u64,
}

/// What became of a row's targets.
#[derive(Default)]
pub struct Verdict {
    pub met: usize,
    pub missed: Vec<String>,
}

/// Nanoseconds an op, one number a round.
struct Samples(Vec<f64>);

impl Row {
    /// Measures, prints, and judges.
    ///
    /// # Errors
    ///
    /// A contender's, with its name.
    pub fn measure(&self, effort: Effort) -> io::Result<Verdict> {
        println!("\n{}  ({}, median of {} rounds)", self.name, self.unit, effort.rounds);
        let ops = (self.ops / effort.divisor).max(64);
        let mut samples: Vec<Samples> = self.contenders.iter().map(|_| Samples(Vec::new())).collect();
        for round in 0..=effort.rounds {
            for (contender, samples) in self.contenders.iter().zip(&mut samples) {
                let took = contender.run_apart(ops)?;
                // The first round is for caches, page tables and the clock of the processor.
                if round > 0 {
                    samples.0.push(took.as_secs_f64() * 1e9 / ops as f64);
                }
            }
        }
        let ours = &samples[0];
        for (contender, samples) in self.contenders.iter().zip(&samples) {
            let ratio = ours.ratio_to(samples);
            println!("    {:<34} {:>9.1} ns   {}", contender.name, samples.median(), self.compared(contender, &ratio));
        }
        Ok(self.judge(&samples))
    }

    fn compared(&self, contender: &Contender, ratio: &Samples) -> String {
        let ours = self.contenders[0].name;
        if contender.name == ours {
            return String::new();
        }
        let (least, most) = ratio.range();
        format!("{ours} takes {:.2} of it ({least:.2} to {most:.2})", ratio.median())
    }

    fn judge(&self, samples: &[Samples]) -> Verdict {
        let samples_of = |name: &str| {
            let place = self.contenders.iter().position(|contender| contender.name == name);
            &samples[place.expect("a target names contenders of its row")]
        };
        let mut verdict = Verdict::default();
        for target in &self.targets {
            let who = samples_of(target.who);
            let (is_met, line) = match target.bound {
                Bound::Nanoseconds(at_most) => {
                    let median = who.median();
                    (median <= at_most, format!("{}: {median:.1} ns, at most {at_most}", target.who))
                }
                Bound::Ratio(at_most, to) => {
                    let best =
                        |one: &&str, other: &&str| samples_of(one).median().total_cmp(&samples_of(other).median());
                    let to = to.iter().copied().min_by(best).expect("a ratio is one to something");
                    let ratio = who.ratio_to(samples_of(to)).median();
                    (ratio <= at_most, format!("{} to {to}: {ratio:.2}, at most {at_most}", target.who))
                }
            };
            println!("    target  {line}: {}", if is_met { "met" } else { "MISSED" });
            if is_met {
                verdict.met += 1;
            } else {
                verdict.missed.push(format!("{}; {line}", self.name));
            }
        }
        verdict
    }
}

impl Contender {
    /// On a fresh thread, so that nobody finds what others have left in the thread's memory and its tables.
    fn run_apart(&self, ops: u64) -> io::Result<Duration> {
        let ran = thread::scope(|scope| {
            let run = || {
                machine::stay_on(machine::SERVER);
                (self.run)(ops)
            };
            scope.spawn(run).join()
        });
        match ran {
            Ok(took) => took.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.name))),
            Err(_) => Err(io::Error::other(format!("{} panicked", self.name))),
        }
    }
}

impl Samples {
    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
    }

    fn range(&self) -> (f64, f64) {
        self.0.iter().fold((f64::INFINITY, 0.0), |(least, most), &sample| (sample.min(least), sample.max(most)))
    }

    /// Round by round: two that ran side by side met the same machine.
    fn ratio_to(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect())
    }
}
