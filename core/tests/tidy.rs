//! The written rules, executed: length, layers, headers, words, dependencies, folders.
//!
//! Each rule is a function from text to findings, with a test of its own on a bad snippet;
//! `the_repository_is_tidy` runs them all over the repository. Deliberately not here: what rustfmt
//! and clippy check already. Of clippy's lints it is only checked that they are switched on.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/matches.rs"]
mod matches;
#[path = "tidy/text.rs"]
mod text;

use manifests::{
    check_core_dependencies, check_core_tree, check_lints, check_lints_inherited,
    check_product_tree, check_release, core_tree, product_tree,
};
use matches::{check_wildcard_arms, enums_declared};
use text::{closing, code_only, is_word, line_of, without_tests, word_at, words};

/// Files that may break the rule of length, with the reason. Empty at a release.
const WAIVERS: [(&str, &str); 0] = [];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;
const FOLDERS: [&str; 6] = ["core", "transport", "isolation", "bin", "fuzz", "benches"];
const TEXTS: [(&str, usize); 2] = [("ARCHITECTURE.md", 250), ("CONTRIBUTING.md", 150)];
const BANNED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
/// What the core's root must hold, for all else follows from it: no clock, socket, file or thread
/// has a name without the standard library.
const ROOT: [&str; 2] = ["#![no_std]", "#![forbid(unsafe_code)]"];

/// The layers of the core, from the ground up. A module uses its own layer and those below.
const LAYERS: [&[&str]; 6] = [
    &[
        "machine", "gate", "host", "time", "timers", "table", "book", "fold", "keys", "ids", "rng",
        "limits", "mutant",
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
    &["allocator", "registry", "mirror", "feed"],
    &["master", "agent", "scheduler", "executor"],
    &["sim"],
];
/// From this layer on, the modules of one layer do not use each other.
const STRANGERS: usize = 3;
/// Lower, and still not to be used: the allocator can be embedded without the protocol.
const APART: [(&str, &str); 1] = [("allocator", "protocol")];

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

fn check_core_root(source: &str) -> Vec<String> {
    let code = code_only(source);
    let holds = |attribute: &str| code.lines().any(|line| line.trim() == attribute);
    let missing = ROOT.iter().filter(|attribute| !holds(attribute));
    missing
        .map(|attribute| format!("does not hold {attribute}"))
        .collect()
}

/// `no_std` leaves a door: the library can still be linked by name. Only tests do so.
fn check_no_way_to_std(source: &str) -> Vec<String> {
    let code = code_only(source);
    let mut findings = Vec::new();
    for at in words(&code, "extern") {
        let mut rest = code[at + 6..].split_whitespace();
        let is_std =
            rest.next() == Some("crate") && rest.next().is_some_and(|name| word_at(name) == "std");
        if is_std && !code[..at].trim_end().ends_with("#[cfg(test)]") {
            findings.push(format!("line {}: links std", line_of(&code, at)));
        }
    }
    findings
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
        if path.starts_with("core/") {
            findings.extend(check_no_way_to_std(text));
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
    for name in FOLDERS {
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
    let workspace = read("Cargo.toml");
    let mut findings = check_core_dependencies(&read("core/Cargo.toml"), &workspace);
    for simulator in [false, true] {
        findings.extend(check_core_tree(&core_tree(&root(), simulator), simulator));
    }
    findings.extend(check_product_tree(&product_tree(&root())));
    findings.extend(check_core_root(&read("core/src/lib.rs")));
    findings.extend(check_lints(&workspace));
    findings.extend(check_release(&workspace));
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
fn ways_out_of_the_pure_core_are_found() {
    let good = "//! Words.\n#![no_std]\n#![forbid(unsafe_code)]\n";
    assert!(check_core_root(good).is_empty());
    for bad in [
        "//! #![no_std]\n#![forbid(unsafe_code)]\n",
        "#![cfg_attr(not(test), no_std)]\n#![forbid(unsafe_code)]\n",
        "#![no_std]\n#![deny(unsafe_code)]\n",
    ] {
        assert_eq!(check_core_root(bad).len(), 1, "{bad}");
    }
    assert!(check_no_way_to_std("extern crate alloc;\n#[cfg(test)]\nextern crate std;").is_empty());
    for bad in ["extern crate std;", "pub extern crate std as alloc;"] {
        assert_eq!(check_no_way_to_std(bad).len(), 1, "{bad}");
    }
    let feature = "#[cfg(feature = \"sim\")]\nextern crate std;";
    assert_eq!(check_no_way_to_std(feature), ["line 2: links std"]);
}

#[test]
fn what_speaks_to_peers_is_safe_and_needs_no_event_library() {
    // RG-02, RG-25; MESOS-10186, MESOS-5989, MESOS-8803, MESOS-8096
    let transport = include_str!("../../transport/src/lib.rs");
    assert!(transport.contains(ROOT[1]));
    let lock = include_str!("../../Cargo.lock");
    assert!(lock.contains("name = \"rustls\""));
    for other in ["openssl-sys", "native-tls", "libevent", "libuv"] {
        assert!(!lock.contains(&format!("name = \"{other}")), "{other}");
    }
}

#[test]
fn long_texts_and_new_folders_are_found() {
    assert_eq!(check_text_length(&"x\n".repeat(251), 250).len(), 1);
    assert!(check_text_length(&"x\n".repeat(250), 250).is_empty());
    assert_eq!(check_folder("scripts").len(), 1);
    assert!(check_folder("core").is_empty());
    assert!(check_folder(".ci").is_empty());
}
