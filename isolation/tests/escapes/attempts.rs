//! What is attempted from inside a container, by system calls where a shell cannot.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "they are to be unsafe, for the host: raw calls with valid or harmless arguments"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;

/// The key of the victim's shared memory.
const SHM_KEY: libc::key_t = 0x7e9;
/// What the victim calls itself.
const VICTIM: &str = "tepui-victim";

type Tried = io::Result<()>;

/// Turns the result of a system call into that of an attempt.
fn checked(result: libc::c_long) -> Tried {
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A call that got past its guard fails later for what it was given, which is nonsense.
fn got_past(result: libc::c_long) -> Tried {
    match Errno::result(result) {
        Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::ENOSYS)) => Err(errno.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Opens a file for writing, and writes nothing.
fn open_for_writing(path: impl AsRef<Path>) -> Tried {
    OpenOptions::new().write(true).open(path).map(drop)
}

pub(crate) fn mount_filesystem() -> Tried {
    let none = std::ptr::null();
    let kind = c"tmpfs".as_ptr();
    checked(unsafe { libc::mount(kind, c"/root".as_ptr(), kind, 0, none) }.into())
}

pub(crate) fn mount_through_new_calls() -> Tried {
    checked(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0) })
}

pub(crate) fn mount_disk() -> Tried {
    let (none, disk) = (std::ptr::null(), c"/dev/disk");
    let flags = libc::MS_RDONLY;
    let kind = c"ext4".as_ptr();
    checked(unsafe { libc::mount(disk.as_ptr(), c"/root".as_ptr(), kind, flags, none) }.into())
}

pub(crate) fn open_disk() -> Tried {
    File::open("/dev/disk").map(drop)
}

/// Makes a node of the disk, which must work, and opens it.
pub(crate) fn open_own_disk_node() -> Tried {
    let number = variable("TEPUI_TEST_DISK");
    let (major, minor) = number.split_once(':').unwrap();
    let number = libc::makedev(major.parse().unwrap(), minor.parse().unwrap());
    let (node, kind) = (c"/dev/own", libc::S_IFBLK | 0o600);
    checked(unsafe { libc::mknod(node.as_ptr(), kind, number) }.into())
        .expect("making it is allowed");
    File::open("/dev/own").map(drop)
}

pub(crate) fn open_hosts_disk_node() -> Tried {
    File::open(variable("TEPUI_TEST_DISK_NODE")).map(drop)
}

pub(crate) fn make_device() -> Tried {
    let device = libc::makedev(1, 5);
    checked(unsafe { libc::mknod(c"node".as_ptr(), libc::S_IFCHR | 0o600, device) }.into())
}

pub(crate) fn write_core_pattern() -> Tried {
    open_for_writing("/proc/sys/kernel/core_pattern")
}

pub(crate) fn write_sysrq() -> Tried {
    open_for_writing("/proc/sysrq-trigger")
}

pub(crate) fn write_sys() -> Tried {
    open_for_writing("/sys/kernel/mm/ksm/run")
        .or_else(|_| open_for_writing("/sys/kernel/rcu_expedited"))
}

pub(crate) fn write_release_agent() -> Tried {
    open_for_writing("/sys/fs/cgroup/memory/release_agent")
}

pub(crate) fn raise_own_limit() -> Tried {
    let memory = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
    match Path::new(memory).exists() {
        true => open_for_writing(memory),
        false => open_for_writing("/sys/fs/cgroup/memory.max"),
    }
}

/// Finds a process by its name.
fn process_called(name: &str) -> io::Result<libc::pid_t> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == name) {
            return Ok(pid);
        }
    }
    Err(Errno::ESRCH.into())
}

fn seize(pid: libc::pid_t) -> Tried {
    let none: *mut libc::c_void = std::ptr::null_mut();
    checked(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) })
}

pub(crate) fn trace_another() -> Tried {
    seize(process_called(VICTIM)?)
}

pub(crate) fn signal_another() -> Tried {
    let pid = process_called(VICTIM)?;
    checked(unsafe { libc::kill(pid, libc::SIGKILL) }.into())
}

pub(crate) fn trace_init() -> Tried {
    seize(1)
}

pub(crate) fn read_init() -> Tried {
    File::open("/proc/1/mem").map(drop)
}

pub(crate) fn reach_the_runtime() -> Tried {
    File::open("/proc/1/exe").map(drop)
}

/// What an attacker of a runtime does who has got hold of its binary: write to it.
pub(crate) fn overwrite_own_image() -> Tried {
    // The same seals as those of the launcher's image, or none.
    let name = c"image".as_ptr();
    let sealed = std::env::var_os("TEPUI_TEST_UNSEALED").is_none();
    let fd = unsafe { libc::memfd_create(name, libc::MFD_ALLOW_SEALING) };
    checked(fd.into())?;
    if sealed {
        let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK;
        checked(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) }.into())?;
    }
    let path = format!("/proc/self/fd/{fd}");
    OpenOptions::new().write(true).open(path)?.write_all(b"x")
}

