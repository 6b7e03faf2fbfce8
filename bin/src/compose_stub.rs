//! stub
#![allow(
    missing_docs,
    unused,
    clippy::todo,
    clippy::unused_async,
    unnameable_types,
    unreachable_pub
)]
pub mod target {
    use std::path::PathBuf;
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Target {
        pub master: String,
        pub tls_dir: PathBuf,
    }
}
pub mod operator {
    use super::{client::Error, target::Target};
    use std::time::Duration;
    use tepui_core::protocol::operator::{Answer, Call};
    #[derive(Debug)]
    pub struct Operator;
    impl Operator {
        pub async fn connect(target: &Target, timeout: Duration) -> Result<Self, Error> {
            Err(Error::Lost("stub".into()))
        }
        pub async fn ask(&self, call: Call) -> Result<Answer, Error> {
            todo!()
        }
        pub async fn close(self) {}
    }
}
pub mod framework {
    use super::{client::*, target::Target};
    use std::time::Duration;
    use tepui_core::roles::Role;
    #[derive(Debug)]
    pub struct Framework;
    impl Framework {
        pub fn builder(name: impl Into<String>) -> Self {
            Self
        }
        pub fn role(self, role: Role) -> Self {
            self
        }
        pub fn failover_timeout(self, t: Duration) -> Self {
            self
        }
        pub async fn connect(self, target: &Target) -> Result<(Handle, Events), Error> {
            Err(Error::Lost("stub".into()))
        }
    }
}
pub mod client {
    use super::target::Target;
    use std::time::Duration;
    use tepui_core::ids::*;
    use tepui_core::protocol::{agent::Read, offer, status::TaskStatus, task::TaskInfo};
    #[derive(Debug, thiserror::Error)]
    pub enum Error {
        #[error("connection {0}")]
        Lost(String),
    }
    impl Error {
        pub fn is_denied(&self) -> bool {
            false
        }
        pub fn is_credentials(&self) -> bool {
            false
        }
    }
    #[derive(Debug)]
    pub enum Event {
        Subscribed { framework: FrameworkId },
        Disconnected,
        Offers(Vec<Offer>),
        Rescinded(OfferId),
        Update(Update),
        Error(String),
    }
    #[derive(Debug)]
    pub struct Offer(offer::Offer);
    impl std::ops::Deref for Offer {
        type Target = offer::Offer;
        fn deref(&self) -> &offer::Offer {
            &self.0
        }
    }
    #[derive(Debug)]
    pub struct Rescinded;
    impl Offer {
        pub fn launch(self, t: Vec<TaskInfo>) -> Result<(), Rescinded> {
            Ok(())
        }
        pub fn decline(self, r: Option<Duration>) {}
    }
    #[derive(Debug)]
    pub struct Update(TaskStatus);
    impl std::ops::Deref for Update {
        type Target = TaskStatus;
        fn deref(&self) -> &TaskStatus {
            &self.0
        }
    }
    #[derive(Clone, Debug)]
    pub struct Handle;
    impl Handle {
        pub fn kill(&self, t: TaskId, g: Option<Duration>) {}
        pub fn suppress(&self) {}
        pub fn revive(&self) {}
        pub fn stop(&self) {}
    }
    #[derive(Debug)]
    pub struct Events;
    impl Events {
        pub async fn next(&mut self) -> Option<Event> {
            None
        }
    }
    #[derive(Debug)]
    pub struct TaskOutput;
    impl TaskOutput {
        pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
            Ok(None)
        }
    }
    pub async fn read_output(t: &Target, a: &str, r: Read) -> Result<TaskOutput, Error> {
        todo!()
    }
}
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
    use super::{daemon::Isolation, target::Target};
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
