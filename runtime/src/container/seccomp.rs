//! Which system calls a container may make: a filter of the kernel's (seccomp(2)).
//!
//! A filter is data, as the OCI runtime specification has it. `program` compiles it, and `Filter` loads it as the last thing
//! before a container's program starts. libcontainer's own way needs libseccomp, a C library, and is not used.

mod program;

use std::io::Read;
use std::path::Path;

use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Error, Result};
use program::Programs;

/// Where no filter can be loaded.
const NOT_HERE: &str = "this kernel has no filters of system calls (CONFIG_SECCOMP_FILTER), or cowlab knows none for this \
     architecture: `--security-opt seccomp=unconfined` goes without";

/// Whether filters can be loaded on this machine.
#[must_use]
pub fn is_supported() -> bool {
    program::IS_KNOWN && cowlab_sys::seccomp::is_supported()
}

/// The longest file that is read as a filter, in bytes; docker's own profile has 13 thousand.
const LONGEST: u64 = 1 << 20;

/// EPERM and ENOSYS, which most architectures number alike.
const REFUSED: u32 = 1;
const UNKNOWN: u32 = 38;

/// What docker's documentation lists as blocked (docs.docker.com, engine/security/seccomp, "Significant syscalls blocked by
/// the default profile"), less `clone` and `unshare`, of which only some flags are, and less what docker's profile itself
/// allows everybody since Linux 4.8: `clock_adjtime`, `process_vm_readv`, `process_vm_writev`, `ptrace`. The kernel guards them.
const BLOCKED: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "clock_settime",
    "create_module",
    "delete_module",
    "finit_module",
    "get_kernel_syms",
    "get_mempolicy",
    "init_module",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "mount",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "perf_event_open",
    "pivot_root",
    "query_module",
    "quotactl",
    "reboot",
    "request_key",
    "set_mempolicy",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "sysfs",
    "_sysctl",
    "umount",
    "umount2",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
];

/// Later calls for the same as some of [`BLOCKED`], which docker's profile allows for the same capabilities alone (moby,
/// `profiles/seccomp/default.json`).
const LATER: &[&str] = &[
    "clock_settime64",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "quotactl_fd",
];

/// The flags of clone(2) that make a namespace: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// CLONE_NEWTIME, which unshare(2) has and clone(2) has not: there its bit is part of a signal's number.
const TIME: u64 = 0x80;

/// Which filter a container has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// None.
    Unconfined,
    /// The program's own.
    Builtin,
    /// A file's, as the OCI runtime specification has it.
    Profile(Box<LinuxSeccomp>),
}

impl Default for Seccomp {
    fn default() -> Self {
        match is_supported() {
            true => Self::Builtin,
            false => Self::Unconfined,
        }
    }
}

impl Seccomp {
    /// Reads a value of docker's `--security-opt`: `seccomp=unconfined`, `seccomp=builtin` or `seccomp=FILE`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another option, for a filter that this program cannot load, and for a file that holds none.
    pub fn parse(option: &str) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("--security-opt", option, reason);
        match option.split_once('=') {
            Some(("seccomp", "unconfined")) => Ok(Self::Unconfined),
            Some(("seccomp", _)) if !is_supported() => Err(invalid(NOT_HERE.to_owned())),
            Some(("seccomp", "builtin")) => Ok(Self::Builtin),
            Some(("seccomp", file)) => {
                let text = read(Path::new(file)).map_err(invalid)?;
                Ok(Self::Profile(Box::new(profile(&text).map_err(invalid)?)))
            }
            _ => Err(invalid(
                "only `seccomp=unconfined` and `seccomp=FILE` are supported".to_owned(),
            )),
        }
    }

    /// As docker's `--security-opt` has it, a file's filter with its content.
    #[must_use]
    pub fn option(&self) -> String {
        match self {
            Self::Unconfined => "seccomp=unconfined".to_owned(),
            Self::Builtin => "seccomp=builtin".to_owned(),
            Self::Profile(profile) => format!("seccomp={}", json!(profile)),
        }
    }

    /// The programs of the filter; none where there is no filter.
    fn programs(&self) -> std::result::Result<Programs, String> {
        match self {
            Self::Unconfined => Ok(Programs::default()),
            Self::Builtin => {
                let filter = LinuxSeccomp::deserialize(builtin());
                program::compile(&filter.map_err(|error| error.to_string())?)
            }
            Self::Profile(profile) => program::compile(profile),
        }
    }
}

/// A container's filter, compiled.
#[derive(Debug, Clone)]
pub(super) struct Filter(Programs);

