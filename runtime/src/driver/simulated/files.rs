//! Files and directories in memory, and what of them is durable.
//!
//! A name leads to an inode; an inode's bytes are what reading sees. Beside them lies what a disk would hold: the
//! durable names, each inode's durable bytes, and the changes since, which a sync applies and a power cut may lose: see
//! [`durable`].
//!
//! Not modelled: links, permissions beyond the access mode, times of access, holes. A file has at most
//! [`FILE_BYTES_MAX`] bytes, then writing answers EFBIG.

use std::collections::BTreeMap;

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags};
use rustix::io::Errno;

use super::random::Random;
use crate::op::OFFSET_MAX;
use crate::op::path::{OpenHow, Statx, StatxTime};

mod durable;
mod lookup;

pub(super) use durable::Change;
use durable::{Durable, SECTOR};
use lookup::{Location, step};

/// Every byte of a file lies in memory, so one write far behind the end must not take all of it.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// When the simulated world began, in seconds since 1970: the start of the year 2000.
const EPOCH_SECONDS: i64 = 946_684_800;

pub(super) type InodeNumber = u64;

const ROOT: InodeNumber = 1;

/// All names and inodes. A path is kept absolute and without a slash at its end, so the root's is empty.
#[derive(Debug)]
pub(super) struct FileSystem {
    names: BTreeMap<Vec<u8>, InodeNumber>,
    durable_names: BTreeMap<Vec<u8>, InodeNumber>,
    inodes: BTreeMap<InodeNumber, Inode>,
    next: InodeNumber,
}

#[derive(Debug)]
struct Inode {
    permissions: u16,
    links: u32,
    created_ns: u64,
    modified_ns: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Directory,
    /// The name of a unix socket.
    Socket,
    Regular {
        bytes: Vec<u8>,
        durable: Durable,
    },
}

/// An open file description: what `dup(2)` would share.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    inode: InodeNumber,
    cursor: u64,
    flags: OFlags,
}

impl OpenFile {
    /// Whether it is a thing to read from; opened for writing only, it is not.
    fn is_readable(&self) -> bool {
        !self.flags.intersects(OFlags::WRONLY | OFlags::PATH)
    }

    fn is_writable(&self) -> bool {
        // Both at once is a mode for ioctls only.
        [OFlags::WRONLY, OFlags::RDWR].contains(&(self.flags & (OFlags::WRONLY | OFlags::RDWR)))
            && !self.flags.intersects(OFlags::PATH)
    }

    /// Whether each write is durable when it returns.
    pub fn is_synced(&self) -> bool {
        self.flags.intersects(OFlags::SYNC | OFlags::DSYNC)
    }

    /// Whether it is open only as a place in the tree.
    pub fn is_path(&self) -> bool {
        self.flags.contains(OFlags::PATH)
    }

    /// Whether it never had a name, and goes with its descriptor.
    pub fn is_temporary(&self) -> bool {
        self.flags.contains(OFlags::TMPFILE)
    }

    /// Whether no cache stands between it and the disk.
    pub fn is_direct(&self) -> bool {
        self.flags.contains(OFlags::DIRECT)
    }

    /// How many of the `asked` bytes are transferred where `len` can be. Direct I/O moves whole sectors, and refuses
    /// what is not made of them.
    pub fn whole_sectors(&self, offset: u64, asked: usize, len: usize) -> Result<usize, Errno> {
        if !self.is_direct() {
            return Ok(len);
        }
        let is_whole = asked.is_multiple_of(SECTOR) && offset.is_multiple_of(SECTOR as u64);
        if is_whole { Ok(len.next_multiple_of(SECTOR)) } else { Err(Errno::INVAL) }
    }

    pub fn inode(&self) -> InodeNumber {
        self.inode
    }

    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    pub fn move_cursor(&mut self, position: u64) {
        self.cursor = position;
    }
}

/// How a file looks from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileState {
    pub path: Vec<u8>,
    pub bytes: Vec<u8>,
    pub durable: Vec<u8>,
    pub name_is_durable: bool,
}

impl FileSystem {
    /// `/` and `/tmp`.
    pub fn new() -> FileSystem {
        let mut files =
            FileSystem { names: BTreeMap::new(), durable_names: BTreeMap::new(), inodes: BTreeMap::new(), next: ROOT };
        files.add(Vec::new(), 0o755, Content::Directory, 0);
        files.add(b"/tmp".to_vec(), 0o1777, Content::Directory, 0);
        files.durable_names = files.names.clone();
        files
    }

