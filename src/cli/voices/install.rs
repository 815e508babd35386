//! `hoiam voices install`: downloads a neural voice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use hoiam_api::nearest::nearest;
use hoiam_text::segmentation::is_of;
use indicatif::ProgressBar;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::super::error::CliError;
use super::super::{Globals, bar, columns, pretty, print};
use super::add::{Place, tell};
use crate::config::Config;
use crate::files::hex;
use crate::outbound::{Client, Download, Fetch, OutboundError, Policy, Timeouts, tls};

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    total: Duration::from_secs(60),
};

/// The longest silence within a file.
const IDLE: Duration = Duration::from_secs(60);

/// Piper's own list has 0.3 MB.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// Stores of models send downloads on to others, once or twice.
const MAX_REDIRECTS: usize = 5;

/// How the downloads are shown.
const BAR: &str = "[{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// The flags of `hoiam voices install`.
#[derive(Args, Clone, Debug)]
pub struct InstallArgs {
    /// The voice, such as vi_VN-vais1000-medium
    #[arg(required_unless_present = "list")]
    pub name: Option<String>,

    /// List what can be installed
    #[arg(long, conflicts_with = "name")]
    pub list: bool,

    /// With --list: only voices of this language
    #[arg(long, requires = "list")]
    pub language: Option<String>,
}

/// The list of voices, by name.
type Index = BTreeMap<String, Entry>;

/// One voice, as Piper's `voices.json` describes it; what is not used here is
/// left out.
#[derive(Debug, Deserialize)]
struct Entry {
    language: Option<Language>,
    #[serde(default)]
    quality: Option<String>,
    #[serde(default)]
    num_speakers: u32,
    /// By path, from the folder of the list.
    files: BTreeMap<String, Described>,
}

#[derive(Debug, Deserialize)]
struct Language {
    code: String,
}

/// What a file must be like.
#[derive(Debug, Clone, Deserialize)]
struct Described {
    size_bytes: u64,
    md5_digest: Option<String>,
    /// Better, where a list has it.
    sha256: Option<String>,
}

/// A voice in the list that `--list` prints.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    language: &'a str,
    quality: &'a str,
    speakers: u32,
    bytes: u64,
}

/// Why a voice cannot be installed, or what there is cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Nothing that begins with https can be called.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// There is no list.
    #[error(
        "the list of voices, {url}: {error}\n  tts.voices_index names another one; \
         `hoiam voices add` takes files that you have"
    )]
    Index {
        /// Where it should be.
        url: Url,
        /// Why it cannot be had.
        error: Box<DownloadError>,
    },
    /// A file of the voice.
    #[error("{url}: {error}")]
    File {
        /// Where it should be.
        url: Url,
        /// Why it cannot be had.
        error: Box<DownloadError>,
    },
    /// The list has a path that no URL can have.
    #[error("the list names {path}: {error}")]
    Path {
        /// As it is in the list.
        path: String,
        /// What is wrong with it.
        error: url::ParseError,
    },
    /// There is no such voice.
    #[error("the list has no voice {name}; {}", or_near(near))]
    Unknown {
        /// As it was asked for.
        name: String,
        /// Names that are like it.
        near: Vec<String>,
    },
    /// The list has only other files of this voice.
    #[error("the list has no model for {0}")]
    NoModel(String),
    /// There is none of the language that was asked for; these there are.
    #[error("the list has no such voice; it has {}", .0.join(", "))]
    NoSuchLanguage(Vec<String>),
}

impl From<InstallError> for CliError {
    fn from(error: InstallError) -> Self {
        Self::own(error)
    }
}

/// Why a file cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Whoever is on the way could change what the list has promised.
    #[error("it is at {0}, without encryption, and the list is not")]
    Unencrypted(Url),
    /// The list, or a redirect, leads into a network that is not the public one.
    #[error(
        "it is at {0}, an address that is not public, where only a list of the same scheme, host and port may lead"
    )]
    NotPublic(Url),
    /// The call.
    #[error(transparent)]
    Call(#[from] OutboundError),
    /// Of an answer without the file.
    #[error("the answer was {0}")]
    Status(u16),
    /// A redirect to what is no URL.
    #[error(transparent)]
    Redirect(#[from] url::ParseError),
    /// More redirects than anybody needs.
    #[error("it is sent on and on")]
    Redirects,
    /// It cannot be written here.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another file in place of the list.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It cannot be compared.
    #[error("the list has no checksum for it")]
    NoChecksum,
    /// Of another size or checksum.
    #[error("it is not the file that the list describes; try again later")]
    Another,
}

/// Lists what there is, or installs one of it.
pub async fn install(
    args: &InstallArgs,
    globals: &Globals,
    config: &Config,
) -> Result<(), CliError> {
    let source = Source::new(&config.tts.voices_index)?;
    let index = source.index().await?;
    let Some(name) = &args.name else {
        return list(&index, args.language.as_deref(), globals);
    };
    let name = name.strip_prefix("piper/").unwrap_or(name);
    let Some(entry) = index.get(name) else {
        return Err(unknown(name, &index).into());
    };
    let place = Place::new(&config.tts.voices_dir, name)?;
    let files = files_of(name, entry)?;
    let bytes = files.iter().map(|file| file.described.size_bytes).sum();
    let bar = bar(globals, Some(bytes), BAR);
    for file in files {
        source.download(&file, &place, &bar).await?;
    }
    bar.finish_and_clear();
    tell(&place.take_over(config).await?, globals)
}

/// A file of a voice: where the list has it, what it is called here.
struct ListedFile<'a> {
    path: &'a str,
    name: String,
    described: &'a Described,
}

