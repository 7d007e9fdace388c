//! Criterion over the sampler: every iteration is one sample with a fresh snapshot, and only what the sampler times counts.
//!
//! Making and destroying a snapshot costs a hundred times what is timed. The measurement time is therefore tiny on
//! purpose: criterion then asks for few iterations, and says on stderr that it would like more.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use cowlab_bench::plan::Batch;
use cowlab_bench::single::{Single, name, numbers};
use cowlab_bench::workload::{Effort, Point};
use cowlab_bench::{Plan, Terminal, workloads};
use cowlab_testbed::{Backing, Media};
use criterion::{Criterion, SamplingMode};

/// The exit code where root is needed.
const PRIVILEGE: u8 = 77;

/// Criterion's least number of samples.
const SAMPLES: usize = 10;

/// Runs a workload under criterion, on loop devices on disk, at the points that `wanted` chooses from a quick run's.
pub(crate) fn run(id: &str, wanted: fn(&Point) -> bool) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if !cowlab_sys::process::is_root() && !has("--list") {
        Terminal::new().line(&format!(
            "{id}: bench mounts file systems and needs root: run `cargo bench` as root"
        ));
        // Without `--bench` this is `cargo test`, where nothing may need root.
        return ExitCode::from(if has("--bench") { PRIVILEGE } else { 0 });
    }
    match measure(id, wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Terminal::new().line(&format!("{id}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(id: &str, wanted: fn(&Point) -> bool) -> anyhow::Result<()> {
    cowlab_sys::interrupt::watch()?;
    let mut plan = Plan::new(Effort::Quick);
    plan.workloads = workloads::find(id)
        .into_iter()
        .filter(|workload| workload.id == id)
        .collect();
    plan.media = vec![Media::Disk];
    let mut criterion = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(1))
        .nresamples(2000)
        .configure_from_args();
    for mut batch in plan.batches() {
        batch.points.retain(wanted);
        let mut singles = BTreeMap::new();
        for (index, subject) in batch.subjects.iter().enumerate() {
            for point in &batch.points {
                for parameters in numbers(&batch, point) {
                    let mut group = criterion.benchmark_group(id);
                    group.sampling_mode(SamplingMode::Flat);
                    group.bench_function(name(subject, &parameters), |bencher| {
                        bencher.iter_custom(|iterations| {
                            let single = mounted(&mut singles, &plan, &batch, subject.backing);
                            let sample = |_| {
                                // Unwinding takes the mounts back, which the signal alone would not.
                                assert!(!cowlab_sys::interrupt::requested(), "interrupted");
                                single
                                    .sample(index, point, &parameters)
                                    .unwrap_or_else(|error| panic!("{error:#}"))
                            };
                            (0..iterations).map(sample).sum()
                        });
                    });
                    group.finish();
                }
            }
        }
        for single in singles.into_values() {
            single.close()?;
        }
    }
    criterion.final_summary();
    Ok(())
}

/// The file system of a backing, made when the first benchmark that the filter lets through wants it.
fn mounted<'a>(
    singles: &'a mut BTreeMap<Backing, Single>,
    plan: &Plan,
    batch: &Batch,
    backing: Backing,
) -> &'a mut Single {
    singles.entry(backing).or_insert_with(|| {
        Single::make(plan, batch, backing).unwrap_or_else(|error| panic!("{error:#}"))
    })
}
