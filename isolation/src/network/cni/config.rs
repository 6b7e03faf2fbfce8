//! Configurations of networks, as operators write them: one file each, `.conf`, `.json` or
//! `.conflist`.
//!
//! Read anew for every use, so that a changed directory needs no restart (CT-52). Deliberately not
//! here: what is made of a configuration for one container (`input.rs`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::network::error::{NetworkError, Result};

/// The versions of the specification whose configurations and results are understood.
pub const VERSIONS: [&str; 3] = ["0.3.1", "0.4.0", "1.0.0"];
/// The first version of which plugins know `CHECK`, and are told the result at `DEL`.
const FIRST_WITH_CHECK: usize = 1;
/// The largest file that is read.
const FILE_BYTES: u64 = 1024 * 1024;
/// The most files that are read.
const FILES: usize = 1_024;
/// The most plugins of one network.
const PLUGINS: usize = 32;

/// A network as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Whether `CHECK` is to be left out.
    pub(crate) unchecked: bool,
    /// What is configured of each plugin, in the order of the chain.
    pub(crate) plugins: Vec<Map<String, Value>>,
}

/// The networks of a directory.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Catalogue {
    /// The names of the networks that can be joined, and where each is configured.
    pub networks: BTreeMap<String, PathBuf>,
    /// Why other files there are no networks.
    pub faults: Vec<NetworkError>,
}

/// Reads a directory. A file that is no configuration keeps nobody from using the others.
pub(crate) fn catalogue(dir: &Path) -> Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    let mut twice = Vec::new();
    for path in files(dir)? {
        let name = match read(&path) {
            Ok(network) => network.name,
            Err(fault) => {
                catalogue.faults.push(fault);
                continue;
            }
        };
        if let Some(first) = catalogue.networks.get(&name) {
            catalogue.faults.push(NetworkError::TwoNetworks {
                name: name.clone(),
                first: first.clone(),
                second: path,
            });
            twice.push(name);
        } else {
            catalogue.networks.insert(name, path);
        }
    }
    // Neither of them: which one is meant nobody knows.
    catalogue.networks.retain(|name, _| !twice.contains(name));
    Ok(catalogue)
}

