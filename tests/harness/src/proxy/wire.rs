//! What the bytes mean: PostgreSQL's frontend/backend protocol 3, as far as counting needs it (PostgreSQL's documentation, chapter "Message
//! Formats").

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What one client said over one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The startup message: `user`, `database`, `application_name`, `options`, …
    pub parameters: BTreeMap<String, String>,
    /// How many messages of each type: `Q` is Query, `P` Parse, `S` Sync, `X` Terminate, …
    pub messages: BTreeMap<char, usize>,
    /// The text of every Query and Parse, in their order.
    pub queries: Vec<String>,
    /// How often the client, after its login, sent something while everything before it had been answered.
    pub round_trips: usize,
    /// Whether this was no session but a CancelRequest.
    pub is_cancel: bool,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The client's next message has no type byte.
    Startup,
    /// The client has asked for encryption; the server answers with one byte.
    Negotiating,
    /// Typed messages in both directions.
    Session,
    /// Encrypted, or not this protocol: nothing can be counted.
    Opaque,
}

/// Both directions of one connection, read along.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) traffic: Traffic,
    phase: Phase,
    client: BytesMut,
    server: BytesMut,
    /// The first ReadyForQuery has been delivered.
    logged_in: bool,
    /// Messages that end in a ReadyForQuery and have not got it yet.
    unanswered: usize,
    /// Messages have been sent that no Sync has ended yet.
    in_batch: bool,
    /// An error has answered what the next ReadyForQuery ends.
    failed: bool,
}

impl Conversation {
    pub(super) fn new() -> Conversation {
        Conversation {
            traffic: Traffic::default(),
            phase: Phase::Startup,
            client: BytesMut::new(),
            server: BytesMut::new(),
            logged_in: false,
            unanswered: 0,
            in_batch: false,
            failed: false,
        }
    }

    /// Bytes have come from the client.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.client.extend_from_slice(bytes);
        loop {
            match self.phase {
                Phase::Startup => {
                    let Some(message) = take(&mut self.client, 0) else {
                        return;
                    };
                    self.start(&message[4..]);
                }
                Phase::Session => {
                    let Some(message) = take(&mut self.client, 1) else {
                        return;
                    };
                    self.request(message[0], &message[5..]);
                }
                Phase::Negotiating => return,
                Phase::Opaque => return self.client.clear(),
            }
        }
    }

    /// Bytes are about to be delivered to the client. Returns how many ReadyForQuery they complete: [`Conversation::answered`] is due for them.
    pub(super) fn received(&mut self, bytes: &[u8]) -> usize {
        self.server.extend_from_slice(bytes);
        let mut ready = 0;
        loop {
            match self.phase {
                Phase::Negotiating => {
                    if self.server.is_empty() {
                        return ready;
                    }
                    // 'N': the client goes on in the clear, with its startup message.
                    self.phase = if self.server.get_u8() == b'N' {
                        Phase::Startup
                    } else {
                        Phase::Opaque
                    };
                    self.sent(&[]);
                }
                Phase::Session => {
                    let Some(message) = take(&mut self.server, 1) else {
                        return ready;
                    };
                    // An error lets the client go on before the ReadyForQuery that follows it.
                    let failed = message[0] == b'E' && self.logged_in;
                    ready += usize::from(failed || (message[0] == b'Z' && !self.failed));
                    self.failed = failed || (self.failed && message[0] != b'Z');
                }
                Phase::Startup | Phase::Opaque => {
                    self.server.clear();
                    return ready;
                }
            }
        }
    }

    /// The client is getting so many ReadyForQuery now.
    pub(super) fn answered(&mut self, ready: usize) {
        self.unanswered = self.unanswered.saturating_sub(ready);
        self.logged_in |= ready > 0;
    }

    fn start(&mut self, body: &[u8]) {
        let Some((code, rest)) = body
            .split_first_chunk()
            .map(|(code, rest)| (u32::from_be_bytes(*code), rest))
        else {
            self.phase = Phase::Opaque;
            return;
        };
        self.phase = match code {
            SSL_REQUEST | GSS_REQUEST => Phase::Negotiating,
            CANCEL_REQUEST => {
                self.traffic.is_cancel = true;
                Phase::Opaque
            }
            _ if code >> 16 == 3 => {
                let mut words = rest
                    .split(|byte| *byte == 0)
                    .map(|word| String::from_utf8_lossy(word).into_owned());
                while let (Some(name), Some(value)) = (words.next().filter(|name| !name.is_empty()), words.next()) {
                    self.traffic.parameters.insert(name, value);
                }
                Phase::Session
            }
            _ => Phase::Opaque,
        };
    }

    fn request(&mut self, kind: u8, body: &[u8]) {
        *self.traffic.messages.entry(char::from(kind)).or_default() += 1;
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
        };
        match kind {
            b'Q' => self.traffic.queries.push(text(body)),
            // The statement's name comes first.
            b'P' => self
                .traffic
                .queries
                .extend(body.splitn(2, |byte| *byte == 0).nth(1).map(text)),
            // Terminate is not answered, a password belongs to the login.
            b'X' | b'p' => return,
            _ => {}
        }
        if self.logged_in && self.unanswered == 0 && !self.in_batch {
            self.traffic.round_trips += 1;
        }
        // Query, Sync and FunctionCall are what a ReadyForQuery answers.
        let ends = matches!(kind, b'Q' | b'S' | b'F');
        self.unanswered += usize::from(ends);
        self.in_batch = !ends;
    }
}

