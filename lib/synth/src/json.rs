//! JSON, written piece by piece into a buffer. Knows no structure: what stands where is the caller's word.

use std::io::Write;

/// How characters beyond ASCII are written.
#[derive(Clone, Copy)]
pub(crate) enum Charset {
    /// As themselves.
    Utf8,
    /// As `\u…`, and `/` as `\/`: what Twitter's servers did.
    Ascii,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a JSON string, with its quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str, charset: Charset) {
    out.push(b'"');
    for character in text.chars() {
        match (character, charset) {
            ('"', _) => out.extend_from_slice(b"\\\""),
            ('\\', _) => out.extend_from_slice(b"\\\\"),
            ('\n', _) => out.extend_from_slice(b"\\n"),
            ('/', Charset::Ascii) => out.extend_from_slice(b"\\/"),
            ('\0'..='\x1f', _) | ('\x7f'.., Charset::Ascii) => push_escaped(out, character),
            (' '..='\x7e', _) => out.push(character as u8),
            ('\x7f'.., Charset::Utf8) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// Appends a character as `\uXXXX`, as two of them beyond the first plane.
fn push_escaped(out: &mut Vec<u8>, character: char) {
    for &mut unit in character.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            out.push(HEX[usize::from(unit >> shift & 0xf)]);
        }
    }
}

/// Appends 16 hexadecimal digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = HEX[(number >> (60 - 4 * place) & 0xf) as usize];
    }
    out.extend_from_slice(&digits);
}

/// Appends a whole number.
pub(crate) fn push_number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    write!(out, "{number}").expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_string_reads_back_as_it_was(text: String) {
            for charset in [Charset::Utf8, Charset::Ascii] {
                let mut out = Vec::new();
                push_string(&mut out, &text, charset);
                prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("valid JSON"), text.clone());
                prop_assert!(matches!(charset, Charset::Utf8) || out.is_ascii());
            }
        }

        #[test]
        fn hex_is_what_the_formatter_writes(number: u64) {
            let mut out = Vec::new();
            push_hex(&mut out, number);
            prop_assert_eq!(out, format!("{number:016x}").into_bytes());
        }
    }

    #[test]
    fn twitters_way_of_writing() {
        let mut out = Vec::new();
        push_string(&mut out, "é/🌴\"", Charset::Ascii);
        assert_eq!(out, br#""\u00e9\/\ud83c\udf34\"""#);
    }
}
