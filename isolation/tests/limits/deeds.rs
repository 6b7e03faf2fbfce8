//! What processes do in a group: this same program again, with its deed in the environment.

use std::alloc::{Layout, alloc_zeroed};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tepui_isolation::cgroup::Group;

const DEED: &str = "TEPUI_TEST_DEED";
const GROUPS: &str = "TEPUI_TEST_GROUPS";

/// Starts a process that enters a group and then does what is asked.
pub(crate) fn start(group: &Group, deed: &str) -> Child {
    let made = group.made_directories().into_iter();
    let made = made.map(|(path, _)| path.to_str().expect("an ordinary path").to_owned());
    Command::new("/proc/self/exe")
        .args(["--exact", "deed", "--nocapture", "--test-threads=1"])
        .env(DEED, deed)
        .env(GROUPS, made.collect::<Vec<_>>().join("\n"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be started")
}

/// Does it to the end; returns what it said, without what the test harness says.
pub(crate) fn run(group: &Group, deed: &str) -> (Option<i32>, String) {
    use std::os::unix::process::ExitStatusExt;
    let output = start(group, deed).wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.lines().filter_map(|line| line.split_once("=> "));
    let said: Vec<&str> = said.map(|(_, said)| said).collect();
    (output.status.signal(), said.join("\n"))
}

/// Waits for the next line that a process says.
pub(crate) fn line(child: &mut Child) -> String {
    let out = child.stdout.as_mut().expect("it has an output");
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        assert_eq!(
            out.read(&mut byte).expect("it can be read"),
            1,
            "it has ended"
        );
        if byte != *b"\n" {
            line.push(byte[0]);
            continue;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        if let Some((_, said)) = text.split_once("=> ") {
            return said.to_owned();
        }
        line.clear();
    }
}

/// Lets a process that [listens](hear) go on.
pub(crate) fn tell(child: &mut Child) {
    let input = child.stdin.as_mut().expect("it has an input");
    input.write_all(b".").expect("it listens");
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "=> {text}").expect("somebody listens");
}

fn hear() {
    let mut byte = [0];
    if std::io::stdin().read_exact(&mut byte).is_err() {
        std::process::exit(0);
    }
}

/// Runs in the process that was started; in the test run itself it does nothing.
pub(crate) fn deed() {
    let (Ok(deed), Ok(groups)) = (std::env::var(DEED), std::env::var(GROUPS)) else {
        return;
    };
    for group in groups.lines() {
        std::fs::write(format!("{group}/cgroup.procs"), "0").expect("groups can be entered");
    }
    let mut words = deed.split(' ');
    let name = words.next().unwrap_or_default();
    let mut number = || {
        words
            .next()
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
    };
    match name {
        "spin" => spin(Duration::from_millis(number())),
        "spin_on" => spin_on(number(), Duration::from_millis(number())),
        "take" => take(number()),
        "take_and_give_back" => take_and_give_back(number()),
        "take_with_child" => take_with_child(number()),
        "take_in_child" => take_in_child(number()),
        "fork" => fork_until_refused(),
        "breed" => breed(),
        "wait" => {
            say("here");
            hear();
        }
        "write" => write_directly(words.next().unwrap_or_default(), 4 << 20),
        "open" => open_all(words),
        "where" => say(&allowed("Cpus_allowed_list")),
        "nodes" => say(&allowed("Mems_allowed_list")),
        "huge" => huge(number()),
        other => panic!("no such deed: {other}"),
    }
    std::process::exit(0);
}

fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::black_box(begin);
    }
}

fn spin_on(cpu: u64, time: Duration) {
    let mut set = nix::sched::CpuSet::new();
    set.set(usize::try_from(cpu).expect("a number"))
        .expect("a small one");
    let all = nix::unistd::Pid::from_raw(0);
    nix::sched::sched_setaffinity(all, &set).expect("there is such a CPU");
    say("here");
    hear();
    spin(time);
}

