//! Whether a new type for a column writes the table anew.
//!
//! PostgreSQL writes no rows where the old type is binary coercible to the new one, or where the new one only takes off or widens a limit
//! (ALTER TABLE, Notes; the `prosupport` functions of varchar, varbit, numeric, timestamp, timestamptz, time, timetz and interval).

/// A type with its modifiers: `character varying` and `[255]`.
#[derive(Debug, PartialEq, Eq)]
struct Type {
    base: String,
    limits: Vec<i64>,
}

/// Whether a column of type `from` (as `format_type` writes it) becomes one of type `to` (as a script has it) without a row being written.
pub fn keeps_rows(from: &str, to: &str) -> bool {
    let (from, to) = (Type::read(from), Type::read(to));
    let limit = |ty: &Type, at: usize| ty.limits.get(at).copied();
    let wider = |at: usize| match (limit(&from, at), limit(&to, at)) {
        (_, None) => true,
        (Some(old), Some(new)) => new >= old,
        (None, Some(_)) => false,
    };
    if from == to {
        return true;
    }
    match (from.base.as_str(), to.base.as_str()) {
        ("character varying", "text") => true,
        ("text" | "character varying", "character varying") => wider(0),
        ("bit varying", "bit varying") => wider(0),
        // The scale decides what is stored.
        ("numeric", "numeric") => {
            to.limits.is_empty() || (wider(0) && from.limits.len() == 2 && limit(&from, 1) == limit(&to, 1))
        }
        // Without a limit they have six digits.
        (old, new) if old == new && is_time(old) => limit(&to, 0).unwrap_or(6) >= limit(&from, 0).unwrap_or(6),
        ("cidr", "inet") | ("xml", "text") => true,
        _ => false,
    }
}

fn is_time(base: &str) -> bool {
    base.starts_with("timestamp") || base.starts_with("time ") || base == "interval"
}

impl Type {
    fn read(text: &str) -> Type {
        let lower = text.to_ascii_lowercase();
        let (mut base, mut limits) = (lower.clone(), Vec::new());
        if let (Some(open), Some(close)) = (lower.find('('), lower.rfind(')'))
            && open < close
        {
            limits = lower[open + 1..close]
                .split(',')
                .filter_map(|limit| limit.trim().parse().ok())
                .collect();
            base = format!("{} {}", &lower[..open], &lower[close + 1..]);
        }
        let base = base.replace('"', "").split_whitespace().collect::<Vec<_>>().join(" ");
        let base = base.strip_prefix("pg_catalog.").unwrap_or(&base);
        let base = match base {
            "varchar" | "char varying" => "character varying",
            "char" | "character" | "bpchar" => "character",
            "int" | "int4" => "integer",
            "int8" => "bigint",
            "int2" => "smallint",
            "float8" | "float" => "double precision",
            "float4" => "real",
            "bool" => "boolean",
            "decimal" | "dec" => "numeric",
            "varbit" => "bit varying",
            "timestamp" => "timestamp without time zone",
            "timestamptz" => "timestamp with time zone",
            "time" => "time without time zone",
            "timetz" => "time with time zone",
            other => other,
        };
        // numeric(10) is numeric(10,0).
        if base == "numeric" && limits.len() == 1 {
            limits.push(0);
        }
        Type {
            base: base.to_owned(),
            limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::keeps_rows;

    #[test]
    fn what_postgresql_changes_in_the_catalogue_alone() {
        let kept = [
            ("character varying(20)", "VARCHAR(255)"),
            ("character varying(20)", "varchar"),
            ("character varying(20)", "TEXT"),
            ("text", "character varying"),
            ("integer", "INT4"),
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
            ("numeric(10,2)", "numeric(12,3)"),
            ("numeric", "numeric(12,3)"),
            ("timestamp(3) without time zone", "TIMESTAMPTZ(3)"),
            ("timestamp without time zone", "timestamp(3)"),
            ("text", "jsonb"),
            ("character(3)", "char(5)"),
            ("\"Role\"", "\"Role_new\""),
        ];
        for (from, to) in kept {
            assert!(keeps_rows(from, to), "{from} to {to}");
        }
        for (from, to) in written {
            assert!(!keeps_rows(from, to), "{from} to {to}");
        }
    }
}
