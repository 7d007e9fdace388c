//! Where zfs is known to differ from a plain directory.

use cowlab_driver::Deviation;

/// Every declared deviation; the conformance suite checks each of them.
pub(crate) const DEVIATIONS: &[Deviation] = &[];
