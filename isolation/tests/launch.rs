//! What isolators can add to a container, end to end: roots, mounts, users, capabilities, limits,
//! shared namespaces. Needs root and control groups, and says so when it skips.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::launch::{
    Bind, Capabilities, CapabilitySet, Device, IdRange, Ipc, Mount, Network, Propagation, Rlimit,
    RlimitKind, RlimitValues, Root, Seccomp, Secret, Source, Tmpfs, UserNamespace,
};
use tepui_isolation::{Launch, Mode};

use common::*;

fn agent() -> Option<(tempfile::TempDir, Agent)> {
    let detected = Mode::detect();
    if detected.mode == Mode::Process || !detected.unenforced.is_empty() {
        skipped(&detected.reason);
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    // The sandboxes' parents are passable, so that other users reach theirs.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let agent = Agent::start(dir.path(), Mode::Container);
    Some((dir, agent))
}

/// Runs a script in container 1 and returns what it printed.
fn output(agent: &Agent, script: &str, launch: Launch) -> String {
    let exit = agent.run_with(&id(1), sh(script), launch);
    let errors = agent.file(&id(1), "stderr");
    assert_eq!((exit, errors.as_str()), (Exit::Code(0), ""), "{script}");
    let text = agent.file(&id(1), "stdout");
    // The next run appends.
    fs::write(agent.dir.join("sandboxes/c000001/stdout"), "").unwrap();
    text
}

#[test]
fn a_root_of_its_own_has_what_programs_expect_and_nothing_of_the_host() {
    // AG-40, CT-05, CT-14, CT-41
    let Some((dir, agent)) = agent() else { return };
    let script = "pwd; echo $MESOS_SANDBOX $MESOS_DIRECTORY; hostname; echo $PPID
        ls -A /; ls -A /dev; readlink /dev/ptmx /dev/fd
        for node in full null random tty urandom zero; do stat -c '%t:%T %a' /dev/$node; done
        findmnt -n -o OPTIONS /dev/pts | tr , '\\n' | grep -E 'mode|gid' | sort
        stat -f -c %T /dev/shm; stat -c %a /dev/shm
        wc -l < /proc/self/cgroup; cut -d : -f 3 /proc/self/cgroup | sort -u
        : > made; cat /proc/key-users /proc/timer_list";
    let text = output(&agent, script, rooted(dir.path()));
    let sandbox = dir.path().canonicalize().unwrap().join("sandboxes/c000001");
    let expected = format!(
        "/mnt/tepui/sandbox\n/mnt/tepui/sandbox {}\nc000001\n1\n\
         bin\ndev\netc\nlib\nlib64\nmnt\nproc\nroot\nsbin\nsys\ntmp\nusr\n\
         fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
         pts/ptmx\n/proc/self/fd\n\
         1:7 666\n1:3 666\n1:8 666\n5:0 666\n1:9 666\n1:5 666\n\
         gid=5\nmode=620\nptmxmode=666\ntmpfs\n1777\n",
        sandbox.display()
    );
    assert!(text.starts_with(&expected), "{text}\n{expected}");
    // Its own groups are the top of all that it sees, where it has any.
    assert!(text.contains("\n/\n"), "{text}");
    assert!(sandbox.join("made").exists());
    // Nothing but the mounts of the container is there.
    let text = output(
        &agent,
        "cut -d ' ' -f 4,5 /proc/self/mountinfo",
        rooted(dir.path()),
    );
    let root = dir.path().canonicalize().unwrap().join("root");
    for line in text.lines() {
        let (source, target) = line.split_once(' ').unwrap();
        let own = ["/proc", "/sys", "/dev", "/usr", "/mnt/tepui/sandbox"];
        let known = own.iter().any(|own| target.starts_with(own));
        assert!(
            known || (source == root.to_str().unwrap() && target == "/"),
            "{line}"
        );
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(dir.path().to_str().unwrap()),
        "a mount came out"
    );
    agent.shutdown();
}

#[test]
fn the_machine_s_settings_are_read_only_and_the_view_of_groups_is_its_own() {
    // CT-41
    let Some((dir, agent)) = agent() else { return };
    let script = "for path in /proc/sys /proc/irq /proc/bus /proc/fs /proc/sysrq-trigger /sys; do
            [ ! -e $path ] || findmnt -n -o OPTIONS -T $path | grep -q ^ro || echo $path
        done
        find /sys/fs/cgroup -name 'memory.*limit_in_bytes' -o -name memory.max | head -n 1 |
            while read file; do cat $file; ! (: >> $file) 2> refusal || echo written; done";
    let mut spec = spec(&id(1), sh(script));
    spec.limits.mem = Some(tepui_core::resources::Milli::from_thousandths(64_000));
    agent.launch_spec_with(&id(1), spec, rooted(dir.path()));
    agent.started();
    assert_eq!(agent.exited().0, Exit::Code(0));
    assert_eq!(agent.file(&id(1), "stderr"), "");
    assert_eq!(agent.file(&id(1), "stdout"), "67108864\n");
    agent.shutdown();
}

#[test]
fn an_overlay_is_written_above_its_layers_or_not_at_all() {
    // CT-41, CT-68
    let Some((dir, agent)) = agent() else { return };
    let launch = rooted(dir.path());
    let top = dir.path().join("a:layer,with=all\\that");
    fs::create_dir_all(top.join("etc")).unwrap();
    fs::write(top.join("etc/top"), "top").unwrap();
    let overlay = |upper: Option<&str>, read_only| Launch {
        root: Some(Root::Overlay {
            lower: vec![top.clone(), dir.path().join("root")],
            upper_and_work: upper.map(|name| dir.path().join(name)),
            read_only,
        }),
        ..launch.clone()
    };
    fs::create_dir(dir.path().join("upper")).unwrap();
    let script = "cat /etc/top; grep -c ana /etc/passwd; echo new > /etc/top; : > /made";
    let text = output(&agent, script, overlay(Some("upper"), false));
    assert_eq!(text, "top1\n");
    assert!(dir.path().join("upper/upper/made").exists());
    assert_eq!(
        fs::read_to_string(dir.path().join("upper/upper/etc/top")).unwrap(),
        "new\n"
    );
    assert_eq!(fs::read_to_string(top.join("etc/top")).unwrap(), "top");
    assert!(!dir.path().join("root/made").exists());
    // In memory, and it ends with the container.
    let script = "cat /etc/top; : > /made; ls /made";
    assert_eq!(output(&agent, script, overlay(None, false)), "top/made\n");
    assert!(!dir.path().join("root/made").exists());
    let script = "! (: > /made) 2> refusal; grep -o Read-only refusal; : > written";
    assert_eq!(output(&agent, script, overlay(None, true)), "Read-only\n");
    agent.shutdown();
}

#[test]
fn variables_and_places_come_in_the_order_that_is_promised() {
    // AG-48, CT-05
    let Some((dir, agent)) = agent() else { return };
    let mut spec = spec(
        &id(1),
        sh("echo $A $B $C; pwd; hostname; echo $TEPUI_SANDBOX"),
    );
    spec.environment = vec![("B".into(), "agent".into()), ("C".into(), "agent".into())];
    spec.command.environment = vec![("C".into(), "command".into())];
    let launch = Launch {
        environment: ["A", "A", "B", "C"]
            .iter()
            .zip(["first", "launch", "launch", "launch"])
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        sandbox: Some("/box".into()),
        working_directory: Some("/made/for/it".into()),
        hostname: Some("named".into()),
        ..rooted(dir.path())
    };
    agent.launch_spec_with(&id(1), spec, launch);
    agent.started();
    assert_eq!(agent.exited().0, Exit::Code(0));
    let text = agent.file(&id(1), "stdout");
    assert_eq!(text, "launch agent command\n/made/for/it\nnamed\n/box\n");
    agent.shutdown();
}

#[test]
fn a_user_is_who_the_container_says_and_the_sandbox_is_theirs() {
    // CT-05, CT-41, TK-88
    let Some((dir, agent)) = agent() else { return };
    let of = |user: &str, groups: &[u32]| Launch {
        user: Some(user.to_owned()),
        groups: groups.to_vec(),
        ..rooted(dir.path())
    };
    let script = "id -u; id -g; id -G; : > mine; grep CapEff /proc/self/status";
    let text = output(&agent, script, of("ana", &[7]));
    assert_eq!(text, "1000\n1001\n1001 7 44\nCapEff:\t0000000000000000\n");
    let made = fs::metadata(dir.path().join("sandboxes/c000001/mine")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 1001));
    let text = output(&agent, "id -u; id -g; id -G", of("1234:5678", &[]));
    assert_eq!(text, "1234\n5678\n5678\n");
    agent.launch_with(&id(2), sh("true"), of("nobody", &[]));
    let message = agent.failed();
    assert_eq!(
        message,
        "invalid container: user \"nobody\": is not in its /etc/passwd"
    );
    // The command's user wins.
    let mut command = sh("id -u");
    command.user = Some("root".to_owned());
    agent.run_with(&id(3), command, of("ana", &[]));
    assert_eq!(agent.file(&id(3), "stdout"), "0\n");
    agent.shutdown();
}

