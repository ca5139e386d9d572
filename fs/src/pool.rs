//! std's own calls, on the blocking pool.

use std::io;
use std::panic::resume_unwind;

/// Runs `job`, which does `what`, where it may block. A panic in it goes on here.
///
/// # Errors
///
/// What `job` says; [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel, past which `job` would go; and
/// that the runtime ended before `job` began.
pub(crate) async fn on_pool<T: Send + 'static>(
    what: &'static str,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    runtime::call::pass(what)?;
    match runtime::spawn_blocking(job).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(failed) => Err(io::Error::other(failed)),
        },
    }
}
