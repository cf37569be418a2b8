//! Standard error, written by a thread of its own.
//!
//! The run has one thread. If that thread waited for a reader of the log that has stopped to read, it would hold every lock in the database meanwhile,
//! and hear no signal. So lines are queued, up to a limit; what comes after that is dropped, counted, and said as soon as lines pass again.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How many bytes wait at most.
const LIMIT: usize = 4 << 20;
/// How long a line waits for space while lines pass: a script that says much is slowed down to the pace of its reader, as with a plain write.
const WAIT: Duration = Duration::from_millis(50);
/// How long nothing may pass at the end of the run until the rest is given up, and how long where the run is to stop.
const PATIENCE: Duration = Duration::from_secs(2);
const HURRIED: Duration = Duration::from_millis(100);

static WRITER: OnceLock<Writer> = OnceLock::new();

/// The last line of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// What it says.
    pub text: String,
    /// How far it is.
    pub done: u64,
    /// How far it goes; zero where that is not known.
    pub total: u64,
}

enum Order {
    /// A text, and how many lines were dropped before it.
    Text(Vec<u8>, u64),
    Live(Option<Live>),
    /// Everything before this is written: say so.
    Tell(Sender<()>),
}

impl Order {
    fn size(&self) -> usize {
        match self {
            Order::Text(text, _) => text.len(),
            Order::Live(Some(live)) => live.text.len() + 64,
            Order::Live(None) | Order::Tell(_) => 0,
        }
    }
}

struct Writer {
    orders: Sender<Order>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    bytes: usize,
    dropped: u64,
    /// Dropped, and not yet said.
    unsaid: u64,
    /// Nothing has passed since a line waited in vain.
    stuck: bool,
    /// The run is to stop: nothing waits any more.
    hurried: bool,
    /// When something passed last.
    moved: Option<Instant>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for so many bytes; false where there is none.
    fn admit(&self, bytes: usize, may_wait: bool) -> bool {
        let mut state = self.state();
        // One that is larger than the limit passes alone.
        while state.bytes > 0 && state.bytes + bytes > LIMIT {
            if !may_wait || state.stuck || state.hurried {
                return false;
            }
            let (next, waited) = self
                .moved
                .wait_timeout(state, WAIT)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.stuck |= waited.timed_out();
        }
        state.bytes += bytes;
        true
    }

    fn passed(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes -= bytes;
        state.stuck = false;
        state.moved = Some(Instant::now());
        self.moved.notify_all();
    }
}

/// Starts the thread. `dropped` makes the line that says how many others are missing. Without a thread, what is written is written at once.
pub fn start(dropped: fn(u64) -> String) {
    WRITER.get_or_init(|| {
        let (orders, received) = mpsc::channel();
        let queue = Arc::<Queue>::default();
        let of_thread = Arc::clone(&queue);
        let started = thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || write_all(&received, &of_thread, dropped));
        if let Err(error) = started {
            // The channel is closed then, and everybody writes for himself.
            let _ = writeln!(io::stderr(), "{error}");
        }
        Writer { orders, queue }
    });
}

fn write_all(orders: &Receiver<Order>, queue: &Queue, dropped: fn(u64) -> String) {
    let mut bar: Option<ProgressBar> = None;
    while let Ok(order) = orders.recv() {
        let size = order.size();
        match order {
            Order::Text(text, missing) => {
                let write = || {
                    let mut stderr = io::stderr();
                    if missing > 0 {
                        let _ = writeln!(stderr, "{}", dropped(missing));
                    }
                    // A reader that has gone away changes nothing about the run.
                    let _ = stderr.write_all(&text).and_then(|()| stderr.flush());
                };
                match &bar {
                    Some(bar) => bar.suspend(write),
                    None => write(),
                }
            }
            Order::Live(Some(live)) => draw(
                bar.get_or_insert_with(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())),
                live,
            ),
            Order::Live(None) => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
            Order::Tell(whom) => {
                let _ = whom.send(());
            }
        }
        queue.passed(size);
    }
}

