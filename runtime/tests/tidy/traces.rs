//! What is built from these files depends on them alone, so nothing in them tells where somebody works.

use crate::source::{Finding, Source};

/// Absolute folders of people and of build machines. In two parts each, since this file is read too.
const FOLDERS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// How settings that send cargo elsewhere are recognised; see `FOLDERS` for the parts.
const OTHER_REGISTRIES: [&str; 4] = [
    concat!("spar", "se+"),
    concat!("replace", "-with"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
];

const PUBLIC_REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// No path that only one machine has.
pub fn no_folders_of_a_build_machine(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for folder in FOLDERS {
            for (position, _) in source.text.match_indices(folder) {
                if is_absolute(&source.text[..position]) {
                    let message =
                        format!("`{folder}…` exists on one machine: use a relative path or a temporary folder");
                    findings.push(source.finding(position, message));
                }
            }
        }
    }
    findings
}

/// Whether a path that starts after `before` starts there indeed, and is not the rest of a longer one.
fn is_absolute(before: &str) -> bool {
    !before.ends_with(|character: char| character.is_alphanumeric() || "._-~/}".contains(character))
}

/// No file names another registry than the public one, and the lock file takes all from it.
pub fn packages_come_from_the_public_registry(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for sign in OTHER_REGISTRIES {
            for (position, _) in source.text.match_indices(sign) {
                let message = format!("`{sign}` leads to somebody's own registry: settings for it belong outside");
                findings.push(source.finding(position, message));
            }
        }
        if source.path.ends_with("Cargo.lock") {
            findings.extend(foreign_packages(source));
        }
    }
    findings
}

fn foreign_packages(lock: &Source) -> impl Iterator<Item = Finding> {
    let foreign =
        lock.text.lines().enumerate().filter(|(_, line)| line.starts_with("source = ") && *line != PUBLIC_REGISTRY);
    foreign.map(|(index, line)| Finding {
        path: lock.path.clone(),
        line: index + 1,
        message: format!("{line}: take the package from the public registry"),
    })
}

#[test]
fn folders_of_a_build_machine_are_found() {
    let lines = |text: &str| -> Vec<usize> {
        let findings = no_folders_of_a_build_machine(&[Source::new("a.toml", text.to_owned())]);
        findings.iter().map(|finding| finding.line).collect()
    };
    let text = FOLDERS.map(|folder| format!("path = \"{folder}me/x\"\n")).concat();
    assert_eq!(lines(&text), [1, 2, 3, 4]);
    assert_eq!(lines(&FOLDERS.map(|folder| format!("https://example.org{folder}x\nframe{folder}\n")).concat()), []);
}

#[test]
fn other_registries_are_found() {
    let found =
        |path: &str, text: &str| packages_come_from_the_public_registry(&[Source::new(path, text.to_owned())]).len();
    for sign in OTHER_REGISTRIES {
        assert_eq!(found(".ci/config.toml", &format!("x = \"{sign}\"")), 1, "{sign}");
    }
    assert_eq!(found("Cargo.lock", PUBLIC_REGISTRY), 0);
    assert_eq!(found("Cargo.lock", "source = \"git+https://example.org/slab\""), 1);
}
