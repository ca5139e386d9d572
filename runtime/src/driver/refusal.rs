//! Why there is no ring: what was tried, what was said, what it likely means, what helps.
//!
//! The same answer has many causes, and the kernel tells none. So the surroundings are looked at: the sysctl, the
//! seccomp state of this thread, the kernel's version, the limits. The likeliest cause is named, and what was seen is
//! told with it, for those who know better.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

/// What every cure for a denied ring may end with.
const GO_WITHOUT: &str = "go without: Builder::driver(Choice::Fallback), or GIMMAL_DRIVER=fallback in the environment";

/// There is no ring, and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    tried: &'static str,
    said: Errno,
    cause: String,
    cures: Vec<String>,
    denied: bool,
}

/// What a runtime wants of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub entries: u32,
    pub cq_entries: u32,
    /// How many threads the kernel may have for each ring, where what is asked may block.
    pub workers: u32,
    /// How many rings of this size the runtime has.
    pub cores: usize,
}

impl Refusal {
    /// io_uring as a whole is denied or missing here, so that another driver may serve. Otherwise something ran out,
    /// which another driver would only hide.
    pub fn is_denial(&self) -> bool {
        self.denied
    }

    /// What was tried, what was said, and what it likely means.
    pub fn reason(&self) -> String {
        format!("{}: {}: {}", self.tried, io::Error::from(self.said), self.cause)
    }

    /// What brings the ring back.
    pub fn cures(&self) -> &[String] {
        &self.cures
    }

    /// The same refusal, as one of io_uring as a whole: a ring that cannot be used is none.
    pub fn into_denial(self) -> Refusal {
        Refusal { denied: true, ..self }
    }

    /// `missing` are ops that every ring must know.
    pub fn of_missing_ops(missing: &[&str]) -> Refusal {
        let cause = format!("this kernel's io_uring lacks {} ({})", missing.join(", "), Surroundings::look());
        let cures = vec!["use kernel 6.1 or newer".into()];
        Refusal { tried: "io_uring_register(2), probing", said: Errno::OPNOTSUPP, cause, cures, denied: true }
    }

    /// What `said` likely means here, as the answer to `tried`.
    pub fn explain(tried: &'static str, said: Errno, sizes: Sizes) -> Refusal {
        let around = Surroundings::look();
        let (cause, cures, denied) = match said {
            Errno::PERM | Errno::ACCESS => {
                let (cause, cure) = around.who_denies();
                (format!("{cause} ({around})"), vec![cure.into()], true)
            }
            Errno::NOSYS | Errno::OPNOTSUPP => {
                let (cause, cure) = around.who_lacks();
                (format!("{cause} ({around})"), vec![cure.into()], true)
            }
            Errno::INVAL => {
                let cause = "this io_uring does not know how rings are set up since 6.1: the kernel is older, or not Linux's own, such as gVisor's";
                (format!("{cause} ({around})"), vec!["use kernel 6.1 or newer".into()], true)
            }
            Errno::NOMEM => {
                let (cause, cures) = out_of_memory(sizes);
                (cause, cures, false)
            }
            Errno::MFILE => {
                let (cause, cure) = out_of_descriptors();
                (cause, vec![cure], false)
            }
            Errno::NFILE => {
                let cause = "the whole system has no descriptor left for a ring".into();
                (cause, vec!["raise the sysctl fs.file-max, or close some".into()], false)
            }
            _ => (format!("this is no answer that io_uring documents ({around})"), Vec::new(), false),
        };
        Refusal { tried, said, cause, cures, denied }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())?;
        let without = self.denied.then_some(GO_WITHOUT);
        let cures: Vec<&str> = self.cures.iter().map(String::as_str).chain(without).collect();
        if cures.is_empty() { Ok(()) } else { write!(f, "; {}", cures.join(", or ")) }
    }
}

impl Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        io::Error::new(io::Error::from(refusal.said).kind(), refusal)
    }
}

/// An error from making what a runtime needs beside the ring, with words for the one that has a cure.
pub(crate) fn without_descriptors(tried: &str, error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(Errno::MFILE.raw_os_error()) {
        return error;
    }
    let (cause, cure) = out_of_descriptors();
    io::Error::new(error.kind(), format!("{tried}: {error}: {cause}; {cure}"))
}

