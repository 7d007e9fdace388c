//! PAX records as a layer needs them, read and written.
//!
//! Read is what `tar-core` leaves out: version 0.1 gives an entry's time in whole seconds since 1970 and refuses a negative
//! one, ends silently at a record whose length is broken, and knows extended attributes by `SCHILY.xattr.` alone. It keeps
//! the raw records beside the entry, and they are read again here: strictly, times to the nanosecond, and `LIBARCHIVE.xattr.`
//! with its encoded names and values.
//!
//! Access control lists as text (`SCHILY.acl.`) are not converted: they name users of the host that
//! made the archive. ACLs come as the extended attributes that the kernel has them in.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use cowlab_sys::Time;

use crate::metadata::Xattrs;

/// What PAX records say beyond what `tar-core` resolves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) xattrs: Xattrs,
}

impl Records {
    /// Reads the content of a PAX header.
    ///
    /// # Errors
    ///
    /// What is wrong, for an error that names the entry.
    pub(crate) fn read(data: &[u8]) -> Result<Self, String> {
        let mut records = Self::default();
        let mut rest = data;
        while let Some((key, value, next)) = split(rest)? {
            rest = next;
            // An empty value takes the record back, and the header counts (POSIX pax, "x").
            let bad = || format!("its PAX record `{}` has a bad value", key.escape_ascii());
            match key {
                b"uid" => records.uid = filled(value, id).ok_or_else(bad)?,
                b"gid" => records.gid = filled(value, id).ok_or_else(bad)?,
                b"size" => records.size = filled(value, decimal).ok_or_else(bad)?,
                b"mtime" => records.mtime = filled(value, time).ok_or_else(bad)?,
                // `tar-core` reads them, and passes over those that are no number of 64 bits.
                b"GNU.sparse.size"
                | b"GNU.sparse.realsize"
                | b"GNU.sparse.offset"
                | b"GNU.sparse.numbytes" => drop(decimal(value).ok_or_else(bad)?),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        records.put_xattr(name.to_vec(), value.to_vec());
                    } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                        let name = url_decode(name).ok_or_else(bad)?;
                        records.put_xattr(name, base64_decode(value).ok_or_else(bad)?);
                    }
                }
            }
        }
        records.xattrs.sort_unstable();
        Ok(records)
    }

    /// The last record of a name wins; libarchive writes each attribute in both spellings.
    fn put_xattr(&mut self, name: Vec<u8>, value: Vec<u8>) {
        let name = OsString::from_vec(name);
        self.xattrs.retain(|(known, _)| *known != name);
        self.xattrs.push((name, value));
    }
}

/// A record's key, its value, and what follows the record.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Takes the first record, `LENGTH KEY=VALUE\n`, where LENGTH counts all of it.
fn split(data: &[u8]) -> Result<Option<Record<'_>>, String> {
    if data.is_empty() {
        return Ok(None);
    }
    let record = || {
        let space = data.iter().position(|byte| *byte == b' ')?;
        let length = usize::try_from(decimal(&data[..space])?).ok()?;
        let (record, rest) = data.split_at_checked(length)?;
        let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..equals], &pair[equals + 1..], rest))
    };
    record()
        .map(Some)
        .ok_or_else(|| "its PAX header has a broken record".to_owned())
}

/// `Some(None)` for an empty value, `None` for a bad one.
fn filled<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() {
        Some(None)
    } else {
        parse(value).map(Some)
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

/// A user or group id; the largest number means "leave alone" to chown(2) and is none.
pub(crate) fn user_id(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|id| *id != u32::MAX)
}

fn id(text: &[u8]) -> Option<u32> {
    decimal(text).and_then(user_id)
}

/// Seconds with a sign and any number of decimals; what is below a nanosecond is cut off.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or_default());
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sec = i64::try_from(decimal(whole)?).ok()?;
    let places = fraction
        .iter()
        .map(|digit| u32::from(digit - b'0'))
        .chain(std::iter::repeat(0));
    let nsec = places.take(9).fold(0, |nsec, digit| nsec * 10 + digit);
    Some(match (negative, nsec) {
        (false, _) => Time { sec, nsec },
        (true, 0) => Time { sec: -sec, nsec: 0 },
        // -1.25 is 750 milliseconds after -2.
        (true, _) => Time {
            sec: -sec - 1,
            nsec: 1_000_000_000 - nsec,
        },
    })
}

fn url_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (code, tail) = tail.split_first_chunk::<2>()?;
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        bytes.push(digit(code[0])? << 4 | digit(code[1])?);
        rest = tail;
    }
    Some(bytes)
}

/// Decodes RFC 4648 base64; libarchive leaves the padding out.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text
        .iter()
        .rev()
        .take(2)
        .take_while(|byte| **byte == b'=')
        .count();
    let text = &text[..text.len() - padding];
    if text.len() % 4 == 1 {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() / 4 * 3 + 2), 0_u32, 0);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// The records of a PAX header that is to be written, by key.
pub(crate) type RecordMap = BTreeMap<Vec<u8>, Vec<u8>>;

/// Makes the content of a PAX header.
pub(crate) fn encode(records: &RecordMap) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        push_record(&mut data, key, value);
    }
    data
}

