//! Trying again.

use std::time::Duration;

use super::error::{Error, Result};

/// Wait before the first further attempt, if nobody says.
const DELAY: Duration = Duration::from_secs(1);
/// The longest wait that a series of failures leads to.
const LONGEST: Duration = Duration::from_secs(30);

/// How often and when something that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after the first.
    pub attempts: u32,
    /// Wait before each of them; `None`: one second, then twice as long each time.
    pub delay: Option<Duration>,
}

impl Default for Retry {
    /// Three times, as the tools.
    fn default() -> Self {
        Self { attempts: 3, delay: None }
    }
}

impl Retry {
    /// How long to wait after `error` when `failed` attempts have failed one after the other. `None`:
    /// no further one makes sense.
    pub(crate) fn wait(&self, failed: u32, error: &Error) -> Option<Duration> {
        if failed > self.attempts || !error.is_transient() {
            return None;
        }
        let own = self.delay.unwrap_or_else(|| {
            let factor = 1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
            DELAY.saturating_mul(factor).min(LONGEST)
        });
        Some(error.retry_after().map_or(own, |wanted| own.max(wanted)))
    }

    /// Runs `attempt` until it succeeds or fails for good.
    pub(crate) async fn run<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut failed = 0;
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => self.again(&mut failed, error).await?,
            }
        }
    }

    /// Waits until the next attempt makes sense, after `error` and `failed` attempts that failed before.
    ///
    /// # Errors
    /// With `error`, if none does.
    pub(crate) async fn again(&self, failed: &mut u32, error: Error) -> Result<()> {
        *failed += 1;
        let Some(wait) = self.wait(*failed, &error) else { return Err(error) };
        tracing::debug!(%error, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::ErrorKind;

    #[test]
    fn waits() {
        let seconds = |retry: Retry, failed, error: &Error| {
            retry.wait(failed, error).map(|wait| wait.as_secs())
        };
        let lasting = Error::new(ErrorKind::Network, "x");
        let passing = lasting.clone().transient(None);
        let polite = lasting.clone().transient(Some(Duration::from_secs(7)));
        let retry = Retry::default();
        assert_eq!(seconds(retry, 1, &lasting), None);
        let waits = [1, 2, 3, 4].map(|failed| seconds(retry, failed, &passing));
        assert_eq!(waits, [Some(1), Some(2), Some(4), None]);
        assert_eq!(seconds(retry, 1, &polite), Some(7));
        let many = Retry { attempts: u32::MAX, delay: None };
        assert_eq!(seconds(many, 100, &passing), Some(30));
        let own = Retry { attempts: 1, delay: Some(Duration::from_secs(9)) };
        assert_eq!([1, 2].map(|failed| seconds(own, failed, &passing)), [Some(9), None]);
    }

    #[tokio::test]
    async fn attempts() {
        for (failures, attempts, fails) in [(0, 1, false), (3, 4, false), (4, 4, true)] {
            let mut made = 0;
            let attempt = || {
                made += 1;
                let error = Error::new(ErrorKind::Network, "x").transient(None);
                std::future::ready(if made > failures { Ok(()) } else { Err(error) })
            };
            let retry = Retry { delay: Some(Duration::ZERO), ..Retry::default() };
            let result = retry.run(attempt).await;
            assert_eq!((made, result.is_err()), (attempts, fails));
        }
    }
}
