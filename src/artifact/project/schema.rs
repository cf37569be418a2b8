//! `schema.prisma`: what its `datasource` block says in literals.

use super::config::{Literal, Url, texts_of, url_of};
use super::tokens::{Token, Tokens};
use std::ops::Range;

/// A `datasource` block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// `provider`.
    pub provider: Option<String>,
    /// `schemas`.
    pub schemas: Vec<String>,
    /// The variable that `directUrl` names.
    pub direct_url: Option<String>,
}

/// A schema file that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The only `datasource` block of a schema file.
///
/// # Errors
/// The file cannot be split into tokens, or has two such blocks.
pub fn datasource(text: &str) -> Result<Option<Block>, Unreadable> {
    let tokens = Tokens::of(text).ok_or(Unreadable)?;
    let mut found = None;
    let mut at = 0;
    while at < tokens.end() {
        let is_block = tokens.is_word(at, "datasource")
            && matches!(tokens.get(at + 1), Some(Token::Word(_)))
            && tokens.is_mark(at + 2, '{');
        if is_block && found.replace(block(&tokens, at + 2)).is_some() {
            return Err(Unreadable);
        }
        at = tokens.after(at);
    }
    Ok(found)
}

fn block(tokens: &Tokens, open: usize) -> Block {
    let close = tokens.partner(open);
    let mut block = Block::default();
    let mut at = open + 1;
    while at < close {
        let (Some(Token::Word(key)), true) = (tokens.get(at), tokens.is_mark(at + 1, '=')) else {
            at = tokens.after(at);
            continue;
        };
        let value = value(tokens, at + 2, close);
        match key.as_str() {
            "provider" => {
                if let (1, Some(Token::Text(provider))) = (value.len(), tokens.get(value.start)) {
                    block.provider = Some(provider.clone());
                }
            }
            "schemas" => {
                if let Literal::Given(schemas) = texts_of(tokens, Literal::Given(value.clone())) {
                    block.schemas = schemas;
                }
            }
            "directUrl" => {
                if let Literal::Given(Url::Variable(name)) = url_of(tokens, Literal::Given(value.clone())) {
                    block.direct_url = Some(name);
                }
            }
            _ => {}
        }
        at = value.end.max(at + 2);
    }
    block
}

/// The tokens up to the next key.
fn value(tokens: &Tokens, start: usize, close: usize) -> Range<usize> {
    let mut end = start;
    while end < close && !(matches!(tokens.get(end), Some(Token::Word(_))) && tokens.is_mark(end + 1, '=')) {
        end = tokens.after(end);
    }
    start..end.min(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literals_of_the_datasource_are_read() {
        let schema = "// datasource db { provider = \"mysql\" }\n/* datasource x { } */\n\
             generator client {\n  provider = \"prisma-client-js\"\n  schemas = [\"no\"]\n}\n\n\
             datasource db {\n  provider   = \"postgresql\" // not mysql\n  url = env(\"DATABASE_URL\")\n  \
             directUrl  = env(\"DIRECT_URL\")\n  /// doc \" quote\n  schemas = [\"shop\", \"base\",]\n  extensions = [pg_trgm, x(map: \"y\")]\n}\n\
             model A {\n  id Int @id @default(dbgenerated(\"datasource db { schemas = ['x'] }\"))\n  @@schema(\"shop\")\n}\n";
        assert_eq!(
            datasource(schema),
            Ok(Some(Block {
                provider: Some("postgresql".into()),
                schemas: vec!["shop".into(), "base".into()],
                direct_url: Some("DIRECT_URL".into()),
            }))
        );
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        for (schema, expected) in [
            ("", Ok(None)),
            ("model A { id Int @id }", Ok(None)),
            ("model datasource { id Int }", Ok(None)),
            ("datasource db {}", Ok(Some(Block::default()))),
            (
                "datasource db { directUrl = \"postgresql://u:p@h/d\" }",
                Ok(Some(Block::default())),
            ),
            (
                "datasource db { schemas = \"a\" provider = env(\"X\") }",
                Ok(Some(Block::default())),
            ),
            ("datasource a {} datasource b {}", Err(Unreadable)),
            ("datasource a { url = \"x", Err(Unreadable)),
        ] {
            assert_eq!(datasource(schema), expected, "{schema}");
        }
    }
}
