//! The function under an attribute: `async fn name() -> RET { … }`, taken apart.

use std::iter::Peekable;

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree, token_stream};

use crate::error::{Error, is_word};

/// An `async fn` without arguments or generics.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: TokenStream,
    pub(crate) name: Ident,
    /// `-> RET`, or nothing.
    pub(crate) returns: TokenStream,
    /// The braces and what is in them.
    pub(crate) body: TokenStream,
}

impl Function {
    /// Takes `item` apart; `attribute` is how messages name who wants it so.
    pub(crate) fn parse(attribute: &str, item: TokenStream) -> Result<Function, Error> {
        let mut tokens = item.into_iter().peekable();
        let attributes = parse_attributes(&mut tokens);
        let visibility = parse_visibility(&mut tokens);
        parse_qualifiers(attribute, &mut tokens)?;
        let name = match tokens.next() {
            Some(TokenTree::Ident(name)) => name,
            _ => return Err(not_a_function(attribute, Span::call_site())),
        };
        parse_no_arguments(attribute, &name, &mut tokens)?;
        let (returns, body) = parse_returns_and_body(attribute, &name, tokens.collect())?;
        Ok(Function { attributes, visibility, name, returns, body })
    }

    /// Where the return type stands, or the name if there is none: the place for complaints about what comes back.
    pub(crate) fn returns_span(&self) -> Span {
        self.returns.clone().into_iter().nth(2).map_or(self.name.span(), |token| token.span())
    }

    /// Whether the function returns `()`, said or left out. `#[should_panic]` allows nothing else.
    pub(crate) fn returns_unit(&self) -> bool {
        let mut after_arrow = self.returns.clone().into_iter().skip(2);
        match (after_arrow.next(), after_arrow.next()) {
            (None, _) => true,
            (Some(TokenTree::Group(group)), None) => {
                group.delimiter() == Delimiter::Parenthesis && group.stream().is_empty()
            }
            _ => false,
        }
    }
}

/// One `#[…]` of the function; doc comments are attributes too.
pub(crate) struct Attribute {
    sign: TokenTree,
    brackets: Group,
}

impl Attribute {
    pub(crate) fn tokens(&self) -> TokenStream {
        [self.sign.clone(), self.brackets.clone().into()].into_iter().collect()
    }

    pub(crate) fn span(&self) -> Span {
        self.brackets.span()
    }

    pub(crate) fn is_doc(&self) -> bool {
        self.starts_with("doc")
    }

    pub(crate) fn is_cfg(&self) -> bool {
        self.starts_with("cfg")
    }

    /// Whether it is `#[test]` itself.
    pub(crate) fn is_test(&self) -> bool {
        self.starts_with("test") && self.brackets.stream().into_iter().count() == 1
    }

    /// Whether it speaks to the test harness: `#[ignore]` and `#[should_panic]`, also when a `cfg_attr` holds them.
    pub(crate) fn is_for_the_harness(&self) -> bool {
        let named = |token: &TokenTree| is_word(Some(token), "ignore") || is_word(Some(token), "should_panic");
        let mut words = self.brackets.stream().into_iter();
        match words.next() {
            Some(first) if is_word(Some(&first), "cfg_attr") => words.any(|token| match token {
                TokenTree::Group(group) => group.stream().into_iter().any(|token| named(&token)),
                _ => false,
            }),
            Some(first) => named(&first),
            None => false,
        }
    }

    fn starts_with(&self, word: &str) -> bool {
        is_word(self.brackets.stream().into_iter().next().as_ref(), word)
    }
}

type Tokens = Peekable<token_stream::IntoIter>;

fn parse_attributes(tokens: &mut Tokens) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    while let Some(sign) = tokens.next_if(|token| matches!(token, TokenTree::Punct(sign) if sign.as_char() == '#')) {
        if let Some(TokenTree::Group(brackets)) = tokens.next() {
            attributes.push(Attribute { sign, brackets });
        }
    }
    attributes
}

fn parse_visibility(tokens: &mut Tokens) -> TokenStream {
    let mut visibility = TokenStream::new();
    // A `$vis` of macro_rules arrives as one group without delimiters, and empty for a private function.
    if let Some(captured) = tokens.next_if(|token| is_group(token, Delimiter::None)) {
        visibility.extend([captured]);
    } else if let Some(public) = tokens.next_if(|token| is_word(Some(token), "pub")) {
        visibility.extend([public]);
        visibility.extend(tokens.next_if(|token| is_group(token, Delimiter::Parenthesis)));
    }
    visibility
}

/// Reads up to and with `fn`.
fn parse_qualifiers(attribute: &str, tokens: &mut Tokens) -> Result<(), Error> {
    let start = tokens.peek().map_or_else(Span::call_site, TokenTree::span);
    let mut qualifiers = Vec::new();
    loop {
        match tokens.next() {
            Some(keyword) if is_word(Some(&keyword), "fn") => {
                return check_qualifiers(attribute, &qualifiers, &keyword);
            }
            Some(TokenTree::Ident(word)) => qualifiers.push(word),
            Some(TokenTree::Literal(_)) if !qualifiers.is_empty() => {} // the "C" of `extern "C"`
            _ => return Err(not_a_function(attribute, start)),
        }
    }
}

fn check_qualifiers(attribute: &str, qualifiers: &[Ident], keyword: &TokenTree) -> Result<(), Error> {
    if let Some(unfit) = qualifiers.iter().find(|word| word.to_string() != "async") {
        return Err(Error::new(unfit.span(), format!("a function with {attribute} cannot be `{unfit}`")));
    }
    if qualifiers.is_empty() {
        let message = format!("{attribute} wants an `async fn`: write `async` before `fn`");
        return Err(Error::new(keyword.span(), message));
    }
    Ok(())
}

fn parse_no_arguments(attribute: &str, name: &Ident, tokens: &mut Tokens) -> Result<(), Error> {
    match tokens.next() {
        Some(TokenTree::Group(arguments)) if arguments.delimiter() == Delimiter::Parenthesis => {
            let given: Vec<_> = arguments.stream().into_iter().collect();
            if given.is_empty() {
                return Ok(());
            }
            let message = format!("a function with {attribute} takes no arguments: nobody is there to give them");
            Err(Error::over(&given, arguments.span(), message))
        }
        Some(other) => Err(generic(attribute, other.span())),
        None => Err(not_a_function(attribute, name.span())),
    }
}

/// The body is the last token, since a return type may have braces of its own (`Matrix<{ ROWS }>`).
fn parse_returns_and_body(
    attribute: &str,
    name: &Ident,
    mut rest: Vec<TokenTree>,
) -> Result<(TokenStream, TokenStream), Error> {
    if let Some(clause) = rest.iter().find(|token| is_word(Some(token), "where")) {
        return Err(generic(attribute, clause.span()));
    }
    match rest.pop() {
        // A `$body:block` of macro_rules has its braces inside a group without delimiters.
        Some(body) if is_group(&body, Delimiter::Brace) || is_group(&body, Delimiter::None) => {
            Ok((rest.into_iter().collect(), body.into()))
        }
        _ => Err(Error::new(name.span(), format!("a function with {attribute} needs a body"))),
    }
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

fn not_a_function(attribute: &str, at: Span) -> Error {
    Error::new(at, format!("{attribute} goes on an `async fn`, and this is something else"))
}

fn generic(attribute: &str, at: Span) -> Error {
    let message = format!("a function with {attribute} cannot be generic: nobody is there to choose the types");
    Error::new(at, message)
}
