//! A made-up result set with the shape of a real one. Its numbers follow simple formulas and say nothing about any
//! machine.

use std::sync::LazyLock;

use cowlab_reports::result::{
    Arm, Availability, CacheState, Column, Counted, Deviation, Device, Environment, Image, Impact,
    Line, Media, Outcome, Parameters, Place, Probe, Record, ResultSet, Risk, SCHEMA, Series,
    Skipped, Status, Storage, Subject, Timestamp, Unit, Warning, names,
};

/// A name as a hostile image could bring it along.
pub(crate) const HOSTILE: &str = "</td><script>alert(1)</script>|`x`\u{202e}\u{1b}[31m";

/// Driver and variant, and the backings it runs on.
const COLUMNS: [(&str, &str, &[&str]); 5] = [
    ("overlay2", "default", &["ext4", "xfs", "btrfs"]),
    ("overlay2", "metacopy", &["ext4", "xfs"]),
    ("overlay2", "volatile", &["ext4"]),
    ("btrfs", "default", &["btrfs"]),
    ("vfs", "default", &["ext4"]),
];

/// Headings of the catalogue and the number of made-up cases.
const GROUPS: [(&str, &str, usize); 4] = [
    ("A", "Union lookup and readdir", 9),
    ("B", "Whiteouts", 11),
    ("D", "Copy-up", 14),
    ("F", "Rename", 6),
];

/// The machine.
pub(crate) fn environment() -> Environment {
    Environment {
        kernel_release: "6.18.0".to_owned(),
        kernel_version: "#1 SMP".to_owned(),
        architecture: "x86_64".to_owned(),
        cpu_model: "Made-up Processor".to_owned(),
        cores: 2,
        memory_bytes: 8 << 30,
        distribution: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        cowlab: "0.1.0".to_owned(),
        tools: [("mkfs.ext4".to_owned(), "1.47.0".to_owned())].into(),
        storage: Some(Storage {
            directory: "/var/lib".to_owned(),
            backing: "ext4".to_owned(),
            mount_options: "rw,relatime".to_owned(),
            bytes: 100 << 30,
        }),
        ..Environment::default()
    }
}

/// Puts lines into a set, each with the run's fields.
pub(crate) fn set(lines: impl IntoIterator<Item = Line>, run: &str, now: u64) -> ResultSet {
    let record = |(index, line): (u64, Line)| Record {
        schema: SCHEMA,
        run: run.to_owned(),
        started: Timestamp::from_millis(now + index * 10),
        finished: Timestamp::from_millis(now + index * 10 + 7),
        commit: "0123abc".to_owned(),
        environment: match line {
            Line::Environment => environment().introduce(),
            _ => cowlab_reports::result::EnvironmentRef {
                id: environment().id(),
                facts: None,
            },
        },
        line,
    };
    (0..)
        .zip([Line::Environment].into_iter().chain(lines))
        .map(record)
        .collect()
}

/// Every column.
pub(crate) fn columns() -> Vec<Column> {
    COLUMNS
        .iter()
        .flat_map(|(driver, variant, backings)| {
            backings.iter().map(|backing| Column {
                variant: (*variant).to_owned(),
                ..Column::new(driver, backing)
            })
        })
        .collect()
}

/// Every case in every column. Some deviate on overlay2, a few are skipped; none fails.
pub(crate) fn outcomes() -> Vec<Line> {
    let mut lines = Vec::new();
    for column in columns() {
        for (letter, group, cases) in GROUPS {
            for number in 1..=cases {
                let case = format!("{}/claim-{number}", group.to_lowercase().replace(' ', "-"));
                lines.push(Line::Outcome(outcome(&column, letter, group, number, case)));
            }
        }
    }
    lines
}

fn outcome(column: &Column, letter: &str, group: &str, number: usize, case: String) -> Outcome {
    let deviates = column.driver == "overlay2" && number.is_multiple_of(5);
    let skips = letter == "D" && number == 13;
    Outcome {
        numbers: vec![format!("{letter}{number:02}")],
        group: group.to_owned(),
        claim: format!(
            "What claim {number} of {} says holds.",
            group.to_lowercase()
        ),
        see: vec!["overlayfs.rst".to_owned()],
        impact: Impact::AppVisible,
        risk: Risk::Safe,
        column: column.clone(),
        status: match (deviates, skips) {
            (true, _) => Status::Deviates,
            (_, true) => Status::Skip,
            _ => Status::Pass,
        },
        reason: skips.then(|| "needs project quotas".to_owned()),
        deviation: deviates.then(|| Deviation {
            case: case.clone(),
            observed: "rename gives EXDEV".to_owned(),
            because: "a directory of the lower layer can not be moved without redirect_dir"
                .to_owned(),
            impact: Impact::AppVisible,
            see: vec!["https://docs.kernel.org/filesystems/overlayfs.html".to_owned()],
        }),
        repeat: format!(
            "cargo xtask conformance --driver {} --case {case}",
            column.driver
        ),
        case,
    }
}

