//! A session of the library's own, for tests that go below the binary.

use std::time::Duration;

use futures_util::StreamExt;
use prisma_migrate_task::database::connect::{Cancel, Connected, Startup, connect, connect_with_retry};
use prisma_migrate_task::database::error::ConnectError;
use prisma_migrate_task::database::target::Target;
use prisma_migrate_task::database::tls::Handshake;
use prisma_migrate_task::secret::Secret;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The single-threaded runtime that the binary runs on.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub fn target(url: &str) -> Target {
    Target::from_url(&Secret::new(url)).unwrap().0
}

/// A connected client whose connection is driven in the background.
pub struct Session {
    pub runtime: Runtime,
    pub client: Client,
    pub cancel: Cancel,
    pub server_version: Option<String>,
    pub handshake: Option<Handshake>,
}

impl Session {
    pub fn open(url: &str) -> Result<Session, ConnectError> {
        Session::with(&target(url), &Startup::default())
    }

    pub fn with(target: &Target, startup: &Startup) -> Result<Session, ConnectError> {
        let runtime = runtime();
        let connected = runtime.block_on(connect(target, startup))?;
        Ok(Session::driven(runtime, connected))
    }

    pub fn retried(target: &Target, budget: Duration) -> Result<Session, ConnectError> {
        let runtime = runtime();
        let connected = runtime.block_on(connect_with_retry(target, &Startup::default(), budget))?;
        Ok(Session::driven(runtime, connected))
    }

    fn driven(runtime: Runtime, connected: Connected) -> Session {
        let Connected {
            client,
            mut messages,
            cancel,
            server_version,
            handshake,
            ..
        } = connected;
        runtime.spawn(async move { while messages.next().await.is_some() {} });
        Session {
            runtime,
            client,
            cancel,
            server_version,
            handshake,
        }
    }

    /// The one value of a query.
    pub fn scalar(&self, sql: &str) -> String {
        let messages = self.runtime.block_on(self.client.simple_query(sql)).unwrap();
        let row = messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        });
        row.unwrap_or_else(|| panic!("no row: {sql}"))
    }
}

/// The error of an attempt that must fail, whose every text is free of the password.
pub fn refused(url: &str) -> ConnectError {
    let error = match Session::open(url) {
        Ok(_) => panic!("it connected"),
        Err(error) => error,
    };
    let shown = format!("{error} {error:?} {}", error.next_step());
    let password = target(url).password;
    assert!(
        password.is_none_or(|password| !shown.contains(password.expose())),
        "{shown}"
    );
    error
}
