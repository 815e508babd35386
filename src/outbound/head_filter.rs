//! Puts the head of an answer into the form that `awc` can read.
//!
//! Pure: bytes in, bytes out, whatever pieces they come in. `awc` 3.11 reads one
//! head of at most 96 headers. RFC 9110 and 9112 ask more of a client:
//!
//! | what comes | what `awc` gets |
//! | --- | --- |
//! | interim answers (1xx but 101), any number of them | the final answer alone |
//! | a header folded over several lines | one line |
//! | `Content-Length` several times, all equal | once; unequal ones as they are, and it refuses them |
//! | more headers than it takes | those that are read here, and the first of the others |
//! | a head of more than [`MAX_HEAD`] bytes | nothing: [`HeadTooLarge`] |
//!
//! What is not HTTP/1 passes as it is, and `awc` refuses it.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};

/// Bytes of one head at most.
pub const MAX_HEAD: usize = 64 * 1024;

/// Headers of one head that are passed on at most. `awc` takes 96.
const MAX_HEADERS: usize = 96;

/// What every answer begins with.
const HTTP_1: &[u8] = b"HTTP/1.";

/// Kept however many headers there are: where the body ends, whether the
/// connection can be used again, and what this crate reads.
const READ_HERE: [&[u8]; 7] = [
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"date",
    b"retry-after",
    b"location",
    b"content-type",
];

/// The head of an answer does not end within [`MAX_HEAD`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadTooLarge;

/// Reads the answer to one request, from its first byte.
#[derive(Debug, Default)]
pub struct HeadFilter {
    /// What has come of the head that is being read.
    head: Vec<u8>,
    /// Where its last line begins.
    line_from: usize,
    is_past_head: bool,
}

impl HeadFilter {
    /// Whether the head of the final answer has passed. All that follows belongs
    /// to the body and need not be shown to the filter.
    #[must_use]
    pub fn is_past_head(&self) -> bool {
        self.is_past_head
    }

    /// Takes what has come and puts what `awc` is to read into `out`.
    ///
    /// # Errors
    ///
    /// [`HeadTooLarge`]; there is nothing more to be had from this answer then.
    pub fn feed(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), HeadTooLarge> {
        let mut rest = bytes;
        while !self.is_past_head && !rest.is_empty() {
            let line_end = rest.iter().position(|byte| *byte == b'\n');
            let (piece, after) = rest.split_at(line_end.map_or(rest.len(), |at| at + 1));
            self.take(piece, out)?;
            rest = after;
        }
        out.put_slice(rest);
        Ok(())
    }

    /// Nothing more will come: what there is of a head is passed on as it is, so
    /// that `awc` can tell half an answer from none.
    pub fn end(&mut self, out: &mut BytesMut) {
        self.pass(out);
    }

    /// Takes a line of a head or a part of one.
    fn take(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), HeadTooLarge> {
        let mut piece = piece;
        if self.head.is_empty() {
            // Empty lines before an answer mean nothing.
            let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
            piece = &piece[piece.iter().take_while(|byte| is_line_end(byte)).count()..];
        }
        self.head.extend_from_slice(piece);
        if !is_like_http_1(&self.head) {
            self.pass(out);
        } else if self.head.len() > MAX_HEAD {
            return Err(HeadTooLarge);
        } else if piece.ends_with(b"\n") {
            let line = &self.head[self.line_from..];
            if matches!(line, b"\n" | b"\r\n") {
                self.end_of_head(out);
            } else {
                self.line_from = self.head.len();
            }
        }
        Ok(())
    }

    fn end_of_head(&mut self, out: &mut BytesMut) {
        if is_interim(&self.head) {
            self.head.clear();
            self.line_from = 0;
        } else {
            write_readable(&self.head, out);
            self.head = Vec::new();
            self.is_past_head = true;
        }
    }

    fn pass(&mut self, out: &mut BytesMut) {
        out.put_slice(&self.head);
        self.head = Vec::new();
        self.is_past_head = true;
    }
}

/// Whether this is the beginning of an answer in HTTP/1, or may become it.
fn is_like_http_1(head: &[u8]) -> bool {
    let length = head.len().min(HTTP_1.len());
    head[..length] == HTTP_1[..length]
}

/// Whether another answer follows this head (RFC 9110, section 15.2). 101 is
/// final: what follows it is no HTTP.
fn is_interim(head: &[u8]) -> bool {
    let code = head.get(HTTP_1.len() + 1..).unwrap_or_default();
    match code {
        [b' ', b'1', b'0', b'1', ..] => false,
        [b' ', b'1', tens, ones, after, ..] => {
            tens.is_ascii_digit() && ones.is_ascii_digit() && !after.is_ascii_digit()
        }
        _ => false,
    }
}

/// Writes a final head as `awc` can read it.
fn write_readable(head: &[u8], out: &mut BytesMut) {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    let status_line = lines.next().unwrap_or_default();
    let mut headers = unfolded(lines.map(without_line_end).filter(|line| !line.is_empty()));
    join_equal_lengths(&mut headers);
    drop_surplus(&mut headers);
    out.reserve(head.len());
    out.put_slice(status_line);
    for header in headers {
        out.put_slice(&header);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Joins the lines of a folded header by a space (RFC 9112, section 5.2).
fn unfolded<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Cow<'a, [u8]>> {
    let mut headers: Vec<Cow<'_, [u8]>> = Vec::new();
    for line in lines {
        match headers.last_mut() {
            Some(header) if matches!(line, [b' ' | b'\t', ..]) => {
                let header = header.to_mut();
                header.push(b' ');
                header.extend_from_slice(line.trim_ascii());
            }
            _ => headers.push(Cow::Borrowed(line)),
        }
    }
    headers
}

/// Leaves one of several equal lengths (RFC 9110, section 8.6).
fn join_equal_lengths(headers: &mut Vec<Cow<'_, [u8]>>) {
    let lengths = headers.iter().filter(|header| is_length(header));
    let values = lengths.flat_map(|header| value(header).split(|byte| *byte == b','));
    let values: Vec<&[u8]> = values.map(<[u8]>::trim_ascii).collect();
    let Some((first, others)) = values.split_first() else {
        return;
    };
    if others.is_empty() || others.iter().any(|other| other != first) {
        return;
    }
    let only = [b"content-length: ", *first].concat();
    headers.retain(|header| !is_length(header));
    headers.push(Cow::Owned(only));
}

/// Leaves out what is too much, and nothing that is read here.
fn drop_surplus(headers: &mut Vec<Cow<'_, [u8]>>) {
    if headers.len() <= MAX_HEADERS {
        return;
    }
    let read_here = headers.iter().filter(|header| is_read_here(header)).count();
    let mut room = MAX_HEADERS.saturating_sub(read_here);
    headers.retain(|header| {
        is_read_here(header) || {
            let is_kept = room > 0;
            room = room.saturating_sub(1);
            is_kept
        }
    });
}

fn is_length(header: &[u8]) -> bool {
    name(header).eq_ignore_ascii_case(b"content-length")
}

fn is_read_here(header: &[u8]) -> bool {
    let name = name(header);
    READ_HERE.iter().any(|read| name.eq_ignore_ascii_case(read))
}

fn name(header: &[u8]) -> &[u8] {
    let name = header.split(|byte| *byte == b':').next();
    name.unwrap_or_default().trim_ascii_end()
}

fn value(header: &[u8]) -> &[u8] {
    let name = header.iter().take_while(|byte| **byte != b':').count();
    header.get(name + 1..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
