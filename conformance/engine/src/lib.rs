//! What the programs that judge, measure and prove have in common: the machine that they run on, the guest that does a part of
//! their work, how they end and what they log.

pub mod exit;
pub mod fingerprint;
pub mod guest;
pub mod log;
