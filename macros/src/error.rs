//! A mistake in how an attribute is used, shown where it is.

use proc_macro::{Delimiter, Group, Ident, Literal, Span, TokenStream, TokenTree};

use crate::template;

/// What is wrong, and from which token to which.
pub(crate) struct Error {
    first: Span,
    last: Span,
    message: String,
}

impl Error {
    pub(crate) fn new(at: Span, message: impl Into<String>) -> Error {
        Error { first: at, last: at, message: message.into() }
    }

    /// An error that underlines all of `tokens`, or `otherwise` where there are none.
    pub(crate) fn over(tokens: &[TokenTree], otherwise: Span, message: impl Into<String>) -> Error {
        Error {
            first: tokens.first().map_or(otherwise, TokenTree::span),
            last: tokens.last().map_or(otherwise, TokenTree::span),
            message: message.into(),
        }
    }

    /// The call of `compile_error!` that shows it.
    pub(crate) fn into_tokens(self) -> TokenStream {
        // The compiler underlines from a macro call's first token to its last, so these two carry the two ends.
        let mut message = TokenTree::from(Literal::string(&self.message));
        message.set_span(self.last);
        let mut arguments = Group::new(Delimiter::Brace, message.into());
        arguments.set_span(self.last);
        template::fill("::core::compile_error!", self.first, &[]).into_iter().chain([arguments.into()]).collect()
    }

    /// The same, and an empty `main` if `item` had that name: without one, the compiler adds that the program has no
    /// `main`, which distracts from the mistake.
    pub(crate) fn and_empty_main(self, item: TokenStream) -> TokenStream {
        let mut before = None;
        let is_main = item.into_iter().any(|token| {
            let found = is_word(before.as_ref(), "fn") && is_word(Some(&token), "main");
            before = Some(token);
            found
        });
        let mut tokens = self.into_tokens();
        if is_main {
            tokens.extend(template::fill("fn main() {}", Span::call_site(), &[]));
        }
        tokens
    }
}

/// Whether `token` is the identifier or keyword `word`.
pub(crate) fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if is_named(ident, word))
}

fn is_named(ident: &Ident, word: &str) -> bool {
    ident.to_string() == word
}
