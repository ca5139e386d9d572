//! One op without a handle: it is watched, and has its fate.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;

use runtime::op::{Op, Reply};
use runtime::time::{Duration, now};
use runtime::{Submit, submit};
use rustix::io::Errno;

use crate::fates::{live, poll_once};
use crate::script::RawFate;
use crate::stage::Stage;
use crate::watched::Watched;

/// Runs `op`. `report` hears of its last reply, whoever gets that.
pub async fn one<T: Op>(
    stage: &Rc<Stage>,
    what: &'static str,
    fate: RawFate,
    op: T,
    report: impl FnOnce(&T, &io::Result<Reply>) + 'static,
) {
    let judging = stage.clone();
    let op = stage.watch.op(op, move |op, reply| {
        if let Err(error) = reply {
            check(&judging, what, error);
        }
        report(op, reply);
    });
    have(stage, fate, op).await;
}

/// What no op of these programs should be answered, whatever strikes it.
pub fn check(stage: &Stage, what: &str, error: &io::Error) {
    let wrong = [Errno::BADF, Errno::INVAL, Errno::FAULT, Errno::NOTSOCK, Errno::SPIPE, Errno::OPNOTSUPP];
    let is_wrong = wrong.into_iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    let is_wrong = is_wrong || error.kind() == io::ErrorKind::InvalidData;
    stage.verdict.blame_unless(!is_wrong, || format!("{what}: {error:?}"));
}

async fn have<T: Op>(stage: &Stage, fate: RawFate, op: Watched<T>) {
    match fate {
        RawFate::Of(fate) => drop(live(fate, submit(op)).await),
        RawFate::Deadline { us } => {
            drop(submit(op).deadline(now() + Duration::from_micros(us)).await);
        }
        RawFate::Forgotten => {
            let mut submitted: Submit<Watched<T>> = submit(op);
            if poll_once(pin!(&mut submitted)).await.is_pending() {
                stage.forgotten.set(stage.forgotten.get() + 1);
                stage.has_leaked.set(true);
                std::mem::forget(submitted);
            }
        }
        RawFate::Outlives => {
            let mut future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async { drop(submit(op).await) });
            if poll_once(pin!(&mut future)).await.is_pending() {
                stage.forgotten.set(stage.forgotten.get() + 1);
                stage.graveyard.borrow_mut().push(future);
            }
        }
    }
}
