//! Prisma's connection string, read into a [`Target`].
//!
//! The rules are Prisma's (WHATWG URL, its parameters and defaults), with PostgreSQL's own words for `sslmode`, `sslrootcert` and `hostaddr` added. Stricter than
//! Prisma in three places, since a guess there would go to another server or weaken the encryption: an unescaped reserved character is refused
//! wherever it can be told, an unknown value of `sslmode`, `sslaccept` or `channel_binding` is an error, and so is an impossible number.
//!
//! No error here shows any part of the URL: where a reserved character splits the password, every part may be a piece of it.

mod error;
mod parameters;
#[cfg(test)]
mod tests;

use percent_encoding::percent_decode_str;
use url::{ParseError, Url};

use super::credentials::Credentials;
use super::target::{DEFAULT_DATABASE, DEFAULT_PORT, Host, Target};
use crate::secret::Secret;
pub use error::{Note, UrlError};
use parameters::{KNOWN, Parameters};

impl Target {
    /// Reads Prisma's connection string.
    ///
    /// Repeated parameters: the last one counts. Unknown ones are ignored and named in a note. File names are relative to the working directory.
    ///
    /// # Errors
    /// All are the caller's to correct (P1013); none holds a part of the URL.
    pub fn from_url(url: &Secret) -> Result<(Self, Vec<Note>), UrlError> {
        let url = parse(url.expose().trim())?;
        let (parameters, ignored) = Parameters::read(&url)?;

        let text = |part, text: &str| -> Result<String, UrlError> {
            let decoded = percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| UrlError::NotUtf8 { part })?;
            Ok(decoded.into_owned())
        };
        let host = match (&parameters.host, url.host_str()) {
            (Some(host), _) => host.clone(),
            (None, None | Some("")) => "localhost".to_owned(),
            (None, Some(host)) => text("host", host.trim_start_matches('[').trim_end_matches(']'))?,
        };
        let host = Host::new(&host);
        let database = text("database", url.path().trim_matches('/'))?;
        let (tls, mut notes) = parameters.tls(&host)?;
        notes.extend(parameters::notes(ignored));
        let target = Self {
            host,
            hostaddr: parameters.hostaddr,
            port: url.port().unwrap_or(DEFAULT_PORT),
            database: if database.is_empty() {
                DEFAULT_DATABASE.to_owned()
            } else {
                database
            },
            user: text("user", url.username())?,
            password: url
                .password()
                .map(|p| text("password", p))
                .transpose()?
                .map(Secret::new),
            credentials: Credentials::Given,
            schema: parameters.schema,
            tls,
            channel_binding: parameters.channel_binding,
            connect_timeout: parameters.connect_timeout,
            application_name: parameters.application_name,
            options: parameters.options,
        };
        Ok((target.validated()?, notes))
    }
}

/// The URL's grammar, and the checks that tell an unescaped reserved character from a strange but honest URL.
fn parse(text: &str) -> Result<Url, UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.starts_with(['"', '\'']) {
        return Err(UrlError::Quoted);
    }
    if text.contains(char::is_control) {
        return Err(UrlError::ControlCharacter);
    }
    if text.starts_with('{') {
        return Err(UrlError::Json);
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "postgresql" | "postgres" => {}
        "prisma" | "prisma+postgres" => return Err(UrlError::Accelerate),
        _ => return Err(UrlError::Scheme),
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.rsplit('@').next().is_some_and(|host| host.contains(',')) {
        return Err(UrlError::SeveralHosts);
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => UrlError::PortOrPassword,
        ParseError::EmptyHost => UrlError::HostMissing,
        _ => UrlError::Host,
    })?;

    // A password split by '/', '?' or '#' leaves the real '@' behind in what then looks like path, query or fragment.
    let path = url.path().trim_matches('/');
    if url.fragment().is_some() || path.contains(['@', '/']) {
        return Err(UrlError::Unescaped);
    }
    if url.port() == Some(0) {
        return Err(UrlError::PortOrPassword);
    }
    for pair in url.query().unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name.contains(['@', '/']) || (value.contains('@') && !KNOWN.contains(&name)) {
            return Err(UrlError::Unescaped);
        }
    }
    Ok(url)
}
