//! `make demo`: the product on one screen.
//!
//! Starts a PostgreSQL and an S3 server of its own, uploads `migrations/` as a `prisma.zip`, and runs the real binary five times with the variables
//! that ECS sets: a deploy, the same again, the plan of a migration, that it fails, its repair. Ends with 0 only if every run came to what it should. Both servers
//! and everything in them are gone when it ends.

use std::fs;
use std::io::{self, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use harness::history::{History, Layout};
use harness::postgres::{Database, Options, Server};
use harness::process::Run;
use harness::s3::S3;
use harness::tool::Tool;

const BUCKET: &str = "artifacts";
const KEY: &str = "newsroom/CODE/api/prisma.zip";
/// The enum's new value is used by the script that adds it, so the server refuses the script as one transaction.
const STEP_BY_STEP: &str = "20240611083000_live_blogs";
const NEXT: &str = "20250506091000_word_count";
/// `text` is no column of the table.
const BROKEN: &str = r#"-- AlterTable
ALTER TABLE "Article" ADD COLUMN "words" INTEGER NOT NULL DEFAULT 0;

UPDATE "Article" SET "words" = array_length(regexp_split_to_array("text", '\s+'), 1);
"#;

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whether anybody reads it changes nothing.
            let _ = writeln!(io::stderr(), "the demo went wrong: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let program = program()?;
    let mut screen = Screen::new();
    let history = example()?;
    let server = Server::start(Options::new());
    let stage = Stage {
        tool: Tool::new(program),
        s3: S3::start(),
        database: server.database(),
    };
    let count = fs::read_dir(history.migrations())?.count() - 1;

    screen.section("1  prisma.zip is uploaded, and ECS starts the container with these variables")?;
    stage.upload(&history);
    let first = stage.run();
    screen.command(&stage.command_line())?;
    screen.run(&first)?;
    ensure!(first.code == 0, "the deploy ended with {}\n{first}", first.code);
    ensure!(
        applied(&stage.database) == count,
        "not every migration is in the ledger"
    );
    ensure!(
        first.stderr.contains("articles have a slug now"),
        "the NOTICE of a migration is not shown"
    );
    ensure!(
        first.stdout.contains(&format!("{STEP_BY_STEP}  ")) && first.stdout.contains("statement by statement"),
        "the migration that cannot run in one transaction was not sent statement by statement"
    );

    screen.section("2  _prisma_migrations, as Prisma keeps it: its own CLI finds nothing to do either")?;
    screen.ledger(&stage.database, "")?;

    screen.section("3  The same upload starts the task once more")?;
    let second = stage.run();
    screen.run(&second)?;
    ensure!(second.code == 0, "the second run ended with {}\n{second}", second.code);
    ensure!(
        second.stdout.starts_with("up to date"),
        "the second run did something\n{second}"
    );

    screen.section(
        "4  What the next upload would do, with what is large here lowered to 8 kB: the command override [\"plan\"]",
    )?;
    let history = history.migration(NEXT, BROKEN);
    stage.upload(&history);
    let plan = stage.run_verb(&["plan", "--large-table", "8kB"]);
    screen.run(&plan)?;
    ensure!(plan.code == 0, "the plan ended with {}\n{plan}", plan.code);
    ensure!(
        plan.stdout.contains("data-change: UPDATE of every row of \"Article\""),
        "the plan does not say what the migration does\n{plan}"
    );
    ensure!(!has_words(&stage.database), "the plan changed something");

    screen.section("5  It has a mistake in its second statement")?;
    let failed = stage.run();
    screen.run(&failed)?;
    ensure!(
        failed.code == 20,
        "the failing run ended with {}\n{failed}",
        failed.code
    );
    ensure!(
        failed.stdout.contains(&format!("{NEXT}/migration.sql:4:")),
        "the failure does not say where\n{failed}"
    );
    ensure!(
        !has_words(&stage.database),
        "the failed migration left its column behind"
    );
    screen.line("(the column that its first statement added is gone again)")?;

    screen.section("6  The mistake is mended and uploaded; there was nothing to resolve")?;
    let history = history.migration(NEXT, BROKEN.replace("\"text\"", "\"body\""));
    stage.upload(&history);
    let repaired = stage.run();
    screen.run(&repaired)?;
    screen.ledger(&stage.database, NEXT)?;
    ensure!(
        repaired.code == 0,
        "the repaired run ended with {}\n{repaired}",
        repaired.code
    );
    ensure!(
        has_words(&stage.database),
        "the repaired migration is not in the schema"
    );
    ensure!(
        applied(&stage.database) == count + 1,
        "the repaired migration is not in the ledger"
    );

    let codes = [&first, &second, &plan, &failed, &repaired].map(|run| run.code.to_string());
    screen.section(&format!(
        "Exit codes: {}. Every run came to what it should",
        codes.join(", ")
    ))
}

/// The binary that was built beside this example.
fn program() -> Result<PathBuf> {
    let here = std::env::current_exe().context("the demo cannot tell where it is")?;
    let folder = here
        .parent()
        .and_then(Path::parent)
        .context("the demo is not in a target folder")?;
    let program = folder.join("prisma-migrate-task");
    ensure!(program.is_file(), "{} is not built: run `make demo`", program.display());
    Ok(program)
}

/// The repository's `migrations/` as a Prisma project.
fn example() -> Result<History> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut history = History::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            history = history.migration(&name, fs::read(entry.path().join("migration.sql"))?);
        } else {
            history.write(format!("migrations/{name}"), fs::read(entry.path())?);
        }
    }
    Ok(history)
}