#[test]
fn capabilities_promises_and_filters_are_as_asked_for() {
    // CT-58, CT-59, CT-60
    let Some((dir, agent)) = agent() else { return };
    let script = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status | cut -f 2 | tr '\\n' ' '";
    let bare = "0000000000000000";
    let kept = "00000000a00405fb";
    let text = output(&agent, script, rooted(dir.path()));
    assert_eq!(text, format!("{bare} {kept} {kept} {kept} {bare} 0 2 "));
    let chosen = |user: &str| Launch {
        user: Some(user.to_owned()),
        capabilities: Capabilities {
            bounding: "NET_RAW,CHOWN,KILL".parse().unwrap(),
            effective: Some("NET_RAW".parse().unwrap()),
        },
        no_new_privileges: true,
        seccomp: Seccomp::Default,
        ..rooted(dir.path())
    };
    let (raw, bound) = ("0000000000002000", "0000000000002021");
    for user in ["root", "ana"] {
        let text = output(&agent, script, chosen(user));
        assert_eq!(
            text,
            format!("{raw} {raw} {raw} {bound} {raw} 1 2 "),
            "{user}"
        );
    }
    let empty = Launch {
        capabilities: Capabilities {
            bounding: CapabilitySet::EMPTY,
            effective: None,
        },
        ..Launch::default()
    };
    let text = output(&agent, script, empty);
    assert_eq!(text, format!("{bare} {bare} {bare} {bare} {bare} 0 2 "));
    // A profile of the user's.
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    for (no_new_privileges, user) in [(false, "root"), (true, "ana"), (false, "ana")] {
        let launch = Launch {
            seccomp: Seccomp::Profile(profile.to_owned()),
            no_new_privileges,
            user: Some(user.to_owned()),
            ..rooted(dir.path())
        };
        let script = "mkdir x 2>&1 | grep -o 'No space'";
        assert_eq!(output(&agent, script, launch), "No space\n");
    }
    let bad = Launch {
        seccomp: Seccomp::Profile("{}".to_owned()),
        ..Launch::default()
    };
    agent.launch_with(&id(2), sh("true"), bad);
    assert!(
        agent
            .failed()
            .contains("its seccomp profile: missing field")
    );
    agent.shutdown();
}

