//! The attributes `#[runtime::main]` and `#[runtime::test]` of [gimmal-runtime](https://docs.rs/gimmal-runtime).
//!
//! Use them by their names in `runtime`, which re-exports them: the code that they generate calls that crate, and
//! nothing here is useful without it.
//!
//! ```text
//!  #[runtime::test(driver = each)]   ─► options::Options ─┐
//!  async fn name() -> RET { … }      ─► function::Function ┴► expand ─► template ─► what the compiler sees
//!                     a mistake in either ─► error::Error ─► compile_error!, at the token that is wrong
//! ```
//!
//! The parsing is by hand: the grammar is one signature and a list of `key = value`, and syn and quote would be the
//! largest packages in every user's build.

mod error;
mod expand;
mod function;
mod options;
mod template;

use proc_macro::TokenStream;

use crate::error::Error;
use crate::function::Function;
use crate::options::Options;

/// Runs an `async fn` on a runtime of its own: the entry point of a program.
///
/// Callers see the same function, except that it is no longer `async` and returns `impl Termination`. It starts a
/// runtime on the calling thread, runs the body on it, and shuts the runtime down. If the runtime cannot start, the
/// reason is printed to standard error and the program ends with status 1, whatever the function returns. Usually the
/// function is `main`, but it may have any name.
///
/// What it returns must be a [`Termination`](std::process::Termination), as for a `main` without `async`. Other
/// attributes, doc comments and the visibility are kept.
///
/// # Options
///
/// | option | what it sets | when left out |
/// | --- | --- | --- |
/// | `driver = ring`, `fallback` or `auto` | which driver services I/O; see `runtime::Choice` | the builder's own default |
/// | `cores = 4` | how many cores there are, 1 to 1024; the body runs on core 0, once; see `runtime::Builder::cores` | 1 |
/// | `entries = 256` | how many requests the submission queue holds, 1 to 32768 | the builder's own default |
/// | `crate = ::runtime` | the crate that the generated code calls, if it is re-exported elsewhere | `::runtime` |
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let answer = runtime::spawn(async { 6 * 7 }).await.expect("the task neither panics nor is aborted");
///     assert_eq!(answer, 42);
///     Ok(())
/// }
/// ```
///
/// A program that always uses the fallback, for environments where io_uring is denied:
///
/// ```
/// #[runtime::main(driver = fallback, entries = 64)]
/// async fn main() {}
/// ```
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    read(&expand::MAIN, options, item.clone())
        .and_then(|(options, function)| expand::main(&options, function))
        .unwrap_or_else(|error| error.and_empty_main(item))
}

/// Makes an `async fn` a test: `#[test]`, with a runtime around it.
///
/// Each test has its own runtime, and a watchdog that fails it if it takes too long. `#[ignore]`, `#[should_panic]`,
/// doc comments and other attributes work as they do beside `#[test]`.
///
/// # Options
///
/// | option | what it sets | when left out |
/// | --- | --- | --- |
/// | `driver = ring`, `fallback`, `simulated`, `auto` or `each` | what the test runs on | `auto` |
/// | `cores = 4` | how many cores there are, 1 to 1024; a simulated kernel's take turns on one thread | 1 |
/// | `seeds = 100` | how many schedules a simulated test is tried with, from 1; `GIMMAL_SEED` and `GIMMAL_SEEDS` override it | 16 |
/// | `watchdog = 60` | after how many seconds the test fails, from 1 | 60 |
/// | `crate = ::runtime` | the crate that the generated code calls, if it is re-exported elsewhere | `::runtime` |
///
/// With `driver = each` the test becomes a module of its name with the three tests `ring`, `fallback` and `simulated`,
/// so that each driver passes or fails on its own line. `seeds` is allowed with `simulated` and `each` only: on other
/// drivers the schedule is the kernel's, and the test runs once.
///
/// # Examples
///
/// ```
/// #[runtime::test]
/// async fn a_task_gives_back_what_it_made() {
///     assert_eq!(runtime::spawn(async { 42 }).await.unwrap(), 42);
/// }
///
/// #[runtime::test(driver = each, seeds = 100)]
/// async fn the_same_on_every_driver() -> std::io::Result<()> {
///     Ok(())
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    read(&expand::TEST, options, item)
        .and_then(|(options, function)| expand::test(&options, function))
        .unwrap_or_else(Error::into_tokens)
}

fn read(attribute: &expand::Attribute, options: TokenStream, item: TokenStream) -> Result<(Options, Function), Error> {
    let function = Function::parse(attribute.name, item)?;
    let options = Options::parse(attribute.name, attribute.options, options)?;
    Ok((options, function))
}