/// Samples around a center, in restart blocks; the wobble is a fixed pattern.
pub(crate) fn samples(center: f64, blocks: usize, each: usize, shift: usize) -> Vec<Vec<f64>> {
    const WOBBLE: [f64; 11] = [
        0.0, 0.011, -0.013, 0.004, -0.007, 0.015, -0.002, 0.009, -0.011, 0.006, -0.004,
    ];
    (0..blocks)
        .map(|block| {
            (0..each)
                .map(|sample| center * (1.0 + WOBBLE[(block * 5 + sample * 3 + shift) % 11]))
                .map(f64::round)
                .collect()
        })
        .collect()
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SIZES: [u64; 4] = [0, 4 * KIB, MIB, 128 * MIB];
const OPERATIONS: [&str; 3] = ["write-1", "chmod", "truncate-0"];

/// A formula that has the shape of copy-up: a fixed cost, and one for each byte where the data is copied.
fn copy_up(column: &Column, operation: &str, size: u64) -> f64 {
    let copies_data = match (column.driver.as_str(), column.variant.as_str()) {
        ("btrfs" | "vfs", _) => false,
        (_, "metacopy") => matches!(operation, "open-write" | "write-1"),
        _ => operation != "truncate-0",
    };
    let reflink = column.backing != "ext4";
    let per_byte = if copies_data && !reflink {
        0.6
    } else {
        0.000_05
    };
    let sync = match (column.driver.as_str(), column.variant.as_str()) {
        ("btrfs" | "vfs", _) => 0.0,
        (_, "volatile") => 20_000.0,
        _ if column.backing == "ext4" => 1_300_000.0,
        _ => 65_000.0,
    };
    let device = if column.media == Media::Memory {
        0.25
    } else {
        1.0
    };
    let operation = 4000.0 + 700.0 * operation.len() as f64;
    device * (operation + sync + per_byte * size as f64)
}

/// One series.
pub(crate) fn series(
    workload: &str,
    column: &Column,
    arm: Arm,
    parameters: Parameters,
    unit: Unit,
    blocks: Vec<Vec<f64>>,
) -> Series {
    Series {
        workload: workload.to_owned(),
        question: "What does it cost?".to_owned(),
        column: column.clone(),
        arm,
        parameters,
        unit,
        counted: (unit == Unit::Instructions)
            .then(|| Counted::of(&[1, 2, 3], &blocks).expect("a block for each of three seeds")),
        blocks,
        cache: CacheState::Warm,
        warnings: vec![],
        device: Device {
            mkfs: Some(format!("mkfs.{}", column.backing)),
            mount_options: "rw,relatime".to_owned(),
            bytes: 1 << 30,
            sector_size: Some(4096),
            loop_direct_io: Some(true),
            preallocated: Some(true),
            below: Some("ext4".to_owned()),
        },
        repeat: format!(
            "cargo xtask bench run {workload} --driver {}",
            column.driver
        ),
    }
}

/// Copy-up with floors and controls, on disk and in memory.
pub(crate) fn copy_ups() -> Vec<Line> {
    let mut lines = Vec::new();
    for media in [Media::Disk, Media::Memory] {
        for column in columns()
            .into_iter()
            .map(|column| Column { media, ..column })
        {
            for operation in OPERATIONS {
                for size in SIZES {
                    let parameters: Parameters = [
                        (names::OP.to_owned(), operation.into()),
                        (names::SIZE.to_owned(), size.into()),
                    ]
                    .into();
                    let center = copy_up(&column, operation, size);
                    let floor = 3000.0 + 500.0 * operation.len() as f64;
                    let arms = [
                        (Arm::Driver, center, 0),
                        (Arm::Control, center, 4),
                        (Arm::FloorPlain, floor, 1),
                        (Arm::FloorCopiedUp, floor * 1.2, 2),
                    ];
                    for (arm, center, shift) in arms {
                        let blocks = samples(center, 4, 3, shift);
                        let mut one = series(
                            names::COPY_UP,
                            &column,
                            arm,
                            parameters.clone(),
                            Unit::Ns,
                            blocks,
                        );
                        if size == 0 {
                            one.warnings = vec![Warning::FewSamples];
                        }
                        lines.push(Line::Series(one));
                    }
                }
            }
        }
    }
    lines
}

/// Life of a snapshot by depth.
pub(crate) fn lifecycles() -> Vec<Line> {
    let mut lines = Vec::new();
    for column in columns() {
        for operation in ["prepare", "mount", "unmount", "commit", "remove"] {
            for depth in [1, 8, 32, 64] {
                let parameters: Parameters = [
                    (names::OP.to_owned(), operation.into()),
                    (names::DEPTH.to_owned(), depth.into()),
                ]
                .into();
                let center = 50_000.0 + 2_000.0 * depth as f64 + 9_000.0 * operation.len() as f64;
                let blocks = samples(center, 3, 2, operation.len());
                let one = series(
                    names::LIFECYCLE,
                    &column,
                    Arm::Driver,
                    parameters,
                    Unit::Ns,
                    blocks,
                );
                lines.push(Line::Series(one));
            }
        }
    }
    lines
}

/// Space taken by changes, containers and an image.
pub(crate) fn capacities() -> Vec<Line> {
    let mut lines = Vec::new();
    for column in columns() {
        let mut add = |workload, unit, value: u64, parameters: &[(&str, u64)]| {
            let parameters: Parameters = parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).into()))
                .collect();
            let blocks = vec![vec![value as f64]; 3];
            let one = series(workload, &column, Arm::Driver, parameters, unit, blocks);
            lines.push(Line::Series(one));
        };
        let shares = column.backing != "ext4" || column.variant == "metacopy";
        for change in [1, 4 * KIB, MIB] {
            let sizes = [4 * KIB, MIB, 128 * MIB];
            for size in sizes.into_iter().filter(|size| *size >= change) {
                let parameters = [(names::CHANGE, change), (names::SIZE, size)];
                let bytes = if shares {
                    change.max(4 * KIB) + 8 * KIB
                } else {
                    size
                };
                add(names::CAPACITY_CHANGE, Unit::Bytes, bytes, &parameters);
                add(names::CAPACITY_CHANGE, Unit::Inodes, 4, &parameters);
            }
        }
        let full_copy = column.driver == "vfs";
        let each = if full_copy { 180 * MIB } else { 24 * KIB };
        for count in [1, 10] {
            let parameters = [(names::CONTAINERS, count)];
            add(
                names::CAPACITY_CONTAINERS,
                Unit::Bytes,
                each * count,
                &parameters,
            );
        }
        let times = if full_copy { 11 } else { 1 };
        let parameters = [(names::LAYERS, 11), (names::FLAT, 180 * MIB)];
        add(
            names::CAPACITY_IMAGE,
            Unit::Bytes,
            times * 181 * MIB,
            &parameters,
        );
    }
    lines
}

