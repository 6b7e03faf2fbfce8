//! Linux containers for Tepui agents: what stands behind `ContainerCommand` and `ContainerEvent`.
//!
//! An agent holds a [`Containerizer`]. That talks over a Unix socket to a *launcher*, one small
//! process per agent that starts containers, is their parent, and outlives the
//! agent; so a restarted agent learns real exit codes. In container mode each container has an
//! *init* of ours as its first process: a copy of the launcher's *nursery*, because to execute a
//! whole binary for each container costs more than all the rest. Launcher and nursery are hidden
//! subcommands of the running binary, executed from a sealed copy in memory
//! ([`entry::run_if_hidden`]).
//!
//! What is guaranteed when a program has ended, before its `Exited` is told:
//!
//! * [`Mode::Container`]: no process of it is left, for certain: the kernel ends a process
//!   namespace with its first process.
//! * [`Mode::Process`]: its process group is gone, and so is every descendant that the launcher
//!   (a subreaper) inherited and that is of the program's session or bears its
//!   `TEPUI_CONTAINER_ID`. A descendant that left the session *and* wiped its environment cannot
//!   be attributed; it is killed as soon as no container runs. A program that forks faster than
//!   it is killed is bounded in container mode only.
//!
//! What [`Mode::Container`] holds, also against a task that is root:
//!
//! * Its limits on CPU, memory and processes. Whatever they are set through is read-only inside,
//!   unless the host mounts it only while the container runs, and the capabilities that could undo
//!   that are gone for good, for the init too; they cannot be had back in a user namespace, because
//!   a task can make none. These are left: `chown`, `dac_override`, `fowner`, `fsetid`, `kill`,
//!   `setgid`, `setuid`, `setpcap`, `net_bind_service`, `sys_chroot`, `audit_write` and `setfcap`.
//!   So a task can neither mount anything nor trace its init, but `sudo` and its kind work:
//!   `no_new_privs` is not set.
//! * Its view of processes, its IPC objects, its host name and the keys of its session.
//! * The launcher: its directory is empty inside, and it refuses peers of other process namespaces.
//! * The machine's devices: it may use terminals and those that every program has, whichever nodes
//!   it finds or makes (`launch::DeviceGuard`).
//!
//! That is the default. It does not hold the root filesystem, the network and the users' keyrings:
//! they are the host's, and a task that is root there can take over the machine if it wants to.
//! What a [`Launch`] adds closes that, piece by piece: a root of its own (whose `/proc`, `/sys` and
//! `/dev` show nothing of the machine's that matters, and from which no link and no mount leads
//! out), volumes, a network, a mapping of users, fewer or more capabilities, `no_new_privs`,
//! filters of system calls (the default profile refuses keys), and limits for each process.
//! `tests/escapes.rs` shows what each piece holds. [`Mode::Process`] holds nothing back that users
//! do not.
//!
//! An agent that is not root has containers too, in a user namespace, where the machine lets it.
//! Nothing limits their CPU, memory and processes, and all their users are the agent's; all else
//! is as above. [`Detected`] says so.
//!
//! A further process can be started in a container that runs ([`Containerizer::enter`]): in its
//! namespaces and groups, with its root, user, variables, and no more rights than its own program
//! has. It ends with the container, and with who asked for it; what it started ends with it, unless
//! root inside has killed what stands beside it: then that ends with the container. An agent that
//! is not root has it in process mode only.
//!
//! What a program writes to its standard output and error is in files of its sandbox that take
//! turns ([`logs`]), byte for byte up to their bound, before its end is told. The launcher reads it
//! from pipes, or from the program's terminal, so no agent is needed for it; what the disk does not
//! take is dropped, and how much is in the launcher's log. A program that is interactive is said
//! something to by [`Enterer::input`].
//!
//! What tasks ask of their containers beyond that is done by isolators ([`Isolator`], those of the
//! crate are in [`isolators`]): roots of images ([`image`]), networks ([`network`]), volumes,
//! rights, and what is fetched into sandboxes ([`fetch`]). Containers of a group have networks,
//! shared memory and directories in common, as far as they ask for that, and no processes.
//!
//! [`cgroup`] can do more than what a container gets today, for those who have no agent too.
//!
//! Deliberately not here: wires, tasks, updates.

mod cancel;
pub mod cgroup;
mod child;
mod config;
mod confine;
mod connect;
mod containerizer;
mod content;
mod devices;
pub mod disk;
mod enter;
pub mod entry;
mod error;
pub mod fetch;
pub mod graphics;
mod guest;
mod hide;
mod idspace;
pub mod image;
mod init;
mod isolator;
pub mod isolators;
#[cfg(feature = "kill-points")]
pub mod kill_point;
#[cfg(not(feature = "kill-points"))]
mod kill_point;
pub mod launch;
mod launcher;
pub mod logs;
mod mode;
mod mountapi;
mod namespaces;
pub mod network;
mod nursery;
mod outlet;
mod owner;
mod passing;
mod pipeline;
mod place;
mod probe;
mod process;
mod procfs;
mod records;
mod root;
mod sampling;
mod sandbox;
mod seccomp;
mod spawn;
mod standing;
mod terminal;
mod tree;
mod users;
mod volumes;
mod wait;
mod wire;

pub use cgroup::{Group, Hierarchies, Limits, MemoryUse, Version};
pub use config::Config;
pub use connect::LauncherCommand;
pub use containerizer::{Containerizer, Sink};
pub use enter::{EnterError, Entered, Notice, Streams, Terminal};
pub use error::{Error, Result};
pub use isolator::{
    Cancel, Cancelled, Init, Isolator, Outcome, Problem, Recovered, Subject, Survivor, Survivors,
    Usage,
};
pub use launch::Launch;
pub use logs::Logs;
pub use mode::{AgentLoss, Detected, Mode};
pub use outlet::{Enterer, ProgramInput};
pub use sampling::{Sample, Sampler};
