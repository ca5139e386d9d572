//! Ops on names: open, stat, and the stat that is done at once.

use runtime::fd::SharedFd;
use runtime::op::file::Position;
use runtime::op::path::{Base, Open, OpenHow, Stat, c_path};
use runtime::{call, submit};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::row;
use crate::scene::{Either, Scene, at_once_on_every_kind, count, on_every_kind, on_kinds, read, write};
use crate::shown::Shown;
use crate::table::Row;

pub fn rows() -> Vec<Row> {
    vec![
        row!("Open": opens_every_name_in_every_way, confines_where_a_path_may_lead,
            starts_at_every_kind_of_descriptor, refuses_a_nul, what_was_opened_obeys_its_flags,
            modes_of_new_files_and_what_they_say;
            except simulated:
            links_lead_elsewhere_or_in_circles because "no op makes a link yet"),
        row!("Stat": tells_about_every_name, tells_about_what_was_put_by_odd_paths, tells_about_every_kind_of_descriptor, starts_relative_paths_at_a_directory),
        row!("call::stat_now": tells_at_once_about_every_kind_of_descriptor),
    ]
}

/// Under a folder that holds `file`, `dir` and `dir/inner`.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "file",
        "file/",
        "file/x",
        "file/..",
        "file/.",
        "dir",
        "dir/",
        "dir/.",
        "dir/..",
        "dir//inner",
        "dir/inner",
        "dir/missing",
        "dir/../file",
        "missing",
        "missing/",
        "missing/x",
        "missing/..",
        "./file",
        ".//./dir/../dir/inner",
        "../..",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("n".repeat(255));
    names.push("n".repeat(256));
    names.push(format!("{}/x", "n".repeat(256)));
    names.push("./".repeat(2_100));
    names
}

fn put_names(scene: &Scene, folder: &str) {
    scene.put(&format!("{folder}/file"), b"0123456789");
    scene.put(&format!("{folder}/dir/inner"), b"inner");
}

/// The ways to open a file that programs use, and some that make no sense.
fn ways() -> Vec<OFlags> {
    vec![
        OFlags::RDONLY,
        OFlags::WRONLY,
        OFlags::RDWR,
        OFlags::RDWR | OFlags::APPEND,
        OFlags::WRONLY | OFlags::CREATE,
        OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
        OFlags::RDONLY | OFlags::CREATE,
        OFlags::WRONLY | OFlags::TRUNC,
        OFlags::RDONLY | OFlags::TRUNC,
        OFlags::RDONLY | OFlags::EXCL,
        OFlags::RDONLY | OFlags::DIRECTORY,
        OFlags::WRONLY | OFlags::DIRECTORY,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CREATE,
        OFlags::RDONLY | OFlags::NOFOLLOW,
        OFlags::PATH,
        OFlags::PATH | OFlags::DIRECTORY,
        OFlags::RDWR | OFlags::TMPFILE,
        OFlags::RDONLY | OFlags::TMPFILE,
        OFlags::WRONLY | OFlags::RDWR,
        OFlags::RDWR | OFlags::CREATE | OFlags::SYNC,
    ]
}

/// Long names are told by their length.
fn short(name: &str) -> String {
    if name.len() < 30 { name.to_owned() } else { format!("{}… ({} bytes)", &name[..10], name.len()) }
}

const TWO_FAULTS: Either = Either {
    among: &["InvalidFilename", "InvalidInput"],
    says: "a path that is too long, with flags that make no sense: open(2) does not say which is told",
};

async fn opens_every_name_in_every_way(scene: Scene) {
    for (way, flags) in ways().into_iter().enumerate() {
        for (index, name) in names().into_iter().enumerate() {
            let folder = format!("{way}-{index}");
            put_names(&scene, &folder);
            let name = format!("{folder}/{name}");
            let opened = scene.ask(scene.open(&name, flags)).await;
            let what = format!("{} with {flags:?}", short(&name[folder.len() + 1..]));
            let has_two_faults = name.len() > 4_096 && flags.contains(OFlags::DIRECTORY);
            if has_two_faults {
                scene.tell_either(what, &opened, &TWO_FAULTS);
            } else {
                scene.tell(what, &opened);
            }
            let stat = match opened {
                Ok(fd) => submit(Stat::file(SharedFd::new(fd))).await.shown(),
                Err(_) => "not open".to_owned(),
            };
            scene.tell("which is", &stat);
            scene.tell("and by its name", &submit(Stat::path(Base::Current, path(&scene, &name), true)).await);
        }
    }
    let nothing = Open { base: Base::Current, path: c"".into(), how: how(OFlags::RDONLY, ResolveFlags::empty()) };
    scene.tell("no name at all", &submit(nothing).await);
    let root = Open { base: Base::Current, path: c"/".into(), how: how(OFlags::RDONLY, ResolveFlags::empty()) };
    scene.tell("the root", &submit(root).await);
}

