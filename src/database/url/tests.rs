use super::*;
use crate::database::tls::{Roots, TlsMode};
use crate::exit::Exit;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::config::ChannelBinding;

fn read(url: &str) -> Result<(Target, Vec<Note>), UrlError> {
    Target::from_url(&Secret::new(url))
}

fn target(url: &str) -> Target {
    read(url).unwrap_or_else(|error| panic!("{url}: {error}")).0
}

#[test]
fn the_parts_of_a_url() {
    for (url, described, user, password) in [
        ("postgresql://u:p@h:6543/db", "h:6543/db", "u", Some("p")),
        ("postgres://u:p@h/db", "h:5432/db", "u", Some("p")),
        ("POSTGRES://u@h/db", "h:5432/db", "u", None),
        ("postgresql://u:@h/db", "h:5432/db", "u", None),
        ("postgresql://h", "h:5432/postgres", "", None),
        ("postgresql://h/", "h:5432/postgres", "", None),
        ("postgresql://u:p@h/db/", "h:5432/db", "u", Some("p")),
        ("postgresql:///db", "localhost:5432/db", "", None),
        ("postgresql://u:p@[::1]:6543/db", "[::1]:6543/db", "u", Some("p")),
        (
            "postgresql://u:p@[2001:db8::1]/db",
            "[2001:db8::1]:5432/db",
            "u",
            Some("p"),
        ),
        ("postgresql://u:p@10.0.0.1/db", "10.0.0.1:5432/db", "u", Some("p")),
        (
            "postgresql://u:p@Host.Example/my%20db%2F1",
            "Host.Example:5432/my db/1",
            "u",
            Some("p"),
        ),
        ("postgresql://u%40corp:p%2Fw@h/db", "h:5432/db", "u@corp", Some("p/w")),
        (
            "postgresql://u:p@%2Fvar%2Frun%2Fpg:6543/db",
            "/var/run/pg:6543/db",
            "u",
            Some("p"),
        ),
        ("  postgresql://u:p@h/db\n", "h:5432/db", "u", Some("p")),
    ] {
        let target = target(url);
        assert_eq!(target.describe(), described, "{url}");
        assert_eq!(target.user, user, "{url}");
        assert_eq!(target.password.as_ref().map(Secret::expose), password, "{url}");
    }
}

#[test]
fn passwords_arrive_as_they_were_meant() {
    for (written, meant) in [
        ("p%40ss%2Fw%23o%3Frd%25", "p@ss/w#o?rd%"),
        ("a:b:c", "a:b:c"),
        ("100%", "100%"),
        ("50%zz", "50%zz"),
        ("a+b", "a+b"),
        ("a b", "a b"),
        ("[x]{y}|z^`<>", "[x]{y}|z^`<>"),
        (r"back\slash", r"back\slash"),
        ("a@b", "a@b"),
        ("@@", "@@"),
        ("a&b=c;d,e", "a&b=c;d,e"),
        ("%F0%9F%94%91", "\u{1F511}"),
        ("é", "é"),
        ("%0A", "\n"),
        ("'\"$!*()", "'\"$!*()"),
    ] {
        let target = target(&format!("postgresql://u:{written}@db.example/app?schema=s"));
        assert_eq!(target.password.unwrap().expose(), meant);
        assert_eq!(target.host, Host::Tcp("db.example".to_owned()), "{written}");
        assert_eq!(target.schema.as_deref(), Some("s"));
    }
}

/// Every unescaped reserved character at every place of a password, each with a letter or a digit before it (a digit makes it look like a port).
#[test]
fn a_split_password_is_found_and_never_shown() {
    for separator in [
        "/", "#", "?", "//", "/?", "#/", "?#", "?&", "?a=", "@/", "@#", "@?", "/@", "#@", "?@", "?b=@",
    ] {
        for (before, after) in [
            ("sesame", "hunter2"),
            ("12", "34"),
            ("", "hunter2"),
            ("sesame", ""),
            ("1x", "h=2"),
        ] {
            for tail in ["", "?schema=public", "?sslmode=require&schema=a"] {
                let url = format!("postgresql://u:{before}{separator}{after}@db.example:5432/app{tail}");
                let error = match read(&url) {
                    Err(error) => error,
                    Ok((target, _)) => panic!("{url} was read as {}", target.describe()),
                };
                assert!(
                    matches!(
                        error,
                        UrlError::Unescaped | UrlError::PortOrPassword | UrlError::HostMissing
                    ),
                    "{url}: {error:?}"
                );
                assert!(!shown(&error).contains("sesame"), "{url}");
                assert!(!shown(&error).contains("hunter2"), "{url}");
            }
        }
    }
}

