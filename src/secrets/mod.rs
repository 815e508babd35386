//! Callback secrets: the files that keep them, and the ones in force now.

pub mod file;
mod in_force;

pub use file::SecretFileError;
pub use in_force::CallbackSecrets;
