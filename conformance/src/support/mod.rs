//! What several files of cases need: a case imports from here, and never from another file of cases.

pub(crate) mod attributes;
pub(crate) mod build;
pub(crate) mod full;
pub(crate) mod program;
pub(crate) mod store;
