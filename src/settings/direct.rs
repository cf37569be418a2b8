//! `DIRECT_URL`: by Prisma's convention the way to the server itself, beside a `DATABASE_URL` that leads to a pooler. It is used only if the artifact
//! says so in plain words, as Prisma would use it; no other variable is read because an artifact names it.

use super::database::{authorities, of_url};
use super::usage;
use crate::artifact::decide::DIRECT_URL;
use crate::artifact::project::Datasource;
use crate::database::credentials::Way;
use crate::database::target::Target;
use crate::database::tls::Roots;
use crate::failure::Failure;
use crate::secret::Secret;

/// How an artifact says it.
const SAY_SO: &str =
    "directUrl = env(\"DIRECT_URL\") in schema.prisma, or url: env(\"DIRECT_URL\") in prisma.config.ts";

/// `DIRECT_URL`, and what it stands beside.
#[derive(Debug)]
pub(super) struct Direct {
    url: Secret,
    roots: Option<Roots>,
    /// Whether there is no other way to the database.
    is_only: bool,
    /// Whether the database is given by a URL: beside other ways `DIRECT_URL` is not read.
    beside_url: bool,
}

impl Direct {
    /// The variable, where it is set.
    pub(super) fn of(way: &Way, variable: &dyn Fn(&str) -> Option<String>) -> Option<Direct> {
        Some(Direct {
            url: Secret::new(variable(DIRECT_URL)?),
            roots: authorities(variable).ok().flatten(),
            is_only: variable("DATABASE_URL").is_none(),
            beside_url: matches!(way, Way::Url(_)),
        })
    }

    /// Which of the two is used: what the artifact says, where there is one.
    ///
    /// # Errors
    /// They name different databases; the one that is used cannot be; there is only one, and the artifact does not name it.
    pub(super) fn choose(&self, database: Target, said: Option<&Datasource>) -> Result<Target, Failure> {
        let Some(file) = said.and_then(|said| said.direct_url.as_deref()) else {
            let why = match said {
                None => "this verb reads no artifact that could name DIRECT_URL".to_owned(),
                Some(Datasource {
                    computed_url: Some(config),
                    ..
                }) => format!("{config} computes its URL, which is not read"),
                Some(_) => "nothing in the artifact names DIRECT_URL".to_owned(),
            };
            if self.is_only {
                let next = format!("set DATABASE_URL, or write {SAY_SO}");
                return Err(usage(
                    &format!("DIRECT_URL is set and DATABASE_URL is not, and {why}"),
                    &next,
                ));
            }
            tracing::info!("credentials for the database: those of DATABASE_URL; DIRECT_URL is not used: {why}");
            return Ok(database);
        };
        let (direct, notes) = of_url(DIRECT_URL, &self.url, self.roots.clone())?;
        for (is_warning, note) in notes {
            match is_warning {
                true => tracing::warn!("DIRECT_URL: {note}"),
                false => tracing::debug!("DIRECT_URL: {note}"),
            }
        }
        if !self.is_only {
            same(&database, &direct, file)?;
        }
        tracing::info!(
            "credentials for the database: those of DIRECT_URL, which {file} names: {}",
            direct.describe()
        );
        Ok(direct)
    }
}

/// A pooler has another host, another port and sometimes another user than the server behind it, but the same database and schema.
fn same(database: &Target, direct: &Target, file: &str) -> Result<(), Failure> {
    let schema = |target: &Target| target.schema.clone().unwrap_or_else(|| "public".to_owned());
    let differ = |what: &str, one: &str, other: &str| {
        let what =
            format!("DATABASE_URL names the {what} {one:?} and DIRECT_URL, which {file} names, the {what} {other:?}");
        usage(&what, &format!("make both name the same {what}, or unset DIRECT_URL"))
    };
    if database.database != direct.database {
        return Err(differ("database", &database.database, &direct.database));
    }
    let (one, other) = (schema(database), schema(direct));
    if one != other {
        return Err(differ("schema", &one, &other));
    }
    Ok(())
}

