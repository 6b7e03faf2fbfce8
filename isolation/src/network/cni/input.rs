//! What a container asks of a network, and what each plugin is told of it.
//!
//! Pure: a configuration and a request become the texts that plugins read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::config::Network;
use crate::network::bandwidth::Rate;
use crate::network::error::{NetworkError, Result};
use crate::network::mapping::PortMapping;

/// The longest name of an interface, in bytes.
const INTERFACE_BYTES: usize = 15;

/// That a container joins a network, and what it asks of it (`NetworkInfo`).
#[derive(Clone, Debug, Default)]
pub struct Join {
    /// The name of the network.
    pub network: String,
    /// The name of the interface in the container; without one it is `eth0` for the first network
    /// that is joined, `eth1` for the second, and so on.
    pub interface: Option<String>,
    /// Ports of the host that lead into the container, checked with [`super::super::check_ports`].
    pub port_mappings: Vec<PortMapping>,
    /// A limit on what the container sends, kept by a plugin of the network.
    pub egress: Option<Rate>,
    /// A limit on what the container receives, kept by a plugin of the network.
    pub ingress: Option<Rate>,
    /// The addresses that it wants, each with the length of its network's prefix if that is known.
    pub addresses: Vec<(IpAddr, Option<u8>)>,
    /// The hardware address that it wants, like `02:00:00:00:00:01`.
    pub hardware_address: Option<String>,
    /// What the framework says about it; plugins get it (CT-52).
    pub labels: Vec<(String, String)>,
    /// The groups of `NetworkInfo`.
    pub groups: Vec<String>,
    /// `CNI_ARGS`: names and values for plugins that know them.
    pub arguments: BTreeMap<String, String>,
}

impl Join {
    /// Joins a network and asks nothing of it.
    pub fn new(network: impl Into<String>) -> Self {
        Self {
            network: network.into(),
            ..Self::default()
        }
    }

    /// Returns the name of the interface of the `n`th network that is joined.
    pub(crate) fn interface(&self, n: usize) -> Result<String> {
        let name = match &self.interface {
            Some(name) => name.clone(),
            None => format!("eth{n}"),
        };
        let is_bad = |c: char| c == '/' || c == ':' || !c.is_ascii_graphic();
        let fits = (1..=INTERFACE_BYTES).contains(&name.len());
        if !fits || name == "." || name == ".." || name == "lo" || name.contains(is_bad) {
            let expected = "1 to 15 characters without slash, colon and space, not lo";
            return Err(NetworkError::invalid(
                "name of an interface",
                name,
                expected,
            ));
        }
        Ok(name)
    }

    /// Returns the value of `CNI_ARGS`.
    pub(crate) fn arguments(&self) -> Result<String> {
        let mut pairs = Vec::new();
        for (name, value) in &self.arguments {
            let is_bad = |c: char| c == ';' || c.is_control();
            let expected = "a name without '=', and neither ';' nor control characters";
            if name.is_empty()
                || name.contains('=')
                || [name, value].iter().any(|t| t.contains(is_bad))
            {
                let pair = format!("{name}={value}");
                return Err(NetworkError::invalid("argument of CNI", pair, expected));
            }
            pairs.push(format!("{name}={value}"));
        }
        Ok(pairs.join(";"))
    }

