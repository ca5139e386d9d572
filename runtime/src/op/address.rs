//! A socket address as the kernel reads and writes it, decoded by hand and without unsafe.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::net::{AddressFamily, SocketAddrAny};

/// Room for any address: `sockaddr_storage`.
const BYTES: usize = 128;

/// A socket address in the kernel's layout. It lives in an op, so that the kernel can write it there.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct SocketAddress {
    bytes: [u8; BYTES],
    len: u32,
}

impl SocketAddress {
    /// Room for an address that the kernel will write.
    #[inline]
    pub fn room() -> SocketAddress {
        SocketAddress { bytes: [0; BYTES], len: 128 }
    }

    /// The address as std has it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a family that is not IP, as std says it.
    pub fn ip(&self) -> io::Result<SocketAddr> {
        let family = AddressFamily::from_raw(u16::from_ne_bytes([self.bytes[0], self.bytes[1]]));
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

    /// The address as rustix wants it, for a plain syscall.
    pub(super) fn any(&self) -> Result<SocketAddrAny, rustix::io::Errno> {
        self.ip().map(SocketAddrAny::from).map_err(|_| rustix::io::Errno::AFNOSUPPORT)
    }

    /// What a plain syscall returned.
    pub(super) fn set(&mut self, address: Option<SocketAddrAny>) {
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        *self = match address {
            Some(address) => SocketAddress::from(address),
            None => SocketAddress { bytes: [0; BYTES], len: 0 },
        };
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
        match self.ip() {
            Ok(address) => write!(f, "{address}"),
            Err(_) => write!(f, "address of family {} and {} bytes", self.bytes[0], self.len),
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
