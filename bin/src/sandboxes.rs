//! Who may read which task's output, and until when it grows.
//!
//! The agent's node keeps this beside the machine: it learns of tasks from the machine's orders to
//! the containerizer and from what the containerizer says. Streams are served from it without
//! asking the machine.
//!
//! A sandbox belongs to its task, which may put anything there at any time. So files are opened
//! step by step below a directory that is held, through no link, and only regular files count.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, unlinkat};
use parking_lot::Mutex;
use tepui_core::agent::task_sandboxes;
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::ids::{ContainerId, FrameworkId, TaskId};
use tepui_core::protocol::agent::{OutputFile, Read};
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent};
use tepui_core::protocol::status::Exit;
use tokio::sync::watch;

use crate::kept::Kept;
use crate::owners::Owners;
use crate::removal::remove_below;

/// The most readers of one agent, if it may open enough files.
const READERS: usize = 4_096;

/// The sandboxes of one agent.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    root: OwnedFd,
    owners: Owners,
    state: Mutex<State>,
    readers: Arc<Readers>,
}

#[derive(Debug, Default)]
struct State {
    /// By sandbox: whether its container has ended.
    running: HashMap<Vec<String>, watch::Sender<bool>>,
    containers: HashMap<ContainerId, Running>,
}

/// A container that has not ended.
#[derive(Debug)]
struct Running {
    sandbox: Vec<String>,
    /// How it ended, in the end.
    end: watch::Sender<Option<Exit>>,
}

/// The program of a container, to be followed.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its container.
    pub(crate) container: ContainerId,
    /// What it writes to each of both, from now on.
    pub(crate) stdout: Opened,
    pub(crate) stderr: Opened,
    /// How it has ended, when it has.
    pub(crate) end: watch::Receiver<Option<Exit>>,
}

/// Tells whether a container has ended.
type Until = watch::Receiver<bool>;

/// What is to be served.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The files, of which the next is read after each.
    pub(crate) kept: Kept,
    /// The first file, and from where on in it.
    pub(crate) file: File,
    pub(crate) position: u64,
    /// Whether it is whole, if it may grow still and the reader wants to follow.
    pub(crate) until: Option<Until>,
    /// Held while it is read.
    pub(crate) place: Place,
}

/// Why a file is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It never will be.
    Final(String),
    /// Who asks may not.
    Denied(String),
    /// There is no room now; asking again helps.
    NotNow(String),
}

impl Sandboxes {
    /// Serves what lies in `sandboxes` below `work_dir`; keeps who owns it in `owners` beside it.
    pub(crate) fn open(work_dir: &Path) -> anyhow::Result<Self> {
        let path = work_dir.join("sandboxes");
        let failed = || format!("cannot use {}", path.display());
        fs::create_dir_all(&path).with_context(failed)?;
        let root = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
            .open(&path)
            .with_context(failed)?;
        let root = OwnedFd::from(root);
        check_kernel(&root)?;
        let owners = Owners::open(&work_dir.join("owners"), |framework| {
            // A name that is no id belongs to nobody.
            let id = FrameworkId::new(framework).ok();
            id.is_some_and(|id| path.join(directory_of(&id).join("/")).is_dir())
        })?;
        Ok(Self {
            root,
            owners,
            state: Mutex::default(),
            readers: Arc::new(Readers::within_limits()?),
        })
    }

    /// Notes whose principal a framework belongs to.
    pub(crate) fn owned(&self, framework: &FrameworkId, principal: Option<&str>) {
        if let Some(principal) = principal {
            self.owners.learn(framework, principal);
        }
    }

    /// Notes an order to the containerizer.
    pub(crate) fn ordered(&self, command: &ContainerCommand) {
        match command {
            ContainerCommand::Launch { id, spec } => self.runs(id, &spec.sandbox),
            ContainerCommand::Terminate { .. }
            | ContainerCommand::Destroy { .. }
            | ContainerCommand::Forget { .. }
            | ContainerCommand::Recover { .. }
            | ContainerCommand::Resize { .. }
            | ContainerCommand::Probe { .. }
            | ContainerCommand::Unprobe { .. } => {}
        }
    }

    /// Notes that a container writes to a sandbox.
    pub(crate) fn runs(&self, container: &ContainerId, sandbox: &[String]) {
        let mut state = self.state.lock();
        let running = Running {
            sandbox: sandbox.into(),
            end: watch::Sender::new(None),
        };
        state.containers.insert(container.clone(), running);
        state
            .running
            .insert(sandbox.into(), watch::Sender::new(false));
    }

