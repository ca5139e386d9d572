//! One program, from its script to the verdict.

use std::net::SocketAddr;
use std::rc::Rc;

use net::{TcpListener, TcpStream};
use runtime::simulated::{self, MatrixCell, World};
use runtime::time::{Duration, timeout};
use runtime::{Builder, Metrics, metrics, on_each_core};

use crate::fates::{live, pause};
use crate::holding::held;
use crate::script::{Conversation, End, Fate, Script};
use crate::stage::Stage;
use crate::talk::{Line, outside, serve};
use crate::verdict::{Meaning, meaning};
use crate::{bare, book, desk, errands, flows, parcels, strangers};

/// How a program's run went.
pub struct Run {
    pub complaints: Vec<String>,
    /// What struck where.
    pub cells: Vec<MatrixCell>,
    /// Requests and further attempts.
    pub steps: u64,
    /// A future was leaked, and with it the place of its core.
    has_leaked: bool,
}

/// What a core takes that a leaked future keeps the place of. Its insides are gone.
const CORE_BYTES_MAX: i64 = 2_048;

/// By then all tasks have ended, in simulated time: TCP gives up after a quarter of an hour.
const HANGS_AFTER: Duration = Duration::from_secs(3 * 3_600);

/// Runs the program of `seed`.
///
/// # Panics
///
/// Where the runtime does.
pub fn run(seed: u64) -> Run {
    let before = held();
    let mut run = perform(seed);
    run.cells.shrink_to_fit();
    let own = size_of_val(&*run.cells) + run.complaints.capacity() * size_of::<String>();
    let left = held() - before - i64::try_from(own).expect("small");
    let most = if run.has_leaked { CORE_BYTES_MAX } else { 0 };
    if run.complaints.is_empty() && !(0..=most).contains(&left) {
        run.complaints.push(format!("{left} bytes of memory are left"));
    }
    run
}

fn perform(seed: u64) -> Run {
    let script = Script::draw(seed);
    let builder = Builder::new().ignore_environment().buffers(script.buffers).cores(script.cores);
    let runtime = builder.simulated(seed, script.faults.clone()).build().expect("a world needs nothing");
    let world = runtime.block_on(async { simulated::world() });
    let stage = Stage::new(world.clone());
    let end = script.end;
    let has_outages = !script.outages_us.is_empty();
    stage.had_outages.set(has_outages);
    runtime.block_on(async {
        begin(&stage, script).await;
        match end {
            End::Complete => complete(&stage).await,
            End::Dropped { after_us } | End::InTwoParts { after_us } => pause(after_us).await,
        }
    });
    if let End::InTwoParts { .. } = end {
        runtime.block_on(complete(&stage));
    }
    drop(runtime);
    let complaints = judge(&stage, matches!(end, End::Dropped { .. }));
    let run = Run { complaints, cells: world.reached(), steps: world.steps(), has_leaked: stage.has_leaked.get() };
    drop((stage, world));
    run
}

/// Starts all tasks.
async fn begin(stage: &Rc<Stage>, script: Script) {
    // The listener comes first: whoever connects from outside finds it.
    let listener = listen(stage).await.map(Rc::new);
    if let Some(listener) = &listener {
        visitors(stage, listener, script.visitors, script.acceptors);
    }
    for (index, (fate, conversation)) in script.visits.into_iter().enumerate() {
        stage.spawn("a visit", visit(stage.clone(), index, fate, conversation));
    }
    for scribe in script.scribes {
        stage.spawn_mortal("a scribe", desk::scribe(stage.clone(), scribe));
    }
    if !script.journal.loggers.is_empty() {
        stage.spawn("the loggers", desk::loggers(stage.clone(), script.journal));
    }
    if !script.book.readers.is_empty() {
        stage.spawn("the readers", book::read_together(stage.clone(), script.book));
    }
    for steps in script.raw {
        stage.spawn_mortal("raw ops", bare::run(stage.clone(), steps));
    }
    for flow in script.flows {
        stage.spawn("a flow", flows::run(stage.clone(), flow));
    }
    for group in script.strangers {
        stage.spawn("strangers", strangers::run(stage.clone(), group));
    }
    for steps in script.errands {
        stage.spawn_mortal("errands", errands::run(stage.clone(), steps));
    }
    errands::correspond(stage, &script.correspondents);
    for parcels in script.parcels {
        stage.spawn("who sends parcels", parcels::send(stage.clone(), parcels));
    }
    for (which, us) in script.aborts_us.into_iter().enumerate() {
        let aborting = stage.clone();
        stage.spawn("who aborts", async move {
            pause(us).await;
            aborting.abort(which);
        });
    }
    let world = stage.world.clone();
    stage.spawn("the network", outages(world, script.outages_us));
}

