//! What the command line asks for.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Printed by `--help`.
pub const USAGE: &str = "\
Serves the files of a directory over HTTP/1.1.

usage: serve [--log] [--addr ADDR:PORT] [DIR]

  DIR               the directory to serve; the current one if not given
  --addr ADDR:PORT  where to listen; 127.0.0.1:8080 if not given. Port 0 picks a free one and prints it.
                    An IPv6 address is written [::1]:8080
  --log             print one line a request: method, target, status, bytes of the body, microseconds
  --help            print this and end

Ctrl-c stops accepting and gives responses in flight a second; a second ctrl-c ends at once.
";

/// A command line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Arguments {
    /// `--help` was among them.
    Help,
    /// Serve, like this.
    Serve(Settings),
}

/// What to serve, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    pub root: PathBuf,
    pub address: SocketAddr,
    pub log: bool,
}

/// Reads the arguments that follow the program's name.
///
/// # Errors
///
/// One sentence that names the argument and what was wrong with it.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
    let mut root = None;
    let mut address = SocketAddr::from(([127, 0, 0, 1], 8080));
    let mut log = false;
    let mut only_names_follow = false;

    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--") if !only_names_follow => only_names_follow = true,
            Some("--help" | "-h") if !only_names_follow => return Ok(Arguments::Help),
            Some("--log") if !only_names_follow => log = true,
            Some("--addr") if !only_names_follow => {
                let value =
                    arguments.next().ok_or("--addr wants an address and a port after it, such as 127.0.0.1:8080")?;
                address = parse_address(&value.to_string_lossy())?;
            }
            Some(option) if !only_names_follow && option.starts_with("--addr=") => {
                address = parse_address(&option["--addr=".len()..])?;
            }
            Some(option) if !only_names_follow && option.starts_with('-') => {
                return Err(format!("unknown option {option}; --help lists those there are"));
            }
            _ if root.is_some() => {
                return Err(format!("one directory can be served; {} is a second one", argument.display()));
            }
            _ => root = Some(PathBuf::from(argument)),
        }
    }
    Ok(Arguments::Serve(Settings { root: root.unwrap_or_else(|| PathBuf::from(".")), address, log }))
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("--addr {text}: not an address and a port, such as 127.0.0.1:8080 or [::1]:8080"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parse_words(words: &[&str]) -> Result<Arguments, String> {
        parse(words.iter().map(OsString::from))
    }

    fn settings(root: &str, address: &str, log: bool) -> Arguments {
        Arguments::Serve(Settings { root: root.into(), address: address.parse().unwrap(), log })
    }

    #[test]
    fn nothing_given_serves_the_current_directory_on_8080() {
        assert_eq!(parse_words(&[]).unwrap(), settings(".", "127.0.0.1:8080", false));
    }

    #[test]
    fn options_are_read_in_any_order() {
        let expected = settings("/srv", "[::1]:0", true);
        assert_eq!(parse_words(&["--log", "--addr", "[::1]:0", "/srv"]).unwrap(), expected);
        assert_eq!(parse_words(&["/srv", "--addr=[::1]:0", "--log"]).unwrap(), expected);
    }

    #[test]
    fn a_directory_may_look_like_an_option_or_be_no_utf8() {
        assert_eq!(parse_words(&["--", "--log"]).unwrap(), settings("--log", "127.0.0.1:8080", false));
        let name = OsString::from_vec(vec![b'a', 0xff]);
        let Arguments::Serve(parsed) = parse([name.clone()]).unwrap() else { panic!("asked for help") };
        assert_eq!(parsed.root, PathBuf::from(name));
    }

    #[test]
    fn help_wins_over_what_stands_after_it() {
        assert_eq!(parse_words(&["--log", "--help", "--nonsense"]).unwrap(), Arguments::Help);
    }

    #[test]
    fn each_mistake_is_named() {
        for (words, mention) in [
            (&["--addr"][..], "--addr wants"),
            (&["--addr", "8080"], "--addr 8080"),
            (&["--addr=localhost:80"], "--addr localhost:80"),
            (&["--verbose"], "--verbose"),
            (&["a", "b"], "b is a second one"),
        ] {
            let message = parse_words(words).unwrap_err();
            assert!(message.contains(mention), "{words:?} gave {message:?}");
        }
    }
}
