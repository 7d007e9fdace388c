//! Where copy-up is measured: operations and sizes, and how often at each effort.

use cowlab_driver::Bytes;
use cowlab_reports::result::names;
use cowlab_testbed::Media;

use crate::operation::Operation;
use crate::workload::{Effort, Point};

/// Sizes of the file, from an empty one to one that no page cache of a small machine likes.
pub(crate) const SIZES: [Bytes; 6] = [
    Bytes(0),
    Bytes::kib(4),
    Bytes::kib(64),
    Bytes::mib(1),
    Bytes::mib(16),
    Bytes::mib(128),
];

/// The operation whose whole range of sizes is measured at every effort: what an editor or a package manager does.
const HEADLINE: Operation = Operation::WriteByte;

/// Every operation at every size that an effort has time for.
pub(super) fn warm_points(effort: Effort, media: Media) -> Vec<Point> {
    let mut points = Vec::new();
    for operation in Operation::ALL {
        for size in SIZES {
            let samples = samples(effort, media, operation, size);
            // One operation tells the noise of all of them. Controls of the two largest sizes would take as long as all
            // others together.
            let small = size < Bytes::mib(16);
            // What is counted differs by chance from seed to seed, and by nothing else.
            let control = operation == HEADLINE
                && effort != Effort::Counted
                && (effort == Effort::Full || small);
            if samples > 0 {
                points.push(point(samples, control, operation, size));
            }
        }
    }
    points
}

/// Samples of each arm in a restart block. The quoted operation gets at least five in two blocks, which an interval
/// wants; in a quick run the others get them only where a copy is cheap.
fn samples(effort: Effort, media: Media, operation: Operation, size: Bytes) -> u32 {
    let quoted = operation == HEADLINE;
    let mebibytes = size.0 >> 20;
    match effort {
        Effort::Smoke => u32::from(size == Bytes::kib(4)),
        Effort::Counted if mebibytes >= 128 => 0,
        Effort::Counted if mebibytes >= 16 => 3 * u32::from(quoted),
        // Every few samples one meets what the file system does in the background; the median does not.
        Effort::Counted if quoted => 5,
        Effort::Counted => 5 * u32::from([Bytes::kib(4), Bytes::mib(1)].contains(&size)),
        Effort::Quick if quoted => {
            if mebibytes >= 128 {
                2
            } else {
                3
            }
        }
        Effort::Quick => match (media, mebibytes) {
            // What metacopy is for, once.
            (Media::Disk, 128..) => u32::from(operation == Operation::Chmod),
            (Media::Disk, 16..) => 1,
            (Media::Disk, _) => 3,
            (Media::Memory, _) => 3 * u32::from([Bytes::kib(4), Bytes::mib(1)].contains(&size)),
        },
        Effort::Full => match mebibytes {
            128.. => 1 + u32::from(quoted),
            16.. => 2,
            _ => 3,
        },
    }
}

/// The quoted operation alone: every sample costs a remount.
pub(super) fn cold_points(effort: Effort, _: Media) -> Vec<Point> {
    let sizes: &[Bytes] = match effort {
        Effort::Smoke | Effort::Counted => &[Bytes::kib(64)],
        Effort::Quick => &[Bytes::kib(64), Bytes::mib(16)],
        Effort::Full => &SIZES[2..],
    };
    sizes
        .iter()
        .map(|size| point(1, false, HEADLINE, *size))
        .collect()
}

fn point(samples: u32, control: bool, operation: Operation, size: Bytes) -> Point {
    let parameters = [
        (names::OP, operation.name().into()),
        (names::SIZE, size.0.into()),
    ];
    Point::new(samples, control, &parameters)
}
