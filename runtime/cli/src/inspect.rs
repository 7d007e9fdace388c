//! `cowlab inspect`: all that is known about containers, images and volumes, whichever a name stands for.

use std::io::Write;

use clap::ValueEnum;
use cowlab_runtime::Root;
use cowlab_runtime::container::{Containers, Error as ContainerError, Found};
use cowlab_runtime::{Error as RuntimeError, image::Image};
use serde_json::Value;

use crate::exit::{self, Stop};
use crate::format::ObjectFormat;
use crate::root::RootArgs;
use crate::{container, image, volume};

/// Print all that is known about containers, images and volumes, as JSON.
///
/// A name counts more than the beginning of an id, and a container's more than an image's, an image's more than a volume's,
/// as docker has it. Where the beginning of an id fits a container and an image it is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    root: RootArgs,
    /// Only objects of this kind.
    #[arg(long = "type", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Measure what each container has written.
    #[arg(long, short)]
    size: bool,
    #[command(flatten)]
    format: ObjectFormat,
    /// As always: the output is JSON.
    #[arg(long, hide = true)]
    json: bool,
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
    Volume,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Container, Self::Image, Self::Volume];

    const fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
        }
    }
}

/// Runs the command: what is found is printed, whatever is not.
///
/// # Errors
///
/// The first name that stands for nothing, or for more than one thing.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let containers = Containers::open(&root)?;
    let mut found = Vec::new();
    let mut first = None;
    for name in &args.names {
        match look_up(args, &root, &containers, name) {
            Ok(document) => found.push(document),
            Err(error) if first.is_none() => first = Some(error),
            Err(error) => writeln!(std::io::stderr(), "cowlab: {error:#}")?,
        }
    }
    let format = &args.format.format;
    format.documents(&mut std::io::stdout().lock(), &found)?;
    first.map_or(Ok(exit::OK), Err)
}

/// What a name stands for.
enum Object {
    Container(Box<Found>),
    Image(Box<Image>),
    Volume,
}

fn look_up(
    args: &Args,
    root: &Root,
    containers: &Containers<'_>,
    name: &str,
) -> anyhow::Result<Value> {
    let kinds = match args.kind {
        Some(kind) => vec![kind],
        None => Kind::ALL.to_vec(),
    };
    let mut objects = Vec::new();
    for kind in &kinds {
        objects.extend(of_kind(*kind, root, containers, name)?);
    }
    let place = objects
        .iter()
        .position(|object| object.has_name(name))
        .unwrap_or(0);
    let by_name = objects.get(place).is_some_and(|one| one.has_name(name));
    if objects.len() > 1 && !by_name {
        return Err(stop(format!(
            "`{name}` is the start of a container's id and of an image's: write more of it, or say which with `--type`"
        )));
    }
    let Some(object) = objects.into_iter().nth(place) else {
        let words: Vec<_> = kinds.iter().map(|kind| kind.word()).collect();
        let words = match words.as_slice() {
            [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            words => words.concat(),
        };
        return Err(stop(format!("there is no {words} `{name}`")));
    };
    let format = &args.format.format;
    match object {
        Object::Container(found) => container::document(containers, &found, args.size, format),
        Object::Image(image) => image::document(root, &image.id.to_string(), format),
        Object::Volume => volume::document(&containers.volumes().get(name)?, format),
    }
}

fn stop(message: String) -> anyhow::Error {
    let code = exit::USAGE;
    Stop { code, message }.into()
}

impl Object {
    /// Whether the text is all of its name or of its id, and not the beginning.
    fn has_name(&self, text: &str) -> bool {
        match self {
            Self::Container(found) => found.record.name == text || found.record.id == text,
            Self::Image(image) => {
                let id = image.id.to_string();
                let digits = text.strip_prefix("sha256:").unwrap_or(text);
                let is_beginning = id.strip_prefix("sha256:").unwrap_or(&id);
                !is_beginning.starts_with(digits) || is_beginning == digits
            }
            Self::Volume => true,
        }
    }
}

/// The object of one kind that the text stands for; `None` where there is none.
fn of_kind(
    kind: Kind,
    root: &Root,
    containers: &Containers<'_>,
    text: &str,
) -> anyhow::Result<Option<Object>> {
    Ok(match kind {
        Kind::Container => match containers.find(text) {
            Ok(found) => Some(Object::Container(Box::new(found))),
            Err(ContainerError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        Kind::Image => match root.image(text) {
            Ok(image) => Some(Object::Image(Box::new(image))),
            Err(RuntimeError::NotFound { .. } | RuntimeError::InvalidName { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        Kind::Volume => match containers.volumes().get(text) {
            Ok(_) => Some(Object::Volume),
            Err(ContainerError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        },
    })
}
