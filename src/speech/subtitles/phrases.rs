//! Which neighbouring words a reader wants to see together.
//!
//! Only what can be known from the two words themselves: a number with what it
//! counts or is the number of, and the parts of a name.

/// What is counted or measured, in lower case.
const UNITS: &[&str] = &[
    // Signs of both languages.
    "km",
    "m",
    "cm",
    "mm",
    "kg",
    "g",
    "l",
    "ml",
    "km/h",
    "m²",
    "m2",
    "m3",
    "°c",
    "%",
    "usd",
    "vnd",
    "vnđ",
    "đ",
    "kb",
    "mb",
    "gb",
    "tb",
    "w",
    "kw",
    "kwh",
    "am",
    "pm",
    "a.m",
    "p.m",
    // Vietnamese.
    "đồng",
    "nghìn",
    "ngàn",
    "trăm",
    "triệu",
    "tỷ",
    "tỉ",
    "tấn",
    "tạ",
    "lít",
    "mét",
    "ki-lô-mét",
    "giây",
    "phút",
    "giờ",
    "ngày",
    "tuần",
    "tháng",
    "năm",
    "tuổi",
    "người",
    "phần",
    "lần",
    "độ",
    "đô",
    "con",
    "cái",
    "chiếc",
    "bài",
    "tập",
    // English.
    "hundred",
    "thousand",
    "million",
    "billion",
    "percent",
    "dollars",
    "dollar",
    "euros",
    "pounds",
    "seconds",
    "second",
    "minutes",
    "minute",
    "hours",
    "hour",
    "days",
    "day",
    "weeks",
    "week",
    "months",
    "month",
    "years",
    "year",
    "times",
    "people",
    "miles",
    "feet",
    "inches",
    "metres",
    "meters",
    "kilometres",
    "kilometers",
    "degrees",
];

/// What stands before the number that names it, in lower case.
const NUMBERED: &[&str] = &[
    "ngày", "tháng", "năm", "quý", "chương", "phần", "tập", "bài", "số", "thứ", "lớp", "quận",
    "điều", "trang", "thế", "kỷ", "chapter", "part", "page", "section", "episode", "season",
    "number", "no.", "room", "figure", "table",
];

/// A month stands on either side of its day.
const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Whether the two words are read as one. Punctuation after the first is the end
/// of that; the caller has looked.
pub(super) fn belong_together(before: &str, after: &str) -> bool {
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let bare = |word: &str| {
        word.trim_matches(|c: char| !c.is_alphanumeric() && !"%°²".contains(c))
            .to_lowercase()
    };
    let is_in = |list: &[&str], word: &str| list.contains(&word) || MONTHS.contains(&word);
    let counted = before.ends_with(|c: char| c.is_ascii_digit())
        && is_number(before)
        && is_in(UNITS, &bare(after));
    let numbered = is_number(after) && is_in(NUMBERED, &before.to_lowercase());
    counted || numbered || (is_name(before) && is_name(after))
}

/// Written with a capital and not with capitals alone, but for initials.
fn is_name(word: &str) -> bool {
    let mut letters = word.chars().filter(|c| c.is_alphanumeric());
    let capital = letters.next().is_some_and(char::is_uppercase);
    capital && !letters.any(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::belong_together;

    #[test]
    fn a_number_stays_with_its_unit_and_with_what_it_names() {
        for (before, after) in [
            ("20", "km."),
            ("1.500", "đồng"),
            ("3", "triệu,"),
            ("30", "%"),
            ("Năm", "2024"),
            ("chương", "5"),
            ("Chapter", "7:"),
            ("15", "April"),
        ] {
            assert!(belong_together(before, after), "{before} {after}");
        }
        for (before, after) in [("2024", "tôi"), ("các", "20"), ("km", "20"), ("một", "km")] {
            assert!(!belong_together(before, after), "{before} {after}");
        }
    }

    #[test]
    fn the_parts_of_a_name_stay_together() {
        for (before, after) in [("Nguyễn", "Văn"), ("Văn", "A"), ("John", "Smith's")] {
            assert!(belong_together(before, after), "{before} {after}");
        }
        for (before, after) in [("ông", "Nguyễn"), ("Anh", "đi"), ("HELLO", "WORLD")] {
            assert!(!belong_together(before, after), "{before} {after}");
        }
    }
}
