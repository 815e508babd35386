//! Why a command has not done what it was asked for, and what is wrong with its
//! arguments. Both are told in their own words, which end the command.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use hoiam_api::Problem;
use hoiam_api::callback_headers::HeaderError;
use hoiam_speech::engine::piper::FilesError;
use hoiam_synthesizer::parent::StartError;

use super::speaker::not_started;
use crate::config::MustBe;
use crate::keys::file::KeysError;
use crate::secrets::file::SecretFileError;

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file or folder of the command line's cannot be had.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// As in "cannot {action} {path}".
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// On standard output.
    #[error("cannot print the answer: {0}")]
    Print(#[source] io::Error),
    /// It has something that JSON cannot have.
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// Nothing that begins with https can be called.
    #[error("no encryption: {0}")]
    Tls(#[from] rustls::Error),
    /// There is no child that speaks.
    #[error("{}", not_started(.0))]
    NotStarted(#[from] StartError),
    /// As a service would have refused it.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// Of API keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Of callback secrets.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// Of the files of a voice.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// One command's own: nobody asks what it is.
    #[error(transparent)]
    Own(Box<dyn Error + Send + Sync>),
}

impl CliError {
    /// What is told of a file or folder that cannot be had.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io {
            action,
            path,
            error,
        }
    }

    /// One command's own error.
    pub fn own(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Own(Box::new(error))
    }

    /// A message of one command's own.
    pub fn plain(message: impl Into<String>) -> Self {
        Self::Own(message.into().into())
    }
}

/// What is wrong with an argument, which clap names before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// Not of the configuration's form.
    #[error("it must be {0}")]
    MustBe(#[from] MustBe),
    /// No key, or no value.
    #[error("write it as key=value, such as tts.workers=2")]
    KeyValue,
    /// A status that no answer has, or none that ends a request.
    #[error("a status is a number from 200 to 599")]
    Status,
    /// A time without a number, or of an unknown unit.
    #[error("a time is written 500ms, 2s or 1min")]
    Delay,
    /// Half a URL.
    #[error("{0}; write it whole, such as https://example.com/hooks/voice")]
    CallbackUrl(#[from] url::ParseError),
    /// No name, or no value.
    #[error("write it as 'Authorization: Bearer …'")]
    Header,
    /// That the name of a header has not.
    #[error("the name must be {0}")]
    HeaderName(#[source] HeaderError),
    /// That the value of a header has not.
    #[error("the value must be {0}")]
    HeaderValue(#[source] HeaderError),
    /// No name that a client can have.
    #[error("a name has 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit")]
    ClientName,
}