/// What ECS and the deployer provide.
struct Stage {
    tool: Tool,
    s3: S3,
    database: Database,
}

impl Stage {
    fn upload(&self, history: &History) {
        self.s3.put(BUCKET, KEY, history.zip(Layout::Folder));
    }

    fn run(&self) -> Run {
        self.run_verb(&[])
    }

    fn run_verb(&self, words: &[&str]) -> Run {
        let call = self.tool.verb(words).without_report();
        call.database_parts(&self.database)
            .s3(&self.s3)
            .env("ARTIFACT_BUCKET", BUCKET)
            .env("PRISMA_ARTIFACT_KEY", KEY)
            .env("LOG_FORMAT", "text")
            .run()
    }

    /// The call as a person would type it, secrets left out.
    fn command_line(&self) -> Vec<String> {
        let Stage { s3, database, .. } = self;
        let aws = |(name, value): (String, String)| match name.as_str() {
            "AWS_SECRET_ACCESS_KEY" => format!("{name}=***"),
            _ => format!("{name}={value}"),
        };
        let aws: Vec<String> = s3.environment().into_iter().map(aws).collect();
        let (endpoint, credentials) = aws.split_at(2);
        vec![
            format!("ARTIFACT_BUCKET={BUCKET} PRISMA_ARTIFACT_KEY={KEY}"),
            format!(
                "DB_HOST={} DB_USERNAME={} DB_PASSWORD=***",
                database.host(),
                database.user()
            ),
            format!(
                "DB_PORT={} DB_NAME={}  # the throw-away server's",
                database.port(),
                database.name()
            ),
            format!("{}  # the throw-away S3's", endpoint.join(" ")),
            credentials.join(" "),
            "LOG_FORMAT=text prisma-migrate-task".to_owned(),
        ]
    }
}

fn applied(database: &Database) -> usize {
    let rows = database.ledger();
    rows.iter().filter(|row| row.finished && !row.rolled_back).count()
}

fn has_words(database: &Database) -> bool {
    let sql = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'Article' AND column_name = 'words'";
    database.scalar(sql) == "1"
}

/// Standard output, in colour on a terminal only.
struct Screen {
    stdout: Stdout,
    colour: bool,
}

impl Screen {
    fn new() -> Screen {
        let stdout = io::stdout();
        let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Screen { stdout, colour }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let line = format!("  {line}");
        writeln!(self.stdout, "{}", line.trim_end()).context("the screen is gone")
    }

    fn section(&mut self, title: &str) -> Result<()> {
        let (on, off) = if self.colour {
            ("\u{1b}[1;36m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        writeln!(self.stdout, "\n{on}== {title}{off}").context("the screen is gone")
    }

    fn command(&mut self, lines: &[String]) -> Result<()> {
        for (at, line) in lines.iter().enumerate() {
            self.line(&format!("{} {line}", if at == 0 { "$" } else { " " }))?;
        }
        self.line("")
    }

    /// What a run printed: its log, then its result.
    fn run(&mut self, run: &Run) -> Result<()> {
        for line in run.stderr.lines() {
            self.line(line)?;
        }
        let (on, off) = match (self.colour, run.code) {
            (false, _) => ("", ""),
            (true, 0) => ("\u{1b}[32m", "\u{1b}[0m"),
            (true, _) => ("\u{1b}[31m", "\u{1b}[0m"),
        };
        for line in run.stdout.lines() {
            self.line(&format!("{on}{line}{off}"))?;
        }
        Ok(())
    }

    /// The ledger's rows, of one migration where its name is given.
    fn ledger(&mut self, database: &Database, name: &str) -> Result<()> {
        let rows = database.ledger();
        self.line(&format!(
            "{:<42}{:<10}{:<13}{:<7}logs",
            "migration_name", "finished", "rolled back", "steps"
        ))?;
        for row in rows.iter().filter(|row| row.name.contains(name)) {
            let said = |fact: bool| if fact { "yes" } else { "-" };
            let logs = row.logs.as_deref().and_then(|logs| logs.lines().next()).unwrap_or("-");
            let (finished, rolled_back) = (said(row.finished), said(row.rolled_back));
            self.line(&format!(
                "{:<42}{finished:<10}{rolled_back:<13}{:<7}{logs}",
                row.name, row.steps
            ))?;
        }
        Ok(())
    }
}