fn draw(bar: &ProgressBar, live: Live) {
    let template = match live.total {
        0 => "{msg}",
        _ => "{msg} [{bar:20}] {percent} %",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    if live.total > 0 {
        bar.set_length(live.total);
        bar.set_position(live.done.min(live.total));
    }
    bar.set_message(live.text);
    bar.tick();
}

/// Writes a text: whole lines, or all of a question.
pub fn write(text: Vec<u8>) {
    let Some(writer) = WRITER.get() else {
        let _ = io::stderr().write_all(&text);
        return;
    };
    if !writer.queue.admit(text.len(), true) {
        let mut state = writer.queue.state();
        state.dropped += 1;
        state.unsaid += 1;
        return;
    }
    let missing = std::mem::take(&mut writer.queue.state().unsaid);
    if let Err(mpsc::SendError(Order::Text(text, _))) = writer.orders.send(Order::Text(text, missing)) {
        let _ = io::stderr().write_all(&text);
    }
}

/// Writes a line.
pub fn line(mut text: String) {
    text.push('\n');
    write(text.into_bytes());
}

/// Shows the last line of the terminal, or takes it away.
pub fn live(live: Option<Live>) {
    let Some(writer) = WRITER.get() else { return };
    let order = Order::Live(live);
    // The next one says more than one that is missing.
    if writer.queue.admit(order.size(), false) {
        let _ = writer.orders.send(order);
    }
}

/// Waits until all of it is written, or nothing has passed for a while.
pub fn flush() {
    let Some(writer) = WRITER.get() else { return };
    let (tell, told) = mpsc::channel();
    if writer.orders.send(Order::Tell(tell)).is_err() {
        return;
    }
    let began = Instant::now();
    while let Err(mpsc::RecvTimeoutError::Timeout) = told.recv_timeout(WAIT) {
        let state = writer.queue.state();
        let since = state.moved.map_or(began, |moved| moved.max(began));
        let patience = if state.hurried { HURRIED } else { PATIENCE };
        if since.elapsed() >= patience {
            return;
        }
    }
}

/// From now on nothing waits for a reader.
pub fn hurry() {
    if let Some(writer) = WRITER.get() {
        writer.queue.state().hurried = true;
        writer.queue.moved.notify_all();
    }
}

/// How many lines were dropped.
pub fn dropped() -> u64 {
    WRITER.get().map_or(0, |writer| writer.queue.state().dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_not_admitted_and_does_not_wait_twice() {
        let queue = Queue::default();
        // Larger than the limit, and alone.
        assert!(queue.admit(LIMIT + 1, true));
        let began = Instant::now();
        assert!(!queue.admit(1, true));
        assert!(began.elapsed() >= WAIT);
        assert!(queue.state().stuck);
        assert!(!queue.admit(1, true) && !queue.admit(1, false));
        queue.passed(LIMIT + 1);
        assert!(queue.admit(LIMIT, true) && !queue.state().stuck);
        assert!(!queue.admit(1, false) && !queue.state().stuck);
    }

    #[test]
    fn a_reader_that_reads_makes_room_for_whoever_waits() {
        let queue = Arc::new(Queue::default());
        assert!(queue.admit(LIMIT, true));
        let reader = Arc::clone(&queue);
        let reads = thread::spawn(move || reader.passed(LIMIT));
        assert!(queue.admit(1, true) || queue.state().stuck);
        reads.join().unwrap();
        assert!(queue.admit(1, true));
    }

    #[test]
    fn a_run_that_is_to_stop_waits_for_nobody() {
        let queue = Queue::default();
        assert!(queue.admit(LIMIT, true));
        queue.state().hurried = true;
        assert!(!queue.admit(1, true) && !queue.state().stuck);
    }
}
