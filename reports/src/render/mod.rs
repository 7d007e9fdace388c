//! A report as a page and as Markdown.
//!
//! Both say the same in the same order: the verdict with its reasons, the matrix, the numbers with their noise, what
//! could not run, the machine. Names that come from images and programs are hostile: every text passes through
//! [`text`], which makes control characters visible, and then through the escaping of its format.

mod html;
mod markdown;
mod text;

pub(crate) use html::html;
pub(crate) use markdown::markdown;
