//! What the log promises besides, on each driver.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use gimmal_examples::wal::{GROUP_BYTES_MAX, Log, RECORD_BYTES_MAX};

/// A file that nobody else has, here and in a simulated `/tmp`; it goes with this.
struct Journal(PathBuf);

impl Journal {
    fn new(test: &str) -> Journal {
        // The same test runs on several drivers at once.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let journal = Journal(PathBuf::from(format!("/tmp/gimmal-wal-{test}-{}-{number}", std::process::id())));
        journal.remove();
        journal
    }

    fn remove(&self) {
        let _not_there_if_simulated = std::fs::remove_file(&self.0);
    }

    async fn open(&self) -> std::io::Result<(Log, Vec<Vec<u8>>)> {
        let mut found = Vec::new();
        let log = Log::open(&self.0, |number, bytes| {
            found.push(bytes.to_vec());
            assert_eq!(number, found.len() as u64);
        })
        .await?;
        Ok((log, found))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.remove();
    }
}

#[runtime::test(driver = each)]
async fn what_is_appended_is_there_when_the_log_is_opened_again() {
    let journal = Journal::new("again");
    let (log, found) = journal.open().await.unwrap();
    assert!(found.is_empty());
    let records = [b"one".to_vec(), Vec::new(), vec![7; 100_000]];
    for (index, record) in records.iter().enumerate() {
        assert_eq!(log.append(record).await.unwrap(), index as u64 + 1);
    }
    drop(log);
    let (log, found) = journal.open().await.unwrap();
    assert_eq!(found, records);
    assert_eq!(log.append(b"four").await.unwrap(), 4);
    drop(log);
    assert_eq!(journal.open().await.unwrap().1.len(), 4);
}

/// Catches: a write and a sync for each record.
#[runtime::test(driver = each)]
async fn records_of_many_tasks_share_a_sync() {
    let journal = Journal::new("group");
    let (log, _) = journal.open().await.unwrap();
    let before = runtime::metrics().completed;
    let appends: Vec<_> = (0..500_u32)
        .map(|index| {
            let log = log.clone();
            runtime::spawn(async move { log.append(&index.to_le_bytes()).await.unwrap() })
        })
        .collect();
    for (index, append) in appends.into_iter().enumerate() {
        assert_eq!(append.await.unwrap(), index as u64 + 1);
    }
    let replies = runtime::metrics().completed - before;
    assert!(replies < 20, "{replies} replies for 500 records");
    drop(log);
    assert_eq!(journal.open().await.unwrap().1.len(), 500);
}

/// Catches: a group that grows as long as somebody appends.
#[runtime::test(driver = each, seeds = 4)]
async fn who_appends_more_than_a_group_waits_for_room() {
    let journal = Journal::new("room");
    let (log, _) = journal.open().await.unwrap();
    let too_long = log.append(&vec![0; RECORD_BYTES_MAX + 1]).await.unwrap_err();
    assert_eq!(too_long.kind(), ErrorKind::InvalidInput);
    let appends: Vec<_> = (0..5_u8)
        .map(|index| {
            let log = log.clone();
            runtime::spawn(async move { log.append(&vec![index; RECORD_BYTES_MAX]).await.unwrap() })
        })
        .collect();
    for append in appends {
        append.await.unwrap();
    }
    drop(log);
    let (_, mut found) = journal.open().await.unwrap();
    found.sort();
    assert!(found.iter().zip(0..5).all(|(record, index)| *record == vec![index; RECORD_BYTES_MAX]));
    assert_eq!(found.len(), 5);
}

/// Catches: a record whose waiter went, and that keeps the others waiting or is not written.
#[runtime::test(driver = each)]
async fn a_dropped_append_is_appended_all_the_same() {
    let journal = Journal::new("dropped");
    let (log, _) = journal.open().await.unwrap();
    let dropped = std::pin::pin!(log.append(b"given up"))
        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        .is_pending();
    assert!(dropped);
    assert_eq!(log.append(b"waited for").await.unwrap(), 2);
    drop(log);
    assert_eq!(journal.open().await.unwrap().1, [b"given up".to_vec(), b"waited for".to_vec()]);
}

/// A power cut before the first sync leaves any part of the start, and zeros for the rest.
/// Catches: a recovery that takes only a beginning of it for a log that was not begun.
#[runtime::test(driver = each, seeds = 4)]
async fn a_log_whose_start_is_torn_is_begun_again() {
    let journal = Journal::new("torn-start");
    journal.open().await.unwrap();
    let start = fs::read(&journal.0).await.unwrap();
    for torn in [start[..5].to_vec(), [&start[..8], &[0; 8]].concat(), [&[0; 8], &start[8..]].concat(), vec![0; 16]] {
        fs::write(&journal.0, &torn).await.unwrap();
        assert_eq!(journal.open().await.unwrap().1, Vec::<Vec<u8>>::new(), "{}", torn.escape_ascii());
        assert_eq!(fs::read(&journal.0).await.unwrap(), start);
    }
}

/// Catches: a recovery that takes whatever it finds for a torn tail, and cuts it off.
#[runtime::test(driver = each, seeds = 4)]
async fn what_no_crash_leaves_is_refused_and_left_as_it_is() {
    let journal = Journal::new("damage");
    for contents in [b"a letter".to_vec(), vec![0; 5_000], vec![b'x'; 5_000]] {
        fs::write(&journal.0, &contents).await.unwrap();
        assert_eq!(journal.open().await.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(fs::read(&journal.0).await.unwrap(), contents);
    }
    fs::write(&journal.0, b"").await.unwrap();
    let (log, _) = journal.open().await.unwrap();
    for _ in 0..2 {
        log.append(&vec![1; RECORD_BYTES_MAX]).await.unwrap();
    }
    drop(log);

    let mut contents = fs::read(&journal.0).await.unwrap();
    assert!(contents.len() > 2 * GROUP_BYTES_MAX);
    contents[100] ^= 1;
    fs::write(&journal.0, &contents).await.unwrap();
    let refused = journal.open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidData);
    assert!(refused.to_string().contains("damaged at byte 16"), "{refused}");
    assert!(fs::read(&journal.0).await.unwrap() == contents);

    // In the last group it is what a crash leaves.
    contents[100] ^= 1;
    let last = contents.len() - 1;
    contents[last] ^= 1;
    fs::write(&journal.0, &contents).await.unwrap();
    assert_eq!(journal.open().await.unwrap().1.len(), 1);
    assert_eq!(fs::metadata(&journal.0).await.unwrap().len(), 16 + GROUP_BYTES_MAX as u64);
}
