//! The last line of a terminal while a migration runs: how long, how far, what it waits for. It moves down as lines of the log are written above it.

use crate::stderr::{self, Live};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the log is for a person at a terminal.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// From now on there is such a line: standard error is a terminal, and the log is text.
pub fn start() {
    SHOWN.store(true, Ordering::Relaxed);
}

/// Whether there is such a line.
pub fn is_shown() -> bool {
    SHOWN.load(Ordering::Relaxed)
}

/// Shows this text, with a bar where the total is known.
pub fn show(text: String, done: u64, total: u64) {
    if is_shown() {
        stderr::live(Some(Live { text, done, total }));
    }
}

/// Takes the line away.
pub fn clear() {
    if is_shown() {
        stderr::live(None);
    }
}
