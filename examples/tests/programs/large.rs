//! A file of 1 GiB, which arrives whole and does not pass through memory as one.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use crate::client::Client;
use crate::folder::{Folder, pattern};
use crate::program::{Program, alone, is_installed, serve};

const LENGTH: u64 = 1 << 30;

/// How long each island of data in the sea of zeros is: longer than a chunk, and no multiple of one.
const ISLAND_LEN: usize = 200_003;

/// How far apart they begin.
const ISLAND_EVERY: u64 = 10_000_019;

/// What the server may take at most, of memory that stays: many chunks, and far less than the file.
const RESIDENT_KIB_MAX: u64 = 64 << 10;

/// What is expected at each place of the file.
struct Expected {
    island: Vec<u8>,
    zeros: Vec<u8>,
}

impl Expected {
    fn new() -> Expected {
        Expected { island: pattern(ISLAND_LEN), zeros: vec![0; 1 << 20] }
    }

    fn create(&self, folder: &Folder) {
        let file = File::create(folder.path().join("large")).unwrap();
        file.set_len(LENGTH).unwrap();
        for start in (0..LENGTH).step_by(usize::try_from(ISLAND_EVERY).unwrap()) {
            let left = usize::try_from(LENGTH - start).unwrap_or(usize::MAX);
            file.write_all_at(&self.island[..ISLAND_LEN.min(left)], start).unwrap();
        }
    }

    /// Compares bytes that begin at `place`: each of them, by whole slices, since this is not optimised.
    fn check(&self, mut place: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let of_stretch = usize::try_from(place % ISLAND_EVERY).unwrap();
            let expected = match self.island.get(of_stretch..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => &self.zeros[..self.zeros.len().min(usize::try_from(ISLAND_EVERY).unwrap() - of_stretch)],
            };
            let count = expected.len().min(bytes.len());
            assert!(bytes[..count] == expected[..count], "not the same within {count} bytes from {place} on");
            place += u64::try_from(count).unwrap();
            bytes = &bytes[count..];
        }
    }

    /// Reads to the end, and compares.
    fn check_all(&self, read: &mut dyn FnMut(&mut [u8]) -> usize) {
        let (mut buf, mut place) = (vec![0; 1 << 20], 0);
        loop {
            let received = read(&mut buf);
            if received == 0 {
                break;
            }
            self.check(place, &buf[..received]);
            place += u64::try_from(received).unwrap();
        }
        assert_eq!(place, LENGTH, "so much has arrived");
    }
}

/// The most memory that it has ever had, in KiB.
fn resident_kib(server: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Catches: a chunk that is lost, doubled, or sent before its predecessor; a body that is read whole before it is sent.
#[test]
fn a_gibibyte_arrives_intact() {
    let _turn = alone();
    let folder = Folder::new();
    let expected = Expected::new();
    expected.create(&folder);
    let server = Program::start(serve(folder.path(), &[]));

    let mut client = Client::connect(server.address);
    client.send("GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(client.receive_head().length(), Some(LENGTH));
    expected.check_all(&mut |buf| client.read(buf).unwrap());

    if is_installed("curl") {
        let url = format!("http://{}/large", server.address);
        let mut curl = Command::new("curl").args(["-sS", &url]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = curl.stdout.take().unwrap();
        expected.check_all(&mut |buf| out.read(buf).unwrap());
        assert!(curl.wait().unwrap().success());
    }
    let resident = resident_kib(&server);
    println!("the server had {resident} KiB of memory at most");
    assert!(resident < RESIDENT_KIB_MAX, "the server had {resident} KiB of memory");
    server.stop();
}
