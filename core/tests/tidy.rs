//! The written rules, executed: length, layers, headers, words, dependencies, folders.
//!
//! Each rule is a function from text to findings, with a test of its own on a bad snippet; the one
//! test at the end runs them all over the repository. Deliberately not here: what rustfmt and
//! clippy check already. Of clippy's lints it is only checked that they are switched on.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that may break the rule of length, with the reason. Empty at a release.
const WAIVERS: [(&str, &str); 0] = [];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;
const CRATES: [&str; 4] = ["core", "transport", "isolation", "bin"];
const FOLDERS: [&str; 6] = ["core", "transport", "isolation", "bin", "fuzz", "benches"];
const TEXTS: [(&str, usize); 2] = [("ARCHITECTURE.md", 250), ("CONTRIBUTING.md", 150)];
const BANNED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
const LINTS: [&str; 4] = [
    "wildcard_enum_match_arm",
    "unwrap_used",
    "missing_docs",
    "print_stdout",
];

/// The layers of the core, from the ground up. A module uses its own layer and those below.
const LAYERS: [&[&str]; 6] = [
    &[
        "machine", "gate", "time", "timers", "table", "keys", "ids", "rng", "limits",
    ],
    &[
        "resources",
        "roles",
        "quota",
        "attributes",
        "constraints",
        "filters",
        "demand",
        "auth",
    ],
    &["protocol"],
    &["allocator", "registry"],
    &["master", "agent", "scheduler", "executor"],
    &["sim"],
];
/// From this layer on, the modules of one layer do not use each other.
const STRANGERS: usize = 3;
/// Lower, and still not to be used: the allocator can be embedded without the protocol.
const APART: [(&str, &str); 1] = [("allocator", "protocol")];

/// What the core may depend on, and whether only behind a feature.
const CORE_DEPENDENCIES: [(&str, Presence); 9] = [
    ("serde", Presence::Always),
    ("smallvec", Presence::Always),
    ("thiserror", Presence::Always),
    ("tracing", Presence::Always),
    ("hashbrown", Presence::Always),
    ("libm", Presence::Always),
    ("regex-automata", Presence::Always),
    ("postcard", Presence::Optional),
    ("arbitrary", Presence::Optional),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Always,
    Optional,
}

// ---------------------------------------------------------------------------------------------
// Reading Rust as text
// ---------------------------------------------------------------------------------------------

