//! Conversations: a connection of the program's, what is said on it from both sides, and what both must have heard.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use net::{Shutdown, TcpStream};
use runtime::buf::{BufResult, IoBuf};
use runtime::simulated::Peer;
use runtime::time::Duration;

use crate::dice::bytes;
use crate::fates::{live, pause};
use crate::incoming::Incoming;
use crate::outgoing::{Begun, Ending, Kind, Outgoing};
use crate::script::{Conversation, Outside, Reading, Receive, Send, Writing};
use crate::stage::Stage;
use crate::verdict::{Meaning, meaning};

/// A connection, and what is known of it.
pub struct Line {
    peer: Peer,
    /// Of the bytes from outside.
    name: u64,
    said: Cell<u64>,
    incoming: Incoming,
    outgoing: Rc<Outgoing>,
    heard: RefCell<Vec<u8>>,
    /// It did not end well, so that something may be lost.
    is_broken: Cell<bool>,
    /// The program has it, or had it.
    is_served: Cell<bool>,
    /// The program has read to the end and closed it.
    is_over: Cell<bool>,
}

impl Line {
    pub fn new(stage: &Stage, peer: Peer) -> Rc<Line> {
        let name = stage.name();
        let line = Rc::new(Line {
            peer,
            name,
            said: Cell::new(0),
            incoming: Incoming::new(name),
            outgoing: Rc::default(),
            heard: RefCell::default(),
            is_broken: Cell::new(false),
            is_served: Cell::new(false),
            is_over: Cell::new(false),
        });
        stage.lines.borrow_mut().push(line.clone());
        line
    }

    fn hear(&self) {
        self.heard.borrow_mut().extend(self.peer.received());
        if self.peer.is_reset() {
            self.is_broken.set(true);
        }
    }

    /// Whether the other side of this one still waits to be accepted, as far as it knows.
    pub fn waits(&self) -> bool {
        !self.is_served.get() && !self.peer.has_ended()
    }

    /// The program got it; twice is once too often.
    pub fn is_taken(&self, stage: &Stage, from: SocketAddr) {
        let is_first = !self.is_served.replace(true);
        stage.verdict.blame_unless(is_first, || format!("the connection from {from} was accepted twice"));
    }

    fn failed(&self, stage: &Stage, what: &str, error: &io::Error) {
        match meaning(error, &stage.world) {
            Meaning::Passing => {}
            Meaning::Broken => self.is_broken.set(true),
            Meaning::Wrong => stage.verdict.blame(format!("{what} on a connection: {error:?}")),
        }
    }

    /// All is over. `is_cut_short`: the runtime ended in the middle.
    pub fn judge(&self, stage: &Stage, is_cut_short: bool) {
        self.hear();
        let verdict = &stage.verdict;
        let ending = match stage.world.power_cuts() {
            0 if !self.is_broken.get() && !is_cut_short => Ending::Well,
            0 => Ending::Broken,
            _ => Ending::PowerCut,
        };
        if let Err(why) = self.outgoing.explain(&self.heard.borrow(), ending) {
            verdict.blame(format!("line {:#x}, what was heard outside: {why}", self.name));
        }
        if ending == Ending::Well && self.is_over.get() {
            verdict.blame_unless(self.incoming.is_complete(self.said.get()), || {
                format!(
                    "line {:#x}: {} bytes were said outside, {}",
                    self.name,
                    self.said.get(),
                    self.incoming.describe()
                )
            });
            verdict.blame_unless(self.peer.has_ended(), || format!("line {:#x} does not end", self.name));
        }
    }

    /// Whether nobody outside still believes in the connection.
    pub fn has_ended(&self) -> bool {
        self.peer.has_ended()
    }
}

/// What happens at the outer end, and then listening until the program has ended its side.
pub async fn outside(stage: Rc<Stage>, line: Rc<Line>, steps: Vec<Outside>) {
    for step in steps {
        match step {
            Outside::Pause { us } => pause(us).await,
            Outside::Take => line.hear(),
            Outside::Send { len } => {
                let said = line.said.get();
                match line.peer.send(&bytes(line.name, said, len)) {
                    Ok(()) => line.said.set(said + u64::try_from(len).expect("small")),
                    Err(_) => line.is_broken.set(true),
                }
            }
            Outside::Close | Outside::Reset => {
                line.hear();
                line.is_broken.set(true);
                if let Outside::Close = step {
                    line.peer.close()
                } else {
                    line.peer.reset()
                }
                return;
            }
        }
    }
    line.hear();
    line.peer.shutdown_write();
    // The program ends its side at last, or the runtime ends before.
    while !line.peer.has_ended() {
        line.hear();
        pause(3_000).await;
    }
    line.hear();
    drop(stage);
}

