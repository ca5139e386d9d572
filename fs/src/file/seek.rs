//! The cursor.

use std::io::{self, SeekFrom};

use runtime::call;

use super::File;
use super::turns::Turn;

impl File {
    /// Moves the cursor, when no other call is moving it. `lseek(2)`, which does not wait.
    ///
    /// Returns the new position, in bytes from the start. It may be beyond the end; a write there leaves a hole.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a position before the start;
    /// [`NotSeekable`](io::ErrorKind::NotSeekable) for a pipe or a terminal.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the cursor has not moved.
    ///
    /// # io_uring
    ///
    /// No op.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// use std::io::SeekFrom;
    ///
    /// let file = fs::File::open("Cargo.toml").await?;
    /// assert_eq!(file.seek(SeekFrom::End(0)).await?, file.metadata().await?.len());
    /// # Ok(()) }
    /// ```
    pub async fn seek(&self, position: SeekFrom) -> io::Result<u64> {
        let _turn = Turn::of(&self.description).await;
        call::seek(&self.fd, position)
    }

    /// Moves the cursor to the start.
    ///
    /// # Errors
    ///
    /// As [`seek`](File::seek).
    ///
    /// # Cancel safety
    ///
    /// As [`seek`](File::seek).
    ///
    /// # io_uring
    ///
    /// No op.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let mut text = String::new();
    /// let first = file.read_to_string(&mut text).await?;
    /// file.rewind().await?;
    /// assert_eq!(file.read_to_string(&mut text).await?, first);
    /// # Ok(()) }
    /// ```
    pub async fn rewind(&self) -> io::Result<()> {
        self.seek(SeekFrom::Start(0)).await.map(drop)
    }

    /// Returns the position of the cursor, in bytes from the start.
    ///
    /// # Errors
    ///
    /// As [`seek`](File::seek).
    ///
    /// # Cancel safety
    ///
    /// As [`seek`](File::seek).
    ///
    /// # io_uring
    ///
    /// No op.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// file.read_exact(&mut [0; 9]).await?;
    /// assert_eq!(file.stream_position().await?, 9);
    /// # Ok(()) }
    /// ```
    pub async fn stream_position(&self) -> io::Result<u64> {
        self.seek(SeekFrom::Current(0)).await
    }
}
