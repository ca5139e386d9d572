//! Functions whose return types do not fit; ../wrong_uses.rs reads the comments.

/// As much of the runtime as the attribute's code needs.
mod entry {
    pub fn main<T, F>(_configure: impl FnOnce(()), _body: F) -> T
    where
        T: std::process::Termination,
        F: Future<Output = T>,
    {
        unreachable!("this program is not built")
    }
}

#[gimmal_macros::main(crate = crate)]
async fn returns_nonsense() -> String {
//                             ^ the trait bound `String: Termination` is not satisfied
    String::new()
}

#[gimmal_macros::main(crate = crate)]
async fn returns_something_else() -> Result<(), String> {
    5
//  ^ mismatched types
}

fn main() {}