/// The first message of a buffer, once it is whole: `head` bytes, then its length, which counts itself, then the rest.
fn take(buffer: &mut BytesMut, head: usize) -> Option<BytesMut> {
    let length = buffer
        .get(head..)?
        .first_chunk()
        .map(|length| u32::from_be_bytes(*length))?;
    let end = head + usize::try_from(length).ok()?.max(4);
    (buffer.len() >= end).then(|| buffer.split_to(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn session() -> Conversation {
        let mut conversation = Conversation::new();
        let body = [&(3u32 << 16).to_be_bytes()[..], b"user\0me\0\0"].concat();
        conversation.sent(&message(0, &body)[1..]);
        deliver(
            &mut conversation,
            &[message(b'R', &[0, 0, 0, 0]), message(b'Z', b"I")].concat(),
        );
        conversation
    }

    fn deliver(conversation: &mut Conversation, bytes: &[u8]) {
        let ready = conversation.received(bytes);
        conversation.answered(ready);
    }

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let requests = [
            message(b'Q', b"SELECT 1\0"),
            message(b'P', b"name\0SELECT 2\0\0\0"),
            message(b'S', b""),
        ]
        .concat();
        for size in 1..requests.len() {
            let mut conversation = session();
            requests.chunks(size).for_each(|chunk| conversation.sent(chunk));
            assert_eq!(conversation.traffic.queries, ["SELECT 1", "SELECT 2"]);
            assert_eq!(conversation.traffic.round_trips, 1);
            assert_eq!(conversation.traffic.parameters["user"], "me");
        }
    }

    #[test]
    fn a_round_trip_begins_when_all_before_it_is_answered() {
        let (query, ready) = (message(b'Q', b"\0"), message(b'Z', b"I"));
        let mut conversation = session();
        conversation.sent(&query);
        conversation.sent(&query);
        deliver(&mut conversation, &ready);
        // One of two answers is there: the third still does not wait for both.
        conversation.sent(&query);
        assert_eq!(conversation.traffic.round_trips, 1);
        deliver(&mut conversation, &[ready.clone(), ready].concat());
        conversation.sent(&query);
        assert_eq!(conversation.traffic.round_trips, 2);
    }

    #[test]
    fn a_batch_up_to_its_sync_is_one_round_trip() {
        let mut conversation = session();
        for kind in [b'P', b'D', b'S'] {
            conversation.sent(&message(kind, b"\0\0\0\0"));
        }
        deliver(&mut conversation, &message(b'Z', b"I"));
        for kind in [b'B', b'E', b'S'] {
            conversation.sent(&message(kind, b"\0\0\0\0"));
        }
        conversation.sent(&message(b'X', b""));
        assert_eq!(conversation.traffic.round_trips, 2);
    }

    #[test]
    fn a_refused_encryption_is_not_the_end_of_the_startup() {
        let mut conversation = Conversation::new();
        conversation.sent(&message(0, &SSL_REQUEST.to_be_bytes())[1..]);
        assert_eq!(conversation.received(b"N"), 0);
        assert_eq!(conversation.phase, Phase::Startup);
    }
}
