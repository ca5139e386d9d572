//! Buffers that count how many of them are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runtime::buf::{IoBuf, IoBufMut};

/// Adds 1 to the counter when it is dropped.
pub struct Counted(pub [u8; 8], pub Arc<AtomicUsize>);

impl IoBuf for Counted {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl IoBufMut for Counted {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}
