//! OS threads for work that blocks, awaitable: their errors and panics are values.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// A thread that did not return.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The system gives no more threads.
    #[error("thread {name} could not be started")]
    Start {
        /// The thread.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It panicked.
    #[error("thread {name} panicked: {words}")]
    Panic {
        /// The thread.
        name: &'static str,
        /// What the panic said.
        words: String,
    },
}

/// A running thread: a future of what it returns. Dropped, it lets the thread run on; tell it to stop before.
#[derive(Debug)]
pub struct Handle<T> {
    name: &'static str,
    ended: oneshot::Receiver<std::thread::Result<T>>,
}

/// Starts a thread; the system shows at most 15 bytes of its name.
///
/// # Errors
/// [`ThreadError::Start`].
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Handle<T>, ThreadError> {
    let (tell, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // Nothing of the work is used after its panic. Nobody listens when the handle was dropped.
            let _ = tell.send(catch_unwind(AssertUnwindSafe(work)));
        })
        .map_err(|source| ThreadError::Start { name, source })?;
    Ok(Handle { name, ended })
}

impl<T> Future for Handle<T> {
    type Output = Result<T, ThreadError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        let panicked = |words| ThreadError::Panic { name, words };
        Poll::Ready(match ready!(Pin::new(&mut self.ended).poll(cx)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => Err(panicked(words(panic.as_ref()))),
            Err(_) => Err(panicked("without a word".into())),
        })
    }
}

/// What a panic said.
pub fn words(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_it_returns_and_its_name_are_its_own() {
        let name = || std::thread::current().name().map(str::to_owned);
        let handle = spawn("rtf-test", name).unwrap();
        assert_eq!(handle.await.unwrap().as_deref(), Some("rtf-test"));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_words() {
        let handle = spawn("rtf-test", || panic!("poll {}", 7)).unwrap();
        let error = handle.await.map(|()| "returned").unwrap_err();
        assert_eq!(error.to_string(), "thread rtf-test panicked: poll 7");
    }
}
