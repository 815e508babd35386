//! What tests share.

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
