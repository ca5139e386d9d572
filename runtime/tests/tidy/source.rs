//! A file as the rules read it: its text, and in Rust, code and comments apart.
//!
//! ```text
//!  text       let x = "unsafe"; // unsafe?
//!  code       let x =         ;
//!  comments                     // unsafe?
//! ```
//!
//! All three are equally long and break lines at the same places, so a position in one is a position in all.

use std::fmt;

/// One file.
pub struct Source {
    /// From the workspace's root.
    pub path: String,
    pub text: String,
    /// Without comments, and without what stands in quotes.
    pub code: String,
    /// Without code, and without what stands in quotes.
    pub comments: String,
}

impl Source {
    pub fn new(path: &str, text: String) -> Source {
        let (code, comments) = if path.ends_with(".rs") { split(&text) } else { (String::new(), String::new()) };
        Source { path: path.to_owned(), text, code, comments }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is part of a package's library: no test, example or benchmark.
    pub fn is_library(&self) -> bool {
        self.is_rust()
            && self.path.split('/').nth(1) == Some("src")
            && !["examples", "benches"].contains(&self.package())
    }

    /// The folder of its package.
    pub fn package(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// The code before the module of unit tests, which stands last by custom; nothing where the file is such a module.
    pub fn code_without_tests(&self) -> &str {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        let conditions = self.code.match_indices("#[cfg(").map(|(at, _)| at);
        let tests = conditions.into_iter().find(|&at| starts_a_module_of_tests(&self.code[at..]));
        &self.code[..tests.unwrap_or(self.code.len())]
    }

    /// Where `word` stands in `view`, one of this file's three, and is not part of a longer name.
    pub fn positions(view: &str, word: &str) -> Vec<usize> {
        let in_name = |character: Option<char>| character.is_some_and(is_in_name);
        let stands_alone = |at: usize| {
            let before = in_name(view[..at].chars().next_back()) && word.starts_with(is_in_name);
            let after = in_name(view[at + word.len()..].chars().next()) && word.ends_with(is_in_name);
            !before && !after
        };
        view.match_indices(word).map(|(at, _)| at).filter(|&at| stands_alone(at)).collect()
    }

    /// The names in the code, and where they start.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        let starts = self.code.char_indices().scan(false, |inside, (at, character)| {
            let starts = is_in_name(character) && !*inside;
            *inside = is_in_name(character);
            Some((at, starts))
        });
        starts.filter(|&(_, starts)| starts).map(|(at, _)| (at, name_at(&self.code, at)))
    }

    /// The lines' count up to `position`, as editors count.
    pub fn line(&self, position: usize) -> usize {
        1 + self.text.as_bytes()[..position].iter().filter(|&&byte| byte == b'\n').count()
    }

    pub fn finding(&self, position: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: self.line(position), message: message.into() }
    }
}

/// What a rule found: where, what, and what to do about it.
#[derive(Debug)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub message: String,
}

