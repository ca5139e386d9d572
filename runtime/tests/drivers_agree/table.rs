//! The table of ops by drivers: which scenarios each op has, what became of them, and what the man pages leave open.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::simulated::Faults;
use runtime::testing::{Driver, builder};
use runtime::{Builder, Feature, Runtime};

use crate::scene::{Scene, Told};

/// An op, and the scenarios that ask for it.
pub struct Row {
    /// The op's name in the sources: a struct's, or `call::` and a function's.
    pub op: &'static str,
    pub scenarios: Vec<Scenario>,
}

/// A program that runs on each driver, and tells what came back.
pub struct Scenario {
    pub name: &'static str,
    pub act: fn(Scene) -> Act,
    /// Why the simulated kernel cannot play it, if it cannot.
    pub not_modelled: Option<&'static str>,
}

pub type Act = Pin<Box<dyn Future<Output = ()>>>;

/// A row of the table: the op, and its scenarios by their functions. Behind `except simulated` stand those that the
/// simulated kernel does not model, each with the reason.
#[macro_export]
macro_rules! row {
    ($op:literal: $($act:ident),+ $(; except simulated: $($real:ident because $why:literal),+)?) => {
        $crate::table::Row {
            op: $op,
            scenarios: vec![
                $($crate::table::Scenario {
                    name: stringify!($act),
                    act: |scene| Box::pin($act(scene)),
                    not_modelled: None,
                },)+
                $($($crate::table::Scenario {
                    name: stringify!($real),
                    act: |scene| Box::pin($real(scene)),
                    not_modelled: Some($why),
                },)+)?
            ],
        }
    };
}

/// A driver, and how it is varied. The simulated kernel answers in an order of the seed's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Ring(Without),
    Fallback,
    Simulated { seed: u64 },
}

/// Features that a ring does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    Nothing,
    One(Feature),
    All,
}

impl Variant {
    pub fn is_simulated(self) -> bool {
        matches!(self, Variant::Simulated { .. })
    }

    fn name(self) -> String {
        match self {
            Variant::Ring(Without::Nothing) => "ring".into(),
            Variant::Ring(Without::One(feature)) => format!("ring without {}", feature.name()),
            Variant::Ring(Without::All) => "ring without features".into(),
            Variant::Fallback => "fallback".into(),
            Variant::Simulated { seed } => format!("simulated {seed}"),
        }
    }

    /// # Errors
    ///
    /// When there is no ring to be had.
    pub fn build(self) -> std::io::Result<Runtime> {
        match self {
            Variant::Ring(without) => {
                let hidden = Feature::ALL.into_iter().filter(|feature| match without {
                    Without::Nothing => false,
                    Without::One(one) => one == *feature,
                    Without::All => true,
                });
                hidden.fold(builder(Driver::Ring), Builder::without).build()
            }
            Variant::Fallback => builder(Driver::Fallback).build(),
            Variant::Simulated { seed } => Builder::new().simulated(seed, Faults::none()).build(),
        }
    }
}

/// So long an op may keep a scenario waiting before it is said to wait. A machine that is busy with other things may
/// need longer, so when drivers differ they get ten times as long before that counts.
const PATIENCE: Duration = Duration::from_millis(150);
const MORE_PATIENCE: Duration = Duration::from_millis(1500);

/// What hangs in spite of all deadlines is a bug, and is reported after so long.
const HANGS: Duration = Duration::from_secs(60);

/// What all scenarios of all rows came to.
#[derive(Default)]
pub struct Report {
    /// By op: how many scenarios, how many results in them, and what of these the man page leaves open.
    ops: BTreeMap<&'static str, Summary>,
    drivers: Vec<String>,
    pub differences: Vec<String>,
}

#[derive(Default)]
struct Summary {
    scenarios: usize,
    results: usize,
    disagree: BTreeSet<String>,
    open: BTreeSet<String>,
    not_modelled: Vec<String>,
}

/// Plays every scenario on every driver, and compares with the first of them.
pub fn compare(rows: &[Row], drivers: &[Variant]) -> Report {
    let mut report = Report { drivers: drivers.iter().map(|driver| driver.name()).collect(), ..Report::default() };
    for row in rows {
        let summary = report.ops.entry(row.op).or_default();
        for scenario in &row.scenarios {
            let mut played = play_all(scenario, drivers, PATIENCE);
            if !played.differences.is_empty() {
                played = play_all(scenario, drivers, MORE_PATIENCE);
            }
            summary.scenarios += 1;
            summary.results += played.story.len();
            summary.open.extend(played.story.iter().filter_map(|told| told.open).map(str::to_owned));
            let why = scenario.not_modelled.map(|why| format!("{}: {why}", scenario.name));
            summary.not_modelled.extend(why);
            summary.disagree.extend(played.disagree);
            let differences = played.differences.iter();
            report.differences.extend(differences.map(|what| format!("{}, {}: {what}", row.op, scenario.name)));
        }
    }
    report
}

