//! `prisma.config.*`: what the exported object says in literals.

use super::tokens::{Token, Tokens};
use std::ops::Range;

/// A value of a file that is not run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Literal<T> {
    /// It is not there.
    #[default]
    Absent,
    /// It is this.
    Given(T),
    /// It is there and computed, or may come from what is computed.
    Computed,
}

/// Where the URL of the datasource comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Url {
    /// `env("NAME")`.
    Variable(String),
    /// A text. It may hold a password, so it is not kept.
    Text,
}

/// A config file of Prisma 6 or 7.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrismaConfig {
    /// `migrations.path`.
    pub migrations_path: Literal<String>,
    /// `schema`.
    pub schema: Literal<String>,
    /// `datasource.url`, or `datasource.directUrl`, which Prisma 6 prefers.
    pub url: Literal<Url>,
    /// `tables.external`.
    pub external_tables: Literal<Vec<String>>,
    /// All that it exports is computed.
    pub is_opaque: bool,
    /// It is a config of Prisma 8, which has none of this.
    pub is_prisma8: bool,
}

/// Whether a file is a config of Prisma: `prisma.config.ts` and its kin, `prisma7.config.ts` (Prisma 7.10), `.config/prisma.ts`.
pub fn is_config(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let in_config = folder == ".config" || folder.ends_with("/.config");
    let Some((stem, ending)) = name.rsplit_once('.') else {
        return false;
    };
    matches!(ending, "js" | "ts" | "mjs" | "cjs" | "mts" | "cts")
        && (matches!(stem, "prisma.config" | "prisma7.config") || (in_config && matches!(stem, "prisma" | "prisma7")))
}

impl PrismaConfig {
    /// Reads a file. What is no literal, or can be changed by what is none, is [`Literal::Computed`].
    pub fn parse(text: &str) -> PrismaConfig {
        let Some(tokens) = Tokens::of(text) else {
            return PrismaConfig::opaque();
        };
        let object = match exported(&tokens) {
            Some(Exported::Object(open)) => Object { tokens: &tokens, open },
            Some(Exported::Prisma8) => {
                return PrismaConfig {
                    is_prisma8: true,
                    ..PrismaConfig::default()
                };
            }
            None => return PrismaConfig::opaque(),
        };
        let direct = object.value(&["datasource", "directUrl"]);
        let url = match direct {
            Literal::Absent => object.value(&["datasource", "url"]),
            direct => direct,
        };
        PrismaConfig {
            migrations_path: text_of(&tokens, object.value(&["migrations", "path"])),
            schema: text_of(&tokens, object.value(&["schema"])),
            url: url_of(&tokens, url),
            external_tables: texts_of(&tokens, object.value(&["tables", "external"])),
            is_opaque: false,
            is_prisma8: !matches!(object.member("orm"), Literal::Absent)
                && matches!(object.member("migrations"), Literal::Absent),
        }
    }

    /// One of which nothing can be read.
    pub fn opaque() -> PrismaConfig {
        PrismaConfig {
            migrations_path: Literal::Computed,
            schema: Literal::Computed,
            url: Literal::Computed,
            external_tables: Literal::Computed,
            is_opaque: true,
            is_prisma8: false,
        }
    }
}

enum Exported {
    /// The object that begins with this brace.
    Object(usize),
    /// `definePrismaConfig(…)`.
    Prisma8,
}