#[test]
fn what_looks_like_a_split_password_and_is_none() {
    for (url, described) in [
        (
            "postgresql://localhost:5432/db?application_name=me@work",
            "localhost:5432/db",
        ),
        ("postgresql://u:p@h/db?options=-c%20a=b@c", "h:5432/db"),
        ("postgresql://u:p@h/db?host=/run/pg", "/run/pg:5432/db"),
        ("postgresql://u:p@h/db?unknown=a/b", "h:5432/db"),
    ] {
        assert_eq!(target(url).describe(), described, "{url}");
    }
}

/// Everything that a person can get to see of an error.
fn shown(error: &UrlError) -> String {
    format!("{error} {error:?} {} {}", error.code(), error.next_step())
}

#[test]
fn every_error_and_no_secret_in_any() {
    let parameter = |name, expected| UrlError::Parameter { name, expected };
    let number = |name| parameter(name, "a whole number");
    let boolean = |name| parameter(name, "true or false");
    let good = "postgresql://hunter2:hunter2@hunter2/hunter2";
    let cases = [
        (String::new(), UrlError::Empty),
        ("  ".into(), UrlError::Empty),
        ("hunter2".into(), UrlError::Scheme),
        ("hunter2://u:hunter2@h/db".into(), UrlError::Scheme),
        ("mysql://u:hunter2@h/db".into(), UrlError::Scheme),
        ("jdbc:postgresql://u:hunter2@h/db".into(), UrlError::Scheme),
        ("postgresql:u:hunter2@h/db".into(), UrlError::Scheme),
        ("\"postgresql://u:hunter2@h/db\"".into(), UrlError::Quoted),
        (
            "prisma://accelerate.prisma-data.net/?api_key=hunter2".into(),
            UrlError::Accelerate,
        ),
        (
            "prisma+postgres://accelerate.prisma-data.net/?api_key=hunter2".into(),
            UrlError::Accelerate,
        ),
        ("postgresql://u:hunter2\n@h/db".into(), UrlError::ControlCharacter),
        ("postgresql://u:hunter2\t2@h/db".into(), UrlError::ControlCharacter),
        ("postgresql://u:hunter2@h:hunter2/db".into(), UrlError::PortOrPassword),
        ("postgresql://u:hunter2@h:65536/db".into(), UrlError::PortOrPassword),
        ("postgresql://u:hunter2@h:0/db".into(), UrlError::PortOrPassword),
        ("postgresql://u:hunter2@h:-1/db".into(), UrlError::PortOrPassword),
        ("postgresql://u:hun/ter2@h/db".into(), UrlError::PortOrPassword),
        ("postgresql://u:hunter2@/db".into(), UrlError::HostMissing),
        ("postgresql://u:hunter2@h b/db".into(), UrlError::Host),
        ("postgresql://u:hunter2@[::1/db".into(), UrlError::Host),
        ("postgresql://u:hunter2@[hunter2]/db".into(), UrlError::Host),
        ("postgresql://u:hunter2@a:5432,b:5432/db".into(), UrlError::SeveralHosts),
        (
            "postgresql://u:hunter2@a/db?host=b,hunter2".into(),
            UrlError::SeveralHosts,
        ),
        (
            "postgresql://u:hunter2%FF@h/db".into(),
            UrlError::NotUtf8 { part: "password" },
        ),
        (
            "postgresql://hunter2%FF:p@h/db".into(),
            UrlError::NotUtf8 { part: "user" },
        ),
        (
            "postgresql://u:p@h/hunter2%FF".into(),
            UrlError::NotUtf8 { part: "database" },
        ),
        (
            "postgresql://u:hunter2%00@h/db".into(),
            UrlError::Nul { part: "password" },
        ),
        ("postgresql://hunter2%00:p@h/db".into(), UrlError::Nul { part: "user" }),
        (
            "postgresql://u:p@h/hunter2%00".into(),
            UrlError::Nul { part: "database" },
        ),
        (format!("{good}?schema=a%00"), UrlError::Nul { part: "schema" }),
        (format!("{good}?options=a%00"), UrlError::Nul { part: "options" }),
        (
            format!("{good}?application_name=a%00"),
            UrlError::Nul {
                part: "application_name",
            },
        ),
        (format!("{good}?connect_timeout=hunter2"), number("connect_timeout")),
        (format!("{good}?connect_timeout=-1"), number("connect_timeout")),
        (format!("{good}?connect_timeout=1.5"), number("connect_timeout")),
        (format!("{good}?socket_timeout=hunter2"), number("socket_timeout")),
        (format!("{good}?connection_limit=hunter2"), number("connection_limit")),
        (format!("{good}?pool_timeout=hunter2"), number("pool_timeout")),
        (
            format!("{good}?statement_cache_size=hunter2"),
            number("statement_cache_size"),
        ),
        (
            format!("{good}?max_connection_lifetime=hunter2"),
            number("max_connection_lifetime"),
        ),
        (
            format!("{good}?max_idle_connection_lifetime=hunter2"),
            number("max_idle_connection_lifetime"),
        ),
        (format!("{good}?pgbouncer=hunter2"), boolean("pgbouncer")),
        (
            format!("{good}?single_use_connections=1"),
            boolean("single_use_connections"),
        ),
        (
            format!("{good}?sslmode=verify_full"),
            parameter("sslmode", "disable, allow, prefer, require, verify-ca or verify-full"),
        ),
        (
            format!("{good}?sslaccept=hunter2"),
            parameter("sslaccept", "strict or accept_invalid_certs"),
        ),
        (
            format!("{good}?channel_binding=hunter2"),
            parameter("channel_binding", "disable, prefer or require"),
        ),
        (
            format!("{good}?sslrootcert=system&sslmode=require"),
            UrlError::WeakSystemRoots,
        ),
        (format!("{good}#hunter2"), UrlError::Unescaped),
        (format!("{good}/hunter2"), UrlError::Unescaped),
        (format!("{good}?hunter2=a@b"), UrlError::Unescaped),
    ];
    for (url, expected) in cases {
        let error = read(&url).map(|(target, _)| target.describe()).unwrap_err();
        assert_eq!(error, expected, "{url}");
        assert!(!shown(&error).contains("hunter2"), "{url}: {}", shown(&error));
        assert_eq!((error.code(), error.exit()), ("P1013", Exit::Usage));
    }
}

