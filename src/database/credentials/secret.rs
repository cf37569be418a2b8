//! A database's secret as Secrets Manager and RDS have it: its name, and what it holds. Pure.

use std::fmt;

use serde_json::Value;

use crate::secret::Secret;

/// Which secret: an ARN, or a name in the account and region of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretId {
    id: String,
    region: Option<String>,
}

/// Why a text is no secret's ARN or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretIdError {
    /// Another service's ARN, or a broken one.
    #[error("it is no ARN of a secret in Secrets Manager (arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME)")]
    NotASecret,
    /// The form in which an ECS task definition names one value of a secret.
    #[error(
        "it goes on behind the secret's name, as in the valueFrom of an ECS task definition: give the ARN of the whole secret"
    )]
    OneValue,
}

impl SecretId {
    /// Reads an ARN or a name.
    ///
    /// # Errors
    /// An ARN that is not a secret's.
    pub fn parse(text: &str) -> Result<SecretId, SecretIdError> {
        let id = text.trim().to_owned();
        if !id.starts_with("arn:") {
            // API_CreateSecret.html of Secrets Manager's API reference, Name; the exclamation mark is in the names that RDS itself gives.
            let is_name = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-!".contains(c);
            return match !id.is_empty() && id.chars().all(is_name) {
                true => Ok(SecretId { id, region: None }),
                false => Err(SecretIdError::NotASecret),
            };
        }
        match id.split(':').collect::<Vec<_>>()[..] {
            ["arn", partition, "secretsmanager", region, account, "secret", name]
                if ![partition, region, account, name].contains(&"") =>
            {
                let region = Some(region.to_owned());
                Ok(SecretId { id, region })
            }
            ["arn", _, "secretsmanager", _, _, "secret", _, _, ..] => Err(SecretIdError::OneValue),
            _ => Err(SecretIdError::NotASecret),
        }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// The ARN's region.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// What a policy that allows to read it has to name.
    pub(super) fn resource(&self, region: &str) -> String {
        match self.region {
            Some(_) => self.id.clone(),
            // Secrets Manager puts a hyphen and six characters behind the name.
            None => format!(
                "arn:{}:secretsmanager:{region}:*:secret:{}-??????",
                crate::aws::partition(region),
                self.id
            ),
        }
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// What RDS puts into a secret. A secret that RDS manages itself holds user and password only.
///
/// Source: AWS Secrets Manager User Guide, "JSON structure of AWS Secrets Manager secrets".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub(super) username: String,
    pub(super) password: Secret,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) dbname: Option<String>,
}

/// Why a secret's content is no database's. Nothing of the content is in it, other than the names of keys and of engines that exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Binary, a bare password, a list …
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A key is missing, empty or no text.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A key has a value that cannot be one.
    #[error("its {0} cannot be used")]
    Unusable(&'static str),
    /// Another kind of database.
    #[error("it is for {}, and this program knows PostgreSQL only", engine.unwrap_or("another kind of database"))]
    Engine {
        /// RDS's name of the engine, if it is one.
        engine: Option<&'static str>,
    },
}

/// The engines of Secrets Manager's database secrets that are not PostgreSQL.
const OTHER_ENGINES: [&str; 11] = [
    "mysql",
    "mariadb",
    "aurora",
    "aurora-mysql",
    "oracle",
    "oracle-ee",
    "sqlserver",
    "sqlserver-ex",
    "mongo",
    "redshift",
    "db2",
];

impl Content {
    /// Reads the text of a secret.
    ///
    /// # Errors
    /// It is no PostgreSQL database's secret.
    pub fn parse(text: &str) -> Result<Content, ContentError> {
        // The parser's own error may quote the text.
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return Err(ContentError::NotAnObject);
        };
        let text = |key: &'static str| match object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(ContentError::Unusable(key)),
        };
        let engine = text("engine")?.map(|engine| engine.to_lowercase());
        if let Some(engine) = engine.filter(|engine| !engine.contains("postgres")) {
            let engine = OTHER_ENGINES.into_iter().find(|other| *other == engine);
            return Err(ContentError::Engine { engine });
        }
        let port = match object.get("port") {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) => Some(number.as_u64().and_then(|number| u16::try_from(number).ok())),
            // The console's form for "other" secrets makes a text of everything.
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(text.parse().ok()),
            Some(_) => Some(None),
        };
        let port = port
            .map(|port| port.filter(|&port| port != 0).ok_or(ContentError::Unusable("port")))
            .transpose()?;
        Ok(Content {
            username: text("username")?.ok_or(ContentError::Missing("username"))?,
            password: Secret::new(text("password")?.ok_or(ContentError::Missing("password"))?),
            host: text("host")?,
            port,
            dbname: text("dbname")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:newsroom/db-AbCdEf";

    #[test]
    fn a_secret_is_named_by_its_arn_or_its_name() {
        for (text, region) in [
            (ARN, Some("eu-west-1")),
            (
                "arn:aws-us-gov:secretsmanager:us-gov-west-1:1:secret:rds!db-1-x",
                Some("us-gov-west-1"),
            ),
            (" newsroom/db ", None),
            ("a_b+c=d.e@f-1", None),
        ] {
            let id = SecretId::parse(text).unwrap();
            assert_eq!((id.as_str(), id.region()), (text.trim(), region));
        }
        for (text, error) in [
            (format!("{ARN}:password::"), SecretIdError::OneValue),
            (format!("{ARN}:::"), SecretIdError::OneValue),
            ("arn:aws:ssm:eu-west-1:1:parameter/db".into(), SecretIdError::NotASecret),
            ("arn:aws:secretsmanager::1:secret:db".into(), SecretIdError::NotASecret),
            ("arn:aws:secretsmanager:eu-west-1".into(), SecretIdError::NotASecret),
            (
                r#"{"username":"u","password":"hunter2"}"#.into(),
                SecretIdError::NotASecret,
            ),
            (" ".into(), SecretIdError::NotASecret),
        ] {
            let refused = SecretId::parse(&text).unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn what_a_policy_names() {
        assert_eq!(SecretId::parse(ARN).unwrap().resource("us-east-1"), ARN);
        assert_eq!(
            SecretId::parse("db").unwrap().resource("cn-north-1"),
            "arn:aws-cn:secretsmanager:cn-north-1:*:secret:db-??????"
        );
    }

    #[test]
    fn what_secrets_hold() {
        let all = r#"{"username":"app","password":"p\"w","engine":"postgres","host":"h","port":5433,"dbname":"d","dbInstanceIdentifier":"i"}"#;
        let content = Content::parse(all).unwrap();
        assert_eq!((content.username.as_str(), content.password.expose()), ("app", "p\"w"));
        assert_eq!(
            (content.host.as_deref(), content.port, content.dbname.as_deref()),
            (Some("h"), Some(5433), Some("d"))
        );
        let managed = Content::parse(r#"{"username":"app","password":"p"}"#).unwrap();
        assert_eq!((managed.host, managed.port, managed.dbname), (None, None, None));
        for (engine, port, expected) in [
            (r#""aurora-postgresql""#, r#""5432""#, Some(5432)),
            (r#""PostgreSQL""#, r#""""#, None),
            ("null", "null", None),
            (r#""""#, "65535", Some(65535)),
        ] {
            let text =
                format!(r#"{{"username":"u","password":"p","engine":{engine},"port":{port},"host":"","dbname":null}}"#);
            let content = Content::parse(&text).unwrap();
            assert_eq!((content.port, content.host, content.dbname), (expected, None, None));
        }
    }

    #[test]
    fn what_is_no_databases_secret() {
        use ContentError::{Engine, Missing, NotAnObject, Unusable};
        for (text, expected) in [
            ("hunter2", NotAnObject),
            ("", NotAnObject),
            (r#""hunter2""#, NotAnObject),
            (r#"["hunter2"]"#, NotAnObject),
            (r#"{"username":"u","password":"hunter2""#, NotAnObject),
            ("{}", Missing("username")),
            (r#"{"username":"","password":"hunter2"}"#, Missing("username")),
            (r#"{"user":"u","password":"hunter2"}"#, Missing("username")),
            (r#"{"username":"u"}"#, Missing("password")),
            (r#"{"username":"u","password":""}"#, Missing("password")),
            (r#"{"username":"u","password":["hunter2"]}"#, Unusable("password")),
            (r#"{"username":1,"password":"hunter2"}"#, Unusable("username")),
            (r#"{"username":"u","password":"p","port":"hunter2"}"#, Unusable("port")),
            (r#"{"username":"u","password":"p","port":0}"#, Unusable("port")),
            (r#"{"username":"u","password":"p","port":65536}"#, Unusable("port")),
            (r#"{"username":"u","password":"p","port":-1}"#, Unusable("port")),
            (r#"{"username":"u","password":"p","host":{}}"#, Unusable("host")),
            (
                r#"{"username":"u","password":"p","engine":"mysql"}"#,
                Engine { engine: Some("mysql") },
            ),
            (
                r#"{"username":"u","password":"p","engine":"hunter2"}"#,
                Engine { engine: None },
            ),
        ] {
            let error = Content::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
