//! What a network gave to a container: addresses, routes and name servers, as its last plugin said.

use std::net::IpAddr;

use serde_json::Value;

use super::record::Joined;
use crate::network::files::Dns;

/// The most entries of each list in a result.
const LISTED: usize = 256;

/// A network that a container is in (CT-84: `network_infos`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attached {
    /// The name of the network.
    pub network: String,
    /// The name of the interface in the container.
    pub interface: String,
    /// The hardware address of the interface, if that is known.
    pub hardware_address: Option<String>,
    /// The container's addresses.
    pub addresses: Vec<Address>,
    /// The container's routes.
    pub routes: Vec<Route>,
    /// What the network says about names.
    pub dns: Dns,
}

/// An address of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The gateway of the network.
    pub gateway: Option<IpAddr>,
}

/// A route of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to.
    pub destination: IpAddr,
    /// How many bits of that count.
    pub prefix: u8,
    /// By whom; `None` is the gateway of the network.
    pub gateway: Option<IpAddr>,
}

/// Reads the result of a join, or says what is wrong with it.
pub(crate) fn read(join: &Joined, result: &Value) -> Result<Attached, String> {
    let addresses = list(result, "ips")?.iter().map(|entry| {
        let (address, prefix) = subnet(entry, "address")?;
        let gateway = optional_address(entry, "gateway")?;
        Ok(Address {
            address,
            prefix,
            gateway,
        })
    });
    let routes = list(result, "routes")?.iter().map(|entry| {
        let (destination, prefix) = subnet(entry, "dst")?;
        let gateway = optional_address(entry, "gw")?;
        Ok(Route {
            destination,
            prefix,
            gateway,
        })
    });
    let interfaces = list(result, "interfaces")?.iter();
    // The host's end of a link may have the same name: it has no sandbox.
    let mut own = interfaces.filter(|entry| {
        let has_sandbox = text(entry, "sandbox").is_some_and(|sandbox| !sandbox.is_empty());
        text(entry, "name") == Some(&join.interface) && has_sandbox
    });
    let hardware_address = own.next().and_then(|entry| text(entry, "mac"));
    Ok(Attached {
        network: join.network.clone(),
        interface: join.interface.clone(),
        hardware_address: hardware_address.map(str::to_owned),
        addresses: addresses.collect::<Result<_, String>>()?,
        routes: routes.collect::<Result<_, String>>()?,
        dns: dns(result)?,
    })
}

fn dns(result: &Value) -> Result<Dns, String> {
    let Some(dns) = result.get("dns").filter(|dns| !dns.is_null()) else {
        return Ok(Dns::default());
    };
    let texts = |key| -> Result<Vec<String>, String> {
        let texts = list(dns, key)?.iter().map(|entry| {
            let text = entry.as_str().map(str::to_owned);
            text.ok_or_else(|| format!("has {entry} in dns.{key}, not a text"))
        });
        texts.collect()
    };
    let servers = texts("nameservers")?.into_iter().map(|text| {
        text.parse()
            .map_err(|_| format!("has the name server {text:?}, not an address"))
    });
    let dns = Dns {
        nameservers: servers.collect::<Result<_, String>>()?,
        domain: text(dns, "domain")
            .filter(|domain| !domain.is_empty())
            .map(str::to_owned),
        search: texts("search")?,
        options: texts("options")?,
    };
    dns.check()
        .map_err(|error| format!("is not usable: {error}"))?;
    Ok(dns)
}

fn list<'a>(object: &'a Value, key: &str) -> Result<&'a [Value], String> {
    let Some(value) = object.get(key).filter(|value| !value.is_null()) else {
        return Ok(&[]);
    };
    let entries = value.as_array().filter(|entries| entries.len() <= LISTED);
    entries
        .map(Vec::as_slice)
        .ok_or_else(|| format!("has no list of at most {LISTED} under {key:?}"))
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// Reads `10.1.0.2/16`.
fn subnet(entry: &Value, key: &str) -> Result<(IpAddr, u8), String> {
    let found = text(entry, key).and_then(|text| {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some((address, prefix))
    });
    found.ok_or_else(|| format!("has no address with prefix under {key:?} in {entry}"))
}

fn optional_address(entry: &Value, key: &str) -> Result<Option<IpAddr>, String> {
    match text(entry, key) {
        None | Some("") => Ok(None),
        Some(text) => {
            let address = text.parse();
            address
                .map(Some)
                .map_err(|_| format!("has {text:?}, not an address, under {key:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn join() -> Joined {
        Joined {
            network: "net".to_owned(),
            version: "1.0.0".to_owned(),
            unchecked: false,
            interface: "eth0".to_owned(),
            arguments: String::new(),
            plugins: Vec::new(),
            result: None,
        }
    }

    #[test]
    fn a_result_is_read_as_the_specification_has_it() {
        // CT-52, CT-84
        let result = json!({
            "cniVersion": "0.4.0",
            "interfaces": [
                { "name": "eth0", "mac": "02:00:00:00:00:09" },
                { "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/x" },
            ],
            "ips": [
                { "version": "4", "address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 1 },
                { "address": "fd00::2/64" },
            ],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "10.9.0.0/16", "gw": "10.1.0.7" }],
            "dns": { "nameservers": ["10.1.0.1"], "domain": "", "search": ["a.example"] },
        });
        let found = read(&join(), &result).unwrap();
        assert_eq!(found.hardware_address.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(found.addresses[0].address.to_string(), "10.1.0.2");
        assert_eq!(found.addresses[0].gateway.unwrap().to_string(), "10.1.0.1");
        assert_eq!(
            (found.addresses[1].prefix, found.addresses[1].gateway),
            (64, None)
        );
        assert_eq!((found.routes.len(), found.routes[0].prefix), (2, 0));
        assert_eq!(found.routes[1].gateway.unwrap().to_string(), "10.1.0.7");
        assert_eq!(found.dns.nameservers.len(), 1);
        assert_eq!(found.dns.domain, None);
        let empty = read(&join(), &json!({})).unwrap();
        assert!(empty.addresses.is_empty() && empty.hardware_address.is_none());
    }

    #[test]
    fn a_result_that_makes_no_sense_is_none() {
        for bad in [
            json!({ "ips": {} }),
            json!({ "ips": [{}] }),
            json!({ "ips": [{ "address": "10.1.0.2" }] }),
            json!({ "ips": [{ "address": "10.1.0.2/33" }] }),
            json!({ "ips": [{ "address": "10.1.0.2/8", "gateway": "x" }] }),
            json!({ "ips": vec![json!({ "address": "10.1.0.2/8" }); 257] }),
            json!({ "routes": [{ "dst": "x/1" }] }),
            json!({ "dns": { "nameservers": ["a"] } }),
            json!({ "dns": { "search": ["a\nb"] } }),
        ] {
            assert!(read(&join(), &bad).is_err(), "{bad}");
        }
    }
}
