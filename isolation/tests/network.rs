//! The networks of containers, with Debian's CNI plugins and the real kernel. Each test is a host
//! of its own.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;
#[path = "network/host.rs"]
mod host;
#[path = "network/limits.rs"]
mod limits;
#[path = "network/trouble.rs"]
mod trouble;
#[path = "network/watch.rs"]
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, TcpListener, UdpSocket};

use serde_json::json;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerEvent, ContainerSpec};
use tepui_core::protocol::container_info::{ContainerInfo, Dns, NetworkInfo};
use tepui_core::protocol::status::Exit;
use tepui_isolation::isolators::{self, Setup};
use tepui_isolation::network::bandwidth::Rate;
use tepui_isolation::network::cni::Join;
use tepui_isolation::network::{
    Namespaces, NetworkError, Placement, PortMapping, Protocol, statistics, within,
};
use tepui_isolation::{Isolator, Mode};

use common::{Agent, config, id, sh, spec};
use host::*;

#[test]
fn a_namespace_has_a_name_until_it_is_removed() {
    // CT-52, CT-15
    on_a_host(Needs::Root, |host| {
        let [one, two, three] = [1, 2, 3].map(ContainerId::numbered);
        let path = host.namespaces.make(&one).unwrap();
        assert_eq!(host.namespaces.find(&one), Some(path.clone()));
        let again = host.namespaces.make(&one).unwrap_err();
        assert!(
            matches!(again, NetworkError::NamespaceExists { .. }),
            "{again}"
        );
        // It is another one than ours, and its loopback interface works.
        let which = || fs::read_link("/proc/thread-self/ns/net").unwrap();
        let inside = within(&path, which).unwrap();
        assert_ne!(inside, which());
        let address = serve(&path, "127.0.0.1:0", "one");
        assert_eq!(within(&path, || ask(address)).unwrap().unwrap(), "one");
        assert!(ask(address).is_err());
        // A nested container without networks is in that of its parent (CT-15).
        let nested = Placement::of(host.namespaces.find(&one).as_deref(), 0);
        let Placement::Parent(parent) = nested else {
            panic!("{nested:?}");
        };
        assert_eq!(within(&parent, which).unwrap(), inside);
        // What a crash leaves: one that nobody knows, and the file of one that was never bound.
        host.namespaces.make(&two).unwrap();
        fs::write(host.namespaces.path(&three), "").unwrap();
        assert_eq!(host.namespaces.find(&three), None);
        let known = BTreeSet::from([one.clone(), three.clone()]);
        // What is no file of ours is told, and keeps nothing from being removed.
        let strange = host.dir.join("namespaces/a-directory");
        fs::create_dir(&strange).unwrap();
        assert!(host.namespaces.recover(&known).is_err());
        assert_eq!(host.namespaces.find(&two), None);
        fs::remove_dir(&strange).unwrap();
        host.namespaces.make(&two).unwrap();
        fs::write(host.namespaces.path(&three), "").unwrap();
        let removed = host.namespaces.recover(&known).unwrap();
        assert_eq!(removed, [two.as_str(), three.as_str()]);
        assert_eq!(within(&path, which).unwrap(), inside);
        for _ in 0..2 {
            host.namespaces.remove(&one).unwrap();
        }
        assert_eq!(host.namespaces.find(&one), None);
        let refused = within(&path, which).unwrap_err();
        assert!(matches!(refused, NetworkError::File { .. }), "{refused}");
    });
}