#[test]
fn limits_of_processes_are_set_and_one_that_cannot_be_is_named() {
    // CT-57
    let Some((_dir, agent)) = agent() else { return };
    let limit = |kind, soft, hard| Rlimit {
        kind,
        values: Some(RlimitValues { soft, hard }),
    };
    let launch = Launch {
        rlimits: vec![
            limit(RlimitKind::Nofile, 1, 1),
            limit(RlimitKind::Nofile, 100, 200),
            limit(RlimitKind::Core, 0, 0),
            limit(RlimitKind::Fsize, 4096 * 1024, 8192 * 1024),
            Rlimit {
                kind: RlimitKind::Cpu,
                values: None,
            },
        ],
        ..Launch::default()
    };
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -f; ulimit -Hf; ulimit -t";
    let text = output(&agent, script, launch);
    assert_eq!(text, "100\n200\n0\n8192\n16384\nunlimited\n");
    let (_, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let raised = Launch {
        rlimits: vec![limit(RlimitKind::Nofile, hard + 1, hard + 1)],
        ..Launch::default()
    };
    let may = fs::read_to_string("/proc/self/status").unwrap();
    let set = may
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"))
        .unwrap();
    if u64::from_str_radix(set, 16).unwrap() >> 24 & 1 == 1 {
        skipped("may raise limits");
    } else {
        agent.launch_with(&id(2), sh("true"), raised);
        let message = agent.failed();
        assert!(
            message.starts_with("limit NOFILE of /bin/sh: Operation not permitted"),
            "{message}"
        );
    }
    agent.shutdown();
}

#[test]
fn volumes_appear_where_they_are_wanted_and_links_stay_inside() {
    // CT-44, CT-45, RG-16 (MESOS-8257)
    let Some((dir, agent)) = agent() else { return };
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "of the host\n").unwrap();
    let mut launch = rooted(dir.path());
    // Links of the image, and one that the task made before in its sandbox.
    symlink("../../..", dir.path().join("root/link")).unwrap();
    fs::create_dir_all(dir.path().join("sandboxes/c000001/real")).unwrap();
    symlink("/real", dir.path().join("sandboxes/c000001/inner")).unwrap();
    let mut read_only = Bind::new(&volume, "/data/ro");
    read_only.read_only = true;
    let below = |path: &str, target: &str| {
        let mut bind = Bind::new("/", target);
        bind.source = Source::Below {
            directory: dir.path().join("sandboxes/c000001"),
            path: path.into(),
            create: true,
        };
        Mount::Bind(bind)
    };
    launch.mounts.extend([
        Mount::Bind(read_only),
        Mount::Bind(Bind::new(&volume, "/link/rw")),
        Mount::Bind(Bind::new(volume.join("file"), "/data/file")),
        below("shared/made", "/shared"),
        below("inner", "/inner"),
        Mount::Tmpfs(Tmpfs {
            target: "/memory".into(),
            size: Some(1 << 20),
            inodes: None,
            mode: 0o700,
        }),
    ]);
    launch.private_tmp = true;
    let script = "cat /data/ro/file /data/file; ! (: > /data/ro/new) 2> refusal
        : > /rw/new; : > /shared/s; : > /inner/i; : > /tmp/t
        stat -c %a /tmp /memory; stat -f -c %b:%S /memory";
    let text = output(&agent, script, launch);
    assert_eq!(text, "of the host\nof the host\n1777\n700\n256:4096\n");
    assert!(volume.join("new").exists());
    assert!(dir.path().join("sandboxes/c000001/shared/made/s").exists());
    assert!(dir.path().join("sandboxes/c000001/real/i").exists());
    assert!(
        dir.path().join("root/rw").is_dir(),
        "the link led to the root's own"
    );
    assert!(!dir.path().join("root/tmp/t").exists());

    let missing = |mounts| Launch {
        mounts,
        ..Launch::default()
    };
    let none = dir.path().join("none");
    agent.launch_with(
        &id(2),
        sh("true"),
        missing(vec![Mount::Bind(Bind::new(&none, "/mnt"))]),
    );
    let message = agent.failed();
    assert!(message.contains("none: No such file"), "{message}");
    // On the host's root nothing is made.
    let target = dir.path().join("target");
    agent.launch_with(
        &id(3),
        sh("true"),
        missing(vec![Mount::Bind(Bind::new("/usr", &target))]),
    );
    assert!(agent.failed().contains("No such file"));
    assert!(!target.exists());
    agent.shutdown();
}

