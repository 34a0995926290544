//! Work of many milliseconds beside the requests.

use std::io;

use tokio::sync::oneshot;

/// How much it gives way: beside a worker that has enough to do it gets a tenth of their processor.
const NICE: i32 = 10;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The system gives no thread.
    #[error("there is no thread for it: {0}")]
    Thread(#[from] io::Error),
    /// The work has panicked.
    #[error("it has panicked")]
    Panic,
}

/// Does `work` on a thread of its own with a lower priority: a worker on the same processor gets it back
/// as soon as a request comes, and not some milliseconds later.
///
/// # Errors
/// [`Lost`] when it was not done.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name("aside".to_owned()).spawn(move || {
        // On Linux this is about the calling thread. A sandbox may refuse it; it is only better so.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "the priority stays");
        }
        // Nobody may wait any more.
        let _ = done.send(work());
    })?;
    result.await.map_err(|_| Lost::Panic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_gives_way_to_the_thread_that_asks() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        assert_eq!(aside(own).await.unwrap(), (before + NICE).min(19));
        assert_eq!(own(), before);
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        assert!(matches!(aside(|| panic!("on purpose")).await, Err::<(), _>(Lost::Panic)));
    }
}
