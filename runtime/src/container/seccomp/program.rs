//! From `linux.seccomp` of the OCI runtime specification to programs for the kernel, compiled by seccompiler.
//!
//! seccompiler knows two actions a program: what matches, and all the rest. A filter with more of them becomes several programs,
//! of which the kernel runs each and heeds the strictest answer (seccomp(2), "SECCOMP_SET_MODE_FILTER"): one that has the default
//! action for everything without a rule, and one for each other action that a rule has.
//!
//! A program covers the machine's own architecture and, where the filter names it, that of its 32-bit programs. Calls of any
//! other kind get ENOSYS, as from a kernel without it: those of x32 are x86_64's with another number, and no rule would match.

use std::collections::BTreeMap;

use cowlab_sys::seccomp::Instruction;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::{REFUSED, UNKNOWN};

/// Programs to be loaded one after the other, and the flags of seccomp(2) to do it with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::container) struct Programs {
    pub(in crate::container) all: Vec<Vec<Instruction>>,
    pub(in crate::container) flags: u32,
}

/// An architecture of system calls.
#[derive(Debug)]
struct Machine {
    /// Its name in the runtime specification; `None` for the machine's own.
    name: Option<Arch>,
    /// `AUDIT_ARCH_...` (linux/audit.h).
    audit: u32,
    /// The first number that is none of its calls.
    end: u32,
    number: fn(&str) -> Option<u32>,
}

/// The architectures of this machine, its own first.
#[cfg(target_arch = "x86_64")]
const MACHINES: &[Machine] = &[
    Machine {
        name: None,
        audit: 0xc000_003e,
        // __X32_SYSCALL_BIT (asm/unistd.h).
        end: 0x4000_0000,
        number: |name| {
            Some(
                name.parse::<syscalls::x86_64::Sysno>()
                    .ok()?
                    .id()
                    .cast_unsigned(),
            )
        },
    },
    Machine {
        name: Some(Arch::ScmpArchX86),
        audit: 0x4000_0003,
        end: u32::MAX,
        number: |name| {
            Some(
                name.parse::<syscalls::x86::Sysno>()
                    .ok()?
                    .id()
                    .cast_unsigned(),
            )
        },
    },
];
#[cfg(target_arch = "aarch64")]
const MACHINES: &[Machine] = &[
    Machine {
        name: None,
        audit: 0xc000_00b7,
        end: u32::MAX,
        number: |name| {
            Some(
                name.parse::<syscalls::aarch64::Sysno>()
                    .ok()?
                    .id()
                    .cast_unsigned(),
            )
        },
    },
    Machine {
        name: Some(Arch::ScmpArchArm),
        audit: 0x4000_0028,
        end: u32::MAX,
        number: |name| {
            Some(
                name.parse::<syscalls::arm::Sysno>()
                    .ok()?
                    .id()
                    .cast_unsigned(),
            )
        },
    },
];
/// Filters are for the two architectures that containers are built for.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINES: &[Machine] = &[];

/// Whether programs can be made for this machine.
pub(super) const IS_KNOWN: bool = !MACHINES.is_empty();

/// Instructions of the kernel's (linux/bpf_common.h): load a word, jump always, if equal, if not less, and return.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Where `struct seccomp_data` has the call's number and the architecture.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// The rules of a program, by the numbers of their calls; a call without conditions has an empty list.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Compiles a filter. Names of calls that an architecture does not have are passed over.
pub(in crate::container) fn compile(filter: &LinuxSeccomp) -> Result<Programs, String> {
    let default = action(filter.default_action(), filter.default_errno_ret())?;
    let rules = filter.syscalls().as_deref().unwrap_or_default();
    let mut actions = Vec::new();
    for rule in rules {
        let action = action(rule.action(), rule.errno_ret())?;
        if action != default && !actions.contains(&action) {
            actions.push(action);
        }
    }
    let machines = machines(filter);
    let mut all = Vec::new();
    if default != SeccompAction::Allow {
        // What has a rule of its own passes here; the rule's action is another program's, or to let it pass.
        let has_rule = |found: &SeccompAction| *found != default;
        let program = program(&machines, rules, &has_rule, &default, &SeccompAction::Allow)?;
        all.push(program);
    }
    for one in actions.iter().filter(|one| **one != SeccompAction::Allow) {
        let is_same = |found: &SeccompAction| found == one;
        all.push(program(
            &machines,
            rules,
            &is_same,
            &SeccompAction::Allow,
            one,
        )?);
    }
    Ok(Programs {
        all,
        flags: flags(filter)?,
    })
}