/// Finds the network of this name in a directory.
pub(crate) fn find(dir: &Path, name: &str) -> Result<Network> {
    let Catalogue { networks, faults } = catalogue(dir)?;
    if let Some(path) = networks.get(name) {
        let network = read(path)?;
        if network.name == name {
            return Ok(network);
        }
        // It was written anew in this very moment.
    }
    let is_twice = |fault: &NetworkError| {
        let NetworkError::TwoNetworks { name: twice, .. } = fault else {
            return false;
        };
        twice == name
    };
    let (mut twice, faults): (Vec<_>, Vec<_>) = faults.into_iter().partition(is_twice);
    Err(twice.pop().unwrap_or_else(|| NetworkError::NoNetwork {
        name: name.to_owned(),
        dir: dir.to_owned(),
        faults: faults.iter().map(NetworkError::to_string).collect(),
    }))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| NetworkError::file("read", dir, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let known = ["conf", "json", "conflist"];
        let extension = path.extension().and_then(|text| text.to_str());
        if extension.is_some_and(|text| known.contains(&text)) {
            paths.push(path);
        }
    }
    if paths.len() > FILES {
        let value = paths.len().to_string();
        return Err(NetworkError::invalid(
            "number of networks",
            value,
            "at most 1024",
        ));
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Network> {
    let failed = |error| NetworkError::file("read", path, error);
    // Not to wait for whoever writes, should it be a pipe.
    let mut options = File::options();
    let open = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = open.map_err(failed)?;
    let mut text = Vec::new();
    file.take(FILE_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    let config = |problem| NetworkError::Config {
        path: path.to_owned(),
        problem,
    };
    if text.len() as u64 > FILE_BYTES {
        return Err(config(format!("it is larger than {FILE_BYTES} bytes")));
    }
    parse(&text).map_err(config)
}

/// A list of plugins has a key `plugins`; without it the whole is the one plugin.
fn parse(text: &[u8]) -> Result<Network, String> {
    let whole: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let Value::Object(whole) = whole else {
        return Err("it is no object".to_owned());
    };
    let name = text_of(&whole, "name")?;
    if !is_name(name) {
        let rule = "begins with a letter or digit, then letters, digits, '_', '.' and '-'";
        return Err(format!("name {name:?} is none: it {rule}"));
    }
    let version = text_of(&whole, "cniVersion")?;
    if !VERSIONS.contains(&version) {
        let known = VERSIONS.join(", ");
        return Err(format!("cniVersion {version:?} is not one of {known}"));
    }
    let unchecked = whole.get("disableCheck").unwrap_or(&Value::Bool(false));
    let unchecked = unchecked
        .as_bool()
        .ok_or_else(|| format!("disableCheck {unchecked} is not true or false"))?;
    let (name, version) = (name.to_owned(), version.to_owned());
    let plugins = if let Some(plugins) = whole.get("plugins") {
        let plugins = plugins.as_array().cloned();
        plugins.ok_or_else(|| "plugins is no list".to_owned())?
    } else {
        vec![Value::Object(whole)]
    };
    if !(1..=PLUGINS).contains(&plugins.len()) {
        let count = plugins.len();
        return Err(format!("it has {count} plugins, not 1 to {PLUGINS}"));
    }
    let plugins = plugins.into_iter().enumerate().map(plugin);
    Ok(Network {
        name,
        version,
        unchecked,
        plugins: plugins.collect::<Result<_, String>>()?,
    })
}

fn plugin((n, value): (usize, Value)) -> Result<Map<String, Value>, String> {
    let at = |problem: String| format!("plugin {}: {problem}", n + 1);
    let Value::Object(plugin) = value else {
        return Err(at("it is no object".to_owned()));
    };
    let kind = text_of(&plugin, "type").map_err(at)?;
    // It is looked for in directories of plugins, and nowhere else.
    if kind.is_empty() || kind == "." || kind == ".." || kind.contains(['/', '\0']) {
        return Err(at(format!("type {kind:?} is not the name of a file")));
    }
    for key in ["args", "capabilities", "runtimeConfig"] {
        if plugin.get(key).is_some_and(|value| !value.is_object()) {
            return Err(at(format!("{key} is no object")));
        }
    }
    let cni = plugin.get("args").and_then(|args| args.get("cni"));
    if cni.is_some_and(|value| !value.is_object()) {
        return Err(at("cni in args is no object".to_owned()));
    }
    Ok(plugin)
}

fn text_of<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    let value = object.get(key).ok_or_else(|| format!("it has no {key}"))?;
    let text = value.as_str();
    text.ok_or_else(|| format!("{key} {value} is no text"))
}

/// Returns whether a text may name a network, or a container, in CNI.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inner)
}

/// Returns whether plugins of this version know `CHECK`, and are told the result at `DEL`.
pub(crate) fn knows_check(version: &str) -> bool {
    VERSIONS[FIRST_WITH_CHECK..].contains(&version)
}

/// Returns the name of a plugin's file.
pub(crate) fn kind(plugin: &Map<String, Value>) -> &str {
    plugin
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_plugins_in_order_and_a_single_one_is_itself() {
        // CT-52
        let list = br#"{"cniVersion": "1.0.0", "name": "a", "disableCheck": true,
            "plugins": [{"type": "bridge"}, {"type": "portmap", "capabilities": {}}]}"#;
        let network = parse(list).unwrap();
        assert!(network.unchecked);
        let kinds: Vec<_> = network.plugins.iter().map(kind).collect();
        assert_eq!(kinds, ["bridge", "portmap"]);
        let single = br#"{"cniVersion": "0.3.1", "name": "b", "type": "ptp", "mtu": 9}"#;
        let network = parse(single).unwrap();
        assert_eq!((network.plugins.len(), network.unchecked), (1, false));
        assert_eq!(network.plugins[0]["mtu"], 9);
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_the_value() {
        // CT-52
        for (text, problem) in [
            ("", "EOF while parsing"),
            ("[]", "it is no object"),
            (r#"{"cniVersion":"1.0.0"}"#, "it has no name"),
            (
                r#"{"name":"-","cniVersion":"1.0.0"}"#,
                r#"name "-" is none"#,
            ),
            (r#"{"name":"a/b","cniVersion":"1.0.0"}"#, r#"name "a/b""#),
            (r#"{"name":"a"}"#, "it has no cniVersion"),
            (
                r#"{"name":"a","cniVersion":"0.2.0","type":"x"}"#,
                r#"cniVersion "0.2.0" is not one of 0.3.1, 0.4.0, 1.0.0"#,
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0"}"#,
                "plugin 1: it has no type",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","type":"../sh"}"#,
                r#"type "../sh" is not"#,
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","type":7}"#,
                "type 7 is no text",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","plugins":[]}"#,
                "0 plugins",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","plugins":[{"type":"x"},3]}"#,
                "plugin 2: it is no object",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","type":"x","args":[]}"#,
                "args is no object",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","type":"x","args":{"cni":1}}"#,
                "cni in args is no object",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","type":"x","disableCheck":"yes"}"#,
                "disableCheck",
            ),
        ] {
            let found = parse(text.as_bytes()).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }

    #[test]
    fn a_bad_file_or_a_name_used_twice_keeps_nobody_from_using_others() {
        // CT-52
        let dir = tempfile::tempdir().unwrap();
        let config = |name: &str| format!(r#"{{"cniVersion":"1.0.0","name":"{name}","type":"x"}}"#);
        for (file, text) in [
            ("1.conf", config("a")),
            ("2.conf", config("b")),
            ("3.json", config("b")),
            ("4.conflist", "{".to_owned()),
            ("5.txt", config("c")),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let all = catalogue(dir.path()).unwrap();
        assert_eq!(all.networks.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(all.faults.len(), 2);
        assert_eq!(find(dir.path(), "a").unwrap().name, "a");
        let twice = find(dir.path(), "b").unwrap_err();
        assert!(matches!(twice, NetworkError::TwoNetworks { .. }), "{twice}");
        let none = find(dir.path(), "c").unwrap_err().to_string();
        assert!(none.contains("4.conflist"), "{none}");
        // A pipe is no configuration, and is not waited for.
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&dir.path().join("6.conf"), mode).unwrap();
        assert_eq!(catalogue(dir.path()).unwrap().faults.len(), 3);
        // Read anew each time.
        fs::write(dir.path().join("4.conflist"), config("c")).unwrap();
        assert_eq!(find(dir.path(), "c").unwrap().name, "c");
    }
}