/// The model, its description and its card; lists have samples too.
fn files_of<'a>(name: &str, entry: &'a Entry) -> Result<Vec<ListedFile<'a>>, InstallError> {
    let mut files = Vec::new();
    for (path, described) in &entry.files {
        let file = path.rsplit('/').next().unwrap_or(path);
        let own = if file.ends_with(".onnx") {
            format!("{name}.onnx")
        } else if file.ends_with(".onnx.json") {
            format!("{name}.onnx.json")
        } else if file == "MODEL_CARD" {
            file.to_owned()
        } else {
            continue;
        };
        files.push(ListedFile {
            path,
            name: own,
            described,
        });
    }
    let has = |ending: &str| files.iter().any(|file| file.name.ends_with(ending));
    if has(".onnx") && has(".onnx.json") {
        Ok(files)
    } else {
        Err(InstallError::NoModel(name.to_owned()))
    }
}

/// Where voices come from. The operator named the list, and so its origin is called
/// wherever it lies. What the list, or a redirect, says beyond that is somebody else's
/// word.
struct Source {
    index: Url,
    client: Client,
    /// For other origins.
    elsewhere: Client,
}

impl Source {
    fn new(index: &Url) -> Result<Self, InstallError> {
        let tls = tls::system_roots()?;
        let client = Client::new(Policy::trusted(), TIMEOUTS, tls.clone());
        // Without encryption anybody on the way may write what the list says, so
        // nothing is gained by being strict with it.
        let elsewhere = match index.scheme() {
            "https" => Client::new(Policy::callbacks(Vec::new(), false), TIMEOUTS, tls),
            _ => client.clone(),
        };
        Ok(Self {
            index: index.clone(),
            client,
            elsewhere,
        })
    }

    fn client_for(&self, url: &Url) -> &Client {
        match url.origin() == self.index.origin() {
            true => &self.client,
            false => &self.elsewhere,
        }
    }

    /// From an encrypted list nothing leads to what is not.
    fn check_encrypted(&self, url: &Url) -> Result<(), DownloadError> {
        if self.index.scheme() == "https" && url.scheme() != "https" {
            return Err(DownloadError::Unencrypted(url.clone()));
        }
        Ok(())
    }

    async fn index(&self) -> Result<Index, InstallError> {
        let url = &self.index;
        self.read_index().await.map_err(|error| {
            let (url, error) = (url.clone(), Box::new(error));
            InstallError::Index { url, error }
        })
    }

    async fn read_index(&self) -> Result<Index, DownloadError> {
        let mut answer = self.get(&self.index, MAX_INDEX_BYTES).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Downloads a file, and compares it with the list.
    async fn download(
        &self,
        file: &ListedFile<'_>,
        place: &Place,
        bar: &ProgressBar,
    ) -> Result<(), InstallError> {
        let url = self.index.join(file.path);
        let url = url.map_err(|error| InstallError::Path {
            path: file.path.to_owned(),
            error,
        })?;
        let downloaded = self.download_from(&url, file, place, bar).await;
        downloaded.map_err(|error| {
            let error = Box::new(error);
            InstallError::File { url, error }
        })
    }

    async fn download_from(
        &self,
        url: &Url,
        file: &ListedFile<'_>,
        place: &Place,
        bar: &ProgressBar,
    ) -> Result<(), DownloadError> {
        let size = file.described.size_bytes;
        let mut answer = self.get(url, size).await?;
        let mut out = File::create(place.file(&file.name))?;
        let (mut bytes, mut md5, mut sha256) = (0_u64, Md5::new(), Sha256::new());
        while let Some(chunk) = answer.body.next().await {
            let chunk = chunk?;
            out.write_all(&chunk)?;
            bytes += chunk.len() as u64;
            bar.inc(chunk.len() as u64);
            if file.described.sha256.is_some() {
                sha256.update(&chunk);
            } else {
                md5.update(&chunk);
            }
        }
        out.sync_all()?;
        let same = match (&file.described.sha256, &file.described.md5_digest) {
            (Some(digest), _) => hex(&sha256.finalize()).eq_ignore_ascii_case(digest),
            (None, Some(digest)) => hex(&md5.finalize()).eq_ignore_ascii_case(digest),
            (None, None) => return Err(DownloadError::NoChecksum),
        };
        if bytes != size || !same {
            return Err(DownloadError::Another);
        }
        Ok(())
    }

    /// Follows redirects.
    async fn get(&self, url: &Url, limit: u64) -> Result<Download, DownloadError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.check_encrypted(&url)?;
            let fetch = Fetch {
                url: url.clone(),
                headers: Vec::new(),
                limit,
                idle_timeout: IDLE,
                total_timeout: None,
            };
            let answer = self.client_for(&url).download(fetch).await;
            let answer = answer.map_err(|error| match error {
                // Its way out is for callbacks.
                OutboundError::Forbidden(_) => DownloadError::NotPublic(url.clone()),
                error => error.into(),
            })?;
            match answer.status {
                200 => return Ok(answer),
                301 | 302 | 303 | 307 | 308 => {}
                status => return Err(DownloadError::Status(status)),
            }
            let target = answer.headers.get("location").unwrap_or_default();
            url = url.join(target)?;
        }
        Err(DownloadError::Redirects)
    }
}