    /// What it asks of whichever plugins have these capabilities.
    fn asked(&self) -> Vec<(&'static str, Value)> {
        let mut asked = Vec::new();
        if !self.port_mappings.is_empty() {
            let mappings = self.port_mappings.iter().map(|mapping| {
                let mut entry = json!({
                    "hostPort": mapping.host_port,
                    "containerPort": mapping.container_port,
                    "protocol": mapping.protocol,
                });
                if let Some(address) = mapping.host_address {
                    entry["hostIP"] = json!(address);
                }
                entry
            });
            asked.push(("portMappings", mappings.collect()));
        }
        let mut limits = Map::new();
        for (rate, keys) in [
            (self.ingress, ["ingressRate", "ingressBurst"]),
            (self.egress, ["egressRate", "egressBurst"]),
        ] {
            if let Some(rate) = rate {
                let bits = [rate.bytes_per_second, rate.burst_bytes.into()];
                let bits = bits.map(|bytes| json!(bytes.saturating_mul(8)));
                limits.extend(keys.map(str::to_owned).into_iter().zip(bits));
            }
        }
        if !limits.is_empty() {
            asked.push(("bandwidth", Value::Object(limits)));
        }
        if !self.addresses.is_empty() {
            let texts = self.addresses.iter().map(|(address, prefix)| match prefix {
                Some(prefix) => format!("{address}/{prefix}"),
                None => address.to_string(),
            });
            asked.push(("ips", texts.collect()));
        }
        if let Some(address) = &self.hardware_address {
            asked.push(("mac", json!(address)));
        }
        asked
    }

