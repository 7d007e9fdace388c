//! The choice for a host.

use cowlab_reports::facts::Facts;
use cowlab_reports::result::{Arm, Column, Environment, Line, ResultSet, Series, Status, Storage};
use cowlab_reports::verdict::{Confidence, Verdict, verdict};

use crate::synthetic::{self, copy_ups, outcomes, set};

fn judge(set: &ResultSet) -> Verdict {
    verdict(&Facts::new(set))
}

/// The set with each line changed.
fn with(set: &ResultSet, change: impl Fn(&mut Line)) -> ResultSet {
    let records = set.records().iter().cloned().map(|mut record| {
        change(&mut record.line);
        record
    });
    records.collect()
}

/// The set on a machine whose storage directory lies on another file system.
fn on_storage(set: &ResultSet, backing: &str) -> ResultSet {
    let environment = Environment {
        storage: Some(Storage {
            backing: backing.to_owned(),
            ..Storage::default()
        }),
        ..synthetic::environment()
    };
    let records = set.records().iter().cloned().map(|mut record| {
        let introduced = record.environment.facts.is_some();
        record.environment = environment.introduce();
        record.environment.facts = record.environment.facts.filter(|_| introduced);
        record
    });
    records.collect()
}

fn chosen(verdict: &Verdict) -> String {
    let choice = verdict.choice.as_ref();
    choice.map_or_else(|| "unknown".to_owned(), |choice| choice.column.label())
}

fn because(verdict: &Verdict, label: &str) -> String {
    let mut rejected = verdict.rejected.iter();
    rejected
        .find(|rejected| rejected.column.label() == label)
        .map(|rejected| rejected.because.clone())
        .unwrap_or_default()
}

#[test]
fn the_choice_fits_the_storage_that_is_there() {
    let full = synthetic::full();
    for (storage, choice) in [
        ("ext4", "overlay2 on ext4"),
        ("xfs", "overlay2 on xfs"),
        ("btrfs", "overlay2 on btrfs"),
    ] {
        assert_eq!(chosen(&judge(&on_storage(&full, storage))), choice);
    }
}

#[test]
fn every_candidate_is_the_choice_or_has_a_why_not_line() {
    let verdict = judge(&synthetic::full());
    let candidates = synthetic::columns().len() + 1;
    assert_eq!(verdict.rejected.len() + 1, candidates);
    assert!(
        verdict
            .rejected
            .iter()
            .all(|rejected| !rejected.because.is_empty())
    );
    assert_eq!(verdict.runner_up.as_ref(), verdict.rejected.first());
    assert!(because(&verdict, "vfs on ext4").contains("full copy"));
    assert!(because(&verdict, "zfs on ").contains("the kernel module `zfs`"));
    assert!(because(&verdict, "btrfs on btrfs").contains("new btrfs file system"));
}

#[test]
fn a_faster_file_system_is_named_beside_the_choice() {
    let verdict = judge(&synthetic::full());
    let better = verdict.improvement.unwrap();
    assert_eq!(better.column.label(), "overlay2 on xfs");
    assert!(
        better.because.contains("12 measured cases"),
        "{}",
        better.because
    );
}

#[test]
fn a_driver_that_loses_data_is_out_and_a_stale_declaration_is_not() {
    let mut set = synthetic::full();
    let failed = synthetic::failure(Column::new("overlay2", "ext4"));
    set.merge(synthetic::set([failed.clone()], "run", 0));
    let verdict = judge(&set);
    assert_ne!(chosen(&verdict), "overlay2 on ext4");
    assert!(because(&verdict, "overlay2 on ext4").contains("`whiteouts/hostile`"));

    let stale = with(&set, |line| {
        if let Line::Outcome(outcome) = line
            && outcome.status == Status::Fail
        {
            outcome.status = Status::UnexpectedPass;
        }
    });
    assert_eq!(chosen(&judge(&stale)), "overlay2 on ext4");
}

#[test]
fn noise_decides_nothing() {
    // Twice as slow in every sample, but identical arms differ by four.
    let noisy = with(&synthetic::full(), |line| {
        if let Line::Series(Series {
            arm,
            column,
            blocks,
            ..
        }) = line
        {
            let factor = match (*arm, column.variant.as_str()) {
                (Arm::Control, _) => 4.0,
                (Arm::Driver, "default") => 2.0,
                _ => 1.0,
            };
            blocks
                .iter_mut()
                .flatten()
                .for_each(|sample| *sample *= factor);
        }
    });
    let xfs = on_storage(&noisy, "xfs");
    let facts = Facts::new(&xfs);
    let find = |label: &str| {
        let mut candidates = facts.candidates.iter();
        candidates.find(|one| one.column.label() == label).unwrap()
    };
    let pace = facts
        .pace(find("overlay2 on xfs"), find("overlay2:metacopy on xfs"))
        .unwrap();
    assert!(pace.mean > 1.9);
    assert_eq!((pace.slower, pace.faster, pace.cases), (0, 0, 12));
    assert!(!pace.is_slower());
}

#[test]
fn without_conformance_the_verdict_is_unknown() {
    let verdict = judge(&set(copy_ups(), "run", 0));
    assert_eq!(verdict.choice, None);
    assert_eq!(verdict.confidence, Confidence::Unknown);
    assert!(verdict.missing[0].contains("cargo xtask conformance"));
    assert!(because(&verdict, "overlay2 on ext4").contains("did not judge"));

    let verdict = judge(&ResultSet::default());
    assert_eq!((verdict.choice, verdict.rejected.len()), (None, 0));
}

#[test]
fn what_is_missing_lowers_the_confidence() {
    let without_numbers = judge(&set(outcomes(), "run", 0));
    assert_eq!(chosen(&without_numbers), "overlay2 on ext4");
    assert_eq!(without_numbers.confidence, Confidence::Low);
    let all_ran = with(&synthetic::full(), |line| {
        if let Line::Outcome(outcome) = line
            && outcome.status == Status::Skip
        {
            outcome.status = Status::Pass;
        }
    });
    assert_eq!(judge(&all_ran).confidence, Confidence::High);
}
