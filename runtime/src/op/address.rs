//! A socket address as the kernel reads and writes it, decoded by hand and without unsafe.
//!
//! An address of the IP families comes from std's [`SocketAddr`], one of a unix socket from std's
//! [`unix::net::SocketAddr`], whose makers refuse a NUL in a path and a name that is too long.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};

/// Room for any address: `sockaddr_storage`.
const BYTES: usize = 128;

/// Where the name of a unix socket begins, and how long `struct sockaddr_un` is.
const UNIX_NAME: usize = 2;
const UNIX_LEN_MAX: u32 = 110;

/// A socket address in the kernel's layout. It lives in an op, so that the kernel can write it there.
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
/// use std::os::unix;
/// use runtime::op::address::SocketAddress;
///
/// let ip: SocketAddr = "127.0.0.1:80".parse().unwrap();
/// assert_eq!(SocketAddress::from(ip).ip()?, ip);
///
/// let path = unix::net::SocketAddr::from_pathname("/run/postgres.sock")?;
/// assert_eq!(SocketAddress::from(&path).unix()?.as_pathname(), path.as_pathname());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct SocketAddress {
    bytes: [u8; BYTES],
    len: u32,
}

impl SocketAddress {
    /// How many bytes there are for an address.
    pub(super) const ROOM: u32 = 128;

    /// Empty room for an address that the kernel will write.
    #[inline]
    pub fn room() -> SocketAddress {
        SocketAddress { bytes: [0; BYTES], len: SocketAddress::ROOM }
    }

