//! What the manifests promise: a core without IO, and every lint switched on.
//!
//! The core's manifest is read as text, and then what cargo makes of it: its whole tree, with the
//! features that are really on. Deliberately not here: macros of the compiler, for they run where
//! the core is built, and are no part of it.

use std::path::Path;
use std::process::Command;

/// What the core may depend on, and whether only behind a feature.
const DEPENDENCIES: [(&str, Presence); 9] = [
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
/// What those bring along, without any feature of the core.
const BROUGHT: [&str; 4] = [
    "pin-project-lite",
    "regex-syntax",
    "serde_core",
    "tracing-core",
];
/// What the feature `sim` adds to the tree.
const SIMULATOR: [&str; 2] = ["postcard", "cobs"];

/// Every lint that is on, by its table.
const LINTS: [(&str, &[&str]); 2] = [
    (
        "workspace.lints.rust",
        &[
            "missing_docs",
            "unreachable_pub",
            "unnameable_types",
            "unused_qualifications",
            "elided_lifetimes_in_paths",
        ],
    ),
    (
        "workspace.lints.clippy",
        &[
            "wildcard_enum_match_arm",
            "unwrap_used",
            "dbg_macro",
            "print_stdout",
            "print_stderr",
            "todo",
            "manual_let_else",
            "use_self",
            "or_fun_call",
            "undocumented_unsafe_blocks",
        ],
    ),
];
/// The one lint that is off, with its reason beside it.
const OFF: &str = "large_enum_variant";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Always,
    Optional,
}

/// One line of a manifest that is not a comment.
struct Entry<'a> {
    /// The table it stands in.
    table: &'a str,
    key: &'a str,
    /// All of it.
    line: &'a str,
}

fn entries(manifest: &str) -> Vec<Entry<'_>> {
    let mut table = "";
    let mut entries = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').filter(|l| l.ends_with(']')) {
            table = name.trim_end_matches(']');
        } else if !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            let key = &line[..end];
            entries.push(Entry { table, key, line });
        }
    }
    entries
}

/// `workspace` is the manifest of the workspace, from whose table entries may be inherited.
pub(crate) fn check_core_dependencies(manifest: &str, workspace: &str) -> Vec<String> {
    let inherited = entries(workspace);
    let mut findings = Vec::new();
    for Entry { table, key, line } in entries(manifest) {
        let elsewhere = table.starts_with("dependencies.")
            || table.starts_with("target.")
            || table == "build-dependencies";
        if elsewhere {
            findings.push(format!("[{table}]: list dependencies under [dependencies]"));
        }
        if table == "features" && (key == "default" || line.contains("std\"")) {
            findings.push(format!("the core has no feature that is `{line}`"));
        }
        if table != "dependencies" {
            continue;
        }
        match DEPENDENCIES.iter().find(|(allowed, _)| *allowed == key) {
            None => findings.push(format!("the core may not depend on {key}")),
            Some((_, Presence::Optional)) if !line.contains("optional = true") => {
                findings.push(format!("{key} must be optional"));
            }
            Some(_) => {}
        }
        let mut origin = line;
        if line.contains("workspace = true") {
            let theirs = inherited
                .iter()
                .find(|e| e.table == "workspace.dependencies" && e.key == key);
            origin = theirs.map_or("", |entry| entry.line);
        }
        findings.extend(check_without_std(key, line, origin));
    }
    findings
}

/// `origin` is the line that names the version: the same one, or the workspace's.
fn check_without_std(key: &str, line: &str, origin: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lists = line.matches(['{', '[']).count() + origin.matches(['{', '[']).count();
    let ends = line.matches(['}', ']']).count() + origin.matches(['}', ']']).count();
    if lists != ends {
        findings.push(format!("{key} must stand on one line"));
    }
    if !origin.contains("default-features = false") || line.contains("default-features = true") {
        findings.push(format!("{key} must have `default-features = false`"));
    }
    if [line, origin].iter().any(|text| text.contains("std\"")) {
        findings.push(format!("{key} may not have std"));
    }
    findings
}