impl Filter {
    /// Compiles the filter of a container.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] where the filter that was promised cannot be loaded.
    pub(super) fn of(container: &str, seccomp: &Seccomp) -> Result<Self> {
        let failed = |reason: String| Error::Start {
            name: container.to_owned(),
            reason: format!("its system calls are to be filtered, and {reason}"),
            status: 125,
        };
        if *seccomp != Seccomp::Unconfined && !is_supported() {
            return Err(failed(NOT_HERE.to_owned()));
        }
        Ok(Self(seccomp.programs().map_err(failed)?))
    }

    /// Has the kernel filter this process's system calls from now on.
    pub(super) fn load(&self) -> std::result::Result<(), cowlab_sys::Error> {
        let mut programs = self.0.all.iter();
        programs.try_for_each(|program| cowlab_sys::seccomp::load(program, self.0.flags))
    }
}

/// The program's own filter: everything is allowed but what docker blocks.
fn builtin() -> Value {
    let architectures: &[&str] = match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &["SCMP_ARCH_NATIVE"],
    };
    let blocked = [BLOCKED, LATER].concat();
    let mut rules = vec![
        json!({"names": blocked, "action": "SCMP_ACT_ERRNO", "errnoRet": REFUSED}),
        // Its flags are in memory, where no filter looks. glibc takes clone(2) then, as with docker.
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": UNKNOWN}),
    ];
    // s390 has clone(2)'s first two arguments the other way round.
    let flags = usize::from(cfg!(target_arch = "s390x"));
    for flag in NAMESPACES {
        rules.push(refuse("clone", flags, flag, flag));
        rules.push(refuse("unshare", 0, flag, flag));
    }
    rules.push(refuse("unshare", 0, TIME, TIME));
    rules.extend(personalities());
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "syscalls": rules})
}