    /// The address as a std type.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a family that is not IP, as in std.
    pub fn ip(&self) -> io::Result<SocketAddr> {
        let family = self.family();
        let port = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        if family == AddressFamily::INET && self.len >= 16 {
            let ip: [u8; 4] = self.bytes[4..8].try_into().expect("4 bytes");
            Ok(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)))
        } else if family == AddressFamily::INET6 && self.len >= 28 {
            let word = |at: usize| -> [u8; 4] { self.bytes[at..at + 4].try_into().expect("4 bytes") };
            let ip: [u8; 16] = self.bytes[8..24].try_into().expect("16 bytes");
            let flow = u32::from_be_bytes(word(4));
            let scope = u32::from_ne_bytes(word(24));
            Ok(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)))
        } else {
            let family = family.as_raw();
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("an address of family {family} is no IP address")))
        }
    }

    /// The address of a unix socket, as a std type.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for another family, and for a path of 108 bytes, which the kernel
    /// allows and std does not.
    pub fn unix(&self) -> io::Result<unix::net::SocketAddr> {
        match self.unix_name() {
            None => {
                let family = self.family().as_raw();
                let what = format!("an address of family {family} is no unix socket's");
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
            // std takes no path at all for no name at all.
            Some(UnixName::Unnamed) => unix::net::SocketAddr::from_pathname(""),
            Some(UnixName::Path(path)) => unix::net::SocketAddr::from_pathname(OsStr::from_bytes(path)),
            Some(UnixName::Abstract(name)) => unix::net::SocketAddr::from_abstract_name(name),
        }
    }

    /// The address family: `AF_INET`, `AF_INET6`, `AF_UNIX`, or unspecified if the kernel wrote none.
    pub fn family(&self) -> AddressFamily {
        let told = if self.len >= 2 { [self.bytes[0], self.bytes[1]] } else { [0, 0] };
        AddressFamily::from_raw(u16::from_ne_bytes(told))
    }

    /// The name of a unix socket. Of a datagram from one without a name the kernel tells nothing at all.
    pub(crate) fn unix_name(&self) -> Option<UnixName<'_>> {
        if self.len > 0 && self.family() != AddressFamily::UNIX {
            return None;
        }
        Some(match self.bytes.get(UNIX_NAME..self.len()) {
            None | Some([]) => UnixName::Unnamed,
            Some([0, name @ ..]) => UnixName::Abstract(name),
            Some(path) => UnixName::Path(path.split(|&byte| byte == 0).next().unwrap_or(path)),
        })
    }

    /// Made of the name that a simulated socket has.
    pub(crate) fn of_unix(name: UnixName<'_>) -> SocketAddress {
        let mut address = SocketAddress { bytes: [0; BYTES], len: UNIX_NAME as u32 };
        address.bytes[..UNIX_NAME].copy_from_slice(&AddressFamily::UNIX.as_raw().to_ne_bytes());
        // An abstract name begins with a NUL, and a path ends with one.
        let (at, name, end) = match name {
            UnixName::Unnamed => return address,
            UnixName::Path(path) => (UNIX_NAME, path, 1),
            UnixName::Abstract(name) => (UNIX_NAME + 1, name, 0),
        };
        address.bytes[at..at + name.len()].copy_from_slice(name);
        address.len = u32::try_from(at + name.len() + end).expect("within the room for any address");
        address
    }

    /// For the kernel to read: pointer and length.
    #[inline]
    pub(super) fn raw(&self) -> (*const u8, u32) {
        (self.bytes.as_ptr(), self.len)
    }

    /// For the kernel to write: where the address goes, and where its length.
    #[inline]
    pub(super) fn raw_mut(&mut self) -> (*mut u8, *mut u32) {
        (self.bytes.as_mut_ptr(), &mut self.len)
    }

    /// How many bytes of it say something.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.len).map_or(BYTES, |len| len.min(BYTES))
    }

    /// The address as rustix wants it, for a plain syscall.
    pub(super) fn any(&self) -> Result<SocketAddrAny, Errno> {
        match self.unix_name() {
            None => self.ip().map(SocketAddrAny::from).map_err(|_| Errno::AFNOSUPPORT),
            Some(UnixName::Unnamed) => Ok(SocketAddrUnix::new_unnamed().into()),
            Some(UnixName::Path(path)) => SocketAddrUnix::new(path).map(SocketAddrAny::from),
            Some(UnixName::Abstract(name)) => SocketAddrUnix::new_abstract_name(name).map(SocketAddrAny::from),
        }
    }

    /// What a plain syscall returned. A unix socket's path of 108 bytes is told as no name: rustix has no room for its
    /// end.
    pub(super) fn of_any(address: Option<SocketAddrAny>) -> SocketAddress {
        match address {
            Some(address) if address.address_family() == AddressFamily::UNIX => SocketAddress::from_any_unix(address),
            Some(address) => SocketAddr::try_from(address).map_or(SocketAddress::nothing(), SocketAddress::from),
            None => SocketAddress::nothing(),
        }
    }

    /// As [`of_any`](SocketAddress::of_any), where there is room.
    pub(super) fn set(&mut self, address: Option<SocketAddrAny>) {
        *self = SocketAddress::of_any(address);
    }

    /// Of what the kernel wrote, so many bytes say something.
    pub(super) fn cut(&self, len: u32) -> SocketAddress {
        SocketAddress { bytes: self.bytes, len: len.min(SocketAddress::ROOM) }
    }

    fn from_any_unix(address: SocketAddrAny) -> SocketAddress {
        // What has no name at all rustix takes for an empty path, and its end for an abstract name.
        let is_legible = (UNIX_NAME as u32 + 1..=UNIX_LEN_MAX).contains(&address.addr_len());
        let Some(address) = is_legible.then(|| SocketAddrUnix::try_from(address).ok()).flatten() else {
            return SocketAddress::of_unix(UnixName::Unnamed);
        };
        SocketAddress::of_unix(match (address.path_bytes(), address.abstract_name()) {
            (Some(path), _) => UnixName::Path(path),
            (None, Some(name)) => UnixName::Abstract(name),
            (None, None) => UnixName::Unnamed,
        })
    }

    /// Nobody was told of.
    pub(crate) fn nothing() -> SocketAddress {
        SocketAddress { bytes: [0; BYTES], len: 0 }
    }
}

/// How unix sockets are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnixName<'a> {
    Unnamed,
    /// A file's, without the NUL at its end.
    Path(&'a [u8]),
    /// Of a name space beside the files, without the NUL at its start.
    Abstract(&'a [u8]),
}

impl PartialEq for SocketAddress {
    fn eq(&self, other: &SocketAddress) -> bool {
        // What is told of a name says all of it.
        self.bytes[..self.len()] == other.bytes[..other.len()]
    }
}

impl Eq for SocketAddress {}

impl From<&unix::net::SocketAddr> for SocketAddress {
    fn from(address: &unix::net::SocketAddr) -> SocketAddress {
        SocketAddress::of_unix(match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => UnixName::Path(path.as_os_str().as_bytes()),
            (None, Some(name)) => UnixName::Abstract(name),
            (None, None) => UnixName::Unnamed,
        })
    }
}

impl From<unix::net::SocketAddr> for SocketAddress {
    fn from(address: unix::net::SocketAddr) -> SocketAddress {
        SocketAddress::from(&address)
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> SocketAddress {
        let mut bytes = [0; BYTES];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, len) = match address {
            SocketAddr::V4(address) => {
                bytes[4..8].copy_from_slice(&address.ip().octets());
                (AddressFamily::INET, 16)
            }
            SocketAddr::V6(address) => {
                bytes[4..8].copy_from_slice(&address.flowinfo().to_be_bytes());
                bytes[8..24].copy_from_slice(&address.ip().octets());
                bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
                (AddressFamily::INET6, 28)
            }
        };
        bytes[0..2].copy_from_slice(&family.as_raw().to_ne_bytes());
        SocketAddress { bytes, len }
    }
}

