//! Passwords in SQL, before a line of a script or a text of the server's is shown.

/// The text with the values behind the word `password` starred out, character for character, so that a place in it stays where it was.
///
/// It looks at characters, not at tokens, since the statement may itself stand inside a string (`EXECUTE '… PASSWORD ''x'''`) or between the
/// quotation marks of a message. A value is a string of any form, also behind `=`, or the word directly behind `password=` as connection strings have
/// it. It stars out too much rather than too little: what is not closed is starred to the end.
pub fn starred(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut shown = characters.clone();
    let mut at = 0;
    while at < characters.len() {
        let Some(mut value) = behind_password(&characters, at) else {
            at += 1;
            continue;
        };
        let directly_behind_equals = characters[value - 1] == '=';
        // E'…', U&'…', B'…', X'…', N'…'
        let prefix = characters[value..].iter().take(3).position(|&c| c == '\'').unwrap_or(0);
        let escapes = matches!(characters.get(value), Some('e' | 'E')) && prefix == 1;
        value += prefix;
        at = match characters.get(value) {
            Some('\'') => end_of_quoted(&characters, value, escapes),
            Some('$') => end_of_dollar_quoted(&characters, value),
            Some(_) if directly_behind_equals => end_of_word(&characters, value),
            _ => value,
        };
        shown[value.min(at)..at].fill('*');
        at = at.max(value);
    }
    shown.into_iter().collect()
}

/// Where the value begins, if the word `password` stands at this place, with what may stand between: `"`, spaces, `=`.
fn behind_password(text: &[char], at: usize) -> Option<usize> {
    const WORD: &str = "password";
    let word = text.get(at..at + WORD.len())?;
    if !word.iter().zip(WORD.chars()).all(|(c, w)| c.eq_ignore_ascii_case(&w)) {
        return None;
    }
    let mut value = at + WORD.len();
    value += usize::from(text.get(value) == Some(&'"'));
    value += text[value..]
        .iter()
        .take_while(|&&c| c.is_whitespace() || c == '=')
        .count();
    Some(value)
}

/// The place behind a string whose opening quotes are doubled as often as the string is nested. Inside it a quote comes doubled once more.
fn end_of_quoted(text: &[char], start: usize, escapes: bool) -> usize {
    let run = |at: usize| text[at..].iter().take_while(|&&c| c == '\'').count();
    let depth = run(start);
    let mut at = start + depth;
    while at < text.len() {
        match text[at] {
            '\\' if escapes => at += 2,
            '\'' => {
                let quotes = run(at);
                at += quotes;
                if quotes / depth % 2 == 1 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

fn end_of_dollar_quoted(text: &[char], start: usize) -> usize {
    let Some(tag) = text[start + 1..]
        .iter()
        .position(|&c| c == '$')
        .map(|length| &text[start..start + length + 2])
    else {
        return end_of_word(text, start);
    };
    let body = start + tag.len();
    text[body..]
        .windows(tag.len())
        .position(|window| window == tag)
        .map_or(text.len(), |at| body + at + tag.len())
}

fn end_of_word(text: &[char], start: usize) -> usize {
    let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ';' | ',' | ')' | '&');
    text[start..]
        .iter()
        .position(|&c| ends(c))
        .map_or(text.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_starred_and_nothing_moves() {
        let cases = [
            (
                "ALTER ROLE a PASSWORD 'hunter2' OOPS",
                "ALTER ROLE a PASSWORD ********* OOPS",
            ),
            (
                "alter role a password\n  'it''s' x",
                "alter role a password\n  ******* x",
            ),
            ("PASSWORD E'a\\'b' x", "PASSWORD E****** x"),
            ("PASSWORD $q$a$b$q$ x", "PASSWORD ********* x"),
            (
                "EXECUTE 'ALTER ROLE a PASSWORD ''s''''x'' y'",
                "EXECUTE 'ALTER ROLE a PASSWORD ********** y'",
            ),
            (
                "CONTEXT: SQL statement \"… PASSWORD 'p' y\"",
                "CONTEXT: SQL statement \"… PASSWORD *** y\"",
            ),
            (
                "CONNECTION 'host=h password=p user=u'",
                "CONNECTION 'host=h password=* user=u'",
            ),
            ("SET \"password\" = 'p', b = 'c'", "SET \"password\" = ***, b = 'c'"),
            ("PASSWORD 'not closed", "PASSWORD ***********"),
            (
                "PASSWORD NULL; \"password\" TEXT; password = crypt(x)",
                "PASSWORD NULL; \"password\" TEXT; password = crypt(x)",
            ),
            ("é PASSWORD", "é PASSWORD"),
        ];
        for (text, shown) in cases {
            assert_eq!(starred(text), shown);
        }
    }
}