#[test]
fn two_containers_on_a_bridge_reach_each_other_by_addresses_of_their_own() {
    // CT-52, CT-84, CT-82
    on_a_host(Needs::Plugins, |host| {
        host.configure("net", json!([host.bridge("10.77.0")]));
        let (one, first) = host.attach(1, &[Join::new("net")]);
        let (two, second) = host.attach(2, &[Join::new("net")]);
        let [first, second] = [&first[0], &second[0]];
        assert_eq!((&*first.network, &*first.interface), ("net", "eth0"));
        assert_eq!(first.addresses.len(), 1);
        let (here, there) = (first.addresses[0], second.addresses[0]);
        assert_ne!(here.address, there.address);
        assert_eq!(here.prefix, 24);
        assert_eq!(here.gateway.unwrap().to_string(), "10.77.0.1");
        assert_eq!(first.routes.len(), 1);
        assert!(first.hardware_address.is_some());
        let id = ContainerId::numbered(1);
        assert_eq!(
            host.networks.attached(&id).unwrap(),
            std::slice::from_ref(first)
        );
        host.networks.check(&id).unwrap();

        let address = serve(&two, &format!("{}:0", there.address), "two");
        assert_eq!(within(&one, || ask(address)).unwrap().unwrap(), "two");
        // And it went through the interface of which statistics are told (CT-82).
        let counted = statistics::read(Some(&one)).unwrap();
        let names: Vec<_> = counted.links.iter().map(|link| &*link.name).collect();
        assert_eq!(names, ["eth0"]);
        let link = &counted.links[0];
        assert!(link.sent.packets >= 4 && link.sent.bytes > 200, "{link:?}");
        assert!(
            link.received.packets >= 3 && link.received.bytes > 200,
            "{link:?}"
        );
        assert_eq!((link.sent.errors, link.received.errors), (0, 0));

        let leases = BTreeSet::from([here, there].map(|a| a.address.to_string()));
        assert_eq!(host.leases("net"), leases);
        host.detach(1);
        assert_eq!(
            host.leases("net"),
            BTreeSet::from([there.address.to_string()])
        );
        assert_eq!(host.networks.attached(&id).unwrap(), []);
        assert!(host.networks.check(&id).is_err());
        // What was freed can be had again, by whoever asks for it.
        host.configure("net", {
            let mut bridge = host.bridge("10.77.0");
            bridge["capabilities"] = json!({ "ips": true });
            json!([bridge])
        });
        let wish = Join {
            addresses: vec![(here.address, Some(24))],
            ..Join::new("net")
        };
        let (_, third) = host.attach(3, &[wish]);
        assert_eq!(third[0].addresses[0].address, here.address);
        // Whatever became of its link, it can leave.
        let path = two.to_str().unwrap();
        run(&format!("nsenter --net={path} ip link del eth0"));
        let broken = host.networks.check(&ContainerId::numbered(2)).unwrap_err();
        let is_checked = |command| command == "CHECK";
        assert!(
            matches!(broken, NetworkError::Plugin { command, .. } if is_checked(command)),
            "{broken}"
        );
        host.detach(2);
        host.detach(3);
    });
}

#[test]
fn a_port_of_the_host_leads_into_the_container_while_it_is_attached() {
    // CT-52
    on_a_host(Needs::Plugins, |host| {
        let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
        host.configure("net", json!([host.bridge("10.77.0"), portmap]));
        let join = Join {
            port_mappings: [(31007, 8080, Protocol::Tcp), (31008, 5353, Protocol::Udp)]
                .map(|(host_port, container_port, protocol)| PortMapping {
                    host_port,
                    container_port,
                    protocol,
                    host_address: None,
                })
                .to_vec(),
            ..Join::new("net")
        };
        let (namespace, _) = host.attach(1, &[join]);
        serve(&namespace, "0.0.0.0:8080", "web");
        let outside = "10.77.0.1:31007".parse().unwrap();
        assert_eq!(ask(outside).unwrap(), "web");
        let server = within(&namespace, || UdpSocket::bind("0.0.0.0:5353"));
        let server = server.unwrap().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.send_to(b"hello", "10.77.0.1:31008").unwrap();
        let mut packet = [0; 16];
        let (length, _) = server.recv_from(&mut packet).unwrap();
        assert_eq!(&packet[..length], b"hello");
        host.detach(1);
        assert!(ask(outside).is_err());
        let rules = run("iptables -t nat -S");
        assert!(!rules.contains("3100"), "{rules}");
    });
}

