//! The files of a report.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use cowlab_reports::report::{Report, Written, write};
use cowlab_reports::result::{Arm, Column, Line, ResultSet, Unit, names};

use crate::synthetic::{self, HOSTILE, set};

/// Every file of a report by name.
fn files(set: &ResultSet) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().expect("there is room for a temporary directory");
    let written: Written = write(dir.path(), set).expect("the report can be written");
    let mut paths = vec![
        written.html,
        written.markdown,
        written.json,
        written.results,
    ];
    paths.extend(written.tables);
    paths
        .into_iter()
        .map(|path| {
            let name = path
                .file_name()
                .expect("a file has a name")
                .to_string_lossy();
            let text = fs::read_to_string(&path).expect("a report is text");
            (name.into_owned(), text)
        })
        .collect()
}

/// The files of the full set, written once.
fn full() -> &'static BTreeMap<String, String> {
    static FULL: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| files(&synthetic::full()));
    &FULL
}

fn place(page: &str, what: &str) -> usize {
    page.find(what).unwrap_or_else(|| panic!("no `{what}`"))
}

#[test]
fn the_verdict_comes_first_and_the_machine_last() {
    let files = full();
    for (file, order) in [
        (
            "index.html",
            [
                "id=\"verdict\"",
                "id=\"conformance\"",
                "id=\"latency\"",
                "id=\"space\"",
                "id=\"not-run\"",
                "id=\"environment\"",
            ],
        ),
        (
            "report.md",
            [
                "## Verdict",
                "## Conformance",
                "## Latency",
                "## Space",
                "## What could not run",
                "## Environment",
            ],
        ),
    ] {
        let places: Vec<usize> = order.iter().map(|what| place(&files[file], what)).collect();
        assert!(places.is_sorted(), "{file}");
    }
}

#[test]
fn the_page_says_what_the_results_say() {
    let page = &full()["index.html"];
    for what in [
        "<em>overlay2</em> on <em>ext4</em>",
        "confidence: medium",
        "rule 52",
        "Why not the others",
        "No case failed.",
        "needs project quotas",
        "the kernel module <code>zfs</code>",
        "waiting for",
        "<code class=\"command\">cargo xtask bench run copy-up</code>",
        "debian:bookworm",
        "software cost alone",
        "0 B",
        "Made-up Processor",
    ] {
        assert!(
            page.to_lowercase().contains(&what.to_lowercase()),
            "no `{what}`"
        );
    }
}

#[test]
fn the_page_needs_nothing_else() {
    let page = &full()["index.html"];
    for what in ["<script", "<link", "<img", "src=", "@import", "url("] {
        assert!(!page.contains(what), "{what}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn plots_and_tables_can_be_read_aloud() {
    let page = &full()["index.html"];
    let count = |what: &str| page.matches(what).count();
    assert_eq!(count("<table"), count("<caption"));
    assert_eq!(count("role=\"img\""), count("<desc id="));
    // Three operations on two media, five steps of a life, three sizes of a change.
    assert_eq!(count("role=\"img\""), 3 * 2 + 5 + 3);
    assert!(page.contains("overlay2 on ext4: "));
    for line in page
        .lines()
        .filter(|line| line.contains("aria-labelledby="))
    {
        let (_, ids) = line.split_once("aria-labelledby=\"").unwrap();
        for id in ids.split('"').next().unwrap().split(' ') {
            assert_eq!(count(&format!("id=\"{id}\"")), 1, "{id}");
        }
    }
}

#[test]
fn color_codes_of_plots_are_all_replaced() {
    assert!(!full()["index.html"].contains("#C0FE"));
}

#[test]
fn hostile_names_stay_text() {
    let mut set = set(synthetic::outcomes(), "run", 0);
    let mut column = Column::new("overlay2", "ext4");
    column.backing = HOSTILE.to_owned();
    set.merge(synthetic::set(
        [
            synthetic::failure(column.clone()),
            Line::Series(synthetic::series(
                HOSTILE,
                &column,
                Arm::Driver,
                [
                    (HOSTILE.to_owned(), HOSTILE.into()),
                    (names::SIZE.to_owned(), 1.into()),
                ]
                .into(),
                Unit::Ns,
                synthetic::samples(1e6, 3, 3, 0),
            )),
        ],
        HOSTILE,
        0,
    ));
    let files = files(&set);
    let page = &files["index.html"];
    assert!(page.contains("&lt;script&gt;"));
    assert!(!page.contains("<script"));
    assert!(!files["report.md"].contains("<script"));
    for file in ["index.html", "report.md"] {
        assert!(!files[file].contains(['\u{202e}', '\u{1b}']), "{file}");
    }
    assert!(page.contains("\\u{202e}"));
    assert!(files["report.md"].contains("\\\\u\\{202e\\}"));
    // A row of a table keeps the number of its cells.
    let cells = |row: &str| row.replace("\\|", "").matches('|').count();
    let mut heading = 0;
    for line in files["report.md"].lines() {
        if !line.starts_with('|') {
            heading = 0;
        } else if heading == 0 {
            heading = cells(line);
        } else {
            assert_eq!(cells(line), heading, "{line}");
        }
    }
}

#[test]
fn the_same_results_give_the_same_bytes() {
    assert_eq!(*full(), files(&synthetic::full()));
}

#[test]
fn results_are_kept_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.jsonl");
    fs::write(&path, &full()["results.jsonl"]).unwrap();
    assert_eq!(ResultSet::read(&path).unwrap(), synthetic::full());
}

#[test]
fn every_table_has_a_header_and_the_rows_of_the_report() {
    let files = full();
    let report = Report::new(&synthetic::full());
    let rows = |name: &str| {
        csv::Reader::from_reader(files[name].as_bytes())
            .records()
            .count()
    };
    assert_eq!(rows("timings.csv"), report.timings.len());
    assert_eq!(rows("capacity.csv"), report.capacity.len());
    assert_eq!(rows("conformance-cases.csv"), report.cases.len());
    assert_eq!(rows("verdict.csv"), report.verdict.rejected.len() + 1);
    assert!(files["timings.csv"].starts_with("workload,case,axis,at,driver,"));
    let json: serde_json::Value = serde_json::from_str(&files["report.json"]).unwrap();
    assert_eq!(json["verdict"]["choice"]["column"]["driver"], "overlay2");
}

#[test]
fn nothing_gives_a_report_that_says_so() {
    for empty in [ResultSet::default(), set([], "run", 0)] {
        let files = files(&empty);
        let page = &files["index.html"];
        assert!(page.contains("Nothing ran."));
        assert!(page.contains("Unknown: the evidence does not carry a choice"));
        assert!(!page.contains("<figure"));
        assert!(files["report.md"].contains("**Unknown**"));
        assert!(!files.contains_key("timings.csv"));
    }
}

#[test]
fn a_table_of_an_earlier_report_does_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &set(synthetic::lifecycles(), "run", 0)).unwrap();
    assert!(dir.path().join("timings.csv").exists());
    write(dir.path(), &ResultSet::default()).unwrap();
    assert!(!dir.path().join("timings.csv").exists());
}

