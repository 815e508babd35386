//! What tests share.

use crate::pronunciations::{Pronunciation, Said};

/// A term, and the words that are said for it.
pub(crate) fn term(term: &str, say: &str) -> Pronunciation {
    Pronunciation {
        term: term.into(),
        said: Said::Words(say.into()),
        match_case: false,
    }
}

/// A term, and the phonemes that are said for it.
pub(crate) fn sounds(term: &str, phonemes: &str) -> Pronunciation {
    Pronunciation {
        term: term.into(),
        said: Said::Phonemes(phonemes.into()),
        match_case: false,
    }
}

/// How long a processor has worked for this thread. What else the machine does
/// meanwhile does not count.
#[expect(unsafe_code, reason = "std has no such clock")]
pub(crate) fn processor_time() -> std::time::Duration {
    let mut used = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `used` is a timespec to write to, as the call wants.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut used) };
    assert_eq!(failed, 0);
    let nanoseconds = u32::try_from(used.tv_nsec).unwrap();
    std::time::Duration::new(u64::try_from(used.tv_sec).unwrap(), nanoseconds)
}
