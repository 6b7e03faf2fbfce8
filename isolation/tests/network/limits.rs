//! The limit on what a container sends, measured.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tepui_isolation::network::bandwidth::{self, Rate};
use tepui_isolation::network::cni::Join;
use tepui_isolation::network::{NetworkError, statistics, within};

use crate::host::*;

/// Sends from a container to this host, and returns at how many bytes a second it arrived.
fn send(namespace: &Path, bytes: usize) -> f64 {
    let listener = TcpListener::bind("10.77.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut stream = within(namespace, || TcpStream::connect(address))
                .unwrap()
                .unwrap();
            let block = vec![7; 64 * 1024];
            for _ in 0..bytes / block.len() {
                stream.write_all(&block).unwrap();
            }
        });
        let (mut stream, _) = listener.accept().unwrap();
        let began = Instant::now();
        let mut buffer = vec![0; 256 * 1024];
        let mut total = 0;
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return total as f64 / began.elapsed().as_secs_f64(),
                count => total += count,
            }
        }
    })
}

#[test]
fn what_a_container_sends_is_limited_and_it_cannot_undo_that() {
    // CT-53, CT-82
    on_a_host(Needs::Plugins, |host| {
        host.configure("net", json!([host.bridge("10.77.0")]));
        let (limited, _) = host.attach(1, &[Join::new("net")]);
        let (free, _) = host.attach(2, &[Join::new("net")]);
        let rate = Rate::of(2_000_000);
        assert_eq!(bandwidth::read(Some(&limited), "eth0").unwrap(), None);
        for wanted in [Rate::of(50_000_000), rate] {
            bandwidth::limit(Some(&limited), "eth0", wanted).unwrap();
        }
        let (kept, _) = bandwidth::read(Some(&limited), "eth0").unwrap().unwrap();
        assert_eq!(kept.bytes_per_second, rate.bytes_per_second);
        let off = kept.burst_bytes.abs_diff(rate.burst_bytes);
        assert!(off < 256, "{kept:?}");

        // Root in a user namespace of its own has no say: the network is the host's.
        let path = limited.to_str().unwrap();
        let undo = "exec tc qdisc del dev eth0 root";
        let tried = Command::new("nsenter")
            .args([
                &*format!("--net={path}"),
                "unshare",
                "-Ur",
                "sh",
                "-c",
                undo,
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(
            said.contains("RTNETLINK answers: Operation not permitted"),
            "{said}"
        );

        let bytes = 5_000_000;
        let slow = send(&limited, bytes);
        let fast = send(&free, bytes);
        let wanted = rate.bytes_per_second as f64;
        // A burst comes at once, and headers count too.
        assert!((0.3 * wanted..1.2 * wanted).contains(&slow), "{slow}");
        assert!(fast > 4.0 * wanted, "{fast}");
        let (_, counted) = statistics::egress(Some(&limited), "eth0").unwrap().unwrap();
        assert!(
            counted.bytes > 4_000_000 && counted.overlimits > 10,
            "{counted:?}"
        );

        let links = statistics::read(Some(&limited)).unwrap().links;
        let (sent, received) = (links[0].sent.bytes, links[0].received.bytes);
        assert!(sent > 4_900_000 && received < sent / 2, "{links:?}");

        for _ in 0..2 {
            bandwidth::unlimit(Some(&limited), "eth0").unwrap();
        }
        assert!(send(&limited, bytes) > 4.0 * wanted);
        let none = bandwidth::limit(Some(&limited), "eth9", rate).unwrap_err();
        assert!(matches!(none, NetworkError::NoInterface { .. }), "{none}");
        host.detach(1);
        host.detach(2);
    });
}

#[test]
fn a_plugin_of_the_network_can_keep_the_limit_on_the_hosts_side() {
    // CT-53
    on_a_host(Needs::Plugins, |host| {
        if !succeeds("ip link add ifb-probe type ifb") {
            return skipped("the kernel has no ifb");
        }
        run("ip link del ifb-probe");
        let limiter = json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } });
        host.configure("net", json!([host.bridge("10.77.0"), limiter]));
        let join = Join {
            egress: Some(Rate::of(2_000_000)),
            ..Join::new("net")
        };
        let (namespace, _) = host.attach(1, &[join]);
        assert_eq!(bandwidth::read(Some(&namespace), "eth0").unwrap(), None);
        let speed = send(&namespace, 4_000_000);
        assert!((600_000.0..2_500_000.0).contains(&speed), "{speed}");
        host.detach(1);
    });
}

#[test]
fn connections_are_counted_in_their_states() {
    // CT-82
    on_a_host(Needs::Root, |host| {
        let id = tepui_core::ids::ContainerId::numbered(1);
        let namespace = host.namespaces.make(&id).unwrap();
        let read = || statistics::read(Some(&namespace)).unwrap();
        assert_eq!(statistics::round_trips(Some(&namespace)).unwrap(), None);
        let before = read();
        assert_eq!((before.tcp_active, before.tcp_time_wait), (0, 0));
        assert!(before.links.is_empty());
        let listener = within(&namespace, || TcpListener::bind("127.0.0.1:0"));
        let listener = listener.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let client = within(&namespace, || TcpStream::connect(address))
            .unwrap()
            .unwrap();
        let (server, _) = listener.accept().unwrap();
        // Both ends are here.
        let during = read();
        assert_eq!(during.tcp_active, 2);
        assert_eq!(during.snmp.tcp["PassiveOpens"], 1);
        assert!(during.snmp.ip["InReceives"] >= 3);
        let trips = statistics::round_trips(Some(&namespace)).unwrap().unwrap();
        assert_eq!(trips.connections, 2);
        let likely = Duration::from_micros(1)..Duration::from_secs(2);
        assert!(
            likely.contains(&trips.p99) && trips.p50 <= trips.p99,
            "{trips:?}"
        );
        drop(client);
        drop(server);
        eventually("one end waits", || {
            let after = read();
            (after.tcp_active, after.tcp_time_wait) == (0, 1)
        });
        assert!(statistics::read(None).is_err());
        assert!(statistics::round_trips(None).is_err());
        host.namespaces.remove(&id).unwrap();
    });
}