#[test]
fn every_parameter() {
    let t = target(
        "postgresql://u:p@h/db?schema=My%20Schema&host=other&connect_timeout=30&socket_timeout=1&connection_limit=2\
         &pool_timeout=3&pgbouncer=true&statement_cache_size=0&application_name=my%20app&options=-c%20statement_timeout%3D5s\
         &channel_binding=require&max_connection_lifetime=1&max_idle_connection_lifetime=1&single_use_connections=false",
    );
    assert_eq!(t.schema.as_deref(), Some("My Schema"));
    assert_eq!(t.host, Host::Tcp("other".to_owned()));
    assert_eq!(t.connect_timeout, Some(Duration::from_secs(30)));
    assert_eq!(t.application_name.as_deref(), Some("my app"));
    assert_eq!(t.options.as_deref(), Some("-c statement_timeout=5s"));
    assert_eq!(t.channel_binding, ChannelBinding::Require);

    let t = target("postgresql://u:p@h/db?connect_timeout=0&schema=&channel_binding=disable");
    assert_eq!(t.connect_timeout, None);
    assert_eq!(t.schema, None);
    assert_eq!(t.channel_binding, ChannelBinding::Disable);

    let t = target("postgresql://u:p@h/db");
    assert_eq!(t.connect_timeout, Some(Duration::from_secs(5)));
    assert_eq!(
        (t.application_name, t.options, t.channel_binding),
        (None, None, ChannelBinding::Prefer)
    );
    assert_eq!(
        target("postgresql://h/?connect_timeout=18446744073709551615")
            .connect_timeout
            .unwrap()
            .as_secs(),
        31_536_000
    );
}

