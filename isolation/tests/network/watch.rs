//! The watch over what containers listen on.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tepui_core::ids::ContainerId;
use tepui_isolation::network::ports::{
    Enforcement, Holder, Listeners, Protocols, Rule, Scope, Verdict, ephemeral_ports,
};
use tepui_isolation::network::{Ports, Protocol, within};

use crate::host::*;

fn ports(found: &[tepui_isolation::network::ports::Listener]) -> Vec<u16> {
    found
        .iter()
        .map(|listener| listener.address.port())
        .collect()
}

#[test]
fn all_that_listens_in_a_namespace_is_its_containers() {
    // CT-54
    on_a_host(Needs::Root, |host| {
        let id = ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        let bound = within(&namespace, || {
            let tcp = ["0.0.0.0:31000", "[::1]:8080"].map(|a| TcpListener::bind(a).unwrap());
            let udp = UdpSocket::bind("127.0.0.1:53").unwrap();
            // A client of UDP looks like a server, but for its port.
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            assert!(
                ephemeral_ports()
                    .unwrap()
                    .contains(&client.local_addr().unwrap().port())
            );
            (tcp, udp, client)
        })
        .unwrap();
        // On this host, but not in the container.
        let _other = TcpListener::bind("0.0.0.0:9999").unwrap();
        let all = Listeners::of_namespace(&namespace).unwrap();
        let found = all.held_by(&Holder::Everybody).unwrap();
        let client = bound.2.local_addr().unwrap().port();
        assert_eq!(
            ports(&found).into_iter().collect::<BTreeSet<_>>(),
            BTreeSet::from([31000, 8080, 53, client])
        );
        assert!(
            found
                .iter()
                .any(|found| found.address == "[::1]:8080".parse().unwrap())
        );

        let own: Ports = std::iter::once(31000..=31009).collect();
        let rule = Rule {
            enforcement: Enforcement::End,
            ..Rule::default()
        };
        let Verdict::Wrong {
            ports, enforcement, ..
        } = rule.judge(&found, &own)
        else {
            panic!("nothing is wrong with {found:?}");
        };
        assert_eq!(ports, BTreeSet::from([(8080, Protocol::Tcp)]));
        assert_eq!(enforcement, Enforcement::End);
        let rule = Rule {
            protocols: Protocols::TcpAndUdp {
                ephemeral: ephemeral_ports().unwrap(),
            },
            scope: Scope::Only(std::iter::once(1..=1023).collect()),
            ..rule
        };
        let Verdict::Wrong { ports, .. } = rule.judge(&found, &own) else {
            panic!("nothing is wrong with {found:?}");
        };
        assert_eq!(ports, BTreeSet::from([(53, Protocol::Udp)]));
        drop(bound);
        let all = Listeners::of_namespace(&namespace).unwrap();
        assert_eq!(all, Listeners::default());
        host.namespaces.remove(&id).unwrap();
    });
}

/// A process that listens when it is told to: only for the next test.
#[test]
#[ignore = "is run by another test"]
fn the_task_that_listens() {
    if std::env::var_os("TEPUI_TEST_LISTEN").is_none() {
        return;
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    writeln!(
        std::io::stderr(),
        "{}",
        listener.local_addr().unwrap().port()
    )
    .unwrap();
    // Until it is killed, or the test is gone.
    std::io::stdin().read_line(&mut line).unwrap();
}

struct Task(Child);

impl Task {
    fn start() -> Self {
        let mut task = Command::new("/proc/self/exe");
        task.args(["--exact", "watch::the_task_that_listens", "--ignored"]);
        task.env("TEPUI_TEST_LISTEN", "1").stdin(Stdio::piped());
        Self(
            task.stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    fn listen(&mut self) -> u16 {
        self.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut lines = BufReader::new(self.0.stderr.take().unwrap()).lines();
        let numbers = lines.by_ref().map_while(Result::ok);
        let mut numbers = numbers.filter_map(|line| line.parse().ok());
        numbers.next().unwrap()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn on_the_hosts_network_sockets_are_told_by_the_processes_that_hold_them() {
    // CT-54
    on_a_host(Needs::Root, |_| {
        let [mut one, mut two] = [Task::start(), Task::start()];
        let [first, second] = [one.listen(), two.listen()];
        let all = Listeners::here().unwrap();
        let held = |pids: &[u32]| ports(&all.held_by(&Holder::Processes(pids.to_vec())).unwrap());
        assert_eq!(held(&[one.0.id()]), [first]);
        assert_eq!(held(&[two.0.id()]), [second]);
        assert_eq!(held(&[]), [0; 0]);
        // A process that is gone holds nothing.
        let gone = one.0.id();
        drop(one);
        assert_eq!(held(&[gone, two.0.id()]), [second]);
        let found = all.held_by(&Holder::Processes(vec![two.0.id()])).unwrap();
        let verdict = Rule::default().judge(&found, &Ports::default());
        let Verdict::Wrong { message, .. } = verdict else {
            panic!("nothing is wrong with {found:?}");
        };
        assert!(message.ends_with(&format!(" {second}/tcp")), "{message}");
        let own: Ports = std::iter::once(second..=second).collect();
        assert_eq!(Rule::default().judge(&found, &own), Verdict::Right);
    });
}

/// A control group of the unified hierarchy that is removed again.
struct Group(std::path::PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let tops = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let top = tops
            .into_iter()
            .find(|top| top.join("cgroup.controllers").exists())?;
        let dir = top.join(format!("tepui-test-ports-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        Some(Self(dir))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel may not have let go of a process that has just been reaped.
        eventually("the group is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn on_the_hosts_network_sockets_are_told_by_control_groups_where_there_are_unified_ones() {
    // CT-54
    on_a_host(Needs::Root, |_| {
        let Some(group) = Group::new() else {
            return skipped("no unified control groups of our own");
        };
        let [mut inside, mut outside] = [Task::start(), Task::start()];
        fs::write(group.0.join("cgroup.procs"), inside.0.id().to_string()).unwrap();
        let [own, _] = [inside.listen(), outside.listen()];
        let all = Listeners::here().unwrap();
        let id = fs::metadata(&group.0).unwrap().ino();
        let found = all.held_by(&Holder::Cgroups(BTreeSet::from([id]))).unwrap();
        assert_eq!(ports(&found), [own]);
        assert_eq!(found[0].cgroup, Some(id));
        drop((inside, outside));
    });
}
