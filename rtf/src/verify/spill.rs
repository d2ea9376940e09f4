//! Files of entries of one length each: what does not fit into memory. Written in order, read in order.

use super::IdHash;
use bytes::{Buf, BufMut};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Files among which ids are spread, by their hash: one of them at a time is in memory.
const BUCKETS: usize = 128;
/// Of each of some hundred files.
const WRITE_BYTES: usize = 8 << 10;
const READ_BYTES: usize = 1 << 20;

/// Something of fixed length.
pub trait Entry: Sized {
    /// How long.
    const BYTES: usize;
    /// Appends itself.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes itself from the front of `bytes`, which are enough.
    fn take(bytes: &mut &[u8]) -> Self;
}

impl Entry for IdHash {
    const BYTES: usize = 16;
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u128_le(*self);
    }
    fn take(bytes: &mut &[u8]) -> Self {
        bytes.get_u128_le()
    }
}

/// A file of entries.
pub struct Spill<E> {
    file: BufWriter<File>,
    entries: u64,
    scratch: Vec<u8>,
    of: PhantomData<E>,
}

impl<E: Entry> Spill<E> {
    /// A file without a name, which goes with this process.
    ///
    /// # Errors
    /// The disk's.
    pub fn temporary() -> io::Result<Self> {
        Ok(Self::on(tempfile::tempfile()?, 0))
    }

    /// The file at `path`, of which the first entries count, so many.
    ///
    /// # Errors
    /// The disk's, or there are fewer.
    pub fn at(path: &Path, entries: u64) -> io::Result<Self> {
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut file = options?;
        let bytes = entries * E::BYTES as u64;
        if file.metadata()?.len() < bytes {
            let words = format!("{} is shorter than it was", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self::on(file, entries))
    }

    fn on(file: File, entries: u64) -> Self {
        Self {
            file: BufWriter::with_capacity(WRITE_BYTES, file),
            entries,
            scratch: Vec::with_capacity(E::BYTES),
            of: PhantomData,
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// The disk's.
    pub fn push(&mut self, entry: &E) -> io::Result<()> {
        self.scratch.clear();
        entry.put(&mut self.scratch);
        self.entries += 1;
        self.file.write_all(&self.scratch)
    }

    /// Forgets all entries.
    ///
    /// # Errors
    /// The disk's.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.entries = 0;
        self.file.get_mut().set_len(0)?;
        self.file.rewind()
    }

    /// Hands everything to the kernel; how many entries there are.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&mut self) -> io::Result<u64> {
        self.file.flush()?;
        Ok(self.entries)
    }

    /// All entries, in the order in which they came.
    ///
    /// # Errors
    /// The disk's.
    pub fn entries(&mut self) -> io::Result<impl Iterator<Item = io::Result<E>> + '_> {
        let left = self.flush()?;
        let file = self.file.get_ref();
        let mut reader = BufReader::with_capacity(READ_BYTES, FromStart { file, at: 0 });
        let mut bytes = vec![0; E::BYTES];
        Ok((0..left).map(move |_| {
            reader.read_exact(&mut bytes)?;
            Ok(E::take(&mut &bytes[..]))
        }))
    }
}

/// Reads a file beside its writer.
struct FromStart<'f> {
    file: &'f File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Entries that have an id.
pub trait Identified: Entry {
    /// Its hash.
    fn id(&self) -> IdHash;
}

impl Identified for IdHash {
    fn id(&self) -> IdHash {
        *self
    }
}

/// Entries spread over files by their ids.
pub struct Buckets<E>(Vec<Spill<E>>);

impl<E: Identified> Buckets<E> {
    /// Files of this name in a directory, of which so many entries count; or files without names.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(directory: Option<&Path>, name: &str, entries: &[u64]) -> io::Result<Self> {
        let open = |bucket: usize| match directory {
            None => Spill::temporary(),
            Some(directory) => Spill::at(
                &directory.join(format!("{name}.{bucket}")),
                entries.get(bucket).copied().unwrap_or(0),
            ),
        };
        Ok(Self((0..BUCKETS).map(open).collect::<io::Result<_>>()?))
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// The disk's.
    pub fn push(&mut self, entry: &E) -> io::Result<()> {
        // Not the lowest bits: they tell the partition of the log.
        let bucket = (entry.id() >> 64) as usize % BUCKETS;
        self.0[bucket].push(entry)
    }

    /// Hands everything to the kernel; how many entries there are in each file.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&mut self) -> io::Result<Vec<u64>> {
        self.0.iter_mut().map(Spill::flush).collect()
    }

    /// The files, each with the same ids as that of the same number of other buckets.
    pub fn files(&mut self) -> impl Iterator<Item = &mut Spill<E>> {
        self.0.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_after_the_last_flush_that_counts_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let ids = |from: u128, to: u128| (from..to).map(|n| n << 100 | n);
        let mut buckets = Buckets::<IdHash>::open(Some(folder.path()), "ids", &[]).unwrap();
        ids(0, 1000).for_each(|id| buckets.push(&id).unwrap());
        let counted = buckets.flush().unwrap();
        assert_eq!(counted.iter().sum::<u64>(), 1000);
        ids(1000, 1500).for_each(|id| buckets.push(&id).unwrap());
        buckets.flush().unwrap();
        drop(buckets);
        let mut buckets = Buckets::<IdHash>::open(Some(folder.path()), "ids", &counted).unwrap();
        ids(2000, 2001).for_each(|id| buckets.push(&id).unwrap());
        let mut found = Vec::new();
        for file in buckets.files() {
            found.extend(file.entries().unwrap().map(Result::unwrap));
        }
        found.sort_unstable();
        let expected: Vec<_> = ids(0, 1000).chain(ids(2000, 2001)).collect();
        assert_eq!(found, expected);
        let longer: Vec<u64> = counted.iter().map(|count| count + 100).collect();
        assert!(Buckets::<IdHash>::open(Some(folder.path()), "ids", &longer).is_err());
    }

    #[test]
    fn a_spill_begins_anew() {
        let mut spill = Spill::<IdHash>::temporary().unwrap();
        (0..9).for_each(|id| spill.push(&id).unwrap());
        spill.clear().unwrap();
        (5..7).for_each(|id| spill.push(&id).unwrap());
        let found: Vec<_> = spill.entries().unwrap().map(Result::unwrap).collect();
        assert_eq!(found, [5, 6]);
    }
}
