//! Which system calls a container may make: a filter of the kernel's (seccomp(2)), which libcontainer loads by libseccomp.
//!
//! Only a program built with the feature `seccomp` is linked with libseccomp. What is here is data, and in every program, so
//! that one without the feature refuses a container that was promised a filter.

use std::io::Read;
use std::path::Path;

use libcontainer::workload::ExecutorError;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::record::Record;
use super::{Error, Result};

/// Whether this program can have filters loaded.
pub const BUILT_IN: bool = cfg!(feature = "seccomp");

/// What to do where it cannot.
const NOT_BUILT: &str = "this program was built without seccomp: `cargo build --release -p cowlab --features seccomp` builds one with it \
     and needs libseccomp-dev";

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
        match BUILT_IN {
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
            Some(("seccomp", _)) if !BUILT_IN => Err(invalid(NOT_BUILT.to_owned())),
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

    /// `linux.seccomp` of the runtime specification, as libcontainer reads it.
    pub(super) fn spec(&self) -> Option<Value> {
        let mut filter = match self {
            Self::Unconfined => return None,
            Self::Builtin => builtin(),
            Self::Profile(profile) => json!(profile),
        };
        swap_masks(&mut filter);
        Some(filter)
    }
}

/// Refuses to start anything without the filter that was promised.
pub(super) fn refuse_unloadable(record: &Record) -> Result<()> {
    if BUILT_IN || record.seccomp == Seccomp::Unconfined {
        return Ok(());
    }
    Err(Error::Start {
        name: record.name.clone(),
        reason: format!("its system calls are to be filtered, and {NOT_BUILT}"),
        status: 125,
    })
}

/// Filters this thread and what it starts from now on.
#[cfg(feature = "seccomp")]
pub(super) fn load(filter: &LinuxSeccomp) -> std::result::Result<(), ExecutorError> {
    let loaded = libcontainer::seccomp::initialize_seccomp(filter).map(drop);
    loaded.map_err(|error| ExecutorError::Execution(error.into()))
}

/// Refuses, as [`refuse_unloadable`] has before.
#[cfg(not(feature = "seccomp"))]
pub(super) fn load(_: &LinuxSeccomp) -> std::result::Result<(), ExecutorError> {
    Err(ExecutorError::Other(NOT_BUILT.to_owned()))
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

/// libcontainer 0.7 takes the two values of a masked comparison the other way round than runc and libseccomp, where the mask
/// is first (seccomp_rule_add(3), SCMP_CMP_MASKED_EQ).
fn swap_masks(filter: &mut Value) {
    let calls = filter["syscalls"].as_array_mut().into_iter().flatten();
    let args = calls.flat_map(|call| call["args"].as_array_mut().into_iter().flatten());
    for arg in args.filter(|arg| arg["op"] == "SCMP_CMP_MASKED_EQ") {
        let (mask, bits) = (arg["value"].take(), arg["valueTwo"].take());
        arg["valueTwo"] = mask;
        arg["value"] = if bits.is_null() { json!(0) } else { bits };
    }
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

/// Reads a filter. What libcontainer does not know in it is refused: a condition that nobody heeds lets through what it forbids.
/// Names of system calls that libseccomp does not know are passed over, as by other runtimes: another kernel may have them.
fn profile(text: &str) -> std::result::Result<LinuxSeccomp, String> {
    const NOTIFY: LinuxSeccompAction = LinuxSeccompAction::ScmpActNotify;
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
    let mut rules = filter.syscalls().iter().flatten();
    let mut args = rules.clone().flat_map(|rule| rule.args().iter().flatten());
    if args.any(|arg| arg.index() > 5) {
        return Err("a system call has arguments 0 to 5".to_owned());
    }
    if filter.default_action() == NOTIFY || rules.any(|rule| rule.action() == NOTIFY) {
        return Err("SCMP_ACT_NOTIFY is not supported, for nobody listens".to_owned());
    }
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
    fn masks_are_swapped_for_libcontainer() {
        let mut filter = json!({"syscalls": [{"args": [
            {"value": 7, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"},
            {"value": 7, "op": "SCMP_CMP_MASKED_EQ"},
            {"value": 7, "valueTwo": 1, "op": "SCMP_CMP_EQ"},
        ]}, {}]});
        swap_masks(&mut filter);
        let pair = |index: usize| {
            let arg = &filter["syscalls"][0]["args"][index];
            (arg["value"].as_u64(), arg["valueTwo"].as_u64())
        };
        assert_eq!(pair(0), (Some(1), Some(7)));
        assert_eq!(pair(1), (Some(0), Some(7)));
        assert_eq!(pair(2), (Some(7), Some(1)));
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
    fn options_are_read_as_this_program_was_built() {
        let told = |option| Seccomp::parse(option).unwrap_err().to_string();
        assert_eq!(
            Seccomp::parse("seccomp=unconfined").unwrap(),
            Seccomp::Unconfined
        );
        assert!(told("label=disable").contains("`label=disable`"));
        assert!(told("no-new-privileges").contains("`no-new-privileges`"));
        let absent = told("seccomp=/nonexistent/filter.json");
        let builtin = Seccomp::parse("seccomp=builtin");
        if BUILT_IN {
            assert!(absent.contains("No such file"), "{absent}");
            assert_eq!(builtin.unwrap(), Seccomp::default());
        } else {
            assert!(absent.contains("libseccomp-dev"), "{absent}");
            assert!(builtin.is_err());
            assert_eq!(Seccomp::default(), Seccomp::Unconfined);
        }
    }
}
