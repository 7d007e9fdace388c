//! Two runs side by side.

use cowlab_reports::compare::{Change, Comparison, compare};
use cowlab_reports::result::{Arm, Column, Line, Place, ResultSet, Series, Unit, names};

use crate::synthetic::{samples, series, set};

fn run(center: f64, shift: usize, change: impl Fn(&mut Series)) -> ResultSet {
    let column = Column::new("overlay2", "ext4");
    let lines = (0..8_usize).flat_map(|step| {
        let size = 1_u64 << (12 + step);
        let parameters = [
            (names::OP.to_owned(), "chmod".into()),
            (names::SIZE.to_owned(), size.into()),
        ];
        let one = |arm, shift| {
            let blocks = samples(center, 6, 6, shift + step);
            let parameters = parameters.clone().into();
            let mut one = series(names::COPY_UP, &column, arm, parameters, Unit::Ns, blocks);
            change(&mut one);
            Line::Series(one)
        };
        [one(Arm::Driver, shift), one(Arm::Control, shift + 3)]
    });
    set(lines.collect::<Vec<_>>(), "run", 1000)
}

fn changes(comparison: &Comparison, change: &Change) -> (usize, usize) {
    (comparison.count(change), comparison.series.len())
}

#[test]
fn the_same_again_is_no_relevant_change() {
    let comparison = compare(&run(1e6, 0, |_| ()), &run(1e6, 1, |_| ()));
    assert_eq!(changes(&comparison, &Change::NoRelevantChange), (16, 16));
    assert!(!comparison.has_finding());
}

#[test]
fn series_of_two_places_are_not_compared() {
    let guest = |series: &mut Series| series.column.place = Place::Guest;
    let comparison = compare(&run(1e6, 0, |_| ()), &run(2e6, 1, guest));
    assert_eq!(comparison.series.len(), 16);
    for compared in &comparison.series {
        let Change::NotComparable(reasons) = &compared.change else {
            panic!("{compared}");
        };
        assert_eq!(reasons[..], ["place differs: `host` and `guest`"]);
        assert!(compared.ratio.is_none());
    }
    assert!(comparison.is_inconclusive());
    // What either place has in both sets is compared as ever.
    let both = |center| {
        let mut set = run(center, 0, |_| ());
        set.merge(run(center, 1, guest));
        set
    };
    let comparison = compare(&both(1e6), &run(1e6, 1, guest));
    assert_eq!(comparison.count(&Change::NoRelevantChange), 16);
    assert_eq!(comparison.count(&Change::Gone), 16);
}

#[test]
fn half_as_fast_is_a_regression_and_the_other_way_round_is_none() {
    let (slow, fast) = (run(2e6, 1, |_| ()), run(1e6, 0, |_| ()));
    let comparison = compare(&fast, &slow);
    assert_eq!(changes(&comparison, &Change::Worse), (16, 16));
    assert!(comparison.has_finding());
    let line = comparison.series[0].to_string();
    assert!(line.contains("slower, 2.0"), "{line}");
    assert_eq!(changes(&compare(&slow, &fast), &Change::Better), (16, 16));
}

#[test]
fn a_change_within_the_noise_of_the_controls_is_not_relevant() {
    let noisy = |series: &mut Series| {
        if series.arm == Arm::Control {
            for sample in series.blocks.iter_mut().flatten() {
                *sample *= 1.5;
            }
        }
    };
    let comparison = compare(&run(1.0e6, 0, noisy), &run(1.2e6, 1, noisy));
    assert_eq!(changes(&comparison, &Change::NoRelevantChange), (16, 16));
}

#[test]
fn without_a_control_nothing_is_known() {
    let only_driver = |set: ResultSet| -> ResultSet {
        let records = set.records().iter().filter(|record| match &record.line {
            Line::Series(series) => series.arm == Arm::Driver,
            _ => true,
        });
        records.cloned().collect()
    };
    let comparison = compare(
        &only_driver(run(1e6, 0, |_| ())),
        &only_driver(run(9e6, 1, |_| ())),
    );
    assert_eq!(changes(&comparison, &Change::Unknown), (8, 8));
    assert!(comparison.is_inconclusive());
}

