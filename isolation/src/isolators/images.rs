//! Gives containers a root of their own, made of an image, and volumes that are images (CT-46,
//! CT-50, CT-65 to CT-70).
//!
//! What a container changes in its root goes into a directory of its own, which is removed with it.
//! That directory also says which images it holds, so that they stay over a restart of the agent.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerSpec;
use tepui_core::protocol::container_info::{Access, Image as Asked, VolumeSource};
use tepui_core::protocol::task::CommandInfo;

use super::volumes::target;
use crate::image::{Attributes, Config, Digest, Image, Source, Store, Wanted, mount_overlay};
use crate::isolator::{Isolator, Outcome, Problem, Recovered, Subject, Survivors};
use crate::kill_point;
use crate::launch::{Bind, Launch, Mount, Root};

/// The file that names what a container holds, a digest a line.
const HELD: &str = "images";
/// How the directories begin where volumes are mounted.
const VOLUME: &str = "volume";

/// How images in files of the machine are named: this, a path, and perhaps `#` and a name.
const IN_FILES: &str = "file://";

/// Makes roots and volumes of images.
#[derive(Debug)]
pub struct Images {
    store: Option<Store>,
    /// Where images in files are; nobody has others.
    places: Vec<PathBuf>,
    /// A directory for each container.
    directory: PathBuf,
    held: Mutex<BTreeMap<ContainerId, Vec<Image>>>,
}

impl Images {
    /// Takes images from a store; without one who asks for an image is refused. What containers
    /// write goes below `directory`.
    pub fn new(store: Option<Store>, directory: impl Into<PathBuf>) -> Self {
        Self {
            store,
            places: Vec::new(),
            directory: directory.into(),
            held: Mutex::default(),
        }
    }

    /// Lets tasks have images in files as well, `file:///PATH[#NAME]`: below `places`, layouts of
    /// OCI as directories, and archives of them or of `docker save` as files. Whoever can write
    /// there says what tasks run.
    pub fn found_in(mut self, places: Vec<PathBuf>) -> Self {
        self.places = places;
        self
    }

    /// Returns where an image is to come from.
    fn source(&self, reference: &str) -> Outcome<Source> {
        let Some(rest) = reference.strip_prefix(IN_FILES) else {
            return Ok(Source::Registry(reference.parse()?));
        };
        let (path, name) = match rest.split_once('#') {
            Some((path, name)) => (path, Some(name.to_owned())),
            None => (rest, None),
        };
        let path = self.allowed(Path::new(path), reference)?;
        Ok(match path.is_dir() {
            true => Source::Layout { path, name },
            false => Source::Archive { path, name },
        })
    }

    /// Returns the real path of an image in files, if it is where they are: nobody learns from us
    /// what else there is.
    fn allowed(&self, path: &Path, reference: &str) -> Outcome<PathBuf> {
        let has_parents = path.components().any(|part| part == Component::ParentDir);
        let mut places = self.places.iter();
        let Some(place) = places.find(|place| !has_parents && path.starts_with(place)) else {
            let message = format!("the image {reference}: this agent has none in files there");
            return Err(message.into());
        };
        let found = fs::canonicalize(path).map_err(said("find", path))?;
        let place = fs::canonicalize(place).map_err(said("find", place))?;
        match found.starts_with(&place) {
            true => Ok(found),
            false => Err(format!("the image {reference}: a link leads out of its place").into()),
        }
    }

    fn own(&self, id: &ContainerId) -> PathBuf {
        self.directory.join(id.as_str())
    }

    /// Has an image ready, and notes that a container has it before anything relies on it.
    fn provide(&self, subject: &Subject<'_>, asked: &Asked) -> Outcome<Image> {
        let Some(store) = &self.store else {
            let message = "it asks for an image, and this agent has no place for them";
            return Err(message.into());
        };
        let wanted = Wanted {
            cached: asked.cached,
            ..Wanted::new(self.source(&asked.reference)?)
        };
        let image = store.provide_watched(&wanted, subject.cancel, &|_| {})?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.entry(subject.id.clone()).or_default();
        all.push(image.clone());
        let digests: String = all
            .iter()
            .map(|image| format!("{}\n", image.digest))
            .collect();
        drop(held);
        // Nobody else comes here: programs of containers have the rights that images gave them.
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private
            .create(&self.directory)
            .map_err(said("make", &self.directory))?;
        let own = self.own(subject.id);
        private.create(&own).map_err(said("make", &own))?;
        let path = own.join(HELD);
        fs::write(&path, digests).map_err(said("write", &path))?;
        kill_point::reached("images.noted");
        Ok(image)
    }

    fn root(&self, subject: &Subject<'_>, asked: &Asked, launch: &mut Launch) -> Outcome<()> {
        let image = self.provide(subject, asked)?;
        let read_only = subject
            .spec
            .container
            .as_ref()
            .is_some_and(|asked| asked.read_only_root);
        let own = self.own(subject.id).join("root");
        let rootfs = image.rootfs(&own)?;
        launch.root = Some(Root::Overlay {
            lower: rootfs.lower,
            upper_and_work: rootfs.changes.map(|_| own),
            read_only,
        });
        launch.command = Some(command(&image.config, &subject.spec.command, launch)?);
        Ok(())
    }

