//! Whether an agent that is started with another description than before is still the same agent
//! (AG-21).
//!
//! Called when the agent comes up. What is allowed takes effect with the next registration: the
//! master writes it down and offers anew. Tasks go on in any case, also those that use what the
//! machine has no more; nothing is offered of that until they end.
//!
//! Deliberately not here: what the master makes of it.

use alloc::string::String;

use super::{Agent, AgentRecord, Cx};
use crate::attributes::{AttributeValue, Attributes};
use crate::protocol::node::AgentInfo;
use crate::resources::Resources;

/// How much an agent's description may change while it keeps its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Not at all.
    Equal,
    /// It may grow: more resources, more attributes.
    Additive,
    /// In any way, also to less than what runs.
    #[default]
    Any,
}

/// Why an agent may not come up with another description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Incompatible {
    #[error("its hostname was {before:?} and is {now:?}")]
    Hostname { before: String, now: String },
    #[error("its address was {before} and is {now}")]
    Address { before: String, now: String },
    #[error("its resources were {before} and are {now}")]
    Resources { before: Resources, now: Resources },
    #[error("its attributes were {before} and are {now}")]
    Attributes { before: Attributes, now: Attributes },
    #[error("its region and zone are not as they were")]
    Domain,
}

/// Compares what an agent said of itself before with what it says now.
pub(super) fn compare(
    before: &AgentInfo,
    now: &AgentInfo,
    policy: Policy,
) -> Result<(), Incompatible> {
    let (resources, attributes, domain) = match policy {
        Policy::Any => return Ok(()),
        Policy::Equal => (
            now.resources == before.resources,
            now.attributes == before.attributes,
            now.domain == before.domain,
        ),
        Policy::Additive => (
            now.resources.contains(&before.resources),
            keeps(&before.attributes, &now.attributes),
            // TK-116
            before.domain.is_none() || now.domain == before.domain,
        ),
    };
    if now.hostname != before.hostname {
        let (before, now) = (before.hostname.clone(), now.hostname.clone());
        return Err(Incompatible::Hostname { before, now });
    }
    // A machine may get another address, but its agent is not another one on the same machine.
    if port(&now.address) != port(&before.address) {
        let (before, now) = (before.address.clone(), now.address.clone());
        return Err(Incompatible::Address { before, now });
    }
    if !resources {
        let (before, now) = (before.resources.clone(), now.resources.clone());
        return Err(Incompatible::Resources { before, now });
    }
    if !attributes {
        let (before, now) = (before.attributes.clone(), now.attributes.clone());
        return Err(Incompatible::Attributes { before, now });
    }
    if !domain {
        return Err(Incompatible::Domain);
    }
    Ok(())
}

fn port(address: &str) -> Option<&str> {
    address.rsplit_once(':').map(|(_, port)| port)
}

/// Returns whether every attribute of before still says the same; ranges may have grown.
fn keeps(before: &Attributes, now: &Attributes) -> bool {
    before.iter().all(|old| {
        let mut same = now.iter().filter(|new| new.name() == old.name());
        same.any(|new| {
            let both = (old.value(), new.value());
            if let (AttributeValue::Ranges(old), AttributeValue::Ranges(new)) = both {
                return new.contains(old);
            }
            old.value() == new.value()
        })
    })
}

impl Agent {
    /// Writes down how the agent describes itself, or ends it if it may not be described so.
    pub(super) fn describe(&mut self, cx: &mut Cx<'_>) {
        let now = &self.config.info;
        if let Some(before) = self.state.info() {
            if before == now {
                return;
            }
            if let Err(why) = compare(before, now, self.config.reconfiguration) {
                let name = &self.config.name;
                let how = "start it as it was, with another policy, or anew on an empty directory";
                self.stop(
                    cx,
                    alloc::format!("agent {name} cannot come up: {why}; {how}"),
                );
                return;
            }
        }
        let info = now.clone();
        self.persist(cx, AgentRecord::Described { info });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::node::Domain;

    fn info(resources: &str, attributes: &str) -> AgentInfo {
        AgentInfo {
            attributes: Attributes::parse(attributes).unwrap(),
            ..AgentInfo::new("one", "10.0.0.1:5051", Resources::parse(resources).unwrap())
        }
    }

    #[test]
    fn tv_41_what_each_policy_lets_change() {
        // AG-21, TV-41
        let before = info("cpus:4;ports:[1-9]", "rack:a;slots:[1-3];gen:2");
        let same = |policy, now: &AgentInfo| compare(&before, now, policy).is_ok();
        let moved = AgentInfo {
            address: "10.0.0.2:5051".into(),
            ..before.clone()
        };
        let port = AgentInfo {
            address: "10.0.0.1:5052".into(),
            ..before.clone()
        };
        let renamed = AgentInfo {
            hostname: "two".into(),
            ..before.clone()
        };
        let attributes = "rack:a;slots:[1-3];gen:2";
        let with = |attributes| info("cpus:4;ports:[1-9]", attributes);
        // Is it taken as equal, as additive?
        for (now, equal, additive) in [
            (before.clone(), true, true),
            (moved, true, true),
            (port, false, false),
            (renamed, false, false),
            (info("cpus:5;ports:[1-9];mem:1", attributes), false, true),
            (info("cpus:8;ports:[1-9]", attributes), false, true),
            (info("cpus:2;ports:[1-9]", attributes), false, false),
            (
                info("cpus:2;cpus(eng):2;ports:[1-9]", attributes),
                false,
                false,
            ),
            (info("cpus:3;ports:[1-9]", attributes), false, false),
            (info("cpus:4;ports:[2-9]", attributes), false, false),
            (with("rack:a;slots:[1-4];gen:2;new:x"), false, true),
            (with("rack:b;slots:[1-3];gen:2"), false, false),
            (with("rack:a;slots:[1-2];gen:2"), false, false),
            (with("rack:a;slots:[1-3];gen:3"), false, false),
            (with("rack:a;slots:3;gen:2"), false, false),
            (with("slots:[1-3];gen:2"), false, false),
            (with("rack:a;slots:[1-3]"), false, false),
        ] {
            assert_eq!(same(Policy::Equal, &now), equal, "{now:?}");
            assert_eq!(same(Policy::Additive, &now), additive, "{now:?}");
            assert!(same(Policy::Any, &now));
        }
        // TK-116
        let at = |zone: Option<&str>| AgentInfo {
            domain: zone.map(|zone| Domain {
                region: "eu".into(),
                zone: zone.into(),
            }),
            ..before.clone()
        };
        for (was, is, equal, additive) in [
            (None, Some("a"), false, true),
            (Some("a"), Some("a"), true, true),
            (Some("a"), Some("b"), false, false),
            (Some("a"), None, false, false),
        ] {
            for (policy, fine) in [(Policy::Equal, equal), (Policy::Additive, additive)] {
                let compared = compare(&at(was), &at(is), policy);
                assert_eq!(compared.is_ok(), fine, "{was:?} to {is:?}");
            }
        }
    }
}