/// Blanks comments and the contents of literals, keeping every line and column.
fn code_only(source: &str) -> String {
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
fn without_tests(source: &str) -> &str {
    let code = source.match_indices("#[cfg(test)]").find(|(at, found)| {
        let rest = source[at + found.len()..].trim_start();
        let is_module = rest.starts_with("mod ") || rest.starts_with("pub mod ");
        is_module && rest.find('{') < rest.find(';').or(Some(usize::MAX)) && rest.contains('{')
    });
    code.map_or(source, |(at, _)| &source[..at])
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_at(text: &str) -> &str {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    &text[..end]
}

/// Every place where `word` stands by itself.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = text[..*at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

/// Where the bracket that opens at `open` closes.
fn closing(code: &str, open: usize) -> usize {
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

// ---------------------------------------------------------------------------------------------
// The rules
// ---------------------------------------------------------------------------------------------

fn check_file_length(source: &str) -> Vec<String> {
    let lines = without_tests(source).lines().count();
    if lines <= FILE_LINES {
        return Vec::new();
    }
    vec![format!(
        "{lines} lines without tests, {FILE_LINES} are allowed"
    )]
}

fn check_function_length(source: &str) -> Vec<String> {
    let code = code_only(without_tests(source));
    let mut findings = Vec::new();
    for at in words(&code, "fn") {
        let name = word_at(code[at + 2..].trim_start());
        let Some(body) = function_body(&code, at).filter(|_| !name.is_empty()) else {
            continue;
        };
        let lines = line_of(&code, closing(&code, body)) - line_of(&code, at) + 1;
        if lines > FUNCTION_LINES {
            let line = line_of(&code, at);
            findings.push(format!(
                "line {line}: fn {name} has {lines} lines, {FUNCTION_LINES} are allowed"
            ));
        }
    }
    findings
}

/// Where the body of the function at `at` opens, if it has one.
fn function_body(code: &str, at: usize) -> Option<usize> {
    let mut i = at;
    while let Some(c) = code[i..].chars().next() {
        match c {
            '(' | '[' => i = closing(code, i),
            '{' => return Some(i),
            ';' => return None,
            _ => {}
        }
        i += code[i..].chars().next()?.len_utf8();
    }
    None
}

fn check_columns(source: &str) -> Vec<String> {
    // A row of a table in a comment cannot be broken.
    let is_row = |line: &str| {
        ["//! |", "/// |"]
            .iter()
            .any(|c| line.trim_start().starts_with(c))
    };
    let mut findings = Vec::new();
    for (i, line) in source.lines().enumerate() {
        if line.chars().count() > COLUMNS && !is_row(line) {
            findings.push(format!("line {}: wider than {COLUMNS} columns", i + 1));
        }
    }
    findings
}

fn check_header(source: &str) -> Vec<String> {
    if source.starts_with("//! ") {
        return Vec::new();
    }
    vec!["does not begin with a `//!` header".into()]
}

fn check_words(source: &str) -> Vec<String> {
    let code = code_only(source);
    let mut findings = Vec::new();
    for word in BANNED {
        for (at, _) in code.match_indices(word) {
            if !code[..at].chars().next_back().is_some_and(is_word) {
                findings.push(format!("line {}: {word}", line_of(&code, at)));
            }
        }
    }
    for at in words(&code, "fn") {
        let name = word_at(code[at + 2..].trim_start());
        // `get_mut` is the standard library's own word.
        if name.starts_with("get_") && name != "get_mut" {
            findings.push(format!("line {}: fn {name}: no `get_`", line_of(&code, at)));
        }
    }
    for keyword in ["struct", "enum", "trait"] {
        for at in words(&code, keyword) {
            let name = word_at(code[at + keyword.len()..].trim_start());
            if ["Manager", "Helper", "Util", "Utils"]
                .iter()
                .any(|bad| name.ends_with(bad))
            {
                findings.push(format!("line {}: {name} says nothing", line_of(&code, at)));
            }
        }
    }
    findings
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The modules of the crate that a file names, as `crate::a` or `crate::{a, b::c}`.
fn modules_used(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for at in words(code, "crate") {
        let Some(path) = code[at + 5..].strip_prefix("::") else {
            continue;
        };
        if !path.starts_with('{') {
            used.push((at, word_at(path).to_string()));
            continue;
        }
        let mut depth = 0usize;
        let mut begins = true;
        for (i, c) in path[..closing(path, 0)].char_indices() {
            match c {
                '{' => (depth, begins) = (depth + 1, depth == 0),
                '}' => depth -= 1,
                ',' => begins = depth == 1,
                c if begins && is_word(c) => {
                    used.push((at, word_at(&path[i..]).to_string()));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    used
}

/// `module` is the top-level module of the core that the file belongs to.
fn check_layers(module: &str, source: &str) -> Vec<String> {
    let Some(own) = layer(module) else {
        return vec![format!("module {module} is in no layer")];
    };
    let code = code_only(without_tests(source));
    let mut findings = Vec::new();
    for (at, other) in modules_used(&code) {
        let line = line_of(&code, at);
        if other == module {
            continue;
        }
        match layer(&other) {
            // A type or function of the crate's root: there are none, so it does not compile.
            None => findings.push(format!("line {line}: {other} is in no layer")),
            Some(theirs) if theirs > own => {
                findings.push(format!(
                    "line {line}: {module} uses {other}, which is above it"
                ));
            }
            Some(theirs) if theirs == own && own >= STRANGERS => {
                findings.push(format!("line {line}: {module} uses {other}, its neighbour"));
            }
            Some(_) if APART.contains(&(module, other.as_str())) => {
                findings.push(format!("line {line}: {module} may not use {other}"));
            }
            Some(_) => {}
        }
    }
    findings
}

fn enums_declared(source: &str) -> BTreeSet<String> {
    let code = code_only(source);
    let names = words(&code, "enum").map(|at| word_at(code[at + 4..].trim_start()).to_string());
    names.filter(|name| !name.is_empty()).collect()
}

/// As far as text can tell: a `_` arm beside an arm that names a variant of one of our enums.
fn check_wildcard_arms(enums: &BTreeSet<String>, source: &str) -> Vec<String> {
    let code = code_only(without_tests(source));
    let mut findings = Vec::new();
    if code.contains("allow(clippy::wildcard_enum_match_arm)") {
        findings.push("allows wildcard arms".into());
    }
    for at in words(&code, "match") {
        let Some(open) = match_body(&code, at) else {
            continue;
        };
        let patterns = arm_patterns(&code[open..closing(&code, open)]);
        let wild = patterns.iter().any(|p| p == "_" || p.starts_with("_ if "));
        let ours = patterns.iter().find_map(|p| {
            let (name, _) = p.split_once("::")?;
            enums.contains(name).then(|| name.to_string())
        });
        if let Some(name) = ours.filter(|_| wild) {
            let line = line_of(&code, at);
            findings.push(format!("line {line}: a `_` arm in a match on {name}"));
        }
    }
    findings
}

fn match_body(code: &str, at: usize) -> Option<usize> {
    let mut i = at;
    while let Some(c) = code[i..].chars().next() {
        match c {
            '(' | '[' => i = closing(code, i),
            '{' => return Some(i),
            ';' | '}' | ')' => return None,
            _ => {}
        }
        i += code[i..].chars().next()?.len_utf8();
    }
    None
}

/// The patterns of a match's own arms; what nests deeper is left out.
fn arm_patterns(body: &str) -> Vec<String> {
    let mut flat = String::new();
    let mut depth = 0usize;
    for c in body.chars() {
        match c {
            '{' | '(' | '[' => {
                depth += 1;
                if depth == 2 {
                    flat.push(c);
                }
            }
            '}' | ')' | ']' => {
                if depth == 2 {
                    flat.push(c);
                }
                depth = depth.saturating_sub(1);
            }
            c if depth == 1 => flat.push(c),
            _ => {}
        }
    }
    let mut heads: Vec<&str> = flat.split("=>").collect();
    heads.pop();
    let patterns = heads.into_iter().map(|head| {
        // Before a pattern stands the start, a comma, or the end of a block that was an arm.
        let from = head.rfind(',').map_or(0, |i| i + 1);
        let head = head[from..].trim_start();
        let head = head.strip_prefix("{}").unwrap_or(head);
        head.trim().trim_start_matches('|').trim().to_string()
    });
    patterns.collect()
}

fn check_core_dependencies(manifest: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut section = String::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_string();
            if section.contains("dependencies.") || section.starts_with("target.") {
                findings.push(format!(
                    "[{section}]: list dependencies under [dependencies]"
                ));
            }
            continue;
        }
        if section != "dependencies" || line.is_empty() || line.starts_with('#') {
            continue;
        }
        let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
        let name = &line[..end];
        match CORE_DEPENDENCIES
            .iter()
            .find(|(allowed, _)| *allowed == name)
        {
            None => findings.push(format!("the core may not depend on {name}")),
            Some((_, Presence::Optional)) if !line.contains("optional = true") => {
                findings.push(format!("{name} must be optional"));
            }
            Some(_) => {}
        }
    }
    findings
}

fn check_lints(workspace: &str) -> Vec<String> {
    let on = |lint: &str| {
        let set = |level: &str| {
            workspace
                .lines()
                .any(|l| l.trim() == format!("{lint} = {level}"))
        };
        set("\"warn\"") || set("\"deny\"")
    };
    LINTS
        .iter()
        .filter(|lint| !on(lint))
        .map(|lint| format!("{lint} is not on"))
        .collect()
}

fn check_lints_inherited(manifest: &str) -> Vec<String> {
    if manifest.contains("[lints]\nworkspace = true") {
        return Vec::new();
    }
    vec!["does not take the workspace's lints".into()]
}

fn check_text_length(text: &str, most: usize) -> Vec<String> {
    let lines = text.lines().count();
    if lines <= most {
        return Vec::new();
    }
    vec![format!("{lines} lines, {most} are allowed")]
}

fn check_folder(name: &str) -> Vec<String> {
    if name.starts_with('.') || name == "target" || FOLDERS.contains(&name) {
        return Vec::new();
    }
    vec![format!("folder {name} is not one of {FOLDERS:?}")]
}

// ---------------------------------------------------------------------------------------------
// The run over the repository
// ---------------------------------------------------------------------------------------------

struct Source {
    /// Below the repository, with slashes.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn collect(folder: &Path, path: &str, into: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().unwrap();
        let below = format!("{path}/{name}");
        if entry.file_type().unwrap().is_dir() {
            if name != "target" {
                collect(&entry.path(), &below, into);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            into.push(Source { path: below, text });
        }
    }
}

/// Test code beside the code, in a file or folder of its own.
fn is_test(path: &str) -> bool {
    !path.contains("/src/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn core_module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("core/src/")?;
    let module = below.split(['/', '.']).next()?;
    (module != "lib").then_some(module)
}

fn check_source(source: &Source, enums: &BTreeSet<String>) -> Vec<String> {
    let Source { path, text } = source;
    let mut findings = check_columns(text);
    findings.extend(check_header(text));
    findings.extend(check_words(text));
    if !is_test(path) {
        if !WAIVERS.iter().any(|(waived, _)| waived == path) {
            findings.extend(check_file_length(text));
        }
        findings.extend(check_function_length(text));
        findings.extend(check_wildcard_arms(enums, text));
        if let Some(module) = core_module(path) {
            findings.extend(check_layers(module, text));
        }
    }
    findings
        .into_iter()
        .map(|finding| format!("{path}: {finding}"))
        .collect()
}

#[test]
fn the_repository_is_tidy() {
    let mut sources = Vec::new();
    for name in CRATES {
        collect(&root().join(name), name, &mut sources);
    }
    assert!(
        sources.len() > 15,
        "only {} sources were found",
        sources.len()
    );
    let mut enums = BTreeSet::new();
    for source in &sources {
        enums.extend(enums_declared(&source.text));
    }
    let mut findings: Vec<String> = Vec::new();
    for source in &sources {
        // This file quotes what it forbids, but in strings: it is held to the rules as well.
        findings.extend(check_source(source, &enums));
    }
    findings.extend(check_repository());
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

fn check_repository() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let mut findings = check_core_dependencies(&read("core/Cargo.toml"));
    findings.extend(check_lints(&read("Cargo.toml")));
    for name in FOLDERS {
        let path = format!("{name}/Cargo.toml");
        let found = check_lints_inherited(&read(&path));
        findings.extend(
            found
                .into_iter()
                .map(|finding| format!("{path}: {finding}")),
        );
    }
    for (name, most) in TEXTS {
        // Written late in a release; its length is bounded once it is there.
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            let found = check_text_length(&text, most);
            findings.extend(
                found
                    .into_iter()
                    .map(|finding| format!("{name}: {finding}")),
            );
        }
    }
    for entry in fs::read_dir(root()).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            findings.extend(check_folder(&entry.file_name().into_string().unwrap()));
        }
    }
    findings
}

// ---------------------------------------------------------------------------------------------
// Each rule finds what it is for
// ---------------------------------------------------------------------------------------------

#[test]
fn comments_and_literals_are_not_code() {
    let source = "a /* { /* } */ */ \"\\\"{\" 'x' '{' '\\'' r#\"{\"}\"# b\"}\" 'life // {\nb";
    let code = code_only(source);
    assert_eq!(code.replace(' ', ""), "a'life\nb");
    assert_eq!(code.chars().count(), source.chars().count());
}

#[test]
fn long_files_are_found_but_tests_do_not_count() {
    let long = "x\n".repeat(FILE_LINES + 1);
    assert_eq!(check_file_length(&long).len(), 1);
    let tests = format!("x\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    assert!(check_file_length(&tests).is_empty());
    let outside = format!("#[cfg(test)]\nmod tests;\n{long}");
    assert_eq!(check_file_length(&outside).len(), 1);
}

#[test]
fn long_functions_are_found() {
    let body = "    a(\"}\");\n".repeat(FUNCTION_LINES - 1);
    let long = format!("type F = fn();\nfn f(x: [u8; 2])\n{{\n{body}}}\nfn g() {{}}\n");
    let findings = check_function_length(&long);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].starts_with("line 2: fn f has 72 lines"),
        "{findings:?}"
    );
    let fits = format!("fn f() {{\n{}}}\n", "    a();\n".repeat(FUNCTION_LINES - 2));
    assert!(check_function_length(&fits).is_empty());
}

#[test]
fn wide_lines_are_found() {
    assert_eq!(
        check_columns(&format!("a\n{}\n", "é".repeat(101))),
        ["line 2: wider than 100 columns"]
    );
    assert!(check_columns(&"é".repeat(100)).is_empty());
}

#[test]
fn missing_headers_are_found() {
    assert_eq!(check_header("use core::fmt;\n//! late\n").len(), 1);
    assert!(check_header("//! Says what it is.\n").is_empty());
}

#[test]
fn banned_words_are_found_in_code_only() {
    assert_eq!(check_words("fn f() { todo!() }"), ["line 1: todo!"]);
    assert_eq!(
        check_words("fn f() {\n unimplemented!(); dbg!(1); }").len(),
        2
    );
    assert_eq!(check_words("fn get_size() {}").len(), 1);
    assert_eq!(check_words("struct TaskManager;").len(), 1);
    assert!(check_words("// todo!\nlet a = \"dbg!\"; mytodo!(); fn target() {}").is_empty());
}

#[test]
fn breaches_of_the_layers_are_found() {
    assert!(check_layers("gate", "use crate::machine::Output;\n").is_empty());
    assert_eq!(
        check_layers("gate", "use crate::protocol::task;\n").len(),
        1
    );
    assert_eq!(
        check_layers("time", "fn f(x: crate::master::Master) {}").len(),
        1
    );
    assert_eq!(
        check_layers("agent", "use crate::{ids::{A, B}, time::T, master::M};").len(),
        1
    );
    assert_eq!(
        check_layers("allocator", "use crate::protocol::offer::Offer;\n").len(),
        1
    );
    assert_eq!(check_layers("plumbing", "").len(), 1);
    assert_eq!(
        check_layers("gate", "use crate::plumbing::Pipe;\n").len(),
        1
    );
    assert!(check_layers("sim", "use crate::master::Master;\nuse crate::sim::net;\n").is_empty());
    let in_tests = "#[cfg(test)]\nmod tests {\n    use crate::master::Master;\n}\n";
    assert!(check_layers("gate", in_tests).is_empty());
    assert!(check_layers("gate", "//! See [`crate::master`].\n").is_empty());
}

#[test]
fn wildcard_arms_on_our_enums_are_found() {
    let enums = enums_declared("pub enum Effect { A, B(u8) }\nenum Other {}");
    assert_eq!(enums.len(), 2);
    let bad = "fn f() { match effect { Effect::A => { g(|| 1) } Effect::B(x) => h(x), _ => {} } }";
    assert_eq!(
        check_wildcard_arms(&enums, bad),
        ["line 1: a `_` arm in a match on Effect"]
    );
    let nested = "match n { 0 => match e { Effect::A => 1, Effect::B(_) => 2 }, _ => Effect::A }";
    assert!(check_wildcard_arms(&enums, nested).is_empty());
    let allowed = "#[allow(clippy::wildcard_enum_match_arm)]";
    assert_eq!(check_wildcard_arms(&enums, allowed).len(), 1);
}

#[test]
fn foreign_dependencies_are_found() {
    let manifest = "[dependencies]\nserde.workspace = true\ntokio = \"1\"\n\
                    postcard = { workspace = true }\n[dev-dependencies]\nproptest = \"1\"\n";
    let findings = check_core_dependencies(manifest);
    assert_eq!(
        findings,
        [
            "the core may not depend on tokio",
            "postcard must be optional"
        ]
    );
    assert_eq!(
        check_core_dependencies("[dependencies.tokio]\nversion = \"1\"\n").len(),
        1
    );
}

#[test]
fn missing_lints_are_found() {
    let all: String = LINTS
        .iter()
        .map(|lint| format!("{lint} = \"warn\"\n"))
        .collect();
    assert!(check_lints(&all).is_empty());
    assert_eq!(
        check_lints(&all.replace("unwrap_used = \"warn\"", "unwrap_used = \"allow\"")).len(),
        1
    );
    assert_eq!(check_lints_inherited("[package]\n").len(), 1);
}

#[test]
fn long_texts_and_new_folders_are_found() {
    assert_eq!(check_text_length(&"x\n".repeat(251), 250).len(), 1);
    assert!(check_text_length(&"x\n".repeat(250), 250).is_empty());
    assert_eq!(check_folder("scripts").len(), 1);
    assert!(check_folder("core").is_empty());
    assert!(check_folder(".ci").is_empty());
}
