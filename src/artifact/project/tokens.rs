//! The tokens of `prisma.config.*` (JavaScript or TypeScript) and of `schema.prisma`.
//!
//! This is no parser. The program reads a handful of string literals out of these files and must never take one out of a comment, a string or a
//! computed expression. Tokens and matching brackets are enough for that. The parsers that exist for JavaScript (oxc, swc, biome) cost megabytes in a
//! container that is pulled for every task, and minutes of build. `schema.prisma` has the same comments, strings, words and brackets, so it is read by
//! the same function.
//!
//! The lexical grammar is ECMAScript's (ECMA-262, "Lexical Grammar"). A `/` is read as the beginning of a regular expression unless a value stands
//! before it. Where that is wrong, the brackets or quotes do not match, and the file counts as unreadable.

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A name or a keyword.
    Word(String),
    /// A string literal, with its escapes replaced.
    Text(String),
    /// A piece of a template literal. The tokens of a substitution follow it, in braces.
    Template,
    /// A number or a regular expression: nothing that is read here.
    Other,
    /// One character of punctuation.
    Mark(char),
}

/// The tokens of a text, and for each bracket the place of its partner.
#[derive(Debug)]
pub struct Tokens {
    tokens: Vec<Token>,
    partners: Vec<usize>,
}

impl Tokens {
    /// Splits a text; none where it ends within a string, a comment or a bracket, or where brackets do not match.
    pub fn of(text: &str) -> Option<Tokens> {
        let tokens = split(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        let mut partners: Vec<usize> = (0..tokens.len()).collect();
        let mut open: Vec<(usize, char)> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::Mark('(') => open.push((at, ')')),
                Token::Mark('[') => open.push((at, ']')),
                Token::Mark('{') => open.push((at, '}')),
                Token::Mark(close @ (')' | ']' | '}')) => {
                    let (opened, wanted) = open.pop()?;
                    if wanted != *close {
                        return None;
                    }
                    partners[opened] = at;
                    partners[at] = opened;
                }
                _ => {}
            }
        }
        open.is_empty().then_some(Tokens { tokens, partners })
    }

    /// The place after the last one.
    pub fn end(&self) -> usize {
        self.tokens.len()
    }

    /// The token at a place.
    pub fn get(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at)
    }

    /// Whether this word stands at a place.
    pub fn is_word(&self, at: usize, word: &str) -> bool {
        matches!(self.get(at), Some(Token::Word(found)) if found == word)
    }

    /// Whether this character stands at a place.
    pub fn is_mark(&self, at: usize, mark: char) -> bool {
        self.get(at) == Some(&Token::Mark(mark))
    }

    /// The place after a token; after an opening bracket the place after its partner.
    pub fn after(&self, at: usize) -> usize {
        self.partner(at).max(at) + 1
    }

    /// The place of a bracket's partner; of every other token its own.
    pub fn partner(&self, at: usize) -> usize {
        self.partners.get(at).copied().unwrap_or(at)
    }

    /// How often a word occurs.
    pub fn count(&self, word: &str) -> usize {
        (0..self.end()).filter(|&at| self.is_word(at, word)).count()
    }
}

fn split(text: &str) -> Option<Vec<Token>> {
    let mut rest = Rest(text);
    if text.starts_with("#!") {
        rest.line();
    }
    let mut tokens = Vec::new();
    // How many braces are open in each template substitution that is.
    let mut substitutions: Vec<usize> = Vec::new();
    while let Some(first) = rest.next() {
        match first {
            _ if first.is_whitespace() || first == '\u{feff}' => {}
            '/' if rest.take("/") => rest.line(),
            '/' if rest.take("*") => rest.past("*/")?,
            '/' if !is_value(tokens.last()) => {
                rest.regular_expression()?;
                tokens.push(Token::Other);
            }
            '"' | '\'' => tokens.push(Token::Text(rest.string(first)?)),
            '`' => {
                tokens.push(Token::Template);
                if rest.template()? {
                    substitutions.push(0);
                    tokens.push(Token::Mark('{'));
                }
            }
            '}' if substitutions.last() == Some(&0) => {
                substitutions.pop();
                tokens.extend([Token::Mark('}'), Token::Template]);
                if rest.template()? {
                    substitutions.push(0);
                    tokens.push(Token::Mark('{'));
                }
            }
            '{' | '}' => {
                if let Some(depth) = substitutions.last_mut() {
                    *depth = if first == '{' {
                        *depth + 1
                    } else {
                        depth.checked_sub(1)?
                    };
                }
                tokens.push(Token::Mark(first));
            }
            _ if first.is_numeric() => {
                rest.word(first);
                tokens.push(Token::Other);
            }
            _ if is_part(first) => tokens.push(Token::Word(rest.word(first))),
            _ => tokens.push(Token::Mark(first)),
        }
    }
    substitutions.is_empty().then_some(tokens)
}

