//! From a request's target to a path below the root, or to none.
//!
//! This is the first of two fences. Here nothing leaves that climbs (`..`), is absolute, or names a file in two ways.
//! The second fence is the kernel's: the file is opened by `openat2(2)` with `RESOLVE_BENEATH`, which also stops
//! symbolic links. Links aside, either alone keeps the server inside its root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::percent;
use crate::status::Status;

/// A path relative to the root: components of at least one byte, none of them `.` or `..`, none with a `/` or a NUL.
#[derive(Debug, PartialEq, Eq)]
pub struct SafePath {
    /// The components joined by `/`, with no slash at either end; empty for the root.
    relative: Vec<u8>,
    ends_with_slash: bool,
}

impl SafePath {
    /// Reads the target of a request line, in origin form (`/a/b?query`) or absolute form (`http://host/a/b`).
    ///
    /// # Errors
    ///
    /// [`Status::BadRequest`] if it is neither, or if a `%` is followed by no number. [`Status::NotFound`] for what
    /// can't be a name in the tree: empty components, `.` and `..`, and a `/` or a NUL that came encoded. So a file has
    /// one address only, and no redirect of ours begins with `//`, which would lead to another host.
    pub fn from_target(target: &str) -> Result<Self, Status> {
        let (path, _) = split_target(target)?;
        let Some(below_root) = path.strip_prefix('/') else {
            return Err(Status::BadRequest);
        };
        if below_root.is_empty() {
            return Ok(Self { relative: Vec::new(), ends_with_slash: true });
        }
        let (components, ends_with_slash) = match below_root.strip_suffix('/') {
            Some(components) => (components, true),
            None => (below_root, false),
        };
        let mut relative = Vec::with_capacity(components.len());
        for component in components.split('/') {
            if !relative.is_empty() {
                relative.push(b'/');
            }
            let start = relative.len();
            percent::decode_into(&mut relative, component.as_bytes())
                .map_err(|percent::Malformed| Status::BadRequest)?;
            if !is_name(&relative[start..]) {
                return Err(Status::NotFound);
            }
        }
        Ok(Self { relative, ends_with_slash })
    }

    /// The path to open below the root; `.` for the root itself.
    pub fn as_path(&self) -> &Path {
        let relative: &[u8] = if self.relative.is_empty() { b"." } else { &self.relative };
        Path::new(OsStr::from_bytes(relative))
    }

    /// The bytes that the client asked for, decoded: what a listing shows as its title, and what ends in an extension.
    pub fn as_bytes(&self) -> &[u8] {
        &self.relative
    }

    /// Whether the client asked for a directory, by a slash at the end. The root always is.
    pub fn ends_with_slash(&self) -> bool {
        self.ends_with_slash
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.relative.is_empty()
    }

    /// Where a client goes that asked for a directory without a slash: links on the page are relative to it.
    ///
    /// Made from the decoded components, so that nothing of the target gets into a header as it was sent, the query
    /// excepted: the parser has let neither spaces nor control characters into that.
    pub fn directory_url(&self, target: &str) -> Vec<u8> {
        let mut url = Vec::with_capacity(self.relative.len() + 2);
        url.push(b'/');
        if !self.is_root() {
            for component in self.relative.split(|&byte| byte == b'/') {
                percent::encode_component_into(&mut url, component);
                url.push(b'/');
            }
        }
        if let Ok((_, Some(query))) = split_target(target) {
            url.push(b'?');
            url.extend_from_slice(query.as_bytes());
        }
        url
    }
}

/// The path of a target, and its query.
fn split_target(target: &str) -> Result<(&str, Option<&str>), Status> {
    let origin_form = if target.starts_with('/') { target } else { without_authority(target)? };
    let (path, query) = match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    // A fragment is never sent by a client that follows the rules; to guess what one means invites two readings.
    if path.contains('#') { Err(Status::BadRequest) } else { Ok((path, query)) }
}

/// What follows the host in an absolute target: empty, or from its first `/` or `?` on.
fn without_authority(target: &str) -> Result<&str, Status> {
    let (scheme, rest) = target.split_once("://").ok_or(Status::BadRequest)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Status::BadRequest);
    }
    let authority_length = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if authority_length == 0 { Err(Status::BadRequest) } else { Ok(&rest[authority_length..]) }
}