/// What the refusal of a pooler says of the variable.
pub(super) fn hint(direct: Option<&Direct>, named: Option<&str>) -> Option<String> {
    match (direct, named) {
        (Some(direct), Some(file)) if !direct.beside_url => Some(format!(
            "DIRECT_URL, which {file} names, is used only beside DATABASE_URL: set that in place of the DB_* variables"
        )),
        // It was used: there is no other.
        (Some(_), Some(_)) => None,
        (Some(_), None) => Some(format!(
            "DIRECT_URL is set and not used, since nothing in the artifact names it: write {SAY_SO}; or put its value into DATABASE_URL"
        )),
        (None, Some(file)) => Some(format!(
            "{file} names DIRECT_URL, which is not set: set it to the server's own address"
        )),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn target(url: &str) -> Target {
        Target::from_url(&Secret::new(url)).unwrap().0
    }

    fn chosen(database: &str, direct: &str, said: Option<&Datasource>) -> Result<String, Failure> {
        let variable = |name: &str| match name {
            "DATABASE_URL" => Some(database.to_owned()).filter(|url| !url.is_empty()),
            DIRECT_URL => Some(direct.to_owned()),
            _ => None,
        };
        let database = target(if database.is_empty() { direct } else { database });
        let way = Way::Url(database.clone());
        Direct::of(&way, &variable)
            .unwrap()
            .choose(database, said)
            .map(|target| target.describe())
    }

    #[test]
    fn it_is_used_only_if_the_artifact_names_it() {
        let (pooled, direct) = (
            "postgresql://u:hunter2@pool:6543/shop?pgbouncer=true",
            "postgresql://v:hunter2@own:5432/shop",
        );
        let named = Datasource {
            direct_url: Some("prisma/schema.prisma".into()),
            ..Datasource::default()
        };
        let other = Datasource::default();
        for (said, expected) in [
            (Some(&named), "own:5432/shop"),
            (Some(&other), "pool:6543/shop"),
            (None, "pool:6543/shop"),
        ] {
            assert_eq!(chosen(pooled, direct, said).unwrap(), expected, "{said:?}");
        }
        assert_eq!(chosen("", direct, Some(&named)).unwrap(), "own:5432/shop");
        assert_eq!(chosen("", direct, Some(&other)).unwrap_err().exit, Exit::Usage);
        // What is not used need not be sound.
        assert!(chosen(pooled, "no url", Some(&other)).is_ok());
        let failure = chosen(pooled, "postgresql://u:hunter2@own:port/shop", Some(&named)).unwrap_err();
        assert!(failure.what.starts_with("DIRECT_URL cannot be used"), "{failure}");
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }

    #[test]
    fn two_databases_are_refused() {
        let named = Datasource {
            direct_url: Some("prisma/schema.prisma".into()),
            ..Datasource::default()
        };
        for (database, direct, differ) in [
            ("postgresql://h/a", "postgresql://h/b", Some("database")),
            ("postgresql://h/a", "postgresql://h", Some("database")),
            ("postgresql://h/a?schema=x", "postgresql://h/a?schema=y", Some("schema")),
            ("postgresql://h/a?schema=x", "postgresql://h/a", Some("schema")),
            ("postgresql://h/a?schema=public", "postgresql://h/a", None),
            ("postgresql://h/postgres", "postgresql://i", None),
            ("postgresql://u.x:p@h:6543/a", "postgresql://u:p@i/a", None),
        ] {
            let chosen = chosen(database, direct, Some(&named));
            match differ {
                None => assert!(chosen.is_ok(), "{database} {direct}"),
                Some(what) => {
                    let failure = chosen.unwrap_err();
                    assert_eq!(failure.exit, Exit::Usage);
                    assert!(failure.what.contains(&format!("names the {what}")), "{failure}");
                }
            }
        }
    }
}
