//! Plugins that fail, hang, talk too much or outlive their agent.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tepui_core::ids::ContainerId;
use tepui_isolation::network::cni::Join;
use tepui_isolation::network::{NetworkError, PluginFailure, within};

use crate::host::*;

const FAIL: &str = r#"[ $CNI_COMMAND = DEL ] && exit 0
    echo '{"cniVersion": "1.0.0", "code": 107, "msg": "no luck", "details": "at all"}'
    exit 1"#;

fn failure_of(error: NetworkError) -> (&'static str, String, PluginFailure) {
    let NetworkError::Plugin {
        command,
        plugin,
        failure,
        ..
    } = error
    else {
        panic!("{error}");
    };
    (command, plugin, failure)
}

fn numbers_in(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path).unwrap();
    text.split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect()
}

fn links_in(namespace: &Path) -> usize {
    let devices = within(namespace, || {
        fs::read_to_string("/proc/thread-self/net/dev")
    });
    devices.unwrap().unwrap().lines().skip(2).count()
}

#[test]
fn what_was_done_before_a_plugin_failed_is_undone() {
    // CT-52
    on_a_host(Needs::Plugins, |host| {
        host.plugin("fail", FAIL);
        host.plugin("never", "echo '{}'");
        let (fail, never) = (json!({ "type": "fail" }), json!({ "type": "never" }));
        host.configure("good", json!([host.bridge("10.77.0")]));
        host.configure("bad", json!([host.bridge("10.78.0"), fail, never.clone()]));
        let id = ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        host.configure("later", json!([never]));
        let joins = ["good", "bad", "later"].map(Join::new);
        let error = host.networks.attach(&id, &namespace, &joins).unwrap_err();
        let text = error.to_string();
        let (command, plugin, failure) = failure_of(error);
        assert_eq!((command, &*plugin), ("ADD", "fail"), "{text}");
        assert!(
            text.contains(r#"network "bad": code 107: no luck (at all)"#),
            "{text}"
        );
        assert!(
            matches!(failure, PluginFailure::Said { code: 107, .. }),
            "{text}"
        );
        // The one that failed is undone too, the one after it never began.
        assert_eq!(host.calls(), ["ADD fail eth1", "DEL fail eth1"]);
        // Only the loopback interface is left in it, and no lease.
        assert_eq!(links_in(&namespace), 1);
        assert_eq!(host.leases("good"), BTreeSet::new());
        assert_eq!(host.leases("bad"), BTreeSet::new());
        // It can be tried again at once.
        host.networks.attach(&id, &namespace, &joins[..1]).unwrap();
        host.detach(1);
    });
}

#[test]
fn a_plugin_that_cannot_be_executed_keeps_nothing_from_being_undone() {
    // CT-52
    on_a_host(Needs::Root, |host| {
        host.plugin("note", "echo '{}'");
        host.plugin("broken", "");
        fs::write(host.dir.join("plugins/broken"), "#!/no/such/shell\n").unwrap();
        host.configure("net", json!([{ "type": "note" }, { "type": "broken" }]));
        let id = ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        let error = host.networks.attach(&id, &namespace, &[Join::new("net")]);
        let (command, plugin, failure) = failure_of(error.unwrap_err());
        assert_eq!((command, &*plugin), ("ADD", "broken"));
        assert!(matches!(failure, PluginFailure::Exec(_)), "{failure}");
        assert_eq!(host.calls(), ["ADD note eth0", "DEL note eth0"]);
        host.namespaces.remove(&id).unwrap();
    });
}

#[test]
fn plugins_are_asked_only_what_their_version_knows() {
    // CT-52
    on_a_host(Needs::Root, |host| {
        host.plugin("note", "echo '{\"routes\": []}'");
        let id = ContainerId::numbered(1);
        for (version, off, asked) in [
            ("0.3.1", false, false),
            ("0.4.0", false, true),
            ("1.0.0", false, true),
            ("1.0.0", true, false),
        ] {
            let plugins = json!([{ "type": "note" }]);
            let config = json!({
                "cniVersion": version, "name": "net", "disableCheck": off, "plugins": plugins,
            });
            fs::write(host.dir.join("config/net.conflist"), config.to_string()).unwrap();
            host.attach(1, &[Join::new("net")]);
            assert_eq!(host.told("ADD", "note")["cniVersion"], version);
            host.networks.check(&id).unwrap();
            host.detach(1);
            let calls = host.calls().join(", ");
            assert_eq!(calls.contains("CHECK"), asked, "{version}: {calls}");
            let told = host.told("DEL", "note").get("prevResult").cloned();
            let result = (version != "0.3.1").then(|| json!({ "routes": [] }));
            assert_eq!(told, result, "{version}");
            fs::remove_file(host.dir.join("calls")).unwrap();
        }
    });
}

#[test]
fn what_cannot_be_undone_stays_on_record_until_it_can() {
    // CT-52
    on_a_host(Needs::Plugins, |host| {
        host.plugin("fail", &FAIL.replace("&& exit 0", "&& exit 3"));
        host.configure("bad", json!([host.bridge("10.78.0"), { "type": "fail" }]));
        let id = ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        let error = host
            .networks
            .attach(&id, &namespace, &[Join::new("bad")])
            .unwrap_err();
        let NetworkError::NotUndone { failure, undo } = error else {
            panic!("{error}");
        };
        assert_eq!(failure_of(*failure).0, "ADD");
        let (command, _, undo) = failure_of(*undo);
        assert_eq!(command, "DEL");
        assert!(undo.to_string().contains("exited with code 3"), "{undo}");
        // An address is not freed before what stands after it in the chain is gone.
        assert_eq!(host.leases("bad").len(), 1);
        assert_eq!(host.networks.attached(&id).unwrap(), []);
        // Known or not: it has not joined all of its networks.
        let known = BTreeSet::from([id.clone()]);
        let networks = host.networks_anew(PATIENCE);
        let recovered = networks.recover(&known).unwrap();
        assert_eq!(recovered.failed.len(), 1, "{recovered:?}");
        host.plugin("fail", FAIL);
        let recovered = networks.recover(&known).unwrap();
        assert_eq!(recovered.detached, ["c000001"]);
        assert_eq!(links_in(&namespace), 1);
        host.namespaces.remove(&id).unwrap();
    });
}

#[test]
fn a_container_that_has_begun_to_leave_has_no_networks_any_more() {
    // CT-52
    on_a_host(Needs::Root, |host| {
        host.plugin("first", "echo '{}'");
        host.plugin("last", "echo '{}'");
        host.configure("net", json!([{ "type": "first" }, { "type": "last" }]));
        host.attach(1, &[Join::new("net")]);
        let id = ContainerId::numbered(1);
        assert_eq!(host.networks.attached(&id).unwrap().len(), 1);
        host.plugin("first", "exit 1");
        host.networks.detach(&id).unwrap_err();
        // Known or not, and whoever asks: it is no longer in the network.
        let networks = host.networks_anew(PATIENCE);
        assert_eq!(networks.attached(&id).unwrap(), []);
        assert!(networks.check(&id).is_err());
        host.plugin("first", "echo '{}'");
        let recovered = networks.recover(&BTreeSet::from([id.clone()])).unwrap();
        assert_eq!(recovered.detached, ["c000001"]);
        // What may have been half done is done again, from the start.
        let ends: Vec<_> = host.calls().split_off(2);
        let once = ["DEL last eth0", "DEL first eth0"];
        assert_eq!(ends, [once, once].concat());
        host.namespaces.remove(&id).unwrap();
    });
}

#[test]
fn containers_come_and_go_at_the_same_time() {
    // CT-52
    on_a_host(Needs::Plugins, |host| {
        host.configure("net", json!([host.bridge("10.77.0")]));
        let addresses = Mutex::new(BTreeSet::new());
        thread::scope(|scope| {
            for n in 1..=4 {
                let addresses = &addresses;
                scope.spawn(move || {
                    let (_, attached) = host.attach(n, &[Join::new("net")]);
                    addresses
                        .lock()
                        .unwrap()
                        .insert(attached[0].addresses[0].address);
                });
            }
        });
        assert_eq!(addresses.lock().unwrap().len(), 4);
        // Twice each: calls for one container wait for each other.
        thread::scope(|scope| {
            for n in (1..=4).chain(1..=4) {
                scope.spawn(move || host.networks.detach(&ContainerId::numbered(n)).unwrap());
            }
        });
        for n in 1..=4 {
            host.detach(n);
        }
    });
}

#[test]
fn a_plugin_that_hangs_is_killed_with_all_it_started() {
    // CT-52
    on_a_host(Needs::Root, |host| {
        let pids = host.dir.join("pids");
        let script = format!(
            "[ $CNI_COMMAND = DEL ] && exit 0\n\
             sleep 1000 &\necho $$ $! > {}\necho too bad >&2\nwait",
            pids.display()
        );
        host.plugin("hang", &script);
        host.configure("net", json!([{ "type": "hang" }]));
        let id = ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        let networks = host.networks_anew(Duration::from_secs(4));
        let began = Instant::now();
        let error = networks
            .attach(&id, &namespace, &[Join::new("net")])
            .unwrap_err();
        let took = began.elapsed();
        let (_, _, failure) = failure_of(error);
        let PluginFailure::Timeout { stderr, .. } = &failure else {
            panic!("{failure}");
        };
        assert_eq!(stderr, "too bad\n");
        assert!((4..25).contains(&took.as_secs()), "{took:?}");
        let started = Orphans(numbers_in(&pids));
        for &pid in &started.0 {
            eventually("it is gone", || !is_alive(pid));
        }
        assert_eq!(host.calls(), ["ADD hang eth0", "DEL hang eth0"]);
        host.namespaces.remove(&id).unwrap();
    });
}

#[test]
fn a_container_that_is_being_attached_can_be_ended_at_once() {
    // CT-03, CT-52
    on_a_host(Needs::Root, |host| {
        let pids = host.dir.join("pids");
        let script = format!(
            "[ $CNI_COMMAND = DEL ] && exit 0\n\
             sleep 1000 &\necho $$ $! > {0}.new\nmv {0}.new {0}\nwait",
            pids.display()
        );
        host.plugin("hang", &script);
        host.configure("net", json!([{ "type": "hang" }]));
        let id = ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        let error = thread::scope(|scope| {
            let attach = || host.networks.attach(&id, &namespace, &[Join::new("net")]);
            let attaching = scope.spawn(attach);
            eventually("the plugin runs", || pids.exists());
            let began = Instant::now();
            host.networks.detach(&id).unwrap();
            assert!(began.elapsed() < PATIENCE / 2);
            attaching.join().unwrap().unwrap_err()
        });
        let (_, _, failure) = failure_of(error);
        assert!(matches!(failure, PluginFailure::Cancelled), "{failure}");
        let started = Orphans(numbers_in(&pids));
        for &pid in &started.0 {
            eventually("it is gone", || !is_alive(pid));
        }
        assert_eq!(host.calls(), ["ADD hang eth0", "DEL hang eth0"]);
        host.namespaces.remove(&id).unwrap();
    });
}

#[test]
fn what_a_plugin_leaves_behind_is_killed_and_not_waited_for() {
    on_a_host(Needs::Root, |host| {
        let pid = host.dir.join("pid");
        let script = format!("sleep 1000 &\necho $! > {}\necho '{{}}'", pid.display());
        host.plugin("daemon", &script);
        host.configure("net", json!([{ "type": "daemon" }]));
        // Its child has the pipes open, so that they do not end with the plugin.
        let began = Instant::now();
        host.attach(1, &[Join::new("net")]);
        assert!(began.elapsed() < PATIENCE / 2);
        let started = Orphans(numbers_in(&pid));
        eventually("it is gone", || !is_alive(started.0[0]));
        host.detach(1);
    });
}

#[test]
fn results_that_are_none_fail_and_are_undone() {
    on_a_host(Needs::Root, |host| {
        let id = ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        host.configure("net", json!([{ "type": "odd" }]));
        for (script, problem) in [
            (":", "is no JSON"),
            ("echo '{\"ips\": 7}'", "\"ips\""),
            ("yes | head -c 3000000", "is longer than"),
            ("yes x | head -c 300000 >&2; exit 4", "exited with code 4"),
            ("kill -9 $$", "was killed by signal 9"),
            (
                "echo '{\"msg\": \"no code\"}'; exit 1",
                "exited with code 1",
            ),
        ] {
            host.plugin(
                "odd",
                &format!("[ $CNI_COMMAND = DEL ] && exit 0\n{script}"),
            );
            let error = host.networks.attach(&id, &namespace, &[Join::new("net")]);
            let text = error.unwrap_err().to_string();
            assert!(text.contains(problem), "{script}: {text}");
            assert!(text.len() < 6_000, "{}", text.len());
            assert_eq!(host.calls().last().unwrap(), "DEL odd eth0");
        }
        host.namespaces.remove(&id).unwrap();
    });
}

#[test]
fn nothing_is_begun_that_cannot_be_done() {
    // CT-52
    on_a_host(Needs::Root, |host| {
        host.plugin("note", "echo '{}'");
        host.configure("net", json!([{ "type": "note" }]));
        host.configure("half", json!([{ "type": "note" }, { "type": "missing" }]));
        let id = ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        let tried = |joins: &[Join]| host.networks.attach(&id, &namespace, joins).unwrap_err();
        let missing = tried(&[Join::new("net"), Join::new("half")]);
        assert!(
            matches!(missing, NetworkError::NoPlugin { .. }),
            "{missing}"
        );
        let unknown = tried(&[Join::new("net"), Join::new("nowhere")]);
        assert!(
            matches!(unknown, NetworkError::NoNetwork { .. }),
            "{unknown}"
        );
        let twice = tried(&[Join::new("net"), Join::new("net")]);
        assert!(matches!(twice, NetworkError::Invalid { .. }), "{twice}");
        assert!(matches!(tried(&[]), NetworkError::Invalid { .. }));
        let nowhere = host.networks.attach(&id, &host.dir, &[Join::new("net")]);
        assert!(matches!(nowhere.unwrap_err(), NetworkError::Invalid { .. }));
        assert_eq!(host.calls(), [""; 0]);
        host.namespaces.remove(&id).unwrap();
    });
}

/// Processes that nobody else would end, should the test fail.
struct Orphans(Vec<u32>);

impl Drop for Orphans {
    fn drop(&mut self) {
        for &pid in self.0.iter().filter(|&&pid| is_alive(pid)) {
            let pid = Pid::from_raw(pid.try_into().unwrap());
            // It may have ended just now.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// An agent that is killed while a plugin runs: only for the next test.
#[test]
#[ignore = "is run by another test"]
fn the_agent_that_is_killed() {
    let Some(dir) = std::env::var_os("TEPUI_TEST_DIR").map(PathBuf::from) else {
        return;
    };
    let config = tepui_isolation::network::cni::Config {
        plugin_dirs: vec![dir.join("plugins")],
        ..tepui_isolation::network::cni::Config::new(dir.join("config"), dir.join("state"))
    };
    let networks = tepui_isolation::network::cni::Networks::open(config).unwrap();
    let id = ContainerId::numbered(1);
    let attached = networks.attach(&id, &dir.join("namespaces/c000001"), &[Join::new("net")]);
    panic!("it was to be killed before: {attached:?}");
}

#[test]
fn a_plugin_that_outlives_its_agent_is_ended_before_its_work_is_undone() {
    // CT-52
    on_a_host(Needs::Root, |host| {
        let pids = host.dir.join("pids");
        let script = format!(
            "[ $CNI_COMMAND = DEL ] && exit 0\n\
             sleep 1000 &\necho $$ $! > {0}.new\nmv {0}.new {0}\nwait",
            pids.display()
        );
        host.plugin("hang", &script);
        host.configure("net", json!([{ "type": "hang" }]));
        let id = ContainerId::numbered(1);
        host.namespaces.make(&id).unwrap();
        let mut agent = Command::new("/proc/self/exe");
        agent.args(["--exact", "trouble::the_agent_that_is_killed", "--ignored"]);
        agent.env("TEPUI_TEST_DIR", &host.dir);
        agent.stdout(Stdio::null()).stderr(Stdio::null());
        let mut agent = agent.process_group(0).spawn().unwrap();
        eventually("the plugin runs", || pids.exists());
        agent.kill().unwrap();
        agent.wait().unwrap();
        let orphans = Orphans(numbers_in(&pids));
        let pids = &orphans.0;
        assert!(pids.iter().all(|&pid| is_alive(pid)), "{pids:?}");

        let known = BTreeSet::from([id.clone()]);
        let recovered = host.networks.recover(&known).unwrap();
        assert!(recovered.failed.is_empty(), "{recovered:?}");
        assert_eq!(recovered.detached, ["c000001"]);
        for &pid in pids {
            eventually("it is gone", || !is_alive(pid));
        }
        assert_eq!(host.calls(), ["ADD hang eth0", "DEL hang eth0"]);
        host.namespaces.remove(&id).unwrap();
    });
}
