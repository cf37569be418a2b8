//! Types as scripts write them and as the catalogue shows them, brought to one form.

use super::name::Name;

/// A type with its modifiers: `character varying(20)[]` is `pg_catalog.varchar`, `[20]`, an array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeRef {
    /// Its name in `pg_type`, or its element's; in `pg_catalog` if it is built in.
    pub name: Option<Name>,
    /// Whether it is an array of that.
    pub array: bool,
    /// Its modifiers, as written, with those that are understood: `numeric(10)` is `numeric(10,0)`, `char` is `char(1)`.
    pub limits: Vec<String>,
    /// The type as it is written.
    pub written: String,
}

/// What SQL calls the types of `pg_catalog`, and their names there.
const ALIASES: &[(&str, &str)] = &[
    ("character varying", "varchar"),
    ("char varying", "varchar"),
    ("national character varying", "varchar"),
    ("national char varying", "varchar"),
    ("nchar varying", "varchar"),
    ("character", "bpchar"),
    ("char", "bpchar"),
    ("national character", "bpchar"),
    ("national char", "bpchar"),
    ("nchar", "bpchar"),
    ("int", "int4"),
    ("integer", "int4"),
    ("bigint", "int8"),
    ("smallint", "int2"),
    ("double precision", "float8"),
    ("float", "float8"),
    ("real", "float4"),
    ("boolean", "bool"),
    ("decimal", "numeric"),
    ("dec", "numeric"),
    ("bit varying", "varbit"),
    ("timestamp without time zone", "timestamp"),
    ("timestamp with time zone", "timestamptz"),
    ("time without time zone", "time"),
    ("time with time zone", "timetz"),
];

/// Types of `pg_catalog` whose names are one word everywhere.
const BUILT_IN: &[&str] = &[
    "varchar",
    "bpchar",
    "text",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "bool",
    "numeric",
    "bit",
    "varbit",
    "timestamp",
    "timestamptz",
    "time",
    "timetz",
    "interval",
    "date",
    "uuid",
    "json",
    "jsonb",
    "jsonpath",
    "bytea",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "xml",
    "money",
    "oid",
    "name",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "tsvector",
    "tsquery",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
];

impl TypeRef {
    /// Reads a type, as a script or `format_type` writes it.
    pub fn read(written: &str) -> TypeRef {
        let (text, array) = without_bounds(written.trim());
        let (name, limits) = match text.starts_with('"') || text.contains('.') {
            true => named(text),
            false => words(text),
        };
        TypeRef {
            name,
            array,
            limits,
            written: written.trim().to_owned(),
        }
    }

    /// Whether it is the type of `pg_catalog` that has this name, and no array.
    pub fn is(&self, built_in: &str) -> bool {
        !self.array && self.element_is(built_in)
    }

    /// The same for the element of an array.
    pub fn element_is(&self, built_in: &str) -> bool {
        let name = self.name.as_ref();
        name.is_some_and(|name| name.name == built_in && name.schema.as_deref() == Some("pg_catalog"))
    }
}

/// A type without the bounds of an array, and whether it had any.
fn without_bounds(text: &str) -> (&str, bool) {
    let mut rest = text;
    let mut array = false;
    while let Some(open) = rest.strip_suffix(']').and_then(|inner| inner.rfind('[')) {
        rest = rest[..open].trim_end();
        array = true;
    }
    let word = rest.len().checked_sub(" array".len());
    match word.and_then(|at| Some((rest.get(..at)?, rest.get(at..)?))) {
        Some((before, word)) if word.eq_ignore_ascii_case(" array") => (before.trim_end(), true),
        _ => (rest, array),
    }
}

/// A quoted or qualified name.
fn named(text: &str) -> (Option<Name>, Vec<String>) {
    let limits = parenthesized(text).map(|(_, limits, _)| limits).unwrap_or_default();
    let name = Name::read(text).map(|name| match name.schema {
        None if BUILT_IN.contains(&name.name.as_str()) => built_in(&name.name),
        _ => name,
    });
    (name, limits)
}

/// The words of SQL, or an unquoted name.
fn words(text: &str) -> (Option<Name>, Vec<String>) {
    let lower = text.to_lowercase();
    let (words, mut limits) = match parenthesized(&lower) {
        Some((before, limits, after)) => (format!("{before} {after}"), limits),
        None => (lower, Vec::new()),
    };
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(fields) = words.strip_prefix("interval ") {
        limits.push(fields.to_owned());
        return (Some(built_in("interval")), limits);
    }
    let alias = ALIASES.iter().find(|(words_of, _)| *words_of == words);
    let name = alias.map_or(words.as_str(), |(_, name)| name);
    match (words.as_str(), limits.as_slice()) {
        ("decimal" | "dec" | "numeric", [_]) => limits.push("0".to_owned()),
        ("bit", []) => limits.push("1".to_owned()),
        // bpchar alone has no limit.
        (_, []) if name == "bpchar" && words != "bpchar" => limits.push("1".to_owned()),
        ("float", [digits]) => {
            let single = digits.parse().is_ok_and(|digits: u32| digits <= 24);
            return (Some(built_in(if single { "float4" } else { "float8" })), Vec::new());
        }
        _ => {}
    }
    let name = match BUILT_IN.contains(&name) {
        true => Some(built_in(name)),
        false => Name::read(name),
    };
    (name, limits)
}

fn built_in(name: &str) -> Name {
    Name {
        schema: Some("pg_catalog".to_owned()),
        name: name.to_owned(),
    }
}

/// What stands before, in and after parentheses.
fn parenthesized(text: &str) -> Option<(&str, Vec<String>, &str)> {
    let (open, close) = (text.rfind('(')?, text.rfind(')')?);
    let inner = text.get(open + 1..close)?;
    let limits = inner.split(',').map(|limit| limit.trim().to_owned()).collect();
    Some((&text[..open], limits, &text[close + 1..]))
}

#[cfg(test)]
mod tests {
    use super::TypeRef;

    #[test]
    fn types_are_brought_to_one_form() {
        let cases = [
            ("VARCHAR(255)", "pg_catalog.varchar", "255", false),
            ("character varying(20)[]", "pg_catalog.varchar", "20", true),
            ("timestamp(3) with time zone", "pg_catalog.timestamptz", "3", false),
            ("TIMESTAMPTZ (6)", "pg_catalog.timestamptz", "6", false),
            ("Double  Precision", "pg_catalog.float8", "", false),
            ("decimal(10)", "pg_catalog.numeric", "10,0", false),
            ("char", "pg_catalog.bpchar", "1", false),
            ("bpchar", "pg_catalog.bpchar", "", false),
            ("int array", "pg_catalog.int4", "", true),
            ("\"Role\"[][3]", "\"Role\"", "", true),
            ("shop . \"Role\"", "shop.\"Role\"", "", false),
            ("\"text\"", "pg_catalog.text", "", false),
            ("citext", "citext", "", false),
            ("geometry(Point,4326)", "geometry", "point,4326", false),
            ("interval year to month", "pg_catalog.interval", "year to month", false),
            ("float(8)", "pg_catalog.float4", "", false),
        ];
        for (written, name, limits, array) in cases {
            let read = TypeRef::read(written);
            assert_eq!(
                read.name.map(|name| name.to_string()).as_deref(),
                Some(name),
                "{written}"
            );
            assert_eq!(
                (read.limits.join(",").as_str(), read.array),
                (limits, array),
                "{written}"
            );
        }
    }
}