fn machines(filter: &LinuxSeccomp) -> Vec<&'static Machine> {
    let wanted = filter.architectures().as_deref().unwrap_or_default();
    let is_wanted = |machine: &&Machine| machine.name.is_none_or(|name| wanted.contains(&name));
    MACHINES.iter().filter(is_wanted).collect()
}

fn flags(filter: &LinuxSeccomp) -> Result<u32, String> {
    let mut flags = 0;
    for flag in filter.flags().iter().flatten() {
        // SECCOMP_FILTER_FLAG_... of linux/seccomp.h. A program that is about to start has no other thread to synchronise.
        flags |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
            other => return Err(format!("the flag `{other:?}` is not supported")),
        };
    }
    Ok(flags)
}

fn action(action: LinuxSeccompAction, value: Option<u32>) -> Result<SeccompAction, String> {
    use LinuxSeccompAction as From;
    Ok(match action {
        From::ScmpActAllow => SeccompAction::Allow,
        From::ScmpActErrno => SeccompAction::Errno(value.unwrap_or(REFUSED)),
        From::ScmpActKill | From::ScmpActKillThread => SeccompAction::KillThread,
        From::ScmpActKillProcess => SeccompAction::KillProcess,
        From::ScmpActLog => SeccompAction::Log,
        From::ScmpActTrace => SeccompAction::Trace(value.unwrap_or(REFUSED)),
        From::ScmpActTrap => SeccompAction::Trap,
        From::ScmpActNotify => {
            return Err("SCMP_ACT_NOTIFY is not supported, for nobody listens".to_owned());
        }
    })
}

/// One program: `matched` for what rules with a `wanted` action match, `rest` for all else, on each of the architectures.
fn program(
    machines: &[&Machine],
    rules: &[LinuxSyscall],
    wanted: &dyn Fn(&SeccompAction) -> bool,
    rest: &SeccompAction,
    matched: &SeccompAction,
) -> Result<Vec<Instruction>, String> {
    let step = |code, k, jt, jf| Instruction { code, jt, jf, k };
    let unknown = step(RETURN, SeccompAction::Errno(UNKNOWN).into(), 0, 0);
    let mut parts = Vec::new();
    for machine in machines {
        let mut part = vec![
            step(LOAD, NUMBER, 0, 0),
            step(JUMP_NOT_LESS, machine.end, 0, 1),
            unknown,
        ];
        let rules = numbered(machine, rules, wanted)?;
        part.extend(compiled(machine, rules, rest, matched)?);
        parts.push((machine.audit, part));
    }
    let mut whole = vec![step(LOAD, ARCHITECTURE, 0, 0)];
    // Each part is skipped as a whole: a conditional jump reaches no further than 255 instructions, another one anywhere.
    for (audit, part) in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        whole.push(step(JUMP_EQUAL, audit, 1, 0));
        whole.push(step(JUMP, length, 0, 0));
        whole.extend(part);
    }
    whole.push(unknown);
    const LONGEST: usize = 4096;
    match whole.len() {
        0..=LONGEST => Ok(whole),
        length => Err(format!(
            "it takes {length} instructions, and the kernel has {LONGEST} at most (linux/bpf_common.h)"
        )),
    }
}

