//! Which stages a target needs, and in which order.

use crate::error::{Error, Fault, Result};
use crate::instruction::{Instruction, Kind, MountKind};
use crate::parse::Dockerfile;
use crate::scope::Globals;

/// What a stage is built on, or what files are copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// Another stage, by its place in the file.
    Stage(usize),
    /// An image's name.
    Image(String),
}

/// A stage that a target needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its place in the file.
    pub stage: usize,
    /// What it is built on.
    pub base: Base,
    /// The stages that have to be built before it, each once, the base among them.
    pub needs: Vec<usize>,
}

/// The stages that a target needs; what is not among them is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The target's place in the file.
    pub target: usize,
    /// The stages, each after those that it needs; the target is the last.
    pub stages: Vec<Planned>,
}

impl Plan {
    /// Plans a build of the stage that `target` names by its name or number, or of the last one.
    ///
    /// # Errors
    ///
    /// If there is no such target, or stages need each other.
    pub fn new(file: &Dockerfile, globals: &Globals, target: Option<&str>) -> Result<Self> {
        let target = match target {
            None => file.stages.len() - 1,
            Some(name) => find_target(file, name)?,
        };
        let all: Vec<Planned> = (0..file.stages.len())
            .map(|stage| planned(file, globals, stage))
            .collect::<Result<_>>()?;
        let mut order = Order {
            file,
            all: &all,
            states: vec![State::Unseen; all.len()],
            stages: Vec::new(),
        };
        order.visit(target)?;
        Ok(Self {
            target,
            stages: order.stages,
        })
    }
}

impl Dockerfile {
    /// What `--from` of an instruction in the stage `stage` names: a stage by name or number, else an image.
    /// Of two stages with one name the nearest one before it counts.
    #[must_use]
    pub fn source(&self, from: &str, stage: usize) -> Base {
        let number = from
            .parse()
            .ok()
            .filter(|number: &usize| *number < self.stages.len());
        let (before, after) = self.stages.split_at(stage);
        let named = |stages: &[crate::Stage], last: bool| {
            let matches = |stage: &crate::Stage| {
                stage
                    .name
                    .as_ref()
                    .is_some_and(|name| name.eq_ignore_ascii_case(from))
            };
            if last {
                stages.iter().rposition(matches)
            } else {
                stages.iter().position(matches)
            }
        };
        named(before, true)
            .or_else(|| named(after, false).map(|found| found + stage))
            .or(number)
            .map_or_else(|| Self::image(from), Base::Stage)
    }

    fn image(name: &str) -> Base {
        if name == "scratch" {
            Base::Scratch
        } else {
            Base::Image(name.to_owned())
        }
    }
}

fn find_target(file: &Dockerfile, name: &str) -> Result<usize> {
    let named = file.stages.iter().rposition(|stage| {
        stage
            .name
            .as_ref()
            .is_some_and(|stage| stage.eq_ignore_ascii_case(name))
    });
    let number = || {
        name.parse()
            .ok()
            .filter(|number: &usize| *number < file.stages.len())
    };
    named.or_else(number).ok_or_else(|| {
        let names: Vec<&str> = file
            .stages
            .iter()
            .filter_map(|stage| stage.name.as_deref())
            .collect();
        let remedy = if names.is_empty() {
            format!(
                "its {} stages have no names: give one by `FROM IMAGE AS {name}`",
                file.stages.len()
            )
        } else {
            format!("it has {}", names.join(", "))
        };
        let reason = format!("there is no stage `{name}`");
        Error::of_file(&file.file, Fault::with_remedy(reason, remedy))
    })
}

fn planned(file: &Dockerfile, globals: &Globals, index: usize) -> Result<Planned> {
    let stage = &file.stages[index];
    let name = globals.base(stage)?;
    let earlier = file.stages[..index]
        .iter()
        .rposition(|earlier| earlier.name.as_deref() == Some(&name.to_ascii_lowercase()));
    let base = earlier.map_or_else(|| Dockerfile::image(&name), Base::Stage);
    let mut needs = Vec::new();
    if let Base::Stage(base) = base {
        needs.push(base);
        // The base's triggers are executed in this stage.
        for instruction in &file.stages[base].instructions {
            if let Kind::OnBuild(trigger) = &instruction.kind {
                add_needs(file, index, &trigger.instruction, &mut needs)?;
            }
        }
    }
    for instruction in &stage.instructions {
        add_needs(file, index, instruction, &mut needs)?;
    }
    needs.sort_unstable();
    needs.dedup();
    Ok(Planned {
        stage: index,
        base,
        needs,
    })
}

/// Adds the stages that an instruction takes files from.
fn add_needs(
    file: &Dockerfile,
    stage: usize,
    instruction: &Instruction,
    needs: &mut Vec<usize>,
) -> Result<()> {
    for from in instruction.kind.sources() {
        match file.source(from, stage) {
            Base::Stage(needed) if needed == stage => {
                return Err(instruction.error(
                    format!("`{from}` is the stage that this instruction is in"),
                    Some("name an earlier stage".to_owned()),
                ));
            }
            Base::Stage(needed) => needs.push(needed),
            Base::Image(name) if name.parse::<usize>().is_ok() => {
                return Err(instruction.error(
                    format!("there is no stage {name}"),
                    Some(format!("the stages are 0 to {}", file.stages.len() - 1)),
                ));
            }
            Base::Image(_) | Base::Scratch => {}
        }
    }
    Ok(())
}

