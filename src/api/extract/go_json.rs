//! What Go's `encoding/json` says about a text that is not JSON.
//!
//! Clients see these sentences, so they are part of the API. This only finds the first syntax
//! error; values are read with serde_json.

/// The error of the first byte that cannot be, or `None` if `text` is well-formed.
pub(super) fn syntax_error(text: &str) -> Option<String> {
    Scanner { bytes: text.as_bytes(), at: 0 }.document().err()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// A value and nothing after it. Nesting is kept in a list, so depth costs no stack.
    fn document(&mut self) -> Result<(), String> {
        let mut open = Vec::new();
        loop {
            match self.next_visible()? {
                b'{' if self.skip(b'}') => {}
                b'{' => {
                    self.key()?;
                    open.push(b'{');
                    continue;
                }
                b'[' if self.skip(b']') => {}
                b'[' => {
                    open.push(b'[');
                    continue;
                }
                first => self.scalar(first)?,
            }
            // A value has ended: close what ends with it, or go on to the next one.
            loop {
                let (comma, close, place) = match open.last() {
                    None => {
                        self.space();
                        return match self.bytes.get(self.at) {
                            None => Ok(()),
                            Some(&byte) => Err(invalid(byte, "after top-level value")),
                        };
                    }
                    Some(b'{') => (b',', b'}', "after object key:value pair"),
                    Some(_) => (b',', b']', "after array element"),
                };
                match self.next_visible()? {
                    byte if byte == comma => {
                        if close == b'}' {
                            self.key()?;
                        }
                        break;
                    }
                    byte if byte == close => drop(open.pop()),
                    byte => return Err(invalid(byte, place)),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), String> {
        match self.next_visible()? {
            b'"' => self.string()?,
            byte => return Err(invalid(byte, "looking for beginning of object key string")),
        }
        match self.next_visible()? {
            b':' => Ok(()),
            byte => Err(invalid(byte, "after object key")),
        }
    }

    fn scalar(&mut self, first: u8) -> Result<(), String> {
        match first {
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' | b'0'..=b'9' => self.number(first),
            byte => Err(invalid(byte, "looking for beginning of value")),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return Err(invalid(byte, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    byte => return Err(invalid(byte, "in string escape code")),
                },
                byte @ 0..0x20 => return Err(invalid(byte, "in string literal")),
                _ => {}
            }
        }
    }

    /// The rest of `word`, whose first letter was read.
    fn word(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let place = format!("in literal {word} (expecting {})", quote(expected));
                return Err(invalid(byte, &place));
            }
        }
        Ok(())
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let whole = if first == b'-' { self.digit("in numeric literal")? } else { first };
        if whole != b'0' {
            self.digits();
        }
        if self.take(b'.') {
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self, place: &str) -> Result<u8, String> {
        match self.next()? {
            byte if byte.is_ascii_digit() => Ok(byte),
            byte => Err(invalid(byte, place)),
        }
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte.ok_or_else(|| "unexpected end of JSON input".to_owned())
    }

    fn next_visible(&mut self) -> Result<u8, String> {
        self.space();
        self.next()
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Steps over space and then `byte`, if it is there.
    fn skip(&mut self, byte: u8) -> bool {
        self.space();
        self.take(byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }
}

fn invalid(byte: u8, place: &str) -> String {
    format!("invalid character {} {place}", quote(byte))
}

/// As Go quotes a byte: as the Latin-1 character of that number.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        0..0x20 | 0x7f => format!(r"'\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!(r"'\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed() {
        for text in [
            "{}",
            " [ ] ",
            "null",
            r#"{"a":["b",{"c":true}],"d":{"e":false}}"#,
            r#""\u00e4\n\"""#,
            "-0.5e+10",
            "[1,20,3E7]",
        ] {
            assert_eq!(syntax_error(text), None, "{text}");
        }
        assert_eq!(syntax_error(&format!("{}{}", "[".repeat(9999), "]".repeat(9999))), None);
    }

    #[test]
    fn words_of_go() {
        for (text, error) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (r#"{"a""#, "unexpected end of JSON input"),
            ("-", "unexpected end of JSON input"),
            ("{bad", "invalid character 'b' looking for beginning of object key string"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            ("bad", "invalid character 'b' looking for beginning of value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("nil", "invalid character 'i' in literal null (expecting 'u')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u00g0""#, "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
            ("ä", "invalid character 'Ã' looking for beginning of value"),
        ] {
            assert_eq!(syntax_error(text).as_deref(), Some(error), "{text}");
        }
    }
}
