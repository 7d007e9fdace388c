//! Device-mapper devices by name, with one target each.
//!
//! Where udev runs, a device that appears or disappears is waited for until udev has seen it (libdevmapper.h, "udev
//! synchronisation"), so that no rule holds it open when the call returns.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::raw::device_mapper::{self as raw, HEADER, Request, Semaphore};
use crate::{Result, io, stat, sys};

const CONTROL: &str = "/dev/mapper/control";
/// Is there while udev runs (udev(7)).
const UDEV: &str = "/run/udev/control";
/// How often, and after what pause, the removal of a busy device is tried: whoever looked at it may still have it open.
const REMOVAL: (u32, Duration) = (5, Duration::from_millis(200));

/// A command by its name and number (linux/dm-ioctl.h).
type Command = (&'static str, u8);
const DEV_CREATE: Command = ("DM_DEV_CREATE", 3);
const DEV_REMOVE: Command = ("DM_DEV_REMOVE", 4);
const DEV_SUSPEND: Command = ("DM_DEV_SUSPEND", 6);
const DEV_STATUS: Command = ("DM_DEV_STATUS", 7);
const TABLE_LOAD: Command = ("DM_TABLE_LOAD", 9);
const TABLE_STATUS: Command = ("DM_TABLE_STATUS", 12);
const TARGET_MSG: Command = ("DM_TARGET_MSG", 14);

// Flags (linux/dm-ioctl.h).
const READONLY: u32 = 1 << 0;
const STATUS_TABLE: u32 = 1 << 4;
const ACTIVE_PRESENT: u32 = 1 << 5;
const SKIP_LOCKFS: u32 = 1 << 10;
const NOFLUSH: u32 = 1 << 11;
const UEVENT_GENERATED: u32 = 1 << 13;

// A cookie of udev (libdevmapper.h): flags above, a number below, which is the key of a semaphore together with the magic.
const COOKIE_SHIFT: u32 = 16;
const COOKIE_MAGIC: u32 = 0x0D4D;
const PRIMARY_SOURCE: u32 = 0x40;
/// No rules of subsystems, no links in /dev/disk, no other rules.
const LEFT_ALONE: u32 = 0x02 | 0x04 | 0x08;

/// The size of `struct dm_target_spec` in bytes.
const SPECIFICATION: usize = 40;
/// Where the type lies in it.
const KIND: std::ops::Range<usize> = 24..SPECIFICATION;

/// The way into device-mapper.
#[derive(Debug)]
pub struct DeviceMapper {
    control: File,
}

/// A device as it is now.
#[derive(Debug, Clone)]
pub struct Device {
    /// Major and minor number.
    pub number: (u32, u32),
    /// Empty where it has none.
    pub uuid: String,
    /// How often it is open: mounted, below another device, held by a process.
    pub open_count: i32,
    /// Counts what happened to it, changes of a pool's mode among others.
    pub event: u32,
    /// Whether it takes no writes.
    pub read_only: bool,
    /// Whether it has a table, without which it is a name alone.
    pub is_live: bool,
}

/// The table of a device with one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// In sectors.
    pub length: u64,
    /// The name of the target's type.
    pub kind: String,
    /// What the target is told, or says, in a line.
    pub parameters: String,
}

/// Whether a target writes its metadata before it says how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It does, so that what is on the disk is what it says.
    Before,
    /// It writes nothing.
    No,
}

/// Whether a device can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It can.
    Allowed,
    /// It takes none.
    Refused,
}

impl Device {
    fn of(request: &Request) -> Self {
        let header = &request.header;
        Self {
            number: (stat::major(header.dev), stat::minor(header.dev)),
            uuid: text(&header.uuid),
            open_count: header.open_count,
            event: header.event_nr,
            read_only: header.flags & READONLY != 0,
            is_live: header.flags & ACTIVE_PRESENT != 0,
        }
    }

    /// Returns the device's number as a table has it.
    pub fn number_text(&self) -> String {
        format!("{}:{}", self.number.0, self.number.1)
    }

    /// Returns its node.
    pub fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/dm-{}", self.number.1))
    }
}

impl DeviceMapper {
    /// Opens it.
    pub fn open() -> Result<Self> {
        let control = io("open", CONTROL, File::open(CONTROL))?;
        Ok(Self { control })
    }

