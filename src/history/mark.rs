//! What an unfinished row of ours says of itself.

use super::session_state::SessionState;
use std::fmt;

/// What an unfinished row of ours says about the run that left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// A script that was sent as one message. If its row is written in the script's own transaction, there is no progress in the mark, and that the
    /// row is visible proves that something was committed. If it has several transactions, the mark says how many of them are committed.
    Partial(Option<Progress>),
    /// A script sent step by step.
    Steps(Progress),
    /// The row was committed before a statement that cannot run in a transaction was sent.
    Alone {
        /// What is committed before it.
        progress: Progress,
        /// The OIDs of what was there before of the kind that it makes: the table's indexes, the database of its name.
        before: Vec<u32>,
        /// The OIDs of what it names: the table of an index that is created, the index that is dropped, a partition and its table.
        names: Vec<u32>,
    },
    /// The row was committed before a script whose transactions others may end.
    Undecidable,
}

/// How far a script has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps, or transactions, that are committed.
    pub done: usize,
    /// The text before.
    pub before: Prefix,
    /// What its session was then.
    pub session: SessionMark,
}

/// SHA-256 of a script's text up to where it can be gone on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// With a line feed for each carriage return and line feed.
    Text(String),
    /// Over the bytes, as builds up to 0.1 wrote it.
    Raw(String),
}

/// What is known of the session that a script was sent in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionMark {
    /// What a later session must be made like.
    Known(Box<SessionState>),
    /// A step that may have changed it was committed, and nothing was read after it.
    Unread,
    /// The build that wrote the mark did not keep it.
    Absent,
}

/// A backend of the server: its number, and when it began, which tells it apart from a later one with the same number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Its number.
    pub pid: u32,
    /// Microseconds since 1970.
    pub started: i64,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pid, self.started)
    }
}

impl Backend {
    fn parse(text: &str) -> Option<Backend> {
        let (pid, started) = text.split_once('@')?;
        Some(Backend {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }
}

/// The first line of an unfinished row's `logs`: `prisma-migrate-task/1 run=<run id> state=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The run that wrote the row.
    pub run_id: String,
    /// The backend that it was written by; none in marks of builds up to 0.1.
    pub backend: Option<Backend>,
    /// How the script was being sent.
    pub state: Marked,
}

const MARK: &str = "prisma-migrate-task/1";

impl Mark {
    /// Reads the mark off a row's logs; none where they are not ours or of another version.
    pub fn parse(logs: &str) -> Option<Mark> {
        let line = logs.lines().next()?;
        let mut words = line.split(' ');
        if words.next() != Some(MARK) {
            return None;
        }
        let fields: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let oids = |name: &str| -> Vec<u32> {
            let list = field(name).unwrap_or_default();
            list.split(',').filter_map(|oid| oid.parse().ok()).collect()
        };
        let progress = |done: usize| {
            let before = match (field("text"), field("prefix")) {
                (Some(text), _) => Prefix::Text(text.to_owned()),
                (None, raw) => Prefix::Raw(raw?.to_owned()),
            };
            let session = match field("session") {
                None => SessionMark::Absent,
                Some("?") => SessionMark::Unread,
                Some(text) => SessionMark::Known(Box::new(SessionState::parse(text)?)),
            };
            Some(Progress { done, before, session })
        };
        let step = || field("step")?.parse::<usize>().ok();
        let state = match field("state")? {
            "partial" => Marked::Partial(step().and_then(progress)),
            "steps" => Marked::Steps(progress(step()?)?),
            "alone" => Marked::Alone {
                progress: progress(step()?.checked_sub(1)?)?,
                before: oids("before"),
                names: oids("names"),
            },
            "undecidable" => Marked::Undecidable,
            _ => return None,
        };
        Some(Mark {
            run_id: field("run")?.to_owned(),
            backend: field("backend").and_then(Backend::parse),
            state,
        })
    }
}

impl Mark {
    /// Whether the two say the same of the script, whatever they say of its session.
    pub fn is_same_but_for_the_session(&self, other: &Mark) -> bool {
        let without = |mark: &Mark| {
            let mut mark = mark.clone();
            if let Marked::Partial(Some(progress)) | Marked::Steps(progress) | Marked::Alone { progress, .. } =
                &mut mark.state
            {
                progress.session = SessionMark::Absent;
            }
            mark
        };
        without(self) == without(other)
    }

    /// What it says of the session.
    pub fn session(&self) -> Option<&SessionMark> {
        match &self.state {
            Marked::Partial(Some(progress)) | Marked::Steps(progress) | Marked::Alone { progress, .. } => {
                Some(&progress.session)
            }
            Marked::Partial(None) | Marked::Undecidable => None,
        }
    }

