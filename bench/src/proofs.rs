//! Claims about the bench itself, and the one about reflinks: slow, run by `cargo xtask verify`.

use std::time::SystemTime;

use anyhow::Context;
use cowlab_engine::exit;
use cowlab_reports::compare::{Change, Compared, Comparison, compare};
use cowlab_reports::result::{
    Arm, EnvironmentRef, Line, Media as Medium, Record, ResultSet, SCHEMA, Series, Timestamp, names,
};
use cowlab_reports::statistics::summarize;
use cowlab_testbed::{Backing, Media};

use crate::args::RunArgs;
use crate::compared::{judge, render};
use crate::output::{environment, print};
use crate::plan::Plan;
use crate::sampler::{measure, measure_copies};
use crate::terminal::Terminal;
use crate::workload::{Effort, Workload};
use crate::workloads;

/// Restart blocks of the second look at series that differed.
const SECOND_LOOK: usize = 6;

/// Measures a plan twice, interleaved, and compares the two as if one were from before: identical work must show no
/// relevant change in either direction.
///
/// Among a thousand 95 percent intervals some miss by chance. So what differs is measured again by itself, and is a
/// finding if it differs again in the same direction.
pub(crate) fn aa(args: &RunArgs, plan: &Plan, terminal: &mut Terminal) -> anyhow::Result<u8> {
    let mut plan = plan.clone();
    if args.ids.is_empty() {
        plan.workloads = copy_up();
    }
    if plan.effort == Effort::Full {
        // Twice a full run takes most of an hour and proves nothing more.
        plan.effort = Effort::Quick;
        plan.time = None;
    }
    terminal.line(&format!("{}, twice", plan.budget()));
    let first = twice(&plan, terminal)?;
    let suspects = changed(&first);
    if suspects.is_empty() {
        print(&render(&first, false, args.format())?)?;
        return Ok(judge(&first));
    }
    for suspect in &suspects {
        terminal.line(&format!("measured again: {suspect}"));
    }
    let batches = plan.batches();
    let points = batches.iter().flat_map(|batch| &batch.points);
    // Without controls nothing would tell the noise.
    let controls = points.filter(|point| point.control);
    let suspicious = suspects.iter().map(|one| one.id.parameters.clone());
    plan.only = controls
        .map(|point| point.parameters.clone())
        .chain(suspicious)
        .collect();
    plan.seed = plan.seed.wrapping_add(1);
    plan.blocks = Some(SECOND_LOOK);
    plan.time = None;
    let second = twice(&plan, terminal)?;
    let again = changed(&second);
    let confirmed: Vec<&&Compared> = again
        .iter()
        .filter(|one| {
            let same = |before: &&&Compared| before.id == one.id && before.change == one.change;
            suspects.iter().any(|before| same(&before))
        })
        .collect();
    print(&render(&first, false, args.format())?)?;
    print(&format!(
        "{} of {} series differed at the first look, {} of them again at the second\n",
        suspects.len(),
        first.series.len(),
        confirmed.len()
    ))?;
    Ok(if confirmed.is_empty() {
        exit::OK
    } else {
        exit::FINDING
    })
}

/// Measures two interleaved copies of a plan and compares the series of the drivers; floors are for subtraction.
fn twice(plan: &Plan, terminal: &mut Terminal) -> anyhow::Result<Comparison> {
    let now = Timestamp::from(SystemTime::now());
    let introduced = environment()?.introduce();
    let mut sets = [ResultSet::default(), ResultSet::default()];
    for set in &mut sets {
        set.push(record(now, introduced.clone(), Line::Environment));
    }
    let reference = EnvironmentRef {
        id: introduced.id,
        facts: None,
    };
    measure_copies(plan, sets.len(), terminal, &mut |copy, started, line| {
        let set = sets.get_mut(copy).context("there are two copies")?;
        let judged = match &line {
            Line::Series(series) => matches!(series.arm, Arm::Driver | Arm::Control),
            _ => true,
        };
        if judged {
            set.push(record(started, reference.clone(), line));
        }
        Ok(())
    })?;
    let [before, after] = sets;
    Ok(compare(&before, &after))
}

