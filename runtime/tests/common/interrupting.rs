//! Signals for every thread of this process, one each millisecond, for which no system call is restarted.

#![allow(unsafe_code)]

use std::fs;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

static HIT: AtomicU64 = AtomicU64::new(0);

extern "C" fn hit(_signal: i32) {
    HIT.fetch_add(1, Ordering::Relaxed);
}

/// Signals are sent until this is dropped.
pub struct Interrupting {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Interrupting {
    pub fn begin() -> Interrupting {
        // SAFETY: `sigaction` wants an action that is whole: zeros are an empty mask and no flags, so no SA_RESTART;
        // the handler touches an atomic and nothing else.
        let installed = unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = hit as extern "C" fn(i32) as usize;
            libc::sigaction(libc::SIGALRM, &raw const action, null_mut())
        };
        assert_eq!(installed, 0, "{}", std::io::Error::last_os_error());
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                signal_all();
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        Interrupting { over, thread: Some(thread) }
    }

    /// How many signals have hit so far.
    pub fn hits() -> u64 {
        HIT.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupting {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is joined once").join().expect("sending signals does not panic");
    }
}

/// One signal for each thread that there is.
fn signal_all() {
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    for thread in fs::read_dir("/proc/self/task").expect("procfs is mounted") {
        let name = thread.expect("procfs lists what there is").file_name();
        let number: i32 = name.to_str().and_then(|name| name.parse().ok()).expect("a thread has a number");
        if number != own {
            // SAFETY: a system call that takes three numbers. A thread that has ended meanwhile is told by an error.
            unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), number, libc::SIGALRM) };
        }
    }
}
