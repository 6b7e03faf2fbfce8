//! A block device to test with.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A block device with a file behind it, which goes when it is closed.
pub(crate) struct Loop {
    _device: File,
    _file: tempfile::NamedTempFile,
    pub(crate) path: String,
    pub(crate) numbers: (u32, u32),
}

impl Loop {
    pub(crate) fn new(bytes: u64) -> io::Result<Self> {
        const GET_FREE: libc::c_ulong = 0x4c82;
        const CONFIGURE: libc::c_ulong = 0x4c0a;
        /// The kernel's structure: the file, and among 64 bits each the flag that it goes when it
        /// is closed.
        const CONFIG_BYTES: usize = 8 + 232 + 64;
        const FLAGS_AT: usize = 8 + 52;
        const AUTOCLEAR: u32 = 4;
        let file = tempfile::NamedTempFile::new()?;
        file.as_file().set_len(bytes)?;
        let control = File::options()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        loop {
            // SAFETY: takes no argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = format!("/dev/loop{number}");
            let device = File::options().read(true).write(true).open(&path)?;
            let mut config = [0_u64; CONFIG_BYTES / 8];
            config[0] = u64::from(file.as_file().as_raw_fd().cast_unsigned());
            config[FLAGS_AT / 8] = u64::from(AUTOCLEAR) << (FLAGS_AT % 8 * 8);
            // SAFETY: the structure is of the size that the kernel reads.
            if unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, config.as_ptr()) } == 0 {
                let number = u32::try_from(number).map_err(io::Error::other)?;
                return Ok(Self {
                    _device: device,
                    _file: file,
                    path,
                    numbers: (7, number),
                });
            }
            let error = io::Error::last_os_error();
            // Somebody else was faster.
            if error.raw_os_error() != Some(libc::EBUSY) {
                return Err(error);
            }
        }
    }
}