fn compiled(
    machine: &Machine,
    rules: Rules,
    rest: &SeccompAction,
    matched: &SeccompAction,
) -> Result<Vec<Instruction>, String> {
    // The architecture was compared before, and seccompiler's own comparison is left out: it knows 64-bit ones alone.
    const COMPARISON: usize = 3;
    let target = TargetArch::x86_64;
    let filter = SeccompFilter::new(rules, rest.clone(), matched.clone(), target);
    let program = filter.and_then(BpfProgram::try_from);
    let program = program.map_err(|error| format!("it cannot be compiled: {error}"))?;
    let instruction = |one: &sock_filter| Instruction {
        code: one.code,
        jt: one.jt,
        jf: one.jf,
        k: one.k,
    };
    debug_assert!(machine.end > 0 && program.len() > COMPARISON);
    Ok(program.iter().skip(COMPARISON).map(instruction).collect())
}

/// The rules with a wanted action, by number.
fn numbered(
    machine: &Machine,
    rules: &[LinuxSyscall],
    wanted: &dyn Fn(&SeccompAction) -> bool,
) -> Result<Rules, String> {
    let mut numbered: BTreeMap<i64, Option<Vec<SeccompRule>>> = BTreeMap::new();
    for rule in rules {
        if !wanted(&action(rule.action(), rule.errno_ret())?) {
            continue;
        }
        let conditions = conditions(rule)?;
        for number in rule
            .names()
            .iter()
            .filter_map(|name| (machine.number)(name))
        {
            let all = numbered
                .entry(number.into())
                .or_insert_with(|| Some(Vec::new()));
            match (&conditions[..], all) {
                // A rule without conditions makes those with some of no account.
                ([], all) => *all = None,
                (_, None) => {}
                (conditions, Some(all)) => all.extend(conditions.iter().cloned()),
            }
        }
    }
    let rules = numbered.into_iter();
    Ok(rules
        .map(|(number, all)| (number, all.unwrap_or_default()))
        .collect())
}