    /// Notes what the containerizer says.
    pub(crate) fn happened(&self, event: &ContainerEvent) {
        match event {
            ContainerEvent::Exited { id, exit, .. } => self.ended(id, Some(*exit)),
            ContainerEvent::LaunchFailed { id, .. } | ContainerEvent::Lost { id } => {
                self.ended(id, None);
            }
            ContainerEvent::Started { .. }
            | ContainerEvent::ResizeFailed { .. }
            | ContainerEvent::Probed { .. }
            | ContainerEvent::Recovered => {}
        }
    }

    fn ended(&self, container: &ContainerId, exit: Option<Exit>) {
        let mut state = self.state.lock();
        let Some(running) = state.containers.remove(container) else {
            return;
        };
        running.end.send_replace(exit);
        if let Some(over) = state.running.remove(&running.sandbox) {
            over.send_replace(true);
        }
    }

    /// Deletes a sandbox that nothing writes to, and what it leaves empty above it: the owner of a
    /// framework is forgotten with the last.
    pub(crate) fn remove(&self, sandbox: &[String]) -> io::Result<()> {
        remove_below(&self.root, sandbox)?;
        for depth in (2..sandbox.len()).rev() {
            let (above, name) = (&sandbox[..depth - 1], &sandbox[depth - 1]);
            // Who is noted here is about to make a sandbox, or has one.
            let state = self.state.lock();
            let mut running = state.running.keys();
            if running.any(|one| one.starts_with(&sandbox[..depth])) {
                break;
            }
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let opened = openat2(&self.root, above.join("/").as_str(), below(flags));
            let removed =
                opened.and_then(|above| unlinkat(&above, name.as_str(), UnlinkatFlags::RemoveDir));
            match removed {
                Ok(()) => {}
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Returns how full the disk of the sandboxes is for tasks, in thousandths.
    pub(crate) fn disk_used(&self) -> io::Result<u16> {
        let disk = fstatvfs(&self.root)?;
        // What is kept for the system is neither used nor to be had.
        let used = u128::from(disk.blocks()).saturating_sub(u128::from(disk.blocks_free()));
        let all = used + u128::from(disk.blocks_available());
        let used = used * 1_000 / all.max(1);
        Ok(u16::try_from(used).unwrap_or(1_000))
    }

    /// Finds the sandbox that is to be read, and whether its container has ended if it is known.
    ///
    /// A task has a sandbox for each container that it ever had here. It is read from the one that
    /// runs, else from the newest.
    fn sandbox_of(&self, read: &Read) -> Result<(String, Option<Until>), Refusal> {
        let components = task_sandboxes(&read.framework, &read.task);
        let state = self.state.lock();
        let mut running = state.running.iter();
        let running =
            running.find(|(one, _)| one.split_last().is_some_and(|(_, of)| *of == components));
        if let Some((sandbox, over)) = running {
            return Ok((sandbox.join("/"), Some(over.subscribe())));
        }
        drop(state);
        let directory = components.join("/");
        let missing = || Refusal::Final(format!("no output of task {} is here", read.task));
        let newest = newest(&self.root, &directory);
        let newest = newest.map_err(|error| refusal(&read.task, "output", &error))?;
        Ok((format!("{directory}/{}", newest.ok_or_else(missing)?), None))
    }

    /// Finds the container in which a task runs, for one who may enter it. Waits for the disk.
    pub(crate) fn container_of(
        &self,
        who: &Principal,
        framework: &FrameworkId,
        task: &TaskId,
    ) -> Result<ContainerId, Refusal> {
        self.check(who, framework, "enter")?;
        let state = self.state.lock();
        state.container(framework, task).map(|(id, _)| id.clone())
    }

    /// Finds the program of a task, for one who may attach to it. Waits for the disk.
    pub(crate) fn program(
        &self,
        who: &Principal,
        framework: &FrameworkId,
        task: &TaskId,
    ) -> Result<Program, Refusal> {
        self.check(who, framework, "attach to")?;
        let (container, end) = {
            let state = self.state.lock();
            let (id, running) = state.container(framework, task)?;
            (id.clone(), running.end.subscribe())
        };
        let read = |file| Read {
            framework: framework.clone(),
            task: task.clone(),
            file,
            offset: u64::MAX,
            follow: true,
        };
        Ok(Program {
            container,
            stdout: self.serve(who, &read(OutputFile::Stdout))?,
            stderr: self.serve(who, &read(OutputFile::Stderr))?,
            end,
        })
    }

    /// Lists the containers that run, with their sandboxes.
    pub(crate) fn running(&self) -> Vec<(ContainerId, Vec<String>)> {
        let state = self.state.lock();
        let all = state.containers.iter();
        all.map(|(id, running)| (id.clone(), running.sandbox.clone()))
            .collect()
    }

    /// Checks that a framework is whose tasks someone may read or enter.
    pub(crate) fn check(
        &self,
        who: &Principal,
        framework: &FrameworkId,
        what: &str,
    ) -> Result<(), Refusal> {
        let may = match who.role {
            PeerRole::Operator => true,
            PeerRole::Framework => {
                let owner = self.owners.of(framework).map_err(|error| {
                    Refusal::NotNow(format!("whose {framework} is cannot be read: {error}"))
                })?;
                owner.as_deref() == Some(who.name.as_str())
            }
            PeerRole::Master | PeerRole::Agent => false,
        };
        match may {
            true => Ok(()),
            false => {
                let reason = format!("{who} may not {what} tasks of {framework}");
                Err(Refusal::Denied(reason))
            }
        }
    }

    /// Opens what is asked for, or says why not. Waits for the disk.
    pub(crate) fn serve(&self, who: &Principal, read: &Read) -> Result<Opened, Refusal> {
        self.check(who, &read.framework, "read")?;
        let place = Readers::admit(&self.readers, who)?;
        // Before the file is opened: what is over by now is whole.
        let (sandbox, over) = self.sandbox_of(read)?;
        let name = match read.file {
            OutputFile::Stdout => "stdout",
            OutputFile::Stderr => "stderr",
        };
        let failed = |error: io::Error| refusal(&read.task, name, &error);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let sandbox = openat2(&self.root, sandbox.as_str(), below(flags));
        let kept = Kept::new(sandbox.map_err(|errno| failed(errno.into()))?, name);
        let (file, position) = kept.open(read.offset).map_err(failed)?;
        Ok(Opened {
            kept,
            file,
            position,
            until: over.filter(|_| read.follow),
            place,
        })
    }
}

impl State {
    /// Finds the container in which a task runs.
    fn container(
        &self,
        framework: &FrameworkId,
        task: &TaskId,
    ) -> Result<(&ContainerId, &Running), Refusal> {
        let components = task_sandboxes(framework, task);
        let is_of = |running: &Running| {
            let parts = running.sandbox.split_last();
            parts.is_some_and(|(_, of)| *of == components)
        };
        let found = self.containers.iter().find(|(_, running)| is_of(running));
        found.ok_or_else(|| Refusal::Final(format!("task {task} does not run here")))
    }
}

/// Names the directory above all sandboxes of a framework's tasks.
fn directory_of(framework: &FrameworkId) -> Vec<String> {
    let any = TaskId::new("any").expect("it is a valid id");
    let mut components = task_sandboxes(framework, &any);
    components.pop();
    components
}

/// Returns the name of the newest sandbox in a directory: containers are numbered, and of two
/// numbers the longer is the higher.
fn newest(root: impl AsFd, directory: &str) -> io::Result<Option<String>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = openat2(root, directory, below(flags))?;
    let names = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.max_by(|a, b| (a.len(), a).cmp(&(b.len(), b))))
}

/// Says how to open: nothing on the way may be a link, and nothing may lead out.
fn below(flags: OFlag) -> OpenHow {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    OpenHow::new().flags(flags).resolve(resolve)
}

/// Opens a regular file for reading.
pub(crate) fn open_file(root: impl AsFd, path: &str) -> io::Result<File> {
    // Without O_NONBLOCK a pipe in place of the file would stop us.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let how = below(flags | OFlag::O_NOCTTY | OFlag::O_CLOEXEC);
    let file = File::from(openat2(root, path, how)?);
    let found = file.metadata()?;
    if found.is_file() {
        return Ok(file);
    }
    let kind = found.file_type();
    let kind = match (kind.is_dir(), kind.is_fifo()) {
        (true, _) => "a directory",
        (_, true) => "a pipe",
        (false, false) => "no regular file",
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {kind}"),
    ))
}