impl fmt::Debug for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ip(), self.unix_name()) {
            (Ok(address), _) => write!(f, "{address}"),
            (Err(_), Some(UnixName::Unnamed)) => write!(f, "no name"),
            (Err(_), Some(UnixName::Path(path))) => write!(f, "{}", Path::new(OsStr::from_bytes(path)).display()),
            (Err(_), Some(UnixName::Abstract(name))) => write!(f, "@{}", name.escape_ascii()),
            (Err(_), None) => write!(f, "address of family {} and {} bytes", self.family().as_raw(), self.len),
        }
    }
}

/// The family that `address` needs a socket of.
pub fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernels_layout() {
        for text in ["127.0.0.1:80", "255.254.253.252:65535", "0.0.0.0:0", "[::1]:443", "[fe80::1%7]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddress::from(address).ip().unwrap(), address, "{text}");
        }
        let flow = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0x0102_0304, 5));
        assert_eq!(SocketAddress::from(flow).ip().unwrap(), flow);
    }

    /// Catches: a length that leaves out an abstract name's NUL or a path's.
    #[test]
    fn the_name_of_a_unix_socket_survives_the_kernels_layout() {
        let longest = "p".repeat(107);
        let of_path = |path: &str| unix::net::SocketAddr::from_pathname(path).unwrap();
        let of_name = |name: &[u8]| unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let addresses = [
            of_path(""),
            of_path("/run/a.sock"),
            of_path(&longest),
            of_name(b""),
            of_name(b"a\0b"),
            of_name(&[7; 107]),
        ];
        for address in addresses {
            let shown = format!("{address:?}");
            assert_eq!(format!("{:?}", SocketAddress::from(address).unix().unwrap()), shown);
        }
    }

    /// std's makers check, and the kernel is not asked.
    #[test]
    fn a_bad_unix_socket_name_is_refused_as_in_std() {
        let kind = |made: io::Result<unix::net::SocketAddr>| made.unwrap_err().kind();
        assert_eq!(kind(unix::net::SocketAddr::from_pathname("a\0b")), io::ErrorKind::InvalidInput);
        assert_eq!(kind(unix::net::SocketAddr::from_pathname("p".repeat(108))), io::ErrorKind::InvalidInput);
        assert_eq!(kind(unix::net::SocketAddr::from_abstract_name([7; 108])), io::ErrorKind::InvalidInput);
    }

    /// Catches: rustix asked to decode what has no name.
    #[test]
    fn an_unnamed_unix_socket_has_no_name_whatever_the_kernel_writes() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut told = SocketAddress::room();
        told.set(Some(rustix::net::getsockname(&one).unwrap()));
        assert_eq!(told.unix_name(), Some(UnixName::Unnamed));
        told.set(rustix::net::getpeername(&one).unwrap());
        assert!(told.unix().unwrap().is_unnamed());
    }

    /// A peer chooses its name, so no name may make us panic. The kernel takes paths of 108 bytes, and tells them with
    /// a NUL behind them, which is a byte more than `struct sockaddr_un` has.
    /// Catches: rustix asked to decode that.
    #[test]
    fn a_unix_socket_path_of_108_bytes_does_not_panic() {
        use rustix::net::{SocketType, bind, getsockname, socket};
        let folder = std::env::temp_dir();
        let name = format!("gimmal-{}-", std::process::id());
        let path = folder.join(format!("{name:-<width$}", width = 107 - folder.as_os_str().len()));
        assert_eq!(path.as_os_str().len(), 108);
        let _removed = std::fs::remove_file(&path);
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddrUnix::new(path.as_os_str().as_bytes()).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut told = SocketAddress::room();
        told.set(Some(getsockname(&fd).unwrap()));
        assert_eq!(told.unix_name(), Some(UnixName::Unnamed));
        // A ring writes it as it is.
        let whole = SocketAddress::of_unix(UnixName::Path(path.as_os_str().as_bytes()));
        assert_eq!(whole.len, 111);
        assert_eq!(whole.unix().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(format!("{whole:?}"), path.display().to_string());
    }

    #[test]
    fn a_family_that_is_not_ip_is_an_error_and_not_an_address() {
        assert_eq!(SocketAddress::room().ip().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_layout_is_the_one_that_libc_writes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut written = SocketAddress::room();
        written.set(Some(rustix::net::getsockname(&listener).unwrap()));
        assert_eq!(written.ip().unwrap(), listener.local_addr().unwrap());
    }
}
