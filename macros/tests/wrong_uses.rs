//! A wrong use of an attribute is one error, in words, at the token that is wrong.

#[path = "../../runtime/tests/common/wrong_uses.rs"]
mod wrong_uses;

use wrong_uses::check;

/// Catches: an error given the span of the attribute, and `and_empty_main` left out.
#[test]
fn wrong_uses_of_main_are_told_where_they_are() {
    check("main_attribute");
}

/// Catches: `Options::parse` without its check for a key given twice, and `is_test` that is never true.
#[test]
fn wrong_uses_of_test_are_told_where_they_are() {
    check("test_attribute");
}

/// What is wrong with the types, only the compiler can say; it must say it of the user's code.
/// Catches: `returns_span` that gives the span of the attribute.
#[test]
fn a_return_type_that_does_not_fit_is_told_at_the_return_type() {
    check("types");
}
