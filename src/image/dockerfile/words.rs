//! Words, as a shell has them: quotation marks, backslashes, and variables. No variable has a value
//! here, so each is replaced by nothing or by what the instruction itself says instead.

use std::iter::Peekable;
use std::str::Chars;

/// The words of a text, with their quotation marks.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = word_end(rest, true);
        // A backslash at the very end escapes nothing.
        let word = &rest[..end];
        let word = if escapes_at_end(word) { &word[..word.len() - 1] } else { word };
        if !word.is_empty() {
            words.push(word.to_owned());
        }
        rest = rest[end..].trim_start();
    }
    words
}

/// Where the first word of a text ends. `escapes` says whether a backslash takes the next character
/// along.
fn word_end(text: &str, escapes: bool) -> usize {
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => return at,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') if escapes => drop(characters.next()),
            _ => {}
        }
    }
    text.len()
}

fn escapes_at_end(word: &str) -> bool {
    word.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The first word of a text without its quotation marks, and what is behind it.
pub(super) fn first_unquoted(text: &str) -> (String, &str) {
    let end = word_end(text, true);
    let (word, rest) = text.split_at(end);
    let mut plain = String::new();
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => plain.extend(characters.next()),
            (_, c) => plain.push(c),
        }
    }
    (plain, rest)
}

/// A word without its quotation marks.
pub(super) fn unquoted(word: &str) -> Result<String, String> {
    let mut reader = Reader::new(word);
    reader.until(None)?;
    Ok(reader.text)
}

/// The words that a word becomes: only unquoted white space, as variables have, divides it.
pub(super) fn unquoted_words(word: &str) -> Result<Vec<String>, String> {
    let text = unquoted(word)?;
    // Without variables that have a value, there is no white space in a word but in quotation marks.
    Ok(Some(text).filter(|text| !text.is_empty()).into_iter().collect())
}

struct Reader<'a> {
    word: &'a str,
    rest: Peekable<Chars<'a>>,
    text: String,
}

impl<'a> Reader<'a> {
    fn new(word: &'a str) -> Self {
        Self { word, rest: word.chars().peekable(), text: String::new() }
    }

    /// Reads up to `end`, or to the end of the word.
    fn until(&mut self, end: Option<char>) -> Result<(), String> {
        while let Some(c) = self.rest.next() {
            match c {
                c if Some(c) == end => return Ok(()),
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '$' => {
                    let value = self.variable()?;
                    self.text.push_str(&value);
                }
                '\\' => self.text.extend(self.rest.next()),
                c => self.text.push(c),
            }
        }
        match end {
            None => Ok(()),
            Some(end) => Err(unexpected_end(&end.to_string())),
        }
    }

    fn single_quoted(&mut self) -> Result<(), String> {
        for c in self.rest.by_ref() {
            if c == '\'' {
                return Ok(());
            }
            self.text.push(c);
        }
        Err(unexpected_end("single-quote"))
    }

    fn double_quoted(&mut self) -> Result<(), String> {
        while let Some(c) = self.rest.next() {
            match c {
                '"' => return Ok(()),
                '$' => {
                    let value = self.variable()?;
                    self.text.push_str(&value);
                }
                '\\' => match self.rest.peek() {
                    Some('"' | '$' | '\\') => self.text.extend(self.rest.next()),
                    Some(_) => self.text.push('\\'),
                    None => {}
                },
                c => self.text.push(c),
            }
        }
        Err(unexpected_end("double-quote"))
    }

    /// What stands for a variable, whose `$` is read.
    fn variable(&mut self) -> Result<String, String> {
        if self.rest.next_if_eq(&'{').is_none() {
            // A lone `$` is one.
            return Ok(if self.name().is_empty() { "$".to_owned() } else { String::new() });
        }
        let name = self.name();
        match self.rest.next() {
            Some('}') => Ok(String::new()),
            Some(':') => {
                let modifier = self.rest.next();
                let word = self.inner()?;
                match modifier {
                    Some('+') => Ok(String::new()),
                    Some('-') => Ok(word),
                    Some('?') if word.is_empty() => Err(format!(
                        "Failed to process `{}`: {name} is not allowed to be unset",
                        self.word
                    )),
                    Some('?') => Ok(word),
                    modifier => Err(format!(
                        "Unsupported modifier ({}) in substitution: {}",
                        modifier.unwrap_or('\u{fffd}'),
                        self.word
                    )),
                }
            }
            // Of nothing, nothing can be taken away or replaced.
            Some(sign @ ('#' | '%')) => {
                let double = self.rest.next_if_eq(&sign);
                let end = if sign == '#' { "prefix" } else { "suffix" };
                let pattern = self.inner()?;
                if pattern.is_empty() && double.is_none() {
                    return Err(format!("{name}{sign}: no {end} to remove"));
                }
                Ok(String::new())
            }
            Some('/') => self.inner().map(|_| String::new()),
            _ => Err(format!("Missing ':' or '#' or '%' or '/' in substitution: {}", self.word)),
        }
    }

    /// The text up to the closing brace.
    fn inner(&mut self) -> Result<String, String> {
        let outer = std::mem::take(&mut self.text);
        let read = self.until(Some('}'));
        let inner = std::mem::replace(&mut self.text, outer);
        read.map(|()| inner)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
            // A digit in front is a name of its own.
            if name.len() == 1 && c.is_ascii_digit() {
                break;
            }
        }
        name
    }
}

fn unexpected_end(what: &str) -> String {
    format!("unexpected end of statement while looking for matching {what}")
}
