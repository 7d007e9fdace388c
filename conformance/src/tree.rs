//! A case's directory, on a driver's mount or on the plain side, where operations are performed.

/// A case's directory. Everything is done relative to it, nothing outside.
#[derive(Debug)]
pub struct Tree {}
