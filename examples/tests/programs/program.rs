//! A program of ours that runs beside the test, and ends with it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Whatever is waited for, it is here by then, or the test fails and says what was missing.
pub const PATIENCE: Duration = Duration::from_secs(60);

static TURN: RwLock<()> = RwLock::new(());

/// For tests that measure time or load the machine: nobody else runs meanwhile.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    // A test that failed has told so itself.
    TURN.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// For all others.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A program that runs. It is killed when this is dropped.
pub struct Program {
    pid: Pid,
    pub address: SocketAddr,
    /// The lines of its standard output, without the first.
    pub lines: Receiver<String>,
    complaints: Arc<Mutex<String>>,
    ended: Receiver<(ExitStatus, Instant)>,
    has_ended: bool,
}

/// How to start `serve` on a folder, with these arguments more.
pub fn serve(root: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serve"));
    command.args(["--addr", "127.0.0.1:0"]).args(more).arg(root);
    command
}

impl Program {
    /// Starts a program that prints its address in its first line, as `… 127.0.0.1:8080` or `… http://127.0.0.1:8080`.
    pub fn start(mut command: Command) -> Program {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let pid = Pid::from_child(&child);
        let lines = lines_of(child.stdout.take().unwrap());
        let complaints = Arc::<Mutex<String>>::default();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let written = complaints.clone();
        let reading = thread::spawn(move || {
            while let Some(Ok(line)) = stderr.next() {
                written.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let (tell, ended) = channel();
        thread::spawn(move || {
            let status = child.wait().unwrap();
            let when = Instant::now();
            reading.join().unwrap();
            // The test may have ended first.
            let _gone = tell.send((status, when));
        });
        let first = lines.recv_timeout(PATIENCE);
        let address = first.as_ref().ok().and_then(|line| line.rsplit([' ', '/']).next()?.parse().ok());
        let mut program =
            Program { pid, address: SocketAddr::from(([0, 0, 0, 0], 0)), lines, complaints, ended, has_ended: false };
        match address {
            Some(address) => program.address = address,
            None => panic!("no address in its first line {first:?}, but: {}", program.complaints()),
        }
        program
    }

    /// All that it has written to standard error so far.
    pub fn complaints(&self) -> String {
        self.complaints.lock().unwrap().clone()
    }

    /// Waits until it has written a line to standard error with all of these words in it.
    #[track_caller]
    pub fn expect_complaint(&self, words: &[&str]) {
        let began = Instant::now();
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        while !self.complaints().lines().any(is_it) {
            assert!(began.elapsed() < PATIENCE, "no line with {words:?}, but: {}", self.complaints());
            thread::yield_now();
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What ctrl-c in a terminal sends.
    pub fn interrupt(&self) {
        kill_process(self.pid, Signal::INT).expect("it runs still");
    }

    pub fn is_running(&mut self) -> bool {
        // Waited for by a thread of ours, so there is a moment in which it is over and nobody knows.
        self.has_ended |= self.ended.try_recv().is_ok();
        !self.has_ended
    }

    /// Waits for its end, which it comes to by itself.
    pub fn wait(mut self) -> (ExitStatus, Instant) {
        let Ok(ended) = self.ended.recv_timeout(PATIENCE) else {
            panic!("it has not ended within {PATIENCE:?}; it said: {}", self.complaints());
        };
        self.has_ended = true;
        ended
    }

    /// Stops it as a user would, and sees that it went well.
    pub fn stop(self) {
        self.interrupt();
        let complaints = self.complaints.clone();
        let (status, _when) = self.wait();
        assert!(status.success(), "{status}: {}", complaints.lock().unwrap());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            // It may end by itself in this moment.
            let _ended = kill_process(self.pid, Signal::KILL);
            let _ended = self.ended.recv_timeout(PATIENCE);
        }
        if thread::panicking() {
            println!("the program's standard error:\n{}", self.complaints());
        }
    }
}

fn lines_of(out: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            let Ok(line) = line else { return };
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Whether a client can be found in PATH. Says so if not.
pub fn is_installed(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&paths).any(|folder| folder.join(name).is_file());
    if !is_there {
        runtime::testing::skipped(format_args!(
            "{name}, which is not installed: the client of the test's own does all of it"
        ));
    }
    is_there
}

/// Runs a client to its end, and returns what it printed.
pub fn output<S: AsRef<OsStr>>(name: &str, arguments: &[S]) -> Vec<u8> {
    let output = Command::new(name).args(arguments).stdin(Stdio::null()).output().expect("it is installed");
    assert!(output.status.success(), "{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}