/// Checks what `cargo tree` lists with the format of [`core_tree`].
pub(crate) fn check_core_tree(tree: &str, simulator: bool) -> Vec<String> {
    let mut findings = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.split_once('|').unwrap_or((line, ""));
        let name = package.split(' ').next().unwrap_or(package);
        let is_allowed = name == "tepui-core"
            || DEPENDENCIES.contains(&(name, Presence::Always))
            || BROUGHT.contains(&name)
            || (simulator && SIMULATOR.contains(&name));
        if !is_allowed {
            findings.push(format!("the core's tree may not hold {name}"));
        }
        let features = features.trim_end_matches("(*)").trim();
        if features.split(',').any(|feature| feature == "std") {
            findings.push(format!("the core's tree has {name} with std"));
        }
    }
    findings
}

/// What the core is really built of, one `name version|features` a line.
pub(crate) fn core_tree(root: &Path, simulator: bool) -> String {
    let mut args = vec![
        "--package=tepui-core",
        "--edges=normal,no-proc-macro",
        "--no-default-features",
        "--format={p}|{f}",
    ];
    if simulator {
        args.push("--features=sim");
    }
    cargo_tree(root, &args)
}

/// What the product is really built of, a line for each package and for each feature that is on.
pub(crate) fn product_tree(root: &Path) -> String {
    cargo_tree(root, &["--package=tepui", "--edges=normal,build,features"])
}

/// Bugs are planted in tests, and nowhere else.
pub(crate) fn check_product_tree(tree: &str) -> Vec<String> {
    let mut lines = tree
        .lines()
        .filter(|line| line.starts_with("tepui-core feature "));
    if lines.any(|line| line.contains("\"mutants\"")) {
        return vec!["the product can have bugs planted".into()];
    }
    Vec::new()
}

fn cargo_tree(root: &Path, args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let usual = ["tree", "--offline", "--locked", "--prefix=none"];
    command.current_dir(root).args(usual).args(args);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn check_lints(workspace: &str) -> Vec<String> {
    let entries = entries(workspace);
    let mut findings = Vec::new();
    for (table, lints) in LINTS {
        for lint in lints {
            let is_on = |entry: &Entry<'_>| {
                entry.table == table
                    && entry.key == *lint
                    && [format!("{lint} = \"warn\""), format!("{lint} = \"deny\"")]
                        .iter()
                        .any(|wanted| wanted == entry.line)
            };
            if !entries.iter().any(is_on) {
                findings.push(format!("{lint} is not on"));
            }
        }
        for entry in entries.iter().filter(|entry| entry.table == table) {
            if !lints.contains(&entry.key) && entry.key != OFF {
                findings.push(format!("{} is on, but nobody would miss it", entry.key));
            }
        }
    }
    findings
}

/// Checks that counts of the core which overflow are found in what is released, too.
pub(crate) fn check_release(workspace: &str) -> Vec<String> {
    let is_checked = |entry: &Entry<'_>| {
        entry.table == "profile.release.package.tepui-core"
            && entry.line == "overflow-checks = true"
    };
    if entries(workspace).iter().any(is_checked) {
        return Vec::new();
    }
    vec!["the core is released without overflow-checks".into()]
}

pub(crate) fn check_lints_inherited(manifest: &str) -> Vec<String> {
    let inherits = |entry: &Entry<'_>| entry.table == "lints" && entry.line == "workspace = true";
    if entries(manifest).iter().any(inherits) {
        return Vec::new();
    }
    vec!["does not take the workspace's lints".into()]
}

#[test]
fn a_product_with_planted_bugs_is_found() {
    let good = "tepui-core v0.1.0 (/core)\ntepui-core feature \"sim\"\nserde feature \"std\"\n";
    assert!(check_product_tree(good).is_empty());
    let bad = format!("{good}tepui-core feature \"mutants\" (*)\n");
    assert_eq!(check_product_tree(&bad).len(), 1);
}

#[test]
fn foreign_dependencies_are_found() {
    let workspace = "[workspace.dependencies]\n\
                     serde = { version = \"1\", default-features = false }\n\
                     postcard = { version = \"1\", default-features = false }\n";
    let manifest = "[dependencies]\nserde.workspace = true\n\
                    tokio = { version = \"1\", default-features = false }\n\
                    postcard = { workspace = true }\n[dev-dependencies]\nproptest = \"1\"\n";
    assert_eq!(
        check_core_dependencies(manifest, workspace),
        [
            "the core may not depend on tokio",
            "postcard must be optional"
        ]
    );
    for table in ["dependencies.serde", "target.'cfg(unix)'.dependencies"] {
        let manifest = format!("[{table}]\nserde = \"1\"\n");
        assert_eq!(check_core_dependencies(&manifest, workspace).len(), 1);
    }
}

