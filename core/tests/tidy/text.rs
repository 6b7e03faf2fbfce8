//! Rust as text: what is code and what is not, where a word stands, where a bracket closes.
//!
//! Used by the rules of `tidy.rs`. Deliberately not here: any rule.

/// Blanks comments and the contents of literals, keeping every line and column.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            let blanks = chars[at..end]
                .iter()
                .map(|c| if *c == '\n' { '\n' } else { ' ' });
            out.extend(blanks);
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |i: usize| chars.get(at + i).copied().unwrap_or('\0');
    let glued = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (chars[at], next(1)) {
        ('/', '/') => until(chars, at, |rest| rest[0] == '\n').min(chars.len()),
        ('/', '*') => block_comment_end(chars, at),
        ('r', '"' | '#') | ('b', 'r') if !glued => raw_string_end(chars, at),
        ('b', '"') if !glued => quoted_end(chars, at + 1, '"'),
        ('"', _) => quoted_end(chars, at, '"'),
        ('\'', '\\') => quoted_end(chars, at, '\''),
        ('\'', _) if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn until(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len())
        .find(|i| stop(&chars[*i..]))
        .unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0usize, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    i
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let start = until(chars, at, |rest| rest[0] != 'b' && rest[0] != 'r');
    let quote = until(chars, start, |rest| rest[0] != '#');
    if chars.get(quote) != Some(&'"') {
        return at;
    }
    let hashes = quote - start;
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    (until(chars, quote + 1, closes) + 1 + hashes).min(chars.len())
}

fn quoted_end(chars: &[char], open: usize, quote: char) -> usize {
    let mut i = open + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The part of a file before its inline test module.
pub(crate) fn without_tests(source: &str) -> &str {
    let code = source.match_indices("#[cfg(test)]").find(|(at, found)| {
        let rest = source[at + found.len()..].trim_start();
        let is_module = rest.starts_with("mod ") || rest.starts_with("pub mod ");
        is_module && rest.find('{') < rest.find(';').or(Some(usize::MAX)) && rest.contains('{')
    });
    code.map_or(source, |(at, _)| &source[..at])
}

pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub(crate) fn word_at(text: &str) -> &str {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    &text[..end]
}

/// Every place where `word` stands by itself.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = text[..*at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

/// Where the bracket that opens at `open` closes.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open + at;
        }
    }
    code.len()
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = "a /* { /* } */ */ \"\\\"{\" 'x' '{' '\\'' r#\"{\"}\"# b\"}\" 'life // {\nb";
    let code = code_only(source);
    assert_eq!(code.replace(' ', ""), "a'life\nb");
    assert_eq!(code.chars().count(), source.chars().count());
}
