//! Where io_uring is denied, missing or too dear, a runtime serves all the same, or says what is wrong and what helps.

#[path = "../common/bounded.rs"]
mod bounded;
#[path = "../common/child.rs"]
mod child;
#[path = "../common/counted.rs"]
mod counted;
mod denials;
#[path = "../common/denied.rs"]
mod denied;
#[path = "../common/descriptors.rs"]
mod descriptors;
mod echo;
mod limits;
#[path = "../common/logged.rs"]
mod logged;
mod lost;
mod threads;

/// Whether this is the child, in which a ring may be denied that its parent has.
fn is_child() -> bool {
    std::env::var_os(child::CASE).is_some()
}