    /// Mounts an image where the container's init finds it. What the container changes in it is the
    /// container's own, and counts as that.
    fn volume(
        &self,
        subject: &Subject<'_>,
        (asked, access): (&Asked, Access),
        n: usize,
        launch: &mut Launch,
    ) -> Outcome<PathBuf> {
        let image = self.provide(subject, asked)?;
        let own = self.own(subject.id);
        let (made, at) = (
            own.join(format!("changes{n}")),
            own.join(format!("{VOLUME}{n}")),
        );
        fs::create_dir_all(&at).map_err(said("make", &at))?;
        let attributes = Attributes {
            read_only: access == Access::Read,
            no_suid: true,
            no_dev: true,
        };
        let rootfs = match access {
            Access::Read => image.fixed_rootfs(&made)?,
            Access::Write => image.rootfs(&made)?,
        };
        if rootfs.changes.is_some() {
            launch.changes.push(made);
        }
        mount_overlay(&rootfs, &at, attributes).map_err(said("mount", &at))?;
        kill_point::reached("images.mounted");
        Ok(at)
    }

    fn remove(&self, own: &Path) -> Outcome<()> {
        let entries = match fs::read_dir(own) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(said("read", own)(error).into()),
        };
        // Before anything is removed: what is mounted is not the container's.
        for entry in entries {
            let path = entry.map_err(said("read", own))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(VOLUME) {
                match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                    Ok(()) | Err(Errno::EINVAL) => {}
                    Err(errno) => return Err(said("unmount", &path)(errno.into()).into()),
                }
            }
        }
        fs::remove_dir_all(own).map_err(said("remove", own))?;
        Ok(())
    }

    /// Holds what a container has that was launched by an agent before this one. What is missing
    /// keeps nothing else from being held.
    fn hold_again(&self, store: &Store, id: &ContainerId) -> Outcome<()> {
        let path = self.own(id).join(HELD);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(said("read", &path)(error).into()),
        };
        let (mut images, mut missing) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let digest = line.parse::<Digest>().map_err(Problem::from);
            match digest.and_then(|digest| Ok(store.hold(&digest)?)) {
                Ok(Some(image)) => images.push(image),
                Ok(None) => missing.push(format!("{line} is not whole")),
                Err(error) => missing.push(format!("{line}: {error}")),
            }
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(id.clone(), images);
        match missing.is_empty() {
            true => Ok(()),
            false => Err(format!("its images are not held: {}", missing.join(", ")).into()),
        }
    }
}

impl Isolator for Images {
    fn name(&self) -> &str {
        "images"
    }

    fn concerns(&self, spec: &ContainerSpec) -> bool {
        spec.container.as_ref().is_some_and(|asked| {
            let mut sources = asked.volumes.iter().map(|volume| &volume.source);
            let has_image = |source: &VolumeSource| matches!(source, VolumeSource::Image(_));
            asked.image.is_some() || asked.read_only_root || sources.any(has_image)
        })
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let mut recovered = Recovered::default();
        if let Some(store) = &self.store {
            for id in live.keys() {
                recovered.note(id.as_str(), self.hold_again(store, id));
            }
        }
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(recovered),
            Err(error) => return Err(said("read", &self.directory)(error).into()),
        };
        for entry in entries {
            let path = entry.map_err(said("read", &self.directory))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !live.keys().any(|id| id.as_str() == name) {
                recovered.note(name, self.remove(&path));
            }
        }
        Ok(recovered)
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let Some(asked) = &subject.spec.container else {
            return Ok(());
        };
        match &asked.image {
            Some(image) => self.root(subject, image, launch)?,
            None if asked.read_only_root => {
                return Err("it asks for a root that it cannot change, without an image".into());
            }
            None => {}
        }
        for (n, volume) in asked.volumes.iter().enumerate() {
            if let VolumeSource::Image(image) = &volume.source {
                let at = self.volume(subject, (image, volume.access), n, launch)?;
                let mount = Mount::Bind(Bind {
                    read_only: volume.access == Access::Read,
                    ..Bind::new(at, target(subject, launch, &volume.path)?)
                });
                launch.volumes.insert(n, mount);
            }
        }
        Ok(())
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        self.remove(&self.own(id))?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(id);
        Ok(())
    }
}

/// Says what is run of an image (DR-01 to DR-07). What the image says of variables, user and
/// working directory comes below what the agent and the command say.
fn command(config: &Config, command: &CommandInfo, launch: &mut Launch) -> Outcome<CommandInfo> {
    let process = config.merge(command, None)?;
    let variables = config.environment.iter();
    let variables = variables.filter_map(|variable| variable.split_once('='));
    let own = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    launch.environment.extend(own);
    launch.working_directory = process.working_directory.map(PathBuf::from);
    // Mesos does not follow it, and runs as root what was never meant to be.
    let user = config.user.clone().filter(|user| !user.is_empty());
    launch.user = launch.user.take().or(user);
    let mut words = process.arguments.into_iter();
    let value = words.next().ok_or("the image says nothing that is run")?;
    Ok(CommandInfo {
        shell: false,
        value,
        arguments: words.collect(),
        ..command.clone()
    })
}

fn said<'a>(action: &'a str, path: &'a Path) -> impl Fn(io::Error) -> String + 'a {
    move |error| format!("{action} {}: {error}", path.display())
}
