//! A program run by a test: its output is collected, its time is bounded, and it does not outlive the test.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

/// A program that runs longer than this is killed, and its test fails.
pub const LONGEST_RUN: Duration = Duration::from_secs(120);

/// A condition that does not come true in this time fails its test.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Waits until the condition holds; panics after [`LONGEST_WAIT`], naming it: `until("the lock is held", || …)`.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < LONGEST_WAIT,
            "waited {LONGEST_WAIT:?} in vain until {what}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// How a program ended, and all that it said.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit code; 128 + the signal's number when a signal ended it, as shells count.
    pub code: i32,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// The JSON document of `--report`, where one was asked for and written.
    pub report: Option<serde_json::Value>,
    /// From the start to the end.
    pub took: Duration,
    /// The most memory that it held, in bytes: Linux's VmHWM, as last seen a few milliseconds before the end.
    pub peak_memory: u64,
}

impl Run {
    /// The run itself if it ended with this code; else a panic that shows everything it said.
    #[track_caller]
    pub fn expect(self, code: i32) -> Run {
        assert!(self.code == code, "exit code {} instead of {code}\n{self}", self.code);
        self
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Run {
            code,
            stdout,
            stderr,
            report,
            took,
            peak_memory,
        } = self;
        writeln!(
            f,
            "exit code {code} after {took:?}, {} KiB of memory",
            peak_memory / 1024
        )?;
        write!(f, "--- stdout\n{stdout}\n--- stderr\n{stderr}")?;
        report
            .as_ref()
            .map_or(Ok(()), |report| write!(f, "\n--- report\n{report:#}"))
    }
}

/// What a program's standard input and output are tied to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    pub stdin: Stdin,
    pub stdout: Stdout,
    /// Standard error stays open and is not read.
    pub stalled_stderr: bool,
}

/// Who reads what a program writes.
#[derive(Clone, Debug, Default)]
pub(crate) enum Stdout {
    #[default]
    Read,
    AtMost(usize),
    Unread,
    File(PathBuf),
}

/// What a program reads.
#[derive(Clone, Debug, Default)]
pub(crate) enum Stdin {
    #[default]
    Nothing,
    Text(Vec<u8>),
    Terminal,
}

/// A terminal: our end, and the program's.
fn terminal() -> (OwnedFd, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("no terminal to be had");
    grantpt(&ours).expect("no terminal to be had");
    unlockpt(&ours).expect("no terminal to be had");
    let name = ptsname(&ours, Vec::new()).expect("a terminal has a name");
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().expect("its name is ASCII"))
        .expect("a terminal can be opened");
    (ours, theirs)
}

type Output = Arc<Mutex<Vec<u8>>>;

/// A program that is running. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    started: Instant,
    stdout: Output,
    stderr: Output,
    readers: Vec<JoinHandle<()>>,
    report: Option<(TempDir, PathBuf)>,
    secrets: Vec<String>,
    /// Our end of its terminal, which hangs up when this is dropped.
    terminal: Option<OwnedFd>,
}