#[test]
fn of_a_repeated_parameter_the_last_counts_and_unknown_ones_are_named() {
    let (t, notes) =
        read("postgresql://h/db?schema=a&foo=hunter2&schema=b&bar&foo=1&target_session_attrs=any").unwrap();
    assert_eq!(t.schema.as_deref(), Some("b"));
    assert_eq!(
        notes,
        [
            Note::Unknown(vec![("foo".into(), None), ("bar".into(), None)]),
            Note::Ignored(vec!["target_session_attrs".into()])
        ]
    );
    assert!(notes[0].is_warning() && !notes[1].is_warning());
    let (_, notes) = read("postgresql://h/db?sslmod=require&port=1").unwrap();
    assert_eq!(
        notes[0].to_string(),
        "the connection string has parameters that are not known and have no effect: sslmod (did you mean sslmode?), port (it is not read here: it belongs \
         before the question mark)"
    );
    let (_, notes) = read("postgresql://h/db?a%1B%5B31m=1").unwrap();
    assert!(!notes[0].to_string().contains('\u{1b}'));
}

#[test]
fn sslmode_sslaccept_and_the_roots_together() {
    use TlsMode::*;
    let system = || Roots::System;
    let root = || Roots::Files(vec![PathBuf::from("ca.pem")]);
    for (query, mode, roots, notes) in [
        ("", Prefer, system(), vec![]),
        ("sslmode=disable", Disable, system(), vec![]),
        ("sslmode=allow", Prefer, system(), vec![]),
        ("sslmode=prefer", Prefer, system(), vec![]),
        ("sslmode=require", Require, system(), vec![]),
        ("sslmode=verify-ca", VerifyCa, system(), vec![]),
        ("sslmode=verify-full", VerifyFull, system(), vec![]),
        ("sslaccept=strict", VerifyFull, system(), vec![]),
        ("sslmode=prefer&sslaccept=strict", VerifyFull, system(), vec![]),
        ("sslmode=require&sslaccept=strict", VerifyFull, system(), vec![]),
        ("sslmode=verify-ca&sslaccept=strict", VerifyCa, system(), vec![]),
        (
            "sslmode=disable&sslaccept=strict",
            Disable,
            system(),
            vec![Note::StrictWithoutTls],
        ),
        (
            "sslmode=verify-ca&sslaccept=accept_invalid_certs",
            VerifyCa,
            system(),
            vec![],
        ),
        (
            "sslmode=verify-full&sslaccept=accept_invalid_certs",
            VerifyFull,
            system(),
            vec![],
        ),
        (
            "sslmode=require&sslaccept=accept_invalid_certs",
            Require,
            system(),
            vec![],
        ),
        ("sslmode=require&sslcert=ca.pem", VerifyCa, root(), vec![]),
        ("sslmode=require&sslrootcert=ca.pem", VerifyCa, root(), vec![]),
        (
            "sslmode=require&sslcert=ca.pem&sslaccept=strict",
            VerifyFull,
            root(),
            vec![],
        ),
        (
            "sslmode=require&sslcert=ca.pem&sslaccept=accept_invalid_certs",
            Require,
            root(),
            vec![Note::RootUnused],
        ),
        ("sslcert=ca.pem", Prefer, root(), vec![Note::RootUnused]),
        ("sslmode=verify-full&sslrootcert=ca.pem", VerifyFull, root(), vec![]),
        ("sslrootcert=system", VerifyFull, system(), vec![]),
        ("sslrootcert=system&sslmode=verify-full", VerifyFull, system(), vec![]),
    ] {
        let (target, got) = read(&format!("postgresql://h/db?{query}")).unwrap();
        assert_eq!(
            (target.tls.mode, target.tls.roots, got),
            (mode, roots, notes),
            "{query}"
        );
        assert_eq!(
            target.tls.explicit,
            query.contains("sslmode") || query.contains("accept") || query.contains("system")
        );
    }
}

