//! The op that does nothing, and what holds for every op: deadlines, and being dropped.

use std::pin::pin;
use std::time::Duration;

use runtime::op::Nop;
use runtime::op::path::OFlags;
use runtime::time::now;
use runtime::{Feature, call, spawn, submit};

use crate::row;
use crate::scene::{Either, Scene};
use crate::table::Row;

pub fn rows() -> Vec<Row> {
    vec![
        row!("Nop": it_is_answered, many_are_answered, a_deadline_that_is_past_changes_little, it_can_be_dropped),
        row!("call::offers": an_op_is_offered_or_not),
        row!("call::cheaper": a_call_is_cheaper_or_not),
        row!("call::pass": a_plain_call_reaches_the_real_kernel_or_is_refused),
        row!("call::os": a_descriptor_is_the_real_kernels_or_is_refused),
    ]
}

async fn it_is_answered(scene: Scene) {
    scene.tell("a nop", &scene.ask(Nop).await);
}

async fn many_are_answered(scene: Scene) {
    let tasks: Vec<_> = (0..1_000).map(|_| spawn(submit(Nop))).collect();
    let mut good = 0;
    for task in tasks {
        good += usize::from(task.await.expect("no panic").is_ok());
    }
    scene.tell("good answers to a thousand nops", &good);
}

/// The cancel of a nop comes late as a rule, but a driver need not have begun.
pub const DONE_OR_TIMED_OUT: Either = Either {
    among: &["done", "waits"],
    says: "done, or timed out: io_uring_enter(2) does not say which of an op and its cancel is first",
};

async fn a_deadline_that_is_past_changes_little(scene: Scene) {
    let past = now().checked_sub(Duration::from_secs(1)).unwrap_or_else(now);
    scene.tell_either("a nop that was due before", &submit(Nop).deadline(past).await, &DONE_OR_TIMED_OUT);
    scene.tell("a nop after that", &submit(Nop).await);
}

async fn it_can_be_dropped(scene: Scene) {
    drop(submit(Nop));
    {
        let mut started = pin!(submit(Nop));
        std::future::poll_fn(|context| {
            let _pending = started.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }
    scene.tell("a nop after two that were dropped", &submit(Nop).await);
}

async fn an_op_is_offered_or_not(scene: Scene) {
    for feature in Feature::ALL {
        let offered = call::offers(feature).to_string();
        scene.tell_either(feature.name(), &offered, &OFFERED);
    }
}

const OFFERED: Either = Either {
    among: &["true", "false"],
    says: "offered or not: that is what is asked, and it makes no other difference",
};

async fn a_call_is_cheaper_or_not(scene: Scene) {
    scene.tell_either("alone", &format!("{:?}", call::cheaper()), &CHEAPER);
    let beside = spawn(submit(Nop));
    scene.tell_either("beside a task that is ready", &format!("{:?}", call::cheaper()), &CHEAPER);
    scene.tell("the task", &beside.await.expect("no panic"));
}

const CHEAPER: Either = Either {
    among: &["Op", "Call", "AlwaysCall"],
    says: "what is cheaper: that is what is asked, and programs come to the same by either",
};

async fn a_plain_call_reaches_the_real_kernel_or_is_refused(scene: Scene) {
    scene.tell_either("leave for a plain call", &call::pass("chroot"), &PASSED);
}

async fn a_descriptor_is_the_real_kernels_or_is_refused(scene: Scene) {
    let file = scene.file("file", b"bytes", OFlags::RDONLY).await;
    scene.tell_either("the descriptor of a file", &call::os(&file, "flock").map(|_fd| ()), &PASSED);
}

const PASSED: Either = Either {
    among: &["done", "Unsupported"],
    says: "leave to go past the driver, or Unsupported where the real kernel knows nothing of the program's files",
};
