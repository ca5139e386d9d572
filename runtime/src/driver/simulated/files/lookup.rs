//! From a path to a name: without links, where a path leads can be read off it.

use rustix::fs::ResolveFlags;
use rustix::io::Errno;

use super::{FileSystem, InodeNumber};

/// The longest path, with its end, and the longest name in one (`PATH_MAX`, `NAME_MAX`).
const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;

/// Where a path leads, whether or not something is there.
pub(super) struct Location {
    /// Absolute, no slash at the end.
    pub path: Vec<u8>,
    /// The path ended with a slash, so only a directory will do.
    pub directory_wanted: bool,
}

/// Goes on from `at` by one name of a path.
pub(super) fn step(at: &mut Vec<u8>, name: &[u8]) {
    match name {
        b"." => {}
        b".." => at.truncate(at.iter().rposition(|&byte| byte == b'/').unwrap_or(0)),
        name => {
            at.push(b'/');
            at.extend_from_slice(name);
        }
    }
}

impl FileSystem {
    /// Follows `path` from the directory `base`, within what `confine` allows: EXDEV beyond.
    pub(super) fn locate(&self, base: InodeNumber, path: &[u8], confine: ResolveFlags) -> Result<Location, Errno> {
        if confine.contains(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT) {
            return Err(Errno::INVAL);
        }
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.len() >= PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let is_absolute = path.starts_with(b"/");
        if is_absolute && confine.contains(ResolveFlags::BENEATH) {
            return Err(Errno::XDEV);
        }
        let in_root = confine.contains(ResolveFlags::IN_ROOT);
        let base = if is_absolute && !in_root { Vec::new() } else { self.path_of(base)? };
        let floor = if confine.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT) { base.len() } else { 0 };
        let mut at = base;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            self.check_directory(&at)?;
            match name {
                // Above the root is the root.
                b".." if at.len() <= floor && !confine.contains(ResolveFlags::BENEATH) => {}
                b".." if at.len() <= floor => return Err(Errno::XDEV),
                name if name.len() > NAME_BYTES_MAX => return Err(Errno::NAMETOOLONG),
                name => step(&mut at, name),
            }
        }
        Ok(Location { path: at, directory_wanted: path.ends_with(b"/") })
    }

    fn check_directory(&self, path: &[u8]) -> Result<(), Errno> {
        let inode = *self.names.get(path).ok_or(Errno::NOENT)?;
        if self.is_directory(inode) { Ok(()) } else { Err(Errno::NOTDIR) }
    }

    /// A directory has one name, since it has no hard links.
    fn path_of(&self, directory: InodeNumber) -> Result<Vec<u8>, Errno> {
        if !self.is_directory(directory) {
            return Err(Errno::NOTDIR);
        }
        let (path, _) = self.names.iter().find(|(_, inode)| **inode == directory).ok_or(Errno::NOENT)?;
        Ok(path.clone())
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_names(&mut self, directory: InodeNumber) {
        let Ok(parent) = self.path_of(directory) else { return };
        let is_in = |path: &[u8]| {
            path.len() > parent.len()
                && path.starts_with(&parent)
                && path[parent.len()] == b'/'
                && !path[parent.len() + 1..].contains(&b'/')
        };
        self.durable_names.retain(|path, _| !is_in(path));
        let names = self.names.iter().filter(|(path, _)| is_in(path));
        self.durable_names.extend(names.map(|(path, inode)| (path.clone(), *inode)));
    }
}