/// Takes memory and uses all of it.
fn grab(mib: u64) -> (*mut u8, Layout) {
    let bytes = usize::try_from(mib << 20).expect("a number");
    let layout = Layout::from_size_align(bytes, 4096).expect("a layout");
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc_zeroed(layout) };
    assert!(!memory.is_null(), "no addresses are left");
    for at in (0..bytes).step_by(4096) {
        // SAFETY: within what was allocated.
        unsafe { memory.add(at).write_volatile(1) };
    }
    (memory, layout)
}

fn take(mib: u64) {
    grab(mib);
    say("taken");
}

fn take_and_give_back(mib: u64) {
    let (memory, layout) = grab(mib);
    say("taken");
    hear();
    // SAFETY: as it was allocated.
    unsafe { std::alloc::dealloc(memory, layout) };
    say("given back");
    hear();
}

/// Leaves a child that sleeps, and takes memory itself.
fn take_with_child(mib: u64) {
    child(|| {
        loop {
            nix::unistd::pause();
        }
    });
    say("here");
    hear();
    grab(mib);
}

/// Has a child that takes too much, and outlives it.
fn take_in_child(mib: u64) {
    let pid = child(|| {
        grab(mib);
    });
    let end = nix::sys::wait::waitpid(pid, None).expect("it ends");
    say(&format!("{end:?}"));
}

fn child(then: impl FnOnce()) -> nix::unistd::Pid {
    // SAFETY: the child uses nothing that another thread may hold: it allocates, which the C
    // library makes possible after a fork.
    match unsafe { nix::unistd::fork() }.expect("there may be one more") {
        nix::unistd::ForkResult::Parent { child } => child,
        nix::unistd::ForkResult::Child => {
            then();
            // SAFETY: ends the copy without running what is the test harness's.
            unsafe { libc::_exit(0) }
        }
    }
}

fn fork_until_refused() {
    let mut born = 0;
    loop {
        // SAFETY: the child only sleeps.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: no arguments.
                unsafe { libc::pause() };
            },
            -1 => break,
            _ => born += 1,
        }
        assert!(born < 1000, "never refused");
    }
    say(&format!("{born} {}", nix::errno::Errno::last()));
    hear();
}

/// Has children, which have children, while every other one ends: whoever looks at one is late.
fn breed() {
    say("here");
    // SAFETY: plain numbers; children that end are forgotten by the kernel.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    loop {
        // SAFETY: neither of the two does anything but this.
        let born = unsafe { libc::fork() };
        if born > 0 && born % 2 == 0 {
            // SAFETY: ends this one without running what is the test harness's.
            unsafe { libc::_exit(0) };
        }
    }
}

fn write_directly(path: &str, bytes: usize) {
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .expect("the device can be opened");
    const PIECE: usize = 256 * 1024;
    let layout = Layout::from_size_align(PIECE, 4096).expect("a layout");
    // SAFETY: the layout has a size; the slice is all of it and lives to the end.
    let piece = unsafe { std::slice::from_raw_parts(alloc_zeroed(layout), PIECE) };
    for _ in 0..bytes / PIECE {
        file.write_all(piece).expect("the device can be written");
    }
    say("written");
}

fn open_all<'a>(paths: impl Iterator<Item = &'a str>) {
    let opened = paths.map(|path| match File::open(path) {
        Ok(_) => "open".to_owned(),
        Err(error) => error.kind().to_string(),
    });
    say(&opened.collect::<Vec<_>>().join(","));
}

fn allowed(what: &str) -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("there is one");
    let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
    let found = lines.find_map(|(name, value)| (name == what).then(|| value.to_owned()));
    found.expect("the kernel tells")
}

fn huge(pages: u64) {
    let bytes = usize::try_from(pages << 21).expect("a number");
    let bytes = std::num::NonZeroUsize::new(bytes).expect("some pages");
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_HUGETLB;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, which nobody else uses.
    let memory = unsafe { mmap_anonymous(None, bytes, access, flags) }.expect("pages are there");
    for page in 0..pages {
        let at = usize::try_from(page << 21).expect("a number");
        // SAFETY: within the mapping.
        unsafe { memory.as_ptr().cast::<u8>().add(at).write_volatile(1) };
    }
    say("used");
}
