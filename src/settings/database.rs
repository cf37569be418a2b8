//! Which of the ways to the database was given. There are four, and what belongs to two of them is refused.

use super::usage;
use crate::artifact::decide::DIRECT_URL;
use crate::database::credentials::secret::SecretId;
use crate::database::credentials::{Place, Way};
use crate::database::target::{DEFAULT_DATABASE, Parts, Target};
use crate::database::tls::Roots;
use crate::database::url::UrlError;
use crate::failure::Failure;
use crate::secret::Secret;

/// What is to be mentioned of the way: a warning, or not.
pub(super) type Notes = Vec<(bool, String)>;

/// The one way that the variables give.
pub(super) fn way(variable: &dyn Fn(&str) -> Option<String>) -> Result<(Way, Notes), Failure> {
    let iam = variable("DB_IAM_AUTH").map_or(Ok(false), |text| yes_or_no(&text))?;
    let is_set = |name: &str| match name {
        "DB_IAM_AUTH" => iam,
        name => variable(name).is_some(),
    };
    contradictions(&is_set)?;
    let url = variable("DATABASE_URL").map(|url| ("DATABASE_URL", url));
    // Whether it is used is for the artifact to say.
    let direct = || {
        let is_alone = ["DB_HOST", "DB_SECRET_ARN"].iter().all(|name| !is_set(name)) && !iam;
        variable(DIRECT_URL).filter(|_| is_alone).map(|url| (DIRECT_URL, url))
    };
    if let Some((name, url)) = url.or_else(direct) {
        let (target, notes) = of_url(name, &Secret::new(url), authorities(variable)?)?;
        return Ok((Way::Url(target), notes));
    }
    for name in ["DB_PASSWORD", "DB_USERNAME"] {
        no_secret(name, variable(name).as_deref().unwrap_or_default())?;
    }
    let place = place(variable)?;
    if let Some(text) = variable("DB_SECRET_ARN") {
        let id = SecretId::parse(&text).map_err(|error| {
            usage(
                &format!("DB_SECRET_ARN cannot be used: {error}"),
                "give the ARN of the database's secret, or its name",
            )
        })?;
        return Ok((Way::Secret(id, place), Vec::new()));
    }
    let lacks = |what: &str| {
        let others = if iam {
            "DB_IAM_AUTH needs both"
        } else {
            "set DB_USERNAME and DB_PASSWORD too"
        };
        usage(what, others)
    };
    let (host, user) = match (place.host, variable("DB_USERNAME")) {
        (Some(host), Some(user)) => (host, user),
        (Some(_), None) => return Err(lacks("DB_HOST is set and DB_USERNAME is not")),
        (None, _) if iam => return Err(lacks("DB_IAM_AUTH is set and DB_HOST is not")),
        (None, _) => {
            return Err(usage(
                "nothing says where the database is",
                "set DATABASE_URL; or DB_HOST, DB_USERNAME and DB_PASSWORD (and DB_PORT, DB_NAME, DB_SCHEMA where they differ from 5432, postgres and \
                 the server's own), with DB_IAM_AUTH=true in place of DB_PASSWORD for IAM; or DB_SECRET_ARN",
            ));
        }
    };
    let mut notes = Vec::new();
    if place.database.is_none() {
        let why = format!("the database is {DEFAULT_DATABASE}, because DB_NAME is not set");
        notes.push((false, why));
    }
    let parts = Parts {
        host,
        port: place.port,
        database: place.database,
        user,
        password: variable("DB_PASSWORD").map(Secret::new),
        schema: place.schema,
        roots: place.roots,
    };
    let target = Target::from_parts(parts).map_err(|error| invalid("the DB_* variables cannot be used", &error))?;
    if !iam {
        notes.extend(line_break(&target, "DB_PASSWORD"));
        return Ok((Way::Parts(target), notes));
    }
    let way = Way::iam(target).map_err(|error| usage(&error.to_string(), &error.next_step()))?;
    if matches!(&way, Way::Iam(target) if !target.tls.mode.verifies()) {
        let unverified = "IAM tokens are sent to a server that is not verified, and whoever answers in its place can log in with one: set DB_CA_FILE or DB_CA";
        notes.push((true, unverified.to_owned()));
    }
    Ok((way, notes))
}