#[test]
fn no_interval_is_shown_without_samples_for_it() {
    let column = Column::new("overlay2", "ext4");
    let one = |size: u64, blocks| {
        let parameters = [
            (names::OP.to_owned(), "chmod".into()),
            (names::SIZE.to_owned(), size.into()),
        ];
        let parameters = parameters.into();
        Line::Series(synthetic::series(
            names::COPY_UP,
            &column,
            Arm::Driver,
            parameters,
            Unit::Ns,
            blocks,
        ))
    };
    let set = set(
        [
            one(0, vec![]),
            one(1, vec![vec![], vec![]]),
            one(4096, vec![vec![5000.0]]),
            one(8192, vec![vec![6000.0], vec![7000.0]]),
        ],
        "run",
        0,
    );
    let report = Report::new(&set);
    assert_eq!(
        report.timings.len(),
        2,
        "series without samples have no row"
    );
    assert!(
        report
            .timings
            .iter()
            .all(|row| row.low.is_none() && row.high.is_none())
    );
    let page = &files(&set)["index.html"];
    assert!(!page.contains("class=\"interval\""));
    assert!(page.contains("No A/A control ran"));
}

#[test]
fn instructions_stand_apart_and_are_no_times() {
    let column = Column::new("overlay2", "xfs");
    let parameters = [
        (names::OP.to_owned(), names::WRITE_BYTE.into()),
        (names::SIZE.to_owned(), 4096.into()),
    ];
    let count = |arm, count: f64| {
        let blocks = vec![vec![count], vec![count + 1000.0], vec![count - 1000.0]];
        let parameters = parameters.clone().into();
        let unit = Unit::Instructions;
        Line::Series(synthetic::series(
            names::COPY_UP,
            &column,
            arm,
            parameters,
            unit,
            blocks,
        ))
    };
    let lines = [count(Arm::Driver, 1.25e6), count(Arm::FloorPlain, 7e4)];
    let files = files(&set(lines, "run", 0));
    let page = &files["index.html"];
    assert!(page.contains("href=\"#instructions\""));
    assert!(page.contains("1.25 M instr."), "{page}");
    assert!(page.contains("Nothing was timed."));
    let markdown = &files["report.md"];
    assert!(markdown.contains("## Instructions"));
    assert!(
        markdown.contains("1.25 M instr. | 70 k instr. |  | 0.16 % | 3"),
        "{markdown}"
    );
    assert!(!files.contains_key("timings.csv") && files.contains_key("instructions.csv"));
    assert!(!full()["index.html"].contains("id=\"instructions\""));
}
