//! Whole processes, timed: those that are compared take turns, so that a machine that is slow for a while is slow for all of them.

use std::any::Any;
use std::fs::File;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::process::memory;

/// A program with its arguments, ready to be timed, and what must live until it has ended.
pub struct Job {
    pub command: Command,
    pub holds: Box<dyn Any>,
}

impl Job {
    pub fn new(command: Command, holds: impl Any) -> Job {
        Job {
            command,
            holds: Box::new(holds),
        }
    }
}

/// One of those that are compared. `prepare` makes the state that it starts from, which is not timed.
pub struct Contender<'a> {
    pub name: String,
    pub prepare: Box<dyn FnMut() -> Job + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: &str, prepare: impl FnMut() -> Job + 'a) -> Contender<'a> {
        Contender {
            name: name.to_owned(),
            prepare: Box::new(prepare),
        }
    }
}

/// What one of them came to.
#[derive(Clone, Debug)]
pub struct Figures {
    pub name: String,
    /// Seconds, in rising order.
    pub seconds: Vec<f64>,
    /// The most memory that the process held, in bytes; where it was looked at.
    pub memory: Option<u64>,
}

impl Figures {
    pub fn median(&self) -> f64 {
        self.seconds[self.seconds.len() / 2]
    }

    pub fn least(&self) -> f64 {
        self.seconds.first().copied().unwrap_or_default()
    }

    pub fn most(&self) -> f64 {
        self.seconds.last().copied().unwrap_or_default()
    }
}

/// Runs all of them `rounds` times in turn, each time in another order, behind one round that does not count.
pub fn race(rounds: usize, contenders: &mut [Contender<'_>]) -> Vec<Figures> {
    let mut seconds = vec![Vec::new(); contenders.len()];
    let count = contenders.len();
    for round in 0..=rounds {
        for turn in 0..count {
            let at = (turn + round) % count;
            let took = timed((contenders[at].prepare)());
            if round > 0 {
                seconds[at].push(took.as_secs_f64());
            }
        }
    }
    let figures = contenders.iter().zip(seconds).map(|(contender, mut seconds)| {
        seconds.sort_by(f64::total_cmp);
        Figures {
            name: contender.name.clone(),
            seconds,
            memory: None,
        }
    });
    figures.collect()
}

/// [`race`], and behind it some runs more of each in which the memory is looked at: to look takes time from what is timed.
pub fn race_with_memory(rounds: usize, contenders: &mut [Contender<'_>]) -> Vec<Figures> {
    let mut figures = race(rounds, contenders);
    for (contender, figures) in contenders.iter_mut().zip(&mut figures) {
        let peaks = (0..rounds.min(3)).map(|_| peak_memory((contender.prepare)()));
        figures.memory = peaks.max();
    }
    figures
}

fn timed(job: Job) -> Duration {
    let Job { mut command, holds } = job;
    let errors = quiet(&mut command);
    let started = Instant::now();
    let status = command.status();
    let took = started.elapsed();
    let status = status.unwrap_or_else(|error| panic!("cannot run {:?}: {error}", command.get_program()));
    expect_success(status, &command, &errors);
    drop(holds);
    took
}

/// Linux's VmHWM, as last seen a millisecond before the end. (`ru_maxrss` would count what the process was forked from.)
fn peak_memory(job: Job) -> u64 {
    let Job { mut command, holds } = job;
    let errors = quiet(&mut command);
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {:?}: {error}", command.get_program()));
    let mut peak = 0;
    let status = loop {
        peak = memory(child.id()).unwrap_or(peak);
        if let Some(status) = child.try_wait().expect("cannot wait for a child") {
            break status;
        }
        sleep(Duration::from_millis(1));
    };
    expect_success(status, &command, &errors);
    drop(holds);
    peak
}

fn expect_success(status: ExitStatus, command: &Command, errors: &tempfile::NamedTempFile) {
    assert!(
        status.success(),
        "{:?}: {status}\n{}",
        command.get_program(),
        said(errors)
    );
}

fn quiet(command: &mut Command) -> tempfile::NamedTempFile {
    let errors = tempfile::NamedTempFile::new().expect("no temporary file");
    let to: File = errors.reopen().expect("it can be opened again");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(to);
    errors
}

fn said(errors: &tempfile::NamedTempFile) -> String {
    let all = std::fs::read_to_string(errors.path()).unwrap_or_default();
    let lines: Vec<&str> = all.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
