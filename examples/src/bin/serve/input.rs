//! What a client has sent and nobody has read yet: a head or a part of one, and whatever it sent behind.

use std::io;
use std::mem;

use net::TcpStream;
use runtime::buf::IoBuf;
use runtime::time::{Duration, Instant, now, timeout_at};

use crate::request::HEAD_BYTES_MAX;

/// How long a client may say nothing before its first request or between two.
pub const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a head may take from its first byte to its last.
pub const HEAD_MAX: Duration = Duration::from_secs(10);

/// What a connection that says nothing costs. Most heads fit.
const IDLE_LEN: usize = 1024;

/// Bytes from a client, at most [`HEAD_BYTES_MAX`] of them.
#[derive(Debug)]
pub struct Input {
    buf: Vec<u8>,
    filled: usize,
    /// When what is missing must be here. None before anybody has waited for it.
    deadline: Option<Instant>,
}

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Some,
    End,
    NothingInTime,
    /// A head has begun, and did not go on.
    PartInTime,
}

impl Default for Input {
    fn default() -> Self {
        Self { buf: vec![0; IDLE_LEN], filled: 0, deadline: None }
    }
}

impl Input {
    /// What is here.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[..self.filled]
    }

    /// Waits for more.
    ///
    /// # Errors
    ///
    /// The connection's. Nothing that was here is here then.
    ///
    /// # Panics
    ///
    /// If [`HEAD_BYTES_MAX`] bytes are here: a request or a refusal can be made of them.
    pub async fn receive(&mut self, stream: &TcpStream) -> io::Result<Received> {
        let is_first = self.filled == 0;
        let deadline = *self.deadline.get_or_insert_with(|| now() + if is_first { IDLE_MAX } else { HEAD_MAX });
        if self.filled == self.buf.len() {
            assert!(self.filled < HEAD_BYTES_MAX, "a whole head is here, and more is waited for");
            self.buf.resize(HEAD_BYTES_MAX, 0);
        }
        let rest = mem::take(&mut self.buf).slice(self.filled..);
        let Ok(read) = timeout_at(deadline, stream.read_owned(rest)).await else {
            return Ok(if is_first { Received::NothingInTime } else { Received::PartInTime });
        };
        let (received, rest) = read?;
        self.buf = rest.into_inner();
        self.filled += received;
        if received == 0 {
            return Ok(Received::End);
        }
        if is_first {
            self.deadline = Some(now() + HEAD_MAX);
        }
        Ok(Received::Some)
    }

    /// Forgets the first `count` bytes. What a client sent behind them begins the next head.
    pub fn consume(&mut self, count: usize) {
        self.buf.copy_within(count..self.filled, 0);
        self.filled -= count;
        self.deadline = None;
        if self.filled == 0 && self.buf.len() > IDLE_LEN {
            self.buf = vec![0; IDLE_LEN];
        }
    }
}
