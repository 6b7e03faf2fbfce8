//! Has containers join networks: a namespace of their own, plugins that connect it, and the files
//! by which names are looked up in it (CT-52).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerSpec;
use tepui_core::protocol::container_info::{
    ContainerInfo, Dns as AskedDns, NetworkInfo, Transport,
};

use super::members::Members;
use crate::isolator::{Isolator, Outcome, Recovered, Subject, Survivors, Usage};
use crate::kill_point;
use crate::launch::{Bind, Launch, Mount, Network};
use crate::network::bandwidth::{self, Rate};
use crate::network::cni::{Attached, Join, Networks as Cni};
use crate::network::files::{self, Dns, Identity, Sources};
use crate::network::{Link, Namespaces, PortMapping, Protocol, statistics};

/// The host's own way of looking names up.
const HOST_RESOLVER: &str = "/etc/resolv.conf";

/// What networks are made of.
#[derive(Debug)]
pub struct Setup {
    /// Where namespaces are.
    pub namespaces: Namespaces,
    /// The networks that there are.
    pub networks: Cni,
    /// A directory of files for each container.
    pub files: PathBuf,
    /// How names are looked up where neither task nor network says it.
    pub dns: Option<Dns>,
    /// The most that each container, or group of them, sends over each of its networks. Who is
    /// given `CAP_NET_ADMIN` can take that away.
    pub egress: Option<Rate>,
    /// Who uses the networks that tasks of a group have in common.
    pub groups: Members,
}

/// Has containers join networks.
#[derive(Debug)]
pub struct Networks(Option<Setup>);

impl Networks {
    /// Without a setup who asks for a network is refused.
    pub fn new(setup: Option<Setup>) -> Self {
        Self(setup)
    }
}

impl Setup {
    fn join(
        &self,
        subject: &Subject<'_>,
        asked: &ContainerInfo,
        launch: &mut Launch,
    ) -> Outcome<()> {
        let joins = asked.networks.iter().map(join);
        let joins: Vec<Join> = joins.collect::<Outcome<_>>()?;
        let namespace = self.namespaces.make(subject.id)?;
        kill_point::reached("networks.namespace");
        let attached = self.networks.attach(subject.id, &namespace, &joins)?;
        kill_point::reached("networks.attached");
        self.bound(&namespace, &attached)?;
        launch.network = Network::Namespace(namespace);
        launch.hostname.clone_from(&asked.hostname);
        let hostname = asked.hostname.as_deref().unwrap_or(subject.id.as_str());
        let task = asked.dns.as_ref();
        self.write_files(subject.id, (hostname, task), &attached, launch)
    }

    /// Has a container use the networks of its group: all of that are one host (CT-15).
    fn join_group(
        &self,
        subject: &Subject<'_>,
        (group, common): (&ContainerId, &ContainerInfo),
        launch: &mut Launch,
    ) -> Outcome<()> {
        let made = || self.make_group(group, common);
        let (namespace, attached) = self.groups.enter(group, subject.id, made)?;
        launch.network = Network::Namespace(namespace);
        let hostname = common.hostname.as_deref().unwrap_or(group.as_str());
        launch.hostname = Some(hostname.to_owned());
        let asked = subject.spec.container.as_ref();
        let own = asked.and_then(|asked| asked.dns.as_ref());
        let task = own.or(common.dns.as_ref());
        self.write_files(subject.id, (hostname, task), &attached, launch)
    }

    /// Has a group join networks, unless it has.
    fn make_group(
        &self,
        group: &ContainerId,
        common: &ContainerInfo,
    ) -> Outcome<(PathBuf, Vec<Attached>)> {
        let attached = self.networks.attached(group)?;
        if let Some(namespace) = self.namespaces.find(group).filter(|_| !attached.is_empty()) {
            self.bound(&namespace, &attached)?;
            return Ok((namespace, attached));
        }
        // What a try before this one has left.
        self.remove_group(group)?;
        let joins = common.networks.iter().map(join);
        let joins: Vec<Join> = joins.collect::<Outcome<_>>()?;
        let namespace = self.namespaces.make(group)?;
        kill_point::reached("group.namespace");
        let attached = self.networks.attach(group, &namespace, &joins)?;
        kill_point::reached("group.attached");
        self.bound(&namespace, &attached)?;
        Ok((namespace, attached))
    }

    /// Bounds what is sent from a namespace (CT-64).
    fn bound(&self, namespace: &Path, attached: &[Attached]) -> Outcome<()> {
        if let Some(egress) = self.egress {
            for network in attached {
                bandwidth::limit(Some(namespace), &network.interface, egress)?;
            }
        }
        Ok(())
    }

    fn remove_group(&self, group: &ContainerId) -> Outcome<()> {
        self.networks.detach(group)?;
        Ok(self.namespaces.remove(group)?)
    }

    /// Makes the files that say who the container is and whom it asks, and has them mounted.
    fn write_files(
        &self,
        id: &ContainerId,
        (hostname, task): (&str, Option<&AskedDns>),
        attached: &[Attached],
        launch: &mut Launch,
    ) -> Outcome<()> {
        let task = task.map(dns).transpose()?;
        let networks: Vec<Dns> = attached.iter().map(|network| network.dns.clone()).collect();
        let host = fs::read_to_string(HOST_RESOLVER).unwrap_or_default();
        let addresses = attached.iter().flat_map(|network| &network.addresses);
        launch.addresses = addresses.map(|address| address.address).collect();
        let identity = Identity {
            hostname: hostname.to_owned(),
            addresses: launch.addresses.clone(),
            hosts: Vec::new(),
            dns: Dns::choose(Sources {
                task: task.as_ref(),
                networks: &networks,
                agent: self.dns.as_ref(),
                host: &host,
            }),
        };
        let own = self.files.join(id.as_str());
        files::write(&own, &identity)?;
        kill_point::reached("networks.files");
        for name in files::NAMES {
            let target = Path::new("/etc").join(name);
            // They are the machine's, in memory that nothing limits: nobody writes to them inside.
            launch.mounts.push(Mount::Bind(Bind {
                read_only: true,
                ..Bind::new(own.join(name), target)
            }));
        }
        Ok(())
    }

