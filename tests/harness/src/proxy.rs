//! What lies between a client and the server: counted, delayed, cut.
//!
//! The proxy reads PostgreSQL's protocol along as it passes (unless it is encrypted), so that a test can say how many round trips something costs,
//! and break the connection at every single byte.

mod wire;

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::postgres::{Database, Server};
use crate::random_port;
use wire::Conversation;
pub use wire::Traffic;

/// A ReadyForQuery is held back for so long. A request that was sent without waiting for it arrives meanwhile and counts as pipelined, however the
/// threads are scheduled.
const GRACE: Duration = Duration::from_millis(5);

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ToServer,
    /// Answers.
    ToClient,
}

/// A proxy on 127.0.0.1, running until the value is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    listening: Mutex<Option<JoinHandle<()>>>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    server: u16,
    reads_along: bool,
    conversations: Mutex<Vec<Arc<Mutex<Conversation>>>>,
    ways: [Mutex<Way>; 2],
    frozen: watch::Sender<bool>,
    /// Whether what a client has sent is dropped where it is gone before that is passed on.
    drops_the_gone: AtomicBool,
    /// Whoever sees it change goes away.
    cut: watch::Sender<()>,
    /// The same for the client's side alone.
    cut_clients: watch::Sender<()>,
}

/// The state of one direction, over all connections.
#[derive(Debug, Default)]
struct Way {
    bytes: u64,
    delay: Duration,
    /// Bytes a second, over all connections.
    rate: Option<u64>,
    /// When what has passed so far has passed at this rate.
    busy_until: Option<Instant>,
    /// How many bytes may still pass until the connection that carries the last of them is cut.
    left: Option<u64>,
}

impl Proxy {
    /// A proxy before this server.
    pub fn to(server: &Server) -> Proxy {
        Proxy::to_port(server.port())
    }

    /// A proxy before whatever listens, or will listen, on this port of 127.0.0.1.
    pub fn to_port(server: u16) -> Proxy {
        Proxy::start(server, true)
    }

    /// A link to this port of 127.0.0.1, for what is measured in time: nothing is read along, so that nothing is held back beyond
    /// [`Proxy::delay`] and [`Proxy::rate`].
    pub fn link_to(server: u16) -> Proxy {
        Proxy::start(server, false)
    }

    fn start(server: u16, reads_along: bool) -> Proxy {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("no runtime for the proxy");
        let shared = Arc::new(Shared {
            server,
            reads_along,
            conversations: Mutex::default(),
            ways: Default::default(),
            frozen: watch::Sender::new(false),
            drops_the_gone: AtomicBool::new(false),
            cut: watch::Sender::new(()),
            cut_clients: watch::Sender::new(()),
        });
        let bind = |_| {
            runtime
                .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, random_port())))
                .ok()
        };
        let listener = (0..20).find_map(bind).expect("no port for the proxy");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let listening = Mutex::new(Some(runtime.spawn(listen(listener, Arc::clone(&shared)))));
        Proxy {
            port,
            shared,
            listening,
            runtime: Some(runtime),
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database's URL, through the proxy.
    pub fn url_for(&self, database: &Database) -> String {
        database.url_at(self.port)
    }

    /// What was said over each connection so far, in the order in which they came.
    pub fn connections(&self) -> Vec<Traffic> {
        let conversations = self.shared.conversations.lock().unwrap();
        conversations
            .iter()
            .map(|conversation| conversation.lock().unwrap().traffic.clone())
            .collect()
    }

    /// How often a client had to wait: requests sent while everything before them on the same connection had been answered. Messages that are
    /// pipelined count once; connecting and logging in do not count.
    pub fn round_trips(&self) -> usize {
        self.connections().iter().map(|traffic| traffic.round_trips).sum()
    }

    /// The text of every Query and Parse message, connection by connection.
    pub fn queries(&self) -> Vec<String> {
        self.connections()
            .into_iter()
            .flat_map(|traffic| traffic.queries)
            .collect()
    }

    /// How many messages of a type the clients sent, such as `'Q'`.
    pub fn messages(&self, kind: char) -> usize {
        self.connections()
            .iter()
            .filter_map(|traffic| traffic.messages.get(&kind))
            .sum()
    }

    /// The bytes that have passed.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.way(direction).lock().unwrap().bytes
    }

    /// Everything takes so much longer on this way; the bandwidth stays.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.shared.way(direction).lock().unwrap().delay = delay;
    }

    /// No more than so many bytes a second pass on this way, over all connections together.
    pub fn rate(&self, direction: Direction, bytes_a_second: u64) {
        self.shared.way(direction).lock().unwrap().rate = Some(bytes_a_second);
    }

    /// Lets so many bytes pass on this way from now on, then closes the connection that carries the last of them, on both sides, once.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.shared.way(direction).lock().unwrap().left = Some(bytes);
    }

    /// Whether a [`Proxy::cut_after`] is still to come.
    pub fn is_cut_due(&self) -> bool {
        self.shared.ways.iter().any(|way| way.lock().unwrap().left.is_some())
    }

    /// Closes every connection there is.
    pub fn cut(&self) {
        self.shared.cut.send_replace(());
    }

    /// Closes the client's side of every connection there is. The server's side stays open until the server answers, so its backend works on.
    pub fn cut_clients(&self) {
        self.shared.cut_clients.send_replace(());
    }

    /// Nothing passes any more while all connections stay open, as behind a firewall that has forgotten them.
    pub fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    /// Lets everything pass again, what was held back too.
    pub fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// Nothing is passed on any more of a client that is gone by then, as a pooler does it: everything reaches the server `after` so long.
    pub fn drop_what_the_gone_have_sent(&self, after: Duration) {
        self.delay(Direction::ToServer, after);
        self.shared.drops_the_gone.store(true, Ordering::Relaxed);
    }

    /// New connections are refused from now on; those there are stay.
    pub fn refuse(&self) {
        if let Some(listening) = self.listening.lock().unwrap().take() {
            listening.abort();
            // The port is closed when the task is gone, not before.
            let _ = self.runtime().block_on(listening);
        }
    }

    /// Accepts connections again, on the same port.
    pub fn accept(&self) {
        let mut listening = self.listening.lock().unwrap();
        if listening.is_none() {
            let listener = self
                .runtime()
                .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)));
            let listener = listener.expect("the proxy's port was taken meanwhile");
            *listening = Some(self.runtime().spawn(listen(listener, Arc::clone(&self.shared))));
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime lives as long as the proxy")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn way(&self, direction: Direction) -> &Mutex<Way> {
        match direction {
            Direction::ToServer => &self.ways[0],
            Direction::ToClient => &self.ways[1],
        }
    }

    /// When so many bytes will have passed that are on their way since this moment.
    fn passed(&self, direction: Direction, since: Instant, bytes: usize) -> Instant {
        let mut way = self.way(direction).lock().unwrap();
        let Some(rate) = way.rate else { return since };
        let begin = way.busy_until.map_or(since, |busy| busy.max(since));
        let end = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
        way.busy_until = Some(end);
        end
    }

    /// How many of so many bytes may pass, and whether that was the last of them.
    fn pass(&self, direction: Direction, bytes: usize) -> (usize, bool) {
        let mut way = self.way(direction).lock().unwrap();
        let passing = way
            .left
            .map_or(bytes, |left| bytes.min(usize::try_from(left).unwrap_or(usize::MAX)));
        way.bytes += passing as u64;
        way.left = way.left.map(|left| left - passing as u64);
        let last = way.left == Some(0);
        if last {
            way.left = None;
        }
        (passing, last)
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connect(client, Arc::clone(&shared)));
    }
}