/// Values go as they are. A name that a record's key cannot hold is encoded as libarchive does.
pub(crate) fn put_xattrs(records: &mut RecordMap, xattrs: &Xattrs) {
    for (name, value) in xattrs {
        let name = name.as_bytes();
        if std::str::from_utf8(name).is_ok() && !name.contains(&b'=') {
            records.insert([b"SCHILY.xattr.", name].concat(), value.clone());
        } else {
            let key = format!("LIBARCHIVE.xattr.{}", url_encode(name));
            records.insert(key.into_bytes(), base64_encode(value));
        }
    }
}

fn url_encode(name: &[u8]) -> String {
    let encode = |byte: &u8| match byte {
        b'%' | b'=' => format!("%{byte:02X}"),
        0x21..=0x7e => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.iter().map(encode).collect()
}

fn base64_encode(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| usize::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let digits = [bits >> 18, bits >> 12 & 63, bits >> 6 & 63, bits & 63];
        text.extend(
            digits
                .iter()
                .take(chunk.len() + 1)
                .map(|digit| DIGITS[*digit]),
        );
    }
    text
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn push_record(data: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut total = rest + 1;
    while total != rest + total.to_string().len() {
        total = rest + total.to_string().len();
    }
    data.extend_from_slice(total.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        data.extend_from_slice(part);
    }
}

/// Seconds with as many decimals as needed.
pub(crate) fn seconds(time: Time) -> String {
    // Before 1970 the nanoseconds count forward from the second before.
    let (sign, sec, nsec) = match (time.sec, time.nsec) {
        (sec @ 0.., nsec) => ("", sec.unsigned_abs(), nsec),
        (sec, 0) => ("-", sec.unsigned_abs(), 0),
        (sec, nsec) => ("-", (sec + 1).unsigned_abs(), 1_000_000_000 - nsec),
    };
    if nsec == 0 {
        return format!("{sign}{sec}");
    }
    format!("{sign}{sec}.{nsec:09}")
        .trim_end_matches('0')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        push_record(&mut data, key.as_bytes(), value);
        data
    }

    #[test]
    fn times_have_a_sign_and_nanoseconds() {
        for (text, sec, nsec) in [
            ("0", 0, 0),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("1.5", 1, 500_000_000),
            ("1.", 1, 0),
            ("1.0000000019", 1, 1),
            ("-1", -1, 0),
            ("-0.25", -1, 750_000_000),
            ("-12.999999999", -13, 1),
        ] {
            assert_eq!(time(text.as_bytes()), Some(Time { sec, nsec }), "{text}");
        }
        for text in [
            "",
            "-",
            ".5",
            "1.5x",
            "--1",
            "+1",
            "1e3",
            "9223372036854775808",
        ] {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for (sec, nsec, text) in [
            (5, 0, "5"),
            (5, 120_000_000, "5.12"),
            (0, 1, "0.000000001"),
            (-1, 0, "-1"),
            (-1, 750_000_000, "-0.25"),
            (-13, 1, "-12.999999999"),
        ] {
            assert_eq!(seconds(Time { sec, nsec }), text);
        }
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for (value, expected) in [("bc", 7), ("bcde", 9), ("bcdef", 11), ("bcdefg", 12)] {
            let mut data = Vec::new();
            push_record(&mut data, b"a", value.as_bytes());
            assert_eq!(data.len(), expected);
            assert_eq!(data, format!("{expected} a={value}\n").into_bytes());
        }
    }

    #[test]
    fn attributes_come_in_two_spellings() {
        let data = [
            record("SCHILY.xattr.user.b", b"a\0=\n\xff"),
            record("LIBARCHIVE.xattr.user.%61%3D%FF", b"AAH/"),
            record("LIBARCHIVE.xattr.user.short", b"QQ"),
            record("uid", b"4294967294"),
            record("gid", b""),
            record("comment", b"ignored"),
        ];
        let records = Records::read(&data.concat()).unwrap();
        let expected: Xattrs = vec![
            (OsString::from_vec(b"user.a=\xff".to_vec()), vec![0, 1, 255]),
            ("user.b".into(), b"a\0=\n\xff".to_vec()),
            ("user.short".into(), b"A".to_vec()),
        ];
        assert_eq!(records.xattrs, expected);
        assert_eq!((records.uid, records.gid), (Some(4_294_967_294), None));
    }

    #[test]
    fn broken_records_are_errors() {
        for data in [
            &b"x"[..],
            b"4 a=\n",
            b"99 a=b\n",
            b"6 a=bc",
            b"5 ab\n",
            b"-6 a=b\n",
            b"6 a=b\n\n",
        ] {
            assert!(Records::read(data).is_err(), "{}", data.escape_ascii());
        }
        for (key, value) in [
            ("uid", "4294967295"),
            ("gid", "-1"),
            ("size", "1.5"),
            ("mtime", "now"),
            ("LIBARCHIVE.xattr.user.%4", "QQ"),
            ("LIBARCHIVE.xattr.user.a", "Q"),
        ] {
            let error = Records::read(&record(key, value.as_bytes())).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