fn refusal(task: &TaskId, name: &str, error: &io::Error) -> Refusal {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => Refusal::Final(format!("no output of task {task} is here")),
        // EAGAIN: something was moved on the way while the path was followed.
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EAGAIN | Errno::EINTR) => {
            Refusal::NotNow(format!(
                "{name} of task {task} cannot be opened now: {error}"
            ))
        }
        // Foreign type: errors are many, and the rest of them stay.
        Some(_) | None => Refusal::Final(format!("{name} of task {task} is not read: {error}")),
    }
}

/// Checks that the kernel can open files below a directory only.
fn check_kernel(root: impl AsFd) -> anyhow::Result<()> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    openat2(root, ".", how).map(drop).context(
        "task output cannot be served safely: openat2 with RESOLVE_BENEATH is needed (Linux 5.6)",
    )
}

/// Counts who reads, so that nobody's readers use up the agent's files.
#[derive(Debug)]
struct Readers {
    most: usize,
    most_of_one: usize,
    now: Mutex<HashMap<Principal, usize>>,
}

impl Readers {
    fn within_limits() -> anyhow::Result<Self> {
        let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read limits")?;
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Ok(Self::of(READERS.min(files / 4 * 3)))
    }

    fn of(most: usize) -> Self {
        Self {
            most,
            most_of_one: most / 4 * 3,
            now: Mutex::default(),
        }
    }