    /// Opens `path`, which starts at the directory `base` if it is relative.
    pub fn open(&mut self, base: InodeNumber, path: &[u8], how: &OpenHow, now_ns: u64) -> Result<OpenFile, Errno> {
        let flags = how.flags();
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let is_temporary = flags.contains(OFlags::TMPFILE);
        if flags.contains(OFlags::CREATE | OFlags::DIRECTORY) || (is_temporary && !writes) {
            return Err(Errno::INVAL);
        }
        let Location { path, directory_wanted } = self.locate(base, path, how.resolve())?;
        let permissions = u16::try_from(how.mode().bits() & 0o777).expect("nine bits") & !0o022;
        if is_temporary {
            let inode = self.temporary(&path, permissions, now_ns)?;
            return Ok(OpenFile { inode, cursor: 0, flags });
        }
        if directory_wanted && flags.contains(OFlags::CREATE) {
            // Whatever is there: a slash at the end wants a directory, which open(2) does not make.
            return Err(Errno::ISDIR);
        }
        let inode = match self.names.get(&path).copied() {
            Some(_) if flags.contains(OFlags::CREATE | OFlags::EXCL) => return Err(Errno::EXIST),
            Some(inode) if self.is_directory(inode) => {
                if writes || flags.intersects(OFlags::CREATE | OFlags::TRUNC) {
                    return Err(Errno::ISDIR);
                }
                inode
            }
            Some(_) if directory_wanted || flags.contains(OFlags::DIRECTORY) => return Err(Errno::NOTDIR),
            Some(inode) if self.is_socket(inode) && !flags.contains(OFlags::PATH) => return Err(Errno::NXIO),
            Some(inode) => inode,
            None if !flags.contains(OFlags::CREATE) => return Err(Errno::NOENT),
            None => self.add(path, permissions, Content::empty(), now_ns),
        };
        if flags.contains(OFlags::TRUNC) && !flags.contains(OFlags::PATH) {
            self.change(inode, Change::Resize { len: 0 }, now_ns)?;
        }
        Ok(OpenFile { inode, cursor: 0, flags })
    }

    /// Makes a file without a name on the file system of a directory.
    fn temporary(&mut self, directory: &[u8], permissions: u16, now_ns: u64) -> Result<InodeNumber, Errno> {
        let directory = *self.names.get(directory).ok_or(Errno::NOENT)?;
        if !self.is_directory(directory) {
            return Err(Errno::NOTDIR);
        }
        Ok(self.make(permissions, 0, Content::empty(), now_ns))
    }

    /// Makes the file that is the name of a unix socket.
    pub fn make_socket(&mut self, path: &[u8], now_ns: u64) -> Result<InodeNumber, Errno> {
        let Location { path, directory_wanted } = self.locate(ROOT, path, rustix::fs::ResolveFlags::empty())?;
        match self.names.get(&path) {
            Some(_) => Err(Errno::ADDRINUSE),
            None if directory_wanted => Err(Errno::NOENT),
            None => Ok(self.add(path, 0o755, Content::Socket, now_ns)),
        }
    }

    /// Takes it away again, of a socket that could not be bound after all.
    pub fn unmake_socket(&mut self, path: &[u8]) {
        if let Ok(Location { path, .. }) = self.locate(ROOT, path, rustix::fs::ResolveFlags::empty())
            && let Some(inode) = self.names.remove(&path)
        {
            self.forget(inode);
        }
    }

    /// The file that is the name of a unix socket. What is a file of another kind takes no connections.
    pub fn find_socket(&self, path: &[u8]) -> Result<InodeNumber, Errno> {
        let Location { path, directory_wanted } = self.locate(ROOT, path, rustix::fs::ResolveFlags::empty())?;
        let inode = *self.names.get(&path).ok_or(Errno::NOENT)?;
        match self.is_socket(inode) {
            true if directory_wanted => Err(Errno::NOTDIR),
            true => Ok(inode),
            false => Err(Errno::CONNREFUSED),
        }
    }

    /// A file without a name was closed.
    pub fn forget(&mut self, inode: InodeNumber) {
        self.inodes.remove(&inode);
    }

