//! Ops on names in the file system: open, stat.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use io_uring::{opcode, squeue, types};
use rustix::fs::CWD;
pub use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};

use super::{Answered, Op, Reply, Request, Yields};
use crate::fd::{Fd, FdRef, SharedFd};

/// What is asked about a path.
#[derive(Debug)]
#[non_exhaustive]
pub enum PathRequest<'a> {
    /// Open it.
    Open {
        /// Where a relative path starts.
        dir: FdRef<'a>,
        /// The path.
        path: &'a CStr,
        /// How.
        how: &'a OpenHow,
    },
    /// Get its metadata.
    Statx {
        /// Where a relative path starts, or the file itself with an empty path and `AT_EMPTY_PATH`.
        dir: FdRef<'a>,
        /// The path.
        path: &'a CStr,
        /// How to resolve it.
        flags: AtFlags,
        /// What to tell.
        mask: StatxFlags,
        /// Where it goes.
        out: &'a mut Statx,
    },
}

/// How to open: `open_how` of openat2(2), in the kernel's layout.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::op::path::{Base, Mode, OFlags, Open, OpenHow, ResolveFlags, c_path};
///
/// let confined = OpenHow::new(OFlags::RDONLY, Mode::empty(), ResolveFlags::BENEATH);
/// let open = Open { base: Base::Current, path: c_path("/etc/hostname".as_ref())?, how: confined };
/// let refused = runtime::submit(open).await.unwrap_err();
/// assert_eq!(refused.kind(), std::io::ErrorKind::CrossesDevices);         // it leads out of the current directory
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

impl OpenHow {
    /// With `flags`, to which close-on-exec is added. `mode` matters only if a file is created. `resolve` restricts how
    /// the path is resolved.
    pub fn new(flags: OFlags, mode: Mode, resolve: ResolveFlags) -> OpenHow {
        // openat2 refuses a mode where nothing can be created, which open(2) ignores.
        let creates = flags.intersects(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
        OpenHow {
            flags: u64::from((flags | OFlags::CLOEXEC).bits()),
            mode: if creates { u64::from(mode.bits()) } else { 0 },
            resolve: resolve.bits(),
        }
    }

    pub(crate) fn flags(&self) -> OFlags {
        // Made from 32 bits in `new`.
        OFlags::from_bits_retain(self.flags as u32)
    }

    pub(crate) fn mode(&self) -> Mode {
        Mode::from_bits_retain(self.mode as u32)
    }

    pub(crate) fn resolve(&self) -> ResolveFlags {
        ResolveFlags::from_bits_retain(self.resolve)
    }
}

impl PathRequest<'_> {
    #[inline]
    pub(super) fn sqe(&mut self) -> squeue::Entry {
        match self {
            PathRequest::Open { dir, path, how } => {
                let how: *const OpenHow = *how;
                opcode::OpenAt2::new(types::Fd(dir.number()), path.as_ptr(), how.cast()).build()
            }
            PathRequest::Statx { dir, path, flags, mask, out } => {
                let out: *mut Statx = *out;
                opcode::Statx::new(types::Fd(dir.number()), path.as_ptr(), out.cast())
                    .flags(flags.bits().cast_signed())
                    .mask(mask.bits())
                    .build()
            }
        }
    }

    pub(super) fn call(&mut self) -> Answered {
        match self {
            PathRequest::Open { dir, path, how } => {
                rustix::fs::openat2(dir.os()?, *path, how.flags(), how.mode(), how.resolve())
                    .map(|fd| Reply::Fd(fd.into()))
            }
            PathRequest::Statx { dir, path, flags, mask, out } => {
                **out = Statx::from(rustix::fs::statx(dir.os()?, *path, *flags, *mask)?);
                Ok(Reply::Count(0))
            }
        }
    }

    pub(super) fn yields(&self) -> Yields {
        match self {
            PathRequest::Open { .. } => Yields::Fd,
            PathRequest::Statx { .. } => Yields::Count,
        }
    }
}