/// The conditions of a rule, all of which have to hold. Where several are about one argument, each alone is enough, as with runc
/// (libcontainer/seccomp/seccomp_linux.go, `matchCall`).
fn conditions(rule: &LinuxSyscall) -> Result<Vec<SeccompRule>, String> {
    let args = rule.args().as_deref().unwrap_or_default();
    let mut all = Vec::new();
    for arg in args {
        let (first, second) = (arg.value(), arg.value_two().unwrap_or_default());
        let (operator, value) = match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => (SeccompCmpOp::Ne, first),
            LinuxSeccompOperator::ScmpCmpLt => (SeccompCmpOp::Lt, first),
            LinuxSeccompOperator::ScmpCmpLe => (SeccompCmpOp::Le, first),
            LinuxSeccompOperator::ScmpCmpEq => (SeccompCmpOp::Eq, first),
            LinuxSeccompOperator::ScmpCmpGe => (SeccompCmpOp::Ge, first),
            LinuxSeccompOperator::ScmpCmpGt => (SeccompCmpOp::Gt, first),
            LinuxSeccompOperator::ScmpCmpMaskedEq => (SeccompCmpOp::MaskedEq(first), second),
        };
        let index = u8::try_from(arg.index()).unwrap_or(u8::MAX);
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Qword, operator, value);
        all.push(condition.map_err(|error| format!("a condition: {error}"))?);
    }
    let indexes: std::collections::BTreeSet<_> = args
        .iter()
        .map(oci_spec::runtime::LinuxSeccompArg::index)
        .collect();
    let rules = match (all.is_empty(), indexes.len() == args.len()) {
        (true, _) => return Ok(Vec::new()),
        (false, true) => vec![all],
        (false, false) => all.into_iter().map(|one| vec![one]).collect(),
    };
    let rules: Result<_, _> = rules.into_iter().map(SeccompRule::new).collect();
    rules.map_err(|error| format!("a rule: {error}"))
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;

    fn programs(filter: Value) -> Programs {
        compile(&LinuxSeccomp::deserialize(filter).unwrap()).unwrap()
    }

    /// What a program returns, as the kernel runs it.
    fn returned(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut data = [number.to_le_bytes(), arch.to_le_bytes(), [0; 4], [0; 4]].concat();
        data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let mut jump = |is_so| at += usize::from(if is_so { jt } else { jf });
            match code {
                LOAD => {
                    let k = usize::try_from(k).unwrap();
                    value = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                }
                JUMP => at += usize::try_from(k).unwrap(),
                JUMP_EQUAL => jump(value == k),
                0x25 => jump(value > k),
                JUMP_NOT_LESS => jump(value >= k),
                0x54 => value &= k,
                RETURN => return k,
                other => panic!("no instruction of seccompiler's: {other:#x}"),
            }
        }
    }

    /// The strictest answer: of those here, an error counts before a permission.
    fn verdict(programs: &Programs, arch: u32, number: u32, first: u64) -> u32 {
        let args = [first, 0, 0, 0, 0, 0];
        let all = programs.all.iter();
        all.map(|program| returned(program, arch, number, args))
            .min()
            .unwrap_or(ALLOW)
    }

    #[test]
    fn builtin_filter_holds_for_every_kind_of_call() {
        let programs = programs(super::super::builtin());
        let verdict = |arch, number, first| verdict(&programs, arch, number, first);
        let (refused, unknown) = (ERRNO | REFUSED, ERRNO | UNKNOWN);
        // read, mount, clone3, and the flags of clone.
        assert_eq!(verdict(X86_64, 0, 0), ALLOW);
        assert_eq!(verdict(X86_64, 165, 0), refused);
        assert_eq!(verdict(X86_64, 435, 0), unknown);
        assert_eq!(verdict(X86_64, 56, 0x003d_0f00), ALLOW);
        assert_eq!(verdict(X86_64, 56, 0x1000_0011), refused);
        // personality: ADDR_NO_RANDOMIZE and the question.
        assert_eq!(verdict(X86_64, 135, 0x4_0000), refused);
        assert_eq!(verdict(X86_64, 135, 0xffff_ffff), ALLOW);
        // A 32-bit program's read and mount; x32's mount and getpid; a call of another architecture.
        assert_eq!(verdict(I386, 3, 0), ALLOW);
        assert_eq!(verdict(I386, 21, 0), refused);
        assert_eq!(verdict(X86_64, 0x4000_0000 | 165, 0), unknown);
        assert_eq!(verdict(X86_64, 0x4000_0000 | 39, 0), unknown);
        assert_eq!(verdict(0xc000_00b7, 63, 0), unknown);
    }

    #[test]
    fn list_of_what_is_allowed_keeps_its_other_actions() {
        let programs = programs(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
            "syscalls": [
                {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 0xff, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"},
                    {"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]},
                {"names": ["mount"], "action": "SCMP_ACT_KILL_PROCESS"},
            ],
        }));
        let verdict = |number, first| verdict(&programs, X86_64, number, first);
        assert_eq!(verdict(0, 0), ALLOW);
        assert_eq!(verdict(1, 0), ERRNO | 13);
        assert_eq!(verdict(435, 0), ERRNO | 38);
        assert_eq!(verdict(135, 8), ALLOW);
        assert_eq!(verdict(135, 9), ERRNO | 13);
        for (first, expected) in [(0x301, ALLOW), (7, ALLOW), (6, ERRNO | 13)] {
            assert_eq!(verdict(62, first), expected, "{first:#x}");
        }
        let killed = programs
            .all
            .iter()
            .any(|program| returned(program, X86_64, 165, [0; 6]) == 0x8000_0000);
        assert!(killed);
        // Without its name in the filter, a 32-bit program has no calls at all.
        assert_eq!(returned(&programs.all[0], I386, 3, [0; 6]), ERRNO | UNKNOWN);
    }

    #[test]
    fn what_cannot_be_loaded_is_named() {
        let refused = |filter| compile(&LinuxSeccomp::deserialize::<Value>(filter).unwrap());
        let notify = refused(json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
        assert!(notify.unwrap_err().contains("nobody listens"));
        let args: Vec<_> = (0..1000)
            .map(|value| json!({"index": 0, "value": value, "op": "SCMP_CMP_LT"}))
            .collect();
        let long = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": args}]});
        let reason = refused(long).unwrap_err();
        assert!(reason.contains("cannot be compiled"), "{reason}");
    }
}