    /// Reads what lies at `offset`; fewer bytes than asked for at the end.
    pub fn read(&self, file: &OpenFile, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        if !file.is_readable() {
            return Err(Errno::BADF);
        }
        check_range(offset, buf.len())?;
        let Content::Regular { bytes, .. } = &self.inode(file.inode)?.content else { return Err(Errno::ISDIR) };
        let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
        let count = buf.len().min(bytes.len() - start);
        buf[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    /// Where a write at `offset` goes: to the end of a file that is opened to append.
    pub fn place(&self, file: &OpenFile, offset: u64) -> Result<u64, Errno> {
        if file.flags.contains(OFlags::APPEND) { self.len(file.inode) } else { Ok(offset) }
    }

    /// Writes at `offset`, or at the end of a file that is opened to append. Returns how much, and where it ends.
    pub fn write(&mut self, file: &OpenFile, offset: u64, buf: &[u8], now_ns: u64) -> Result<(usize, u64), Errno> {
        if !file.is_writable() {
            return Err(Errno::BADF);
        }
        check_range(offset, buf.len())?;
        let offset = self.place(file, offset)?;
        let room = FILE_BYTES_MAX.saturating_sub(offset);
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(buf.len());
        if count == 0 && !buf.is_empty() {
            return Err(Errno::FBIG);
        }
        let end = offset + u64::try_from(count).expect("usize has 64 bits at most");
        if count > 0 {
            self.change(file.inode, Change::Write { offset, bytes: buf[..count].to_vec() }, now_ns)?;
        }
        Ok((count, end))
    }

    /// Makes durable what was just written, and nothing that others wrote before.
    pub fn sync_written(&mut self, number: InodeNumber) {
        if let Some(Inode { content: Content::Regular { durable, .. }, .. }) = self.inodes.get_mut(&number) {
            durable.sync_last();
        }
    }

    /// Cuts the file, or adds zeros. `O_SYNC` is about writes, not about this.
    pub fn truncate(&mut self, file: &OpenFile, len: u64, now_ns: u64) -> Result<(), Errno> {
        if file.flags.contains(OFlags::PATH) {
            return Err(Errno::BADF);
        }
        if !file.is_writable() {
            return Err(Errno::INVAL);
        }
        if len > FILE_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        self.change(file.inode, Change::Resize { len }, now_ns)
    }

    /// Makes a file's bytes durable, or the names in a directory. As fsync(2) warns, a new file's own name is durable
    /// only when its directory was synced.
    pub fn sync(&mut self, number: InodeNumber) -> Result<(), Errno> {
        let inode = self.inodes.get_mut(&number).ok_or(Errno::IO)?;
        match &mut inode.content {
            Content::Regular { durable, .. } => durable.sync(),
            Content::Directory => self.sync_names(number),
            Content::Socket => {}
        }
        Ok(())
    }

    /// A sync failed: some of the changes became durable, and the rest never will, since the kernel takes them for
    /// written from now on.
    pub fn fail_sync(&mut self, number: InodeNumber, random: &mut Random) {
        if let Some(Inode { content: Content::Regular { durable, .. }, .. }) = self.inodes.get_mut(&number) {
            durable.lose_some(random);
        }
    }

    /// Tells about `path`, or about `base` itself if the path is empty and may be.
    pub fn stat(&self, base: InodeNumber, path: &[u8], flags: AtFlags) -> Result<Statx, Errno> {
        if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
            return self.describe(base);
        }
        let Location { path, directory_wanted } = self.locate(base, path, rustix::fs::ResolveFlags::empty())?;
        let inode = *self.names.get(&path).ok_or(Errno::NOENT)?;
        if directory_wanted && !self.is_directory(inode) {
            return Err(Errno::NOTDIR);
        }
        self.describe(inode)
    }

    /// The directory where relative paths start.
    pub fn current_directory(&self) -> InodeNumber {
        ROOT
    }

    /// Where the end of a file is.
    pub fn len(&self, inode: InodeNumber) -> Result<u64, Errno> {
        match &self.inode(inode)?.content {
            Content::Regular { bytes, .. } => Ok(u64::try_from(bytes.len()).expect("usize has 64 bits at most")),
            Content::Directory => Err(Errno::ISDIR),
            Content::Socket => Err(Errno::NXIO),
        }
    }

    /// Puts a file at an absolute path, durably, with the directories that lead there: what the machine had before the
    /// program ran.
    pub fn put(&mut self, path: &[u8], bytes: &[u8], now_ns: u64) -> Result<(), Errno> {
        self.make_way(path, now_ns)?;
        let how = OpenHow::new(
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
            rustix::fs::Mode::from_raw_mode(0o644),
            rustix::fs::ResolveFlags::empty(),
        );
        let file = self.open(ROOT, path, &how, now_ns)?;
        self.write(&file, 0, bytes, now_ns)?;
        self.sync(file.inode)?;
        let Location { path, .. } = self.locate(ROOT, path, rustix::fs::ResolveFlags::empty())?;
        self.durable_names.insert(path, file.inode);
        Ok(())
    }

    /// Makes the directories that lead to the last name of a path, durably.
    fn make_way(&mut self, path: &[u8], now_ns: u64) -> Result<(), Errno> {
        let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
        let (_last, way) = names.split_last().ok_or(Errno::ISDIR)?;
        let mut at = Vec::new();
        for name in way {
            step(&mut at, name);
            let inode = match self.names.get(&at) {
                Some(&inode) if self.is_directory(inode) => inode,
                Some(_) => return Err(Errno::NOTDIR),
                None => self.add(at.clone(), 0o755, Content::Directory, now_ns),
            };
            self.durable_names.insert(at.clone(), inode);
        }
        Ok(())
    }

    /// All regular files, in the order of their paths.
    pub fn list(&self) -> Vec<FileState> {
        let state = |(path, number): (&Vec<u8>, &InodeNumber)| match &self.inodes.get(number)?.content {
            Content::Directory | Content::Socket => None,
            Content::Regular { bytes, durable } => Some(FileState {
                path: path.clone(),
                bytes: bytes.clone(),
                durable: durable.bytes().to_vec(),
                name_is_durable: self.durable_names.get(path) == Some(number),
            }),
        };
        self.names.iter().filter_map(state).collect()
    }

    fn add(&mut self, path: Vec<u8>, permissions: u16, content: Content, now_ns: u64) -> InodeNumber {
        let links = if matches!(content, Content::Directory) { 2 } else { 1 };
        let number = self.make(permissions, links, content, now_ns);
        self.names.insert(path, number);
        number
    }

    fn make(&mut self, permissions: u16, links: u32, content: Content, now_ns: u64) -> InodeNumber {
        let number = self.next;
        self.next += 1;
        self.inodes.insert(number, Inode { permissions, links, created_ns: now_ns, modified_ns: now_ns, content });
        number
    }

    fn change(&mut self, number: InodeNumber, change: Change, now_ns: u64) -> Result<(), Errno> {
        let inode = self.inodes.get_mut(&number).ok_or(Errno::IO)?;
        let Content::Regular { bytes, durable } = &mut inode.content else { return Err(Errno::ISDIR) };
        change.apply(bytes);
        durable.note(change);
        inode.modified_ns = now_ns;
        Ok(())
    }

    fn inode(&self, number: InodeNumber) -> Result<&Inode, Errno> {
        self.inodes.get(&number).ok_or(Errno::IO)
    }

    fn is_directory(&self, number: InodeNumber) -> bool {
        self.inodes.get(&number).is_some_and(|inode| matches!(inode.content, Content::Directory))
    }

    fn is_socket(&self, number: InodeNumber) -> bool {
        self.inodes.get(&number).is_some_and(|inode| matches!(inode.content, Content::Socket))
    }

    fn describe(&self, number: InodeNumber) -> Result<Statx, Errno> {
        let inode = self.inode(number)?;
        let (kind, size) = match &inode.content {
            Content::Directory => (FileType::Directory, 4096),
            Content::Socket => (FileType::Socket, 0),
            Content::Regular { bytes, .. } => (FileType::RegularFile, bytes.len()),
        };
        let size = u64::try_from(size).expect("usize has 64 bits at most");
        let mut told = describe(kind, inode.permissions, number);
        told.links = inode.links;
        told.size = size;
        told.blocks = size.div_ceil(512);
        told.created = moment(inode.created_ns);
        told.modified = moment(inode.modified_ns);
        told.changed = told.modified;
        told.accessed = told.created;
        Ok(told)
    }
}

impl Content {
    fn empty() -> Content {
        Content::Regular { bytes: Vec::new(), durable: Durable::default() }
    }
}

/// What statx(2) tells of anything: a socket and a pipe have an inode too.
pub(super) fn describe(kind: FileType, permissions: u16, number: u64) -> Statx {
    let kind = u16::try_from(kind.as_raw_mode()).expect("a file's mode has 16 bits");
    let mut told = Statx::default();
    told.mask = (StatxFlags::BASIC_STATS | StatxFlags::BTIME).bits();
    told.block_size = 4096;
    told.links = 1;
    told.mode = kind | permissions;
    told.inode = number;
    told
}

/// A transfer must not reach beyond the largest offset there is.
fn check_range(offset: u64, len: usize) -> Result<(), Errno> {
    let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
    if end.is_some_and(|end| end <= OFFSET_MAX) { Ok(()) } else { Err(Errno::INVAL) }
}

fn moment(elapsed_ns: u64) -> StatxTime {
    let mut moment = StatxTime::default();
    moment.seconds = EPOCH_SECONDS + i64::try_from(elapsed_ns / 1_000_000_000).expect("584 years at most");
    moment.nanoseconds = u32::try_from(elapsed_ns % 1_000_000_000).expect("below a second");
    moment
}
