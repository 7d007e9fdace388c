//! Where devicemapper-thin is known to differ from a plain directory.

use cowlab_driver::{Deviation, Impact, Scope};

/// Every declared deviation; the conformance suite checks each of them.
pub(crate) const DEVIATIONS: &[Deviation] = &[Deviation {
    case: "seed/06-a-file-put-into-a-base-layer-shows-everywhere",
    scope: Scope::EVERYWHERE,
    observed: "base: put a file: expected ok, got EROFS",
    because: "a committed snapshot is shown by a read-only device, for root too",
    impact: Impact::Cosmetic,
    see: &["Documentation/admin-guide/device-mapper/thin-provisioning.rst"],
}];