/// What the file exports: `export default X`, `module.exports = X`, `exports.default = X` or `export = X`; none where that is not one object.
fn exported(tokens: &Tokens) -> Option<Exported> {
    let is = |at: usize, text: &str| match text.len() {
        1 => tokens.is_mark(at, text.chars().next().unwrap_or_default()),
        _ => tokens.is_word(at, text),
    };
    let begins = |at: usize, words: &[&str]| words.iter().enumerate().all(|(n, word)| is(at + n, word));
    const FORMS: [&[&str]; 4] = [
        &["export", "default"],
        &["module", ".", "exports", "="],
        &["exports", ".", "default", "="],
        &["export", "="],
    ];
    let mut values = Vec::new();
    let mut at = 0;
    while at < tokens.end() {
        match FORMS.iter().find(|form| begins(at, form)) {
            Some(form) => {
                at += form.len();
                values.push(at);
            }
            // A part of the exports that is set by itself.
            None if begins(at, &["module", ".", "exports"]) => return None,
            None => at = tokens.after(at),
        }
    }
    let [value] = values[..] else { return None };
    object(tokens, value, true)
}

/// The object that an expression is.
fn object(tokens: &Tokens, at: usize, may_be_named: bool) -> Option<Exported> {
    match tokens.get(at)? {
        Token::Mark('{') => ends(tokens, tokens.after(at)).then_some(Exported::Object(at)),
        Token::Word(word) if word == "definePrismaConfig" => Some(Exported::Prisma8),
        Token::Word(word) if word == "defineConfig" && !is_declared(tokens, word) => {
            let open = generics(tokens, at + 1);
            let (inner, close) = (open + 1, tokens.partner(open));
            let mut end = tokens.after(inner);
            if tokens.is_mark(end, ',') {
                end += 1;
            }
            let is_call = tokens.is_mark(open, '(') && tokens.is_mark(inner, '{') && end == close;
            (is_call && ends(tokens, close + 1)).then_some(Exported::Object(inner))
        }
        // A constant that is made and exported, and touched nowhere else.
        Token::Word(name) if may_be_named && tokens.count(name) == 2 && ends(tokens, at + 1) => {
            let mut place = 0;
            while place < tokens.end() {
                if tokens.is_word(place, "const") && tokens.is_word(place + 1, name) {
                    let mut equals = place + 2;
                    while !tokens.is_mark(equals, '=') {
                        // Of its type nothing matters but where it ends.
                        if equals >= tokens.end() || tokens.is_mark(equals, ';') {
                            return None;
                        }
                        equals = tokens.after(equals);
                    }
                    return object(tokens, equals + 1, false);
                }
                place = tokens.after(place);
            }
            None
        }
        _ => None,
    }
}

/// Whether an expression ends here, or has only its type after it.
fn ends(tokens: &Tokens, at: usize) -> bool {
    match tokens.get(at) {
        None | Some(Token::Mark(';')) => true,
        Some(Token::Word(word)) => !matches!(word.as_str(), "in" | "instanceof"),
        Some(_) => false,
    }
}

/// The place after `<…>`, where it is there.
fn generics(tokens: &Tokens, at: usize) -> usize {
    if !tokens.is_mark(at, '<') {
        return at;
    }
    let mut end = at + 1;
    while end < tokens.end() && !tokens.is_mark(end, '>') {
        end = tokens.after(end);
    }
    end + 1
}

/// Whether the file makes a function of this name, which then is not Prisma's.
fn is_declared(tokens: &Tokens, name: &str) -> bool {
    let declares = |at: usize| {
        ["function", "const", "let", "var", "class"]
            .iter()
            .any(|word| tokens.is_word(at, word))
    };
    (1..tokens.end()).any(|at| tokens.is_word(at, name) && (declares(at - 1) || (tokens.is_mark(at - 1, '*'))))
}

struct Object<'a> {
    tokens: &'a Tokens,
    open: usize,
}

