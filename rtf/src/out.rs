//! Standard output that somebody may close: `rtf tail | head` is no failure.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Whether somebody still reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// It was written.
    Listens,
    /// The pipe is closed: there is nothing left to do.
    Gone,
}

/// Writes a text, all of it at once.
///
/// # Errors
/// It cannot be written, but for a closed pipe.
pub fn write(text: &[u8]) -> anyhow::Result<Reader> {
    to(&mut io::stdout().lock(), text)
}

/// Writes a text and a line end: what `println!` does, which panics where nobody reads any more.
///
/// # Errors
/// As for [`write`].
pub fn line(text: impl Display) -> anyhow::Result<Reader> {
    write(format!("{text}\n").as_bytes())
}

fn to(out: &mut impl Write, text: &[u8]) -> anyhow::Result<Reader> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Listens),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let gone = to(&mut Closed(ErrorKind::BrokenPipe), b"x");
        assert_eq!(gone.expect("no failure"), Reader::Gone);
        assert!(to(&mut Closed(ErrorKind::StorageFull), b"x").is_err());
        assert_eq!(
            to(&mut Vec::new(), b"x").expect("it is written"),
            Reader::Listens
        );
    }
}