impl Kind {
    /// The stages and images that the instruction takes files from, as it names them.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        let copy = match self {
            Self::Copy(copy) => copy.from.as_deref(),
            _ => None,
        };
        let mounts = match self {
            Self::Run(run) => run.mounts.as_slice(),
            _ => &[],
        };
        let mounts = mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { from, .. } | MountKind::Cache { from, .. } => from.as_deref(),
            _ => None,
        });
        copy.into_iter().chain(mounts)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unseen,
    Open,
    Done,
}

/// Puts stages in order, depth first.
struct Order<'a> {
    file: &'a Dockerfile,
    all: &'a [Planned],
    states: Vec<State>,
    stages: Vec<Planned>,
}

impl Order<'_> {
    /// Visits a stage and what it needs. The stages to do are kept in a list, not in calls: a file may have thousands.
    fn visit(&mut self, target: usize) -> Result<()> {
        let mut open = vec![target];
        while let Some(&stage) = open.last() {
            if self.states[stage] == State::Unseen {
                self.states[stage] = State::Open;
                for &needed in &self.all[stage].needs {
                    match self.states[needed] {
                        State::Unseen => open.push(needed),
                        State::Open => {
                            return Err(self.file.stages[stage].error(
                                "this stage and one that it takes files from need each other",
                                Some("take the files from an earlier stage".to_owned()),
                            ));
                        }
                        State::Done => {}
                    }
                }
                continue;
            }
            open.pop();
            if self.states[stage] == State::Open {
                self.states[stage] = State::Done;
                self.stages.push(self.all[stage].clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::scope::Platform;

    fn plan(text: &str, target: Option<&str>) -> Result<Plan> {
        let file = Dockerfile::parse("Dockerfile", text)?;
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
        };
        let globals = Globals::new(&file, BTreeMap::new(), &platform, target)?;
        Plan::new(&file, &globals, target)
    }

    fn order(text: &str, target: Option<&str>) -> Vec<usize> {
        plan(text, target)
            .unwrap()
            .stages
            .iter()
            .map(|planned| planned.stage)
            .collect()
    }

    const FILE: &str = "ARG B=base\nFROM debian AS base\nFROM base AS build\nRUN x\nFROM scratch AS docs\n\
        FROM ${B} AS tools\nFROM debian AS unused\nFROM scratch\nCOPY --from=build /x /x\nCOPY --from=2 /d /d\n\
        RUN --mount=from=tools,target=/t x\nCOPY --from=busybox /b /b\n";

    #[test]
    fn only_what_a_target_needs() {
        assert_eq!(order(FILE, None), [0, 3, 2, 1, 5]);
        assert_eq!(order(FILE, Some("BUILD")), [0, 1]);
        assert_eq!(order(FILE, Some("2")), [2]);
        let plan = plan(FILE, None).unwrap();
        assert_eq!(plan.stages[1].base, Base::Stage(0));
        assert_eq!(plan.stages[0].base, Base::Image("debian".to_owned()));
        assert_eq!(plan.stages[4].base, Base::Scratch);
        assert_eq!(plan.stages[4].needs, [1, 2, 3]);
    }

    #[test]
    fn triggers_of_a_stage_need_stages() {
        let text = "FROM a AS one\nFROM b AS two\nONBUILD COPY --from=one /x /x\nFROM two\n";
        assert_eq!(order(text, None), [1, 0, 2]);
        assert_eq!(order(text, Some("two")), [1]);
    }

    #[test]
    fn names_are_those_before() {
        let text = "FROM a AS x\nFROM x AS x\nFROM x\nCOPY --from=x /a /a\n";
        assert_eq!(order(text, None), [0, 1, 2]);
        let error = plan("FROM x\nFROM a AS x\n", Some("0")).unwrap();
        assert_eq!(error.stages[0].base, Base::Image("x".to_owned()));
    }

    #[test]
    fn bad_plans_are_refused() {
        for (text, target, word) in [
            ("FROM a\nFROM b", Some("x"), "FROM IMAGE AS x"),
            (
                "FROM a\nCOPY --from=0 /a /a",
                None,
                "is the stage that this instruction is in",
            ),
            (
                "FROM a\nCOPY --from=7 /a /a",
                None,
                "Dockerfile:2: `COPY --from=7 /a /a`: there is no stage 7",
            ),
        ] {
            let error = plan(text, target).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn long_chains_are_planned() {
        let mut text = String::from("FROM scratch AS s0\n");
        for stage in 1..3000 {
            text.push_str(&format!("FROM s{} AS s{stage}\n", stage - 1));
        }
        assert_eq!(order(&text, None).len(), 3000);
    }
}
