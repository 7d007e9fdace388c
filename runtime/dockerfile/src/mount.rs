//! `RUN --mount=...`: one CSV record of keys and values.
//! Source: BuildKit, frontend/dockerfile/instructions/commands_runmount.go.

use crate::error::Fault;
use crate::flags;
use crate::instruction::{Mount, MountKind, Sharing};

/// The keys of a mount, as they stand.
#[derive(Debug, Default)]
struct Fields {
    kind: Option<String>,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: Option<bool>,
    id: Option<String>,
    env: Option<String>,
    sharing: Option<Sharing>,
    required: Option<bool>,
    size: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// What expands the variables of a value.
pub(crate) type Expand<'a> = &'a dyn Fn(&str) -> Result<String, Fault>;

/// Reads a mount. Without `expand` variables have no values yet, and the keys that have one are left for later.
pub(crate) fn parse(text: &str, expand: Option<Expand<'_>>) -> Result<Mount, Fault> {
    let mut fields = Fields::default();
    let mut whole = true;
    for field in record(text)? {
        let Some((key, value)) = field
            .split_once('=')
            .filter(|(_, value)| value.contains('$'))
        else {
            set(&mut fields, &field)?;
            continue;
        };
        match expand {
            _ if key.eq_ignore_ascii_case("from") => set(&mut fields, &field)?,
            Some(expand) => set(&mut fields, &format!("{key}={}", expand(value)?))?,
            None => whole = false,
        }
    }
    build(fields, whole)
}

/// The fields of one CSV record.
fn record(text: &str) -> Result<Vec<String>, Fault> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let at_start = fields.last().is_none_or(String::is_empty);
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => push(&mut fields, '"'),
            '"' if quoted => quoted = false,
            '"' if at_start => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            c => push(&mut fields, c),
        }
    }
    if quoted {
        return Err(Fault::new("a double quote in `--mount` has no end"));
    }
    Ok(fields)
}

fn push(fields: &mut [String], c: char) {
    if let Some(field) = fields.last_mut() {
        field.push(c);
    }
}

fn set(fields: &mut Fields, field: &str) -> Result<(), Fault> {
    let (key, value) = field
        .split_once('=')
        .map_or((field, None), |(key, value)| (key, Some(value)));
    let key = key.to_ascii_lowercase();
    let word = |value: Option<&str>| {
        value.map(str::to_owned).ok_or_else(|| {
            Fault::with_remedy(
                format!("`{key}` of `--mount` has no value"),
                format!("write `{key}=VALUE`"),
            )
        })
    };
    let switch = |value: Option<&str>| value.map_or(Ok(true), |value| flags::boolean(&key, value));
    match key.as_str() {
        "type" => fields.kind = Some(word(value)?.to_ascii_lowercase()),
        "from" => fields.from = Some(stage(word(value)?)?),
        "source" | "src" => fields.source = Some(word(value)?),
        "target" | "dst" | "destination" => fields.target = Some(word(value)?),
        "readonly" | "ro" => fields.read_only = Some(switch(value)?),
        "readwrite" | "rw" => fields.read_only = Some(!switch(value)?),
        "id" => fields.id = Some(word(value)?),
        "env" => fields.env = Some(word(value)?),
        "sharing" => fields.sharing = Some(sharing(&word(value)?)?),
        "required" => fields.required = Some(switch(value)?),
        "size" => fields.size = Some(flags::bytes("size", &word(value)?)?),
        "mode" => fields.mode = Some(number(&key, &word(value)?, 8)?),
        "uid" => fields.uid = Some(number(&key, &word(value)?, 10)?),
        "gid" => fields.gid = Some(number(&key, &word(value)?, 10)?),
        _ => {
            return Err(Fault::with_remedy(
                format!("`--mount` has no key `{key}`"),
                "it has type, from, source, target, readonly, readwrite, id, env, sharing, required, size, mode, uid and gid",
            ));
        }
    }
    Ok(())
}

/// A stage or an image: which stages a target needs is known before any variable is.
fn stage(name: String) -> Result<String, Fault> {
    if name.contains('$') {
        return Err(Fault::with_remedy(
            format!("`from={name}` has a variable"),
            "give the image a stage of its own, `FROM $IMAGE AS name`, and name that",
        ));
    }
    Ok(name)
}

