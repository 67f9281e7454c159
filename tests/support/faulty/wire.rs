//! HTTP/1.1, as far as clients of registries need it, and the faults of connections.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use super::{Fault, Seen, Shared, serve};

/// Bytes that are sent at once.
const CHUNK: usize = 64 * 1024;

/// The head of a request.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Arc<[u8]>,
    /// The part of the body that is sent.
    pub(super) range: std::ops::Range<usize>,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Arc<[u8]>>) -> Self {
        let body = body.into();
        let range = 0..body.len();
        Self { status, headers: Vec::new(), body, range }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name, value.into()));
        self
    }
}

/// Where a request is noted, unless the notes were forgotten meanwhile.
pub(super) struct Note<'a> {
    shared: &'a Shared,
    /// Counted from the first request.
    number: usize,
}

impl<'a> Note<'a> {
    fn new(shared: &'a Shared, asked: &Asked) -> Self {
        let owned = |name| asked.header(name).map(str::to_owned);
        let mut state = shared.state();
        state.seen.push(Seen {
            method: asked.method.clone(),
            target: asked.target.clone(),
            range: owned("range"),
            authorization: owned("authorization"),
            received: 0,
            status: 0,
            sent: 0,
        });
        Self { shared, number: state.forgotten + state.seen.len() - 1 }
    }

    fn update(&self, change: impl FnOnce(&mut Seen)) {
        let mut state = self.shared.state();
        if let Some(index) = self.number.checked_sub(state.forgotten) {
            change(&mut state.seen[index]);
        }
    }
}

/// The body of a request.
pub(super) struct Upload<'a, 'b> {
    reader: &'a mut BufReader<&'b TcpStream>,
    note: &'a Note<'a>,
    chunked: bool,
    /// Bytes of the body, or of its chunk, that are left.
    left: u64,
    ended: bool,
}

impl Read for Upload<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.chunked && !self.ended {
            let size = line(self.reader)?;
            let size = size.split(';').next().unwrap_or_default();
            self.left = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            if self.left == 0 {
                self.ended = true;
                line(self.reader)?;
            }
        }
        if self.left == 0 {
            return Ok(0);
        }
        let limit = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.reader.read(&mut buffer[..limit])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.note.update(|seen| seen.received += count as u64);
        if self.left == 0 && self.chunked {
            line(self.reader)?;
        }
        Ok(count)
    }
}

