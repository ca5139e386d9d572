//! Who may use whom. Arrows point down, so that each module can be read without those above it.

use crate::source::{Finding, Source, name_at};

/// The runtime's modules, the highest first. A module may use those of its own line and of the lines below.
const LAYERS: &[&[&str]] = &[
    &["lib", "entry", "testing"],
    &["io"],
    &["runtime", "probe", "simulated"],
    &["executor"],
    &["time", "inflight", "blocking", "call", "signal", "cores"],
    &["core", "metrics"],
    &["inflight::slots", "inflight::held", "driver"],
    &["task", "inbox", "time::wheel", "blocking::pool"],
    &["op"],
    &["fd", "buf"],
    &["sync", "fork"],
];

/// Arrows that point up for a reason: the file, and the module it uses.
const UPWARD: &[(&str, &str)] = &[
    // `buf::pool::piece` is the public door to the shelf of the core that runs now.
    ("runtime/src/buf/pool.rs", "core"),
];

/// Each `crate::…` of the runtime names a module of its own layer or below.
pub fn arrows_point_down(sources: &[Source]) -> Vec<Finding> {
    check(sources, UPWARD)
}

fn check(sources: &[Source], upward: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; upward.len()];
    for source in sources.iter().filter(|source| source.is_library() && source.package() == "runtime") {
        let Some(from) = layer(&module_of(&source.path)) else {
            findings.push(source.finding(0, "a module without a layer: give it one in runtime/tests/tidy/layers.rs"));
            continue;
        };
        for (position, path) in crate_paths(source.code_without_tests()) {
            let to = module_used(&path);
            if from == HIGHEST || layer(&to).is_some_and(|to| to >= from) {
                continue;
            }
            let is_it = |(file, module): &(&str, &str)| *file == source.path && *module == to;
            if let Some(exception) = upward.iter().position(is_it) {
                used[exception] = true;
                continue;
            }
            let why = match layer(&to) {
                Some(_) => "of a higher layer: hand down what it needs, or move what both need",
                None => "through the crate's root, which is above every module: name the module it is from",
            };
            let message = format!("uses `crate::{}` {why}", path.join("::"));
            findings.push(source.finding(position, message));
        }
    }
    for ((file, module), _) in upward.iter().zip(used).filter(|(_, used)| !used) {
        let message = format!("{file} uses `{module}` no more: take it off the list");
        findings.push(Finding::of_an_exception("layers.rs", message));
    }
    findings
}

/// What a driver does follows from `sqe()` and `call()`, written beside the request; only the simulated driver, which
/// is a kernel, looks inside.
pub fn drivers_do_not_look_into_requests(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let drivers = sources.iter().filter(|source| {
        source.path.starts_with("runtime/src/driver") && !source.path.starts_with("runtime/src/driver/simulated")
    });
    for source in drivers {
        for (position, name) in source.names() {
            let variant = source.code[position + name.len()..].strip_prefix("::");
            if name.ends_with("Request") && variant.is_some_and(|rest| rest.starts_with(char::is_uppercase)) {
                let message = "a driver looks into a request: let the request say it, beside `sqe()` and `call()`";
                findings.push(source.finding(position, message));
            }
        }
    }
    findings
}

/// What the manifests of `net` and `fs` may name. Their names are all that the code can use, so this rule has no need
/// to read it.
const DEPENDENCIES: [&str; 3] = ["runtime", "rustix", "socket2"];

/// `net` and `fs` are built of what any user has.
pub fn net_and_fs_depend_on_little(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let manifests = sources.iter().filter(|source| ["net/Cargo.toml", "fs/Cargo.toml"].contains(&source.path.as_str()));
    for manifest in manifests {
        let (mut section, mut position) = ("", 0);
        for line in manifest.text.split_inclusive('\n') {
            if line.starts_with('[') {
                section = line.trim();
            }
            if let Some(name) = dependency(section, line).filter(|name| !DEPENDENCIES.contains(name)) {
                let message = format!("{name}: net and fs stand on runtime, rustix, socket2 and std only");
                findings.push(manifest.finding(position, message));
            }
            position += line.len();
        }
    }
    findings
}

/// The package that `line` of a manifest depends on, `section` being the last line in brackets.
fn dependency<'a>(section: &str, line: &'a str) -> Option<&'a str> {
    if section.contains("dev-dependencies") {
        return None;
    }
    let name = match line.strip_prefix('[') {
        Some(section) => name_at(section.split_once("dependencies.")?.1, 0),
        None if section.ends_with("dependencies]") => name_at(line, 0),
        None => return None,
    };
    (!name.is_empty()).then_some(name)
}

/// A hidden name of the runtime is a promise to nobody, and to `net` and `fs` neither.
pub fn net_and_fs_use_no_hidden_names(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let users = sources.iter().filter(|source| ["net", "fs"].contains(&source.package()));
    for source in users {
        for (position, _) in source.code.match_indices("runtime::__") {
            let message = "a hidden name of the runtime: use a public one, or make one that others need too";
            findings.push(source.finding(position, message));
        }
    }
    findings
}

/// `runtime/src/op/file.rs` is of `op`, and `runtime/src/inflight/slots.rs` of `inflight::slots`.
fn module_of(path: &str) -> String {
    let path = path.trim_start_matches("runtime/src/").trim_end_matches(".rs");
    module_used(&path.split('/').map(str::to_owned).collect::<Vec<_>>())
}

/// The module with a layer of its own that `path` leads into.
fn module_used(path: &[String]) -> String {
    let first_two = path.iter().take(2).cloned().collect::<Vec<_>>().join("::");
    if layer(&first_two).is_some() { first_two } else { path.first().cloned().unwrap_or_default() }
}

/// The layer that may use everything.
const HIGHEST: usize = 0;