/// What each driver told, and where they differ: in words, and which of them from the first.
struct Played {
    story: Vec<Told>,
    differences: Vec<String>,
    disagree: BTreeSet<String>,
}

fn play_all(scenario: &Scenario, drivers: &[Variant], patience: Duration) -> Played {
    let plays = |driver: &&Variant| !driver.is_simulated() || scenario.not_modelled.is_none();
    let drivers: Vec<Variant> = drivers.iter().filter(plays).copied().collect();
    // All at once: most of the time they wait.
    let plays: Vec<Play> = drivers.iter().map(|&driver| Play::start(scenario, driver, patience)).collect();
    let mut stories: Vec<Vec<Told>> = plays.into_iter().map(Play::story).collect();
    let lines = stories.iter().map(Vec::len).max().unwrap_or_default();
    let mut played = Played { story: Vec::new(), differences: Vec::new(), disagree: BTreeSet::new() };
    for line in 0..lines {
        let told: Vec<(String, String)> = stories.iter().map(|story| told_at(story, line)).collect();
        let differ: Vec<usize> = (0..told.len()).filter(|&index| told[index] != told[0]).collect();
        if !differ.is_empty() {
            played.differences.push(difference(&drivers, &told));
            played.disagree.extend(differ.into_iter().map(|index| drivers[index].name()));
        }
        if told.iter().any(|(what, _)| *what != told[0].0) {
            // From here on they speak of different things.
            break;
        }
    }
    played.story = stories.swap_remove(0);
    played
}

fn told_at(story: &[Told], line: usize) -> (String, String) {
    story.get(line).map_or_else(|| ("the end".into(), String::new()), |told| (told.what.clone(), told.outcome.clone()))
}

/// Who told what, those together who told the same.
fn difference(drivers: &[Variant], told: &[(String, String)]) -> String {
    let what = &told[0].0;
    let mut text = what.clone();
    let mut seen = BTreeSet::new();
    for outcome in told.iter().filter(|outcome| seen.insert(*outcome)) {
        let names = drivers.iter().zip(told).filter(|(_, other)| *other == outcome).map(|(driver, _)| driver.name());
        let other = if outcome.0 == *what { String::new() } else { format!("{}: ", outcome.0) };
        text.push_str(&format!("\n    {}: {other}{}", names.collect::<Vec<_>>().join(", "), outcome.1));
    }
    text
}

/// A scenario that runs on a thread of its own, where nothing else does.
struct Play {
    story: Arc<Mutex<Vec<Told>>>,
    is_done: Receiver<Result<(), String>>,
}

impl Play {
    fn start(scenario: &Scenario, driver: Variant, patience: Duration) -> Play {
        let story = Arc::new(Mutex::new(Vec::new()));
        let scene = Scene::new(driver, story.clone(), patience);
        let act = scenario.act;
        let (done, is_done) = channel();
        let run = move || {
            let played = catch_unwind(AssertUnwindSafe(|| {
                let runtime = driver.build().expect("it was there a moment ago");
                runtime.block_on(act(scene));
            }));
            let _nobody_waits = done.send(played.map_err(|panic| words_of(&*panic)));
        };
        std::thread::Builder::new().name(scenario.name.to_owned()).spawn(run).expect("a thread for a scenario");
        Play { story, is_done }
    }

    /// What it told. A panic, or an end that does not come, is the last thing.
    fn story(self) -> Vec<Told> {
        let ended = match self.is_done.recv_timeout(HANGS) {
            Ok(Ok(())) => None,
            Ok(Err(panic)) => Some(format!("panicked: {panic}")),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Some("never ended".to_owned()),
        };
        let mut story = std::mem::take(&mut *self.story.lock().unwrap_or_else(PoisonError::into_inner));
        story.extend(ended.map(|outcome| Told { what: "the end".into(), outcome, open: None }));
        story
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap_or_default()
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<18}{:>10}{:>9} ", "op", "scenarios", "results")?;
        let widths: Vec<usize> = self.drivers.iter().map(|driver| driver.len().max(9) + 2).collect();
        for (driver, width) in self.drivers.iter().zip(&widths) {
            write!(f, " {driver:<width$}")?;
        }
        writeln!(f, " relation")?;
        for (op, summary) in &self.ops {
            write!(f, "{op:<18}{:>10}{:>9} ", summary.scenarios, summary.results)?;
            for (driver, width) in self.drivers.iter().zip(&widths) {
                let cell = match (summary.disagree.contains(driver), driver == &self.drivers[0]) {
                    (true, _) => "DIFFERS",
                    (false, true) => "reference",
                    (false, false) => "agrees",
                };
                write!(f, " {cell:<width$}")?;
            }
            writeln!(f, " equal{}", if summary.open.is_empty() { "" } else { ", but:" })?;
            for open in &summary.open {
                writeln!(f, "{:>10}{open}", "open: ")?;
            }
            for why in &summary.not_modelled {
                writeln!(f, "{:>10}not simulated: {why}", "")?;
            }
        }
        Ok(())
    }
}
