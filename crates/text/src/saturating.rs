//! Numbers that a type has no room for.

/// Conversions that do not fail: what is too large becomes the largest that there is.
/// For counts, sizes and times, none of which is below 0.
pub trait SaturatingFrom<T>: Sized {
    /// The number, or the largest of this type.
    fn saturating_from(number: T) -> Self;
}

macro_rules! saturating {
    ($($to:ty),*) => {$(
        impl<T> SaturatingFrom<T> for $to
        where
            $to: TryFrom<T>,
        {
            fn saturating_from(number: T) -> Self {
                Self::try_from(number).unwrap_or(Self::MAX)
            }
        }
    )*};
}

saturating!(u16, u32, u64, usize, i32, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_itself_and_what_does_not_the_largest() {
        assert_eq!(i32::saturating_from(7_usize), 7);
        assert_eq!(i64::saturating_from(u64::MAX), i64::MAX);
        assert_eq!(u16::saturating_from(70_000_u32), u16::MAX);
    }
}