fn is_name(component: &[u8]) -> bool {
    !matches!(component, b"" | b"." | b"..") && !component.iter().any(|byte| matches!(byte, b'/' | 0))
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use super::*;
    use crate::chance::Chance;

    fn relative(target: &str) -> Result<String, Status> {
        SafePath::from_target(target).map(|path| path.as_path().to_str().unwrap().to_owned())
    }

    #[test]
    fn the_root_is_a_directory_in_every_form() {
        for target in ["/", "/?x", "http://host", "http://host/", "HTTPS://host?x=/../"] {
            let path = SafePath::from_target(target).unwrap();
            assert!(path.is_root() && path.ends_with_slash(), "{target}");
            assert_eq!(path.as_path(), Path::new("."), "{target}");
            assert_eq!(path.as_bytes(), b"", "{target}");
        }
    }

    #[test]
    fn a_path_loses_its_query_and_its_encoding() {
        assert_eq!(relative("/a/b%20c.txt?d=../e").unwrap(), "a/b c.txt");
        assert_eq!(relative("http://host:80/a/b").unwrap(), "a/b");
        assert_eq!(relative("/...").unwrap(), "...");
        assert_eq!(relative("/.hidden/a..b").unwrap(), ".hidden/a..b");
        assert_eq!(relative("/a+b").unwrap(), "a+b");
        assert_eq!(SafePath::from_target("/%ff").unwrap().as_bytes(), b"\xff");
    }

    #[test]
    fn a_slash_at_the_end_asks_for_a_directory() {
        let with = SafePath::from_target("/a/b/").unwrap();
        let without = SafePath::from_target("/a/b").unwrap();
        assert!(with.ends_with_slash() && !without.ends_with_slash());
        assert_eq!(with.as_bytes(), without.as_bytes());
    }

    /// Catches: an `is_name` that lets `..` pass; one that looks at the component before it is decoded; one that does
    /// not look for an encoded slash.
    #[test]
    fn nothing_that_climbs_or_hides_becomes_a_path() {
        for target in [
            "/..",
            "/../",
            "/../etc/passwd",
            "/a/../../etc/passwd",
            "/a/..",
            "/.",
            "/a/./b",
            "/%2e%2e/etc/passwd",
            "/%2E%2e/",
            "/.%2e/",
            "/%2e./",
            "/%2e",
            "/..%2f..%2fetc%2fpasswd",
            "/a%2f..%2fb",
            "/a%2Fb",
            "/%2fetc/passwd",
            "/%2f",
            "/a%00.txt",
            "/%00",
            "//",
            "//etc/passwd",
            "/a//b",
            "/a//",
            "http://host//etc/passwd",
        ] {
            assert_eq!(SafePath::from_target(target), Err(Status::NotFound), "{target}");
        }
    }

    /// Catches: decoding twice.
    #[test]
    fn what_is_encoded_twice_is_a_strange_name_and_not_a_climb() {
        assert_eq!(relative("/%252e%252e/a").unwrap(), "%2e%2e/a");
        assert_eq!(relative("/..%252fa").unwrap(), "..%2fa");
    }

    #[test]
    fn what_is_no_path_at_all_is_a_bad_request() {
        for target in ["", "*", "a/b", "host:80", "ftp://host/a", "://host/", "http:///a", "/a%", "/%zz", "/a#b", "\\a"]
        {
            assert_eq!(SafePath::from_target(target), Err(Status::BadRequest), "{target}");
        }
    }

    #[test]
    fn a_redirect_is_encoded_anew_and_keeps_the_query() {
        let url =
            |target: &str| String::from_utf8(SafePath::from_target(target).unwrap().directory_url(target)).unwrap();
        assert_eq!(url("/a/b"), "/a/b/");
        assert_eq!(url("/a%20b?c=d&e"), "/a%20b/?c=d&e");
        assert_eq!(url("http://elsewhere/a?"), "/a/?");
        assert_eq!(url("/%5cevil.example"), "/%5Cevil.example/");
        assert_eq!(url("/\\evil.example"), "/%5Cevil.example/");
        assert_eq!(url("/%0d%0aSet-Cookie:x"), "/%0D%0ASet-Cookie%3Ax/");
        assert_eq!(url("/"), "/");
    }

    /// Catches: any of the mutations above, without knowing which.
    #[test]
    fn whatever_is_sent_a_path_that_comes_out_has_plain_names_only() {
        const PARTS: &[&[u8]] = &[
            b"/",
            b"/",
            b"..",
            b".",
            b"%2e",
            b"%2f",
            b"%2F",
            b"%5c",
            b"%00",
            b"%",
            b"%25",
            b"2e",
            b"a",
            b"\\",
            b"?",
            b"#",
            b"http://",
            b"h",
            "é".as_bytes(),
            b"%ff",
        ];
        let mut chance = Chance::new();
        let mut accepted = 0;
        for _ in 0..50_000 {
            let count = chance.below(9);
            let mut target = if chance.below(4) > 0 { String::from("/") } else { String::new() };
            target.push_str(std::str::from_utf8(&chance.salad(PARTS, count)).unwrap());
            let Ok(path) = SafePath::from_target(&target) else {
                continue;
            };
            accepted += 1;
            assert!(!path.as_path().is_absolute(), "{target}");
            assert!(!path.as_bytes().contains(&0), "{target}");
            let names = path.as_path().components().filter(|part| matches!(part, Component::Normal(_))).count();
            let slashes = path.as_bytes().iter().filter(|&&byte| byte == b'/').count();
            assert_eq!(names, if path.is_root() { 0 } else { slashes + 1 }, "{target}");
            let url = path.directory_url(&target);
            assert!(url[0] == b'/' && url.get(1) != Some(&b'/'), "{target}");
            assert!(!path.as_path().components().any(|part| part == Component::ParentDir), "{target}");
        }
        assert!(accepted > 1_000, "{accepted} of the random targets were paths: too few to have tried anything");
    }
}
