//! A waiting future may move to another task, as combinators and channels of futures do: that task is woken from then
//! on.

use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;

use runtime::time::{Duration, timeout};
use runtime::{JoinHandle, call, metrics, spawn, yield_now};

/// Begins here, and goes on in a task of its own.
async fn moved<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let mut future = Box::pin(future);
    assert!(poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await);
    let task = spawn(future);
    let later = metrics().ticks + 4;
    while metrics().ticks < later {
        yield_now().await;
    }
    task
}

/// The first one has the turn and waits for bytes, the others stand in line.
/// Catches: a place in line that keeps its first waker; a wait for the other end that does.
#[runtime::test(driver = each)]
async fn readers_at_the_cursor_that_go_on_in_another_task_are_served() {
    let (reader, writer) = call::pipe().unwrap();
    let (reader, writer) = (Rc::new(fs::File::from(reader)), fs::File::from(writer));
    let lent = async |reader: Rc<fs::File>| -> io::Result<u8> {
        let mut byte = [0];
        reader.read_exact(&mut byte).await?;
        Ok(byte[0])
    };
    let given = async |reader: Rc<fs::File>| -> io::Result<u8> { Ok(reader.read_exact_owned([0]).await?.1[0]) };
    let readers = [
        moved(lent(reader.clone())).await,
        moved(given(reader.clone())).await,
        moved(lent(reader.clone())).await,
        moved(given(reader.clone())).await,
    ];
    for (number, reader) in (0..).zip(readers) {
        writer.write_all(&[number]).await.unwrap();
        let read = timeout(Duration::from_secs(20), reader).await.expect("it is woken").unwrap();
        assert_eq!(read.unwrap(), number);
    }
}
