//! The real binary, run as a person or a task runs it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use crate::postgres::Database;
use crate::process::{Ends, Run, Running, Stdin, Stdout};
use crate::s3::S3;

/// The program under test: `Tool::new(env!("CARGO_BIN_EXE_prisma-migrate-task"))`.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
}

impl Tool {
    /// `program`: the path of the binary.
    pub fn new(program: impl Into<PathBuf>) -> Tool {
        Tool {
            program: program.into(),
        }
    }

    /// `prisma-migrate-task deploy <source>`: a folder, a zip file.
    pub fn deploy(&self, source: impl AsRef<OsStr>) -> Call {
        self.verb(["deploy"]).arg(source)
    }

    /// A call with these words: `tool.verb(["migrate", "status"])`.
    pub fn verb<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Call {
        let arguments = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        Call {
            program: self.program.clone(),
            arguments,
            environment: Vec::new(),
            secrets: Vec::new(),
            report: true,
            ends: Ends::default(),
        }
    }
}

/// One call that is being put together. The child sees PATH and the variables that were set here, nothing else.
///
/// Neither the password of a [`Database`] nor the secret key of an [`S3`] that the call was given may turn up in anything it says: that is asserted
/// after every run.
#[derive(Clone, Debug)]
pub struct Call {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    secrets: Vec<String>,
    report: bool,
    ends: Ends,
}

impl Call {
    /// Sets `DATABASE_URL`.
    pub fn database(self, database: &Database) -> Call {
        self.env("DATABASE_URL", database.url()).secrets_of(database)
    }

    /// Sets `DATABASE_URL` to another way to the same database: through a proxy, with parameters.
    pub fn database_url(self, database: &Database, url: &str) -> Call {
        self.env("DATABASE_URL", url).secrets_of(database)
    }

    /// Sets `DB_HOST`, `DB_PORT`, `DB_NAME`, `DB_USERNAME` and `DB_PASSWORD`, as ECS injects them.
    pub fn database_parts(self, database: &Database) -> Call {
        let call = self
            .env("DB_HOST", database.host())
            .env("DB_PORT", database.port().to_string())
            .env("DB_NAME", database.name());
        call.env("DB_USERNAME", database.user())
            .env("DB_PASSWORD", database.password())
            .secrets_of(database)
    }

    /// Sets what the AWS SDK needs to find this S3 and to sign for it.
    pub fn s3(mut self, s3: &S3) -> Call {
        self.environment.extend(
            s3.environment()
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        self.secret(s3.secret_key())
    }

    /// Sets several variables.
    pub fn envs(self, variables: impl IntoIterator<Item = (String, String)>) -> Call {
        variables
            .into_iter()
            .fold(self, |call, (name, value)| call.env(name, value))
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Call {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Call {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Another text that must not turn up in anything the program says; give a part of it that no encoding or quoting changes.
    pub fn secret(mut self, text: &str) -> Call {
        self.secrets.push(text.to_owned());
        self
    }

    /// Leaves out `--report <file>`.
    pub fn without_report(mut self) -> Call {
        self.report = false;
        self
    }

    /// Gives it this on standard input.
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Call {
        self.ends.stdin = Stdin::Text(text.into());
        self
    }

    /// Gives it a terminal as standard input.
    pub fn terminal(mut self) -> Call {
        self.ends.stdin = Stdin::Terminal;
        self
    }

    /// Closes its standard output behind so many bytes, as `head` does.
    pub fn read_at_most(mut self, bytes: usize) -> Call {
        self.ends.stdout = Stdout::AtMost(bytes);
        self
    }

    /// Leaves its standard output open and unread, as a pager does that waits for a key.
    pub fn stall_stdout(mut self) -> Call {
        self.ends.stdout = Stdout::Unread;
        self
    }

    /// Leaves its standard error open and unread, as a log driver does that hangs.
    pub fn stall_stderr(mut self) -> Call {
        self.ends.stalled_stderr = true;
        self
    }

    /// Sends its standard output to this file.
    pub fn stdout_to(mut self, file: impl Into<PathBuf>) -> Call {
        self.ends.stdout = Stdout::File(file.into());
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Run {
        self.spawn().wait()
    }

    /// Starts it.
    pub fn spawn(self) -> Running {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.environment);
        let report = self.report.then(|| {
            let folder = tempfile::tempdir().expect("no temporary folder for the report");
            let path = folder.path().join("report.json");
            command.arg("--report").arg(&path);
            (folder, path)
        });
        Running::start(command, report, self.secrets, self.ends)
    }

    fn secrets_of(mut self, database: &Database) -> Call {
        self.secrets.extend(database.secrets().iter().cloned());
        self
    }
}
