//! Names in the file system: creating, renaming, removing, linking. These are std's functions, run on the blocking
//! pool.
//!
//! io_uring has ops for some of them, which always run on a kernel worker and cost as much. The simulated kernel does
//! not support them yet: there they fail with [`Unsupported`](std::io::ErrorKind::Unsupported).

use std::io;
use std::path::{Path, PathBuf};

use crate::Permissions;
use crate::pool::on_pool;

/// Creates a symbolic link at `link` that points to `original`. `symlink(2)`; [`std::os::unix::fs::symlink`].
///
/// # Errors
///
/// symlink(2)'s.
///
/// # Cancel safety
///
/// Dropping the future does not stop the work: its thread does it all the same.
///
/// # io_uring
///
/// No op: it runs on the blocking pool with every driver.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("gimmal-doc-symlink-{}", std::process::id()));
/// fs::symlink("Cargo.toml", &path).await?;
/// assert!(fs::symlink_metadata(&path).await?.is_symlink());
/// # fs::remove_file(&path).await?;
/// # Ok(()) }
/// ```
pub async fn symlink<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref().to_owned(), link.as_ref().to_owned());
    on_pool("symlink", move || std::os::unix::fs::symlink(original, link)).await
}

macro_rules! on_the_pool {
    ($($(#[$note:meta])* $name:ident<$($generic:ident),+>($($path:ident: $of:ident),+ $(; $more:ident: $kind:ty)?) -> $out:ty;)*) => {$(
        $(#[$note])*
        pub async fn $name<$($generic: AsRef<Path>),+>($($path: $of),+ $(, $more: $kind)?) -> io::Result<$out> {
            $(let $path = $path.as_ref().to_owned();)+
            on_pool(stringify!($name), move || std::fs::$name($($path),+ $(, $more)?)).await
        }
    )*};
}

on_the_pool! {
    /// Removes the file, or the symbolic link, at `path`. `unlink(2)`.
    ///
    /// # Errors
    ///
    /// [`std::fs::remove_file`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-remove_file-{}", std::process::id()));
    /// fs::write(&path, "short-lived").await?;
    /// fs::remove_file(&path).await?;
    /// assert!(!fs::exists(&path).await?);
    /// # Ok(()) }
    /// ```
    remove_file<P>(path: P) -> ();

    /// Renames the file at `from` to `to`, and replaces a file of that name. `rename(2)`.
    ///
    /// # Errors
    ///
    /// [`std::fs::rename`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-rename-{}", std::process::id()));
    /// let draft = path.with_extension("draft");
    /// fs::write(&draft, "whole").await?;
    /// fs::rename(&draft, &path).await?;
    /// assert_eq!(fs::read_to_string(&path).await?, "whole");
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    rename<P, Q>(from: P, to: Q) -> ();

    /// Copies the contents and permissions of the file at `from` to `to`, which is truncated first. Returns how many
    /// bytes were copied.
    ///
    /// # Errors
    ///
    /// [`std::fs::copy`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-copy-{}", std::process::id()));
    /// assert_eq!(fs::copy("Cargo.toml", &path).await?, fs::metadata("Cargo.toml").await?.len());
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    copy<P, Q>(from: P, to: Q) -> u64;

    /// Creates a second name, `link`, for the file at `original`. `link(2)`.
    ///
    /// # Errors
    ///
    /// [`std::fs::hard_link`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-hard_link-{}", std::process::id()));
    /// let original = path.with_extension("original");
    /// fs::write(&original, "one file, two names").await?;
    /// fs::hard_link(&original, &path).await?;
    /// assert_eq!(fs::read_to_string(&path).await?, "one file, two names");
    /// # fs::remove_file(&original).await?;
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    hard_link<P, Q>(original: P, link: Q) -> ();

    /// Returns the target of the symbolic link at `path`. `readlink(2)`.
    ///
    /// # Errors
    ///
    /// [`std::fs::read_link`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-read_link-{}", std::process::id()));
    /// fs::symlink("elsewhere", &path).await?;
    /// assert_eq!(fs::read_link(&path).await?, std::path::Path::new("elsewhere"));
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    read_link<P>(path: P) -> PathBuf;

    /// Returns the absolute path of `path`, without symbolic links and `..`. `realpath(3)`.
    ///
    /// # Errors
    ///
    /// [`std::fs::canonicalize`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(fs::canonicalize("src/../Cargo.toml").await?.ends_with("Cargo.toml"));
    /// # Ok(()) }
    /// ```
    canonicalize<P>(path: P) -> PathBuf;

    /// Creates a directory at `path`. `mkdir(2)`.
    ///
    /// # Errors
    ///
    /// [`std::fs::create_dir`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-create_dir-{}", std::process::id()));
    /// fs::create_dir(&path).await?;
    /// assert!(fs::metadata(&path).await?.is_dir());
    /// # fs::remove_dir(&path).await?;
    /// # Ok(()) }
    /// ```
    create_dir<P>(path: P) -> ();

    /// Creates a directory at `path`, and its missing parents.
    ///
    /// # Errors
    ///
    /// [`std::fs::create_dir_all`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-create_dir_all-{}", std::process::id()));
    /// fs::create_dir_all(path.join("deep/down")).await?;
    /// assert!(fs::metadata(path.join("deep")).await?.is_dir());
    /// # fs::remove_dir_all(&path).await?;
    /// # Ok(()) }
    /// ```
    create_dir_all<P>(path: P) -> ();

    /// Removes the directory at `path`, which must be empty. `rmdir(2)`.
    ///
    /// # Errors
    ///
    /// [`std::fs::remove_dir`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-remove_dir-{}", std::process::id()));
    /// fs::create_dir(&path).await?;
    /// fs::remove_dir(&path).await?;
    /// assert!(!fs::exists(&path).await?);
    /// # Ok(()) }
    /// ```
    remove_dir<P>(path: P) -> ();

    /// Removes the directory at `path` with everything in it; symbolic links are removed, not followed.
    ///
    /// # Errors
    ///
    /// [`std::fs::remove_dir_all`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-remove_dir_all-{}", std::process::id()));
    /// fs::create_dir_all(path.join("deep/down")).await?;
    /// fs::remove_dir_all(&path).await?;
    /// assert!(!fs::exists(&path).await?);
    /// # Ok(()) }
    /// ```
    remove_dir_all<P>(path: P) -> ();

    /// Sets the permissions of the file at `path`. `chmod(2)`.
    ///
    /// # Errors
    ///
    /// [`std::fs::set_permissions`]'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work: its thread does it all the same.
    ///
    /// # io_uring
    ///
    /// No op: it runs on the blocking pool with every driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-set_permissions-{}", std::process::id()));
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// fs::write(&path, "private").await?;
    /// fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).await?;
    /// assert_eq!(fs::metadata(&path).await?.permissions().mode() & 0o777, 0o600);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    set_permissions<P>(path: P; permissions: Permissions) -> ();
}