#[test]
fn a_secret_is_a_file_in_memory_for_its_owner() {
    // CT-47
    let Some((dir, agent)) = agent() else { return };
    for launch in [rooted(dir.path()), Launch::default()] {
        let target = match launch.root {
            Some(_) => "/run/secrets/key".to_owned(),
            None => {
                let path = dir.path().join("key");
                fs::write(&path, "").unwrap();
                path.display().to_string()
            }
        };
        let launch = Launch {
            mounts: [
                launch.mounts.clone(),
                vec![Mount::Secret(Secret {
                    target: target.clone().into(),
                    bytes: b"hunter2\n".to_vec(),
                    mode: 0o440,
                    owner: (1000, 7),
                })],
            ]
            .concat(),
            ..launch
        };
        let script = format!(
            "cat {target}; stat -c '%a %u %g' {target}; stat -f -c %T {target}
             ! (echo x > {target}) 2> refusal; grep -o Read-only refusal"
        );
        let text = output(&agent, &script, launch);
        assert_eq!(text, "hunter2\n440 1000 7\ntmpfs\nRead-only\n");
    }
    assert_eq!(fs::read_to_string(dir.path().join("key")).unwrap(), "");
    let made = fs::read_to_string(dir.path().join("root/run/secrets/key")).unwrap();
    assert_eq!(made, "", "only an empty file to mount on is left");
    agent.shutdown();
}

