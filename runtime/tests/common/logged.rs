//! What the runtime logs through `tracing`, one line for each event.

use std::cell::Cell;
use std::fmt::{Debug, Write};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static LOGGED: Mutex<Vec<(ThreadId, String)>> = Mutex::new(Vec::new());

thread_local! {
    /// What else is done with each event that this thread logs.
    pub static CALLS_BACK: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Collects events from now on, for this whole process.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        tracing::subscriber::set_global_default(Listener).expect("nobody else listens in this process");
    });
}

/// The lines so far, of this thread or of any, that have all of these words in them.
pub fn lines_with(by: Option<ThreadId>, words: &[&str]) -> Vec<String> {
    let logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_meant = |(thread, line): &&(ThreadId, String)| {
        by.is_none_or(|by| by == *thread) && words.iter().all(|word| line.contains(word))
    };
    logged.iter().filter(is_meant).map(|(_, line)| line.clone()).collect()
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        LOGGED.lock().unwrap_or_else(PoisonError::into_inner).push((thread::current().id(), line.0));
        CALLS_BACK.get().inspect(|call_back| call_back());
    }

    fn new_span(&self, _attributes: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.expect("a String takes all");
    }
}
