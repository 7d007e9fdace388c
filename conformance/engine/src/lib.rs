//! What the programs that judge, measure and prove have in common: how they end and what they log.

pub mod exit;
pub mod log;