/// A shared mount that goes with its value.
struct SharedMount(std::path::PathBuf);

impl SharedMount {
    fn new(path: std::path::PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tepui-test"), &path, Some("tmpfs"), flags, none).unwrap();
        let mount = Self(path);
        let shared = nix::mount::MsFlags::MS_SHARED;
        nix::mount::mount(none, &mount.0, none, shared, none).unwrap();
        fs::create_dir(mount.0.join("later")).unwrap();
        fs::create_dir(mount.0.join("inner")).unwrap();
        mount
    }
}

impl Drop for SharedMount {
    fn drop(&mut self) {
        for below in ["later", "inner", ""] {
            let flags = nix::mount::MntFlags::MNT_DETACH;
            let _ = nix::mount::umount2(&self.0.join(below), flags);
        }
    }
}

#[test]
fn later_mounts_appear_on_the_other_side_only_if_that_is_wanted() {
    // CT-44
    let Some((dir, agent)) = agent() else { return };
    let shared = SharedMount::new(dir.path().join("shared"));
    let launch = |propagation| {
        let mut launch = rooted(dir.path());
        let mut bind = Bind::new(&shared.0, "/volume");
        bind.propagation = propagation;
        launch.mounts.push(Mount::Bind(bind));
        launch.capabilities.bounding = CapabilitySet::all();
        launch
    };
    let script = "mount -t tmpfs tepui-inner /volume/inner; echo up
        until [ -e go ]; do sleep 0.01; done; [ -e /volume/later/file ]";
    let run = |n, propagation| {
        agent.launch_with(&id(n), sh(script), launch(propagation));
        agent.started();
        assert_eq!(agent.line(&id(n), "stdout"), "up");
        let none: Option<&str> = None;
        let later = shared.0.join("later");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tepui-test"), &later, Some("tmpfs"), flags, none).unwrap();
        fs::write(later.join("file"), "").unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let came_out = mounts.contains("tepui-inner");
        fs::write(dir.path().join(format!("sandboxes/{}/go", id(n))), "").unwrap();
        let came_in = agent.exited().0 == Exit::Code(0);
        nix::mount::umount(&later).unwrap();
        (came_in, came_out)
    };
    assert_eq!(run(1, Propagation::Private), (false, false));
    assert_eq!(run(2, Propagation::HostToContainer), (true, false));
    assert_eq!(run(3, Propagation::Bidirectional), (true, true));
    let mut bind = Bind::new(dir.path().join("root"), "/volume");
    bind.propagation = Propagation::Bidirectional;
    let mut private = rooted(dir.path());
    private.mounts.push(Mount::Bind(bind));
    agent.launch_with(&id(4), sh("true"), private);
    let message = agent.failed();
    assert!(message.contains("not on a shared mount"), "{message}");
    agent.shutdown();
}

#[test]
fn devices_are_those_that_were_given() {
    // CT-61
    let Some((dir, agent)) = agent() else { return };
    let mut launch = rooted(dir.path());
    let mut zero = Device::host("/dev/zero");
    zero.path = "/dev/mine/zero".into();
    zero.mode = 0o640;
    zero.owner = (1000, 7);
    launch.devices.push(zero);
    let script = "stat -c '%t:%T %a %u %g' /dev/mine/zero; head -c 1 /dev/mine/zero | wc -c";
    assert_eq!(
        output(&agent, script, launch.clone()),
        "1:5 640 1000 7\n1\n"
    );
    launch.devices = vec![Device::host("/dev/fd")];
    agent.launch_with(&id(2), sh("true"), launch);
    assert!(
        agent.failed().contains("/dev/fd"),
        "a directory is no device"
    );
    agent.shutdown();
}

