//! The simple query protocol as it is on the wire: what a driver hides decides here, such as the state that a message leaves the session in.

use harness::postgres::Server;
use std::io::{Error, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// No statement of a script takes nearly as long; one that does waits for something that never comes.
const LONGEST: Duration = Duration::from_secs(30);

/// A session on the Unix socket.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
}

/// The answer to one message.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// How many statements were completed.
    pub completed: usize,
    /// The first columns of all rows.
    pub values: Vec<String>,
    /// The error that ended it.
    pub error: Option<ServerError>,
    /// Whether a transaction is open afterwards.
    pub is_open: bool,
}

/// What the server says of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// SQLSTATE.
    pub sqlstate: String,
    /// The server's function that raised it.
    pub routine: String,
    /// Its text.
    pub message: String,
}

impl Wire {
    /// A session as this user.
    pub fn connect(server: &Server, database: &str, user: &str) -> Wire {
        let path = server.socket().join(format!(".s.PGSQL.{}", server.port()));
        let mut wire = UnixStream::connect(path)
            .map(|stream| Wire { stream })
            .expect("the server listens");
        wire.stream.set_read_timeout(Some(LONGEST)).expect("a timeout");
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for (name, value) in [("user", user), ("database", database), ("client_encoding", "UTF8")] {
            body.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
        }
        body.push(0);
        let opened = wire.put(None, &body).and_then(|()| wire.reply());
        let opened = opened.unwrap_or_else(|error| panic!("no session: {error}"));
        assert!(opened.error.is_none(), "no session: {opened:?}");
        wire
    }

    /// Sends one message and reads to its end.
    pub fn query(&mut self, sql: &str) -> Result<Reply> {
        self.put(Some(b'Q'), &[sql.as_bytes(), &[0]].concat())?;
        self.reply()
    }

    /// The first columns of the rows of what must succeed.
    pub fn values(&mut self, sql: &str) -> Vec<String> {
        let reply = self.query(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
        assert!(reply.error.is_none(), "{:?}\n{sql}", reply.error);
        reply.values
    }

    fn put(&mut self, kind: Option<u8>, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len() + 4).expect("a short message");
        let mut message = Vec::from_iter(kind);
        message.extend(length.to_be_bytes());
        message.extend(body);
        self.stream.write_all(&message)
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut reply = Reply::default();
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head)?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; length.saturating_sub(4) as usize];
            self.stream.read_exact(&mut body)?;
            match head[0] {
                b'C' => reply.completed += 1,
                b'D' => reply.values.extend(first_column(&body)),
                b'E' => reply.error = Some(ServerError::read(&body)),
                b'G' => self.put(Some(b'f'), b"no data\0")?,
                b'Z' => {
                    reply.is_open = body != [b'I'];
                    return Ok(reply);
                }
                b'R' if body != [0; 4] => return Err(Error::other("it asks for a password")),
                _ => {}
            }
        }
    }
}

fn first_column(body: &[u8]) -> Option<String> {
    let length = i32::from_be_bytes(body.get(2..6)?.try_into().ok()?);
    let Ok(length) = usize::try_from(length) else {
        return Some("NULL".to_owned());
    };
    Some(String::from_utf8_lossy(body.get(6..6 + length)?).into_owned())
}

impl ServerError {
    fn read(body: &[u8]) -> ServerError {
        let mut error = ServerError::default();
        for field in body.split(|byte| *byte == 0) {
            let Some((kind, text)) = field.split_first() else {
                continue;
            };
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => error.sqlstate = text,
                b'R' => error.routine = text,
                b'M' => error.message = text,
                _ => {}
            }
        }
        error
    }

    /// Whether the server refuses the form and not what the statement does: SQLSTATE and routine together, since a script may raise any SQLSTATE.
    pub fn refusal(&self) -> Option<Refusal> {
        match (&*self.sqlstate, &*self.routine) {
            ("25001", "PreventInTransactionBlock") | ("2D000", "_SPI_commit" | "_SPI_rollback") => Some(Refusal::Hard),
            ("55P04", "check_safe_enum_use") => Some(Refusal::Hard),
            ("25001", "ImportSnapshot" | "call_enum_check_hook" | "call_bool_check_hook") => Some(Refusal::Soft),
            ("55006", "CheckTableNotInUse") | ("25006", "PreventCommandIfReadOnly") => Some(Refusal::Soft),
            _ => None,
        }
    }
}

/// How a form is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// In a transaction it can never run.
    Hard,
    /// It may as well be a mistake in the script: then the error is the whole truth.
    Soft,
}