fn list(index: &Index, language: Option<&str>, globals: &Globals) -> Result<(), CliError> {
    let listed: Vec<Listed> = index
        .iter()
        .map(|(name, entry)| Listed {
            name,
            language: entry.language_code(name),
            quality: entry.quality.as_deref().unwrap_or("-"),
            speakers: entry.num_speakers.max(1),
            bytes: entry.files.values().map(|file| file.size_bytes).sum(),
        })
        .filter(|voice| language.is_none_or(|language| speaks(voice.language, language)))
        .collect();
    if listed.is_empty() {
        let codes = index.iter().map(|(name, entry)| entry.language_code(name));
        let codes: BTreeSet<&str> = codes.collect();
        let codes = codes.into_iter().map(str::to_owned).collect();
        return Err(InstallError::NoSuchLanguage(codes).into());
    }
    if globals.json {
        return print(&pretty(&listed)?);
    }
    let head = ["NAME", "LANGUAGE", "QUALITY", "SPEAKERS", "SIZE"].map(str::to_owned);
    let rows = listed.iter().map(|voice| {
        [
            voice.name.to_owned(),
            voice.language.to_owned(),
            voice.quality.to_owned(),
            voice.speakers.to_string(),
            format!("{} MB", voice.bytes / 1_000_000),
        ]
    });
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    print(&columns(&rows))
}

impl Entry {
    /// `vi_VN`; of old lists from the name.
    fn language_code<'a>(&'a self, name: &'a str) -> &'a str {
        match &self.language {
            Some(language) => &language.code,
            None => name.split('-').next().unwrap_or(name),
        }
    }
}

/// `vi_VN` speaks `vi` and `vi-VN`.
fn speaks(code: &str, language: &str) -> bool {
    is_of(&code.replace('_', "-"), &language.replace('_', "-"))
}

fn unknown(name: &str, index: &Index) -> InstallError {
    InstallError::Unknown {
        name: name.to_owned(),
        near: nearest(name, index.keys().cloned(), 3),
    }
}

fn or_near(near: &[String]) -> String {
    match near {
        [] => "`hoiam voices install --list` shows what there is".to_owned(),
        near => format!("there is {}", near.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[actix_rt::test]
    async fn an_encrypted_list_leads_to_nothing_plain_and_to_no_private_address() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        own.set_nonblocking(true).unwrap();
        let port = own.local_addr().unwrap().port();
        let source = Source::new(&Url::parse("https://voices.example/a/list.json").unwrap());
        let source = source.unwrap();
        for (path, told) in [
            (
                format!("http://127.0.0.1:{port}/a.onnx"),
                "without encryption",
            ),
            ("http://8.8.8.8/a.onnx".to_owned(), "without encryption"),
            (format!("https://127.0.0.1:{port}/a.onnx"), "not public"),
            (format!("//localhost:{port}/a.onnx"), "not public"),
            ("https://[fd00::1]/a.onnx".to_owned(), "not public"),
            ("https://169.254.169.254/a.onnx".to_owned(), "not public"),
        ] {
            let url = source.index.join(&path).unwrap();
            let refused = source.get(&url, 1).await.err().unwrap().to_string();
            assert!(refused.contains(told), "{path}: {refused}");
        }
        assert!(own.accept().is_err(), "somebody has called");
        let beside = source.index.join("b/a.onnx").unwrap();
        assert!(source.check_encrypted(&beside).is_ok());
    }
}
