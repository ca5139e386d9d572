//! Tasks for other cores: a closure travels, and makes its future where that is going to stay.

use super::{
    JoinHandle,
    cell::{Parcel, Site},
};
use crate::{inbox::Inbox, sync::Arc};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// How tasks are sent to a core.
#[derive(Clone)]
pub(crate) struct Address {
    core: u64,
    inbox: Arc<Inbox>,
}

impl Address {
    /// That of the core to be at `site`, which is going to read `inbox`.
    pub(crate) fn new(site: &Site, inbox: Arc<Inbox>) -> Address {
        Address { core: site.id(), inbox }
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Has `make` called, and the future that it makes run, as a task of that core. One allocation, and no waiting. If
    /// the core has ended, `make` is dropped here, and the handle says «cancelled».
    pub(crate) fn spawn<M, F>(&self, make: M) -> JoinHandle<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (parcel, handle) = Parcel::new(self.core, &self.inbox, make);
        let handle = JoinHandle::new(handle);
        parcel.send();
        handle
    }
}

pin_project! {
    /// The future that `make` makes, when it is first polled.
    #[project = Stage]
    pub(crate) enum Arriving<M, F> {
        Packed { make: Option<M> },
        Made { #[pin] future: F },
    }
}

impl<M, F> Arriving<M, F> {
    pub(crate) fn new(make: M) -> Arriving<M, F> {
        Arriving::Packed { make: Some(make) }
    }
}

impl<M: FnOnce() -> F, F: Future> Future for Arriving<M, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let Stage::Packed { make } = self.as_mut().project() {
            let make = make.take().expect("a task that panicked is not polled again");
            let future = make();
            self.set(Arriving::Made { future });
        }
        match self.project() {
            Stage::Made { future } => future.poll(context),
            Stage::Packed { .. } => unreachable!("it was made just now"),
        }
    }
}
