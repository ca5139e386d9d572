//! Outcomes as text that compares: what came back, or the kind and the number of the error.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix;

use runtime::buf::BufError;
use runtime::fd::Fd;
use runtime::op::address::SocketAddress;
use runtime::op::path::Statx;
use runtime::op::ready::Interest;
use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::FdFlags;

/// What an op returned, as text. The same text means the same result.
pub trait Shown {
    fn shown(&self) -> String;
}

impl Shown for () {
    fn shown(&self) -> String {
        "done".into()
    }
}

impl Shown for usize {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for u64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for str {
    fn shown(&self) -> String {
        self.to_owned()
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.clone()
    }
}

impl Shown for [u8] {
    fn shown(&self) -> String {
        let all_alike = self.first().filter(|first| self.len() > 8 && self.iter().all(|byte| byte == *first));
        match all_alike {
            Some(byte) => format!("{} times {byte:#04x}", self.len()),
            None if self.len() <= 64 => format!("\"{}\"", self.escape_ascii()),
            None => format!("{} bytes with the sum {:#x}", self.len(), checksum(self)),
        }
    }
}

impl Shown for Vec<u8> {
    fn shown(&self) -> String {
        self[..].shown()
    }
}

/// A count and the whole buffer: what lies behind the count must not have changed.
impl<B: AsRef<[u8]>> Shown for (usize, B) {
    fn shown(&self) -> String {
        format!("{}, and the buffer holds {}", self.0, self.1.as_ref().shown())
    }
}

/// So it is where a datagram came.
impl<B: AsRef<[u8]>> Shown for ((usize, SocketAddress), B) {
    fn shown(&self) -> String {
        let ((count, from), buf) = self;
        format!("{count}, from {}, and the buffer holds {}", from.shown(), buf.as_ref().shown())
    }
}

/// The real kernel's descriptors tell whether they would leak into programs that are started; simulated ones start
/// none.
impl Shown for Fd {
    fn shown(&self) -> String {
        match self {
            Fd::Os(fd) if !rustix::io::fcntl_getfd(fd).expect("it is open").contains(FdFlags::CLOEXEC) => {
                "a descriptor that leaks into other programs".into()
            }
            _ => "a descriptor".into(),
        }
    }
}

impl Shown for Interest {
    fn shown(&self) -> String {
        let names = [
            (PollFlags::IN, "IN"),
            (PollFlags::OUT, "OUT"),
            (PollFlags::ERR, "ERR"),
            (PollFlags::HUP, "HUP"),
            (PollFlags::RDHUP, "RDHUP"),
        ];
        let (mut text, mut rest) = (String::new(), self.bits());
        for (flag, name) in names {
            if rest & flag.bits() != 0 {
                text.push_str(if text.is_empty() { "" } else { " " });
                text.push_str(name);
                rest &= !flag.bits();
            }
        }
        if rest != 0 {
            write!(text, " {rest:#x}").expect("a string takes all");
        }
        text
    }
}

/// What every file system tells alike. Times, numbers of inodes and devices, and what a directory's size and links are,
/// is each file system's own business.
impl Shown for Statx {
    fn shown(&self) -> String {
        let kind = FileType::from_raw_mode(u32::from(self.mode));
        let own = match kind {
            FileType::RegularFile => {
                format!(", {} bytes, {} links, mode {:o}", self.size, self.links, self.mode & 0o777)
            }
            _ => String::new(),
        };
        let has_times =
            [self.accessed, self.changed, self.modified].iter().all(|time| time.nanoseconds < 1_000_000_000);
        let basic = rustix::fs::StatxFlags::BASIC_STATS.bits();
        format!("{kind:?}{own}, all basics told: {}, sane times: {has_times}", self.mask & basic == basic)
    }
}

/// An address: the port that the kernel chose is its own affair, but not whether there is one.
impl Shown for SocketAddr {
    fn shown(&self) -> String {
        format!("{}, {}", self.ip(), if self.port() == 0 { "no port" } else { "a port" })
    }
}

/// So it is with the name that the kernel gives a unix socket.
impl Shown for SocketAddress {
    fn shown(&self) -> String {
        let is_chosen = |address: &unix::net::SocketAddr| {
            address.as_abstract_name().is_some_and(|name| name.len() == 5 && name.iter().all(u8::is_ascii_hexdigit))
        };
        match (self.ip(), self.unix()) {
            (Ok(address), _) => address.shown(),
            (Err(_), Ok(address)) if is_chosen(&address) => "five digits beside the files".into(),
            (Err(_), _) => format!("{self:?}"),
        }
    }
}

impl Shown for (Fd, Fd) {
    fn shown(&self) -> String {
        format!("{} and {}", self.0.shown(), self.1.shown())
    }
}

impl<T: Shown> Shown for io::Result<T> {
    fn shown(&self) -> String {
        match self {
            Ok(value) => value.shown(),
            Err(error) => shown_error(error),
        }
    }
}

impl<T, B> Shown for Result<(T, B), BufError<B>>
where
    (T, B): Shown,
    B: AsRef<[u8]>,
{
    fn shown(&self) -> String {
        match self {
            Ok(value) => value.shown(),
            Err(error) => shown_error(error.error()),
        }
    }
}

/// The kind and, from a system call, the number: both are what programs match on.
pub fn shown_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut if error.raw_os_error().is_none() => "waits".into(),
        kind => format!("{kind:?}: {error}"),
    }
}

/// FNV-1a: enough to tell two buffers of a test apart.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