impl Object<'_> {
    /// The value at a path of keys.
    fn value(&self, path: &[&str]) -> Literal<Range<usize>> {
        let Some((key, below)) = path.split_first() else {
            return Literal::Computed;
        };
        let value = match self.member(key) {
            Literal::Given(value) => value,
            other => return other,
        };
        if below.is_empty() {
            return Literal::Given(value);
        }
        if !self.tokens.is_mark(value.start, '{') || self.tokens.after(value.start) != value.end {
            return Literal::Computed;
        }
        let inner = Object {
            tokens: self.tokens,
            open: value.start,
        };
        inner.value(below)
    }

    /// The tokens of a key's value.
    fn member(&self, key: &str) -> Literal<Range<usize>> {
        let tokens = self.tokens;
        let close = tokens.partner(self.open);
        let named = |at: usize| match tokens.get(at) {
            Some(Token::Word(name) | Token::Text(name)) => name == key,
            _ => false,
        };
        let mut found = Literal::Absent;
        let mut at = self.open + 1;
        while at < close {
            let begin = at;
            while at < close && !tokens.is_mark(at, ',') {
                at = tokens.after(at);
            }
            let is_plain = matches!(tokens.get(begin), Some(Token::Word(_) | Token::Text(_) | Token::Other));
            if is_plain && tokens.is_mark(begin + 1, ':') {
                if named(begin) {
                    found = Literal::Given(begin + 2..at);
                }
            } else if !is_plain || (begin..at).any(named) {
                // A spread, a computed key, a getter, a method, a variable of that name.
                if begin < at {
                    found = Literal::Computed;
                }
            }
            at += 1;
        }
        match found {
            Literal::Given(value) => match (value.len(), tokens.get(value.start)) {
                (1, Some(Token::Word(word))) if matches!(word.as_str(), "undefined" | "null") => Literal::Absent,
                _ => Literal::Given(bare(tokens, value)),
            },
            other => other,
        }
    }
}

/// A value without `as const` and `!`, which change nothing in it.
fn bare(tokens: &Tokens, mut value: Range<usize>) -> Range<usize> {
    if value.len() > 2 && tokens.is_word(value.end - 2, "as") && tokens.is_word(value.end - 1, "const") {
        value.end -= 2;
    }
    if value.len() > 1 && tokens.is_mark(value.end - 1, '!') {
        value.end -= 1;
    }
    value
}

fn text_of(tokens: &Tokens, value: Literal<Range<usize>>) -> Literal<String> {
    match value {
        Literal::Absent => Literal::Absent,
        Literal::Given(value) => match (value.len(), tokens.get(value.start)) {
            (1, Some(Token::Text(text))) => Literal::Given(text.clone()),
            _ => Literal::Computed,
        },
        Literal::Computed => Literal::Computed,
    }
}

/// A list of texts.
pub(super) fn texts_of(tokens: &Tokens, value: Literal<Range<usize>>) -> Literal<Vec<String>> {
    let value = match value {
        Literal::Given(value) => value,
        Literal::Absent => return Literal::Absent,
        Literal::Computed => return Literal::Computed,
    };
    if !tokens.is_mark(value.start, '[') || tokens.after(value.start) != value.end {
        return Literal::Computed;
    }
    let mut texts = Vec::new();
    let mut at = value.start + 1;
    while at + 1 < value.end {
        match tokens.get(at) {
            Some(Token::Text(text)) if tokens.is_mark(at + 1, ',') || at + 2 == value.end => texts.push(text.clone()),
            _ => return Literal::Computed,
        }
        at += 2;
    }
    Literal::Given(texts)
}