fn path(scene: &Scene, name: &str) -> std::ffi::CString {
    c_path(&scene.path(name)).expect("no NUL")
}

fn how(flags: OFlags, resolve: ResolveFlags) -> OpenHow {
    OpenHow::new(flags, Mode::RUSR | Mode::WUSR, resolve)
}

async fn confines_where_a_path_may_lead(scene: Scene) {
    put_names(&scene, "base");
    scene.put("outside", b"outside");
    let base = Base::Dir(scene.opened("base", OFlags::DIRECTORY | OFlags::PATH).await);
    let absolute = scene.path("outside").to_string_lossy().into_owned();
    let confines = [
        ResolveFlags::empty(),
        ResolveFlags::BENEATH,
        ResolveFlags::IN_ROOT,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        ResolveFlags::NO_SYMLINKS,
        ResolveFlags::NO_MAGICLINKS,
        ResolveFlags::NO_XDEV,
        ResolveFlags::BENEATH | ResolveFlags::IN_ROOT,
    ];
    for confine in confines {
        for name in [
            "file",
            "dir/inner",
            "..",
            "../outside",
            "dir/../file",
            "dir/../../outside",
            "dir/../..",
            "/file",
            "/",
            &absolute,
        ] {
            let open = Open {
                base: base.clone(),
                path: c_path(name.as_ref()).expect("no NUL"),
                how: how(OFlags::RDONLY, confine),
            };
            let opened = submit(open).await;
            let what = if name == absolute { "an absolute name" } else { name };
            scene.tell(format!("{what} with {confine:?}"), &opened);
            if let Ok(fd) = opened {
                let outcome = submit(read(&SharedFd::new(fd), 20, Position::Cursor)).await;
                scene.tell("which holds", &outcome);
            }
        }
    }
}

const NOT_EVEN_LOOKED_AT: Either = Either {
    among: &["NotFound", "Uncategorized: Bad file descriptor", "a descriptor"],
    says: "a base that is no descriptor, with a path that needs none: openat(2) and statx(2) ignore the base then",
};

fn open_for(kind: &str, name: &str) -> Option<&'static Either> {
    (kind.contains("another world") && (name.is_empty() || name.starts_with('/'))).then_some(&NOT_EVEN_LOOKED_AT)
}

async fn starts_at_every_kind_of_descriptor(scene: Scene) {
    for name in ["0", "missing", "", ".", ".."] {
        let what = format!("opening {name:?} from");
        let asking = scene.clone();
        let open = |kind: &str| open_for(kind, name);
        on_kinds(&scene, &what, open, move |fd| {
            let path = c_path(name.as_ref()).expect("no NUL");
            asking.ask(Open { base: Base::Dir(fd), path, how: how(OFlags::RDONLY, ResolveFlags::empty()) })
        })
        .await;
    }
    let absolute = path(&scene, "kinds/0");
    let asking = scene.clone();
    on_kinds(
        &scene,
        "opening an absolute name from",
        |kind| open_for(kind, "/"),
        move |fd| {
            asking.ask(Open {
                base: Base::Dir(fd),
                path: absolute.clone(),
                how: how(OFlags::RDONLY, ResolveFlags::empty()),
            })
        },
    )
    .await;
}

async fn refuses_a_nul(scene: Scene) {
    scene.tell("a NUL in a path", &c_path("a\0b".as_ref()).map(|_path| ()));
}

async fn what_was_opened_obeys_its_flags(scene: Scene) {
    for flags in ways() {
        // Some are refused, and told elsewhere.
        scene.put("obeys/file", b"0123456789");
        let Ok(fd) = submit(scene.open("obeys/file", flags)).await else { continue };
        let fd = SharedFd::new(fd);
        scene.tell(
            format!("reading from what was opened with {flags:?}"),
            &submit(read(&fd, 4, Position::Cursor)).await,
        );
        scene.tell("writing to it", &count(submit(write(&fd, b"ab", Position::Cursor)).await));
        scene.tell("reading at a place", &submit(read(&fd, 4, Position::At(1))).await);
        scene.tell("writing at a place", &count(submit(write(&fd, b"cd", Position::At(1))).await));
        let again = scene.opened("obeys/file", OFlags::RDONLY).await;
        scene.tell("then the file holds", &submit(read(&again, 30, Position::At(0))).await);
    }
}

