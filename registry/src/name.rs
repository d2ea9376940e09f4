//! The file `log` in a replica's directory: which log the view beside it was made from, with a checksum.
//!
//! It stands between a replica and another join's directory. One byte that changes on the disk must not: a damaged name says nothing, and what it was the
//! name of is made anew.

use rtf_proto::LogId;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What a directory says of its log.
#[derive(PartialEq, Eq, Debug)]
pub enum Named {
    /// Nothing yet.
    Nothing,
    /// This.
    Log(String),
    /// It cannot be read.
    Damaged,
}

/// A log's name.
pub fn name_of(log: LogId, topic: &str) -> String {
    format!("{log} {topic}")
}

fn path(data: &Path) -> PathBuf {
    data.join("log")
}

/// The checksum comes first: whatever byte changes, what follows it is no name by itself.
fn line(name: &str) -> String {
    format!("{:08x} {name}\n", crc32fast::hash(name.as_bytes()))
}

/// Reads what stands in a directory.
///
/// # Errors
/// The file system could not.
pub fn read(data: &Path) -> io::Result<Named> {
    let bytes = match fs::read(path(data)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Named::Nothing),
        read => read?,
    };
    let name = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.split_once(' '))
        .map(|(_, name)| name.trim_end())
        .filter(|name| line(name).as_bytes() == bytes);
    Ok(name.map_or(Named::Damaged, |name| Named::Log(name.into())))
}

/// Writes it, whole or not at all.
///
/// # Errors
/// The file system could not.
pub fn write(data: &Path, name: &str) -> io::Result<()> {
    let partial = data.join("log.partial");
    fs::write(&partial, line(name))?;
    File::open(&partial)?.sync_all()?;
    fs::rename(&partial, path(data))?;
    File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::TopicId;

    #[test]
    fn whatever_byte_changes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert_eq!(read(data).unwrap(), Named::Nothing);
        let name = name_of(TopicId([7; 16]), "clicks.joins");
        write(data, &name).unwrap();
        assert_eq!(read(data).unwrap(), Named::Log(name));
        let right = fs::read(path(data)).unwrap();
        for at in 0..right.len() {
            for byte in [0, b' ', b'\n', b'a', 0xff] {
                let mut wrong = right.clone();
                wrong[at] = byte;
                fs::write(path(data), &wrong).unwrap();
                let expected = wrong == right;
                assert_eq!(read(data).unwrap() != Named::Damaged, expected, "{at}");
            }
            fs::write(path(data), &right[..at]).unwrap();
            assert_eq!(read(data).unwrap(), Named::Damaged, "cut at {at}");
        }
    }
}