#[test]
fn other_mount_options_and_other_kernels_are_refused_with_the_difference() {
    let comparison = compare(
        &run(1e6, 0, |_| ()),
        &run(1e6, 0, |series| {
            series.device.mount_options = "rw,sync".to_owned();
        }),
    );
    let Change::NotComparable(reasons) = &comparison.series[0].change else {
        panic!("{:?}", comparison.series[0].change);
    };
    assert_eq!(
        reasons,
        &["mount options differs: `rw,relatime` and `rw,sync`"]
    );
    assert_eq!(comparison.series[0].ratio, None);
    assert!(comparison.is_inconclusive());

    let mut other = crate::synthetic::environment();
    other.kernel_release = "6.1.0".to_owned();
    let moved: ResultSet = run(1e6, 0, |_| ())
        .records()
        .iter()
        .cloned()
        .map(|mut record| {
            let facts = record.environment.facts.is_some();
            record.environment = other.introduce();
            if !facts {
                record.environment.facts = None;
            }
            record
        })
        .collect();
    let comparison = compare(&run(1e6, 0, |_| ()), &moved);
    let text = comparison.series[0].to_string();
    assert!(
        text.contains("kernel differs: `6.18.0` and `6.1.0`"),
        "{text}"
    );
}

#[test]
fn series_of_one_side_are_new_or_gone() {
    let empty = set([], "run", 1000);
    let comparison = compare(&run(1e6, 0, |_| ()), &empty);
    assert_eq!(changes(&comparison, &Change::Gone), (16, 16));
    let comparison = compare(&empty, &run(1e6, 0, |_| ()));
    assert_eq!(changes(&comparison, &Change::New), (16, 16));
}

/// A counted series of three seeds, each a little further from the first.
fn counts(first: f64, step: f64) -> ResultSet {
    let column = Column::new("overlay2", "ext4");
    let blocks = (0..3).map(|seed| vec![first + step * f64::from(seed)]);
    let parameters = [(names::OP.to_owned(), "chmod".into())].into();
    let one = series(
        names::COPY_UP,
        &column,
        Arm::Driver,
        parameters,
        Unit::Instructions,
        blocks.collect(),
    );
    set([Line::Series(one)], "run", 1000)
}

fn verdict(before: &ResultSet, after: &ResultSet) -> (Change, bool) {
    let comparison = compare(before, after);
    assert!(!comparison.is_inconclusive());
    (
        comparison.series[0].change.clone(),
        comparison.has_finding(),
    )
}

#[test]
fn counts_change_beyond_three_percent_without_a_control() {
    let before = counts(1e6, 0.0);
    let (same, three) = (Change::NoRelevantChange, counts(1.03e6, 0.0));
    assert_eq!(verdict(&before, &before), (same.clone(), false));
    assert_eq!(verdict(&before, &three), (same, false));
    let (more, fewer) = (counts(1.04e6, 0.0), counts(0.96e6, 0.0));
    assert_eq!(verdict(&before, &more), (Change::Worse, true));
    assert_eq!(verdict(&before, &fewer), (Change::Better, true));
    let line = compare(&before, &more).series[0].to_string();
    assert!(
        line.ends_with("more instructions, 1.040 times, noise 1.030"),
        "{line}"
    );
}

#[test]
fn the_spread_over_the_seeds_of_either_side_is_the_floor_of_counts() {
    let (steady, spread) = (counts(1.1e6, 0.0), counts(0.95e6, 0.05e6));
    let same = (Change::NoRelevantChange, false);
    assert_eq!(verdict(&spread, &steady), same);
    assert_eq!(verdict(&steady, &spread), same);
    assert_eq!(verdict(&spread, &counts(1.2e6, 0.0)), (Change::Worse, true));
}

#[test]
fn work_where_there_was_none_is_a_change() {
    let (none, some) = (counts(0.0, 0.0), counts(10.0, 0.0));
    assert_eq!(verdict(&none, &some), (Change::Worse, true));
    assert_eq!(verdict(&some, &none), (Change::Better, true));
}