#[test]
fn a_container_shares_with_another_what_it_is_told_to() {
    // CT-15, CT-55, CT-56
    let Some((dir, agent)) = agent() else { return };
    let parent = "echo of the parent > /dev/shm/file; echo up; exec sleep 1000";
    let launch = Launch {
        network: Network::Isolated,
        shm_size: Some(1 << 20),
        ..rooted(dir.path())
    };
    agent.launch_with(&id(1), sh(parent), launch);
    agent.started();
    agent.line(&id(1), "stdout");
    let look = "for ns in pid ipc net mnt uts; do readlink /proc/self/ns/$ns; done
        cat /dev/shm/file 2> /dev/null; stat -f -c %b /dev/shm
        cat /proc/[0-9]*/comm | grep -c -x sleep";
    let child = |n, share: bool| {
        let of = || share.then(|| id(1));
        let launch = Launch {
            share_pid: of(),
            ipc: of().map_or(Ipc::Own, Ipc::Of),
            network: of().map_or(Network::Isolated, Network::Of),
            ..rooted(dir.path())
        };
        agent.run_with(&id(n), sh(look), launch);
        let text = agent.file(&id(n), "stdout");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let apart = child(2, false);
    let together = child(3, true);
    for index in 0..3 {
        assert_ne!(apart[index], together[index]);
    }
    assert_eq!(together[5..], ["of the parent", "256", "1"]);
    assert_eq!(apart.last().unwrap(), "0");
    // Its own end takes what it left with it, and nothing of the parent's.
    let sharing = Launch {
        share_pid: Some(id(1)),
        ..rooted(dir.path())
    };
    let leave = "setsid sleep 2000 & (setsid sh -c 'sleep 3000 & sleep 3000' &); exit 3";
    assert_eq!(
        agent.run_with(&id(4), sh(leave), sharing.clone()),
        Exit::Code(3)
    );
    let count =
        "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $file; echo; done 2> /dev/null |
        grep -c '^sleep [123]000'";
    agent.run_with(&id(5), sh(count), sharing.clone());
    assert_eq!(
        agent.file(&id(5), "stdout"),
        "1\n",
        "{}",
        agent.file(&id(5), "stderr")
    );
    // All of it is asked to end, and nobody else.
    agent.launch_with(&id(12), family(), sharing.clone());
    agent.started();
    end_family(&agent, &id(12));
    // So does a destroyed one.
    let forks = "setsid sleep 2000 & echo up; exec sleep 2000";
    agent.launch_with(&id(6), sh(forks), sharing.clone());
    agent.started();
    agent.line(&id(6), "stdout");
    agent.destroy(&id(6));
    assert_eq!(agent.exited().0, Exit::Signal(9));
    eventually("all of it is gone", || {
        agent.run_with(&id(7), sh(&format!("{count} > count")), sharing.clone());
        agent.file(&id(7), "count") == "1\n"
    });
    // Nor does it help to kill its own init.
    let orphan = "setsid sleep 2000 & until [ -e go ]; do sleep 0.01; done
        kill -9 $PPID; exec sleep 2000";
    agent.launch_with(&id(10), sh(orphan), sharing.clone());
    agent.started();
    fs::write(dir.path().join("sandboxes/c000010/go"), "").unwrap();
    assert_eq!(agent.exited().0, Exit::Signal(9));
    eventually("all of it is gone", || {
        agent.run_with(&id(11), sh(&format!("{count} > count")), sharing.clone());
        agent.file(&id(11), "count") == "1\n"
    });
    // Nobody shares with who is not there.
    let stranger = Launch {
        ipc: Ipc::Of(id(99)),
        ..Launch::default()
    };
    agent.launch_with(&id(8), sh("true"), stranger);
    assert!(
        agent
            .failed()
            .contains("shares with c000099, which does not run")
    );
    // And all that share its processes end with it.
    agent.launch_with(&id(9), sh("exec sleep 4000"), sharing);
    agent.started();
    agent.destroy(&id(1));
    let mut ended = [agent.exit_of().0, agent.exit_of().0];
    ended.sort();
    assert_eq!(ended, [id(1), id(9)]);
    agent.shutdown();
}

#[test]
fn a_network_is_the_host_s_its_own_or_one_that_was_made() {
    // CT-14
    let Some((dir, agent)) = agent() else { return };
    let look = "readlink /proc/self/ns/net; cat /sys/class/net/lo/operstate; ls /sys/class/net";
    let with = |network| Launch {
        network,
        ..rooted(dir.path())
    };
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let text = output(&agent, look, with(Network::Host));
    assert_eq!(text.lines().next().unwrap(), host.to_str().unwrap());
    let text = output(&agent, look, with(Network::Isolated));
    assert_ne!(text.lines().next().unwrap(), host.to_str().unwrap());
    assert!(text.ends_with("unknown\nlo\n"), "{text}");
    let mut holder = Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    eventually("it has its network", || {
        fs::read_link(&path).is_ok_and(|found| found != host)
    });
    let made = fs::read_link(&path).unwrap();
    let text = output(&agent, look, with(Network::Namespace(path.into())));
    assert_eq!(text.lines().next().unwrap(), made.to_str().unwrap());
    holder.kill().unwrap();
    holder.wait().unwrap();
    agent.shutdown();
}

const RANGE: IdRange = IdRange {
    inside: 0,
    outside: 1_000_000,
    count: 65_536,
};

#[test]
fn root_inside_is_nobody_outside_if_users_are_mapped() {
    // CT-14, CT-64, WK-56
    let Some((dir, agent)) = agent() else { return };
    let mapped = |launch: Launch| Launch {
        user_namespace: Some(UserNamespace {
            uids: vec![RANGE],
            gids: vec![RANGE],
        }),
        ..launch
    };
    let script = "id -u; cat /proc/self/uid_map | tr -s ' '; stat -c %u /etc/passwd /dev/shm
        : > mine; : > /written; : > /dev/shm/x; chown 5:6 mine; exec 2> refusals
        kill -0 1 && echo signalled its init; unshare -U true && echo user namespace
        mount -t tmpfs none /tmp && echo mounted; hostname other && echo renamed; true";
    let launch = mapped(rooted(dir.path()));
    let text = output(&agent, script, launch.clone());
    assert_eq!(text, "0\n 0 1000000 65536\n0\n0\n");
    let mine = fs::metadata(dir.path().join("sandboxes/c000001/mine")).unwrap();
    assert_eq!((mine.uid(), mine.gid()), (1_000_005, 1_000_006));
    // Its files are its own inside, and root's as they were on the disk.
    assert_eq!(
        fs::metadata(dir.path().join("root/written")).unwrap().uid(),
        0
    );
    let overlay = Launch {
        root: Some(Root::Overlay {
            lower: vec![dir.path().join("root")],
            upper_and_work: None,
            read_only: false,
        }),
        ..launch.clone()
    };
    let text = output(
        &agent,
        "stat -c %u /etc/passwd; : > /new; stat -c %u /new",
        overlay,
    );
    assert_eq!(text, "0\n0\n");
    let as_ana = Launch {
        user: Some("ana".to_owned()),
        ..launch
    };
    assert_eq!(output(&agent, "id -u; id -G", as_ana), "1000\n1001 44\n");
    let on_host = mapped(Launch::default());
    let script = "id -u; stat -c %u /etc/passwd; ! (: >> /etc/passwd) 2> refusal";
    assert_eq!(output(&agent, script, on_host), "0\n65534\n");
    agent.shutdown();
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let Some((dir, agent)) = agent() else { return };
    let bad = Launch {
        hostname: Some(String::new()),
        ..Launch::default()
    };
    agent.launch_with(&id(1), sh("true"), bad);
    assert!(agent.failed().contains("a host name of 0 bytes"));
    assert!(!dir.path().join("sandboxes/c000001").exists());
    agent.shutdown();
    let plain = Agent::start(&dir.path().join("plain"), Mode::Process);
    plain.launch_with(&id(1), sh("true"), rooted(dir.path()));
    assert!(plain.failed().contains("takes container mode"));
    plain.shutdown();
}

/// Run as a process of its own, without privileges, by the test below.
#[test]
fn child_rootless() {
    let Some(dir) = std::env::var_os("TEPUI_TEST_ROOTLESS") else {
        return;
    };
    let dir = Path::new(&dir);
    let detected = Mode::detect();
    if detected.mode == Mode::Process {
        skipped(&detected.reason);
        return;
    }
    assert!(
        detected
            .unenforced
            .iter()
            .any(|what| what.contains("memory"))
    );
    assert!(
        detected.reason.contains("not enforced: limits on CPU"),
        "{}",
        detected.reason
    );
    let agent = Agent::start(dir, Mode::Container);
    let look = "id -u; echo $PPID; hostname; ls -d /proc/[0-9]* | wc -l; : > made
        : > /dev/null; exec 2> refusals; mount -t tmpfs none /tmp && echo mounted
        (: >> /proc/sys/kernel/core_pattern) && echo core pattern; true";
    for (n, launch) in [(1, Launch::default()), (2, rooted(dir))] {
        let launch = Launch {
            seccomp: Seccomp::Default,
            network: Network::Isolated,
            ..launch
        };
        assert_eq!(agent.run_with(&id(n), sh(look), launch), Exit::Code(0));
        let text = agent.file(&id(n), "stdout");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            [lines[0], lines[1], lines[2]],
            ["0", "1", id(n).as_str()],
            "{text}"
        );
        assert!(
            lines.len() == 4 && lines[3].parse::<u32>().unwrap() <= 5,
            "{text}"
        );
        let made = dir.join(format!("sandboxes/{}/made", id(n)));
        assert_eq!(fs::metadata(made).unwrap().uid(), 65_534);
    }
    // Neither other users nor mappings: refused, not passed over.
    let other = Launch {
        user: Some("ana".to_owned()),
        ..rooted(dir)
    };
    agent.launch_with(&id(3), sh("true"), other);
    let message = agent.failed();
    assert!(
        message.contains("user 1000 of group 1001: only root"),
        "{message}"
    );
    let mapped = Launch {
        user_namespace: Some(UserNamespace {
            uids: vec![RANGE],
            gids: vec![RANGE],
        }),
        ..Launch::default()
    };
    agent.launch_with(&id(5), sh("true"), mapped);
    let message = agent.failed();
    assert!(message.contains("the agent has no privileges"), "{message}");
    let layered = Launch {
        root: Some(Root::Overlay {
            lower: vec![dir.join("root")],
            upper_and_work: None,
            read_only: false,
        }),
        ..rooted(dir)
    };
    let script = ": > /made; ls /made; [ -c /dev/null ]";
    assert_eq!(agent.run_with(&id(6), sh(script), layered), Exit::Code(0));
    // Nothing outlives its container, although there are no groups.
    agent.launch(&id(4), sh("setsid sleep 1000 & exec sleep 1000"));
    let pid = agent.started();
    agent.destroy(&id(4));
    agent.exited();
    assert!(!is_alive(pid));
    assert_eq!(survivors(dir), Vec::<u32>::new());
    agent.shutdown();
}

