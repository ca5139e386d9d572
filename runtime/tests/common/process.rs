//! What this process holds: descriptors and threads, and how a test gets to count them alone.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Threads and deferred closes of the kernel's get so long to settle.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Holds off the other tests of this program: what is counted belongs to the whole process.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed has told so itself.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a process can leak. Of threads only the runtime's own: the test harness has some, which come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    descriptors: usize,
    threads: usize,
}

impl Holdings {
    /// What there is now.
    pub fn now() -> Holdings {
        let descriptors = fs::read_dir("/proc/self/fd").expect("procfs is mounted").count();
        let threads = fs::read_dir("/proc/self/task").expect("procfs is mounted");
        Holdings { descriptors, threads: threads.filter(|thread| thread.as_ref().is_ok_and(is_ours)).count() }
    }

    /// What is held beyond this, when a second to settle has not helped.
    pub fn leaked(self) -> Option<String> {
        let began = Instant::now();
        // Fewer is no leak: what the test before this one let go of may still have been on its way out.
        while Holdings::now().exceeds(self) {
            if began.elapsed() > SETTLE_MAX {
                return Some(format!("held before {self:?}, and now {:?}: {}", Holdings::now(), open().join(", ")));
            }
            thread::yield_now();
        }
        None
    }

    fn exceeds(self, before: Holdings) -> bool {
        self.descriptors > before.descriptors || self.threads > before.threads
    }

    /// # Panics
    ///
    /// If something is leaked.
    #[track_caller]
    pub fn assert_unchanged(self) {
        if let Some(leak) = self.leaked() {
            panic!("{leak}");
        }
    }
}

/// Whether it works for a runtime: as a core, in the blocking pool, or in the kernel for a ring.
fn is_ours(thread: &fs::DirEntry) -> bool {
    // A thread that has ended meanwhile has no name any more.
    let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    ["gimmal-blocking", "gimmal-core", "iou-"].iter().any(|ours| name.starts_with(ours))
}

fn open() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("procfs is mounted");
    let name = |entry: fs::DirEntry| fs::read_link(entry.path()).ok().map(|target| target.display().to_string());
    entries.filter_map(|entry| name(entry.ok()?)).collect()
}
