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

const SPECIAL: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];

struct GoFormatter(CompactFormatter);

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(SPECIAL) {
            let special = rest[at..].chars().next().map_or(0, u32::from);
            self.0.write_string_fragment(writer, &rest[..at])?;
            write!(writer, "\\u{special:04x}")?;
            rest = &rest[at + char::from_u32(special).map_or(1, char::len_utf8)..];
        }
        self.0.write_string_fragment(writer, rest)
    }

    /// JSON that is there already, a `RawMessage` to Go: it loses the white space between its
    /// tokens, and the special characters, which can only be inside strings, are escaped.
    fn write_raw_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut compact = String::with_capacity(fragment.len());
        let (mut in_string, mut escaped) = (false, false);
        for character in fragment.chars() {
            if !in_string && character.is_ascii_whitespace() {
                continue;
            }
            if character == '"' && !escaped {
                in_string = !in_string;
            }
            escaped = character == '\\' && !escaped;
            compact.push(character);
        }
        self.write_string_fragment(writer, &compact)
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

    #[test]
    fn raw_messages_are_made_compact() {
        let raw = "{ \"a \\\" b\" : [\n1, \"<\\\\\" ] }";
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(raw).unwrap();
        let text = String::from_utf8(super::to_vec(&raw).unwrap()).unwrap();
        assert_eq!(text, "{\"a \\\" b\":[1,\"\\u003c\\\\\"]}");
    }
}
