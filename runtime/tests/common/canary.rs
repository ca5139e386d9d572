//! Buffers whose memory shows late writes: when one is freed its memory is taken again at once, and filled.

use std::cell::RefCell;
use std::mem::take;
use std::rc::Rc;

use runtime::buf::{IoBuf, IoBufMut};

/// What memory holds that nobody may write to.
const CANARY: u8 = 0xa5;

/// The memory that was freed. Clones are the same.
#[derive(Clone, Default)]
pub struct Canaries(Rc<RefCell<Vec<Vec<u8>>>>);

impl Canaries {
    pub fn buffer(&self, bytes: Vec<u8>) -> Canaried {
        Canaried { bytes, canaries: self.clone() }
    }

    /// Whether nobody wrote to what was freed so far. It is let go.
    pub fn are_intact(&self) -> bool {
        self.0.take().iter().flatten().all(|&byte| byte == CANARY)
    }
}

/// A buffer that becomes a canary when it is dropped.
pub struct Canaried {
    bytes: Vec<u8>,
    canaries: Canaries,
}

impl IoBuf for Canaried {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl IoBufMut for Canaried {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Canaried {
    fn drop(&mut self) {
        let len = self.bytes.len();
        drop(take(&mut self.bytes));
        self.canaries.0.borrow_mut().push(vec![CANARY; len]);
    }
}