pub(crate) fn unshare_users() -> Tried {
    // Only a process of one thread can, and this has several.
    match unsafe { libc::fork() } {
        0 => unsafe {
            let done = libc::unshare(libc::CLONE_NEWUSER);
            libc::_exit(if done == 0 {
                0
            } else {
                *libc::__errno_location()
            });
        },
        pid => {
            checked(pid.into())?;
            let mut status = 0;
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            match libc::WEXITSTATUS(status) {
                0 => Ok(()),
                errno => Err(Error::from_raw_os_error(errno)),
            }
        }
    }
}

pub(crate) fn clone_users() -> Tried {
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = libc::CLONE_NEWUSER.cast_unsigned().into();
    arguments.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    let size = size_of_val(&arguments);
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size) };
    if pid == 0 {
        unsafe { libc::_exit(0) };
    }
    checked(pid)
}

pub(crate) fn raw_socket() -> Tried {
    checked(unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP) }.into())
}

pub(crate) fn listen_to_the_wire() -> Tried {
    checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) }.into())
}

pub(crate) fn reach_the_hypervisor() -> Tried {
    match unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0) } {
        // There is none: it was asked for all the same.
        -1 if Errno::last() == Errno::EAFNOSUPPORT => Ok(()),
        result => checked(result.into()),
    }
}

pub(crate) fn use_keyring() -> Tried {
    const USER_KEYRING: libc::c_long = -4;
    let ask = libc::KEYCTL_GET_KEYRING_ID;
    checked(unsafe { libc::syscall(libc::SYS_keyctl, ask, USER_KEYRING, 1) })
}

pub(crate) fn load_bpf() -> Tried {
    // BPF_MAP_CREATE of an array with one element of four bytes.
    let attributes: [u32; 32] = {
        let mut all = [0; 32];
        all[..4].copy_from_slice(&[2, 4, 4, 1]);
        all
    };
    let size = size_of_val(&attributes);
    checked(unsafe { libc::syscall(libc::SYS_bpf, 0, attributes.as_ptr(), size) })
}

pub(crate) fn set_up_uring() -> Tried {
    let mut parameters = [0_u32; 30];
    checked(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })
}

pub(crate) fn handle_page_faults() -> Tried {
    // For faults of its own only, which anybody may.
    const USER_MODE_ONLY: libc::c_int = 1;
    checked(unsafe { libc::syscall(libc::SYS_userfaultfd, USER_MODE_ONLY) })
}

/// Opens a file by what it is called inside the filesystem, whatever is mounted where.
pub(crate) fn open_by_handle() -> Tried {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        handle: [u8; 128],
    }
    let mut handle = Handle {
        bytes: 128,
        kind: 0,
        handle: [0; 128],
    };
    let here = File::open(".")?;
    let mut mount = 0;
    let (fd, empty) = (here.as_raw_fd(), c"".as_ptr());
    let (at, flags) = (&raw mut handle, libc::AT_EMPTY_PATH);
    let name_to = libc::SYS_name_to_handle_at;
    checked(unsafe { libc::syscall(name_to, fd, empty, at, &raw mut mount, flags) })?;
    let flags = libc::O_RDONLY;
    checked(unsafe { libc::syscall(libc::SYS_open_by_handle_at, fd, at, flags) })
}

pub(crate) fn rename_host() -> Tried {
    checked(unsafe { libc::sethostname(c"escaped".as_ptr(), 7) }.into())
}

/// Sets the clock's tick to what it is.
pub(crate) fn set_clock() -> Tried {
    let mut time: libc::timex = unsafe { std::mem::zeroed() };
    checked(unsafe { libc::adjtimex(&raw mut time) }.into())?;
    time.modes = libc::ADJ_TICK;
    checked(unsafe { libc::adjtimex(&raw mut time) }.into())
}

pub(crate) fn load_module() -> Tried {
    let nothing = c"".as_ptr();
    got_past(unsafe { libc::syscall(libc::SYS_init_module, nothing, 0, nothing) })
}

/// With numbers that mean nothing, so that nothing happens.
pub(crate) fn reboot() -> Tried {
    got_past(unsafe { libc::syscall(libc::SYS_reboot, 0, 0, 0, 0) })
}

pub(crate) fn read_kernel_log() -> Tried {
    const SIZE_OF_BUFFER: libc::c_int = 10;
    let none: *mut libc::c_char = std::ptr::null_mut();
    checked(unsafe { libc::syscall(libc::SYS_syslog, SIZE_OF_BUFFER, none, 0) })
}

pub(crate) fn read_masked() -> Tried {
    match fs::read("/proc/key-users")?.is_empty() {
        true => Err(Error::other("it is empty")),
        false => Ok(()),
    }
}

