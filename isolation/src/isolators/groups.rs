//! What an operator gives to every container's control group beside its limits (CT-17, CT-32).
//!
//! Deliberately not here: the limits, which follow from resources; who has cores for himself
//! (`cores`); devices (`nodes`).

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerSpec;

use super::cores::Placing;
use crate::cgroup::{Cores, Cpus, Hierarchies, Settings};
use crate::error::Result;
use crate::isolator::{Init, Isolator, Outcome, Recovered, Subject, Survivors};
use crate::launch::Launch;

/// Has each container's group made with the operator's settings.
#[derive(Debug)]
pub struct Groups {
    settings: Settings,
    placing: Option<Placing>,
}

impl Groups {
    /// Gives these settings to all, the groups of whom are below `root`. With `places` each task
    /// that takes whole CPUs has cores for itself, all of one memory node, as long as there are
    /// such; all others run on what is left, which is at least one core.
    ///
    /// # Errors
    /// If the machine does not have what they take.
    pub fn new(settings: Settings, places: bool, root: &str) -> Result<Self> {
        let hierarchies = Hierarchies::detect()?;
        let mut probe = settings.clone();
        if places {
            let cores = Cores {
                count: 1,
                node: None,
            };
            probe.cpus = Cpus::Cores(cores);
        }
        hierarchies.check(&probe)?;
        let placing = match places {
            true => Some(Placing::detect(hierarchies, root)?),
            false => None,
        };
        Ok(Self { settings, placing })
    }
}

impl Isolator for Groups {
    fn name(&self) -> &str {
        "groups"
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        match &self.placing {
            Some(placing) => placing.recover(live),
            None => Ok(Recovered::default()),
        }
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let mut settings = self.settings.clone();
        if let Some(placing) = &self.placing {
            placing.place(subject, &mut settings)?;
        }
        launch.group = settings;
        Ok(())
    }

    fn attaches(&self, _spec: &ContainerSpec) -> bool {
        self.placing.is_some()
    }

    fn attach(&self, subject: &Subject<'_>, _init: &Init) -> Outcome<()> {
        match &self.placing {
            Some(placing) => placing.settle(subject.id),
            None => Ok(()),
        }
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        if let Some(placing) = &self.placing {
            placing.release(id);
        }
        Ok(())
    }
}
