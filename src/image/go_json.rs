//! JSON as Go's `encoding/json` writes it.
//!
//! Go escapes `<`, `>`, `&` and the two Unicode line separators inside strings. Documents whose
//! digest should equal the one that Go tools compute have to be written the same way.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// Compact JSON with Go's escapes.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out,
        GoFormatter(CompactFormatter),
    ))?;
    Ok(out)
}

struct GoFormatter(CompactFormatter);

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let special = rest[at..].chars().next().map_or(0, u32::from);
            self.0.write_string_fragment(writer, &rest[..at])?;
            write!(writer, "\\u{special:04x}")?;
            rest = &rest[at + char::from_u32(special).map_or(1, char::len_utf8)..];
        }
        self.0.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_what_go_escapes() {
        let text = super::to_vec(&["a<b>&\u{2028}\"é", "plain"]).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"["a\u003cb\u003e\u0026\u2028\"é","plain"]"#
        );
    }
}
