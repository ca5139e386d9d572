//! What kind of thing a file is, by the end of its name.

/// The media type of a file with this name. `application/octet-stream`, which browsers save and never run, if the
/// extension is none we know.
///
/// Text is said to be UTF-8: without a charset browsers guess.
pub fn of(name: &[u8]) -> &'static str {
    let Some(extension) = extension(name) else {
        return UNKNOWN;
    };
    let mut lower_case = [0; EXTENSION_BYTES_MAX];
    let Some(lower_case) = lower_case.get_mut(..extension.len()) else {
        return UNKNOWN;
    };
    lower_case.copy_from_slice(extension);
    lower_case.make_ascii_lowercase();
    by_extension(lower_case)
}

const UNKNOWN: &str = "application/octet-stream";

/// The longest extension in the list below.
const EXTENSION_BYTES_MAX: usize = 11;

/// What follows the last dot of the last component. A dot at its start hides a file and begins no extension.
fn extension(name: &[u8]) -> Option<&[u8]> {
    let name = name.rsplit(|&byte| byte == b'/').next()?;
    let dot = name.iter().rposition(|&byte| byte == b'.')?;
    if dot == 0 { None } else { Some(&name[dot + 1..]) }
}

fn by_extension(lower_case: &[u8]) -> &'static str {
    match lower_case {
        b"html" | b"htm" => "text/html; charset=utf-8",
        b"css" => "text/css; charset=utf-8",
        b"js" | b"mjs" => "text/javascript; charset=utf-8",
        b"txt" | b"log" | b"rs" | b"toml" | b"c" | b"h" => "text/plain; charset=utf-8",
        b"md" => "text/markdown; charset=utf-8",
        b"csv" => "text/csv; charset=utf-8",
        b"xml" => "text/xml; charset=utf-8",

        b"json" | b"map" => "application/json",
        b"webmanifest" => "application/manifest+json",
        b"wasm" => "application/wasm",
        b"pdf" => "application/pdf",
        b"zip" => "application/zip",
        b"gz" | b"tgz" => "application/gzip",

        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"avif" => "image/avif",
        b"svg" => "image/svg+xml",
        b"ico" => "image/x-icon",

        b"mp3" => "audio/mpeg",
        b"ogg" => "audio/ogg",
        b"flac" => "audio/flac",
        b"wav" => "audio/wav",
        b"mp4" => "video/mp4",
        b"webm" => "video/webm",

        b"woff" => "font/woff",
        b"woff2" => "font/woff2",
        b"ttf" => "font/ttf",
        b"otf" => "font/otf",
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn the_end_of_the_name_decides_in_either_case() {
        assert_eq!(of(b"index.html"), "text/html; charset=utf-8");
        assert_eq!(of(b"a/b.c/PHOTO.JPeG"), "image/jpeg");
        assert_eq!(of(b"archive.tar.gz"), "application/gzip");
        assert_eq!(of(b"app.webmanifest"), "application/manifest+json");
    }

    #[test]
    fn what_has_no_extension_or_a_strange_one_is_bytes() {
        for name in
            [&b""[..], b"README", b".html", b"dir.html/", b"dir.html/file", b"a.", b"a.html2", b"a.webmanifests"]
        {
            assert_eq!(of(name), UNKNOWN, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn no_name_makes_it_panic() {
        let mut chance = Chance::new();
        for _ in 0..10_000 {
            let count = chance.below(8);
            let name = chance.salad(&[b".", b"/", b"html", b"x", b"\xff", b"\0", b"webmanifest"], count);
            assert!(of(&name).contains('/'));
        }
    }
}