#[test]
fn an_agent_without_privileges_has_containers_and_says_what_they_lack() {
    // CT-64, WK-56
    if !nix::unistd::geteuid().is_root() {
        return skipped("needs root, to become somebody else");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Who has no privileges must reach what it executes.
    for name in ["test", "probe"] {
        let from = match name {
            "test" => std::env::current_exe().unwrap(),
            _ => env!("CARGO_BIN_EXE_tepui-launch-probe").into(),
        };
        fs::copy(from, dir.path().join(name)).unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    chown(&work, Some(65_534), Some(65_534)).unwrap();
    let script = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                  ./test --exact child_rootless --nocapture";
    let tests = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir.path())
        .env("TEPUI_TEST_ROOTLESS", &work)
        .env("TEPUI_TEST_PROBE", dir.path().join("probe"))
        .output()
        .unwrap();
    let (out, err) = (tests.stdout, tests.stderr);
    let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    assert!(tests.status.success(), "{out}\n{err}");
    eprint!("{err}");
}

#[test]
fn a_program_is_found_in_the_container_and_not_on_the_host() {
    // CT-41
    let Some((dir, agent)) = agent() else { return };
    let program = dir.path().join("root/opt/only");
    let launch = rooted(dir.path());
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(&program, "#!/bin/sh\necho inside\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let command = CommandInfo::exec("/opt/only", [""; 0]);
    assert_eq!(
        agent.run_with(&id(1), command, launch.clone()),
        Exit::Code(0)
    );
    assert_eq!(agent.file(&id(1), "stdout"), "inside\n");
    let host = CommandInfo::exec(program.to_str().unwrap(), [""; 0]);
    agent.launch_with(&id(2), host, launch);
    assert!(agent.failed().contains("No such file"));
    agent.shutdown();
}
