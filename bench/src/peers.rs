//! cowlab beside the tools that people use: the same task, the same file system, the same minutes, as ratios.
//!
//! Every arm is a program and its arguments, cowlab too, from its start to its end. In a round each arm has one turn, in an
//! order drawn anew, and what the turn before left to be written is written first. cowlab's own arm stands there twice: the
//! ratio of the two shows how far apart the same thing can lie here. Caches are warm. A budget is printed beside the ratio
//! that it is about, and judges nothing.

mod arms;
mod build;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};
use cowlab_random::Random;
use cowlab_reports::statistics::{Estimate, Pairing, ratio, summarize};
use cowlab_reports::units;
use cowlab_sys::durability::syncfs;

use crate::Terminal;
use crate::sampler::{Interrupted, nanoseconds};
use crate::schedule::turns;
use arms::{Arm, TASKS, Task, Tool};
use place::Place;

/// The name of the benchmark, and the beginning of each task's.
pub const NAME: &str = "peers";

/// The order of turns is the same in every run.
const SEED: u64 = 1;

/// Runs the tasks whose names contain one of `filters`, all without one, and prints a table of each on stdout.
///
/// # Errors
///
/// What the testbed or cowlab could not do. A peer that is not there or fails is left out, with a line on stderr.
pub fn run(filters: &[String]) -> anyhow::Result<()> {
    let name = |task: &Task| format!("{NAME}/{}", task.name);
    let wanted = |task: &&Task| {
        let is_in = |filter: &String| name(task).contains(filter.as_str());
        filters.is_empty() || filters.iter().any(is_in)
    };
    let tasks: Vec<&Task> = TASKS.iter().filter(wanted).collect();
    if tasks.is_empty() {
        return Ok(());
    }
    cowlab_sys::interrupt::watch()?;
    let terminal = Terminal::new();
    for engine in cowlab_testbed::live_host()? {
        terminal.line(&format!(
            "{engine} runs on this host and disturbs the numbers"
        ));
    }
    let place = Place::make(&terminal)?;
    let mut ready = BTreeSet::new();
    let measured = tasks.iter().enumerate().try_for_each(|(index, task)| {
        measure(&place, task, &name(task), &mut ready, &terminal)?;
        let is_needed = |home: &&str| {
            let later = tasks[index + 1..].iter().flat_map(|task| task.arms);
            later.map(|arm| arm.home).any(|later| later == *home)
        };
        let done: Vec<&str> = ready
            .iter()
            .copied()
            .filter(|one| !is_needed(one))
            .collect();
        done.into_iter().try_for_each(|home| {
            ready.remove(home);
            place.clear(&place.dir(home))
        })
    });
    // Closed in either case, so that a failure does not hide what is left behind.
    let closed = place.close();
    measured?;
    closed
}

fn measure(
    place: &Place,
    task: &Task,
    name: &str,
    ready: &mut BTreeSet<&'static str>,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let mut left_out = BTreeSet::new();
    for (index, arm) in task.arms.iter().enumerate() {
        check_interrupted()?;
        let missing = arm.tool.missing();
        let set_up = match missing {
            None if ready.insert(arm.home) => {
                terminal.line(&format!("{name}: making ready: {}", arm.label));
                (arm.set_up)(place, arm.home)
            }
            None => Ok(()),
            Some(missing) => Err(missing.into()),
        };
        if let Err(error) = set_up {
            leave_out(terminal, name, arm, &error)?;
            left_out.insert(index);
        }
    }
    let mut random = Random::stream(SEED, &[NAME, task.name]);
    let mut samples = BTreeMap::<usize, Vec<Vec<f64>>>::new();
    for block in 0..task.blocks {
        terminal.line(&format!("{name}: block {} of {}", block + 1, task.blocks));
        for (turn, index) in turns(&mut random, task.arms.len(), task.rounds)
            .into_iter()
            .enumerate()
        {
            check_interrupted()?;
            if left_out.contains(&index) {
                continue;
            }
            let arm = &task.arms[index];
            match take(place, arm, &format!("{}-{block}-{turn}", task.name)) {
                Ok(time) => {
                    let blocks = samples.entry(index).or_default();
                    blocks.resize_with(blocks.len().max(block + 1), Vec::new);
                    blocks[block].push(time);
                }
                Err(error) => {
                    leave_out(terminal, name, arm, &error)?;
                    left_out.insert(index);
                    samples.remove(&index);
                }
            }
        }
    }
    let table = table(task, &samples);
    Ok(writeln!(
        std::io::stdout(),
        "{name}: {}\n\n{table}\n",
        task.what
    )?)
}

/// A peer may fail, cowlab may not.
fn leave_out(
    terminal: &Terminal,
    name: &str,
    arm: &Arm,
    error: &anyhow::Error,
) -> anyhow::Result<()> {
    if arm.tool == Tool::Cowlab {
        anyhow::bail!("{name}: {}: {error:#}", arm.label);
    }
    terminal.line(&format!("{name}: left out: {}: {error:#}", arm.label));
    Ok(())
}

/// One turn of an arm, in nanoseconds.
fn take(place: &Place, arm: &Arm, name: &str) -> anyhow::Result<f64> {
    let dir = place.fresh(name)?;
    let turn = arms::Turn {
        place,
        home: arm.home,
        name,
        dir: &dir,
    };
    let commands = (arm.timed)(&turn)?;
    syncfs(&dir)?;
    let start = Instant::now();
    for command in &commands {
        command.run()?;
    }
    let time = start.elapsed();
    for command in (arm.undo)(&turn) {
        command.run()?;
    }
    place.clear(&dir)?;
    Ok(nanoseconds(time))
}

fn check_interrupted() -> anyhow::Result<()> {
    match cowlab_sys::interrupt::requested() {
        true => Err(Interrupted.into()),
        false => Ok(()),
    }
}

fn table(task: &Task, samples: &BTreeMap<usize, Vec<Vec<f64>>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "tool",
        "median",
        "95 % interval",
        "n",
        "cowlab / tool",
        "95 % interval",
        "budget",
    ]);
    let interval = |estimate: &Estimate, shown: fn(f64) -> String| match estimate.interval {
        Some(interval) => format!("{} .. {}", shown(interval.low), shown(interval.high)),
        None => String::new(),
    };
    for (index, arm) in task.arms.iter().enumerate() {
        let Some(found) = samples.get(&index) else {
            continue;
        };
        let Some(summary) = summarize(found) else {
            continue;
        };
        // The first arm is cowlab's.
        let quotient = (index > 0)
            .then(|| ratio(samples.get(&0)?, found, Pairing::Paired))
            .flatten();
        let budget = match arm.budget {
            Some(most) => format!("at most {}", units::times(most)),
            None => String::new(),
        };
        table.add_row([
            arm.label.to_owned(),
            units::duration(summary.median.value),
            interval(&summary.median, units::duration),
            summary.samples.to_string(),
            quotient.map_or_else(String::new, |found| units::times(found.value)),
            quotient.map_or_else(String::new, |found| interval(&found, units::times)),
            budget,
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