impl Finding {
    /// About the list of exceptions in the rule's own file.
    pub fn of_an_exception(rule_file: &str, message: impl Into<String>) -> Finding {
        Finding { path: format!("runtime/tests/tidy/{rule_file}"), line: 1, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Whether `code` is `#[cfg(test)] mod name {`, or has more conditions. A module in a file of its own is no end.
fn starts_a_module_of_tests(code: &str) -> bool {
    let Some((condition, item)) = code.split_once(']') else {
        return false;
    };
    let Some(module) = item.trim_start().strip_prefix("mod ") else {
        return false;
    };
    let name = name_at(module, 0);
    !Source::positions(condition, "test").is_empty() && module[name.len()..].trim_start().starts_with('{')
}

/// The name that starts at `position` of `code`; empty where none does.
pub fn name_at(code: &str, position: usize) -> &str {
    let rest = &code[position..];
    &rest[..rest.find(|character| !is_in_name(character)).unwrap_or(rest.len())]
}

fn is_in_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

enum Kind {
    Code,
    Comment,
    Quoted,
}

/// Takes Rust apart into code and comments.
fn split(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    while at < text.len() {
        let (kind, len) = next_piece(text, at);
        let piece = &text[at..at + len];
        // What is left out is as long in bytes, and keeps its line breaks.
        let blank = piece.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' });
        match kind {
            Kind::Code => {
                code.push_str(piece);
                comments.extend(blank);
            }
            Kind::Comment => {
                comments.push_str(piece);
                code.extend(blank);
            }
            Kind::Quoted => {
                comments.extend(blank.clone());
                code.extend(blank);
            }
        }
        at += len;
    }
    (code, comments)
}

/// What starts at byte `at`, and how many bytes it has: a comment, a quotation, or one character of code.
fn next_piece(text: &str, at: usize) -> (Kind, usize) {
    let rest = &text[at..];
    let mut characters = rest.chars();
    let first = characters.next().expect("callers stop at the end");
    let starts_a_name = !text[..at].ends_with(is_in_name);
    match first {
        '/' if rest.starts_with("//") => (Kind::Comment, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (Kind::Comment, block_comment_len(rest)),
        '"' => (Kind::Quoted, quoted_len(rest, '"')),
        'r' | 'b' | 'c' if starts_a_name && let Some(len) = raw_string_len(rest) => (Kind::Quoted, len),
        '\'' if is_character(rest) => (Kind::Quoted, quoted_len(rest, '\'')),
        _ => (Kind::Code, first.len_utf8()),
    }
}

/// Block comments nest.
fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0;
    for (at, _) in rest.char_indices() {
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else if rest[..at].ends_with("*/") && at > 3 {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    rest.len()
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"`, `br#"…"#` and the like.
fn raw_string_len(rest: &str) -> Option<usize> {
    let after_prefix = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let content = after_prefix.trim_start_matches('#');
    let hashes = after_prefix.len() - content.len();
    let content = content.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - content.len();
    Some(content.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// Whether a `'` starts a character, and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    characters.next() == Some('\\') || characters.next() == Some('\'')
}

#[test]
fn code_and_comments_come_apart() {
    let text = concat!(
        "let a = \"// \\\" unsafe\"; // \"b\"\n",
        "fn f<'a>(x: &'a u8) { /* one /* two */ unsafe */ g('\"', '\\'', b'x', r#\"un\"safe\"#) }\n",
        "let r = r\"\\\"; let é = 'é';\n",
    );
    let source = Source::new("a.rs", text.to_owned());
    let code: Vec<_> = source.code.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = ["let a = ;", "fn f<'a>(x: &'a u8) { g( , , b , ) }", "let r = ; let é = ;"];
    assert_eq!(code, expected);
    let comments: Vec<_> = source.comments.lines().map(str::trim).collect();
    assert_eq!(comments, ["// \"b\"", "/* one /* two */ unsafe */", ""]);
    assert_eq!((source.code.len(), source.comments.len()), (text.len(), text.len()));
}

#[test]
fn a_name_is_found_whole_or_not_at_all() {
    assert_eq!(Source::positions("unsafe unsafe_code my_unsafe (unsafe)", "unsafe"), [0, 30]);
    let source = Source::new("a.rs", "a::b_2(c)".to_owned());
    assert_eq!(source.names().collect::<Vec<_>>(), [(0, "a"), (3, "b_2"), (7, "c")]);
}

#[test]
fn unit_tests_are_cut_off() {
    let before = "#[cfg(test)]\nmod elsewhere;\n#[cfg(target_os = \"a\")]\nmod a {}\n";
    for condition in ["#[cfg(test)]", "#[cfg(all(test, not(loom)))]"] {
        let source = Source::new("runtime/src/a.rs", format!("{before}{condition}\nmod tests {{\n}}\n"));
        assert_eq!(source.code_without_tests(), &source.code[..before.len()]);
    }
    let text = "fn f() {}";
    assert_eq!(Source::new("runtime/src/a/tests.rs", text.to_owned()).code_without_tests(), "");
}