/// The line of `LAYERS` where `module` stands.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The paths that start with `crate`, without it, and where they stand; each path of a group by itself.
fn crate_paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut paths = Vec::new();
    for position in Source::positions(code, "crate::") {
        let mut leads_to = Vec::new();
        expand(&code[position + "crate::".len()..], &mut Vec::new(), &mut leads_to);
        paths.extend(leads_to.into_iter().map(|path| (position, path)));
    }
    paths
}

/// Reads `a::{b, c::d}` at the start of `code` into the paths `a::b` and `a::c::d`, each after `prefix`. Returns how
/// much of `code` that was.
fn expand(code: &str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let start = code.len() - code.trim_start().len();
    let name = name_at(code, start);
    if !name.is_empty() {
        let end = start + name.len();
        prefix.push(name.to_owned());
        let read = match code[end..].strip_prefix("::") {
            Some(rest) => end + 2 + expand(rest, prefix, paths),
            None => {
                paths.push(prefix.clone());
                end
            }
        };
        prefix.pop();
        return read;
    }
    let Some(group) = code[start..].strip_prefix('{') else {
        // `*`, or the `<` of a generic argument.
        paths.push(prefix.clone());
        return start;
    };
    let mut at = 0;
    while let Some(space) = group[at..].find(|character: char| !character.is_whitespace() && character != ',') {
        at += space;
        if group[at..].starts_with('}') {
            return start + 1 + at + 1;
        }
        at += expand(&group[at..], prefix, paths);
        // What is left of an entry, as in `name as other`, changes nothing about where it leads.
        at += group[at..].find([',', '}']).unwrap_or(group.len() - at);
    }
    code.len()
}

#[cfg(test)]
fn findings(rule: crate::Rule, path: &str, text: &str) -> Vec<String> {
    rule(&[Source::new(path, text.to_owned())]).iter().map(Finding::to_string).collect()
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let found = |path: &str, text: &str| findings(|sources| check(sources, &[]), path, text);
    let upward = found("runtime/src/op/file.rs", "use std::io;\nuse crate::{fd::Fd, driver::{self, Ring}};\n");
    assert_eq!(upward.len(), 2, "{upward:?}");
    assert!(upward[0].starts_with("runtime/src/op/file.rs:2: uses `crate::driver::self`"), "{upward:?}");
    assert!(upward[1].contains("crate::driver::Ring"), "{upward:?}");

    assert_eq!(found("runtime/src/driver/ring.rs", "fn f() { crate::core::now() }").len(), 1);
    assert_eq!(found("runtime/src/inflight/slots.rs", "use crate::inflight::Submit;").len(), 1);
    assert_eq!(
        found("runtime/src/core.rs", "use crate::inflight::slots::{Slots as S, Key};\nuse crate::op::Op;"),
        [""; 0]
    );
    assert_eq!(found("runtime/src/op.rs", "use crate::fd::Fd;\n#[cfg(test)]\nmod tests { use crate::task; }"), [""; 0]);
}

#[test]
fn a_way_through_the_root_and_a_module_without_a_layer_are_found() {
    let found = |path: &str, text: &str| findings(|sources| check(sources, &[]), path, text);
    assert_eq!(found("runtime/src/op.rs", "use crate::Runtime;").len(), 1);
    assert_eq!(found("runtime/src/op.rs", "use crate::*;").len(), 1);
    assert_eq!(found("runtime/src/op.rs", "use crate::{Runtime, fd::Fd, spawn};").len(), 2);
    assert_eq!(found("runtime/src/lib.rs", "pub use crate::runtime::Runtime;"), [""; 0]);
    assert_eq!(found("runtime/src/novelty.rs", "").len(), 1);
    assert_eq!(found("net/src/novelty.rs", "use crate::Anything;"), [""; 0]);
}

#[test]
fn an_exception_holds_for_its_file_and_only_while_needed() {
    let sources = [Source::new("runtime/src/op.rs", "use crate::core::now;".to_owned())];
    assert_eq!(check(&sources, &[("runtime/src/op.rs", "core")]).len(), 0);
    assert_eq!(check(&sources, &[("runtime/src/fd.rs", "core")]).len(), 2);
}

#[test]
fn a_driver_that_looks_into_a_request_is_found() {
    let text = "match request { Request::Read { .. } => 1, FileRequest::Sync => 2, other => Request::call(other) }";
    let found = |path: &str| findings(drivers_do_not_look_into_requests, path, text).len();
    assert_eq!(found("runtime/src/driver/ring.rs"), 2);
    assert_eq!(found("runtime/src/driver.rs"), 2);
    assert_eq!(found("runtime/src/driver/simulated.rs"), 0);
    assert_eq!(found("runtime/src/driver/simulated/world.rs"), 0);
}

#[test]
fn a_package_that_net_and_fs_should_not_know_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nrustix.workspace = true\nlibc = \"0.2\"\n[dev-dependencies]\na = \"1\"\n";
    let found = findings(net_and_fs_depend_on_little, "fs/Cargo.toml", manifest);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("fs/Cargo.toml:5: libc"), "{found:?}");
    let others = ["[target.'cfg(loom)'.dependencies]\nloom = \"0.7\"\n", "[dependencies.libc]\nversion = \"0.2\"\n"];
    for manifest in others {
        assert_eq!(findings(net_and_fs_depend_on_little, "net/Cargo.toml", manifest).len(), 1);
    }
}

#[test]
fn a_hidden_name_is_found() {
    let text = "use runtime::__private::Slot;\nuse runtime::io;";
    assert_eq!(findings(net_and_fs_use_no_hidden_names, "net/src/tcp.rs", text).len(), 1);
    assert_eq!(findings(net_and_fs_use_no_hidden_names, "runtime/src/lib.rs", text).len(), 0);
}
