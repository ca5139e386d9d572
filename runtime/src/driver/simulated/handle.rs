//! The handles by which a test looks at a simulated world and acts on its other side.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::descriptors::Object;
use super::faults::places::{Kind, place};
use super::faults::{Fault, Faults};
use super::pipes::PipeEnd;
use super::world::{Kernel, Shared};
use crate::op::socket::End;

mod datagrams;
mod outside;
mod peer;

pub use datagrams::{Datagram, PeerDatagrams};
pub use peer::{Peer, PeerListener};

/// A simulated world. Clones are handles of the same one.
///
/// What it is asked happens at once, outside the program's time: nothing here waits.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use runtime::{Builder, simulated::{self, Faults}};
///
/// let runtime = Builder::new().simulated(7, Faults::none()).build()?;
/// runtime.block_on(async {
///     let world = simulated::world();
///     world.write_file("/etc/motd", b"hello")?;
///     assert_eq!(world.files()[0].contents, b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct World {
    shared: Arc<Shared>,
}

/// A descriptor of the program under test.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// Its number.
    pub number: u32,
    /// What it leads to, in words.
    pub what: String,
}

/// A file of a simulated world.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What reading it gives.
    pub contents: Vec<u8>,
    /// What a power cut leaves for sure.
    pub synced: Vec<u8>,
    /// Whether its name survives a power cut for sure.
    pub name_is_synced: bool,
}

/// One cell of the matrix of ops by faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MatrixCell {
    /// The op's name.
    pub op: &'static str,
    /// The fault.
    pub fault: Fault,
    /// How often it struck.
    pub count: u64,
    /// Why it cannot strike there; then `count` is 0.
    pub impossible: Option<&'static str>,
}

impl World {
    pub(super) fn new(shared: Arc<Shared>) -> World {
        World { shared }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The number that decides everything here.
    pub fn seed(&self) -> u64 {
        self.shared.lock().seed
    }

    /// How many things the kernel was asked, so far: requests, and further attempts at those that waited.
    /// [`Faults::at_step`](super::Faults::at_step) counts the same.
    pub fn steps(&self) -> u64 {
        self.shared.lock().ledger.steps()
    }

    /// How much time passed since the world began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.shared.lock().now_ns())
    }

    /// A number that the seed decides, for tests that choose what to do.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// let world = runtime::simulated::world();
    /// let vanishes = world.random_u64() % 4 == 0;     // one client in four
    /// # let _: bool = vanishes;
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn random_u64(&self) -> u64 {
        self.shared.lock().draws.next()
    }

