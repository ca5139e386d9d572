//! The end of cores: their tasks' futures are dropped, what is in flight is cancelled, and its last replies are waited
//! for. What was promised to be finished is cancelled at half time only.

use std::io;
use std::rc::Rc;

use crate::core::{Core, Told};
use crate::task::Tasks;
use crate::time::{Duration, Instant};

/// Ends the cores of this thread, which is one, or all of a simulated world. It takes `within` at most; what a device
/// still holds then is leaked, and told.
pub(crate) fn end(cores: &[Rc<Core>], within: Duration) {
    drop_tasks(cores);
    let began = cores[0].now();
    match drain(cores, began + within / 2, began + within) {
        Ok(left) if left.is_empty() => {}
        Ok(left) => tracing::warn!(
            "{} operations did not end within {within:?}; their memory is leaked, since a device may still write there: {}",
            left.len(),
            left.join("; "),
        ),
        Err(error) => {
            tracing::error!("the driver was lost while the runtime ended, so all in flight is leaked: {error}")
        }
    }
    // An op's `abandon` may have spawned.
    drop_tasks(cores);
    for core in cores {
        let _here = core.enter();
        core.drop_timers();
        core.tasks.close();
    }
}

fn drop_tasks(cores: &[Rc<Core>]) {
    for core in cores {
        let _here = core.enter();
        Tasks::drop_all(&core.tasks);
    }
}

/// Lets finish until `half_time` what is to be finished. Returns a line for each op that did not end.
fn drain(cores: &[Rc<Core>], half_time: Instant, deadline: Instant) -> io::Result<Vec<String>> {
    let mut told: Vec<Told> = cores.iter().map(|_| Told::default()).collect();
    loop {
        let mut unanswered = 0;
        let is_late = cores[0].now() >= half_time;
        for (core, told) in cores.iter().zip(&mut told) {
            let _here = core.enter();
            unanswered += core.ask_for_the_end(told, is_late);
        }
        if unanswered == 0 || cores[0].now() >= deadline {
            return Ok(cores.iter().flat_map(|core| core.left()).collect());
        }
        // Where several share a thread, whoever has something to do comes first: the others would wait for it in vain.
        let core = match cores {
            [alone] => alone,
            several => &several[several[0].world().next_turn(1).0],
        };
        let _here = core.enter();
        core.wait_for_the_end(if is_late { deadline } else { half_time })?;
    }
}
