//! PostgreSQL's tokens, by `squawk-lexer`, and the one rule of PostgreSQL's that it leaves out.

use super::script::Strings;
use squawk_lexer::{LiteralKind, Token, TokenKind, tokenize};
use std::ops::Range;

/// The tokens of a text with their places, without a gap from its beginning to its end.
///
/// A string goes on where after a line break another quote stands (PostgreSQL's `scan.l`, `quotecontinue`). For most strings it makes no difference
/// that the lexer gives the parts as strings of their own; but in what continues an `E'…'` a backslash is an escape too, so its parts are one token
/// here.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = (TokenKind, Range<usize>)> {
    tokens_with(text, Strings::Standard)
}

/// The tokens as a server with this setting sees them.
pub(super) fn tokens_with(text: &str, strings: Strings) -> impl Iterator<Item = (TokenKind, Range<usize>)> {
    let mut at = 0;
    let mut rest = tokenize(text);
    std::iter::from_fn(move || {
        // Most of a large script is in strings, and the lexer looks at every character.
        if text.as_bytes().get(at) == Some(&b'\'') {
            let (length, terminated) = match strings {
                Strings::Standard => quoted(&text[at..]),
                Strings::Escapes => escaped_with_continuations(&text[at..]),
            };
            let range = at..at + length;
            at = range.end;
            rest = tokenize(&text[at..]);
            let kind = LiteralKind::Str { terminated };
            return Some((TokenKind::Literal { kind }, range));
        }
        let Token { kind, len } = rest.next()?;
        let mut range = at..at + len as usize;
        let mut kind = kind;
        while kind
            == (TokenKind::Literal {
                kind: LiteralKind::EscStr { terminated: true },
            })
            && let Some(quote) = continued(&text[range.end..])
        {
            let (length, terminated) = escaped(&text[range.end + quote..]);
            range.end += quote + length;
            kind = TokenKind::Literal {
                kind: LiteralKind::EscStr { terminated },
            };
            rest = tokenize(&text[range.end..]);
        }
        at = range.end;
        Some((kind, range))
    })
}

/// How far away the quote is that continues a string which ends where this text begins: blanks and line comments, with a line break among them.
fn continued(text: &str) -> Option<usize> {
    let mut broken = false;
    let mut at = 0;
    for Token { kind, len } in tokenize(text) {
        let token = &text[at..at + len as usize];
        match kind {
            TokenKind::Whitespace => broken |= token.contains(['\n', '\r']),
            TokenKind::LineComment => {}
            TokenKind::Literal {
                kind: LiteralKind::Str { .. },
            } if broken => return Some(at),
            _ => return None,
        }
        at += token.len();
    }
    None
}

/// The length of a quoted text without escapes, from its opening quote on, and whether it is closed: two quotes in it are one.
fn quoted(text: &str) -> (usize, bool) {
    let mut at = 1;
    while let Some(quote) = text[at..].find('\'') {
        at += quote + 1;
        if text.as_bytes().get(at) != Some(&b'\'') {
            return (at, true);
        }
        at += 1;
    }
    (text.len(), false)
}

/// [`escaped`] with the strings that continue it after a line break.
fn escaped_with_continuations(text: &str) -> (usize, bool) {
    let (mut length, mut terminated) = escaped(text);
    while terminated && let Some(quote) = continued(&text[length..]) {
        let (more, closed) = escaped(&text[length + quote..]);
        length += quote + more;
        terminated = closed;
    }
    (length, terminated)
}

/// The length of a quoted text with backslash escapes, from its opening quote on, and whether it is closed.
fn escaped(text: &str) -> (usize, bool) {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '\'' if characters.next_if(|(_, next)| *next == '\'').is_none() => return (at + 1, true),
            _ => {}
        }
    }
    (text.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).map(|(_, range)| &text[range]).collect()
    }

    #[test]
    fn what_continues_an_escape_string_is_part_of_it() {
        let whole = [
            "E'a'\n'b\\';'",
            "e'a' -- ;\n  '\\'' \r '\\\\'",
            "E'a'\t-- x\n-- '\n 'b''\\';'",
            "E'a'\n'b\\'; not closed",
        ];
        for text in whole {
            assert_eq!(texts(text), [text]);
        }
        assert_eq!(texts("E'a'\n'b\\';' ;c"), ["E'a'\n'b\\';'", " ", ";", "c"]);
    }

    #[test]
    fn without_standard_conforming_strings_a_backslash_escapes() {
        let of = |text| -> Vec<&str> {
            tokens_with(text, Strings::Escapes)
                .map(|(_, range)| &text[range])
                .collect()
        };
        assert_eq!(of(r"'\'' ;"), [r"'\''", " ", ";"]);
        assert_eq!(of("'a'\n'\\'' ;"), ["'a'\n'\\''", " ", ";"]);
        assert_eq!(of(r"$$\'$$;"), [r"$$\'$$", ";"]);
    }

    #[test]
    fn other_strings_are_left_as_they_are() {
        assert_eq!(texts("E'a' '\\'"), ["E'a'", " ", "'\\'"]);
        assert_eq!(texts("'a'\n'\\'"), ["'a'", "\n", "'\\'"]);
        assert_eq!(texts("E'a'/*\n*/'\\'"), ["E'a'", "/*\n*/", "'\\'"]);
        assert_eq!(texts("E'a'\n"), ["E'a'", "\n"]);
    }

    #[test]
    fn a_string_ends_at_its_last_quote() {
        assert_eq!(texts("'a''b' 'é'''"), ["'a''b'", " ", "'é'''"]);
        assert_eq!(texts("a'b\\';"), ["a", "'b\\'", ";"]);
        for open in ["'", "'a", "'a'' "] {
            let kind = LiteralKind::Str { terminated: false };
            let all: Vec<_> = tokens(open).collect();
            assert_eq!(all, [(TokenKind::Literal { kind }, 0..open.len())], "{open}");
        }
    }
}
