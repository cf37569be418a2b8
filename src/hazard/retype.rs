//! What a new type for a column costs: whether the table is written anew, and what else is built or read again.
//!
//! PostgreSQL writes no rows if the old type is the new one as it is (`pg_cast` without a function, a domain and what it is made of), or if the new one
//! only takes off or widens a limit (ALTER TABLE, Notes; `ATColumnChangeRequiresRewrite`; the `prosupport` functions of varchar, varbit, numeric,
//! timestamp, timestamptz, time, timetz and interval). Between timestamp and timestamptz nothing changes if the session's time zone is UTC for good
//! (PostgreSQL 12).

use super::types::TypeRef;
use super::world::Key;

/// One side of a change of type.
#[derive(Clone, Debug)]
pub struct Side {
    /// The type, or what a domain is at the bottom.
    pub base: TypeRef,
    /// The domain.
    pub domain: Option<Key>,
    /// Whether the domain checks its values.
    pub constrained: bool,
}

impl Side {
    /// A type that is no domain.
    #[cfg(test)]
    pub fn of(ty: &str) -> Side {
        Side {
            base: TypeRef::read(ty),
            domain: None,
            constrained: false,
        }
    }
}

/// What has to be known besides the types.
#[derive(Clone, Copy, Debug)]
pub struct Casting<'a> {
    /// Which types are another as they are, by the names of both.
    pub casts: &'a [(Key, Key)],
    /// Whether the session's time zone is UTC for good.
    pub utc: bool,
}

/// Casts that every server has.
const BINARY: &[(&str, &str)] = &[
    ("varchar", "text"),
    ("text", "varchar"),
    ("cidr", "inet"),
    ("xml", "text"),
    ("bit", "varbit"),
    ("varbit", "bit"),
];

/// Whether a column of one type becomes one of the other without a row being written.
pub fn keeps_rows(from: &Side, to: &Side, casting: Casting<'_>) -> bool {
    if from.domain.is_some() && from.domain == to.domain && from.base.array == to.base.array {
        return true;
    }
    // Each value has to be checked, and that is done by writing it (`CoerceToDomain`).
    if to.constrained {
        return false;
    }
    let mut old = from.base.clone();
    // A column of a domain does not tell its limit.
    if from.domain.is_some() {
        old.limits.clear();
    }
    same(&old, &to.base) || is_other(&old, &to.base, casting)
}

fn same(from: &TypeRef, to: &TypeRef) -> bool {
    if from.name != to.name || from.array != to.array {
        return false;
    }
    // Without a limit there is nothing to cut off, whatever the type.
    if to.limits.is_empty() || from.limits == to.limits {
        return true;
    }
    if from.array {
        return false;
    }
    let limit = |ty: &TypeRef, at: usize| ty.limits.get(at).and_then(|limit| limit.parse::<i64>().ok());
    let wider = |at: usize| matches!((limit(from, at), limit(to, at)), (Some(old), Some(new)) if new >= old);
    let name = to.name.as_ref().map(|name| name.name.as_str()).unwrap_or_default();
    match name {
        "varchar" | "varbit" => wider(0),
        // The scale decides what is stored.
        "numeric" => wider(0) && limit(from, 1) == limit(to, 1),
        // Without a limit they have six digits.
        "timestamp" | "timestamptz" | "time" | "timetz" => limit(to, 0).unwrap_or(6) >= limit(from, 0).unwrap_or(6),
        "interval" if from.limits.len() <= 1 && to.limits.len() <= 1 => {
            let digits = |ty: &TypeRef| match ty.limits.first() {
                None => Some(6),
                Some(limit) => limit.parse::<i64>().ok(),
            };
            matches!((digits(from), digits(to)), (Some(old), Some(new)) if new >= old)
        }
        _ => false,
    }
}

/// Whether a type is another as it is.
fn is_other(from: &TypeRef, to: &TypeRef, casting: Casting<'_>) -> bool {
    let (Some(old), Some(new)) = (&from.name, &to.name) else {
        return false;
    };
    if from.array || to.array {
        return false;
    }
    let pair = |one: &str, other: &str| from.is(one) && to.is(other);
    if pair("timestamp", "timestamptz") || pair("timestamptz", "timestamp") {
        let whole = to.limits.is_empty() || to.limits == ["6"];
        return casting.utc && whole;
    }
    let key = |name: &super::name::Name| (name.schema.clone().unwrap_or_default(), name.name.clone());
    let cast = BINARY.iter().any(|(one, other)| pair(one, other)) || casting.casts.contains(&(key(old), key(new)));
    // A limit is one that the old value has not been cut to.
    cast && to.limits.is_empty()
}

