//! The first process of a container: carries its [`Launch`] out, starts the program, passes SIGTERM
//! on to all of the container, reaps what is orphaned, and tells the launcher how the program
//! ended.
//!
//! When it exits, the kernel kills whatever is left in the process namespace; in one that is shared
//! with another container it does that itself. It is a copy of the [nursery](crate::nursery) and is
//! given files: from one it reads its [`Order`], to one it writes [`Report`]s, and others are
//! namespaces that it enters.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Pid, fchownat};
use serde::{Deserialize, Serialize};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::status::Exit;

use crate::confine::{self, Seals};
use crate::devices;
use crate::error::{Error, Result};
use crate::hide;
use crate::isolators::persistent;
use crate::launch::{Launch, Mount, Root};
use crate::mountapi;
use crate::namespaces;
use crate::owner;
use crate::passing;
use crate::place::{Inside, Kind, kind_of};
use crate::process::Program;
use crate::procfs;
use crate::root::{self, Assembly};
use crate::seccomp::{self, Filter};
use crate::spawn::{Confinement, Credentials, Files, Image, Plan, Signals, spawn};
use crate::terminal;
use crate::tree;
use crate::users;
use crate::volumes::{Volumes, c_string, outside};
use crate::wait::{self, Whom};
use crate::wire;

/// What the launcher asks of an init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: ContainerId,
    pub(crate) program: Program,
    pub(crate) seals: Seals,
    /// The sandbox on the host.
    pub(crate) directory: PathBuf,
    pub(crate) launch: Launch,
    /// What the profile of the launch is compiled to.
    pub(crate) filter: Option<Filter>,
    /// Its control groups, by controller; one without a name is of version 2.
    pub(crate) groups: Vec<(String, PathBuf)>,
    /// Whether we are the machine's root.
    pub(crate) privileged: bool,
}

/// What an init tells the launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program runs.
    Started,
    /// It does not, and will not.
    Failed(String),
    /// It has ended.
    Ended(Exit),
}

/// Runs the init, if its process could be prepared; its own exit code only matters if nothing was
/// reported.
pub(crate) fn run_with(order: Result<OwnedFd>, reports: OwnedFd, files: Vec<OwnedFd>) -> i32 {
    let mut report = File::from(reports);
    let order = order.and_then(read);
    let shares = order
        .as_ref()
        .is_ok_and(|order| order.launch.share_pid.is_some());
    let started = order.and_then(|order| start(&order, files));
    let result = started.map_or_else(
        |error| Report::Failed(error.to_string()),
        |program| run(program, shares, &mut report),
    );
    let ended = match shares {
        true => end_all(),
        false => Ok(()),
    };
    let told = tell(&mut report, &result);
    i32::from(ended.and(told).is_err())
}

/// Tells that the program runs, waits for its end, and returns that.
fn run(program: Pid, shares: bool, report: &mut File) -> Report {
    match tell(report, &Report::Started).and_then(|()| wait_for(program, shares)) {
        Ok(exit) => Report::Ended(exit),
        Err(error) => Report::Failed(error.to_string()),
    }
}

/// Ends all that descends from us, for where the kernel does not: orphans are ours.
pub(crate) fn end_all() -> Result<()> {
    let failed = |error| Error::system("waitid", error);
    while wait::has_children().map_err(failed)? {
        for child in procfs::other_children(|_| false) {
            // It may have ended by itself.
            let _ = kill(child.pid, Signal::SIGKILL);
            wait::reap_at_last(child.pid).map_err(failed)?;
        }
    }
    Ok(())
}

fn read(order: OwnedFd) -> Result<Order> {
    let mut bytes = Vec::new();
    let read = File::from(order).read_to_end(&mut bytes);
    read.map_err(|error| Error::system("read the order", error))?;
    postcard::from_bytes(&bytes).map_err(|error| Error::Frame(error.to_string()))
}

