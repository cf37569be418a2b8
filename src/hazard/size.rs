//! Sizes as PostgreSQL's settings and `pg_size_pretty` have them: `kB`, `MB`, `GB`, `TB`, each 1,024 of the one before.

const UNITS: [(&str, u32); 5] = [("B", 0), ("kB", 10), ("MB", 20), ("GB", 30), ("TB", 40)];

/// Reads `64MB`, `1.5 GB`, or a number of bytes; `MiB` and `M` are taken for `MB`.
///
/// # Errors
/// How to write it.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = UNITS.iter().find_map(|(name, shift)| {
        let name = name.to_ascii_lowercase();
        let first = &name[..1];
        let same = unit == name || (*shift > 0 && (unit == first || unit == format!("{first}ib")));
        (same || (unit.is_empty() && *shift == 0)).then_some(*shift)
    });
    let (Ok(number), Some(shift)) = (number.parse::<f64>(), shift) else {
        return Err("give a size such as 64MB or 2GB, or a number of bytes".to_owned());
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a cast from float saturates, and the number has no sign"
    )]
    Ok((number * (1u64 << shift) as f64) as u64)
}

/// `48 GB`: at most three digits.
pub fn bytes(bytes: u64) -> String {
    let (unit, shift) = UNITS
        .into_iter()
        .rev()
        .find(|(_, shift)| bytes >= 1 << shift)
        .unwrap_or(UNITS[0]);
    let whole = bytes >> shift;
    if shift == 0 || whole >= 10 {
        return format!("{whole} {unit}");
    }
    let tenths = (bytes >> (shift - 10)) % 1024 * 10 / 1024;
    if tenths == 0 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{tenths} {unit}")
    }
}

/// `~310 M rows`: an estimate, so no more than three digits.
pub fn rows(rows: u64) -> String {
    match rows {
        1 => "~1 row".to_owned(),
        0..=9_999 => format!("~{rows} rows"),
        10_000..=999_999 => format!("~{} k rows", rows / 1_000),
        1_000_000..=9_999_999 => format!("~{}.{} M rows", rows / 1_000_000, rows / 100_000 % 10),
        _ => format!("~{} M rows", rows / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_postgresql_writes_them() {
        let cases = [
            ("0", 0),
            ("8192", 8192),
            ("64MB", 64 << 20),
            ("64 mb", 64 << 20),
            ("1.5GB", 3 << 29),
            ("2GiB", 2 << 30),
            ("8k", 8192),
            ("1TB", 1 << 40),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["", "big", "-1", "1PB", "1.2.3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_few_digits() {
        let cases = [
            (0, "0 B"),
            (8192, "8 kB"),
            (1_600_000, "1.5 MB"),
            (64 << 20, "64 MB"),
            (48 << 30, "48 GB"),
        ];
        for (size, shown) in cases {
            assert_eq!(bytes(size), shown);
        }
        let cases = [
            (1, "~1 row"),
            (250, "~250 rows"),
            (123_456, "~123 k rows"),
            (1_450_000, "~1.4 M rows"),
            (310_000_000, "~310 M rows"),
        ];
        for (count, shown) in cases {
            assert_eq!(rows(count), shown);
        }
    }
}