#[test]
fn dependencies_with_std_are_found() {
    let found = |line: &str, workspace: &str| {
        let manifest = format!("[dependencies]\n{line}\n");
        let workspace = format!("[workspace.dependencies]\n{workspace}\n");
        check_core_dependencies(&manifest, &workspace)
    };
    let plain = "serde = { version = \"1\", default-features = false, features = [\"alloc\"] }";
    let with_std = plain.replace("alloc", "std");
    let clean: [&str; 0] = [];
    assert_eq!(found(plain, ""), clean);
    assert_eq!(found("serde.workspace = true", plain), clean);
    let on = ["serde must have `default-features = false`"];
    assert_eq!(found("serde = \"1\"", plain), on);
    assert_eq!(found("serde.workspace = true", "serde = \"1\""), on);
    assert_eq!(found("serde.workspace = true", "other = \"1\""), on);
    let again = "serde = { workspace = true, default-features = true }";
    assert_eq!(found(again, plain), on);
    let std = ["serde may not have std"];
    assert_eq!(found(&with_std, ""), std);
    assert_eq!(found("serde.workspace = true", &with_std), std);
    let added = "serde = { workspace = true, features = [\"std\"] }";
    assert_eq!(found(added, plain), std);
    let open = "serde = { version = \"1\", default-features = false, features = [";
    assert_eq!(found(open, ""), ["serde must stand on one line"]);
    for feature in ["default = [\"sim\"]", "sim = [\"serde/std\"]"] {
        let manifest = format!("[features]\n{feature}\n");
        assert_eq!(check_core_dependencies(&manifest, "").len(), 1, "{feature}");
    }
}

#[test]
fn what_dependencies_bring_along_is_found() {
    let good = "tepui-core v0.1.0 (/here)|\nserde v1.0.0|alloc,derive (*)\n";
    assert!(check_core_tree(good, false).is_empty());
    let with_std = good.replace("alloc,", "alloc,std,");
    assert_eq!(
        check_core_tree(&with_std, false),
        ["the core's tree has serde with std"]
    );
    let foreign = format!("{good}mio v1.0.0|\n");
    assert_eq!(
        check_core_tree(&foreign, true),
        ["the core's tree may not hold mio"]
    );
    let sim = format!("{good}postcard v1.0.0|alloc\n");
    assert_eq!(check_core_tree(&sim, false).len(), 1);
    assert!(check_core_tree(&sim, true).is_empty());
}

#[test]
fn a_release_without_checks_of_overflow_is_found() {
    let release = "[profile.release.package.tepui-core]\noverflow-checks = true\n";
    assert!(check_release(release).is_empty());
    for other in [
        release.replace("true", "false"),
        release.replace("package.tepui-core", "package.tepui"),
        release.replace("overflow", "# overflow"),
    ] {
        assert_eq!(check_release(&other).len(), 1, "{other}");
    }
}

#[test]
fn missing_lints_are_found() {
    let mut all = String::new();
    for (table, lints) in LINTS {
        all.push_str(&format!("[{table}]\n"));
        for lint in lints {
            all.push_str(&format!("{lint} = \"warn\"\n"));
        }
    }
    assert!(check_lints(&all).is_empty());
    for (_, lints) in LINTS {
        for lint in lints {
            let off = all.replace(
                &format!("{lint} = \"warn\""),
                &format!("{lint} = \"allow\""),
            );
            assert_eq!(check_lints(&off), [format!("{lint} is not on")]);
        }
    }
    let unknown = format!("{all}new_one = \"warn\"\n");
    assert_eq!(check_lints(&unknown).len(), 1);
    let misplaced = all.replace("clippy", "other");
    assert!(!check_lints(&misplaced).is_empty());
    assert!(check_lints_inherited("[package]\n\n[lints]\nworkspace = true\n").is_empty());
    assert_eq!(check_lints_inherited("[package]\n").len(), 1);
    assert_eq!(
        check_lints_inherited("[lints]\n# workspace = true\n").len(),
        1
    );
}
