//! Requests about datagrams with addresses, and what a stream makes of them.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::super::descriptors::Waitable;
use super::super::network::SocketId;
use super::super::world::Kernel;
use super::{Attempt, Served};
use crate::op::address::{SocketAddress, UnixName};
use crate::op::datagram::{DatagramRequest, Sender};

impl Kernel {
    pub(super) fn serve_datagram(&mut self, request: &mut DatagramRequest<'_>, attempt: &mut Attempt) -> Served {
        let (DatagramRequest::SendTo { fd, .. } | DatagramRequest::RecvFrom { fd, .. }) = request;
        let socket = match self.descriptors.socket(*fd) {
            Ok(socket) => socket,
            Err(error) => return error.into(),
        };
        match request {
            DatagramRequest::SendTo { buf, to, flags, .. } => {
                self.send_to(socket, buf, to, *flags | SendFlags::DONTWAIT, attempt)
            }
            DatagramRequest::RecvFrom { buf, from, flags, poll_first, .. } => {
                match self.before_receiving(socket, *flags, *poll_first, attempt) {
                    Some(served) => served,
                    None => self.recv_from(socket, buf, from, *flags, attempt),
                }
            }
        }
    }

    /// Never waits.
    fn send_to(
        &mut self,
        socket: SocketId,
        buf: &[u8],
        to: &SocketAddress,
        flags: SendFlags,
        attempt: &mut Attempt,
    ) -> Served {
        if !self.network.is_of_datagrams(socket) {
            return match self.network.is_unix(socket) {
                // A connection leads where it leads.
                true if self.network.is_connected_unix(socket) => Errno::ISCONN.into(),
                true => Errno::OPNOTSUPP.into(),
                false => self.send(socket, buf, flags, false, attempt),
            };
        }
        if self.network.is_unix(socket) {
            return Served::count(self.send_to_unix(socket, buf, to));
        }
        let now_ns = self.now_ns();
        let suitable = self.network.suitable(socket, to);
        Served::count(suitable.and_then(|to| self.network.send_datagram(socket, Some(to), buf, now_ns)))
    }

    /// From one unix socket to another: EAGAIN while there is no room.
    pub fn send_to_unix(&mut self, socket: SocketId, buf: &[u8], to: &SocketAddress) -> Result<usize, Errno> {
        if matches!(to.unix_name(), None | Some(UnixName::Unnamed)) {
            return Err(Errno::INVAL);
        }
        self.network.check_unix_sender(socket, buf)?;
        let to = self.unix_at(to, true)?;
        self.network.send_unix_datagram(socket, to, buf)
    }

    fn recv_from(
        &mut self,
        socket: SocketId,
        buf: &mut [u8],
        from: &mut Sender,
        flags: RecvFlags,
        attempt: &mut Attempt,
    ) -> Served {
        from.set(SocketAddress::nothing());
        if !self.network.is_of_datagrams(socket) {
            return self.recv(socket, buf, flags, attempt);
        }
        let may_wait = attempt.may_wait && !flags.contains(RecvFlags::DONTWAIT);
        match self.network.receive_datagram(socket, buf, flags) {
            Err(Errno::AGAIN) if may_wait => Served::Waits(Waitable::Socket(socket)),
            received => Served::count(received.map(|(count, sender)| {
                from.set(sender);
                count
            })),
        }
    }
}