    /// Describes a device; `ENXIO` where there is none of that name.
    pub fn device(&self, name: &str) -> Result<Device> {
        let mut request = about(name)?;
        self.call(DEV_STATUS, name, &mut request)?;
        Ok(Device::of(&request))
    }

    /// Returns the line in which its first target describes itself.
    pub fn status(&self, name: &str, commit: Commit) -> Result<String> {
        let flags = match commit {
            Commit::Before => 0,
            Commit::No => NOFLUSH,
        };
        Ok(self.first_target(name, flags)?.parameters)
    }

    /// Returns its first target as it was loaded.
    pub fn table(&self, name: &str) -> Result<Target> {
        self.first_target(name, STATUS_TABLE)
    }

    fn first_target(&self, name: &str, flags: u32) -> Result<Target> {
        let mut request = about(name)?;
        request.header.flags = flags;
        self.call(TABLE_STATUS, name, &mut request)?;
        // Of a table that does not fit, the first targets are there.
        let start = usize::try_from(request.header.data_start).unwrap_or(usize::MAX);
        let data = request.data.get(start.saturating_sub(HEADER)..);
        let found = data.filter(|_| request.header.target_count > 0);
        Ok(found.and_then(parse).unwrap_or_default())
    }

    /// Sends a message to the target at the start of a device.
    pub fn message(&self, name: &str, message: &str) -> Result<()> {
        let mut request = about(name)?;
        // `struct dm_target_msg`: a sector, and the text with its NUL.
        let data = [&[0; 8], message.as_bytes(), &[0]].concat();
        sys(TARGET_MSG.0, name, put(&mut request.data, &data))?;
        self.call(TARGET_MSG, name, &mut request)
    }

    /// Makes a device without a table; `EBUSY` where there is one of that name or UUID.
    pub fn create(&self, name: &str, uuid: &str) -> Result<()> {
        let mut request = about(name)?;
        let room = &mut request.header.uuid;
        let last = room.len() - 1;
        sys(DEV_CREATE.0, name, put(&mut room[..last], uuid.as_bytes()))?;
        self.call(DEV_CREATE, name, &mut request)
    }

    /// Gives a device a table, which [`activate`](Self::activate) and [`replace`](Self::replace) put to use.
    pub fn load(&self, name: &str, target: &Target, writes: Writes) -> Result<()> {
        let mut request = about(name)?;
        let data = sys(TABLE_LOAD.0, name, specification(target))?;
        sys(TABLE_LOAD.0, name, put(&mut request.data, &data))?;
        request.header.target_count = 1;
        if writes == Writes::Refused {
            request.header.flags = READONLY;
        }
        self.call(TABLE_LOAD, name, &mut request)
    }

    /// Puts the loaded table of a new device to use. udev leaves the device alone.
    pub fn activate(&self, name: &str) -> Result<Device> {
        let mut request = about(name)?;
        self.call_with_udev(DEV_SUSPEND, name, &mut request, LEFT_ALONE)?;
        Ok(Device::of(&request))
    }

    /// Replaces the table of a device in use by the loaded one. Nothing is flushed: a full pool cannot.
    pub fn replace(&self, name: &str) -> Result<()> {
        let mut request = about(name)?;
        request.header.flags = NOFLUSH | SKIP_LOCKFS;
        self.call_with_udev(DEV_SUSPEND, name, &mut request, 0)
    }

    /// Removes a device; `EBUSY` where it stays open for a second, `ENXIO` where there is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        let (mut left, pause) = REMOVAL;
        loop {
            let mut request = about(name)?;
            let removed = self.call_with_udev(DEV_REMOVE, name, &mut request, LEFT_ALONE);
            left -= 1;
            match removed {
                Err(error) if error.errno() == Some(Errno::BUSY) && left > 0 => {
                    std::thread::sleep(pause);
                }
                removed => return removed,
            }
        }
    }

    fn call(&self, command: Command, name: &str, request: &mut Request) -> Result<()> {
        let (call, number) = command;
        sys(call, name, raw::call(&self.control, number, request))
    }

    /// Makes an ioctl for which the kernel sends a uevent, and waits until udev has run its rules.
    fn call_with_udev(
        &self,
        command: Command,
        name: &str,
        request: &mut Request,
        rules: u32,
    ) -> Result<()> {
        if !Path::new(UDEV).exists() {
            return self.call(command, name, request);
        }
        let (number, semaphore) = sys("semget", name, cookie())?;
        request.header.event_nr = (PRIMARY_SOURCE | rules) << COOKIE_SHIFT | number;
        self.call(command, name, request)?;
        if request.header.flags & UEVENT_GENERATED == 0 {
            return Ok(());
        }
        // `dmsetup udevcomplete`, the last rule, takes its value away.
        sys("semop", name, semaphore.wait())
    }
}

