//! Which ops there are: read from the runtime's sources, so that a new one is missed here the day it comes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every struct that is an op, and every function of `call`, by the names that rows have.
pub fn ops() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut ops = BTreeSet::new();
    for path in rust_files(&source.join("op")).into_iter().chain([source.join("op.rs")]) {
        ops.extend(read(&path).lines().filter_map(op_of));
    }
    let calls = read(&source.join("call.rs"));
    ops.extend(calls.lines().filter_map(function_of).map(|name| format!("call::{name}")));
    ops
}

/// `Read` for `impl<B: IoBufMut> Op for Read<B> {`.
fn op_of(line: &str) -> Option<String> {
    let (_, name) = line.strip_prefix("impl")?.split_once(" Op for ")?;
    Some(name_in(name))
}

/// `bind` for `pub fn bind(fd: …`, also for an asynchronous one.
fn function_of(line: &str) -> Option<String> {
    let signature = line.strip_prefix("pub fn ").or_else(|| line.strip_prefix("pub async fn "))?;
    Some(name_in(signature))
}

fn name_in(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn ops_and_functions_are_found_by_their_first_line() {
    let names = |line: &str| (op_of(line), function_of(line));
    assert_eq!(names("impl<B: IoBufMut> Op for Read<B> {"), (Some("Read".into()), None));
    assert_eq!(names("impl StreamOp for AcceptMany {"), (None, None));
    assert_eq!(
        names("pub fn set_option(fd: &SharedFd, option: SocketOption) -> io::Result<()> {").1,
        Some("set_option".into())
    );
    assert_eq!(names("fn now(mut request: Request<'_>) -> io::Result<Reply> {"), (None, None));
    assert!(ops().contains("Nop") && ops().contains("PollMany") && ops().contains("call::try_read"), "{:?}", ops());
}