/// The target of a URL in this variable.
pub(super) fn of_url(name: &str, url: &Secret, roots: Option<Roots>) -> Result<(Target, Notes), Failure> {
    let (mut target, notes) =
        Target::from_url(url).map_err(|error| invalid(&format!("{name} cannot be used"), &error))?;
    let mut notes: Notes = notes.iter().map(|note| (note.is_warning(), note.to_string())).collect();
    if let Some(roots) = roots {
        let variable = match &roots {
            Roots::Text { .. } => "DB_CA",
            _ => "DB_CA_FILE",
        };
        if !target.tls.trust(roots) {
            let ignored = format!("{variable} is not read, because {name} has an sslrootcert of its own");
            notes.push((true, ignored));
        }
    }
    notes.extend(line_break(&target, &format!("the password in {name}")));
    Ok((target, notes))
}

/// A whole secret in place of one of its values: where the key was forgotten that names it.
fn no_secret(name: &str, value: &str) -> Result<(), Failure> {
    let value = value.trim();
    let what = if value.starts_with('{')
        && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(value).is_ok()
    {
        "the JSON of a whole secret"
    } else if value.starts_with("arn:") && value.contains(":secretsmanager:") {
        "the ARN of a secret"
    } else {
        return Ok(());
    };
    let key = if name == "DB_PASSWORD" { "password" } else { "username" };
    Err(usage(
        &format!("{name} holds {what}, and not the {key}"),
        &format!(
            "name the key (in a task definition: valueFrom SECRET-ARN:{key}::), or give the secret's ARN in DB_SECRET_ARN"
        ),
    ))
}

/// A password may end in a line break, and mostly it should not.
fn line_break(target: &Target, what: &str) -> Option<(bool, String)> {
    let warning =
        format!("{what} ends in a line break, which is sent as a part of it: take it off, unless the password has one");
    target.password_ends_in_a_line_break().then_some((true, warning))
}

/// Variables that cannot both be meant: the first, those that do not go with it, and why.
const CONTRADICTIONS: [(&str, &[&str], &str); 3] = [
    (
        "DATABASE_URL",
        &[
            "DB_HOST",
            "DB_PORT",
            "DB_NAME",
            "DB_SCHEMA",
            "DB_USERNAME",
            "DB_PASSWORD",
            "DB_SECRET_ARN",
            "DB_IAM_AUTH",
        ],
        "they may name different databases or users",
    ),
    (
        "DB_SECRET_ARN",
        &["DB_USERNAME", "DB_PASSWORD", "DB_IAM_AUTH"],
        "user and password are those of the secret",
    ),
    ("DB_IAM_AUTH", &["DB_PASSWORD"], "the password is a token then"),
];

fn contradictions(is_set: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
    for (name, others, why) in CONTRADICTIONS {
        let others: Vec<&str> = others.iter().copied().filter(|other| is_set(other)).collect();
        if is_set(name) && !others.is_empty() {
            let others = others.join(", ");
            return Err(usage(
                &format!("{name} is set beside {others}: {why}"),
                &format!("unset {name}, or {others}"),
            ));
        }
    }
    Ok(())
}

fn place(variable: &dyn Fn(&str) -> Option<String>) -> Result<Place, Failure> {
    let port = variable("DB_PORT").map(|port| {
        port.parse::<u16>()
            .map_err(|_| usage("DB_PORT is not a port number", "give a number from 1 to 65535"))
    });
    Ok(Place {
        host: variable("DB_HOST"),
        port: port.transpose()?,
        database: variable("DB_NAME"),
        schema: variable("DB_SCHEMA"),
        roots: authorities(variable)?,
    })
}