/// Serves the requests of a connection until one of both sides has enough.
pub(super) fn connection(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    // TLS begins with this byte, and has no lines.
    let mut first = [0];
    if stream.peek(&mut first).is_ok_and(|count| count == 1 && first == [0x16]) {
        let _ = (&mut &*stream).write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        let _ = stream.shutdown(Shutdown::Write);
        let _ = io::copy(&mut &*stream, &mut io::sink());
        return;
    }
    let mut reader = BufReader::new(stream);
    // An error is the end of a connection, by this side or the other.
    while let Ok(Some(asked)) = head(&mut reader) {
        if exchange(&mut reader, stream, shared, &asked).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn exchange(
    reader: &mut BufReader<&TcpStream>,
    stream: &TcpStream,
    shared: &Shared,
    asked: &Asked,
) -> io::Result<()> {
    let note = Note::new(shared, asked);
    let fault = shared.state().fault(asked);
    if matches!(fault, Some(Fault::Reset)) {
        return Err(closed());
    }
    let length = asked.header("content-length").and_then(|length| length.parse().ok());
    let chunked = asked.header("transfer-encoding").is_some();
    let mut upload =
        Upload { reader, note: &note, chunked, left: length.unwrap_or(0), ended: !chunked };
    if asked.header("expect").is_some() {
        (&mut &*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let answer = match &fault {
        Some(Fault::Status(status, _)) => {
            let code = r#"{"errors":[{"code":"UNKNOWN","message":"on purpose"}]}"#;
            Answer::new(*status, code.as_bytes()).with("Content-Type", "application/json")
        }
        Some(Fault::Refuse(status, code)) => serve::error(*status, code),
        Some(Fault::Redirect(base)) => {
            Answer::new(307, Vec::new()).with("Location", format!("{base}{}", asked.target))
        }
        Some(Fault::CutUpload(count)) => {
            serve::answer(shared, asked, &mut (&mut upload).take(*count), fault.as_ref())?;
            return Err(closed());
        }
        _ => serve::answer(shared, asked, &mut upload, fault.as_ref())?,
    };
    // What nobody wanted is read, for the next request comes behind it.
    io::copy(&mut upload, &mut io::sink())?;
    note.update(|seen| seen.status = answer.status);
    send(stream, asked, &note, answer, fault.as_ref())
}

fn send(
    mut stream: &TcpStream,
    asked: &Asked,
    note: &Note<'_>,
    mut answer: Answer,
    fault: Option<&Fault>,
) -> io::Result<()> {
    let mut length = Some(answer.range.len() as u64);
    match fault {
        Some(Fault::Longer(more)) => length = length.map(|length| length + more),
        Some(Fault::Flip) => {
            let mut body = answer.body.to_vec();
            if let Some(byte) = body.get_mut(answer.range.start + answer.range.len() / 2) {
                *byte ^= 1;
            }
            answer.body = body.into();
        }
        Some(Fault::Body(other)) => {
            length = None;
            answer.body = other.as_slice().into();
            answer.range = 0..other.len();
        }
        Some(Fault::Padded(_)) => length = None,
        Some(Fault::Header(name, value)) => answer = answer.with(name, value.clone()),
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} Status\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    match length {
        Some(length) => head += &format!("Content-Length: {length}\r\n"),
        None => head += "Connection: close\r\n",
    }
    if let Some(Fault::Status(_, headers)) = fault {
        head += headers;
    }
    head += "\r\n";
    stream.write_all(head.as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    if let Some(Fault::Padded(count)) = fault {
        let mut left = *count;
        while left > 0 {
            let chunk = left.min(CHUNK as u64);
            write(stream, note, &vec![b' '; usize::try_from(chunk).unwrap()])?;
            left -= chunk;
        }
    }
    let body = &answer.body[answer.range.clone()];
    let (first, rest) = match fault {
        Some(Fault::Cut(count) | Fault::Hold(count)) => {
            body.split_at(body.len().min(usize::try_from(*count).unwrap()))
        }
        _ => (body, &[][..]),
    };
    write(stream, note, first)?;
    match fault {
        Some(Fault::Cut(_) | Fault::Longer(_)) => Err(closed()),
        Some(Fault::Hold(_)) => {
            hold(note.shared);
            write(stream, note, rest)
        }
        _ if length.is_none() => Err(closed()),
        _ => Ok(()),
    }
}

fn write(mut stream: &TcpStream, note: &Note<'_>, body: &[u8]) -> io::Result<()> {
    for chunk in body.chunks(CHUNK) {
        // First the note: who has the bytes may look at once.
        note.update(|seen| seen.sent += chunk.len() as u64);
        if let Err(error) = stream.write_all(chunk) {
            note.update(|seen| seen.sent -= chunk.len() as u64);
            return Err(error);
        }
    }
    Ok(())
}

/// Waits for the next release.
fn hold(shared: &Shared) {
    let mut state = shared.state();
    let before = state.releases;
    state.held += 1;
    shared.changed.notify_all();
    let mut state = shared.changed.wait_while(state, |state| state.releases == before).unwrap();
    state.held -= 1;
}

/// The end of a connection, by this side.
fn closed() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// The next request's head; `None` when there is no more.
fn head(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Asked>> {
    let first = line(reader)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = Vec::new();
    while let Some((name, value)) = line(reader)?.split_once(':') {
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(Asked { method: method.to_owned(), target: target.to_owned(), headers }))
}

fn line(reader: &mut BufReader<&TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
