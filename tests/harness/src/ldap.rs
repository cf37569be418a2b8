//! An LDAP server that knows simple binds only: PostgreSQL hands it the password in clear text and takes its word for it. So a test can check a
//! password that nobody can know beforehand, against the real server: an RDS IAM token.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A bind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The name, with the prefix and suffix of `pg_hba.conf`.
    pub user: String,
    /// The password, as PostgreSQL got it from its client.
    pub password: String,
    /// Whether it was accepted.
    pub accepted: bool,
}

/// The server on 127.0.0.1. Its thread lives as long as the test process.
#[derive(Debug)]
pub struct Ldap {
    port: u16,
    binds: Arc<Mutex<Vec<Bind>>>,
}

impl Ldap {
    /// A server that accepts the users and passwords of which `is_right` is true.
    pub fn start(is_right: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Ldap {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("no port for LDAP");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let binds = Arc::new(Mutex::new(Vec::new()));
        let (seen, is_right) = (Arc::clone(&binds), Arc::new(is_right));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, is_right) = (Arc::clone(&seen), Arc::clone(&is_right));
                thread::spawn(move || serve(stream, &*is_right, &seen).ok());
            }
        });
        Ldap { port, binds }
    }

    /// A line of `pg_hba.conf` by which every connection over TLS is checked here.
    pub fn access(&self) -> String {
        format!(
            "hostssl all all all ldap ldapserver=127.0.0.1 ldapport={} ldapprefix=\"\" ldapsuffix=\"\"",
            self.port
        )
    }

    /// What was asked so far.
    pub fn binds(&self) -> Vec<Bind> {
        self.binds.lock().unwrap().clone()
    }
}

/// RFC 4511: `LDAPMessage ::= SEQUENCE { messageID INTEGER, bindRequest [APPLICATION 0] { version INTEGER, name OCTET STRING, simple [0] } }`.
fn serve(mut stream: TcpStream, is_right: &dyn Fn(&str, &str) -> bool, seen: &Mutex<Vec<Bind>>) -> io::Result<()> {
    loop {
        let (_, message) = element(&mut stream)?;
        let mut message = message.as_slice();
        let (_, id) = element(&mut message)?;
        let (kind, request) = element(&mut message)?;
        if kind != 0x60 {
            // An unbind: there is nothing else to do.
            return Ok(());
        }
        let mut request = request.as_slice();
        element(&mut request)?;
        let user = String::from_utf8_lossy(&element(&mut request)?.1).into_owned();
        let password = String::from_utf8_lossy(&element(&mut request)?.1).into_owned();
        let accepted = is_right(&user, &password);
        let result: u8 = if accepted { 0 } else { 49 };
        seen.lock().unwrap().push(Bind {
            user,
            password,
            accepted,
        });
        let id_length = u8::try_from(id.len()).expect("a message id of four bytes at most");
        let mut answer = vec![0x30, id_length + 2 + 9, 0x02, id_length];
        answer.extend(id);
        // bindResponse: the result, no name, no words.
        answer.extend([0x61, 7, 0x0a, 1, result, 0x04, 0, 0x04, 0]);
        stream.write_all(&answer)?;
    }
}

/// One BER element: its tag and its content.
fn element(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    from.read_exact(&mut head)?;
    let length = match head[1] {
        short @ 0..0x80 => usize::from(short),
        long => {
            let mut bytes = vec![0; usize::from(long & 0x7f)];
            from.read_exact(&mut bytes)?;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
    };
    let mut content = vec![0; length];
    from.read_exact(&mut content)?;
    Ok((head[0], content))
}