    /// Lets other faults strike from now on, for instance once a program has started.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// use runtime::simulated::{Faults, world};
    ///
    /// let file = fs::File::create("/tmp/a").await?;       // in peace
    /// world().set_faults(Faults::ordinary());
    /// file.write_all(b"in the rain").await?;
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().ledger.set_faults(faults);
    }

    /// The power goes, and comes back at once: what was not synced may be lost or torn, all descriptors are dead, and
    /// what is in flight fails with EIO. Open files anew to see what is left.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// let file = fs::File::create("/tmp/a").await?;
    /// file.write_all(b"synced").await?;
    /// file.sync_all().await?;
    /// fs::File::open("/tmp").await?.sync_all().await?;     // and its name
    /// file.write_all(b", not synced").await?;
    /// runtime::simulated::world().power_cut();
    /// assert!(fs::read("/tmp/a").await?.starts_with(b"synced"));
    /// assert!(file.sync_all().await.is_err(), "its descriptor is dead");
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn power_cut(&self) {
        self.shared.lock().power_cut();
    }

    /// How often the power went, by [`power_cut`](World::power_cut) or by a [fault](Fault::PowerCut).
    pub fn power_cuts(&self) -> u64 {
        self.shared.lock().boots - 1
    }

    /// The program's open descriptors, in the order of their numbers.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// let listener = net::TcpListener::bind("127.0.0.1:7000").await?;
    /// let open = runtime::simulated::world().descriptors();
    /// assert_eq!((open[0].number, open[0].what.as_str()), (3, "socket at 127.0.0.1:7000"));
    /// drop(listener);
    /// assert_eq!(runtime::simulated::world().open_descriptors(), 0);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn descriptors(&self) -> Vec<Descriptor> {
        let kernel = self.shared.lock();
        let described = kernel.descriptors.iter();
        described.map(|(number, object)| Descriptor { number, what: describe(&kernel, object) }).collect()
    }

    /// How many descriptors the program has open.
    pub fn open_descriptors(&self) -> usize {
        self.shared.lock().descriptors.iter().count()
    }

    /// How many requests the kernel was lent and has not answered: so much of the program's memory it may still write
    /// to. Those of a runtime that has ended count too, if it gave them up for lost.
    pub fn unanswered(&self) -> usize {
        self.shared.lock().unanswered
    }

    /// All files, in the order of their paths.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// fs::write("/tmp/a", b"written").await?;
    /// let files = runtime::simulated::world().files();
    /// assert_eq!((&files[0].contents[..], &files[0].synced[..]), (&b"written"[..], &b""[..]));
    /// assert!(!files[0].name_is_synced);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn files(&self) -> Vec<SimulatedFile> {
        let files = self.shared.lock().files.list();
        let public = files.into_iter().map(|file| SimulatedFile {
            path: std::ffi::OsString::from_vec(file.path).into(),
            contents: file.bytes,
            synced: file.durable,
            name_is_synced: file.name_is_durable,
        });
        public.collect()
    }

    /// Puts a file there, durably, with the directories that lead to it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the path is not absolute, and what opening and writing say.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        if !path.is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not absolute", path.display())));
        }
        let mut kernel = self.shared.lock();
        let now_ns = kernel.now_ns();
        Ok(kernel.files.put(path.as_os_str().as_bytes(), bytes, now_ns)?)
    }

    /// The whole matrix of ops by faults: how often each fault struck each op, and why it cannot where it cannot.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// use runtime::simulated::{Fault, Faults, world};
    ///
    /// world().set_faults(Faults::none().with(Fault::NoSpace, 1.0));
    /// assert!(fs::write("/tmp/a", b"too much").await.is_err());
    /// let struck = world().reached().into_iter().find(|cell| cell.count > 0).expect("the disk is full");
    /// assert_eq!((struck.op, struck.fault), ("open", Fault::NoSpace));
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reached(&self) -> Vec<MatrixCell> {
        let kernel = self.shared.lock();
        let cell = |kind: Kind, fault| {
            let struck = kernel.ledger.reached().find(|&(op, what, _)| (op, what) == (kind, fault));
            let count = struck.map_or(0, |(_, _, count)| count);
            MatrixCell { op: kind.name(), fault, count, impossible: place(kind, fault).err() }
        };
        Kind::ALL.into_iter().flat_map(|kind| Fault::ALL.map(|fault| cell(kind, fault))).collect()
    }

    /// Which core has the next turn, of those that share a thread, and how many polls it lasts at most: every other
    /// time a single one.
    pub(crate) fn next_turn(&self, polls_max: u32) -> (usize, u32) {
        let mut kernel = self.shared.lock();
        let core = kernel.next_turn();
        let further = if kernel.schedule.coin() { kernel.schedule.below(polls_max.into()) } else { 0 };
        (core, 1 + u32::try_from(further).unwrap_or(0))
    }

    /// Lists something that is not modelled.
    pub(crate) fn note_unsupported(&self, what: &str) {
        self.shared.lock().unsupported.insert(what.to_owned());
    }

    /// What the program asked that is not modelled, and was answered with
    /// [`Unsupported`](io::ErrorKind::Unsupported).
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// assert!(fs::rename("/tmp/a", "/tmp/b").await.is_err());
    /// assert_eq!(runtime::simulated::world().unsupported(), ["rename"]);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unsupported(&self) -> Vec<String> {
        self.shared.lock().unsupported.iter().cloned().collect()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = self.shared.lock();
        f.debug_struct("World")
            .field("seed", &kernel.seed)
            .field("steps", &kernel.ledger.steps())
            .field("elapsed", &Duration::from_nanos(kernel.now_ns()))
            .finish_non_exhaustive()
    }
}

fn describe(kernel: &Kernel, object: &Object) -> String {
    let (kind, connection) = match object {
        Object::Socket(socket) if kernel.network.is_of_datagrams(*socket) => ("socket of datagrams", "datagrams"),
        _ => ("socket", "connection"),
    };
    match object {
        Object::File(file) => format!("file, inode {}", file.inode()),
        Object::Socket(socket) if kernel.network.is_unix(*socket) => {
            let name = |end| kernel.network.name(*socket, end).ok();
            match (name(End::Local), name(End::Peer)) {
                (Some(local), Some(peer)) => format!("unix {connection} {local:?} to {peer:?}"),
                (Some(local), None) => format!("unix {kind} at {local:?}"),
                (None, _) => format!("unix {kind}"),
            }
        }
        Object::Socket(socket) => match (kernel.network.local(*socket), kernel.network.peer(*socket)) {
            (Some(local), Some(peer)) => format!("{connection} {local} to {peer}"),
            (Some(local), None) => format!("{kind} at {local}"),
            (None, _) => kind.to_owned(),
        },
        Object::Pipe(pipe, end) => {
            let end = match end {
                PipeEnd::Reading => "to read from",
                PipeEnd::Writing => "to write to",
            };
            format!("pipe {pipe} {end}, {} bytes in it", kernel.pipes.len(*pipe))
        }
        Object::Dead => "lost with the power".to_owned(),
    }
}