/// Where a relative path starts.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
/// use runtime::{fd::SharedFd, op::path::{Base, Stat, c_path}};
///
/// let src = Base::Dir(SharedFd::new(OwnedFd::from(std::fs::File::open("src")?)));
/// assert!(runtime::submit(Stat::path(src, c_path("lib.rs".as_ref())?, true)).await?.size > 0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub enum Base {
    /// The current directory.
    Current,
    /// An open directory.
    Dir(SharedFd),
}

impl Base {
    #[inline]
    fn borrow(&self) -> FdRef<'_> {
        match self {
            Base::Current => FdRef::Os(CWD),
            Base::Dir(fd) => fd.borrow(),
        }
    }
}

/// A path as the kernel wants it.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a NUL inside, as in std.
///
/// # Examples
///
/// ```
/// use runtime::op::path::c_path;
///
/// assert_eq!(c_path("/etc/hostname".as_ref())?.as_c_str(), c"/etc/hostname");
/// assert!(c_path("a\0b".as_ref()).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "file name contained an unexpected NUL byte"))
}

/// Opens a file. `openat2(2)`, close-on-exec.
///
/// Returns the descriptor, which is closed when it is dropped.
///
/// # Errors
///
/// openat2(2)'s: ENOENT, EEXIST, EACCES, EMFILE …; EXDEV and ELOOP for a path that leaves what `resolve` restricts it
/// to, and EAGAIN if a name was moved meanwhile. EINTR is returned as well: `fs` tries again.
///
/// # Cancel safety
///
/// Dropping the future asks the kernel to stop. The file may still be created or truncated; what was opened is closed.
///
/// # io_uring
///
/// `IORING_OP_OPENAT2` (5.6); the fallback opens on the blocking pool. Creating and truncating always run on a kernel
/// worker.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::fd::SharedFd;
/// use runtime::op::path::{Base, Mode, OFlags, Open, OpenHow, ResolveFlags, c_path};
///
/// let how = OpenHow::new(OFlags::RDONLY, Mode::empty(), ResolveFlags::empty());
/// let fd = runtime::submit(Open { base: Base::Current, path: c_path("Cargo.toml".as_ref())?, how }).await?;
/// assert!(runtime::call::stat_now(&SharedFd::new(fd))?.size > 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Open {
    /// Where a relative path starts.
    pub base: Base,
    /// The path.
    pub path: CString,
    /// How.
    pub how: OpenHow,
}

impl Op for Open {
    type Output = io::Result<Fd>;

    fn request(&mut self) -> Request<'_> {
        Request::Path(PathRequest::Open { dir: self.base.borrow(), path: &self.path, how: &self.how })
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        reply?.fd()
    }
}

/// A point in time, in the kernel's layout.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::op::path::{Base, Stat, c_path};
///
/// let told = runtime::submit(Stat::path(Base::Current, c_path("Cargo.toml".as_ref())?, true)).await?;
/// assert!(told.modified.seconds > 0 && told.modified.nanoseconds < 1_000_000_000);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct StatxTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds beyond them.
    pub nanoseconds: u32,
    reserved: i32,
}

/// The metadata of a file: `struct statx` of statx(2), in the kernel's layout.
///
/// Fields that are not in `mask` are not supported by the file system: they hold 0 or a made-up value.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::op::path::{Base, Stat, StatxFlags, c_path};
///
/// let told = runtime::submit(Stat::path(Base::Current, c_path("Cargo.toml".as_ref())?, true)).await?;
/// assert!(StatxFlags::from_bits_retain(told.mask).contains(StatxFlags::SIZE));
/// assert_eq!(told.size, std::fs::metadata("Cargo.toml")?.len());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Statx {
    /// Which of the fields are valid.
    pub mask: u32,
    /// The block size that suits transfers.
    pub block_size: u32,
    /// Attributes such as immutable or append-only.
    pub attributes: u64,
    /// Hard links.
    pub links: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u16,
    spare0: u16,
    /// The inode's number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Which attributes the file system knows.
    pub attributes_mask: u64,
    /// Last read.
    pub accessed: StatxTime,
    /// Created.
    pub created: StatxTime,
    /// Inode last changed.
    pub changed: StatxTime,
    /// Contents last changed.
    pub modified: StatxTime,
    /// Of a device file: which device.
    pub device_special_major: u32,
    /// Of a device file: which device.
    pub device_special_minor: u32,
    /// The device that the file is on.
    pub device_major: u32,
    /// The device that the file is on.
    pub device_minor: u32,
    /// The mount that the file is on.
    pub mount: u64,
    /// What direct I/O wants memory aligned to.
    pub direct_memory_align: u32,
    /// What direct I/O wants offsets aligned to.
    pub direct_offset_align: u32,
    spare: [u64; 12],
}

