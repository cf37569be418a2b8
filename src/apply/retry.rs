//! Trying again what other sessions kept from its locks.

use crate::database::server_error::ServerError;
use crate::printable;
use std::time::{Duration, Instant};

/// A growing pause with jitter between two tries, within a budget.
pub struct Retry {
    until: Instant,
    pause: Duration,
}

impl Retry {
    const LONGEST: Duration = Duration::from_secs(30);

    /// Tries for this long from now on.
    pub fn new(budget: Duration) -> Retry {
        Retry {
            until: Instant::now() + budget,
            pause: Duration::from_millis(500),
        }
    }

    /// How long to wait before the next try; none if the budget is spent.
    pub fn pause(&mut self) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let pause = self.pause.mul_f64(0.5 + fastrand::f64()).min(left);
        self.pause = (self.pause * 2).min(Self::LONGEST);
        Some(pause)
    }

    /// Waits before the next try; false where the budget is spent.
    pub async fn again(&mut self, migration: &str, error: &ServerError) -> bool {
        let Some(pause) = self.pause() else { return false };
        tracing::warn!(
            migration,
            sqlstate = error.sqlstate,
            "rolled back, because other sessions hold its locks ({}): again in {}",
            error.message,
            printable::duration(pause)
        );
        tokio::time::sleep(pause).await;
        true
    }
}