#[test]
fn a_restarted_agent_leaves_networks_with_the_configuration_it_joined_them_with() {
    // CT-52
    on_a_host(Needs::Plugins, |host| {
        let masquerade = {
            let mut bridge = host.bridge("10.77.0");
            bridge["ipMasq"] = json!(true);
            bridge
        };
        host.plugin(
            "tail",
            r#"[ $CNI_COMMAND != ADD ] || sed 's/.*"prevResult"://; s/,"type".*//' $INPUT"#,
        );
        host.plugin("head", "echo '{}'");
        let head = json!({ "type": "head", "mark": 1 });
        let config = host.configure("net", json!([masquerade, { "type": "tail", "mark": 1 }]));
        host.configure("other", json!([head]));
        let joins = [Join::new("net"), Join::new("other")];
        let (_, attached) = host.attach(1, &joins);
        host.attach(2, &joins[..1]);
        assert!(run("iptables -t nat -S").contains("agent-c000001"));
        // Meanwhile the operator has changed one network and removed the other.
        fs::remove_file(config).unwrap();
        host.configure("other", json!([{ "type": "head", "mark": 2 }]));

        let networks = host.networks_anew(PATIENCE);
        let id = ContainerId::numbered(1);
        assert_eq!(networks.attached(&id).unwrap(), attached);
        let again = networks
            .attach(&id, &host.namespaces.path(&id), &joins)
            .unwrap_err();
        assert!(matches!(again, NetworkError::Attached { .. }), "{again}");
        // Of the two containers it knows one.
        let known = BTreeSet::from([id.clone()]);
        let recovered = networks.recover(&known).unwrap();
        assert_eq!(recovered.detached, ["c000002"]);
        assert!(recovered.failed.is_empty(), "{recovered:?}");
        host.namespaces.recover(&known).unwrap();
        assert_eq!(host.leases("net").len(), 1);
        assert!(host.networks.attached(&id).unwrap() == attached);

        fs::remove_file(host.dir.join("calls")).unwrap();
        networks.detach(&id).unwrap();
        // The last network first, each told what it was told when it was joined, and the result.
        assert_eq!(host.calls(), ["DEL head eth1", "DEL tail eth0"]);
        assert_eq!(host.told("DEL", "head")["mark"], 1);
        let address = attached[0].addresses[0].address.to_string();
        let told = host.told("DEL", "tail");
        assert_eq!(
            told["prevResult"]["ips"][0]["address"],
            format!("{address}/24")
        );
        assert!(!run("iptables -t nat -S").contains("agent-c000001"));
        networks.detach(&id).unwrap();
        host.namespaces.remove(&id).unwrap();
    });
}

#[test]
fn plugins_are_told_labels_arguments_and_who_it_is_for() {
    // CT-52
    on_a_host(Needs::Root, |host| {
        host.plugin("note", "env > $INPUT.env\necho '{}'");
        host.configure("net", json!([{ "type": "note" }]));
        let join = Join {
            interface: Some("net7".to_owned()),
            labels: vec![("team".to_owned(), "blue".to_owned())],
            arguments: BTreeMap::from([("IgnoreUnknown".to_owned(), "1".to_owned())]),
            ..Join::new("net")
        };
        let (namespace, _) = host.attach(1, &[join]);
        let info = &host.told("ADD", "note")["args"]["org.apache.mesos"]["network_info"];
        let labels = json!({ "labels": [{ "key": "team", "value": "blue" }] });
        assert_eq!(*info, json!({ "name": "net", "labels": labels }));
        let variables = fs::read_to_string(host.dir.join("calls.ADD.note.env")).unwrap();
        let variables: BTreeSet<_> = variables.lines().collect();
        let dirs = format!("CNI_PATH={}:{PLUGINS}", host.dir.join("plugins").display());
        let netns = format!("CNI_NETNS={}", namespace.display());
        for line in [
            "CNI_COMMAND=ADD",
            "CNI_CONTAINERID=agent-c000001",
            "CNI_IFNAME=net7",
            "CNI_ARGS=IgnoreUnknown=1",
            &dirs,
            &netns,
        ] {
            assert!(variables.contains(line), "{line}: {variables:?}");
        }
        // Nothing else of the agent's environment.
        assert!(!variables.iter().any(|line| line.starts_with("CARGO")));
        // Without a namespace, as after a restart of the machine, plugins are told of none.
        host.namespaces.remove(&ContainerId::numbered(1)).unwrap();
        host.networks.detach(&ContainerId::numbered(1)).unwrap();
        let variables = fs::read_to_string(host.dir.join("calls.DEL.note.env")).unwrap();
        assert!(variables.contains("CNI_COMMAND=DEL"));
        assert!(!variables.contains("CNI_NETNS"), "{variables}");
    });
}