/// Makes the container what it is to be, starts its program in it, and then gives up all that
/// took.
fn start(order: &Order, files: Vec<OwnedFd>) -> Result<Pid> {
    let launch = &order.launch;
    confine::shut_off()?;
    confine::leave_keyring()?;
    if launch.share_pid.is_some() {
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|errno| Error::system("become a subreaper", errno))?;
    }
    let sandbox = here()?;
    let mut files = files.into_iter();
    let shm = namespaces::enter(&order.id, launch, &mut files)?;
    let users = match launch.user_namespace.is_some() {
        true => files.next(),
        false => None,
    };
    let users = users.as_ref().map(AsFd::as_fd);
    let link = match launch.terminal.is_some() {
        true => files.next(),
        false => None,
    };
    let volumes = Volumes::open(launch, order.seals.empty())?;
    let given = volumes.given()?;
    namespaces::cut_off()?;
    let placed = match &launch.root {
        None => on_host_root(order, volumes, shm, sandbox.as_fd())?,
        Some(root) => own_root(order, root, volumes, shm, sandbox.as_fd(), users)?,
    };
    let user = placed.user.as_ref();
    if let Some(user) = user.filter(|_| !order.privileged) {
        let (uid, gid) = (user.uid, user.gid);
        return Err(Error::Invalid(format!(
            "user {uid} of group {gid}: only root can run tasks of other users"
        )));
    }
    let is_made_for_it = launch.mounts.iter().any(Mount::is_made_for_it);
    if launch.root.is_some() || launch.user_namespace.is_some() || is_made_for_it {
        own(&sandbox, launch, user)?;
    }
    if let Some(user) = user {
        let (uid, gid) = outside(launch.user_namespace.as_ref(), (user.uid, user.gid))?;
        for directory in &given {
            persistent::give(directory, uid, gid)?;
        }
    }
    drop((sandbox, given));
    let terminal = make_terminal(launch, placed.user.as_ref(), link)?;
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let subject = Subject {
        program: &order.program,
        launch,
        filter: order.filter.as_ref(),
        files: match &terminal {
            Some(near) => [near.as_fd(); 3],
            None => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        },
        terminal: terminal.is_some(),
    };
    let program = execute(&subject, &placed, users)?;
    drop(terminal);
    // It could otherwise be a way around.
    confine::restrict()?;
    Ok(program)
}

/// Makes the program's terminal where it is, if it is to have one, and says so to the launcher;
/// returns the near side.
fn make_terminal(
    launch: &Launch,
    user: Option<&Credentials>,
    link: Option<OwnedFd>,
) -> Result<Option<OwnedFd>> {
    let (Some(size), Some(link)) = (launch.terminal, link) else {
        return Ok(None);
    };
    let (far, near) = terminal::open(&Inside::open(Path::new("/"), false)?, size)?;
    if let Some(user) = user {
        let mapping = launch.user_namespace.as_ref();
        terminal::give(&near, user, mapping, launch.root.is_some())?;
    }
    let told = passing::send(&link, &[0], &[far.as_fd()]);
    told.map_err(|error| Error::system("hand a terminal over", error))?;
    Ok(Some(near))
}

/// Where the program starts, and as whom.
pub(crate) struct Placed {
    /// `None` is where we are.
    pub(crate) directory: Option<CString>,
    pub(crate) user: Option<Credentials>,
}

fn on_host_root(
    order: &Order,
    mut volumes: Volumes<'_>,
    shm: Option<OwnedFd>,
    sandbox: BorrowedFd<'_>,
) -> Result<Placed> {
    let launch = &order.launch;
    namespaces::mount_proc()?;
    volumes.make_secrets()?;
    let is_elsewhere = hide::apply(launch, sandbox, &order.directory)?;
    // Of the host's tree nothing is anybody's but the sandbox.
    let inside = Inside::open(Path::new("/"), false)?.making_below(&order.directory);
    let shm = match (shm, launch.shm_size) {
        (None, Some(_)) => {
            let made = devices::private_memory(launch);
            Some(made.map_err(|errno| Error::system("make /dev/shm", errno))?)
        }
        (shared, _) => shared,
    };
    if let Some(shm) = shm {
        let path = Path::new("/dev/shm");
        let target = inside.target(path, Kind::Directory)?;
        mountapi::attach(shm, target).map_err(|errno| Error::file("mount", path, errno))?;
    }
    volumes.mount(&inside)?;
    order.seals.apply(launch.system_paths)?;
    let sandbox = is_elsewhere.then_some(&*order.directory);
    let directory = launch.working_directory.as_deref().or(sandbox);
    let directory = directory.map(c_string);
    let user = order.program.credentials.clone();
    let user = complete(launch, order.privileged, user);
    let directory = directory.transpose()?;
    Ok(Placed { directory, user })
}

fn own_root(
    order: &Order,
    root: &Root,
    volumes: Volumes<'_>,
    shm: Option<OwnedFd>,
    sandbox: BorrowedFd<'_>,
    users: Option<BorrowedFd<'_>>,
) -> Result<Placed> {
    let launch = &order.launch;
    namespaces::hide_other_groups()?;
    let sandbox_inside = launch.sandbox_inside(Path::new(""));
    let assembly = Assembly {
        launch,
        root,
        shelf: order.seals.empty(),
        frame: order.seals.frame(),
        sandbox,
        sandbox_inside,
        groups: &order.groups,
        user_namespace: users,
        shm,
        privileged: order.privileged,
    };
    let inside = assembly.build(volumes)?;
    let wanted = order.program.user.as_deref();
    let user = wanted
        .map(|user| users::inside(&inside, user))
        .transpose()?;
    root::enter(&inside)?;
    let directory = launch
        .working_directory
        .as_deref()
        .unwrap_or(sandbox_inside);
    let directory = Some(c_string(directory)?);
    let user = complete(launch, order.privileged, user);
    Ok(Placed { directory, user })
}

