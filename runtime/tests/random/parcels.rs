//! What cores send each other: each parcel is opened once, on the core it was sent to, in the order in which they were
//! sent.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use fs::OpenOptions;
use runtime::op::Nop;
use runtime::simulated::world;
use runtime::{JoinHandle, core_id, spawn_on, submit};

use crate::dice::bytes;
use crate::fates::pause;
use crate::script::{ChildEnd, Parcel};
use crate::stage::Stage;

/// The names of parcels, in the order in which they were opened, and where.
type Opened = Arc<Mutex<Vec<(u64, usize)>>>;

/// Sends parcels from this core, and waits for what comes back.
pub async fn send(stage: Rc<Stage>, parcels: Vec<Parcel>) {
    let opened = Opened::default();
    let mut sent = Vec::new();
    for parcel in parcels {
        let to = usize::try_from(parcel.to).expect("few cores") % runtime::cores();
        let name = stage.name();
        let handle = post(to, name, parcel, opened.clone());
        if parcel.end == ChildEnd::Aborted {
            handle.abort();
        }
        sent.push((name, to, parcel, handle));
        if parcel.rests {
            pause(parcel.us).await;
        }
    }
    let expected: Vec<(u64, usize)> = sent.iter().map(|(name, to, ..)| (*name, *to)).collect();
    let kept: Vec<u64> =
        sent.iter().filter(|(_, _, parcel, _)| parcel.end != ChildEnd::Aborted).map(|(name, ..)| *name).collect();
    for (name, _, parcel, handle) in sent {
        if parcel.end == ChildEnd::Detached {
            continue;
        }
        let joined = handle.await;
        let is_right = match (&joined, parcel.end) {
            (Ok(Ok(answer)), _) => *answer == name,
            (Ok(Err(_)), _) => false,
            (Err(error), ChildEnd::Panics) => error.is_panic(),
            (Err(error), _) => error.is_cancelled() && parcel.end == ChildEnd::Aborted,
        };
        stage.verdict.blame_unless(is_right, || format!("{parcel:?} came back as {joined:?}"));
    }
    // Those that nobody waited for are on their way still; by then they were opened.
    pause(400_000).await;
    judge(&stage, &expected, &kept, &opened);
}

/// What was sent to each core was opened in its order, and those that were kept all were.
fn judge(stage: &Stage, expected: &[(u64, usize)], kept: &[u64], opened: &Opened) {
    let opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    let is_lost = kept.iter().any(|name| !opened.iter().any(|(came, _)| came == name));
    stage.verdict.blame_unless(!is_lost, || format!("of parcels {kept:?} only {opened:?} were opened"));
    for core in 0..runtime::cores() {
        let there = |all: &[(u64, usize)]| -> Vec<u64> {
            all.iter().filter(|(_, to)| *to == core).map(|(name, _)| *name).collect()
        };
        let (sent, came) = (there(expected), there(&opened));
        let mut left = sent.iter();
        let is_ordered = came.iter().all(|name| left.any(|sent| sent == name));
        stage.verdict.blame_unless(is_ordered, || format!("core {core} was sent {sent:?} and opened {came:?}"));
    }
}

/// Sends one. What it does there stays there: files, ops and timers of that core.
fn post(to: usize, name: u64, parcel: Parcel, opened: Opened) -> JoinHandle<Result<u64, String>> {
    spawn_on(to, move || {
        opened.lock().unwrap_or_else(PoisonError::into_inner).push((name, core_id()));
        async move {
            let _interrupted = submit(Nop).await;
            pause(parcel.us).await;
            if parcel.writes {
                write(name).await?;
            }
            if parcel.end == ChildEnd::Panics {
                resume_unwind(Box::new("meant"));
            }
            if parcel.answers {
                // Sent on to the next core, and waited for there.
                let next = (to + 1) % runtime::cores();
                let answer = spawn_on(next, move || async move { name }).await;
                return answer.map_err(|error| error.to_string());
            }
            Ok(name)
        }
    })
}

/// Writes a file on whatever core this is, and reads it again, if neither fails.
async fn write(name: u64) -> Result<(), String> {
    let contents = bytes(name, 0, 900);
    let file = OpenOptions::new().read(true).write(true).create(true).open(format!("/tmp/parcel-{name}")).await;
    let Ok(file) = file else { return Ok(()) };
    if file.write_all_owned(contents.clone()).await.is_err() {
        return Ok(());
    }
    match file.read_exact_at_owned(vec![0; 900], 0).await {
        Ok(((), read)) if read != contents && world().power_cuts() == 0 => Err(format!("the file of {name} differs")),
        _ => Ok(()),
    }
}