const _: () = assert!(size_of::<Statx>() == 256 && size_of::<rustix::fs::Statx>() == 256);

impl From<rustix::fs::Statx> for Statx {
    fn from(stat: rustix::fs::Statx) -> Statx {
        let time = |time: rustix::fs::StatxTimestamp| StatxTime {
            seconds: time.tv_sec,
            nanoseconds: time.tv_nsec,
            reserved: 0,
        };
        Statx {
            mask: stat.stx_mask,
            block_size: stat.stx_blksize,
            attributes: stat.stx_attributes.bits(),
            links: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mode: stat.stx_mode,
            spare0: 0,
            inode: stat.stx_ino,
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            attributes_mask: stat.stx_attributes_mask.bits(),
            accessed: time(stat.stx_atime),
            created: time(stat.stx_btime),
            changed: time(stat.stx_ctime),
            modified: time(stat.stx_mtime),
            device_special_major: stat.stx_rdev_major,
            device_special_minor: stat.stx_rdev_minor,
            device_major: stat.stx_dev_major,
            device_minor: stat.stx_dev_minor,
            mount: stat.stx_mnt_id,
            direct_memory_align: stat.stx_dio_mem_align,
            direct_offset_align: stat.stx_dio_offset_align,
            spare: [0; 12],
        }
    }
}

/// Gets the metadata of a file. `statx(2)`.
///
/// Returns the basic fields and, if the file system records it, when the file was created.
///
/// # Errors
///
/// statx(2)'s: ENOENT, EACCES for a directory on the path; EBADF.
///
/// # Cancel safety
///
/// Nothing is lost by dropping the future.
///
/// # io_uring
///
/// `IORING_OP_STATX` (5.6), which always runs on a kernel worker; the fallback asks on the blocking pool. For an open
/// file, [`call::stat_now`](crate::call::stat_now) does the same at a fifth of the cost.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
/// use runtime::{fd::SharedFd, op::path::{Base, Stat, c_path}, submit};
///
/// let by_name = submit(Stat::path(Base::Current, c_path("Cargo.toml".as_ref())?, true)).await?;
/// let file = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// assert_eq!(submit(Stat::file(file)).await?.inode, by_name.inode);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Stat {
    base: Base,
    path: CString,
    flags: AtFlags,
    out: Statx,
}

impl Stat {
    /// The metadata of `path`. With `follow`, a symbolic link at its end is followed; without, the metadata is that of
    /// the link (`AT_SYMLINK_NOFOLLOW`).
    pub fn path(base: Base, path: CString, follow: bool) -> Stat {
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        Stat { base, path, flags, out: Statx::default() }
    }

    /// The metadata of an open file (`AT_EMPTY_PATH`).
    pub fn file(fd: SharedFd) -> Stat {
        Stat { base: Base::Dir(fd), path: CString::default(), flags: AtFlags::EMPTY_PATH, out: Statx::default() }
    }
}

impl Op for Stat {
    type Output = io::Result<Statx>;

    fn request(&mut self) -> Request<'_> {
        Request::Path(PathRequest::Statx {
            dir: self.base.borrow(),
            path: &self.path,
            flags: self.flags,
            mask: StatxFlags::BASIC_STATS | StatxFlags::BTIME,
            out: &mut self.out,
        })
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        reply.map(|_told| self.out)
    }
}
