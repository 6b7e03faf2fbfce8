//! The attempts, what holds each, and how that is switched off.

use std::path::Path;

use tepui_core::protocol::container::ContainerSpec;
use tepui_isolation::launch::{
    Bind, CapabilitySet, Device, DeviceGuard, DeviceKind, IdRange, Ipc, Mount, Network, Rlimit,
    RlimitKind, RlimitValues, Root, Seccomp, Source, SystemPaths, Tmpfs, UserNamespace,
};
use tepui_isolation::{Launch, Logs};

use super::attempts::*;
use crate::Host;
use crate::common::id;

/// How an attempt is made.
pub(crate) enum How {
    /// By the test's own binary.
    Call(fn() -> std::io::Result<()>),
    /// By a shell; it has succeeded if the script does.
    Script(&'static str),
}

type Change = fn(&mut Launch, &mut ContainerSpec, &Host);

/// An attempt.
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    pub(crate) how: How,
    /// What holds it, for people.
    pub(crate) guard: &'static str,
    /// What both containers have besides.
    pub(crate) with: Change,
    /// Switches the guard off.
    pub(crate) off: Change,
    /// Why it cannot be made here.
    pub(crate) missing: fn(&Host) -> Option<&'static str>,
}

const fn call(
    name: &'static str,
    how: fn() -> std::io::Result<()>,
    guard: &'static str,
    off: Change,
) -> Attempt {
    Attempt {
        name,
        how: How::Call(how),
        guard,
        with: |_, _, _| {},
        off,
        missing: |_| None,
    }
}

const fn script(
    name: &'static str,
    script: &'static str,
    guard: &'static str,
    with: Change,
    off: Change,
) -> Attempt {
    Attempt {
        name,
        how: How::Script(script),
        guard,
        with,
        off,
        missing: |_| None,
    }
}

const fn with(attempt: Attempt, with: Change) -> Attempt {
    Attempt { with, ..attempt }
}

const fn unless(attempt: Attempt, missing: fn(&Host) -> Option<&'static str>) -> Attempt {
    Attempt { missing, ..attempt }
}

/// Gives capabilities, and the calls that they are for.
fn grant(launch: &mut Launch, names: &str) {
    let set: CapabilitySet = names.parse().unwrap();
    launch.capabilities.bounding = launch.capabilities.bounding.with(set);
}

fn unfiltered(launch: &mut Launch, _: &mut ContainerSpec, _: &Host) {
    launch.seccomp = Seccomp::Unconfined;
}

fn open_paths(launch: &mut Launch, _: &mut ContainerSpec, _: &Host) {
    launch.system_paths = SystemPaths::Unconfined;
}

fn on_host_root(launch: &mut Launch, _: &mut ContainerSpec, _: &Host) {
    launch.root = None;
    launch
        .mounts
        .retain(|mount| mount.target() == Path::new("/attempt"));
}

fn beside_the_victim(launch: &mut Launch, _: &mut ContainerSpec, _: &Host) {
    launch.share_pid = Some(id(1));
    grant(launch, "SYS_PTRACE");
}

fn with_disk(launch: &mut Launch, _: &mut ContainerSpec, host: &Host) {
    let (major, minor) = host.disk.unwrap();
    launch.devices.push(Device {
        path: "/dev/disk".into(),
        kind: DeviceKind::Block(major, minor),
        mode: 0o600,
        owner: (0, 0),
    });
}

fn open_devices(launch: &mut Launch, _: &mut ContainerSpec, _: &Host) {
    launch.device_guard = DeviceGuard::Off;
}

fn no_disk(host: &Host) -> Option<&'static str> {
    host.disk
        .is_none()
        .then_some("no loop device or no mkfs.ext4")
}

fn lacks(path: &str, why: &'static str) -> Option<&'static str> {
    (!Path::new(path).exists()).then_some(why)
}

/// Gives the test's directory as a volume.
fn with_outside(launch: &mut Launch, host: &Host, change: impl FnOnce(&mut Bind)) {
    let mut bind = Bind::new(&host.outside, "/volume");
    change(&mut bind);
    launch.mounts.push(Mount::Bind(bind));
}

fn bind_at<'a>(launch: &'a mut Launch, target: &str) -> &'a mut Bind {
    let mut binds = launch.mounts.iter_mut().filter_map(|mount| match mount {
        Mount::Bind(bind) => Some(bind),
        Mount::Tmpfs(_) | Mount::Secret(_) => None,
    });
    binds.find(|bind| bind.target == Path::new(target)).unwrap()
}