/// A driver that can not run, things that were skipped, and the image.
pub(crate) fn rest() -> Vec<Line> {
    vec![
        Line::Driver(Probe {
            driver: "zfs".to_owned(),
            variant: "default".to_owned(),
            backing: None,
            place: Place::Host,
            availability: Availability::Missing {
                what: "the kernel module `zfs`".to_owned(),
                remedy: Some("apt-get install zfs-dkms".to_owned()),
            },
            deviations: vec![],
        }),
        Line::Skipped(Skipped {
            subject: Subject::Conformance,
            what: "limits/project-quota".to_owned(),
            why: "the kernel has no project quotas".to_owned(),
            waiting_for: Some(Place::Guest),
            command: Some(
                "cargo xtask conformance --place guest --case limits/project-quota".to_owned(),
            ),
        }),
        Line::Image(Image {
            name: "debian:bookworm".to_owned(),
            layers: 11,
            bytes: 180 << 20,
            entries: 9_876,
            made: "mmdebstrap --variant=minbase, split into a base and ten thin layers".to_owned(),
        }),
    ]
}

/// A case that failed, with hostile text wherever text comes from outside.
pub(crate) fn failure(column: Column) -> Line {
    Line::Outcome(Outcome {
        case: "whiteouts/hostile".to_owned(),
        numbers: vec!["B99".to_owned()],
        group: "Whiteouts".to_owned(),
        claim: format!("A file named {HOSTILE} stays hidden."),
        see: vec![],
        impact: Impact::DataLoss,
        risk: Risk::Safe,
        column,
        status: Status::Fail,
        reason: Some(format!(
            "/etc/{HOSTILE}: is there\nmode: 0644 instead of 0755"
        )),
        deviation: None,
        repeat: format!("cargo xtask conformance --case '{HOSTILE}' --keep"),
    })
}

/// Everything. Made once: every test looks at it.
pub(crate) fn full() -> ResultSet {
    static FULL: LazyLock<ResultSet> = LazyLock::new(|| {
        let lines = [outcomes(), copy_ups(), lifecycles(), capacities(), rest()];
        set(lines.into_iter().flatten(), "0123abcd", 1_793_607_330_000)
    });
    FULL.clone()
}
