//! A host of a test's own: a thread in new network and mount namespaces, so that no bridge, rule,
//! sysctl or mount of the machine is touched, and nothing outlives a test that fails.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tepui_core::ids::ContainerId;
use tepui_isolation::network::cni::{Attached, Config, Join, Networks};
use tepui_isolation::network::{Namespaces, within};

pub(crate) use crate::common::{PATIENCE, eventually, is_alive, skipped};

/// Where Debian has the plugins.
pub(crate) const PLUGINS: &str = "/usr/lib/cni";

/// What a test works with.
pub(crate) struct Host {
    pub(crate) dir: PathBuf,
    pub(crate) namespaces: Namespaces,
    pub(crate) networks: Networks,
}

/// What a test needs beside root.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Needs {
    /// Nothing.
    Root,
    /// Debian's plugins and iptables.
    Plugins,
}

/// Runs a test on a host of its own, and looks that nothing is left then.
pub(crate) fn on_a_host(needs: Needs, test: impl FnOnce(&Host) + Send) {
    let why = if !nix::unistd::geteuid().is_root() {
        "not root"
    } else if needs == Needs::Plugins && !Path::new(PLUGINS).join("bridge").exists() {
        "package containernetworking-plugins is not installed"
    } else if needs == Needs::Plugins && !succeeds("iptables --version") {
        "package iptables is not installed"
    } else if needs == Needs::Plugins && !succeeds("ip -V") {
        "package iproute2 is not installed"
    } else {
        ""
    };
    if !why.is_empty() {
        return skipped(why);
    }
    // Removed when the thread, and with it the mounts, is gone.
    let dir = tempfile::tempdir().unwrap();
    let work = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).unwrap();
        // Where iptables has its lock.
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let host = Host::new(dir.path());
        if needs == Needs::Plugins {
            run("ip link set lo up");
        }
        test(&host);
        host.expect_nothing_left();
    };
    thread::scope(|scope| {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let thread = thread::Builder::new().name(test);
        let thread = thread.spawn_scoped(scope, work).unwrap();
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Host {
    fn new(dir: &Path) -> Self {
        for name in ["config", "plugins"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        Self {
            dir: dir.to_owned(),
            namespaces: Namespaces::open(dir.join("namespaces")).unwrap(),
            networks: Self::networks_in(dir, PATIENCE),
        }
    }

    fn networks_in(dir: &Path, timeout: Duration) -> Networks {
        Networks::open(Config {
            plugin_dirs: vec![dir.join("plugins"), PLUGINS.into()],
            container_prefix: "agent-".to_owned(),
            timeout,
            ..Config::new(dir.join("config"), dir.join("state"))
        })
        .unwrap()
    }

    /// As after a restart of the agent.
    pub(crate) fn networks_anew(&self, timeout: Duration) -> Networks {
        Self::networks_in(&self.dir, timeout)
    }

    /// Writes the configuration of a network.
    pub(crate) fn configure(&self, name: &str, plugins: Value) -> PathBuf {
        let path = self.dir.join(format!("config/{name}.conflist"));
        let config = json!({ "cniVersion": "1.0.0", "name": name, "plugins": plugins });
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// What is to be said of a bridge: its addresses begin with `prefix`.
    pub(crate) fn bridge(&self, prefix: &str) -> Value {
        json!({
            "type": "bridge", "bridge": format!("br-{prefix}"), "isGateway": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": format!("{prefix}.0/24") }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
                "dataDir": self.dir.join("leases"),
            },
        })
    }

    /// Makes a plugin of a few lines; it finds its input in the file `$INPUT`, and is called
    /// `$CNI_COMMAND`. What it is called for is noted.
    pub(crate) fn plugin(&self, name: &str, script: &str) {
        let path = self.dir.join("plugins").join(name);
        let calls = self.dir.join("calls");
        let text = format!(
            "#!/bin/sh\nINPUT={calls}.$CNI_COMMAND.{name}\ncat > $INPUT\n\
             echo $CNI_COMMAND {name} $CNI_IFNAME >> {calls}\n{script}\n",
            calls = calls.display(),
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What plugins made by [`Self::plugin`] were called for.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// What such a plugin was told.
    pub(crate) fn told(&self, command: &str, plugin: &str) -> Value {
        let path = self.dir.join(format!("calls.{command}.{plugin}"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Makes a container with networks.
    pub(crate) fn attach(&self, n: u64, joins: &[Join]) -> (PathBuf, Vec<Attached>) {
        let id = ContainerId::numbered(n);
        let namespace = self.namespaces.make(&id).unwrap();
        let attached = self.networks.attach(&id, &namespace, joins).unwrap();
        (namespace, attached)
    }

    /// Ends a container made so.
    pub(crate) fn detach(&self, n: u64) {
        let id = ContainerId::numbered(n);
        self.networks.detach(&id).unwrap();
        self.namespaces.remove(&id).unwrap();
    }

    /// The addresses that are given out.
    pub(crate) fn leases(&self, network: &str) -> BTreeSet<String> {
        let dir = self.dir.join("leases").join(network);
        let Ok(entries) = fs::read_dir(dir) else {
            return BTreeSet::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.parse::<IpAddr>().is_ok())
            .collect()
    }

    fn expect_nothing_left(&self) {
        for name in ["namespaces", "state"] {
            let left: Vec<_> = fs::read_dir(self.dir.join(name)).unwrap().collect();
            assert!(left.is_empty(), "{name}: {left:?}");
        }
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let dir = self.dir.to_str().unwrap();
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(dir)).collect();
        assert!(left.is_empty(), "{left:?}");
        if let Ok(networks) = fs::read_dir(self.dir.join("leases")) {
            for network in networks {
                let name = network.unwrap().file_name().into_string().unwrap();
                assert_eq!(self.leases(&name), BTreeSet::new());
            }
        }
        let links = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let names = links.lines().skip(2).map(|line| {
            let (name, _) = line.split_once(':').unwrap();
            name.trim()
        });
        let left: Vec<_> = names
            .filter(|name| *name != "lo" && !name.starts_with("br-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(crate) fn succeeds(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Runs a command on this host, and returns what it prints.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let mut process = Command::new(words.next().unwrap());
    let output = process.args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Listens in a namespace; what is answered is the name.
pub(crate) fn serve(namespace: &Path, address: &str, name: &'static str) -> SocketAddr {
    let listener = within(namespace, || TcpListener::bind(address))
        .unwrap()
        .unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test's process; the listener keeps the namespace alive, but nothing of it.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            if stream.write_all(name.as_bytes()).is_err() {
                continue;
            }
        }
    });
    address
}

/// Connects from here, and reads who answers.
pub(crate) fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
