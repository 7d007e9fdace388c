//! Images, containers and volumes on any storage driver.
//!
//! [`Root`] is the one directory that everything is kept in: blobs as they came, a graph of layers, images and names, and
//! a snapshot store. [`image`] is what happens to images, [`build`] what builds of images keep here, [`registry`] where they come from and go to, [`container`] what
//! happens to containers and volumes, [`system`] what keeps the root in order.

pub mod blobs;
pub mod build;
pub mod container;
mod error;
pub mod graph;
pub mod image;
pub mod layout;
pub mod registry;
mod root;
pub mod rootless;
pub mod sample;
pub mod system;
pub mod unpack;

pub use error::{Error, Result};
pub use root::{Configuration, Root, RootOptions, default_dir};