fn scratch(launch: &mut Launch) -> &mut Tmpfs {
    let position = launch
        .mounts
        .iter()
        .position(|mount| mount.target() == Path::new("/scratch"));
    let position = position.unwrap_or_else(|| {
        launch.mounts.push(Mount::Tmpfs(Tmpfs {
            target: "/scratch".into(),
            size: Some(1 << 20),
            inodes: Some(100),
            mode: 0o755,
        }));
        launch.mounts.len() - 1
    });
    match &mut launch.mounts[position] {
        Mount::Tmpfs(tmpfs) => tmpfs,
        Mount::Bind(_) | Mount::Secret(_) => panic!("it is a tmpfs"),
    }
}

fn limited(kind: RlimitKind, most: u64) -> Rlimit {
    Rlimit {
        kind,
        values: Some(RlimitValues {
            soft: most,
            hard: most,
        }),
    }
}

/// On the host's root, without what belongs to the agent.
fn without_the_agent(launch: &mut Launch, spec: &mut ContainerSpec, host: &Host) {
    on_host_root(launch, spec, host);
    launch.hidden = vec![host.dir.clone()];
}

fn with_the_agent(launch: &mut Launch, _: &mut ContainerSpec, _: &Host) {
    launch.hidden.clear();
}

pub(crate) const ATTEMPTS: [Attempt; 59] = [
    call(
        "mount a filesystem",
        mount_filesystem,
        "no CAP_SYS_ADMIN",
        |l, _, _| {
            grant(l, "SYS_ADMIN");
        },
    ),
    call(
        "mount through the new calls",
        mount_through_new_calls,
        "no CAP_SYS_ADMIN",
        |l, _, _| {
            grant(l, "SYS_ADMIN");
        },
    ),
    unless(
        call(
            "mount the host's disk",
            mount_disk,
            "no node, no CAP_SYS_ADMIN",
            |l, s, h| {
                with_disk(l, s, h);
                grant(l, "SYS_ADMIN");
            },
        ),
        no_disk,
    ),
    unless(
        call(
            "read the host's disk",
            open_disk,
            "a /dev of its own",
            with_disk,
        ),
        no_disk,
    ),
    call(
        "make a device node",
        make_device,
        "no CAP_MKNOD",
        |l, _, _| grant(l, "MKNOD"),
    ),
    unless(
        with(
            call(
                "read the host's disk by a node of its own",
                open_own_disk_node,
                "rules for devices",
                open_devices,
            ),
            |l, _, _| grant(l, "MKNOD"),
        ),
        no_disk,
    ),
    unless(
        with(
            call(
                "read the host's disk on the host's root",
                open_hosts_disk_node,
                "rules for devices",
                open_devices,
            ),
            on_host_root,
        ),
        no_disk,
    ),
    script(
        "open a device node of a volume",
        "head -c 1 /volume/nodes/zero > /dev/null",
        "no devices in volumes",
        |l, _, h| with_outside(l, h, |_| {}),
        |l, _, _| bind_at(l, "/volume").no_devices = false,
    ),
    script(
        "become root by a volume's program, mounted without effect",
        "[ $(/volume/nodes/id -u) = 0 ]",
        "no set-user-id in volumes",
        |l, _, h| {
            with_outside(l, h, |_| {});
            l.user = Some("ana".to_owned());
            l.no_new_privileges = false;
        },
        |l, _, _| bind_at(l, "/volume").no_suid = false,
    ),
    script(
        "become root by a program of the image",
        "[ $(/volume/nodes/id -u) = 0 ]",
        "no new privileges",
        |l, _, h| {
            with_outside(l, h, |bind| bind.no_suid = false);
            l.user = Some("ana".to_owned());
        },
        |l, _, _| l.no_new_privileges = false,
    ),
    script(
        "execute what a volume holds",
        "/volume/nodes/id",
        "nothing to be executed in it",
        |l, _, h| with_outside(l, h, |bind| bind.no_exec = true),
        |l, _, _| bind_at(l, "/volume").no_exec = false,
    ),
    script(
        "write to a volume",
        ": > /volume/escaped",
        "a read-only bind",
        |l, _, h| with_outside(l, h, |bind| bind.read_only = true),
        |l, _, _| bind_at(l, "/volume").read_only = false,
    ),
    script(
        "write to the image",
        ": > /escaped",
        "a read-only root",
        |l, _, _| {
            if let Some(Root::Directory { read_only, .. }) = &mut l.root {
                *read_only = true;
            }
        },
        |l, _, _| {
            if let Some(Root::Directory { read_only, .. }) = &mut l.root {
                *read_only = false;
            }
        },
    ),
    script(
        "leave by a link in the sandbox that is a volume",
        "cat /volume/secret",
        "sources below a directory are resolved in it",
        |l, _, h| {
            let sandbox = h.dir.join("sandboxes/shared");
            std::fs::create_dir_all(&sandbox).unwrap();
            let _ = std::os::unix::fs::symlink(&h.outside, sandbox.join("link"));
            let mut bind = Bind::new("/", "/volume");
            bind.source = Source::Below {
                directory: sandbox,
                path: "link/.".into(),
                create: false,
            };
            // What the link means inside is there, and has no secret.
            let meant = h
                .dir
                .join("sandboxes/shared")
                .join(h.outside.strip_prefix("/").unwrap());
            std::fs::create_dir_all(meant).unwrap();
            l.mounts.push(Mount::Bind(bind));
        },
        |l, _, h| {
            let link = h.dir.join("sandboxes/shared/link");
            bind_at(l, "/volume").source = Source::Host(link);
        },
    ),
    script(
        "leave by a link of the image",
        "cat /to-the-host/secret",
        "a root of its own",
        |_, _, _| {},
        |l, _, h| {
            // What the link leads to on the host, put where it leads to inside.
            l.mounts
                .push(Mount::Bind(Bind::new(&h.outside, &h.outside)));
        },
    ),
    call(
        "climb out of the root",
        climb_out_of_the_root,
        "no other root is left",
        on_host_root,
    ),
    call(
        "write core_pattern",
        write_core_pattern,
        "read-only /proc/sys",
        open_paths,
    ),
    unless(
        call(
            "write sysrq-trigger",
            write_sysrq,
            "read-only /proc",
            open_paths,
        ),
        |_| lacks("/proc/sysrq-trigger", "no such file"),
    ),
    call("write to /sys", write_sys, "read-only /sys", open_paths),
    unless(
        with(
            call(
                "write release_agent",
                write_release_agent,
                "read-only groups",
                open_paths,
            ),
            on_host_root,
        ),
        |_| {
            lacks(
                "/sys/fs/cgroup/memory/release_agent",
                "no control groups of version 1",
            )
        },
    ),
    call(
        "raise its own limit",
        raise_own_limit,
        "read-only groups",
        open_paths,
    ),
    call(
        "read what is masked",
        read_masked,
        "masked paths",
        open_paths,
    ),
    call(
        "trace another's process",
        trace_another,
        "processes of its own",
        beside_the_victim,
    ),
    call(
        "kill another's process",
        signal_another,
        "processes of its own",
        beside_the_victim,
    ),
    call(
        "trace its init",
        trace_init,
        "an init that cannot be traced",
        |l, _, _| {
            grant(l, "SYS_PTRACE");
        },
    ),
    call(
        "read its init's memory",
        read_init,
        "an init that cannot be traced",
        |l, _, _| {
            grant(l, "SYS_PTRACE");
        },
    ),
    call(
        "reach the runtime's binary",
        reach_the_runtime,
        "an init out of reach",
        |l, _, _| {
            grant(l, "SYS_PTRACE");
        },
    ),
    call(
        "overwrite a running binary",
        overwrite_own_image,
        "seals",
        |_, s, _| {
            let unsealed = ("TEPUI_TEST_UNSEALED".to_owned(), "1".to_owned());
            s.command.environment.push(unsealed);
        },
    ),
    call(
        "unshare a user namespace",
        unshare_users,
        "the guard filter",
        |l, s, h| {
            l.allow_user_namespaces = true;
            unfiltered(l, s, h);
        },
    ),
    with(
        call(
            "unshare a user namespace, unfiltered",
            unshare_users,
            "the guard",
            |l, _, _| {
                l.allow_user_namespaces = true;
            },
        ),
        unfiltered,
    ),
    call(
        "clone a user namespace",
        clone_users,
        "the guard filter",
        |l, s, h| {
            l.allow_user_namespaces = true;
            unfiltered(l, s, h);
        },
    ),
    call(
        "open a raw socket",
        raw_socket,
        "no CAP_NET_RAW",
        |l, _, _| grant(l, "NET_RAW"),
    ),
    call(
        "listen to the wire",
        listen_to_the_wire,
        "no CAP_NET_RAW",
        |l, _, _| {
            grant(l, "NET_RAW");
        },
    ),
    call(
        "reach the hypervisor",
        reach_the_hypervisor,
        "seccomp",
        unfiltered,
    ),
    with(
        call(
            "reach the host's loopback",
            connect_to_the_host,
            "its own network",
            |l, _, _| {
                l.network = Network::Host;
            },
        ),
        |l, _, _| l.network = Network::Isolated,
    ),
    call("use the user's keyring", use_keyring, "seccomp", unfiltered),
    call(
        "load a BPF map",
        load_bpf,
        "seccomp and no CAP_BPF",
        |l, _, _| grant(l, "BPF"),
    ),
    call("set up io_uring", set_up_uring, "seccomp", unfiltered),
    call(
        "handle page faults",
        handle_page_faults,
        "seccomp",
        unfiltered,
    ),
    call(
        "open files by handle",
        open_by_handle,
        "no CAP_DAC_READ_SEARCH",
        |l, _, _| {
            grant(l, "DAC_READ_SEARCH");
        },
    ),
    call(
        "rename the host",
        rename_host,
        "no CAP_SYS_ADMIN",
        |l, _, _| grant(l, "SYS_ADMIN"),
    ),
    call("set the clock", set_clock, "no CAP_SYS_TIME", |l, _, _| {
        grant(l, "SYS_TIME")
    }),
    unless(
        call(
            "load a module",
            load_module,
            "no CAP_SYS_MODULE",
            |l, _, _| {
                grant(l, "SYS_MODULE");
            },
        ),
        |_| lacks("/proc/modules", "a kernel without modules"),
    ),
    call(
        "restart the machine",
        reboot,
        "no CAP_SYS_BOOT",
        |l, _, _| grant(l, "SYS_BOOT"),
    ),
    call(
        "read the kernel's log",
        read_kernel_log,
        "seccomp",
        |l, _, _| grant(l, "SYSLOG"),
    ),
    call(
        "read others' /dev/shm",
        read_shared_memory_file,
        "its own /dev/shm",
        on_host_root,
    ),
    with(
        call(
            "read the agent's files",
            read_outside,
            "hidden directories",
            with_the_agent,
        ),
        without_the_agent,
    ),
    with(
        call(
            "write to the agent's files",
            write_outside,
            "hidden directories",
            with_the_agent,
        ),
        without_the_agent,
    ),
    with(
        call(
            "climb from the sandbox to the agent's files",
            climb_from_the_sandbox,
            "hidden directories",
            with_the_agent,
        ),
        without_the_agent,
    ),
    with(
        call(
            "read the agent's key",
            read_outside,
            "hidden files",
            with_the_agent,
        ),
        |l, s, h| {
            on_host_root(l, s, h);
            l.hidden = vec![h.outside.join("secret")];
        },
    ),
    with(
        call(
            "read others' /tmp",
            read_temporary_file,
            "its own /tmp",
            |l, _, _| {
                l.private_tmp = false;
            },
        ),
        |l, s, h| {
            on_host_root(l, s, h);
            l.private_tmp = true;
        },
    ),
    call(
        "use others' IPC objects",
        attach_shared_memory,
        "its own IPC",
        |l, _, _| {
            l.ipc = Ipc::Of(id(1));
        },
    ),
    script(
        "be the host's root on a volume",
        "echo escaped > /volume/secret",
        "users of its own",
        |l, _, h| {
            with_outside(l, h, |_| {});
            let range = IdRange {
                inside: 0,
                outside: 1_000_000,
                count: 65_536,
            };
            let (uids, gids) = (vec![range], vec![range]);
            l.user_namespace = Some(UserNamespace { uids, gids });
        },
        |l, _, _| l.user_namespace = None,
    ),
    script(
        "read what only a group may",
        "cat /volume/secret",
        "only the groups that were given",
        |l, _, h| {
            with_outside(l, h, |_| {});
            l.user = Some("ana".to_owned());
        },
        |l, _, _| l.groups = vec![0],
    ),
    with(
        call(
            "fork without end",
            bomb,
            "a limit on processes",
            |_, s, _| s.limits.pids = None,
        ),
        |_, s, _| s.limits.pids = Some(50),
    ),
    with(
        call(
            "exhaust inodes",
            exhaust_inodes,
            "a limit of the filesystem",
            |l, _, _| {
                scratch(l).inodes = None;
            },
        ),
        |l, _, _| drop(scratch(l).clone()),
    ),
    with(
        call(
            "fill the disk",
            fill_disk,
            "the size of the filesystem",
            |l, _, _| {
                scratch(l).size = None;
            },
        ),
        |l, _, _| drop(scratch(l).clone()),
    ),
    with(
        call(
            "flood standard output",
            flood_stdout,
            "files of a bounded size",
            |l, _, _| l.logs = Some(Logs::UNBOUNDED),
        ),
        |l, _, _| {
            l.logs = Some(Logs {
                file_bytes: 1 << 16,
                files: 4,
            });
        },
    ),
    with(
        call("take all memory", take_memory, "RLIMIT_AS", |l, _, _| {
            l.rlimits.clear()
        }),
        |l, _, _| l.rlimits = vec![limited(RlimitKind::As, 200 << 20)],
    ),
];
