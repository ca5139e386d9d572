//! The options of an attribute: `key = value, key = value`.

use std::ops::RangeInclusive;

use proc_macro::{Ident, Punct, Spacing, Span, TokenStream, TokenTree};

use crate::error::{Error, is_word};

/// What was given, each key at most once and known to the attribute.
pub(crate) struct Options {
    given: Vec<Given>,
}

struct Given {
    key: Ident,
    value: Vec<TokenTree>,
}

/// A word that an option takes, and what it is called in the runtime.
pub(crate) type Word = (&'static str, &'static str);

impl Options {
    /// Reads the tokens in the attribute's parentheses. `attribute` is its name in messages, `known` its keys.
    pub(crate) fn parse(attribute: &str, known: &[&str], tokens: TokenStream) -> Result<Options, Error> {
        let mut given: Vec<Given> = Vec::new();
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut options = tokens.split(|token| is_sign(token, ',')).peekable();
        while let Some(option) = options.next() {
            // Nothing after the last comma, or between the parentheses, is in order.
            if option.is_empty() && options.peek().is_none() {
                break;
            }
            let option = parse_option(attribute, known, option)?;
            if given.iter().any(|earlier| earlier.key.to_string() == option.key.to_string()) {
                return Err(Error::new(option.key.span(), format!("`{}` is given twice", option.key)));
            }
            given.push(option);
        }
        Ok(Options { given })
    }

    /// Where `key` was written, if it was.
    pub(crate) fn key_span(&self, key: &str) -> Option<Span> {
        self.find(key).map(|option| option.key.span())
    }

    /// The value of `key`, one of `words`, as the runtime calls it.
    pub(crate) fn word(&self, key: &str, words: &[Word]) -> Result<Option<&'static str>, Error> {
        let Some(option) = self.find(key) else {
            return Ok(None);
        };
        let chosen = match option.value.as_slice() {
            [given @ TokenTree::Ident(_)] => words.iter().find(|(name, _)| is_word(Some(given), name)),
            _ => None,
        };
        match chosen {
            Some((_, called)) => Ok(Some(called)),
            None => {
                let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
                Err(option.wants(&format!("one of {}", names.join(", "))))
            }
        }
    }

    /// The value of `key`, a whole number in `range`.
    pub(crate) fn number(&self, key: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Error> {
        let Some(option) = self.find(key) else {
            return Ok(None);
        };
        let number = match option.value.as_slice() {
            [TokenTree::Literal(literal)] => literal.to_string().replace('_', "").parse().ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(option.wants(&format!("a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// The path to the runtime's crate. It must mean the same in every module, since the written code may stand in
    /// another one than the attribute.
    pub(crate) fn runtime_path(&self) -> Result<TokenStream, Error> {
        let Some(option) = self.find("crate") else {
            return Ok("::runtime".parse().expect("this is a path"));
        };
        let starts_at_a_root = match option.value.as_slice() {
            [first, ..] => is_word(Some(first), "crate") || is_word(Some(first), "$crate") || is_sign(first, ':'),
            [] => false,
        };
        if starts_at_a_root && is_path(&option.value) {
            return Ok(option.value.iter().cloned().collect());
        }
        Err(option.wants("a path from a root, such as ::runtime or crate::reexports::runtime"))
    }

    fn find(&self, key: &str) -> Option<&Given> {
        self.given.iter().find(|option| option.key.to_string() == key)
    }
}

impl Given {
    fn wants(&self, what: &str) -> Error {
        Error::over(&self.value, self.key.span(), format!("`{}` wants {what}", self.key))
    }
}

fn parse_option(attribute: &str, known: &[&str], option: &[TokenTree]) -> Result<Given, Error> {
    let [TokenTree::Ident(key), rest @ ..] = option else {
        let message = format!("{attribute} takes options of the form `key = value`, with a comma between them");
        return Err(Error::over(option, Span::call_site(), message));
    };
    if !known.iter().any(|name| *name == key.to_string()) {
        let message = format!("{attribute} has no option `{key}`; it has {}", known.join(", "));
        return Err(Error::new(key.span(), message));
    }
    match rest {
        [sign, value @ ..] if is_sign(sign, '=') && !value.is_empty() => {
            Ok(Given { key: key.clone(), value: value.to_vec() })
        }
        _ => Err(Error::over(option, key.span(), format!("`{key}` needs a value: write `{key} = …`"))),
    }
}

/// Whether `tokens` are names with `::` between them, perhaps one more before the first.
fn is_path(tokens: &[TokenTree]) -> bool {
    let tokens = match tokens {
        [first, second, rest @ ..] if is_sign(first, ':') && is_sign(second, ':') => rest,
        all => all,
    };
    // A name, then `::` and a name for each further segment, `::` being two tokens.
    tokens.len() % 3 == 1
        && tokens.iter().enumerate().all(|(position, token)| match (position % 3, token) {
            (0, TokenTree::Ident(_)) => true,
            (1, TokenTree::Punct(sign)) => is_first_of_two_colons(sign),
            (2, token) => is_sign(token, ':'),
            _ => false,
        })
}

fn is_first_of_two_colons(sign: &Punct) -> bool {
    sign.as_char() == ':' && sign.spacing() == Spacing::Joint
}

fn is_sign(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}