/// A rule that refuses a call when the bits `mask` of an argument are `bits`.
fn refuse(call: &str, index: usize, mask: u64, bits: u64) -> Value {
    json!({
        "names": [call],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": REFUSED,
        "args": [{"index": index, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ"}],
    })
}

/// Of personality(2), docker's profile allows what 32-bit programs (bit 3) and those that want a version 2.6 (bit 17) ask for,
/// and the question, which has all 32 bits. A rule cannot exclude a value from what it matches, so there is one for each other
/// bit that a personality has, and one for each bit that what looks like the question lacks.
fn personalities() -> impl Iterator<Item = Value> {
    const TOP: u64 = 1 << 31;
    let bits = || (0..31).map(|bit| 1_u64 << bit);
    let others = bits().filter(|bit| ![1 << 3, 1 << 17].contains(bit));
    let set = others.map(|bit| refuse("personality", 0, TOP | bit, bit));
    set.chain(bits().map(|bit| refuse("personality", 0, TOP | bit, TOP)))
}

fn read(file: &Path) -> std::result::Result<String, String> {
    let told = |error: std::io::Error| format!("read the file: {error}");
    let mut text = String::new();
    let file = std::fs::File::open(file).map_err(told)?;
    let mut file = file.take(LONGEST + 1);
    file.read_to_string(&mut text).map_err(told)?;
    match file.limit() {
        0 => Err(format!("the file has more than {LONGEST} bytes")),
        _ => Ok(text),
    }
}

/// Reads a filter. What is not known in it is refused: a condition that nobody heeds lets through what it forbids. Names of system
/// calls that this machine does not have are passed over, as by other runtimes: another one may have them.
fn profile(text: &str) -> std::result::Result<LinuxSeccomp, String> {
    const FORM: &str = "write it as `linux.seccomp` of the OCI runtime specification";
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("the file is no JSON: {error}"))?;
    let top = [
        "architectures",
        "defaultAction",
        "defaultErrnoRet",
        "flags",
        "syscalls",
    ];
    let call = ["action", "args", "errnoRet", "names"];
    let arg = ["index", "op", "value", "valueTwo"];
    let calls: Vec<_> = list(&value["syscalls"]).collect();
    let mut args = calls.iter().flat_map(|call| list(&call["args"]));
    let unknown = unknown_key(&value, &top)
        .or_else(|| calls.iter().find_map(|one| unknown_key(one, &call)))
        .or_else(|| args.find_map(|one| unknown_key(one, &arg)));
    if let Some(key) = unknown {
        return Err(format!(
            "{key} in the file is not supported: {FORM}, which docker's own profiles are not"
        ));
    }
    let filter = LinuxSeccomp::deserialize(&value).map_err(|error| format!("{error}: {FORM}"))?;
    let rules = filter.syscalls().iter().flatten();
    let mut args = rules.flat_map(|rule| rule.args().iter().flatten());
    if args.any(|arg| arg.index() > 5) {
        return Err("a system call has arguments 0 to 5".to_owned());
    }
    program::compile(&filter)?;
    Ok(filter)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

/// What is in an object beside the known, for people.
fn unknown_key(value: &Value, known: &[&str]) -> Option<String> {
    let Some(object) = value.as_object() else {
        return Some("what is no object".to_owned());
    };
    let mut keys = object.keys().filter(|key| !known.contains(&key.as_str()));
    keys.next().map(|key| format!("`{}`", key.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter does with a call whose first argument this is: the error, or `None` where it is allowed.
    fn verdict(filter: &Value, call: &str, argument: u64) -> Option<u64> {
        let matches = |rule: &&Value| {
            let named = list(&rule["names"]).any(|name| name == call);
            named
                && list(&rule["args"]).all(|arg| {
                    let number = |key| arg[key].as_u64().unwrap_or_default();
                    argument & number("value") == number("valueTwo")
                })
        };
        let rule = list(&filter["syscalls"]).find(matches)?;
        rule["errnoRet"].as_u64()
    }

    #[test]
    fn the_builtin_filter_refuses_what_docker_does_and_no_more() {
        let filter = builtin();
        assert!(profile(&filter.to_string()).is_ok());
        let refused = |call, argument| verdict(&filter, call, argument);
        assert_eq!(refused("mount", 0), Some(1));
        assert_eq!(refused("move_mount", 0), Some(1));
        assert_eq!(refused("clone3", 0), Some(38));
        for call in ["read", "execve", "ptrace", "socket"] {
            assert_eq!(refused(call, 0), None, "{call}");
        }
        // A thread of glibc's, and a fork that ends with SIGCHLD.
        for flags in [0x003d_0f00, 0x0120_0011] {
            assert_eq!(refused("clone", flags), None);
        }
        assert_eq!(refused("clone", 0x1000_0011), Some(1));
        assert_eq!(refused("clone", 0x91), None);
        // CLONE_FILES makes no namespace.
        assert_eq!(refused("unshare", 0x400), None);
        for flags in [0x80, 0x0002_0000, 0x1000_0400] {
            assert_eq!(refused("unshare", flags), Some(1));
        }
    }

    #[test]
    fn of_personalities_dockers_are_left() {
        let filter = builtin();
        let refused = |argument| verdict(&filter, "personality", argument).is_some();
        for allowed in [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
            assert!(!refused(allowed), "{allowed:#x}");
        }
        for other in [
            1,
            0x6,
            0x4_0000,
            0x6_0000,
            0x8000_0000,
            0x8000_0008,
            0xffff_fff7,
        ] {
            assert!(refused(other), "{other:#x}");
        }
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let with = |calls: &str| {
            let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{calls}]}}"#);
            profile(&text).map(drop).unwrap_err()
        };
        let good = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;
        assert!(profile(good).is_ok());
        assert!(profile("{").unwrap_err().contains("no JSON"));
        assert!(profile("[]").unwrap_err().contains("linux.seccomp"));
        assert!(with(r#"[["bpf"], "SCMP_ACT_ERRNO"]"#).contains("no object"));
        let docker = r#"{"defaultAction": "SCMP_ACT_ALLOW", "archMap": []}"#;
        assert!(profile(docker).unwrap_err().contains("`archMap`"));
        let caps = r#"{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": []}}"#;
        assert!(with(caps).contains("`includes`"));
        let action = r#"{"names": ["bpf"], "action": "SCMP_ACT_MAYBE"}"#;
        assert!(with(action).contains("SCMP_ACT_MAYBE"));
        let notify = r#"{"names": ["bpf"], "action": "SCMP_ACT_NOTIFY"}"#;
        assert!(with(notify).contains("nobody listens"));
        let index = r#"{"names": ["bpf"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}"#;
        assert!(with(index).contains("0 to 5"));
    }

    #[test]
    fn options_are_read() {
        let told = |option| Seccomp::parse(option).unwrap_err().to_string();
        let unconfined = Seccomp::parse("seccomp=unconfined").unwrap();
        assert_eq!(unconfined, Seccomp::Unconfined);
        assert!(told("label=disable").contains("`label=disable`"));
        assert!(told("no-new-privileges").contains("`no-new-privileges`"));
        if !is_supported() {
            assert!(told("seccomp=builtin").contains("CONFIG_SECCOMP_FILTER"));
            return;
        }
        let absent = told("seccomp=/nonexistent/filter.json");
        assert!(absent.contains("No such file"), "{absent}");
        assert_eq!(
            Seccomp::parse("seccomp=builtin").unwrap(),
            Seccomp::default()
        );
    }
}
