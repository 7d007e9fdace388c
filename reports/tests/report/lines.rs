//! Writing and reading results files.

use std::io::{BufReader, Write};
use std::path::Path;

use cowlab_reports::result::{
    Arm, CacheState, Column, Device, Environment, JsonLines, Line, Outcome, ReadError, Reader,
    Record, ResultSet, Run, Series, Status, Timestamp, Unit,
};
use cowlab_reports::result::{Impact, Risk};

fn run() -> Run {
    Run {
        id: "0123abcd".to_owned(),
        commit: "deadbeef".to_owned(),
    }
}

fn environment() -> Environment {
    Environment {
        kernel_release: "6.18.0".to_owned(),
        cores: 2,
        ..Environment::default()
    }
}

fn series() -> Line {
    Line::Series(Series {
        workload: "copy-up".to_owned(),
        question: "How long does the first change take?".to_owned(),
        column: Column::new("overlay2", "ext4"),
        arm: Arm::Driver,
        parameters: [
            ("op".to_owned(), "chmod".into()),
            ("size".to_owned(), 4096.into()),
        ]
        .into(),
        unit: Unit::Ns,
        blocks: vec![vec![1.0, 2.5], vec![1e300, 9_007_199_254_740_992.0], vec![]],
        counted: None,
        cache: CacheState::Warm,
        warnings: vec![],
        device: Device::default(),
        repeat: "cargo xtask bench run copy-up".to_owned(),
    })
}

fn outcome() -> Line {
    Line::Outcome(Outcome {
        case: "whiteout/hides".to_owned(),
        numbers: vec!["B01".to_owned()],
        group: "Whiteouts".to_owned(),
        claim: "A removed file is gone.".to_owned(),
        see: vec![],
        impact: Impact::DataLoss,
        risk: Risk::Safe,
        column: Column::new("btrfs", "btrfs"),
        status: Status::OrderDependent,
        reason: Some("line\nbreak and \u{fffd}".to_owned()),
        deviation: None,
        repeat: "cargo xtask conformance --case whiteout/hides".to_owned(),
    })
}

fn lines() -> Vec<u8> {
    let at = Timestamp::from_millis(1000);
    let mut writer =
        JsonLines::new(Vec::new(), run(), &environment(), at).expect("a vector takes every write");
    for line in [series(), outcome()] {
        writer
            .line(at, Timestamp::from_millis(1250), line)
            .expect("a vector takes every write");
    }
    writer.into_inner()
}

fn read(text: &[u8]) -> Result<Vec<Record>, ReadError> {
    Reader::new(BufReader::new(text), Path::new("r.jsonl")).collect()
}

#[test]
fn what_is_written_is_read_back() {
    let records = read(&lines()).unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(
        records[0].environment.facts.as_deref(),
        Some(&environment())
    );
    assert_eq!(records[1].environment.id, environment().id());
    assert!(records[1].environment.facts.is_none());
    assert_eq!(records[1].line, series());
    assert_eq!(records[2].line, outcome());
    assert_eq!(
        records[2].finished.since(records[2].started).as_millis(),
        250
    );
}

#[test]
fn whole_samples_are_written_as_whole_numbers() {
    let text = String::from_utf8(lines()).unwrap();
    assert!(text.contains("\"blocks\":[[1,2.5],[1e+300,9007199254740992],[]]"));
}

#[test]
fn samples_that_are_no_numbers_are_refused() {
    let Line::Series(mut bad) = series() else {
        unreachable!()
    };
    bad.blocks = vec![vec![f64::NAN]];
    let at = Timestamp::default();
    let mut writer = JsonLines::new(Vec::new(), run(), &environment(), at).unwrap();
    let error = writer.line(at, at, Line::Series(bad)).unwrap_err();
    assert!(error.to_string().contains("finite"), "{error}");
}

#[test]
fn bad_lines_are_named() {
    let mut text = lines();
    text.extend_from_slice(b"\n{\"schema\":1,\"kind\":\"series\"}\n");
    let error = read(&text).unwrap_err().to_string();
    assert!(
        error.starts_with("`r.jsonl` line 5 is not a result"),
        "{error}"
    );
}

#[test]
fn newer_lines_are_refused_whatever_else_they_hold() {
    let error = read(b"{\"schema\":2,\"kind\":\"hologram\"}\n").unwrap_err();
    assert!(matches!(
        error,
        ReadError::Newer {
            line: 1,
            found: 2,
            ..
        }
    ));
    assert!(error.to_string().contains("has schema 2"), "{error}");
}

#[test]
fn unknown_fields_and_blank_lines_are_passed_over() {
    let text = String::from_utf8(lines())
        .unwrap()
        .replace("\"schema\":1", "\n\n\"schema\":1,\"mood\":\"good\"");
    assert!(read(text.replace("\n\n", "").as_bytes()).is_ok());
    assert_eq!(read(b"\n  \n").unwrap(), vec![]);
}

#[test]
fn a_line_cut_off_by_a_crash_is_left_out_and_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.jsonl");
    let text = lines();
    std::fs::File::create(&path)
        .unwrap()
        .write_all(&text[..text.len() - 40])
        .unwrap();
    let set = ResultSet::read(&path).unwrap();
    assert_eq!(set.records().len(), 2);
    assert_eq!(set.notes().len(), 1);

    let at = Timestamp::from_millis(2000);
    let mut writer = JsonLines::append(&path, run(), &environment(), at).unwrap();
    writer.line(at, at, outcome()).unwrap();
    let set = ResultSet::read(&path).unwrap();
    assert_eq!(set.records().len(), 4);
    assert!(set.notes().is_empty());
    assert_eq!(set.outcomes().count(), 1);
}

#[test]
fn a_cut_in_the_middle_is_an_error() {
    let text = lines();
    let mut cut = text[..text.len() - 40].to_vec();
    cut.push(b'\n');
    assert!(matches!(
        read(&cut).unwrap_err(),
        ReadError::Line { line: 3, .. }
    ));
}