#[test]
fn a_nested_container_can_join_networks_that_its_parent_is_not_in() {
    // CT-15, CT-52
    on_a_host(Needs::Plugins, |host| {
        host.configure("net", json!([host.bridge("10.77.0")]));
        let (parent, _) = host.attach(1, &[Join::new("net")]);
        assert_eq!(Placement::of(Some(&parent), 1), Placement::Own);
        let (nested, attached) = host.attach(2, &[Join::new("net")]);
        let address = attached[0].addresses[0].address;
        let bind = || TcpListener::bind((address, 0)).is_ok();
        assert!(within(&nested, bind).unwrap());
        assert!(!within(&parent, bind).unwrap());
        host.detach(2);
        host.detach(1);
    });
}

// CT-52, CT-64, CT-84: what isolators make of it
#[test]
fn a_task_joins_a_network_and_leaves_nothing_of_it() {
    if !can_contain() {
        return;
    }
    on_a_host(Needs::Plugins, |host| {
        host.configure("net", json!([host.bridge("10.78.0")]));
        let setup = Setup {
            groups: isolators::Members::open(host.dir.join("groups")).unwrap(),
            namespaces: Namespaces::open(host.dir.join("namespaces")).unwrap(),
            networks: host.networks_anew(PATIENCE),
            files: host.dir.join("names"),
            dns: None,
            egress: Some(Rate::of(1_000_000)),
        };
        let isolators: Vec<Box<dyn Isolator>> =
            vec![Box::new(isolators::Networks::new(Some(setup)))];
        let dir = host.dir.join("agent");
        fs::create_dir(&dir).unwrap();
        let agent = Agent::isolated(config(&dir, Mode::Container), isolators);
        let asked = ContainerInfo {
            networks: vec![NetworkInfo {
                name: "net".to_owned(),
                ..NetworkInfo::default()
            }],
            hostname: Some("web-1".to_owned()),
            dns: Some(Dns {
                nameservers: vec!["192.0.2.1".to_owned()],
                search: vec!["a.example".to_owned()],
                options: vec![],
            }),
            ..ContainerInfo::default()
        };
        let script = "until [ -e go ]; do sleep 0.01; done; \
                      hostname; cat /etc/hostname; grep -v '^#' /etc/resolv.conf; \
                      ip -o -4 address show dev eth0 | awk '{ print $4 }'; \
                      grep web-1 /etc/hosts | awk '{ print $1 }'; \
                      tc qdisc show dev eth0 | grep -o 'rate [^ ]*'";
        let spec = ContainerSpec {
            container: Some(Box::new(asked.clone())),
            ..spec(&id(1), sh(script))
        };
        agent.launch_spec(&id(1), spec.clone());
        // Its address is told when it runs, and again to whoever asks about it.
        let started = agent.next();
        let ContainerEvent::Started { addresses, .. } = &started else {
            panic!("not started: {started:?}");
        };
        let own: IpAddr = "10.78.0.2".parse().unwrap();
        assert_eq!(*addresses, [own]);
        assert_eq!(agent.recover(&[id(1)]), [started]);
        fs::write(dir.join("sandboxes/c000001/go"), "").unwrap();
        assert_eq!(
            agent.exited().0,
            Exit::Code(0),
            "{}",
            agent.file(&id(1), "stderr")
        );
        let out = agent.file(&id(1), "stdout");
        let expected = "web-1\nweb-1\nsearch a.example\nnameserver 192.0.2.1\n\
             10.78.0.2/24\n10.78.0.2\nrate 8Mbit\n";
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(lines(&out), lines(expected), "{out}");
        // At the end, before it is told, all of it is free again.
        assert_eq!(fs::read_dir(host.dir.join("names")).unwrap().count(), 0);
        assert_eq!(host.namespaces.find(&id(1)), None);
        // One that there is not is said.
        let mut other = spec;
        other.container.as_mut().unwrap().networks[0].name = "none".to_owned();
        agent.launch_spec(&id(2), other);
        let said = agent.failed();
        assert!(
            said.starts_with("networks: ") && said.contains("none"),
            "{said}"
        );
        agent.shutdown();
    });
}

fn can_contain() -> bool {
    let detected = Mode::detect();
    if detected.mode != Mode::Container {
        skipped(&detected.reason);
    }
    detected.mode == Mode::Container
}