    /// The mark before and after what it says of the session, for a note in which the server itself says that.
    pub fn around_session(&self) -> Option<(String, String)> {
        let mut mark = self.clone();
        if let Marked::Partial(Some(progress)) | Marked::Steps(progress) | Marked::Alone { progress, .. } =
            &mut mark.state
        {
            progress.session = SessionMark::Unread;
        }
        let text = mark.to_string();
        let (before, after) = text.split_once(UNREAD)?;
        Some((format!("{before} session="), after.to_owned()))
    }
}

/// What a mark says of a session that was not read.
const UNREAD: &str = " session=?";

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK} run={} state=", self.run_id)?;
        match &self.state {
            Marked::Partial(None) => write!(f, "partial")?,
            Marked::Partial(Some(progress)) => write!(f, "partial step={} {progress}", progress.done)?,
            Marked::Steps(progress) => write!(f, "steps step={} {progress}", progress.done)?,
            Marked::Alone {
                progress,
                before,
                names,
            } => {
                let list = |oids: &[u32]| oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                let step = progress.done + 1;
                write!(f, "alone step={step} {progress} before={}", list(before))?;
                if !names.is_empty() {
                    write!(f, " names={}", list(names))?;
                }
            }
            Marked::Undecidable => write!(f, "undecidable")?,
        }
        match &self.backend {
            Some(backend) => write!(f, " backend={backend}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.before {
            Prefix::Text(hash) => write!(f, "text={hash}")?,
            Prefix::Raw(hash) => write!(f, "prefix={hash}")?,
        }
        match &self.session {
            SessionMark::Known(state) => write!(f, " session={state}"),
            SessionMark::Unread => f.write_str(UNREAD),
            SessionMark::Absent => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: usize, session: SessionMark) -> Progress {
        Progress {
            done,
            before: Prefix::Text("abc".into()),
            session,
        }
    }

    #[test]
    fn a_mark_reads_back_as_it_was_written() {
        let changed = SessionState {
            role: Some("a role".into()),
            settings: [("search_path".to_owned(), "\"A b\", public".to_owned())].into(),
            temporary: vec!["kept\nhere".into()],
            ..SessionState::default()
        };
        for state in [
            Marked::Partial(None),
            Marked::Partial(Some(progress(2, SessionMark::Unread))),
            Marked::Steps(progress(3, SessionMark::Absent)),
            Marked::Steps(progress(3, SessionMark::Known(Box::default()))),
            Marked::Steps(progress(3, SessionMark::Known(Box::new(changed.clone())))),
            Marked::Alone {
                progress: progress(1, SessionMark::Unread),
                before: vec![],
                names: vec![7],
            },
            Marked::Alone {
                progress: progress(0, SessionMark::Absent),
                before: vec![16_384, 4_294_967_295],
                names: vec![],
            },
            Marked::Undecidable,
        ] {
            for backend in [
                None,
                Some(Backend {
                    pid: 42,
                    started: 1_790_000_000_000_000,
                }),
            ] {
                let mark = Mark {
                    run_id: "7b0c".into(),
                    backend,
                    state: state.clone(),
                };
                assert_eq!(Mark::parse(&format!("{mark}\nERROR: and what explains it")), Some(mark));
            }
        }
    }

    #[test]
    fn the_server_can_say_what_the_session_is() {
        let state = SessionState {
            role: Some("a role".into()),
            ..SessionState::default()
        };
        let known = Mark {
            run_id: "7b0c".into(),
            backend: None,
            state: Marked::Steps(progress(3, SessionMark::Known(Box::new(state.clone())))),
        };
        let (before, after) = known.around_session().unwrap();
        let text = "{\"role\": \"a role\"}"
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        assert_eq!(Mark::parse(&format!("{before}x{text}{after}")), Some(known.clone()));
        let unread = Mark {
            state: Marked::Steps(progress(3, SessionMark::Unread)),
            ..known.clone()
        };
        assert!(known.is_same_but_for_the_session(&unread) && known != unread);
    }

    #[test]
    fn marks_of_earlier_builds_are_read() {
        let of = |logs: &str| Mark::parse(logs).map(|mark| mark.state);
        assert_eq!(
            of("prisma-migrate-task/1 run=a state=partial"),
            Some(Marked::Partial(None))
        );
        let before = Prefix::Raw("ab".into());
        let session = SessionMark::Absent;
        let progress = |done| Progress {
            done,
            before: before.clone(),
            session: session.clone(),
        };
        assert_eq!(
            of("prisma-migrate-task/1 run=a state=steps step=3 prefix=ab"),
            Some(Marked::Steps(progress(3)))
        );
        assert_eq!(
            of("prisma-migrate-task/1 run=a state=alone step=2 prefix=ab before=1,2"),
            Some(Marked::Alone {
                progress: progress(1),
                before: vec![1, 2],
                names: vec![]
            })
        );
        assert_eq!(
            of("prisma-migrate-task/1 run=a state=undecidable"),
            Some(Marked::Undecidable)
        );
    }

    #[test]
    fn logs_of_others_are_no_mark() {
        for logs in [
            "",
            "ERROR: x",
            "prisma-migrate-task/2 run=a state=partial",
            "prisma-migrate-task/1 run=a state=new",
            "prisma-migrate-task/1 run=a state=alone step=0 prefix=a before=",
        ] {
            assert_eq!(Mark::parse(logs), None, "{logs}");
        }
    }
}
