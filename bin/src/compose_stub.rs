//! stub
#![allow(
    missing_docs,
    unused,
    clippy::todo,
    clippy::unused_async,
    unnameable_types,
    unreachable_pub
)]
pub mod daemon {
    use std::{net::SocketAddr, path::PathBuf, time::Duration};
    use tepui_core::{attributes::Attributes, resources::Resource};
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Isolation {
        #[default]
        Auto,
        Process,
        Container,
    }
    #[derive(Clone, Debug)]
    pub struct MasterOptions {
        pub listen: SocketAddr,
        pub work_dir: PathBuf,
        pub tls_dir: PathBuf,
        pub cluster: String,
        pub allocation_interval: Duration,
    }
    #[derive(Clone, Debug)]
    pub struct AgentOptions {
        pub master: String,
        pub listen: SocketAddr,
        pub work_dir: PathBuf,
        pub tls_dir: PathBuf,
        pub resources: Vec<Resource>,
        pub attributes: Attributes,
        pub hostname: Option<String>,
        pub isolation: Isolation,
        pub registration_backoff: Duration,
    }
    pub async fn master(
        o: MasterOptions,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    pub async fn agent(o: AgentOptions, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        Ok(())
    }
}
pub mod embedded {
    use super::daemon::Isolation; use tepui_transport::target::Target;
    use std::{
        net::SocketAddr,
        path::{Path, PathBuf},
    };
    use tepui_core::{attributes::Attributes, resources::Resource};
    #[derive(Clone, Debug, Default)]
    pub struct EmbeddedOptions {
        pub resources: Vec<Resource>,
        pub attributes: Attributes,
        pub work_dir: Option<PathBuf>,
        pub isolation: Isolation,
        pub listen: Option<SocketAddr>,
    }
    #[derive(Debug)]
    pub struct Embedded;
    impl Embedded {
        pub async fn start(o: EmbeddedOptions) -> anyhow::Result<Self> {
            anyhow::bail!("stub")
        }
        pub fn target(&self) -> Target {
            todo!()
        }
        pub fn ca_dir(&self) -> PathBuf {
            todo!()
        }
        pub fn isolation(&self) -> &str {
            ""
        }
        pub async fn shutdown(self) -> anyhow::Result<()> {
            Ok(())
        }
    }
}
