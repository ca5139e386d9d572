//! The page that shows what is in a directory without an `index.html`.

use std::io::Write;

use crate::percent;

/// How many names a page shows. It says so when there are more.
pub const ENTRIES_MAX: usize = 10_000;

/// One line of the page. Names are bytes, as they are in the file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: Vec<u8>,
    pub is_directory: bool,
}

/// Writes the page of the directory at `path` (decoded, relative to the root, empty for the root), in UTF-8.
///
/// Directories come first, then by name. Bytes that are no UTF-8 are shown as U+FFFD, and are right in the link.
pub fn page(path: &[u8], mut entries: Vec<Entry>) -> Vec<u8> {
    entries.sort_unstable_by(|a, b| b.is_directory.cmp(&a.is_directory).then_with(|| a.name.cmp(&b.name)));
    let mut title = String::from("/");
    if !path.is_empty() {
        push_escaped(&mut title, path);
        title.push('/');
    }

    let mut page = Vec::with_capacity(512 + entries.len() * 80);
    page.extend_from_slice(b"<!doctype html>\n<meta charset=\"utf-8\">\n<title>");
    page.extend_from_slice(title.as_bytes());
    page.extend_from_slice(b"</title>\n<h1>");
    page.extend_from_slice(title.as_bytes());
    page.extend_from_slice(b"</h1>\n<ul>\n");
    if !path.is_empty() {
        page.extend_from_slice(b"<li><a href=\"../\">../</a>\n");
    }
    for entry in entries.iter().take(ENTRIES_MAX) {
        push_line(&mut page, entry);
    }
    page.extend_from_slice(b"</ul>\n");
    if entries.len() > ENTRIES_MAX {
        writeln!(page, "<p>More than {ENTRIES_MAX} names; the rest are not shown.").expect("a Vec takes all");
    }
    page
}

fn push_line(page: &mut Vec<u8>, entry: &Entry) {
    let slash = if entry.is_directory { "/" } else { "" };
    page.extend_from_slice(b"<li><a href=\"");
    percent::encode_component_into(page, &entry.name);
    page.extend_from_slice(slash.as_bytes());
    page.extend_from_slice(b"\">");
    let mut shown = String::with_capacity(entry.name.len());
    push_escaped(&mut shown, &entry.name);
    page.extend_from_slice(shown.as_bytes());
    page.extend_from_slice(slash.as_bytes());
    page.extend_from_slice(b"</a>\n");
}

/// Appends a name as text of a page. A name may hold anything, tags too.
fn push_escaped(out: &mut String, name: &[u8]) {
    for character in String::from_utf8_lossy(name).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // HTML has no way to write these.
            control if control.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn entry(name: impl AsRef<[u8]>, is_directory: bool) -> Entry {
        Entry { name: name.as_ref().to_vec(), is_directory }
    }

    fn text(path: &str, entries: Vec<Entry>) -> String {
        String::from_utf8(page(path.as_bytes(), entries)).unwrap()
    }

    #[test]
    fn directories_come_first_and_then_names_in_order() {
        let page = text("", vec![entry("b", false), entry("a", false), entry("z", true)]);
        let lines: Vec<_> = page.lines().filter(|line| line.starts_with("<li>")).collect();
        assert_eq!(lines, ["<li><a href=\"z/\">z/</a>", "<li><a href=\"a\">a</a>", "<li><a href=\"b\">b</a>"]);
    }

    #[test]
    fn only_the_root_has_no_way_up() {
        assert!(!text("", vec![]).contains("../"));
        assert!(text("a/b", vec![]).contains("<li><a href=\"../\">../</a>\n"));
        assert!(text("a/b", vec![]).contains("<title>/a/b/</title>"));
    }

    /// Catches: a name that is put on the page as it is; a link that is only escaped, and not encoded.
    #[test]
    fn names_are_text_and_links_stay_inside() {
        let page =
            text("<b>&", vec![entry("<script>\"'&", false), entry("javascript:x", false), entry("a?b#c%20", false)]);
        assert!(page.contains("<title>/&lt;b&gt;&amp;/</title>"), "{page}");
        assert!(page.contains("<a href=\"%3Cscript%3E%22%27%26\">&lt;script&gt;&quot;&#39;&amp;</a>"), "{page}");
        assert!(page.contains("<a href=\"javascript%3Ax\">"), "{page}");
        assert!(page.contains("<a href=\"a%3Fb%23c%2520\">"), "{page}");
    }

    #[test]
    fn a_name_that_is_no_utf8_is_shown_broken_and_linked_right() {
        let page = text("", vec![entry(b"\xffa\n", false)]);
        assert!(page.contains("<a href=\"%FFa%0A\">\u{fffd}a\u{fffd}</a>"), "{page}");
    }

    #[test]
    fn a_large_directory_is_cut_and_the_page_says_so() {
        let entries = |count| (0..count).map(|number: usize| entry(number.to_string(), false)).collect::<Vec<_>>();
        let full = text("", entries(ENTRIES_MAX));
        assert_eq!(full.matches("<li>").count(), ENTRIES_MAX);
        assert!(!full.contains("More than"));
        let cut = text("", entries(ENTRIES_MAX + 1));
        assert_eq!(cut.matches("<li>").count(), ENTRIES_MAX);
        assert!(cut.contains("More than 10000 names"));
    }

    #[test]
    fn no_name_can_open_a_tag_or_leave_its_quotes() {
        let mut chance = Chance::new();
        for _ in 0..2_000 {
            let name = chance.bytes(24);
            let page = text("", vec![entry(&name, false)]);
            let line = page.lines().find(|line| line.starts_with("<li>")).unwrap();
            let tags = (line.matches('<').count(), line.matches('>').count(), line.matches('"').count());
            assert_eq!(tags, (3, 3, 2), "{}", name.escape_ascii());
            assert!(line.ends_with("</a>"), "{}", name.escape_ascii());
        }
    }
}