/// Whether a `/` after this token divides.
fn is_value(before: Option<&Token>) -> bool {
    const OPERATORS: [&str; 13] = [
        "return",
        "typeof",
        "case",
        "in",
        "of",
        "delete",
        "void",
        "throw",
        "new",
        "instanceof",
        "else",
        "yield",
        "await",
    ];
    match before {
        Some(Token::Word(word)) => !OPERATORS.contains(&word.as_str()),
        Some(Token::Mark(mark)) => matches!(mark, ')' | ']' | '}'),
        Some(_) => true,
        None => false,
    }
}

fn is_part(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$' | '\u{200c}' | '\u{200d}')
}

/// What is left of a text.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn next(&mut self) -> Option<char> {
        let character = self.0.chars().next()?;
        self.0 = &self.0[character.len_utf8()..];
        Some(character)
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.0.strip_prefix(text);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn line(&mut self) {
        let end = self.0.find(['\n', '\r', '\u{2028}', '\u{2029}']);
        self.0 = end.map_or("", |end| &self.0[end..]);
    }

    fn past(&mut self, text: &str) -> Option<()> {
        let at = self.0.find(text)?;
        self.0 = &self.0[at + text.len()..];
        Some(())
    }

    fn word(&mut self, first: char) -> String {
        let end = self.0.find(|c| !is_part(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        format!("{first}{word}")
    }

    fn regular_expression(&mut self) -> Option<()> {
        let mut in_class = false;
        loop {
            match self.next()? {
                '\\' => drop(self.next()?),
                '\n' | '\r' => return None,
                '[' => in_class = true,
                ']' => in_class = false,
                '/' if !in_class => {
                    self.word(' ');
                    return Some(());
                }
                _ => {}
            }
        }
    }

    /// Reads a template to its end, or to its next substitution: then true.
    fn template(&mut self) -> Option<bool> {
        loop {
            match self.next()? {
                '\\' => drop(self.next()?),
                '`' => return Some(false),
                '$' if self.take("{") => return Some(true),
                _ => {}
            }
        }
    }

    fn string(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.next()? {
                '\\' => text.extend(self.escape()?),
                '\n' | '\r' => return None,
                character if character == quote => return Some(text),
                character => text.push(character),
            }
        }
    }

    /// What an escape stands for; nothing for a line that goes on.
    fn escape(&mut self) -> Option<Option<char>> {
        Some(Some(match self.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '0' => '\0',
            '\r' => {
                self.take("\n");
                return Some(None);
            }
            '\n' | '\u{2028}' | '\u{2029}' => return Some(None),
            'x' => self.hex(2)?,
            'u' if self.take("{") => {
                let end = self.0.find('}')?;
                let code = u32::from_str_radix(&self.0[..end], 16).ok()?;
                self.0 = &self.0[end + 1..];
                char::from_u32(code)?
            }
            // Half of a pair is no character: such a text is not read.
            'u' => self.hex(4)?,
            other => other,
        }))
    }

    fn hex(&mut self, digits: usize) -> Option<char> {
        let text = self
            .0
            .get(..digits)
            .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let code = u32::from_str_radix(text, 16).ok()?;
        self.0 = &self.0[digits..];
        char::from_u32(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let tokens = Tokens::of(text)?;
        let shown: Vec<String> = tokens
            .tokens
            .iter()
            .map(|token| match token {
                Token::Word(word) => word.clone(),
                Token::Text(text) => format!("<{text}>"),
                Token::Template => "~".into(),
                Token::Other => "#".into(),
                Token::Mark(mark) => mark.to_string(),
            })
            .collect();
        Some(shown.join(" "))
    }

    #[test]
    fn comments_strings_templates_and_regular_expressions_are_told_apart() {
        let table = [
            ("a // 'b'\n/* \"c\" */ d", "a d"),
            ("#!/usr/bin/env node\nx", "x"),
            ("'it\\'s' \"a//b\" '/*'", "<it's> <a//b> </*>"),
            ("'\\x41\\u0042\\u{43}\\n\\\nz'", "<ABC\nz>"),
            ("`a ${b + `c ${'}'} d`} e` f", "~ { b + ~ { <}> } ~ } ~ f"),
            ("`\\`${x}` y", "~ { x } ~ y"),
            ("a / b / c", "a / b / c"),
            ("x = /['\"`]/g; y", "x = # ; y"),
            ("return /[/]'/.test(a)", "return # . test ( a )"),
            ("{ path: 'a', } ", "{ path : <a> , }"),
            ("1_000.5 café $x", "# . # café $x"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_end_is_not_read() {
        for text in [
            "'a",
            "\"a\n\"",
            "`a",
            "`${",
            "`${}",
            "/* a",
            "(",
            "(]",
            "}",
            "x = /a",
            "'\\u12'",
            "'\\u{110000}'",
            "'\\",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = 200_000;
        let text = format!("{}{}", "`${{[(".repeat(deep), ")]}}`".repeat(deep));
        assert!(Tokens::of(&text).is_some());
    }

    #[test]
    fn a_bracket_knows_its_partner() {
        let tokens = Tokens::of("a ( b [ c ] ) d").unwrap();
        assert_eq!((tokens.partner(1), tokens.partner(6), tokens.after(1)), (6, 1, 7));
        assert_eq!((tokens.partner(0), tokens.after(0)), (0, 1));
    }
}
