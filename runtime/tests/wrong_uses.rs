//! What would be unsound does not compile.

#[path = "common/wrong_uses.rs"]
mod wrong_uses;

/// Catches: an `IoBufMut` for `&mut [u8]`; a `request` whose lifetime is not the op's; a future, a handle or a
/// descriptor that may go to another thread; a `spawn` of what borrows; a flag of an op whose type only another package
/// names.
#[test]
fn the_compiler_keeps_memory_with_its_op_and_ops_on_their_core() {
    wrong_uses::check("soundness");
}