async fn outages(world: World, outages_us: Vec<(u64, u64)>) {
    let mended = Mended(world);
    for (after_us, for_us) in outages_us {
        pause(after_us).await;
        mended.0.cut();
        pause(for_us).await;
        mended.0.mend();
    }
}

/// The network is whole when this goes.
struct Mended(World);

impl Drop for Mended {
    fn drop(&mut self) {
        self.0.mend();
    }
}

async fn listen(stage: &Stage) -> Option<TcpListener> {
    for _ in 0..50 {
        match TcpListener::bind("127.0.0.1:80").await {
            Ok(listener) => return Some(listener),
            Err(error) => stage
                .verdict
                .blame_unless(meaning(&error, &stage.world) != Meaning::Wrong, || format!("a listener: {error:?}")),
        }
    }
    None
}

/// Visitors come from outside at any time, and are accepted by whoever is there.
fn visitors(
    stage: &Rc<Stage>,
    listener: &Rc<TcpListener>,
    conversations: Vec<Conversation>,
    acceptors: Vec<Vec<Fate>>,
) {
    let address: SocketAddr = "127.0.0.1:80".parse().expect("an address");
    for (index, mut conversation) in conversations.into_iter().enumerate() {
        let visited = stage.clone();
        let steps = std::mem::take(&mut conversation.outside);
        stage.spawn("a visitor", async move {
            pause(u64::try_from(index).expect("few") * 170).await;
            let Ok(peer) = visited.world.connect(address) else { return };
            let Ok(from) = peer.address() else { return };
            let line = Line::new(&visited, peer);
            visited.visitors.borrow_mut().insert(from, (line.clone(), Some(conversation)));
            outside(visited.clone(), line, steps).await;
        });
    }
    let mut accepting = Vec::new();
    for fates in acceptors {
        let (stage, listener) = (stage.clone(), listener.clone());
        accepting.push(runtime::spawn(async move {
            for fate in fates {
                live(fate, timeout(Duration::from_millis(2), accept(&stage, &listener))).await;
            }
        }));
    }
    let (host, listener) = (stage.clone(), listener.clone());
    stage.spawn("the host", async move {
        for task in accepting {
            host.judge("an acceptor", task).await;
        }
        // Nobody who came is forgotten.
        while host.world.power_cuts() == 0 && has_waiting(&host) {
            let _elapsed = timeout(Duration::from_millis(20), accept(&host, &listener)).await;
        }
        match Rc::into_inner(listener) {
            Some(listener) => drop(listener.close().await),
            None => host.verdict.blame("somebody still has the listener"),
        }
    });
}

fn has_waiting(stage: &Stage) -> bool {
    stage.visitors.borrow().values().any(|(line, _)| line.waits())
}

async fn accept(stage: &Rc<Stage>, listener: &TcpListener) {
    match listener.accept().await {
        Ok((stream, from)) => {
            let mut visitors = stage.visitors.borrow_mut();
            let Some((line, conversation)) = visitors.get_mut(&from) else {
                return stage.verdict.blame(format!("{from} was accepted, who never came"));
            };
            line.is_taken(stage, from);
            if let Some(conversation) = conversation.take() {
                stage.spawn("a conversation", serve(stage.clone(), line.clone(), stream, conversation));
            }
        }
        Err(error) => {
            let is_wrong = meaning(&error, &stage.world) == Meaning::Wrong;
            stage.verdict.blame_unless(!is_wrong, || format!("accept: {error:?}"));
        }
    }
}

