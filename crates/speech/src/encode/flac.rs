//! FLAC (RFC 9639).

use std::cell::RefCell;
use std::io::{self, Seek, SeekFrom, Write};
use std::rc::Rc;

use flac_codec::encode::{FlacSampleWriter, Options};
use hoiam_text::{SpeechError, Tags};

use super::{Codec, failed, tags};

/// A FLAC file of 16 bit samples.
pub(super) struct Flac {
    /// None once it is finished.
    writer: Option<FlacSampleWriter<File>>,
    file: File,
}

impl Flac {
    /// Writes a head without the length.
    pub(super) fn begin(
        sample_rate_hz: u32,
        tags: &Tags,
        out: &mut Vec<u8>,
    ) -> Result<Self, SpeechError> {
        let file = File::default();
        let mut options = Options::default().no_padding().no_seektable();
        for (name, value) in tags::comments(tags) {
            options = options.tag(name, value);
        }
        let writer = FlacSampleWriter::new(file.clone(), options, sample_rate_hz, 16, 1, None);
        file.take(out);
        Ok(Self {
            writer: Some(writer.map_err(failed)?),
            file,
        })
    }
}

impl Codec for Flac {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), SpeechError> {
        let samples: Vec<i32> = pcm.iter().copied().map(i32::from).collect();
        if let Some(writer) = &mut self.writer {
            writer.write(&samples).map_err(failed)?;
        }
        self.file.take(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<Vec<u8>, SpeechError> {
        if let Some(writer) = self.writer.take() {
            writer.finalize().map_err(failed)?;
        }
        self.file.take(out);
        Ok(std::mem::take(&mut self.file.0.borrow_mut().head))
    }
}

/// What the encoder takes for its file: new bytes are for us to take away, and
/// what it writes over its head in the end is kept.
#[derive(Clone, Default)]
struct File(Rc<RefCell<Written>>);

#[derive(Default)]
struct Written {
    fresh: Vec<u8>,
    head: Vec<u8>,
    at: u64,
    size: u64,
}

impl File {
    fn take(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.borrow_mut().fresh);
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.borrow_mut();
        if written.at == written.size {
            written.fresh.extend(bytes);
            written.size += bytes.len() as u64;
        } else if written.at == written.head.len() as u64 {
            written.head.extend(bytes);
        } else {
            return Err(io::Error::other("the FLAC encoder wrote amid its file"));
        }
        written.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut written = self.0.borrow_mut();
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => written.at.checked_add_signed(by),
            SeekFrom::End(by) => written.size.checked_add_signed(by),
        };
        written.at = at.ok_or_else(|| io::Error::other("before the start"))?;
        Ok(written.at)
    }
}