fn out_of_descriptors() -> (String, String) {
    let limit = limit(Resource::Nofile);
    (
        format!("this process may have no more descriptors: its RLIMIT_NOFILE is {limit}"),
        "raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=), or close some".into(),
    )
}

fn out_of_memory(sizes: Sizes) -> (String, Vec<String>) {
    if has_capability(CapabilitySet::IPC_LOCK) {
        let cause = "the kernel has no memory for a ring, and RLIMIT_MEMLOCK does not bind this process (CAP_IPC_LOCK)";
        return (cause.into(), vec!["free some memory".into(), "ask for a smaller ring (Builder::entries)".into()]);
    }
    let least = sizes.shrunk();
    let cause = format!(
        "ring memory counts against RLIMIT_MEMLOCK, all rings of a user together: {}, {} at the least, and the limit is {}",
        needs(sizes),
        kib(least.bytes() * as_u64(sizes.cores)),
        limit_in_kib(Resource::Memlock),
    );
    let raise = format!(
        "raise RLIMIT_MEMLOCK to {} and what this user's other programs take (ulimit -l, LimitMEMLOCK=)",
        kib(sizes.bytes() * as_u64(sizes.cores))
    );
    let cures = ["grant CAP_IPC_LOCK", "use fewer cores", "ask for smaller rings (Builder::entries, GIMMAL_ENTRIES)"];
    (cause, std::iter::once(raise).chain(cures.map(String::from)).collect())
}