/// `env("NAME")` or a text.
pub(super) fn url_of(tokens: &Tokens, value: Literal<Range<usize>>) -> Literal<Url> {
    let value = match value {
        Literal::Given(value) => value,
        Literal::Absent => return Literal::Absent,
        Literal::Computed => return Literal::Computed,
    };
    if let (1, Some(Token::Text(_))) = (value.len(), tokens.get(value.start)) {
        return Literal::Given(Url::Text);
    }
    let open = generics(tokens, value.start + 1);
    let is_call = tokens.is_word(value.start, "env") && tokens.is_mark(open, '(') && tokens.after(open) == value.end;
    match tokens.get(open + 1) {
        Some(Token::Text(name)) if is_call && open + 3 == value.end && !is_declared(tokens, "env") => {
            Literal::Given(Url::Variable(name.clone()))
        }
        _ => Literal::Computed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Literal<String> {
        Literal::Given(text.to_owned())
    }

    fn path(text: &str) -> Literal<String> {
        PrismaConfig::parse(text).migrations_path
    }

    #[test]
    fn the_files_of_prisma_are_known_by_name() {
        for (path, expected) in [
            ("prisma.config.ts", true),
            ("apps/a/prisma.config.mjs", true),
            ("prisma7.config.cts", true),
            (".config/prisma.js", true),
            ("a/.config/prisma.ts", true),
            ("config/prisma.ts", false),
            ("prisma.config.json", false),
            ("prisma.config", false),
            ("my-prisma.config.ts", false),
            ("prisma.config.ts.bak", false),
        ] {
            assert_eq!(is_config(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_is_read_from_the_object_that_is_exported() {
        let object = "{ schema: 's', migrations: { seed: 'x', path: \"prisma/pg\", }, }";
        for text in [
            format!("import {{ defineConfig }} from 'prisma/config'\nexport default defineConfig({object})"),
            format!("export default defineConfig<Env>({object},);"),
            format!("export default {object} satisfies PrismaConfig"),
            format!("export default {object} as PrismaConfig;"),
            format!("const {{ defineConfig }} = require('prisma/config'); module.exports = defineConfig({object});"),
            format!("module.exports = {object}"),
            format!("exports.default = {object};"),
            format!("export = {object};"),
            format!("const config: PrismaConfig = {object};\nexport default config;"),
            format!("const config = defineConfig({object})\nexport default config"),
            format!("// path: 'no'\n/* export default {{}} */ export default {object}\n"),
            format!("const other = {{ migrations: {{ path: 'no' }} }}\nexport default {object}\nconsole.log(other)"),
            "export default { 'migrations': { \"path\": 'prisma/pg' as const } }".to_owned(),
            "export default { migrations: { path: 'no' }, migrations: { path: 'prisma/pg' } }".to_owned(),
            "export default { ...base, migrations: { ...more, path: 'prisma/pg' } }".to_owned(),
            "\u{feff}export default { migrations: { path: 'prisma\\u002fpg' } }".to_owned(),
        ] {
            assert_eq!(path(&text), given("prisma/pg"), "{text}");
        }
    }

    #[test]
    fn what_is_computed_is_told_from_what_is_absent() {
        for (text, expected) in [
            (
                "export default { migrations: { path: process.env.X ?? 'y' } }",
                Literal::Computed,
            ),
            (
                "export default { migrations: { path: path.join('a', 'b') } }",
                Literal::Computed,
            ),
            ("export default { migrations: { path: `a` } }", Literal::Computed),
            ("export default { migrations: { path: `a/${b}` } }", Literal::Computed),
            ("export default { migrations: { path: 'a' + b } }", Literal::Computed),
            (
                "export default { migrations: { path: x ? 'a' : 'b' } }",
                Literal::Computed,
            ),
            ("export default { migrations: { path } }", Literal::Computed),
            (
                "export default { migrations: { get path() { return 'a' } } }",
                Literal::Computed,
            ),
            ("export default { migrations: { ['path']: 'a' } }", Literal::Computed),
            ("export default { migrations: { path: 'a', ...b } }", Literal::Computed),
            ("export default { migrations: { path: 'a' }, ...b }", Literal::Computed),
            ("export default { migrations }", Literal::Computed),
            ("export default { migrations: where() }", Literal::Computed),
            (
                "export default defineConfig(make({ migrations: { path: 'a' } }))",
                Literal::Computed,
            ),
            (
                "export default defineConfig({ migrations: { path: 'a' } }, more)",
                Literal::Computed,
            ),
            (
                "function defineConfig(x) { return y }\nexport default defineConfig({ migrations: { path: 'a' } })",
                Literal::Computed,
            ),
            ("export default { migrations: { path: 'a' } }.b", Literal::Computed),
            (
                "const c = { migrations: { path: 'a' } }; c.migrations.path = 'b'; export default c",
                Literal::Computed,
            ),
            (
                "let c = { migrations: { path: 'a' } }; export default c",
                Literal::Computed,
            ),
            (
                "export default async () => ({ migrations: { path: 'a' } })",
                Literal::Computed,
            ),
            (
                "module.exports = { migrations: { path: 'a' } }; module.exports.migrations = b",
                Literal::Computed,
            ),
            ("module.exports.migrations = { path: 'a' }", Literal::Computed),
            ("export const migrations = { path: 'a' }", Literal::Computed),
            ("not ( even", Literal::Computed),
            ("export default { schema: 'a' }", Literal::Absent),
            ("export default { migrations: { seed: 'a' } }", Literal::Absent),
            ("export default { migrations: { path: undefined } }", Literal::Absent),
            ("export default {}", Literal::Absent),
            ("export default { // migrations: { path: 'a' }\n}", Literal::Absent),
            ("export default { x: \"migrations: { path: 'a' }\" }", Literal::Absent),
        ] {
            assert_eq!(path(text), expected, "{text}");
        }
    }

    #[test]
    fn a_url_is_a_variable_or_a_text_or_computed() {
        let variable = |name: &str| Literal::Given(Url::Variable(name.to_owned()));
        for (value, expected) in [
            ("env('DIRECT_URL')", variable("DIRECT_URL")),
            ("env<Env>(\"DIRECT_URL\")!", variable("DIRECT_URL")),
            ("env('DATABASE_URL')", variable("DATABASE_URL")),
            ("'postgresql://u:p@h/d'", Literal::Given(Url::Text)),
            ("env('A') || env('B')", Literal::Computed),
            ("env(name)", Literal::Computed),
            ("env('A', 'b')", Literal::Computed),
            ("process.env.DIRECT_URL", Literal::Computed),
            ("process.env['DIRECT_URL']!", Literal::Computed),
            ("my.env('DIRECT_URL')", Literal::Computed),
        ] {
            let text = format!("export default {{ datasource: {{ url: {value} }} }}");
            assert_eq!(PrismaConfig::parse(&text).url, expected, "{value}");
        }
        let both = "export default { datasource: { url: env('DATABASE_URL'), directUrl: env('DIRECT_URL') } }";
        assert_eq!(PrismaConfig::parse(both).url, variable("DIRECT_URL"));
        let own = "const env = (n) => 'x'; export default { datasource: { url: env('DIRECT_URL') } }";
        assert_eq!(PrismaConfig::parse(own).url, Literal::Computed);
    }

    #[test]
    fn external_tables_are_a_list_of_texts() {
        let list = |texts: &[&str]| Literal::Given(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        for (value, expected) in [
            ("['auth.users', \"public.cats\"]", list(&["auth.users", "public.cats"])),
            ("['auth.users',] as const", list(&["auth.users"])),
            ("[]", list(&[])),
            ("['a', b]", Literal::Computed),
            ("['a' + 'b']", Literal::Computed),
            ("[...x, 'a']", Literal::Computed),
            ("['a'].concat(b)", Literal::Computed),
            ("tables", Literal::Computed),
        ] {
            let text = format!("export default {{ tables: {{ external: {value} }} }}");
            assert_eq!(PrismaConfig::parse(&text).external_tables, expected, "{value}");
        }
    }

    #[test]
    fn a_config_of_prisma_8_is_no_config_of_prisma_7() {
        let eight = "import { definePrismaConfig } from 'prisma/config';\nexport default definePrismaConfig({ orm: orm({ contract: 'a' }) })";
        let config = PrismaConfig::parse(eight);
        assert!(config.is_prisma8 && config.migrations_path == Literal::Absent);
        assert!(!PrismaConfig::parse("export default defineConfig({})").is_prisma8);
    }
}
