//! Brings into the sandbox what a command names (AG-49 to AG-53).

use std::path::PathBuf;

use tepui_core::protocol::container_info::Uri;
use tepui_core::protocol::task::CommandInfo;

use crate::fetch::{Checksum, Fetcher, Item, Owner, Sandbox};
use crate::isolator::{Isolator, Outcome, Subject};
use crate::kill_point;
use crate::launch::Launch;
use crate::users;

/// Fetches the URIs of commands.
#[derive(Debug)]
pub struct Fetching(Fetcher);

impl Fetching {
    /// Has a fetcher do it.
    pub fn new(fetcher: Fetcher) -> Self {
        Self(fetcher)
    }
}

impl Isolator for Fetching {
    fn name(&self) -> &str {
        "fetch"
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let command = &subject.spec.command;
        if command.uris.is_empty() {
            return Ok(());
        }
        let items = command.uris.iter().map(item);
        let items: Vec<Item> = items.collect::<Result<_, _>>()?;
        let owner = owner(&items, command, launch)?;
        let sandbox = Sandbox::open(subject.sandbox, owner)?.hiding(launch.hidden.clone());
        self.0.fetch_watched(&items, &sandbox, subject.cancel)?;
        kill_point::reached("fetch.brought");
        Ok(())
    }
}

fn item(uri: &Uri) -> Result<Item, Box<dyn std::error::Error + Send + Sync>> {
    let checksum = uri.checksum.as_deref().map(str::parse::<Checksum>);
    Ok(Item {
        checksum: checksum.transpose()?,
        executable: uri.executable,
        extract: uri.extract,
        cache: uri.cache,
        output: uri.output_file.as_ref().map(PathBuf::from),
        ..Item::new(uri.value.as_str())
    })
}

/// Says whose what is fetched is to be, with whose rights files of the machine are read.
fn owner(items: &[Item], command: &CommandInfo, launch: &Launch) -> Outcome<Option<Owner>> {
    if launch.root.is_some() {
        // Users of an image are looked up in it, later, and have no rights on the machine.
        return match items.iter().find(|item| !item.is_remote()) {
            Some(item) => {
                let uri = &item.uri;
                Err(format!("{uri:?} is of the machine, which an image does not see").into())
            }
            None => Ok(None),
        };
    }
    let user = command.user.as_deref().map(users::on_host).transpose()?;
    Ok(user.map(|user| Owner {
        uid: user.uid,
        gid: user.gid,
    }))
}
