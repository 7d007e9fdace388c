//! What the crate promises, shown on made-up results.

mod compare;
mod lines;
mod page;
mod schema;
mod synthetic;
mod verdict;
