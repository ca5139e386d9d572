//! User instructions an op, counted by callgrind: they say what our code costs without the noise of clocks, caches and
//! kernels.
//!
//! The program runs itself under valgrind twice, once for so many ops and once for twice as many. The difference is
//! what the ops cost; start and end drop out.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::harness::Effort;
use crate::load;
use crate::rows::{echo, nop, read, wake};

/// What the user says to count.
pub const COMMAND: &str = "instructions";
/// What this program says to itself, under valgrind.
pub const SUBJECT: &str = "instructions-of";

/// What is counted.
struct Subject {
    name: &'static str,
    what: &'static str,
    ops: u64,
    /// So many instructions an op are enough. A NOP's is the target of the first step; the others keep what was
    /// reached.
    budget: u64,
    run: fn(u64) -> io::Result<()>,
    /// Who asks, if the subject is a server: outside of valgrind, so that it is not counted.
    ask: Option<fn(SocketAddr, u64) -> io::Result<()>>,
}

const ECHO_CONNECTIONS: usize = 64;

const SUBJECTS: &[Subject] = &[
    Subject { name: "nop", what: "nop, 64 in flight", ops: 20_000, budget: 350, run: nop_many, ask: None },
    Subject { name: "lone-nop", what: "nop, 1 in flight", ops: 20_000, budget: 900, run: nop_one, ask: None },
    Subject {
        name: "read",
        what: "cached read, owned, 64 in flight",
        ops: 20_000,
        budget: 535,
        run: read_many,
        ask: None,
    },
    Subject {
        name: "read-lent",
        what: "cached read, lent, 1 at a time",
        ops: 20_000,
        budget: 250,
        run: read_one,
        ask: None,
    },
    Subject {
        name: "wake",
        what: "wake by another thread, its hand-over included",
        ops: 5_000,
        budget: 2100,
        run: wake_awake,
        ask: None,
    },
    server("echo-owned", "TCP echo of 64 B, owned, 64 connections", 1900, |_| serve(echo::owned)),
    server("echo-lent", "TCP echo of 64 B, lent, 64 connections", 1350, |_| serve(echo::lent)),
    server("echo-fallback-lent", "TCP echo of 64 B on the fallback, lent, 64 connections", 1500, |_| {
        serve(echo::lent_fallback)
    }),
    server("echo-fallback", "TCP echo of 64 B on the fallback, owned, 64 connections", 1900, |_| {
        serve(echo::owned_fallback)
    }),
];

/// A server, which `load` asks.
const fn server(name: &'static str, what: &'static str, budget: u64, run: fn(u64) -> io::Result<()>) -> Subject {
    let ask = |server, requests| load::ask(server, ECHO_CONNECTIONS, requests);
    Subject { name, what, ops: 20_000, budget, run, ask: Some(ask) }
}

fn nop_many(ops: u64) -> io::Result<()> {
    nop::gimmal(ops, 64).map(drop)
}

fn nop_one(ops: u64) -> io::Result<()> {
    nop::gimmal(ops, 1).map(drop)
}

fn read_many(ops: u64) -> io::Result<()> {
    read::gimmal_owned(&read::Pages::new()?.path, ops, 64).map(drop)
}

fn read_one(ops: u64) -> io::Result<()> {
    read::gimmal_lent(&read::Pages::new()?.path, ops).map(drop)
}

fn wake_awake(ops: u64) -> io::Result<()> {
    wake::gimmal_awake(ops)
}

/// Tells its address, and serves until the peers close: how many requests that are, they decide.
fn serve(serve: echo::Serve) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    serve(echo::accept(&listener, ECHO_CONNECTIONS)?).map(drop)
}

/// Counts and prints.
///
/// # Errors
///
/// Where valgrind is there and fails. Where it is missing, that is said.
pub fn count(words: &[String], effort: Effort) -> io::Result<()> {
    if let Err(error) = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status() {
        println!("skipped: instructions are counted by callgrind, and valgrind does not run here: {error}");
        return Ok(());
    }
    println!("user instructions an op, by callgrind");
    for subject in
        SUBJECTS.iter().filter(|subject| words.is_empty() || words.iter().any(|word| subject.name.contains(word)))
    {
        let ops = (subject.ops / effort.divisor.isqrt()).max(256);
        let (once, twice) = (subject.instructions(ops)?, subject.instructions(2 * ops)?);
        let an_op = twice.saturating_sub(once) / ops;
        let verdict = if an_op <= subject.budget { "met" } else { "MISSED" };
        println!("    {:<56} {an_op:>6}   budget {}: {verdict}", subject.what, subject.budget);
    }
    Ok(())
}

/// The part under valgrind.
///
/// # Errors
///
/// The subject's.
pub fn be_counted(arguments: &[String]) -> io::Result<()> {
    let [name, ops] = arguments else { return Err(io::Error::other("it takes a subject and a number")) };
    let subject =
        SUBJECTS.iter().find(|subject| subject.name == name).ok_or_else(|| io::Error::other("no such subject"))?;
    (subject.run)(ops.parse().map_err(io::Error::other)?)
}

impl Subject {
    /// How many the whole program takes for so many ops.
    fn instructions(&self, ops: u64) -> io::Result<u64> {
        let mut child = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe()?)
            .args([SUBJECT, self.name, &ops.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let told = child.stdout.take().map(BufReader::new);
        // Both are awaited before anything is made of an error: the server ends when its peers are gone.
        let asked = self.ask.map_or(Ok(()), |ask| ask_where_it_says(told, |server| ask(server, ops)));
        let said = end_of(child)?;
        asked?;
        said.lines()
            .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("valgrind did not count {}:\n{said}", self.name)))
    }
}

fn ask_where_it_says(
    told: Option<BufReader<ChildStdout>>,
    ask: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = String::new();
    told.ok_or_else(|| io::Error::other("the server's output is not to be had"))?.read_line(&mut line)?;
    ask(line.trim().parse().map_err(io::Error::other)?)
}

/// What it wrote to its standard error.
fn end_of(mut child: Child) -> io::Result<String> {
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    let status = child.wait()?;
    if status.success() { Ok(said) } else { Err(io::Error::other(format!("under valgrind: {status}\n{said}"))) }
}