/// The default on a host of Amazon RDS is verify-full; an sslmode is honoured, and sslaccept never lowers.
#[test]
fn on_an_rds_host() {
    use TlsMode::*;
    let file = || Roots::Files(vec![PathBuf::from("ca.pem")]);
    let instance = "shop.c9a.eu-west-1.rds.amazonaws.com";
    let proxy = "shop.proxy-c9a.eu-west-1.rds.amazonaws.com";
    for (host, query, mode, roots) in [
        (instance, "", VerifyFull, Roots::Amazon),
        (instance, "schema=s", VerifyFull, Roots::Amazon),
        (instance, "sslaccept=strict", VerifyFull, Roots::Amazon),
        (instance, "sslaccept=accept_invalid_certs", VerifyFull, Roots::Amazon),
        (instance, "sslmode=verify-full", VerifyFull, Roots::Amazon),
        (instance, "sslmode=require&sslaccept=strict", VerifyFull, Roots::Amazon),
        (instance, "sslmode=prefer&sslaccept=strict", VerifyFull, Roots::Amazon),
        (instance, "sslrootcert=ca.pem", VerifyFull, file()),
        (instance, "sslcert=ca.pem", VerifyFull, file()),
        (instance, "sslrootcert=system", VerifyFull, Roots::System),
        (instance, "sslmode=verify-ca", VerifyCa, Roots::Amazon),
        (
            instance,
            "sslmode=verify-ca&sslaccept=accept_invalid_certs",
            VerifyCa,
            Roots::Amazon,
        ),
        (instance, "sslmode=require&sslrootcert=ca.pem", VerifyCa, file()),
        (instance, "sslmode=require", Require, Roots::Amazon),
        (instance, "sslmode=prefer", Prefer, Roots::Amazon),
        (instance, "sslmode=disable", Disable, Roots::Amazon),
        (proxy, "", VerifyFull, Roots::System),
        (proxy, "sslrootcert=ca.pem", VerifyFull, file()),
        (proxy, "sslmode=verify-ca", VerifyCa, Roots::System),
        (proxy, "sslmode=disable", Disable, Roots::System),
    ] {
        let (target, notes) = read(&format!("postgresql://{host}/db?{query}")).unwrap();
        assert_eq!((target.tls.mode, target.tls.roots), (mode, roots), "{host} {query}");
        if mode == VerifyFull {
            assert_eq!(notes, [], "{host} {query}");
        } else {
            assert_eq!(notes, [Note::WeakOnRds(mode)], "{host} {query}");
            assert!(notes[0].is_warning());
            let text = notes[0].to_string();
            assert!(
                text.starts_with(&format!("sslmode={mode} on an Amazon RDS host: ")),
                "{text}"
            );
        }
    }
    // By the parameter too; and a socket is no host of Amazon's.
    let (target, _) = read(&format!("postgresql://localhost/db?host={instance}")).unwrap();
    assert_eq!(target.tls.mode, VerifyFull);
    let (target, notes) = read(&format!(
        "postgresql://{instance}/db?host=/run/postgresql&sslmode=disable"
    ))
    .unwrap();
    assert_eq!((target.tls.roots, notes), (Roots::System, vec![]));
}

#[test]
fn an_address_in_the_place_of_the_names() {
    assert_eq!(target("postgresql://h/db").hostaddr, None);
    let tunnel = target("postgresql://shop.c9a.eu-west-1.rds.amazonaws.com/db?hostaddr=127.0.0.1");
    assert_eq!(tunnel.hostaddr, Some(std::net::Ipv4Addr::LOCALHOST.into()));
    assert_eq!(tunnel.describe_server(), "shop.c9a.eu-west-1.rds.amazonaws.com:5432");
    assert_eq!(tunnel.tls.mode, TlsMode::VerifyFull);
    let six = target("postgresql://h/db?hostaddr=::1").hostaddr;
    assert_eq!(six, Some(std::net::Ipv6Addr::LOCALHOST.into()));
    let error = read("postgresql://h/db?hostaddr=elsewhere").unwrap_err();
    assert_eq!(error.to_string(), "the parameter hostaddr is not an IP address");
}

/// Whether a token may be sent there.
#[test]
fn tls_is_certain_where_the_mode_insists() {
    for (query, certain) in [
        ("", false),
        ("sslmode=disable", false),
        ("sslmode=prefer", false),
        ("sslmode=require", true),
        ("sslmode=verify-ca", true),
        ("sslaccept=strict", true),
    ] {
        assert_eq!(
            target(&format!("postgresql://h/db?{query}")).tls.is_certain(),
            certain,
            "{query}"
        );
    }
    assert!(
        target("postgresql://shop.c9a.eu-west-1.rds.amazonaws.com/db")
            .tls
            .is_certain()
    );
}

#[test]
fn client_identity() {
    let identity = target("postgresql://h/db?sslidentity=me.p12&sslpassword=hunter2")
        .tls
        .identity
        .unwrap();
    assert_eq!(identity.file, PathBuf::from("me.p12"));
    assert_eq!(identity.password.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{identity:?}").contains("hunter2"));
    let (_, notes) = read("postgresql://h/db?sslkey=k&sslcert=c&sslmode=require").unwrap();
    assert!(notes.contains(&Note::ClientKey));
}