impl Running {
    /// `report`: the file to read after the end, and the folder that goes away with it. No secret may be seen in anything the program says.
    pub(crate) fn start(
        mut command: Command,
        report: Option<(TempDir, PathBuf)>,
        secrets: Vec<String>,
        ends: Ends,
    ) -> Running {
        let mut terminal = None;
        let (stdin, text) = match ends.stdin {
            Stdin::Nothing => (Stdio::null(), None),
            Stdin::Text(text) => (Stdio::piped(), Some(text)),
            Stdin::Terminal => {
                let (ours, theirs) = self::terminal();
                terminal = Some(ours);
                (theirs.into(), None)
            }
        };
        command
            .stdin(stdin)
            .stdout(match &ends.stdout {
                Stdout::File(file) => OpenOptions::new()
                    .write(true)
                    .open(file)
                    .expect("it can be opened")
                    .into(),
                _ => Stdio::piped(),
            })
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {:?}: {error}", command.get_program()));
        if let Some(text) = text {
            let mut stdin = child.stdin.take().expect("stdin is piped");
            // The program may end without having read it.
            thread::spawn(move || drop(stdin.write_all(&text)));
        }
        let (stdout, stderr) = (Output::default(), Output::default());
        let mut readers = Vec::new();
        if !ends.stalled_stderr {
            let from = child.stderr.take().expect("stderr is piped");
            readers.push(collect(from, Arc::clone(&stderr), usize::MAX));
        }
        let most = match ends.stdout {
            Stdout::Read => Some(usize::MAX),
            Stdout::AtMost(bytes) => Some(bytes),
            Stdout::Unread | Stdout::File(_) => None,
        };
        if let Some(most) = most {
            let from = child.stdout.take().expect("stdout is piped");
            readers.push(collect(from, Arc::clone(&stdout), most));
        }
        Running {
            child,
            started: Instant::now(),
            stdout,
            stderr,
            readers,
            report,
            secrets,
            terminal,
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as [`Signal::TERM`].
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("cannot send a signal to a process that is gone");
    }

    /// SIGKILL, and what was said until then.
    pub fn kill(self) -> Run {
        self.signal(Signal::KILL);
        self.wait()
    }

    /// Types this at its terminal.
    pub fn types(&self, text: &str) {
        let terminal = self.terminal.as_ref().expect("it has no terminal");
        rustix::io::write(terminal, text.as_bytes()).expect("its terminal takes what is typed");
    }

    /// Waits until this text is in standard error; panics when the program ends without it.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            // The end is looked at before the text: what was said between the two looks must count.
            let over = self.child.try_wait().expect("cannot look at a child").is_some()
                && self.readers.iter().all(JoinHandle::is_finished);
            if self.stderr().contains(text) {
                return;
            }
            let said = format!("--- stdout\n{}\n--- stderr\n{}", read(&self.stdout), self.stderr());
            assert!(!over, "the program ended without saying {text:?}\n{said}");
            assert!(
                start.elapsed() < LONGEST_WAIT,
                "the program does not say {text:?}\n{said}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Reads standard error from now on, where nobody has so far.
    pub fn read_stderr(&mut self) {
        if let Some(from) = self.child.stderr.take() {
            self.readers.push(collect(from, Arc::clone(&self.stderr), usize::MAX));
        }
    }

    /// How long it has computed so far.
    pub fn computed(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The program's name is in parentheses; behind it, utime and stime are the 12th and 13th field, in hundredths of a second.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("cannot look at a child").is_none()
    }

    /// Waits for the end; panics when that takes longer than [`LONGEST_RUN`], or when a secret was said.
    pub fn wait(mut self) -> Run {
        let mut peak_memory = 0;
        let status = loop {
            peak_memory = memory(self.child.id()).unwrap_or(peak_memory);
            if let Some(status) = self.child.try_wait().expect("cannot wait for a child") {
                break status;
            }
            if self.started.elapsed() > LONGEST_RUN {
                let _ = self.child.kill();
                let (stdout, stderr) = (read(&self.stdout), read(&self.stderr));
                panic!("still running after {LONGEST_RUN:?}: killed\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader of output panicked");
        }
        let report = self
            .report
            .as_ref()
            .and_then(|(_, path)| std::fs::read_to_string(path).ok())
            // Killed between making the file and writing to it.
            .filter(|text| !text.is_empty());
        let said = [
            ("stdout", read(&self.stdout)),
            ("stderr", read(&self.stderr)),
            ("report", report.clone().unwrap_or_default()),
        ];
        for (place, text) in &said {
            for secret in &self.secrets {
                assert!(!text.contains(secret), "a secret is in {place}\n{text}");
            }
        }
        let report = report.map(|text| {
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("the report is not JSON: {error}\n{text}"))
        });
        let [(_, stdout), (_, stderr), _] = said;
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Run {
            code,
            stdout,
            stderr,
            report,
            took,
            peak_memory,
        }
    }
}

/// The most memory that a process has held, in bytes (Linux's VmHWM); none once it has ended.
pub fn memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static, to: Output, most: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            let mut to = to.lock().expect("a reader of output panicked");
            to.extend_from_slice(&chunk[..length]);
            if to.len() >= most {
                return;
            }
        }
    })
}

fn read(output: &Output) -> String {
    String::from_utf8_lossy(&output.lock().expect("a reader of output panicked")).into_owned()
}
