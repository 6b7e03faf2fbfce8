//! What tasks and executors publish about themselves, as JSON.
//!
//! Part of the JSON of tasks and of events about executors (see `views` and `events`). Deliberately
//! not here: tables; what is published may be long.

use serde::Serialize;
use tepui_core::protocol::discovery::{DiscoveryInfo, DiscoveryPort, Published, Visibility};
use tepui_core::resources::Labels;

/// Labels: pairs of a key and a value, which may be null.
pub(super) type LabelsJson<'a> = Vec<(&'a str, Option<&'a str>)>;

pub(super) fn labels(labels: &Labels) -> LabelsJson<'_> {
    let labels = labels.iter();
    labels.map(|it| (&*it.key, it.value.as_deref())).collect()
}

#[derive(Serialize)]
pub(super) struct PublishedJson<'a> {
    labels: LabelsJson<'a>,
    /// The service that it offers; null if it says nothing of one.
    discovery: Option<DiscoveryJson<'a>>,
}

impl<'a> PublishedJson<'a> {
    pub(super) fn of(published: Option<&'a Published>) -> Self {
        let discovery = published.and_then(|it| it.discovery.as_deref());
        Self {
            labels: published.map(|it| labels(&it.labels)).unwrap_or_default(),
            discovery: discovery.map(DiscoveryJson::from),
        }
    }
}

#[derive(Serialize)]
struct DiscoveryJson<'a> {
    /// Who is to find it: `framework`, `cluster` or `external`.
    visibility: &'static str,
    name: Option<&'a str>,
    environment: Option<&'a str>,
    location: Option<&'a str>,
    version: Option<&'a str>,
    ports: Vec<PortJson<'a>>,
    labels: LabelsJson<'a>,
}

impl<'a> From<&'a DiscoveryInfo> for DiscoveryJson<'a> {
    fn from(service: &'a DiscoveryInfo) -> Self {
        Self {
            visibility: service.visibility.as_str(),
            name: service.name.as_deref(),
            environment: service.environment.as_deref(),
            location: service.location.as_deref(),
            version: service.version.as_deref(),
            ports: service.ports.iter().map(PortJson::from).collect(),
            labels: labels(&service.labels),
        }
    }
}

#[derive(Serialize)]
struct PortJson<'a> {
    number: u16,
    name: Option<&'a str>,
    protocol: Option<&'a str>,
    /// Null is as of the service.
    visibility: Option<&'static str>,
    labels: LabelsJson<'a>,
}

impl<'a> From<&'a DiscoveryPort> for PortJson<'a> {
    fn from(port: &'a DiscoveryPort) -> Self {
        Self {
            number: port.number,
            name: port.name.as_deref(),
            protocol: port.protocol.as_deref(),
            visibility: port.visibility.map(Visibility::as_str),
            labels: labels(&port.labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tepui_core::resources::Label;

    use super::*;
    use crate::cli::views::json;

    #[test]
    fn the_json_of_what_is_published() {
        // TK-01, TK-03, TK-04
        let label = |key: &str| {
            let value = None;
            let more = Label {
                key: "zone".into(),
                value,
            };
            Labels::try_from(vec![Label::new(key, "v"), more]).unwrap()
        };
        let published = Published {
            labels: label("tier"),
            discovery: Some(Box::new(DiscoveryInfo {
                name: Some("web".into()),
                environment: Some("test".into()),
                location: Some("eu".into()),
                version: Some("2".into()),
                ports: vec![
                    DiscoveryPort::new(80),
                    DiscoveryPort {
                        name: Some("metrics".into()),
                        protocol: Some("tcp".into()),
                        visibility: Some(Visibility::Framework),
                        labels: label("scrape"),
                        ..DiscoveryPort::new(31_000)
                    },
                ],
                labels: label("canary"),
                ..DiscoveryInfo::new(Visibility::External)
            })),
        };
        assert_eq!(
            json(&PublishedJson::of(Some(&published))),
            json!({
                "labels": [["tier", "v"], ["zone", null]],
                "discovery": {
                    "visibility": "external",
                    "name": "web",
                    "environment": "test",
                    "location": "eu",
                    "version": "2",
                    "ports": [
                        {
                            "number": 80,
                            "name": null,
                            "protocol": null,
                            "visibility": null,
                            "labels": [],
                        },
                        {
                            "number": 31_000,
                            "name": "metrics",
                            "protocol": "tcp",
                            "visibility": "framework",
                            "labels": [["scrape", "v"], ["zone", null]],
                        },
                    ],
                    "labels": [["canary", "v"], ["zone", null]],
                },
            })
        );
        let nothing = json!({ "labels": [], "discovery": null });
        assert_eq!(json(&PublishedJson::of(None)), nothing);
    }
}
