//! Reads of pages that are in memory already, from an open file, each into memory that is used again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use runtime::spawn;

use crate::hand;
use crate::harness::{Contender, Row, Target};
use crate::machine::{self, thread_cpu};

pub const PAGE: usize = 4096;
const PAGES: u64 = 1024;

pub fn rows() -> io::Result<Vec<Row>> {
    let file = Arc::new(Pages::new()?);
    // Whoever reads it keeps it: any row may run alone.
    let of_file = |read: fn(&Path, u64) -> io::Result<Duration>| {
        let file = file.clone();
        move |ops| read(&file.path, ops)
    };
    let many = Row {
        name: "cached read of 4 KiB, 64 in flight",
        unit: "thread CPU a read",
        ops: 200_000,
        contenders: vec![
            Contender::new("gimmal owned", of_file(|path, ops| gimmal_owned(path, ops, 64))),
            Contender::new("hand ring", of_file(|path, ops| hand::ring::reads(&File::open(path)?, PAGES, ops, 64))),
            Contender::new("pread", of_file(pread)),
        ],
        targets: vec![Target::ratio("gimmal owned", 1.15, &["hand ring"])],
    };
    let one = Row {
        name: "cached read of 4 KiB, 1 in flight",
        unit: "thread CPU a read",
        ops: 200_000,
        contenders: vec![
            Contender::new("gimmal lent", of_file(gimmal_lent)),
            Contender::new("gimmal owned", of_file(|path, ops| gimmal_owned(path, ops, 1))),
            Contender::new("pread", of_file(pread)),
            Contender::new("hand ring", of_file(|path, ops| hand::ring::reads(&File::open(path)?, PAGES, ops, 1))),
        ],
        targets: vec![Target::ratio("gimmal lent", 1.35, &["pread"])],
    };
    Ok(vec![many, one])
}

/// A file of pages that were written just now, beside the program: there is a disk, most likely. (tmpfs answers a ring
/// by its kernel threads, which is another work.)
pub struct Pages {
    pub path: PathBuf,
}

impl Pages {
    pub fn new() -> io::Result<Pages> {
        let path = std::env::current_exe()?.with_extension(format!("pages-{}", std::process::id()));
        std::fs::write(&path, vec![7; PAGE * PAGES as usize])?;
        Ok(Pages { path })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // At the end of the program, where nobody could do anything about it.
        let _left = std::fs::remove_file(&self.path);
    }
}

pub fn gimmal_owned(path: &Path, ops: u64, in_flight: u64) -> io::Result<Duration> {
    machine::gimmal()?.block_on(async {
        let file = Rc::new(fs::File::open(path).await?);
        let start = thread_cpu();
        let tasks: Vec<_> = (0..in_flight)
            .map(|task| {
                let file = file.clone();
                spawn(async move {
                    let mut buf = vec![0; PAGE];
                    for op in 0..ops / in_flight {
                        (_, buf) = file.read_at_owned(buf, (op * in_flight + task) % PAGES * PAGE as u64).await?;
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(thread_cpu() - start)
    })
}

pub fn gimmal_lent(path: &Path, ops: u64) -> io::Result<Duration> {
    machine::gimmal()?.block_on(async {
        let file = fs::File::open(path).await?;
        let mut buf = vec![0; PAGE];
        let start = thread_cpu();
        for op in 0..ops {
            file.read_at(&mut buf, op % PAGES * PAGE as u64).await?;
        }
        Ok(thread_cpu() - start)
    })
}

fn pread(path: &Path, ops: u64) -> io::Result<Duration> {
    let file = File::open(path)?;
    let mut buf = vec![0; PAGE];
    let start = thread_cpu();
    for op in 0..ops {
        file.read_at(&mut buf, op % PAGES * PAGE as u64)?;
    }
    Ok(thread_cpu() - start)
}
