//! The last line of a terminal while a migration runs: how long, how far, what it waits for. It moves down as lines of the log are written above it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The line that is shown now, where one is; not set where the log is not for a person at a terminal.
static LINE: OnceLock<Mutex<Option<ProgressBar>>> = OnceLock::new();

/// From now on there is such a line: standard error is a terminal, and the log is text.
pub fn start() {
    LINE.get_or_init(Mutex::default);
}

/// Whether there is such a line.
pub fn is_shown() -> bool {
    LINE.get().is_some()
}

/// Shows this text, with a bar where the total is known.
pub fn show(text: String, done: u64, total: u64) {
    let Some(line) = LINE.get() else { return };
    let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
    let bar = line.get_or_insert_with(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
    let template = if total > 0 {
        "{msg} [{bar:20}] {percent} %"
    } else {
        "{msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    if total > 0 {
        bar.set_length(total);
        bar.set_position(done.min(total));
    }
    bar.set_message(text);
    bar.tick();
}

/// Takes the line away.
pub fn clear() {
    let line = LINE
        .get()
        .and_then(|line| line.lock().unwrap_or_else(PoisonError::into_inner).take());
    if let Some(bar) = line {
        bar.finish_and_clear();
    }
}

/// Standard error, above the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Above;

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = LINE
            .get()
            .map(|line| line.lock().unwrap_or_else(PoisonError::into_inner));
        match line.as_ref().and_then(|line| line.as_ref()) {
            Some(bar) => bar.suspend(|| io::stderr().write(text)),
            None => io::stderr().write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