async fn modes_of_new_files_and_what_they_say(scene: Scene) {
    scene.put("modes/other", b"");
    for mode in [0o600, 0o400, 0o200, 0o700, 0o000] {
        let name = format!("modes/{mode:o}");
        let how = OpenHow::new(OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(mode), ResolveFlags::empty());
        let created = submit(Open { base: Base::Current, path: path(&scene, &name), how }).await;
        scene.tell(format!("a file with mode {mode:o}"), &created);
        if let Ok(fd) = created {
            let fd = SharedFd::new(fd);
            scene.tell("writing to it", &count(submit(write(&fd, b"mine", Position::Cursor)).await));
            scene.tell("reading from it", &submit(read(&fd, 10, Position::At(0))).await);
            scene.tell("which is", &submit(Stat::file(fd)).await);
        }
    }
}

/// Links are made by std here: no op makes them.
async fn links_lead_elsewhere_or_in_circles(scene: Scene) {
    use std::os::unix::fs::symlink;
    put_names(&scene, "links");
    let links =
        [("to-file", "file"), ("to-dir", "dir"), ("dangling", "missing"), ("circle", "circle"), ("out", "../..")];
    for (link, target) in links {
        symlink(target, scene.path("links").join(link)).expect("a fresh folder");
    }
    let base = Base::Dir(scene.opened("links", OFlags::DIRECTORY).await);
    for (name, _) in links.into_iter().chain([("to-dir/inner", ""), ("to-file/", "")]) {
        for flags in [
            OFlags::RDONLY,
            OFlags::RDONLY | OFlags::NOFOLLOW,
            OFlags::PATH | OFlags::NOFOLLOW,
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        ] {
            for confine in [ResolveFlags::empty(), ResolveFlags::BENEATH, ResolveFlags::NO_SYMLINKS] {
                let open =
                    Open { base: base.clone(), path: c_path(name.as_ref()).expect("no NUL"), how: how(flags, confine) };
                scene.tell(format!("{name} with {flags:?} and {confine:?}"), &submit(open).await);
            }
        }
        for follow in [true, false] {
            let stat = Stat::path(base.clone(), c_path(name.as_ref()).expect("no NUL"), follow);
            scene.tell(format!("about {name}, following: {follow}"), &submit(stat).await);
        }
    }
}

async fn tells_about_every_name(scene: Scene) {
    put_names(&scene, "folder");
    for follow in [true, false] {
        for name in names() {
            let stat = Stat::path(Base::Current, path(&scene, &format!("folder/{name}")), follow);
            scene.tell(format!("about {}, following: {follow}", short(&name)), &scene.ask(stat).await);
        }
        scene.tell("about no name", &scene.ask(Stat::path(Base::Current, c"".into(), follow)).await);
        scene.tell("about the root", &scene.ask(Stat::path(Base::Current, c"/".into(), follow)).await);
    }
}

async fn tells_about_what_was_put_by_odd_paths(scene: Scene) {
    put_names(&scene, "folder");
    for name in ["/a", "./b", "dir//c", "dir/./d", "dir/../e", ".//dir/..//f"] {
        scene.put(&format!("folder/{name}"), name.as_bytes());
    }
    for name in ["a", "b", "dir/c", "dir/d", "e", "f"] {
        let stat = Stat::path(Base::Current, path(&scene, &format!("folder/{name}")), true);
        scene.tell(format!("about {name}"), &scene.ask(stat).await);
    }
}

async fn tells_about_every_kind_of_descriptor(scene: Scene) {
    let asking = scene.clone();
    on_every_kind(&scene, "about", move |fd| asking.ask(Stat::file(fd))).await;
}

async fn starts_relative_paths_at_a_directory(scene: Scene) {
    for name in ["0", "missing", "..", "../kinds/1", ""] {
        let asking = scene.clone();
        on_kinds(
            &scene,
            &format!("about {name:?} from"),
            |kind| open_for(kind, name),
            move |fd| asking.ask(Stat::path(Base::Dir(fd), c_path(name.as_ref()).expect("no NUL"), true)),
        )
        .await;
    }
}

async fn tells_at_once_about_every_kind_of_descriptor(scene: Scene) {
    at_once_on_every_kind(&scene, "about", call::stat_now).await;
}
