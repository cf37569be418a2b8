//! Settings that change what the statements behind them mean: `search_path` and `TimeZone`.

use super::act::{Opaque, Reading, Setting};
use super::name::Name;
use super::statement::unknown_calls;
use super::tree::{child, every, string_of, text};
use squawk_syntax::{SyntaxKind, SyntaxNode};

const PATH_NOTE: &str = "names behind it are looked for on this run's own search path";

/// `SET` and `RESET`.
pub fn read(node: &SyntaxNode) -> Reading {
    let local = child(node, SyntaxKind::LOCAL_SCOPE).is_some();
    match node.kind() {
        SyntaxKind::RESET => {
            let what = text(node).to_ascii_lowercase();
            match what.trim_start_matches("reset ").trim_end_matches(';').trim() {
                "all" | "search_path" | "timezone" | "time zone" => reset_all(),
                _ => Reading::default(),
            }
        }
        SyntaxKind::SET => {
            if let Some(zone) = child(node, SyntaxKind::SET_TIME_ZONE) {
                let zone = zone.children().next().and_then(|value| value_of(&value));
                return of(Setting::TimeZone(zone), local);
            }
            let Some(config) = child(node, SyntaxKind::SET_CONFIG) else {
                return Reading::default();
            };
            let name = child(&config, SyntaxKind::CONFIG_PARAMETER_REF).map(|name| text(&name).to_ascii_lowercase());
            let values = child(&config, SyntaxKind::TO_CONFIG_VALUE)
                .map(|to| to.children().map(|value| value_of(&value)).collect::<Vec<_>>());
            set(name.as_deref().unwrap_or_default(), values.unwrap_or_default(), local)
        }
        // Another role may have a schema of its own name on the path.
        _ => Reading {
            opaque: Some(Opaque::Path),
            ..Reading::default()
        },
    }
}

/// A setting whose grammar is not known.
pub fn unread(statement: &str) -> Reading {
    let lower = statement.to_ascii_lowercase();
    if lower.contains("search_path") || lower.contains("role") || lower.contains("authorization") {
        return of(Setting::Path(None), false);
    }
    match lower.contains("timezone") || lower.contains("zone") {
        true => of(Setting::TimeZone(None), false),
        false => Reading::default(),
    }
}

/// Everything as the session began.
pub fn reset_all() -> Reading {
    of(Setting::All, false)
}

/// `set_config` in a query, and whether the query may do more than to read.
pub fn of_query(node: &SyntaxNode, reading: &mut Reading) {
    for call in every(node, SyntaxKind::CALL_EXPR) {
        let name = call.children().next().and_then(|name| Name::read(&text(&name)));
        if name.is_none_or(|name| name.name != "set_config") {
            continue;
        }
        let list = child(&call, SyntaxKind::ARG_LIST);
        let arguments: Vec<SyntaxNode> = list
            .iter()
            .flat_map(|list| list.children())
            .filter_map(|argument| argument.children().next())
            .collect();
        let [setting, value, local] = arguments.as_slice() else {
            continue;
        };
        let Some(setting) = string_of(setting) else {
            reading.opaque = Some(Opaque::Anything);
            continue;
        };
        let local = text(local).eq_ignore_ascii_case("true");
        let values = match string_of(value) {
            // The value is a list already.
            Some(value) if setting == "search_path" => {
                value.split(',').map(|part| folded(part.trim())).map(Some).collect()
            }
            value => vec![value],
        };
        let of_setting = set(&setting.to_ascii_lowercase(), values, local);
        if of_setting.setting.is_some() {
            reading.setting = of_setting.setting;
            reading.note = of_setting.note;
        }
    }
    if unknown_calls(node) {
        reading.opaque = Some(Opaque::Anything);
    }
}

fn of(setting: Setting, local: bool) -> Reading {
    Reading {
        note: matches!(setting, Setting::Path(_)).then_some(PATH_NOTE),
        setting: Some((setting, local)),
        ..Reading::default()
    }
}

fn set(name: &str, values: Vec<Option<String>>, local: bool) -> Reading {
    match name {
        "search_path" => {
            let schemas: Option<Vec<String>> = values.into_iter().collect();
            let plain = |schemas: &Vec<String>| schemas.iter().all(|schema| schema != "$user" && schema != "default");
            let mut schemas = schemas.filter(plain);
            if let Some(schemas) = &mut schemas {
                schemas.retain(|schema| !schema.is_empty());
            }
            of(Setting::Path(schemas), local)
        }
        "timezone" => of(Setting::TimeZone(values.into_iter().next().flatten()), local),
        _ => Reading::default(),
    }
}

/// A value as it is set: a string, a number, or a word.
fn value_of(node: &SyntaxNode) -> Option<String> {
    if let Some(text) = string_of(node) {
        return Some(text);
    }
    let word = text(node);
    let known = !word.eq_ignore_ascii_case("default") && !word.eq_ignore_ascii_case("local");
    known.then(|| folded(&word))
}

fn folded(word: &str) -> String {
    match Name::read(word) {
        Some(name) if name.schema.is_none() && word.starts_with('"') => name.name,
        _ => word.to_lowercase(),
    }
}

/// Whether a time zone is UTC for good: PostgreSQL asks `pg_get_timezone_offset`, which knows an offset that never changes alone.
pub fn is_utc(zone: &str) -> bool {
    const NAMES: &[&str] = &[
        "utc",
        "gmt",
        "uct",
        "universal",
        "zulu",
        "greenwich",
        "gmt0",
        "gmt+0",
        "gmt-0",
    ];
    let zone = zone.trim().to_ascii_lowercase();
    if NAMES.contains(&zone.strip_prefix("etc/").unwrap_or(&zone)) {
        return true;
    }
    // A number of hours, and POSIX's form: a name of three letters or in <>, and an offset.
    let zero = |offset: &str| {
        let digits = offset.trim_start_matches(['+', '-']);
        !digits.is_empty() && digits.chars().all(|c| c == '0' || c == ':' || c == '.')
    };
    if zero(&zone) {
        return true;
    }
    let rest = match zone.strip_prefix('<') {
        Some(rest) => rest.split_once('>').map(|(_, offset)| offset),
        None => {
            let letters = zone.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(zone.len());
            (letters >= 3).then(|| &zone[letters..])
        }
    };
    rest.is_some_and(zero)
}

#[cfg(test)]
mod tests {
    use super::is_utc;

    #[test]
    fn zones_that_are_utc_for_good() {
        for zone in [
            "UTC",
            "Etc/UTC",
            "GMT",
            "etc/gmt+0",
            "Zulu",
            "UTC0",
            "<+00>-00",
            "0",
            "00:00",
        ] {
            assert!(is_utc(zone), "{zone}");
        }
        for zone in [
            "Europe/London",
            "Africa/Abidjan",
            "Etc/GMT+1",
            "UTC+1",
            "EST5EDT",
            "1",
            "",
            "Europe/Berlin",
        ] {
            assert!(!is_utc(zone), "{zone}");
        }
    }
}
