//! What people read and machines sort: timestamps, sizes, numbers.

mod scale;
mod timestamp;

pub use scale::{bytes, digits, scaled};
pub use timestamp::{ParseTimestampError, Timestamp};
