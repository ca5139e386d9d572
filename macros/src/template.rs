//! Code written as text, with places to fill in.

use proc_macro::{Group, Span, TokenStream, TokenTree};

/// Reads `text` as Rust, and puts a part where the text has its name. Names are words in capitals, such as `BODY`, so
/// that they stand out from the code and cannot be mistaken for it.
///
/// What the text says is given the place `span`, for the compiler's messages; the parts keep their own. A part is not
/// looked into, so a user's own `BODY` is left alone.
pub(crate) fn fill(text: &str, span: Span, parts: &[(&str, TokenStream)]) -> TokenStream {
    let tokens = text.parse().expect("templates are Rust, and tests expand each of them");
    fill_tokens(tokens, span, parts)
}

fn fill_tokens(tokens: TokenStream, span: Span, parts: &[(&str, TokenStream)]) -> TokenStream {
    let mut filled = TokenStream::new();
    for mut token in tokens {
        match &token {
            TokenTree::Ident(word) => {
                let word = word.to_string();
                if let Some((_, part)) = parts.iter().find(|(name, _)| *name == word) {
                    filled.extend(part.clone());
                    continue;
                }
            }
            TokenTree::Group(group) => {
                let inside = fill_tokens(group.stream(), span, parts);
                token = Group::new(group.delimiter(), inside).into();
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        token.set_span(span);
        filled.extend([token]);
    }
    filled
}