/// Whether an index of a column's own type serves the new one: its operators are the same.
pub fn keeps_operators(from: &TypeRef, to: &TypeRef) -> bool {
    let text = |ty: &TypeRef| ty.is("text") || ty.is("varchar");
    from.name == to.name || text(from) && text(to) || from.is("cidr") && to.is("inet")
}

#[cfg(test)]
mod tests {
    use super::{Casting, Side, keeps_rows};
    use crate::hazard::types::TypeRef;

    const ELSEWHERE: Casting<'static> = Casting { casts: &[], utc: false };

    #[test]
    fn what_postgresql_changes_in_the_catalogue_alone() {
        let kept = [
            ("character varying(20)", "VARCHAR(255)"),
            ("character varying(20)", "varchar"),
            ("character varying(20)", "TEXT"),
            ("text", "character varying"),
            ("integer", "INT4"),
            ("integer[]", "int[]"),
            ("character varying(20)[]", "varchar[]"),
            ("character(3)", "bpchar"),
            ("numeric(10,2)", "DECIMAL(12, 2)"),
            ("numeric(10,2)", "numeric"),
            ("timestamp(3) without time zone", "TIMESTAMP(6)"),
            ("timestamp(3) without time zone", "timestamp"),
            ("timestamp with time zone", "timestamptz(6)"),
            ("bit varying(3)", "varbit(9)"),
            ("cidr", "inet"),
        ];
        let written = [
            ("character varying(255)", "VARCHAR(20)"),
            ("text", "VARCHAR(20)"),
            ("integer", "BIGINT"),
            ("character varying(20)[]", "text[]"),
            ("character varying(20)[]", "varchar(30)[]"),
            ("numeric(10,2)", "numeric(12,3)"),
            ("numeric", "numeric(12,3)"),
            ("timestamp(3) without time zone", "TIMESTAMPTZ(3)"),
            ("timestamp without time zone", "timestamp(3)"),
            ("text", "jsonb"),
            ("text", "citext"),
            ("character(3)", "char(5)"),
            ("character(3)", "char"),
            ("\"Role\"", "\"Role_new\""),
        ];
        for (from, to) in kept {
            assert!(keeps_rows(&Side::of(from), &Side::of(to), ELSEWHERE), "{from} to {to}");
        }
        for (from, to) in written {
            assert!(!keeps_rows(&Side::of(from), &Side::of(to), ELSEWHERE), "{from} to {to}");
        }
    }

    #[test]
    fn the_time_zone_and_the_casts_count() {
        let utc = Casting { utc: true, ..ELSEWHERE };
        for (from, to, keeps) in [
            ("timestamp without time zone", "timestamptz", true),
            ("timestamp(3) without time zone", "timestamptz(6)", true),
            ("timestamp with time zone", "timestamp", true),
            ("timestamp(3) without time zone", "timestamptz(3)", false),
        ] {
            assert_eq!(keeps_rows(&Side::of(from), &Side::of(to), utc), keeps, "{from} to {to}");
            assert!(!keeps_rows(&Side::of(from), &Side::of(to), ELSEWHERE), "{from} to {to}");
        }
        let named = |schema: &str, name: &str| (schema.to_owned(), name.to_owned());
        let casts = [(named("pg_catalog", "text"), named("public", "citext"))];
        let citext = Casting {
            casts: &casts,
            utc: false,
        };
        assert!(keeps_rows(&Side::of("text"), &Side::of("public.citext"), citext));
    }

    #[test]
    fn domains_are_what_they_are_made_of() {
        let domain = |base: &str, name: &str, constrained| Side {
            base: TypeRef::read(base),
            domain: Some(("public".to_owned(), name.to_owned())),
            constrained,
        };
        let cases = [
            (domain("text", "d", true), Side::of("text"), true),
            (domain("character varying(20)", "d", true), Side::of("varchar"), true),
            (
                domain("character varying(20)", "d", true),
                Side::of("varchar(20)"),
                false,
            ),
            (
                Side::of("character varying(20)"),
                domain("varchar(20)", "d", false),
                true,
            ),
            (Side::of("text"), domain("text", "d", false), true),
            (Side::of("text"), domain("text", "d", true), false),
            (domain("text", "d", true), domain("text", "d", true), true),
            (domain("text", "d", true), domain("text", "e", true), false),
        ];
        for (from, to, keeps) in cases {
            assert_eq!(keeps_rows(&from, &to, ELSEWHERE), keeps, "{from:?} to {to:?}");
        }
    }
}
