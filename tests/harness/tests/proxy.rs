//! The proxy counts what it says it counts, and breaks what it says it breaks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::postgres::{Database, Server};
use harness::proxy::{Direction, Proxy};
use harness::until;
use tokio_postgres::{Client, NoTls};

/// Runs it with a session that goes through the proxy.
fn through<T>(proxy: &Proxy, database: &Database, work: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&proxy.url_for(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        work(client).await
    })
}

#[test]
fn pipelined_queries_are_one_round_trip_and_sequential_ones_two() {
    let (database, proxy) = (Server::shared().database(), Proxy::to(Server::shared()));
    through(&proxy, &database, async |client| {
        assert_eq!(proxy.round_trips(), 0, "the login counts");
        for round in 1..=20 {
            let (one, other) = tokio::join!(client.simple_query("SELECT 1"), client.simple_query("SELECT 2"));
            assert_eq!((one.unwrap().len(), other.unwrap().len()), (3, 3));
            assert_eq!(proxy.round_trips(), round);
        }
        client.simple_query("SELECT 1").await.unwrap();
        client.simple_query("SELECT 2").await.unwrap();
        assert_eq!(proxy.round_trips(), 22);
        client.query("SELECT $1::text", &[&"x"]).await.unwrap();
        assert_eq!(proxy.round_trips(), 24, "prepare and execute");
    });
    assert_eq!((proxy.messages('Q'), proxy.messages('P')), (42, 1));
    assert_eq!(proxy.queries()[40..], ["SELECT 1", "SELECT 2", "SELECT $1::text"]);
    assert_eq!(proxy.connections()[0].parameters["user"], database.user());
}

#[test]
fn a_message_larger_than_every_buffer_can_be_pipelined_too() {
    let (database, proxy) = (Server::shared().database(), Proxy::to(Server::shared()));
    let long = format!("SELECT length('{}')", "x".repeat(5_000_000));
    through(&proxy, &database, async |client| {
        let (one, other) = tokio::join!(client.simple_query(&long), client.simple_query("SELECT 2"));
        assert!(one.is_ok() && other.is_ok());
    });
    assert_eq!(proxy.round_trips(), 1);
    assert_eq!(proxy.queries()[0], long);
    assert!(proxy.bytes(Direction::ToServer) > 5_000_000);
}

#[test]
fn a_cut_happens_at_its_byte_and_only_once() {
    let (database, proxy) = (Server::shared().database(), Proxy::to(Server::shared()));
    for direction in [Direction::ToServer, Direction::ToClient] {
        through(&proxy, &database, async |client| {
            client.simple_query("SELECT 1").await.unwrap();
            let before = proxy.bytes(direction);
            proxy.cut_after(direction, 10);
            let error = client.simple_query("SELECT 'some text'").await.unwrap_err();
            assert!(error.is_closed() || error.as_db_error().is_none(), "{error}");
            assert!(!proxy.is_cut_due());
            assert_eq!(proxy.bytes(direction), before + 10);
        });
        through(&proxy, &database, async |client| {
            client.simple_query("SELECT 1").await.unwrap()
        });
    }
}

#[test]
fn a_cut_connection_ends_its_backend() {
    let (database, proxy) = (Server::shared().database(), Proxy::to(Server::shared()));
    let mut watch = database.superuser();
    let mut backends = || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
        watch.query_one(sql, &[&database.user()]).unwrap().get(0)
    };
    let mut client = postgres::Client::connect(&proxy.url_for(&database), postgres::NoTls).unwrap();
    assert_eq!(backends(), 1);
    proxy.cut();
    until("the backend is gone", || backends() == 0);
    assert!(client.batch_execute("SELECT 1").is_err());
}

#[test]
fn a_delay_is_felt_in_its_direction() {
    let (database, proxy) = (Server::shared().database(), Proxy::to(Server::shared()));
    through(&proxy, &database, async |client| {
        for direction in [Direction::ToServer, Direction::ToClient] {
            proxy.delay(direction, Duration::from_millis(200));
            let start = Instant::now();
            client.simple_query("SELECT 1").await.unwrap();
            assert!(start.elapsed() >= Duration::from_millis(200));
            proxy.delay(direction, Duration::ZERO);
        }
    });
}

#[test]
fn a_link_carries_no_more_than_its_rate() {
    let database = Server::shared().database();
    let link = Proxy::link_to(Server::shared().port());
    link.rate(Direction::ToClient, 1_000_000);
    through(&link, &database, async |client| {
        let start = Instant::now();
        client.simple_query("SELECT repeat('x', 300000)").await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(300));
        assert!(link.bytes(Direction::ToClient) > 300_000);
        // Nothing is read along.
        assert!(link.queries().is_empty());
    });
}

#[test]
fn what_was_frozen_arrives_after_the_thaw() {
    let (database, proxy) = (Server::shared().database(), Proxy::to(Server::shared()));
    through(&proxy, &database, async |client| {
        proxy.freeze();
        let query = client.simple_query("SELECT 1");
        tokio::pin!(query);
        let waited = tokio::time::timeout(Duration::from_millis(300), &mut query).await;
        assert!(waited.is_err(), "an answer came through");
        proxy.thaw();
        query.await.unwrap();
    });
}

#[test]
fn refused_means_refused_until_it_accepts_again() {
    let (database, proxy) = (Server::shared().database(), Proxy::to(Server::shared()));
    proxy.refuse();
    let error = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    proxy.accept();
    through(&proxy, &database, async |client| {
        client.simple_query("SELECT 1").await.unwrap()
    });
}

#[test]
fn a_cancel_passes_and_is_known_as_one() {
    let (database, proxy) = (Server::shared().database(), Proxy::to(Server::shared()));
    let mut client = postgres::Client::connect(&proxy.url_for(&database), postgres::NoTls).unwrap();
    let token = client.cancel_token();
    let query = std::thread::spawn(move || client.batch_execute("SELECT pg_sleep(1000)"));
    let mut watch = database.superuser();
    until("it sleeps", || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE usename = $1 AND query LIKE '%pg_sleep%' AND state = 'active'";
        !watch.query(sql, &[&database.user()]).unwrap().is_empty()
    });
    token.cancel_query(postgres::NoTls).unwrap();
    assert_eq!(query.join().unwrap().unwrap_err().code().unwrap().code(), "57014");
    assert!(proxy.connections()[1].is_cancel);
}

#[test]
fn a_client_that_asks_for_tls_and_does_not_get_it_is_still_understood() {
    let proxy = Proxy::to(Server::shared());
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"N");
    let body = b"\0\x03\0\0user\0nobody\0database\0nothing\0\0";
    stream
        .write_all(&[&(body.len() as u32 + 4).to_be_bytes()[..], body].concat())
        .unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"R", "the server asks for the password");
    assert_eq!(proxy.connections()[0].parameters["database"], "nothing");
}