/// The program connects to the outside.
async fn visit(stage: Rc<Stage>, index: usize, fate: Fate, mut conversation: Conversation) {
    let port = u16::try_from(index).expect("few") + 90;
    let Ok(outer) = stage.world.listen(SocketAddr::from(([10, 0, 0, 8], port))) else { return };
    let Ok(address) = outer.address() else { return };
    let connected = live(fate, async {
        if conversation.closes {
            TcpStream::connect(address).await
        } else {
            TcpStream::connect_timeout(&address, Duration::from_millis(300)).await
        }
    });
    let stream = match connected.await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            let is_wrong = meaning(&error, &stage.world) == Meaning::Wrong;
            return stage.verdict.blame_unless(!is_wrong, || format!("connect: {error:?}"));
        }
        None => return,
    };
    // Of an earlier attempt there is none, since it tries one address once.
    let Some(peer) = outer.accept() else { return };
    let line = Line::new(&stage, peer);
    line.is_taken(&stage, address);
    let steps = std::mem::take(&mut conversation.outside);
    stage.spawn("who is visited", outside(stage.clone(), line.clone(), steps));
    serve(stage, line, stream, conversation).await;
}

/// Waits for all tasks, and until nothing is left in flight.
async fn complete(stage: &Stage) {
    if timeout(HANGS_AFTER, stage.join()).await.is_err() {
        return stage.verdict.blame(format!("tasks wait for ever, {} first: {:?}", stage.awaited(), metrics()));
    }
    // Ops that were cancelled end within a second; a child that was detached, too.
    let mut cores = Vec::new();
    for _ in 0..20 {
        cores = all_metrics().await;
        // A burst whose task was aborted goes on, and forgets some only now.
        if is_quiet(&cores, stage.forgotten.get()) {
            return;
        }
        pause(500_000).await;
    }
    let forgotten = stage.forgotten.get();
    stage.verdict.blame(format!("{forgotten} ops were forgotten, and there is left: {cores:?}"));
}

/// Each core's, asked by a task there.
async fn all_metrics() -> Vec<Metrics> {
    let mut all = Vec::new();
    for asked in on_each_core(|| async { metrics() }) {
        all.extend(asked.await.ok());
    }
    all
}

fn is_quiet(cores: &[Metrics], forgotten: usize) -> bool {
    let in_flight: usize = cores.iter().map(|core| core.in_flight).sum();
    let is_idle = |core: &Metrics| core.tasks == 1 && core.timers == 0 && core.buffers == 0;
    // The one task is who asks.
    in_flight == forgotten && cores.len() == runtime::cores() && cores.iter().all(is_idle)
}

/// All that must hold when the runtime is gone.
fn judge(stage: &Rc<Stage>, is_cut_short: bool) -> Vec<String> {
    let (verdict, world) = (&stage.verdict, &stage.world);
    verdict.blame_unless(world.unanswered() == 0, || format!("{} requests were never answered", world.unanswered()));
    drop(stage.graveyard.take());
    for line in stage.lines.borrow().iter() {
        line.judge(stage, is_cut_short);
    }
    for last in stage.last.take() {
        last(stage, is_cut_short);
    }
    verdict.blame_unless(world.descriptors().is_empty(), || format!("descriptors are left: {:?}", world.descriptors()));
    if !stage.had_outages.get() {
        let strangers = stage.strangers.borrow();
        let is_over = stage.lines.borrow().iter().all(|line| line.has_ended())
            && strangers.iter().all(|peer| {
                let _unread = peer.received();
                peer.has_ended()
            });
        verdict.blame_unless(is_over, || "somebody outside believes in a connection that is gone".to_owned());
    }
    verdict.blame_unless(world.unsupported().is_empty(), || format!("not modelled: {:?}", world.unsupported()));
    stage.watch.judge();
    stage.clear();
    verdict.complaints()
}
