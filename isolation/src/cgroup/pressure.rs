//! How long a group waits for CPU, memory and block devices, as version 2 tells it; and the
//! levels of memory pressure of version 1.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use serde::{Deserialize, Serialize};

use super::files::read_if_there;
use super::memory;
use crate::error::{Error, Result};

/// How long a group waited; `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// For CPU time.
    pub cpu: Option<Stalls>,
    /// For memory.
    pub memory: Option<Stalls>,
    /// For block devices.
    pub io: Option<Stalls>,
}

/// How long something was waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalls {
    /// By at least one process.
    pub some: Stall,
    /// By all at once; older kernels do not tell for CPU.
    pub full: Option<Stall>,
}

/// A share of the time, and all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// In percent of the last 10 seconds.
    pub last_10_s: f64,
    /// In percent of the last minute.
    pub last_60_s: f64,
    /// In percent of the last five minutes.
    pub last_300_s: f64,
    /// Since the group was made.
    pub total: Duration,
}

/// Reads the pressure of a group of version 2.
pub(super) fn read(group: &Path) -> Result<Pressure> {
    let stalls = |file| {
        let text = read_if_there(group, file)?;
        Ok::<_, Error>(text.as_deref().and_then(parse))
    };
    Ok(Pressure {
        cpu: stalls("cpu.pressure")?,
        memory: stalls("memory.pressure")?,
        io: stalls("io.pressure")?,
    })
}

fn parse(text: &str) -> Option<Stalls> {
    let line = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| parse_stall(line.strip_prefix(name)?))
    };
    Some(Stalls {
        some: line("some ")?,
        full: line("full "),
    })
}

fn parse_stall(text: &str) -> Option<Stall> {
    let field = |name: &str| {
        let mut fields = text.split(' ').filter_map(|field| field.split_once('='));
        fields.find_map(|(found, value)| (found == name).then_some(value))
    };
    let percent = |name| field(name)?.parse().ok();
    Some(Stall {
        last_10_s: percent("avg10")?,
        last_60_s: percent("avg60")?,
        last_300_s: percent("avg300")?,
        total: Duration::from_micros(field("total")?.trim().parse().ok()?),
    })
}

/// How often a group of version 1 was told to use less memory, by how urgent it was (CT-21). The
/// kernel counts; reading adds it up.
#[derive(Debug)]
pub struct PressureLevels {
    events: [EventFd; 3],
    counts: [u64; 3],
}

impl PressureLevels {
    pub(super) fn watch(group: &Path) -> Result<Self> {
        let listen = |level| memory::listen(group, "memory.pressure_level", level);
        Ok(Self {
            events: [listen("low")?, listen("medium")?, listen("critical")?],
            counts: [0; 3],
        })
    }

    /// Returns how often it was low, medium and critical since it is watched.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn read(&mut self) -> Result<[u64; 3]> {
        for (event, count) in self.events.iter().zip(&mut self.counts) {
            match event.read() {
                Ok(more) => *count += more,
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(Error::system("read pressure levels", errno)),
            }
        }
        Ok(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_as_far_as_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file, text| std::fs::write(dir.path().join(file), text).unwrap();
        write(
            "cpu.pressure",
            "some avg10=12.50 avg60=3.00 avg300=0.25 total=1500000\n\
             full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        );
        write(
            "memory.pressure",
            "some avg10=1.00 avg60=1.00 avg300=1.00 total=3\n",
        );
        let found = read(dir.path()).unwrap();
        let cpu = found.cpu.unwrap();
        assert_eq!((cpu.some.last_10_s, cpu.some.last_60_s), (12.5, 3.0));
        assert_eq!(cpu.some.total, Duration::from_millis(1500));
        assert_eq!(cpu.full.unwrap().total, Duration::from_micros(7));
        assert_eq!(found.memory.unwrap().full, None);
        assert_eq!(found.io, None);
        write("io.pressure", "garbled\n");
        assert_eq!(read(dir.path()).unwrap().io, None);
    }
}