/// The classic way out of a root that was only changed: keep a directory, change the root below
/// it, and go up.
pub(crate) fn climb_out_of_the_root() -> Tried {
    fs::create_dir_all("below")?;
    let here = File::open("/")?;
    checked(unsafe { libc::chroot(c"below".as_ptr()) }.into())?;
    checked(unsafe { libc::fchdir(here.as_raw_fd()) }.into())?;
    for _ in 0..64 {
        checked(unsafe { libc::chdir(c"..".as_ptr()) }.into())?;
    }
    checked(unsafe { libc::chroot(c".".as_ptr()) }.into())?;
    File::open(Path::new(&variable("TEPUI_TEST_OUTSIDE")).join("secret")).map(drop)
}

pub(crate) fn connect_to_the_host() -> Tried {
    let port = variable("TEPUI_TEST_PORT").parse().unwrap();
    let address = ([127, 0, 0, 1], port).into();
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).map(drop)
}

pub(crate) fn read_shared_memory_file() -> Tried {
    File::open(Path::new("/dev/shm").join(variable("TEPUI_TEST_NAME"))).map(drop)
}

pub(crate) fn read_temporary_file() -> Tried {
    File::open(Path::new("/tmp").join(variable("TEPUI_TEST_NAME"))).map(drop)
}

pub(crate) fn attach_shared_memory() -> Tried {
    checked(unsafe { libc::shmget(SHM_KEY, 0, 0) }.into())
}

/// Starts processes until there are two hundred; they end with the container.
pub(crate) fn bomb() -> Tried {
    for _ in 0..200 {
        match unsafe { libc::fork() } {
            0 => loop {
                unsafe { libc::pause() };
            },
            pid => checked(pid.into())?,
        }
    }
    Ok(())
}

fn outside(name: &str) -> io::Result<std::path::PathBuf> {
    let outside = std::env::var_os("TEPUI_TEST_OUTSIDE").ok_or_else(|| Error::other("not told"))?;
    Ok(Path::new(&outside).join(name))
}

pub(crate) fn read_outside() -> io::Result<()> {
    is_the_hosts(&fs::read_to_string(outside("secret")?)?)
}

pub(crate) fn write_outside() -> io::Result<()> {
    fs::write(outside("escaped")?, "escaped\n")
}

/// The sandbox is `sandboxes/ID` of the agent's directory.
pub(crate) fn climb_from_the_sandbox() -> io::Result<()> {
    is_the_hosts(&fs::read_to_string("../../outside/secret")?)
}

fn is_the_hosts(text: &str) -> io::Result<()> {
    match text {
        "of the host\n" => Ok(()),
        _ => Err(Error::other("it says nothing")),
    }
}

pub(crate) fn exhaust_inodes() -> Tried {
    (0..500).try_for_each(|number| File::create(format!("/scratch/{number}")).map(drop))
}

pub(crate) fn fill_disk() -> Tried {
    fs::write("/scratch/file", vec![0; 8 << 20])
}

pub(crate) fn flood_stdout() -> Tried {
    let mut out = io::stdout().lock();
    (0..1024).try_for_each(|_| out.write_all(&[b'\n'; 8192]))?;
    let sandbox = std::env::var("TEPUI_SANDBOX").map_err(Error::other)?;
    let mut taken = 0;
    for entry in fs::read_dir(sandbox)? {
        taken += entry?.metadata()?.len();
    }
    match taken > 1 << 20 {
        true => Ok(()),
        false => Err(Error::other("its log is bounded")),
    }
}

/// Takes and writes to memory, page by page.
pub(crate) fn take_memory() -> Tried {
    let limit = 256 << 20;
    let none = std::ptr::null_mut();
    let (protection, flags) = (libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let at = unsafe { libc::mmap(none, limit, protection, flags, -1, 0) };
    match at == libc::MAP_FAILED {
        true => Err(Error::last_os_error()),
        false => Ok(()),
    }
}

pub(crate) fn be_victim() {
    let name = std::ffi::CString::new(VICTIM).unwrap();
    unsafe {
        libc::shmget(SHM_KEY, 4096, libc::IPC_CREAT | 0o666);
        // A copy for each attempt that ends one.
        loop {
            let child = libc::fork();
            if child == 0 {
                libc::prctl(libc::PR_SET_NAME, name.as_ptr());
                loop {
                    libc::pause();
                }
            }
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
}

/// Makes a disk of a file, or says why it cannot.
pub(crate) fn make_disk(image: &Path) -> Option<String> {
    File::create(image).unwrap().set_len(8 << 20).unwrap();
    let mut format = Command::new("mkfs.ext4");
    let made = format.args(["-q", "-F"]).arg(image).status();
    if !made.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut attach = Command::new("losetup");
    let attached = attach.args(["--find", "--show"]).arg(image).output().ok()?;
    let name = String::from_utf8(attached.stdout)
        .unwrap()
        .trim()
        .to_owned();
    (attached.status.success() && !name.is_empty()).then_some(name)
}

pub(crate) fn remove_disk(disk: &str) {
    let _ = Command::new("losetup").args(["--detach", disk]).status();
}
