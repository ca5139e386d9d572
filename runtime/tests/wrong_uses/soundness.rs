//! Uses that would be unsound; ../wrong_uses.rs reads the comments.

use std::io;
use std::rc::Rc;

use runtime::fd::SharedFd;
use runtime::op::file::{Position, Read, ReadWriteFlags};
use runtime::op::path::{AtFlags, Mode, OFlags, OpenHow, ResolveFlags, StatxFlags};
use runtime::op::socket::{AddressFamily, Protocol, RecvFlags, SendFlags, Shutdown, SocketType, ipproto};
use runtime::op::{Nop, Op, Reply, Request};
use runtime::{JoinHandle, Runtime, replies, spawn, submit};

fn main() {}

/// Right, and said without any other package: what an op's flags are is named where the op is.
fn flags_need_no_package_of_their_own(fd: &SharedFd) -> io::Result<OpenHow> {
    let _: (ReadWriteFlags, AtFlags, StatxFlags) = (ReadWriteFlags::NOWAIT, AtFlags::EMPTY_PATH, StatxFlags::SIZE);
    let _: Protocol = ipproto::TCP;
    drop(runtime::call::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))?);
    runtime::call::try_recv(fd, &mut [0; 16], RecvFlags::PEEK)?;
    runtime::call::try_send(fd, &[0; 16], SendFlags::empty())?;
    runtime::call::shutdown(fd, Shutdown::Write)?;
    Ok(OpenHow::new(OFlags::RDONLY, Mode::empty(), ResolveFlags::BENEATH))
}

fn stays_here<T: Send>(_: T) {}

/// A future may be forgotten, and lent memory be gone before the kernel writes.
async fn the_kernel_gets_no_lent_memory(fd: SharedFd) {
    let mut buf = [0_u8; 16];
    drop(submit(Read { fd, buf: &mut buf[..], position: Position::Cursor }).await);
//       ^ the trait bound `&mut [u8]: IoBufMut` is not satisfied
//                              ^ the trait bound `&mut [u8]: IoBufMut` is not satisfied
//                                                                          ^ the trait bound `&mut [u8]: IoBufMut` is not satisfied
}

struct Elsewhere(SharedFd);

/// What the kernel touches must lie in the op.
impl Op for Elsewhere {
    type Output = ();

    fn request(&mut self) -> Request<'_> {
        let mut read = Read { fd: self.0.clone(), buf: [0_u8; 16], position: Position::Cursor };
        read.request()
//      ^ cannot return value referencing local variable `read`
    }

    fn finish(self, _reply: io::Result<Reply>) {}
}

/// While a request lives, nobody touches its op.
fn an_op_is_not_touched_while_its_request_lives(mut read: Read<Vec<u8>>) {
    let request = read.request();
    read.buf.clear();
//  ^ cannot borrow `read.buf` as mutable more than once at a time
    drop(request);
}

fn an_op_stays_on_its_core() {
    stays_here(submit(Nop));
//             ^ `Rc<runtime::core::ops::Ops>` cannot be sent between threads safely
}

/// A ring takes requests from the thread that made it, and from no other.
fn a_runtime_stays_on_its_thread(runtime: Runtime) {
    stays_here(runtime);
//             ^ `*const ()` cannot be sent between threads safely
//             ^ `*mut ()` cannot be sent between threads safely
//             ^ `Rc<runtime::core::Core>` cannot be sent between threads safely
//             ^ `Rc<runtime::task::table::Tasks>` cannot be sent between threads safely
}

fn a_descriptor_stays_on_its_core(fd: SharedFd) {
    stays_here(fd);
//             ^ `Rc<runtime::fd::Fd>` cannot be sent between threads safely
}

fn a_handle_goes_nowhere_without_its_output(handle: JoinHandle<Rc<u8>>) {
    stays_here(handle);
//             ^ `Rc<u8>` cannot be sent between threads safely
}

fn a_task_outlives_whoever_spawned_it() {
    let buf = vec![0_u8; 16];
    let borrows = &buf;
//                ^ `buf` does not live long enough
    drop(spawn(async move { borrows.len() }));
}

fn a_stream_of_replies_is_of_an_op_that_has_many() {
    drop(replies(Nop));
//  ^ the trait bound `runtime::op::Nop: StreamOp` is not satisfied
//       ^ the trait bound `runtime::op::Nop: StreamOp` is not satisfied
//               ^ the trait bound `runtime::op::Nop: StreamOp` is not satisfied
}