/// One connection, until one side ends it or it is cut. Where the server cannot be reached, the client is hung up on.
async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let mut cut_clients = shared.cut_clients.subscribe();
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.server)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let conversation = Arc::new(Mutex::new(Conversation::new()));
    shared.conversations.lock().unwrap().push(Arc::clone(&conversation));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = carry(Direction::ToServer, &mut from_client, &mut to_server, &shared, &conversation) => return,
        _ = carry(Direction::ToClient, &mut from_server, &mut to_client, &shared, &conversation) => return,
        _ = cut.changed() => return,
        _ = cut_clients.changed() => {}
    }
    drop((from_client, to_client));
    // As in a network whose other end is gone: the first answer that the server sends is what ends its side.
    let mut answer = [0];
    tokio::select! {
        _ = from_server.read(&mut answer) => {}
        _ = cut.changed() => {}
    }
    drop(to_server);
}

/// One direction, until its source ends or it is cut.
async fn carry(
    direction: Direction,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    conversation: &Mutex<Conversation>,
) -> io::Result<()> {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(256);
    let gone = AtomicBool::new(false);
    let is_gone = &gone;
    let read = async move {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut chunk).await?;
            if direction == Direction::ToServer && shared.reads_along {
                conversation.lock().unwrap().sent(&chunk[..length]);
            }
            is_gone.store(length == 0, Ordering::Relaxed);
            if length == 0 || queue.send((Instant::now(), chunk[..length].to_vec())).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async move {
        let mut frozen = shared.frozen.subscribe();
        while let Some((arrived, chunk)) = queued.recv().await {
            let delay = shared.way(direction).lock().unwrap().delay;
            sleep_until(shared.passed(direction, arrived, chunk.len()) + delay).await;
            let _ = frozen.wait_for(|frozen| !frozen).await;
            let drops = direction == Direction::ToServer && shared.drops_the_gone.load(Ordering::Relaxed);
            if drops && is_gone.load(Ordering::Relaxed) {
                return Ok(());
            }
            if direction == Direction::ToClient && shared.reads_along {
                let ready = conversation.lock().unwrap().received(&chunk);
                if ready > 0 {
                    sleep(GRACE).await;
                    conversation.lock().unwrap().answered(ready);
                }
            }
            let (passing, last) = shared.pass(direction, chunk.len());
            to.write_all(&chunk[..passing]).await?;
            if last {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(|_| ())
}