fn sharing(value: &str) -> Result<Sharing, Fault> {
    match value.to_ascii_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => Err(Fault::new(format!(
            "`sharing` is `{value}`: it is shared, private or locked"
        ))),
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, Fault> {
    let kind = if radix == 8 { "octal" } else { "decimal" };
    u32::from_str_radix(value, radix)
        .map_err(|_source| Fault::new(format!("`{key}` is `{value}`, which is no {kind} number")))
}

fn build(mut fields: Fields, whole: bool) -> Result<Mount, Fault> {
    let kind = fields.kind.as_deref().unwrap_or("bind").to_owned();
    if whole {
        check(&kind, &fields)?;
    } else if fields.target.is_none() {
        fields.target = Some(String::new());
    }
    let read_only = fields
        .read_only
        .unwrap_or(matches!(kind.as_str(), "bind" | "secret"));
    let source = fields.source.clone();
    let target = fields.target.clone();
    let made = match kind.as_str() {
        "bind" => MountKind::Bind {
            from: fields.from,
            source: source.unwrap_or_else(|| "/".to_owned()),
        },
        "tmpfs" => MountKind::Tmpfs { size: fields.size },
        "cache" => MountKind::Cache {
            id: fields.id.or_else(|| target.clone()).unwrap_or_default(),
            from: fields.from,
            source: source.unwrap_or_else(|| "/".to_owned()),
            sharing: fields.sharing.unwrap_or(Sharing::Shared),
            mode: fields.mode.unwrap_or(0o755),
            uid: fields.uid.unwrap_or(0),
            gid: fields.gid.unwrap_or(0),
        },
        _ => MountKind::Secret {
            id: secret_id(&fields, whole)?,
            env: fields.env,
            required: fields.required.unwrap_or(false),
            mode: fields.mode.unwrap_or(0o400),
            uid: fields.uid.unwrap_or(0),
            gid: fields.gid.unwrap_or(0),
        },
    };
    if target.is_none() && kind != "secret" {
        return Err(Fault::with_remedy(
            format!("a {kind} mount has no target"),
            "write `target=PATH`",
        ));
    }
    Ok(Mount {
        kind: made,
        target,
        read_only,
    })
}

fn secret_id(fields: &Fields, whole: bool) -> Result<String, Fault> {
    if !whole {
        return Ok(String::new());
    }
    if fields.source.is_some() && fields.id.is_some() {
        return Err(Fault::with_remedy(
            "a secret has both `id` and `source`, which mean the same",
            "write `id` alone",
        ));
    }
    let base = fields
        .target
        .as_deref()
        .map(|target| target.rsplit('/').next().unwrap_or(target).to_owned());
    fields
        .id
        .clone()
        .or_else(|| fields.source.clone())
        .or(base)
        .filter(|id| !id.is_empty())
        .ok_or_else(|| Fault::with_remedy("a secret has no id", "write `id=NAME`"))
}

/// What a kind of mount does not have.
fn check(kind: &str, fields: &Fields) -> Result<(), Fault> {
    let kinds: &[(&str, bool, &[&str])] = &[
        ("from", fields.from.is_some(), &["bind", "cache"]),
        (
            "source",
            fields.source.is_some(),
            &["bind", "cache", "secret"],
        ),
        ("id", fields.id.is_some(), &["cache", "secret"]),
        ("env", fields.env.is_some(), &["secret"]),
        ("sharing", fields.sharing.is_some(), &["cache"]),
        ("required", fields.required.is_some(), &["secret"]),
        ("size", fields.size.is_some(), &["tmpfs"]),
        ("mode", fields.mode.is_some(), &["cache", "secret"]),
        ("uid", fields.uid.is_some(), &["cache", "secret"]),
        ("gid", fields.gid.is_some(), &["cache", "secret"]),
    ];
    match kind {
        "bind" | "cache" | "tmpfs" | "secret" => {}
        "ssh" => {
            return Err(Fault::with_remedy(
                "mounts of type ssh are not supported: no agent is forwarded",
                "give the key as a secret, `--mount=type=secret,id=key`",
            ));
        }
        _ => {
            return Err(Fault::new(format!(
                "there is no mount of type `{kind}`: it is bind, cache, tmpfs or secret"
            )));
        }
    }
    match kinds
        .iter()
        .find(|(_, set, of)| *set && !of.contains(&kind))
    {
        Some((key, _, of)) => Err(Fault::new(format!(
            "`{key}` is for mounts of type {}, not {kind}",
            of.join(" and ")
        ))),
        None => Ok(()),
    }
}
