//! Sizes as `pg_size_pretty` has them: `kB`, `MB`, `GB`, `TB`, each 1,024 of the one before.

const UNITS: [(&str, u32); 5] = [("B", 0), ("kB", 10), ("MB", 20), ("GB", 30), ("TB", 40)];

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