/// Series with a relevant change: faster is as wrong as slower where nothing differs.
fn changed(comparison: &Comparison) -> Vec<&Compared> {
    let changed = |one: &&Compared| matches!(one.change, Change::Better | Change::Worse);
    comparison.series.iter().filter(changed).collect()
}

fn record(started: Timestamp, environment: EnvironmentRef, line: Line) -> Record {
    Record {
        schema: SCHEMA,
        run: "aa".to_owned(),
        started,
        finished: Timestamp::from(SystemTime::now()),
        commit: String::new(),
        environment,
        line,
    }
}

/// The workload of that id alone, without what is below it.
fn copy_up() -> Vec<&'static Workload> {
    let mut found = workloads::find(names::COPY_UP);
    found.retain(|workload| workload.id == names::COPY_UP);
    found
}

/// The sizes that are set against each other: 128 times as much data.
const SMALL: u64 = 1 << 20;
const LARGE: u64 = 128 << 20;

/// A copy of 128 times the data takes at least this many times as long. It would be 128 without the fixed part.
const LINEAR: f64 = 16.0;

/// A reflink takes at most this many times as long: one extent or a handful are shared instead of one.
const FLAT: f64 = 8.0;

/// Shows that copy-up is flat in file size on xfs with reflinks and linear on ext4, by ratios of medians in memory, so
/// that neither a slow disk nor a slow day decides.
pub(crate) fn reflink_flat(
    args: &RunArgs,
    plan: &Plan,
    terminal: &mut Terminal,
) -> anyhow::Result<u8> {
    let mut plan = plan.clone();
    plan.effort = Effort::Quick;
    plan.workloads = copy_up();
    plan.only = [SMALL, LARGE]
        .map(|size| {
            let quoted = (names::OP.to_owned(), names::WRITE_BYTE.into());
            [quoted, (names::SIZE.to_owned(), size.into())].into()
        })
        .to_vec();
    let usual = cowlab_drivers::all().iter().take(1);
    plan.wanted.drivers = usual.map(|entry| entry.name.to_owned()).collect();
    plan.wanted.variants = vec!["default".to_owned()];
    plan.wanted.backings = vec![Backing::Ext4, Backing::Xfs];
    if args.media.is_empty() {
        plan.media = vec![Media::Memory];
    }
    plan.blocks = plan.blocks.or(Some(3));
    plan.time = None;
    let media = plan.media.first().copied().unwrap_or(Media::Memory);
    let media = cowlab_engine::subject::medium(media);
    let mut series: Vec<Series> = Vec::new();
    measure(&plan, terminal, &mut |_, line| {
        if let Line::Series(one) = line {
            series.push(one);
        }
        Ok(())
    })?;
    let growth = |backing: Backing| {
        let median = |size| median(&series, backing, media, size);
        Some(median(LARGE)? / median(SMALL)?)
    };
    let (Some(copied), Some(shared)) = (growth(Backing::Ext4), growth(Backing::Xfs)) else {
        terminal.line("cowlab: copy-up was not measured on both ext4 and xfs");
        return Ok(exit::UNKNOWN);
    };
    let holds = copied >= LINEAR && shared <= FLAT;
    let verdict = if holds { "holds" } else { "does not hold" };
    print(&format!(
        "copy-up of 128 MiB takes {copied:.1} times as long as of 1 MiB on ext4 (linear: at least {LINEAR}), \
         {shared:.1} times on xfs with reflinks (flat: at most {FLAT}): the claim {verdict}\n"
    ))?;
    Ok(if holds { exit::OK } else { exit::FINDING })
}

fn median(series: &[Series], backing: Backing, media: Medium, size: u64) -> Option<f64> {
    let found = series.iter().find(|one| {
        one.arm == Arm::Driver
            && one.column.backing == backing.name()
            && one.column.media == media
            && one.text(names::OP) == Some(names::WRITE_BYTE)
            && one.number(names::SIZE) == Some(size)
    })?;
    Some(summarize(&found.blocks)?.median.value)
}
