//! What verbs answer that both services have: a creation that can be repeated,
//! and an end that can be refused.

/// What came of a creation; `R` is the row.
#[derive(Debug, Clone)]
pub enum Accepted<R> {
    /// A new row.
    New(Box<R>),
    /// The same request was made before: the row as it is now.
    Repeated(Box<R>),
    /// The id or the key was used with another request.
    Conflict,
}

/// What came of asking for a cancel or an erasure; `R` is the row.
#[derive(Debug, Clone)]
pub enum Ended<R> {
    /// It is as asked for, now or already.
    Done(Box<R>),
    /// It ended otherwise, or has not ended: the row as it is.
    Refused(Box<R>),
    /// There is none.
    Unknown,
}
