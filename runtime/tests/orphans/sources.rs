//! Which ops there are, read from the sources.

use std::fs;
use std::path::Path;

/// The names of all types in the runtime's `op` that are ops.
pub fn ops() -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut ops = ops_in(&fs::read_to_string(source.join("op.rs")).unwrap());
    let mut folders = vec![source.join("op")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("the families' files").map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                ops.extend(ops_in(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(["Nop", "Read", "Close"].iter().all(|known| ops.iter().any(|op| op == known)), "not all is found: {ops:?}");
    ops
}

fn ops_in(text: &str) -> Vec<String> {
    let op_of = |line: &str| {
        let (head, ty) = line.split_once(" Op for ")?;
        let name = ty.split(['<', ' ']).next()?;
        head.starts_with("impl").then(|| name.to_owned())
    };
    text.lines().filter_map(op_of).collect()
}

#[test]
fn implementations_of_op_are_found_and_nothing_else() {
    let text = "impl Op for One {\nimpl<B: IoBufMut> Op for Two<B> {\nimpl StreamOp for Three {\n// impl Op for Four";
    assert_eq!(ops_in(text), ["One", "Two"]);
}