    fn admit(readers: &Arc<Self>, who: &Principal) -> Result<Place, Refusal> {
        let mut now = readers.now.lock();
        let all: usize = now.values().sum();
        let theirs = now.get(who).copied().unwrap_or(0);
        if theirs >= readers.most_of_one {
            let reason = format!("{who} reads {theirs} files of this agent, and may read no more");
            return Err(Refusal::NotNow(reason));
        }
        if all >= readers.most {
            let reason = format!("{all} files of this agent are read, and it can serve no more");
            return Err(Refusal::NotNow(reason));
        }
        now.insert(who.clone(), theirs + 1);
        Ok(Place {
            readers: Arc::clone(readers),
            who: who.clone(),
        })
    }
}

/// A reader's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    readers: Arc<Readers>,
    who: Principal,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut now = self.readers.now.lock();
        match now.get_mut(&self.who) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(now.remove(&self.who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    use super::*;

    fn who(role: PeerRole, name: &str) -> Principal {
        Principal {
            role,
            name: name.into(),
        }
    }

    fn read() -> Read {
        Read {
            framework: FrameworkId::new("f").unwrap(),
            task: TaskId::new("t").unwrap(),
            file: OutputFile::Stdout,
            offset: 0,
            follow: true,
        }
    }

    fn sandbox(container: &str) -> Vec<String> {
        ["tasks", "f", "t", container].map(String::from).into()
    }

    /// Makes a sandbox of the task, as if it had written `text`.
    fn written(dir: &TempDir, container: &str, text: &str) -> PathBuf {
        let of_task = dir
            .path()
            .join("sandboxes")
            .join(sandbox(container).join("/"));
        fs::create_dir_all(&of_task).unwrap();
        fs::write(of_task.join("stdout"), text).unwrap();
        of_task
    }

    /// A work directory with the sandbox of one task, who wrote "hello".
    fn work_dir() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        written(&dir, "c000001", "hello");
        dir
    }

    fn content(opened: &mut Opened) -> String {
        let mut content = String::new();
        opened.file.read_to_string(&mut content).unwrap();
        content
    }

    fn refused(sandboxes: &Sandboxes) -> Refusal {
        let operator = who(PeerRole::Operator, "o");
        sandboxes.serve(&operator, &read()).unwrap_err()
    }

    #[test]
    fn only_operators_and_the_owner_may_read() {
        let dir = work_dir();
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        sandboxes.owned(&read().framework, Some("alice"));
        let may =
            |sandboxes: &Sandboxes, role, name| sandboxes.serve(&who(role, name), &read()).is_ok();
        assert!(may(&sandboxes, PeerRole::Operator, "any"));
        assert!(may(&sandboxes, PeerRole::Framework, "alice"));
        assert!(!may(&sandboxes, PeerRole::Framework, "bob"));
        assert!(!may(&sandboxes, PeerRole::Agent, "alice"));
        // The agent starts again, the task is long over, and somebody takes the framework's id.
        drop(sandboxes);
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        sandboxes.owned(&read().framework, Some("bob"));
        assert!(may(&sandboxes, PeerRole::Framework, "alice"));
        assert!(!may(&sandboxes, PeerRole::Framework, "bob"));
        // The owner is forgotten with the output.
        drop(sandboxes);
        fs::remove_dir_all(dir.path().join("sandboxes/tasks/f")).unwrap();
        drop(Sandboxes::open(dir.path()).unwrap());
        written(&dir, "c000001", "hello");
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        assert!(!may(&sandboxes, PeerRole::Framework, "alice"));
    }

    #[test]
    fn a_removed_sandbox_takes_what_it_leaves_empty_with_it() {
        // AG-38
        let dir = work_dir();
        written(&dir, "c000002", "hello");
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        sandboxes.remove(&sandbox("c000001")).unwrap();
        let of_task = dir.path().join("sandboxes/tasks/f/t");
        assert!(of_task.join("c000002").exists());
        // One that is about to be made keeps the directories above it.
        let id = ContainerId::new("c000003").unwrap();
        sandboxes.runs(&id, &sandbox("c000003"));
        sandboxes.remove(&sandbox("c000002")).unwrap();
        assert!(of_task.exists());
        sandboxes.happened(&ContainerEvent::Lost { id });
        sandboxes.remove(&sandbox("c000003")).unwrap();
        assert!(!dir.path().join("sandboxes/tasks/f").exists());
        assert!(dir.path().join("sandboxes/tasks").exists());
        assert!(sandboxes.disk_used().unwrap() <= 1_000);
    }

    #[test]
    fn a_task_cannot_make_the_agent_read_anything_else() {
        // RG-16; MESOS-8257: links of a task's making, absolute or not, are not followed
        let dir = work_dir();
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        let secret = dir.path().join("secret");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("stdout"), "the host's").unwrap();
        let of_task = written(&dir, "c000001", "hello");
        let stdout = of_task.join("stdout");
        let Refusal::Final(_) = ({
            fs::remove_file(&stdout).unwrap();
            symlink(secret.join("stdout"), &stdout).unwrap();
            refused(&sandboxes)
        }) else {
            panic!("to be asked for again");
        };
        fs::remove_file(&stdout).unwrap();
        symlink("../c000001/other", &stdout).unwrap();
        fs::write(of_task.join("other"), "a link within").unwrap();
        refused(&sandboxes);
        // A pipe that nobody writes to would stop whoever opens it.
        fs::remove_file(&stdout).unwrap();
        mkfifo(&stdout, Mode::S_IRWXU).unwrap();
        let Refusal::Final(reason) = refused(&sandboxes) else {
            panic!("to be asked for again");
        };
        assert!(reason.ends_with("it is a pipe"), "{reason}");
        fs::remove_file(&stdout).unwrap();
        fs::create_dir(&stdout).unwrap();
        refused(&sandboxes);
        // The sandbox itself, moved away and replaced.
        fs::remove_dir_all(&of_task).unwrap();
        symlink(&secret, &of_task).unwrap();
        refused(&sandboxes);
        fs::remove_file(&of_task).unwrap();
        let missing = Refusal::Final("no output of task t is here".into());
        assert_eq!(refused(&sandboxes), missing);
    }

    #[test]
    fn one_principal_leaves_room_for_others() {
        let readers = Arc::new(Readers::of(8));
        let (alice, bob) = (
            who(PeerRole::Framework, "alice"),
            who(PeerRole::Framework, "bob"),
        );
        let mut places = Vec::new();
        let refused = loop {
            match Readers::admit(&readers, &alice) {
                Ok(place) => places.push(place),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, Refusal::NotNow(_)), "{refused:?}");
        assert_eq!(places.len(), 6);
        let of_bob = [(); 2].map(|()| Readers::admit(&readers, &bob).unwrap());
        assert!(Readers::admit(&readers, &bob).is_err(), "8 at most");
        drop(of_bob);
        places.pop();
        places.push(Readers::admit(&readers, &alice).unwrap());
        drop(places);
        assert!(readers.now.lock().is_empty());
    }

    #[test]
    fn a_file_grows_until_its_container_has_ended() {
        let dir = work_dir();
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        let id = ContainerId::numbered(1);
        sandboxes.runs(&id, &sandbox("c000001"));
        // What was there before, and after a restart: the number counts, and not how it is spelt.
        written(&dir, "c999999", "old");
        let operator = who(PeerRole::Operator, "o");
        let mut opened = sandboxes.serve(&operator, &read()).unwrap();
        assert_eq!(content(&mut opened), "hello", "the one that runs");
        let over = opened.until.expect("it grows");
        assert!(!*over.borrow());
        sandboxes.happened(&ContainerEvent::Exited {
            id,
            exit: Exit::Code(0),
            breach: None,
        });
        assert!(*over.borrow());
        let mut opened = sandboxes.serve(&operator, &read()).unwrap();
        assert!(opened.until.is_none(), "it is whole now");
        assert_eq!(content(&mut opened), "old");
        written(&dir, "c1000000", "new");
        let mut opened = sandboxes.serve(&operator, &read()).unwrap();
        assert_eq!(content(&mut opened), "new");
    }
}