/// Returns a number that no call uses at the moment, and the semaphore that belongs to it.
fn cookie() -> Result<(u32, Semaphore), Errno> {
    loop {
        let mut random = [0; 2];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let number = u32::from(u16::from_ne_bytes(random));
        if number == 0 {
            continue;
        }
        let key = (COOKIE_MAGIC << COOKIE_SHIFT | number).cast_signed();
        match Semaphore::new(key) {
            Err(Errno::EXIST) => {}
            made => return Ok((number, made?)),
        }
    }
}

/// Begins a request about the device of that name.
fn about(name: &str) -> Result<Box<Request>> {
    let mut request = raw::request();
    let room = &mut request.header.name;
    let last = room.len() - 1;
    let put = match name {
        "" => Err(Errno::INVAL),
        name => put(&mut room[..last], name.as_bytes()),
    };
    sys(DEV_STATUS.0, name, put)?;
    Ok(request)
}

/// Puts bytes to the start of a room, which the kernel reads up to a NUL or by their own lengths.
fn put(room: &mut [u8], bytes: &[u8]) -> Result<(), Errno> {
    let room = room.get_mut(..bytes.len()).ok_or(Errno::INVAL)?;
    room.copy_from_slice(bytes);
    Ok(())
}

/// The `struct dm_target_spec` of a target that begins at the first sector, and its parameters.
fn specification(target: &Target) -> Result<Vec<u8>, Errno> {
    let Target {
        length,
        kind,
        parameters,
    } = target;
    // The next one would begin at a multiple of eight, behind the parameters' NUL.
    let next = (SPECIFICATION + parameters.len() + 1).next_multiple_of(8);
    let mut bytes = vec![0; next];
    let next = u32::try_from(next).ok().ok_or(Errno::INVAL)?;
    bytes[8..16].copy_from_slice(&length.to_ne_bytes());
    bytes[20..24].copy_from_slice(&next.to_ne_bytes());
    put(&mut bytes[KIND], kind.as_bytes())?;
    put(&mut bytes[SPECIFICATION..], parameters.as_bytes())?;
    Ok(bytes)
}

/// Reads a `struct dm_target_spec` and the parameters behind it.
fn parse(bytes: &[u8]) -> Option<Target> {
    Some(Target {
        length: u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?),
        kind: text(bytes.get(KIND)?),
        parameters: text(bytes.get(SPECIFICATION..)?),
    })
}

/// Reads up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_it_was_written() {
        for parameters in ["", "253:0 7", "253:0 17"] {
            let target = Target {
                length: 1 << 40,
                kind: "thin-pool".to_owned(),
                parameters: parameters.to_owned(),
            };
            let bytes = specification(&target).unwrap();
            assert_eq!(bytes.len() % 8, 0);
            assert_eq!(parse(&bytes), Some(target));
        }
        let target = Target {
            kind: "x".repeat(17),
            ..Target::default()
        };
        assert_eq!(specification(&target), Err(Errno::INVAL));
    }

    #[test]
    fn names_have_127_bytes_at_most() {
        assert!(about(&"x".repeat(127)).is_ok());
        for name in [String::new(), "x".repeat(128)] {
            let error = about(&name).err().unwrap();
            assert_eq!(error.errno(), Some(Errno::INVAL));
        }
    }

    #[test]
    fn a_cookie_has_a_semaphore_to_wait_for() {
        let (number, semaphore) = cookie().unwrap();
        assert!(number < 1 << COOKIE_SHIFT);
        drop(semaphore);
    }
}