/// The authorities that `DB_CA_FILE` (a file, or `s3://bucket/key`) or `DB_CA` (the PEM text itself) gives.
pub(super) fn authorities(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Roots>, Failure> {
    match (variable("DB_CA_FILE"), variable("DB_CA")) {
        (Some(_), Some(_)) => Err(usage(
            "DB_CA is set beside DB_CA_FILE: both give the certificate authorities",
            "unset DB_CA, or DB_CA_FILE",
        )),
        (Some(place), None) => {
            let roots = Roots::of_place(&place);
            let roots = roots.map_err(|_| {
                usage(
                    "DB_CA_FILE is no file and not of the form s3://bucket/key",
                    "give one of them, or the PEM text in DB_CA",
                )
            })?;
            Ok(Some(roots))
        }
        (None, Some(pem)) => Ok(Some(Roots::Text {
            pem,
            origin: "DB_CA".to_owned(),
        })),
        (None, None) => Ok(None),
    }
}

/// As clap reads the variable of a switch.
fn yes_or_no(text: &str) -> Result<bool, Failure> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "y" | "t" => Ok(true),
        "false" | "no" | "off" | "0" | "n" | "f" => Ok(false),
        _ => Err(usage(
            "DB_IAM_AUTH is neither true nor false",
            "set it to true, or unset it",
        )),
    }
}

