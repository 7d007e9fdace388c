//! The command line of QEMU.

use std::path::Path;

use crate::Accel;

/// The processor that TCG shows, the same everywhere, so that a run does not depend on the host's QEMU.
///
/// Without cx16: QEMU 7.2 leaves stale condition codes behind cmpxchg16b, and an interrupt at the wrong moment then returns
/// to garbage in EFLAGS; one boot in six ended in a double fault. Without AVX: kernels of 6.12 hang while they boot.
const TCG_CPU: &str =
    "qemu64,-cx16,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+rdrand,+fsgsbase,+smep";

/// The ports of the guest and the names that its init script knows them by.
pub(crate) const PORTS: [&str; 4] = [
    "cowlab.status",
    "cowlab.stdout",
    "cowlab.stderr",
    "cowlab.results",
];

/// What a machine is made of. Files and sockets are numbers of inherited descriptors.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) accel: Accel,
    pub(crate) kernel: &'a Path,
    pub(crate) memory_mib: u32,
    /// The initrd with the payload.
    pub(crate) initrd: i32,
    pub(crate) console: i32,
    /// One socket for each of [`PORTS`].
    pub(crate) ports: [i32; 4],
    /// The socket of the machine protocol.
    pub(crate) control: Option<i32>,
    pub(crate) scratch: Option<i32>,
    /// The socket of an interactive terminal.
    pub(crate) terminal: Option<i32>,
    /// The seed of a machine whose clock counts instructions.
    pub(crate) counted: Option<u64>,
}

impl Plan<'_> {
    /// Returns the arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut line = Line::default();
        line.flag("-nodefaults")
            .flag("-no-user-config")
            .flag("-no-reboot");
        line.option("-display", "none");
        line.option("-machine", "pc,vmport=off");
        line.option("-m", self.memory_mib.to_string());
        self.processor(&mut line);
        line.option("-kernel", self.kernel.display().to_string());
        line.option("-initrd", descriptor(self.initrd));
        line.option("-append", self.kernel_parameters());
        let console = descriptor(self.console);
        line.option("-chardev", format!("file,id=console,path={console}"));
        line.option("-serial", "chardev:console");
        self.ports(&mut line);
        if let Some(socket) = self.control {
            line.option("-chardev", format!("socket,id=control,fd={socket}"));
            line.option("-mon", "chardev=control,mode=control");
        }
        if let Some(file) = self.scratch {
            let file = descriptor(file);
            line.option(
                "-drive",
                format!("if=none,id=scratch,format=raw,file={file},cache=unsafe,discard=unmap,file.locking=off"),
            );
            line.option("-device", "virtio-blk-pci,drive=scratch,serial=scratch");
        }
        line.0
    }

    fn processor(&self, line: &mut Line) {
        if let Some(seed) = self.counted {
            // An instruction counts as two nanoseconds, and a sleeping guest wakes at once.
            line.option("-icount", "shift=1,sleep=off");
            line.option("-rtc", "base=2026-01-01T00:00:00,clock=vm");
            line.option("-seed", seed.to_string());
        }
        match self.accel {
            Accel::Kvm => {
                line.option("-accel", "kvm");
                line.option("-cpu", "host");
                line.option("-smp", "2");
            }
            // More processors make fork and exec three times slower.
            Accel::Tcg => {
                // Before 8.1 QEMU leaves memory barriers of the guest out where no second processor can come: then the disk and
                // its driver each miss what the other wrote last, and an interrupt is lost, with every request behind it
                // (QEMU, commit c914d46d0a64, "tcg: Do not elide memory barriers for !CF_PARALLEL in system mode").
                let (threads, processors) = match self.counted {
                    Some(_) => ("single", "1"),
                    None => ("multi", "1,maxcpus=2"),
                };
                line.option("-accel", format!("tcg,thread={threads}"));
                line.option("-cpu", TCG_CPU);
                line.option("-smp", processors);
            }
        }
    }

    fn ports(&self, line: &mut Line) {
        // Without it a counted guest would see when the host's main loop found the time to answer.
        let events = if self.counted.is_some() {
            ",ioeventfd=off"
        } else {
            ""
        };
        line.option("-device", format!("virtio-serial-pci{events}"));
        if let Some(socket) = self.terminal {
            line.option("-chardev", format!("socket,id=terminal,fd={socket}"));
            line.option(
                "-device",
                "virtconsole,chardev=terminal,name=cowlab.terminal",
            );
        }
        for (name, socket) in PORTS.iter().zip(self.ports) {
            line.option("-chardev", format!("socket,id={name},fd={socket}"));
            line.option(
                "-device",
                format!("virtserialport,chardev={name},name={name}"),
            );
        }
    }

    fn kernel_parameters(&self) -> String {
        // A panic or an oops is the end of the machine. `no_timer_check`: the check fails on a loaded host.
        let mut words =
            vec!["console=ttyS0 quiet loglevel=5 panic=-1 oops=panic no_timer_check nowatchdog"];
        if self.accel == Accel::Tcg {
            words.push("mitigations=off");
        }
        if self.counted.is_some() {
            words.push("nokaslr norandmaps");
        }
        words.join(" ")
    }
}

/// The name that a child opens an inherited descriptor by; it gets a position of its own.
fn descriptor(number: i32) -> String {
    format!("/proc/self/fd/{number}")
}

#[derive(Debug, Default)]
struct Line(Vec<String>);

impl Line {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.to_owned());
        self
    }

    fn option(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan<'static> {
        Plan {
            accel: Accel::Tcg,
            kernel: Path::new("/image/vmlinux"),
            memory_mib: 512,
            initrd: 10,
            console: 11,
            ports: [12, 13, 14, 15],
            control: Some(16),
            scratch: Some(17),
            terminal: None,
            counted: None,
        }
    }

    #[test]
    fn every_descriptor_is_named_once() {
        let line = plan().arguments().join(" ");
        for file in [10, 11, 17] {
            assert_eq!(line.matches(&format!("/proc/self/fd/{file}")).count(), 1);
        }
        for socket in 12..=16 {
            assert_eq!(line.matches(&format!("fd={socket}")).count(), 1);
        }
        assert!(line.contains("-cx16"));
    }

    #[test]
    fn a_counted_machine_has_no_disk_and_no_thread_of_its_own() {
        let counted = Plan {
            counted: Some(7),
            scratch: None,
            control: None,
            ..plan()
        };
        let line = counted.arguments().join(" ");
        assert!(line.contains("-icount shift=1,sleep=off") && line.contains("-seed 7"));
        assert!(line.contains("virtio-serial-pci,ioeventfd=off"));
        assert!(line.contains("nokaslr norandmaps"));
        assert!(!line.contains("virtio-blk") && !line.contains("mode=control"));
    }

    #[test]
    fn kvm_shows_the_host_processor() {
        let line = Plan {
            accel: Accel::Kvm,
            ..plan()
        }
        .arguments()
        .join(" ");
        assert!(line.contains("-accel kvm -cpu host"));
        assert!(!line.contains("mitigations=off"));
    }
}