fn needs(sizes: Sizes) -> String {
    match sizes.cores {
        1 => format!("this one takes {}", kib(sizes.bytes())),
        cores => {
            format!("{cores} cores take {} each, {} in all", kib(sizes.bytes()), kib(sizes.bytes() * as_u64(cores)))
        }
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

impl Sizes {
    /// The smallest sizes that are tried when memory is short.
    const SHRUNK: (u32, u32) = (64, 256);

    /// As small as these may become.
    pub fn shrunk(self) -> Sizes {
        let (entries, cq_entries) = Sizes::SHRUNK;
        Sizes { entries: entries.min(self.entries), cq_entries: cq_entries.min(self.cq_entries), ..self }
    }

    /// What one ring takes: an SQE has 64 bytes, a CQE 16, and the heads and tails 320 before those.
    pub fn bytes(self) -> u64 {
        let pages = |bytes: u64| {
            let page = as_u64(rustix::param::page_size());
            bytes.div_ceil(page) * page
        };
        // The kernel rounds up, and to its largest sizes down.
        let entries = self.entries.min(1 << 15).next_power_of_two();
        let cq_entries = self.cq_entries.min(1 << 16).next_power_of_two();
        pages(u64::from(entries) * 64) + pages(u64::from(cq_entries) * 16 + 320)
    }
}

/// What can be seen from here of what may stand between this thread and io_uring.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The value of the sysctl `kernel.io_uring_disabled`, or that it cannot be read.
    pub sysctl: String,
    /// The `Seccomp:` line of this thread; `None`: there is none to be read.
    seccomp: Option<String>,
    /// The kernel's version.
    pub kernel: String,
}

impl Surroundings {
    pub fn look() -> Surroundings {
        let read = |path| std::fs::read_to_string(path).ok();
        let sysctl = read("/proc/sys/kernel/io_uring_disabled").map(|value| value.trim().to_owned());
        // The thread's own: a filter may be on some threads of a process only.
        let status = read("/proc/thread-self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(|mode| mode.trim().to_owned());
        Surroundings {
            sysctl: sysctl.unwrap_or_else(|| "not to be read".into()),
            seccomp,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }

    /// The seccomp state of this thread.
    pub fn seccomp(&self) -> String {
        match self.seccomp.as_deref() {
            Some("0") => "no seccomp filter".into(),
            Some(mode) => format!("a seccomp filter (mode {mode})"),
            None => "seccomp state not to be read".into(),
        }
    }

    fn has_filter(&self) -> bool {
        self.seccomp.as_deref().is_some_and(|mode| mode != "0")
    }

    /// Who likely says EPERM or EACCES, and what helps.
    fn who_denies(&self) -> (&'static str, &'static str) {
        match self.sysctl.as_str() {
            "2" => (
                "io_uring is switched off by the sysctl kernel.io_uring_disabled",
                "switch it on: sysctl kernel.io_uring_disabled=0",
            ),
            "1" if !has_capability(CapabilitySet::SYS_ADMIN) => (
                "the sysctl kernel.io_uring_disabled leaves io_uring to administrators and one group",
                "join the group whose number kernel.io_uring_group has, or sysctl kernel.io_uring_disabled=0",
            ),
            _ if self.has_filter() => (
                "io_uring is denied here, most likely by the seccomp filter, such as Docker's and Kubernetes' default",
                "allow io_uring_setup, io_uring_enter and io_uring_register in that filter",
            ),
            _ => (
                "io_uring is denied here, most likely by a security module such as SELinux or AppArmor",
                "allow it in the module's policy",
            ),
        }
    }

    /// Who likely says ENOSYS or EOPNOTSUPP, and what helps.
    fn who_lacks(&self) -> (&'static str, &'static str) {
        if self.has_filter() {
            (
                "io_uring is hidden, most likely by the seccomp filter, as older container runtimes do",
                "allow io_uring_setup, io_uring_enter and io_uring_register in that filter",
            )
        } else {
            (
                "this kernel has no io_uring: it is too old, built without it, or not Linux's own, such as gVisor's",
                "use kernel 6.1 or newer, with CONFIG_IO_URING",
            )
        }
    }
}

impl fmt::Display for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel.io_uring_disabled is {}, {}, kernel {}", self.sysctl, self.seccomp(), self.kernel)
    }
}

/// Whether this thread has a capability. A guess inside a user namespace, where the kernel asks for those outside.
pub(crate) fn has_capability(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// The soft limit of a resource.
pub(crate) fn limit(resource: Resource) -> String {
    getrlimit(resource).current.map_or("unlimited".into(), |limit| limit.to_string())
}

/// The soft limit of a resource that counts bytes.
pub(crate) fn limit_in_kib(resource: Resource) -> String {
    getrlimit(resource).current.map_or("unlimited".into(), kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(sysctl: &str, seccomp: &str) -> Surroundings {
        Surroundings { sysctl: sysctl.into(), seccomp: Some(seccomp.into()), kernel: "6.9.0".into() }
    }

    #[test]
    fn the_likeliest_cause_follows_from_what_is_seen() {
        let denies = |sysctl, seccomp| around(sysctl, seccomp).who_denies().0;
        assert!(denies("2", "0").contains("switched off by the sysctl"));
        assert!(denies("2", "2").contains("switched off by the sysctl"));
        assert!(denies("0", "2").contains("seccomp filter"));
        assert!(denies("0", "0").contains("security module"));
        assert!(around("0", "2").who_lacks().0.contains("seccomp filter"));
        assert!(around("0", "0").who_lacks().0.contains("too old"));
        assert_eq!(
            around("2", "0").to_string(),
            "kernel.io_uring_disabled is 2, no seccomp filter, kernel 6.9.0",
            "all three are told whatever the cause"
        );
    }

    /// What the kernel was seen to charge, with pages of 4 KiB.
    #[test]
    fn the_memory_of_a_ring_is_known_beforehand() {
        let bytes = |entries, cq_entries| Sizes { entries, cq_entries, workers: 1, cores: 1 }.bytes();
        if rustix::param::page_size() == 4096 {
            assert_eq!(bytes(64, 128), 8 << 10);
            assert_eq!(bytes(256, 512), 28 << 10);
            assert_eq!(bytes(256, 4096), 84 << 10);
        }
        assert_eq!(bytes(3, 100), bytes(4, 128));
        assert_eq!(bytes(u32::MAX, u32::MAX), bytes(1 << 15, 1 << 16));
    }

    #[test]
    fn an_error_for_want_of_memory_names_the_sum_over_all_cores() {
        let sizes = Sizes { entries: 256, cq_entries: 4096, workers: 1, cores: 8 };
        let needs = needs(sizes);
        if rustix::param::page_size() == 4096 {
            assert_eq!(needs, "8 cores take 84 KiB each, 672 KiB in all");
        }
    }
}