fn invalid(what: &str, error: &UrlError) -> Failure {
    Failure::new(error.exit(), format!("{what}: {error}"), error.next_step()).prisma(Some(error.code()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    const NAMES: [&str; 6] = [
        "DATABASE_URL",
        "DB_HOST",
        "DB_USERNAME",
        "DB_PASSWORD",
        "DB_SECRET_ARN",
        "DB_IAM_AUTH",
    ];

    fn given(name: &str) -> &'static str {
        match name {
            "DATABASE_URL" => "postgresql://u:hunter2@url.example/db",
            "DB_HOST" => "db.example",
            "DB_USERNAME" => "app",
            "DB_PASSWORD" => "hunter2",
            "DB_SECRET_ARN" => "arn:aws:secretsmanager:eu-west-1:1:secret:db-AbCdEf",
            "DB_IAM_AUTH" => "true",
            other => panic!("{other}"),
        }
    }

    /// What the variables come to: the kind of way, or the refusal.
    fn outcome(variable: &dyn Fn(&str) -> Option<String>) -> Result<&'static str, Failure> {
        way(variable).map(|(way, _)| match way {
            Way::Url(_) => "url",
            Way::Parts(_) => "parts",
            Way::Secret(..) => "secret",
            Way::Iam(_) => "iam",
        })
    }

    /// Columns: URL, host, user, password, secret, IAM; `1` set, `0` unset, `.` either. The first row that fits says what is expected: a way, or
    /// what the refusal says.
    const TABLE: [(&str, Result<&str, &str>); 14] = [
        ("100000", Ok("url")),
        ("1.....", Err("DATABASE_URL is set beside ")),
        ("0...11", Err("DB_SECRET_ARN is set beside ")),
        ("0.1.1.", Err("DB_SECRET_ARN is set beside ")),
        ("0..11.", Err("DB_SECRET_ARN is set beside ")),
        ("0.0010", Ok("secret")),
        ("0..1.1", Err("DB_IAM_AUTH is set beside DB_PASSWORD")),
        ("011001", Ok("iam")),
        ("010001", Err("DB_HOST is set and DB_USERNAME is not")),
        ("00..01", Err("DB_IAM_AUTH is set and DB_HOST is not")),
        ("011.00", Ok("parts")),
        ("010.00", Err("DB_HOST is set and DB_USERNAME is not")),
        ("00..00", Err("nothing says where the database is")),
        ("......", Err("no row fits")),
    ];

    #[test]
    fn a_file_of_authorities_holds_beside_a_url_too() {
        use crate::database::tls::{Roots, TlsMode};
        for (query, mode, file, warned) in [
            ("", TlsMode::VerifyFull, "/ca.pem", false),
            ("?sslmode=require", TlsMode::VerifyCa, "/ca.pem", false),
            ("?sslmode=disable", TlsMode::Disable, "/ca.pem", false),
            (
                "?sslmode=verify-full&sslrootcert=/own.pem",
                TlsMode::VerifyFull,
                "/own.pem",
                true,
            ),
        ] {
            let variable = |name: &str| match name {
                "DATABASE_URL" => Some(format!("postgresql://u:p@db.example.com/d{query}")),
                "DB_CA_FILE" => Some("/ca.pem".to_owned()),
                _ => None,
            };
            let (way, notes) = way(&variable).unwrap();
            let Way::Url(target) = way else { panic!("{way}") };
            assert_eq!(
                (target.tls.mode, &target.tls.roots),
                (mode, &Roots::Files(vec![file.into()])),
                "{query}"
            );
            assert_eq!(
                notes.iter().any(|(_, note)| note.contains("DB_CA_FILE is not read")),
                warned,
                "{query}"
            );
        }
    }

    #[test]
    fn every_combination_is_one_way_or_refused() {
        let mut ways = 0;
        for set in 0..1 << NAMES.len() {
            let bits: String = (0..NAMES.len())
                .map(|at| if set >> at & 1 == 1 { '1' } else { '0' })
                .collect();
            let is_set = |name: &str| NAMES.iter().zip(bits.chars()).any(|(n, bit)| *n == name && bit == '1');
            let fits = |row: &str| row.chars().zip(bits.chars()).all(|(row, bit)| row == '.' || row == bit);
            let (_, expected) = TABLE.into_iter().find(|(row, _)| fits(row)).unwrap();
            match (outcome(&|name| is_set(name).then(|| given(name).to_owned())), expected) {
                (Ok(way), Ok(expected)) => {
                    ways += 1;
                    assert_eq!(way, expected, "{bits}");
                }
                (Err(failure), Err(expected)) => {
                    assert_eq!(failure.exit, Exit::Usage, "{bits}");
                    assert!(failure.what.contains(expected), "{bits}: {failure}");
                    assert!(!failure.to_string().contains("hunter2"), "{bits}: {failure}");
                    let (first, rest) = failure
                        .what
                        .split_once(" is set beside ")
                        .unwrap_or((&failure.what, ""));
                    for name in NAMES.iter().filter(|name| rest.contains(*name) || first == **name) {
                        assert!(is_set(name), "{bits}: {failure}");
                    }
                    if first == "DATABASE_URL" {
                        let others = NAMES[1..].iter().filter(|name| is_set(name));
                        assert!(others.clone().all(|name| rest.contains(name)), "{bits}: {failure}");
                    }
                }
                (result, expected) => panic!("{bits}: {result:?}, expected {expected:?}"),
            }
        }
        assert_eq!(ways, 6);
    }

    #[test]
    fn iam_is_switched_off_by_what_means_no() {
        for (text, expected) in [
            ("true", Ok("iam")),
            ("TRUE", Ok("iam")),
            ("1", Ok("iam")),
            ("false", Ok("parts")),
            ("0", Ok("parts")),
            ("maybe", Err(())),
        ] {
            let variable = |name: &str| match name {
                "DB_HOST" => Some("db.example".to_owned()),
                "DB_USERNAME" => Some("app".to_owned()),
                "DB_IAM_AUTH" => Some(text.to_owned()),
                _ => None,
            };
            assert_eq!(outcome(&variable).map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn iam_by_a_socket_is_refused() {
        let variable = |name: &str| match name {
            "DB_HOST" => Some("/run/postgresql".to_owned()),
            "DB_USERNAME" => Some("app".to_owned()),
            "DB_IAM_AUTH" => Some("true".to_owned()),
            _ => None,
        };
        let failure = outcome(&variable).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.what.contains("over TLS only"), "{failure}");
    }
}