    fn remove_files(&self, id: &str) -> Outcome<()> {
        let own = self.files.join(id);
        match fs::remove_dir_all(&own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("remove {}: {error}", own.display()).into())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Isolator for Networks {
    fn name(&self) -> &str {
        "networks"
    }

    fn concerns(&self, spec: &ContainerSpec) -> bool {
        let asked = spec.container.as_ref();
        let asks = asked.is_some_and(|asked| !asked.networks.is_empty() || asked.dns.is_some());
        asks || common(spec).is_some()
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let mut recovered = Recovered::default();
        let Some(setup) = &self.0 else {
            return Ok(recovered);
        };
        let undo = |group: &ContainerId| setup.remove_group(group);
        setup.groups.recover(live, &mut recovered, undo);
        let mut kept: BTreeSet<ContainerId> = live.keys().cloned().collect();
        kept.extend(setup.groups.groups());
        for (name, error) in setup.networks.recover(&kept)?.failed {
            // It keeps its namespace, in which plugins look.
            kept.extend(ContainerId::new(&name));
            recovered.failed.push((name, error.into()));
        }
        let removed = setup.namespaces.recover(&kept).map_err(Into::into);
        recovered.note("namespaces", removed);
        let failed = |error| format!("read {}: {error}", setup.files.display());
        let entries = match fs::read_dir(&setup.files) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(recovered),
            Err(error) => return Err(failed(error).into()),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            if !kept.iter().any(|id| id.as_str() == name) {
                recovered.note(name.as_ref(), setup.remove_files(&name));
            }
        }
        Ok(recovered)
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let nothing = ContainerInfo::default();
        let asked = subject.spec.container.as_deref().unwrap_or(&nothing);
        let common = common(subject.spec).filter(|_| asked.networks.is_empty());
        let wanted = common.map_or(asked, |(_, common)| common);
        let Some(first) = wanted.networks.first() else {
            return match asked.dns {
                Some(_) => Err("it asks for a resolver of its own, but for no network".into()),
                None => Ok(()),
            };
        };
        match (&self.0, common) {
            (Some(setup), None) => setup.join(subject, asked, launch),
            (Some(setup), Some(common)) => setup.join_group(subject, common, launch),
            (None, _) => Err(format!(
                "it asks for the network {:?}, and this agent has none",
                first.name
            )
            .into()),
        }
    }

    fn usage(&self, id: &ContainerId) -> Outcome<Usage> {
        let Some(setup) = &self.0 else {
            return Ok(Usage::new());
        };
        // What a group has in common each of its tasks is told of.
        let of_group = || setup.namespaces.find(&setup.groups.of(id)?);
        let Some(namespace) = setup.namespaces.find(id).or_else(of_group) else {
            return Ok(Usage::new());
        };
        let links = statistics::read(Some(&namespace))?.links;
        let sum = |of: fn(&Link) -> u64| links.iter().map(of).sum();
        Ok(Usage::from([
            ("received_bytes".to_owned(), sum(|link| link.received.bytes)),
            ("sent_bytes".to_owned(), sum(|link| link.sent.bytes)),
        ]))
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        let Some(setup) = &self.0 else { return Ok(()) };
        // Plugins leave rules behind whose namespace is gone.
        setup.networks.detach(id)?;
        setup.namespaces.remove(id)?;
        setup.remove_files(id.as_str())?;
        setup.groups.leave(id)
    }

    fn disband(&self, group: &ContainerId) -> Outcome<()> {
        let Some(setup) = &self.0 else { return Ok(()) };
        let undo = || setup.remove_group(group);
        setup.groups.disband(group, undo)
    }
}

/// Returns what a container's group asks for, if that joins networks.
fn common(spec: &ContainerSpec) -> Option<(&ContainerId, &ContainerInfo)> {
    let group = spec.group.as_deref()?;
    let common = group.container.as_deref()?;
    (!common.networks.is_empty()).then_some((&group.id, common))
}

fn join(asked: &NetworkInfo) -> Outcome<Join> {
    let addresses = asked
        .addresses
        .iter()
        .map(|address| Ok((address.parse::<IpAddr>()?, None)));
    let ports = asked.ports.iter().map(|port| PortMapping {
        host_port: port.host,
        container_port: port.container,
        protocol: match port.protocol {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        },
        host_address: None,
    });
    let labels = asked.labels.iter();
    let labels = labels.map(|label| {
        let value = label.value.as_deref().unwrap_or_default();
        (label.key.to_string(), value.to_owned())
    });
    Ok(Join {
        port_mappings: ports.collect(),
        addresses: addresses.collect::<Outcome<_>>()?,
        labels: labels.collect(),
        ..Join::new(asked.name.as_str())
    })
}

fn dns(asked: &AskedDns) -> Outcome<Dns> {
    let servers = asked
        .nameservers
        .iter()
        .map(|server| Ok(server.parse::<IpAddr>()?));
    Ok(Dns {
        nameservers: servers.collect::<Outcome<_>>()?,
        domain: None,
        search: asked.search.clone(),
        options: asked.options.clone(),
    })
}
