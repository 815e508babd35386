//! hoiam: text in, voice back by callback.
//!
//! Two services in one binary that speak to each other only over HTTP. To
//! follow one task from its POST to its callback, read in this order:
//!
//! 1. [`resource::api`] takes it, [`backend::store`] keeps it, and
//!    [`backend::actor`] runs its action, [`backend::hand_over`].
//! 2. [`resource::api`] takes the speech, too; [`delivery::checker`] checks the
//!    callback URL; [`tts::worker`] has a child of [`hoiam_synthesizer`] speak it
//!    with [`hoiam_speech`]; [`tts::store::claims`] commits the end and owes the callback.
//! 3. [`delivery::dispatcher`] delivers it to [`backend::callback`], which owes
//!    a [`backend::fetch`], after which the client's own callback is delivered.
//! 4. [`backend::watchdog`] is what happens when none of that does.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`backend`], [`tts`] | the two services; they do not know each other |
//! | [`resource`] | tasks and speeches alike: routes, operations, what is shown |
//! | [`delivery`] | callbacks and callback checks, of both |
//! | [`hoiam_api`] | what is said on the wire; knows neither service |
//! | [`hoiam_text`] | texts: sentences, what is read, subtitles; pure |
//! | [`hoiam_synthesizer`] | the child process that speaks, as its parent sees it |
//! | [`hoiam_speech`] | the child's side: text to sound |
//! | [`db`], [`files`], [`write_health`] | where state and results are kept, and whether they can be |
//! | [`alerts`] | what the operator is told of |
//! | [`retention`] | how long they are kept |
//! | [`outbound`] | every outgoing connection |
//! | [`http`] | what the HTTP of both services shares |
//! | [`keys`] | API keys, and whose work it is |
//! | [`secrets`] | what callbacks are signed with, and how that is changed |
//! | [`private_file`], [`lookout`] | small files of a data folder, and whether they have changed |
//! | [`claim_loop`], [`work`] | how an actor finds its work, and what it has under way |
//! | [`shares`] | how several share one bound |
//! | [`hoiam_supervision`], [`app`] | how the supervision tree works, and the one list; the clock |
//! | [`config`], [`cli`] | settings, commands |
//! | [`open_files`] | how many this process may have |
//! | `locks` | taken also after a panic |
//! | [`failpoint`] | points where a test has the process die; empty in a release |

pub mod alerts;
pub mod app;
pub mod backend;
pub mod claim_loop;
pub mod cli;
pub mod config;
pub mod db;
pub mod delivery;
pub mod failpoint;
pub mod files;
pub mod http;
pub mod keys;
mod locks;
pub mod lookout;
pub mod open_files;
pub mod outbound;
pub mod private_file;
pub mod progress;
#[cfg(test)]
mod queries;
pub mod resource;
pub mod retention;
pub mod secrets;
pub mod shares;
pub mod tts;
pub mod work;
pub mod write_health;
