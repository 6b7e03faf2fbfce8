//! What runs in containers here: this program again, which does one thing over and over, and counts
//! it in a file.

use std::alloc::{Layout, alloc_zeroed};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

/// What is to be done, in the environment of who does it.
pub(crate) const DEED: &str = "TEPUI_TEST_DEED";
/// The file in which is how often it was done, in memory of the container's own.
pub(crate) const COUNT: &str = "/dev/shm/count";
/// What is written with one call.
pub(crate) const PIECE: usize = 64 << 10;

/// Says how often it was done.
struct Counter {
    file: File,
    count: u64,
}

impl Counter {
    fn new() -> Self {
        let file = File::create(COUNT).expect("memory can be written");
        Self { file, count: 0 }
    }

    fn count(&mut self) {
        self.count += 1;
        let bytes = self.count.to_le_bytes();
        self.file
            .write_all_at(&bytes, 0)
            .expect("the count can be written");
    }
}

/// Runs in a container; in the test run itself it does nothing.
pub(crate) fn deed() {
    let Ok(deed) = std::env::var(DEED) else {
        return;
    };
    let (name, path) = deed.split_once(' ').unwrap_or((&deed, ""));
    match name {
        "works" => loop_of(|| work(Duration::from_micros(200))),
        "spins" => {
            for _ in 1..8 {
                std::thread::spawn(|| work(Duration::MAX));
            }
            loop_of(|| work(Duration::from_millis(1)));
        }
        "allocates" => allocate(),
        "forks" => fork(),
        "opens" => open(),
        "writes" => write(),
        "listens" => listen(),
        "writes-directly" => write_directly(path),
        other => panic!("no such deed: {other}"),
    }
}

fn loop_of(mut one: impl FnMut()) {
    let mut counter = Counter::new();
    loop {
        one();
        counter.count();
    }
}

/// A piece of work takes as much computation, however long that takes.
pub(crate) fn work(time: Duration) {
    if time == Duration::MAX {
        let begin = Instant::now();
        loop {
            std::hint::black_box(begin);
        }
    }
    // About a nanosecond each on machines of today.
    let turns = time.as_nanos();
    let mut sum = 1_u64;
    for turn in 0..turns {
        sum = std::hint::black_box(sum.rotate_left(7) ^ turn as u64);
    }
}

/// Takes memory until it is killed.
fn allocate() {
    let layout = Layout::from_size_align(1 << 20, 4096).expect("a layout");
    loop_of(|| {
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(layout) };
        assert!(!memory.is_null(), "no addresses are left");
        for at in (0..layout.size()).step_by(4096) {
            // SAFETY: within what was allocated.
            unsafe { memory.add(at).write_volatile(1) };
        }
    });
}

/// Has as many children as it may, each of which spins, and goes on asking for more.
fn fork() {
    loop_of(|| {
        // SAFETY: the child does nothing but spin, which needs nothing of its parent.
        if unsafe { libc::fork() } == 0 {
            work(Duration::MAX);
        }
    });
}

/// Opens files until there may be no more, lets go of all, and begins again.
fn open() {
    let mut files = Vec::new();
    loop_of(|| match File::open("/dev/null") {
        Ok(file) => files.push(file),
        Err(_) => files.clear(),
    });
}

/// Writes more than fits into its memory.
fn write() {
    let piece = vec![1_u8; PIECE];
    let mut file = File::create("written").expect("the sandbox can be written");
    let mut at = 0;
    loop_of(|| {
        file.write_all_at(&piece, at).expect("the disk has room");
        at = (at + piece.len() as u64) % (256 << 20);
        file.flush().expect("a file has nothing to flush");
    });
}

/// Listens on port after port, until there may be no more, and begins again.
fn listen() {
    let mut sockets = Vec::new();
    loop_of(|| match TcpListener::bind("127.0.0.1:0") {
        Ok(socket) if sockets.len() < 10_000 => sockets.push(socket),
        Ok(_) | Err(_) => sockets.clear(),
    });
}

/// Writes a device past the memory of the machine.
fn write_directly(path: &str) {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .expect("the device can be opened");
    let layout = Layout::from_size_align(PIECE, 4096).expect("a layout");
    // SAFETY: the layout has a size; the slice is all of it and lives to the end.
    let piece = unsafe { std::slice::from_raw_parts(alloc_zeroed(layout), PIECE) };
    let mut at = 0;
    loop_of(|| {
        file.write_all_at(piece, at)
            .expect("the device can be written");
        at = (at + PIECE as u64) % (32 << 20);
    });
}