    /// What Mesos' plugins find under `args`, with the names of its JSON.
    fn network_info(&self) -> Value {
        let mut info = json!({ "name": self.network });
        if !self.labels.is_empty() {
            let labels = self.labels.iter();
            let labels = labels.map(|(key, value)| json!({ "key": key, "value": value }));
            info["labels"] = json!({ "labels": labels.collect::<Value>() });
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.addresses.is_empty() {
            let addresses = self.addresses.iter();
            let addresses = addresses.map(|(address, _)| json!({ "ip_address": address }));
            info["ip_addresses"] = addresses.collect();
        }
        if !self.port_mappings.is_empty() {
            let mappings = self.port_mappings.iter().map(|mapping| {
                json!({
                    "host_port": mapping.host_port,
                    "container_port": mapping.container_port,
                    "protocol": mapping.protocol,
                })
            });
            info["port_mappings"] = mappings.collect();
        }
        info
    }
}

/// Makes what each plugin of a network is told, but for the result of the one before it.
///
/// What is asked of a network of which no plugin can do it is an error: it would not be done.
pub(crate) fn plugins(network: &Network, join: &Join) -> Result<Vec<Map<String, Value>>> {
    let asked = join.asked();
    for (capability, _) in &asked {
        if !network.plugins.iter().any(|plugin| can(plugin, capability)) {
            return Err(NetworkError::NoCapability {
                network: network.name.clone(),
                capability,
            });
        }
    }
    let told = network.plugins.iter().map(|plugin| {
        let mut told = plugin.clone();
        // The capabilities are between the operator and us.
        told.remove("capabilities");
        told.insert("name".to_owned(), json!(network.name));
        told.insert("cniVersion".to_owned(), json!(network.version));
        let of_plugin = asked.iter().filter(|(name, _)| can(plugin, name));
        let runtime = told.entry("runtimeConfig").or_insert_with(|| json!({}));
        if let Value::Object(runtime) = runtime {
            runtime.extend(of_plugin.map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        if told["runtimeConfig"] == json!({}) {
            told.remove("runtimeConfig");
        }
        add_args(&mut told, join);
        told
    });
    Ok(told.collect())
}

fn can(plugin: &Map<String, Value>, capability: &str) -> bool {
    let capabilities = plugin.get("capabilities");
    capabilities.and_then(|all| all.get(capability)) == Some(&Value::Bool(true))
}

/// Adds to what the operator has under `args`.
fn add_args(told: &mut Map<String, Value>, join: &Join) {
    // Configurations in which these are no objects were refused.
    let args = told.entry("args").or_insert_with(|| json!({}));
    args["org.apache.mesos"] = json!({ "network_info": join.network_info() });
    if !join.labels.is_empty() {
        let labels = join.labels.iter();
        let labels = labels.map(|(key, value)| json!({ "key": key, "value": value }));
        args["cni"]["labels"] = labels.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::mapping::Protocol;

    fn network() -> Network {
        let plugins = json!([
            { "type": "bridge", "args": { "own": 1 }, "capabilities": { "ips": true } },
            { "type": "portmap", "capabilities": { "portMappings": true, "bandwidth": false } },
        ]);
        Network {
            name: "net".to_owned(),
            version: "1.0.0".to_owned(),
            unchecked: false,
            plugins: serde_json::from_value(plugins).unwrap(),
        }
    }

    #[test]
    fn each_plugin_is_told_what_it_can_do_and_all_get_labels_and_args() {
        // CT-52
        let join = Join {
            port_mappings: vec![PortMapping {
                host_port: 31000,
                container_port: 80,
                protocol: Protocol::Udp,
                host_address: None,
            }],
            addresses: vec![("10.0.0.9".parse().unwrap(), Some(24))],
            labels: vec![("k".to_owned(), "v".to_owned())],
            ..Join::new("net")
        };
        let told = plugins(&network(), &join).unwrap();
        let info = json!({
            "name": "net",
            "labels": { "labels": [{ "key": "k", "value": "v" }] },
            "ip_addresses": [{ "ip_address": "10.0.0.9" }],
            "port_mappings": [{ "host_port": 31000, "container_port": 80, "protocol": "udp" }],
        });
        let args = json!({
            "own": 1,
            "org.apache.mesos": { "network_info": info },
            "cni": { "labels": [{ "key": "k", "value": "v" }] },
        });
        let bridge = json!({
            "type": "bridge", "name": "net", "cniVersion": "1.0.0", "args": args,
            "runtimeConfig": { "ips": ["10.0.0.9/24"] },
        });
        assert_eq!(Value::Object(told[0].clone()), bridge);
        let mapping = json!([{ "hostPort": 31000, "containerPort": 80, "protocol": "udp" }]);
        assert_eq!(told[1]["runtimeConfig"], json!({ "portMappings": mapping }));
        assert!(!told[1].contains_key("capabilities"));
        let plain = plugins(&network(), &Join::new("net")).unwrap();
        assert!(!plain[1].contains_key("runtimeConfig"));
    }

    #[test]
    fn what_no_plugin_can_do_is_refused() {
        // CT-52, CT-53
        let mut join = Join {
            egress: Some(Rate::of(1_000)),
            ..Join::new("net")
        };
        let refused = plugins(&network(), &join).unwrap_err();
        assert!(
            matches!(
                refused,
                NetworkError::NoCapability {
                    capability: "bandwidth",
                    ..
                }
            ),
            "{refused}"
        );
        let bits = json!({ "egressRate": 8_000, "egressBurst": 524_288 });
        assert_eq!(join.asked(), [("bandwidth", bits)]);
        join.egress = None;
        join.hardware_address = Some("02:00:00:00:00:01".to_owned());
        assert!(plugins(&network(), &join).is_err());
    }

    #[test]
    fn names_that_would_break_out_of_their_place_are_refused() {
        let named = |name: &str| Join {
            interface: Some(name.to_owned()),
            ..Join::new("net")
        };
        assert_eq!(Join::new("net").interface(2).unwrap(), "eth2");
        assert_eq!(named("net0").interface(2).unwrap(), "net0");
        for bad in [
            "",
            ".",
            "..",
            "lo",
            "a/b",
            "a b",
            "a:b",
            "a\n",
            "sixteen-letters-",
        ] {
            assert!(named(bad).interface(0).is_err(), "{bad:?}");
        }
        let with = |name: &str, value: &str| Join {
            arguments: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..Join::new("net")
        };
        assert_eq!(with("IP", "a=b").arguments().unwrap(), "IP=a=b");
        for (name, value) in [("", "b"), ("a=", "b"), ("a", "b;c"), ("a", "b\0")] {
            assert!(with(name, value).arguments().is_err(), "{name:?} {value:?}");
        }
    }
}