/// The program's side.
pub async fn serve(stage: Rc<Stage>, line: Rc<Line>, stream: TcpStream, conversation: Conversation) {
    let Conversation { readers, writers, abort_us, timeout_us, closes, .. } = conversation;
    if let Some(us) = timeout_us {
        let limit = Some(Duration::from_micros(us));
        line.outgoing.is_limited.set(true);
        let set = stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit));
        stage.verdict.blame_unless(set.is_ok(), || format!("a timeout cannot be set: {set:?}"));
    }
    let stream = Rc::new(stream);
    let mut tasks = Vec::new();
    for steps in readers {
        let (stage, line, stream) = (stage.clone(), line.clone(), stream.clone());
        tasks.push(runtime::spawn(async move {
            for step in steps {
                live(step.fate, read(&stage, &line, &stream, step)).await;
            }
        }));
    }
    for steps in writers {
        let (stage, line, stream) = (stage.clone(), line.clone(), stream.clone());
        tasks.push(runtime::spawn(async move {
            for step in steps {
                live(step.fate, write(&stage, &line, &stream, step)).await;
            }
        }));
    }
    if let Some(us) = abort_us {
        pause(us).await;
        for task in &tasks {
            task.abort();
        }
    }
    for task in tasks {
        stage.judge("a conversation", task).await;
    }
    let stream = Rc::into_inner(stream).expect("the tasks are gone");
    end(&stage, &line, stream, closes).await;
}

/// Reads all that is left, and closes.
async fn end(stage: &Stage, line: &Line, stream: TcpStream, closes: bool) {
    let timeouts = stream.set_read_timeout(None).and_then(|()| stream.set_write_timeout(None));
    stage.verdict.blame_unless(timeouts.is_ok(), || format!("a timeout cannot be unset: {timeouts:?}"));
    let step = Receive { how: Reading::Owned, len: 1_000, fate: crate::script::Fate::Awaited };
    while line.incoming.is_open() && !line.is_broken.get() {
        read(stage, line, &stream, step).await;
    }
    let begun = line.outgoing.begin(0, 0, Kind::Flush);
    let ended = if closes {
        stream.close().await
    } else {
        let ended = stream.shutdown(Shutdown::Write).await;
        drop(stream);
        ended
    };
    finish(stage, line, begun, ended.map(|()| 0));
    line.is_over.set(true);
}

async fn read(stage: &Stage, line: &Line, stream: &TcpStream, step: Receive) {
    let mut buf = vec![0; step.len];
    let read = match step.how {
        Reading::Lent => stream.read(&mut buf).await.map(|count| buf[..count].to_vec()),
        Reading::ExactLent => stream.read_exact(&mut buf).await.map(|()| buf),
        Reading::Owned => taken(stream.read_owned(stage.watch.buffer(buf)).await),
        Reading::ExactOwned => {
            let read = stream.read_exact_owned(stage.watch.buffer(buf)).await;
            taken(read.map(|((), buf)| (step.len, buf)))
        }
        Reading::Peek => match stream.peek(&mut buf).await {
            Ok(shown) => return line.incoming.show(&buf[..shown], line.said.get(), &stage.verdict),
            Err(error) => Err(error),
        },
    };
    match read {
        Ok(bytes) => line.incoming.take(&bytes, line.said.get(), &stage.verdict),
        Err(error) => line.failed(stage, "a read", &error),
    }
}

/// What was read into a given buffer.
pub fn taken<B: IoBuf>(read: BufResult<usize, B>) -> io::Result<Vec<u8>> {
    let (count, buf) = read?;
    Ok(buf.bytes()[..count].to_vec())
}

/// How much was written from a given buffer.
pub fn told<B>(written: BufResult<usize, B>) -> io::Result<usize> {
    Ok(written?.0)
}

async fn write(stage: &Stage, line: &Line, stream: &TcpStream, step: Send) {
    let name = stage.name();
    let buf = bytes(name, 0, step.len);
    let begin = |len, kind| line.outgoing.begin(name, len, kind);
    let (begun, written) = match step.how {
        Writing::Flush => (begin(0, Kind::Flush), stream.flush().await.map(|()| 0)),
        Writing::Lent => (begin(step.len, Kind::Lent), stream.write(&buf).await),
        Writing::AllLent => (begin(step.len, Kind::LentParts), stream.write_all(&buf).await.map(|()| step.len)),
        Writing::Owned => {
            let begun = begin(step.len, Kind::Given);
            (begun, told(stream.write_owned(stage.watch.buffer(buf)).await))
        }
        Writing::AllOwned => {
            let begun = begin(step.len, Kind::GivenParts);
            let written = stream.write_all_owned(stage.watch.buffer(buf)).await;
            (begun, told(written.map(|((), buf)| (step.len, buf))))
        }
    };
    finish(stage, line, begun, written);
}

fn finish(stage: &Stage, line: &Line, begun: Begun, written: io::Result<usize>) {
    match written {
        Ok(count) => begun.done(count),
        Err(error) => {
            line.failed(stage, "a write", &error);
            if error.kind() == io::ErrorKind::WouldBlock { begun.expired() } else { begun.failed() }
        }
    }
}