/// Adds to a user what the launch does; `None` is who we are.
pub(crate) fn complete(
    launch: &Launch,
    privileged: bool,
    user: Option<Credentials>,
) -> Option<Credentials> {
    let is_ours = |user: &Credentials| user.uid == 0 && user.gid == 0;
    // Without privileges there is nobody else to become.
    let user = user.filter(|user| privileged || !is_ours(user));
    let changes = launch.user_namespace.is_some() || !launch.groups.is_empty();
    let root = || Credentials {
        uid: 0,
        gid: 0,
        groups: Vec::new(),
    };
    let mut user = user.or_else(|| changes.then(root))?;
    user.groups.extend(&launch.groups);
    Some(user)
}

/// Gives the sandbox, its files and the program's pipes to the program's user.
fn own(sandbox: &OwnedFd, launch: &Launch, user: Option<&Credentials>) -> Result<()> {
    let Some(user) = user else {
        return Ok(());
    };
    let (uid, gid) = outside(launch.user_namespace.as_ref(), (user.uid, user.gid))?;
    let failed = |errno| Error::system("change the owner of the sandbox", errno);
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for file in [
        sandbox.as_fd(),
        stdin.as_fd(),
        stdout.as_fd(),
        stderr.as_fd(),
    ] {
        // The machine's `/dev/null` stays whose it is.
        if kind_of(&fstat(file).map_err(failed)?) == SFlag::S_IFCHR {
            continue;
        }
        let flags = AtFlags::AT_EMPTY_PATH;
        fchownat(file, "", Some(uid), Some(gid), flags).map_err(failed)?;
    }
    // Who made it did not know yet whose it is to be.
    owner::give_all_below(sandbox.as_fd(), uid, gid).map_err(failed)
}

/// What is executed in a container.
pub(crate) struct Subject<'a> {
    pub(crate) program: &'a Program,
    pub(crate) launch: &'a Launch,
    /// What the profile of the launch is compiled to.
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) files: [BorrowedFd<'a>; 3],
    /// Whether the files are a terminal.
    pub(crate) terminal: bool,
}

/// Executes a program with nothing but what its launch leaves it.
pub(crate) fn execute(
    subject: &Subject<'_>,
    placed: &Placed,
    users: Option<BorrowedFd<'_>>,
) -> Result<Pid> {
    let (program, launch) = (subject.program, subject.launch);
    let guard = (!launch.allow_user_namespaces).then(seccomp::guard);
    let of_projects = launch.keeps_project.then(seccomp::of_projects);
    let guards = guard.into_iter().chain(of_projects);
    let filters: Vec<Filter> = guards.chain(subject.filter.cloned()).collect();
    let confinement = Confinement {
        user_namespace: users,
        rlimits: &launch.rlimits,
        bounding: launch.capabilities.bounding,
        effective: launch.capabilities.effective,
        no_new_privileges: launch.no_new_privileges,
        filters: &filters,
    };
    let plan = Plan {
        image: Image::Paths(&program.paths),
        arguments: &program.arguments,
        environment: &program.environment,
        directory: placed.directory.as_ref(),
        files: Files {
            inherited: &subject.files,
        },
        terminal: subject.terminal,
        credentials: placed.user.as_ref(),
        signals: Signals::Open,
        open_files: None,
        confinement: Some(&confinement),
    };
    spawn(&plan, &program.name)
}

/// Opens where we are, which is the sandbox.
fn here() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(".", flags, Mode::empty());
    opened.map_err(|errno| Error::file("open", Path::new("."), errno))
}

/// Passes SIGTERM on and reaps, until the program ends.
fn wait_for(program: Pid, shares: bool) -> Result<Exit> {
    // All others stay blocked too, and pend.
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGCHLD);
    wanted.add(Signal::SIGTERM);
    loop {
        let signal = wanted.wait();
        let signal = signal.map_err(|errno| Error::system("sigwait", errno))?;
        if signal == Signal::SIGTERM {
            ask_to_end(program, shares);
        } else if let Some(exit) = reap(program)? {
            return Ok(exit);
        }
    }
}

/// Asks all of the container to end: what has left the program's group and session too, and what
/// was put beside it (TK-85).
fn ask_to_end(program: Pid, shares: bool) {
    if shares {
        let orphans = procfs::other_children(|pid| pid == program);
        return tree::terminate(program, orphans.into_iter().map(|orphan| orphan.pid));
    }
    // All of our process namespace but us, at one moment. The program may have just ended; its
    // SIGCHLD is on the way then.
    let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
}

/// Reaps all dead children; returns how the program ended, if it is one of them.
fn reap(program: Pid) -> Result<Option<Exit>> {
    loop {
        let dead = wait::reap(Whom::Anyone).map_err(|error| Error::system("waitid", error))?;
        match dead {
            Some((pid, exit)) if pid == program => return Ok(Some(exit)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

fn tell(file: &mut File, report: &Report) -> Result<()> {
    let mut bytes = Vec::new();
    wire::encode(report, &mut bytes)?;
    let written = file.write_all(&bytes);
    written.map_err(|error| Error::system("write a report", error))
}
