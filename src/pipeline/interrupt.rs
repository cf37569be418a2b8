//! Signals on this side: they never end the task unless a person says so.

use crate::failure::Failure;
use crate::live;
use crate::stderr;
use crate::stop::{Reason, interrupted};
use std::io::{self, BufRead, IsTerminal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What is to become of a task that is being followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is followed on.
    Follow,
    /// It goes on by itself.
    Detach,
    /// It is stopped, and followed to its end.
    Stop,
}

/// The signals that have come.
#[derive(Debug)]
pub struct Interrupt {
    signals: mpsc::UnboundedReceiver<&'static str>,
    /// One that was taken and not yet heeded.
    kept: Option<&'static str>,
    /// Whether somebody can be asked.
    terminal: bool,
    /// Whether the task is to stop already: then Ctrl-C means to wait no longer.
    stopping: bool,
}

impl Interrupt {
    /// Begins to listen: from now on SIGINT, SIGTERM and SIGHUP do not end the process.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn listen() -> io::Result<Interrupt> {
        let (send, signals) = mpsc::unbounded_channel();
        let kinds = [
            (SignalKind::interrupt(), "SIGINT"),
            (SignalKind::terminate(), "SIGTERM"),
            (SignalKind::hangup(), "SIGHUP"),
        ];
        for (kind, name) in kinds {
            let mut stream = signal(kind)?;
            let send = send.clone();
            tokio::spawn(async move { while stream.recv().await.is_some() && send.send(name).is_ok() {} });
        }
        Ok(Interrupt {
            signals,
            kept: None,
            terminal: io::stdin().is_terminal(),
            stopping: false,
        })
    }

    /// Waits for a signal; its name.
    pub async fn signal(&mut self) -> &'static str {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        match self.signals.recv().await {
            Some(name) => name,
            // Nobody will send one any more.
            None => std::future::pending().await,
        }
    }

    /// Gives a signal back, for a moment when it can be heeded.
    pub fn keep(&mut self, signal: &'static str) {
        self.kept = Some(signal);
    }

    /// Does something that can be given up at any moment, while there is no task to care for.
    ///
    /// # Errors
    /// A signal has come.
    pub async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            signal = self.signal() => Err(interrupted(Reason::Signal(signal), crate::failure::UNCHANGED)),
            done = work => Ok(done),
        }
    }

    /// What a signal means for the task: at a terminal, Ctrl-C asks, and a second one detaches; everything else detaches.
    pub async fn wish(&mut self, signal: &str) -> Wish {
        if signal != "SIGINT" || !self.terminal || self.stopping {
            return Wish::Detach;
        }
        live::clear();
        let question = "\nthe task goes on by itself: [d]etach from it, [s]top it, or [c]ontinue to follow it? ";
        // A terminal that is gone answers no question either.
        stderr::write(question.into());
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin()
                .lock()
                .read_line(&mut line)
                .map(|read| (read > 0).then_some(line))
        });
        let answer = tokio::select! {
            biased;
            _ = self.signal() => return Wish::Detach,
            answer = answer => answer,
        };
        let Ok(Ok(Some(line))) = answer else {
            return Wish::Detach;
        };
        match line.trim().to_lowercase().as_str() {
            "d" | "detach" => Wish::Detach,
            "s" | "stop" => {
                self.stopping = true;
                Wish::Stop
            }
            _ => Wish::Follow,
        }
    }
}
