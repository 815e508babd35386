//! How English is read aloud. Dates with slashes are taken as month, day, year,
//! as in the United States, unless only the other order is possible.

use std::sync::LazyLock;

use regex_lite::Captures;

use super::rules::{self, ADDRESSES, Rule, Said, bare_address, group, roman, whole};

const NUMBER: &str = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?";
const MONTHS: &str = "January|February|March|April|May|June|July|August|September|October|November|December|Jan\\.?|Feb\\.?|Mar\\.?|Apr\\.?|Jun\\.?|Jul\\.?|Aug\\.?|Sept?\\.?|Oct\\.?|Nov\\.?|Dec\\.?";

/// The rules, those first that others must not break into.
pub(super) fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(make);
    &RULES
}

fn make() -> Vec<Rule> {
    let fill = |pattern: &str| {
        let pattern = pattern.replace("NUM", NUMBER).replace("MONTH", MONTHS);
        pattern.replace('~', "[ \u{a0}]")
    };
    let rule =
        |pattern: &str, read: fn(&Captures<'_>) -> Option<Said>| Rule::new(&fill(pattern), read);
    vec![
        rule(ADDRESSES[0], |m| whole(address(group(m, 0)))),
        rule(ADDRESSES[1], |m| whole(address(group(m, 0)))),
        rule(
            r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.(?:com|net|org|io|edu|gov)(?:/[A-Za-z0-9/_.-]*[A-Za-z0-9/])?",
            |m| whole(address(group(m, 0))),
        ),
        // Telephones of ten digits.
        rule(
            r"(?:\+?1(?:~|[.-]))?(?:\(\d{3}\)~?|\d{3}[.-])\d{3}(?:~|[.-])\d{4}",
            |m| whole(digits(group(m, 0))),
        ),
        rule(r"ZIP(?:~code)?~(\d{5})", |m| {
            Some(vec![(1, digits(group(m, 1)))])
        }),
        rule(r"911", |_| whole("nine one one")),
        rule(r"9/11", |_| whole("nine eleven")),
        rule(r"50/50", |_| whole("fifty-fifty")),
        rule(r"(720|1080|1440|2160)p", |m| {
            let (head, tail) = group(m, 1).split_at(group(m, 1).len() - 2);
            whole(format!("{} {} p", number_of(head)?, number_of(tail)?))
        }),
        rule(r"([248])K", |m| {
            whole(format!("{} K", number_of(group(m, 1))?))
        }),
        rule(r#"(\d)'~?(\d{1,2})(?:"|″)"#, |m| {
            Some(vec![
                (1, format!("{} foot", number_of(group(m, 1))?)),
                (2, number_of(group(m, 2))?),
            ])
        }),
        // Dates.
        rule(r"(\d{4})-(\d{2})-(\d{2})", |m| {
            whole(date(group(m, 2), group(m, 3), Some(group(m, 1)))?)
        }),
        rule(r"(\d{1,2})/(\d{1,2})/(\d{4})", |m| {
            let (first, second, year) = (group(m, 1), group(m, 2), Some(group(m, 3)));
            whole(date(first, second, year).or_else(|| date(second, first, year))?)
        }),
        rule(r"(MONTH)~(\d{1,2})(?:st|nd|rd|th)?,?~(\d{4})", |m| {
            Some(vec![
                (1, month_name(group(m, 1))?.to_owned()),
                (2, day(group(m, 2))?),
                (3, year(group(m, 3))?),
            ])
        }),
        rule(r"(MONTH)~(\d{1,2})(?:st|nd|rd|th)?", |m| {
            Some(vec![
                (1, month_name(group(m, 1))?.to_owned()),
                (2, day(group(m, 2))?),
            ])
        }),
        rule(r"(\d{1,2})(?:st|nd|rd|th)?~(MONTH)(?:,?~(\d{4}))?", |m| {
            let mut said = vec![
                (1, format!("the {} of", day(group(m, 1))?)),
                (2, month_name(group(m, 2))?.to_owned()),
            ];
            if !group(m, 3).is_empty() {
                said.push((3, year(group(m, 3))?));
            }
            Some(said)
        }),
        rule(r"(MONTH)~(\d{4})", |m| {
            Some(vec![
                (1, month_name(group(m, 1))?.to_owned()),
                (2, year(group(m, 2))?),
            ])
        }),
        rule(
            r"(?:[Ii]n|[Ss]ince|[Bb]y|[Ff]rom|[Uu]ntil|[Oo]f|[Yy]ear|[Tt]o|[Dd]uring|[Aa]round|[Bb]efore|[Aa]fter)~(1[1-9]\d{2}|20\d{2})",
            |m| Some(vec![(1, year(group(m, 1))?)]),
        ),
        rule(r"(1[1-9]\d{2}|20\d{2})[-–](1[1-9]\d{2}|20\d{2})", |m| {
            Some(vec![
                (1, format!("{} to", year(group(m, 1))?)),
                (2, year(group(m, 2))?),
            ])
        }),
        rule(r"(?:the~)?(1[1-9]|20)([1-9]0|00)s", |m| {
            let said = decade(group(m, 1), group(m, 2))?;
            whole(if group(m, 0).starts_with("the") {
                format!("the {said}")
            } else {
                said
            })
        }),
        rule(r"'?([2-9])0s", |m| {
            let tens: usize = group(m, 1).parse().ok()?;
            whole(DECADES.get(tens).copied()?)
        }),
        // Times.
        rule(
            r"(\d{1,2})(?::(\d{2}))?(?:~?([AaPp])\.?[Mm]\.?)?~?[-–]~?(\d{1,2})(?::(\d{2}))?~?([AaPp])\.?[Mm]\b\.?",
            |m| {
                let from = time(group(m, 1), group(m, 2), group(m, 3))?;
                let until = time(group(m, 4), group(m, 5), group(m, 6))?;
                Some(vec![(1, format!("{from} to")), (4, until)])
            },
        ),
        rule(r"(\d{1,2}):(\d{2})(?:~?([AaPp])\.?[Mm]\b\.?)?", |m| {
            whole(time(group(m, 1), group(m, 2), group(m, 3))?)
        }),
        rule(r"(\d{1,2})~?([AaPp])\.?[Mm]\b\.?", |m| {
            whole(time(group(m, 1), "", group(m, 2))?)
        }),
        // Money.
        rule(
            r"(US\$|[$€£¥])~?(NUM)~(thousand|million|billion|trillion)",
            |m| {
                whole(format!(
                    "{} {} {}",
                    number_of(group(m, 2))?,
                    group(m, 3),
                    currency(group(m, 1))?.1
                ))
            },
        ),
        rule(r"(US\$|[$€£¥])~?(NUM)([kKMB]|bn)", |m| {
            let scale = scale(group(m, 3));
            whole(format!(
                "{} {scale} {}",
                number_of(group(m, 2))?,
                currency(group(m, 1))?.1
            ))
        }),
        rule(
            r"(US\$|[$€£¥])~?(NUM)[-–](?:US\$|[$€£¥])?(NUM)",
            |m| {
                Some(vec![
                    (0, format!("{} to", number_of(group(m, 2))?)),
                    (
                        3,
                        format!("{} {}", number_of(group(m, 3))?, currency(group(m, 1))?.1),
                    ),
                ])
            },
        ),
        rule(r"(US\$|[$€£¥])~?(NUM)", |m| {
            whole(money(group(m, 1), group(m, 2))?)
        }),
        // Measures and per cent.
        rule(
            r"(NUM)~?[-–]~?(NUM)(%|~?(?:km/h|mph|km|kg|mg|ml|mm|mi|m|g|cm|ft|lbs?|oz|GB|MB|TB|°C|°F))",
            |m| {
                let unit = measure(group(m, 3).trim_start(), false)?;
                Some(vec![
                    (1, format!("{} to", number_of(group(m, 1))?)),
                    (2, format!("{} {unit}", number_of(group(m, 2))?)),
                ])
            },
        ),
        rule(
            r"([-−])?(NUM)~?(%|km/h|mph|km²|km|kg|mg|ml|m²|cm|mm|ft|lbs|lb|oz|mi|GHz|MHz|Hz|kWh|kW|MW|GB|MB|KB|TB|Mbps|Gbps|fps|px|°C|°F|°|g|m|W|V|L)",
            |m| {
                let unit = measure(group(m, 3), group(m, 2) == "1")?;
                let sign = if group(m, 1).is_empty() { "" } else { "minus " };
                whole(format!("{sign}{} {unit}", number_of(group(m, 2))?))
            },
        ),
        rule(r"(NUM)([kKMB])", |m| {
            let scale = scale(group(m, 2));
            whole(format!("{} {scale}", number_of(group(m, 1))?))
        }),
        rule(r"(NUM)x", |m| {
            whole(format!("{} times", number_of(group(m, 1))?))
        }),
        rule(r"(NUM)¢", |m| {
            whole(format!("{} cents", number_of(group(m, 1))?))
        }),
        rule(
            r"/(gallon|hour|day|week|month|year|mile|kg|lb|person|night|unit|minute|second|share|barrel|ounce|pound)",
            |m| {
                whole(format!(
                    "per {}",
                    measure(group(m, 1), true).unwrap_or(group(m, 1).to_owned())
                ))
            },
        ),
        // Ordinals and Roman numerals.
        rule(r"(\d+)(?:st|nd|rd|th)", |m| whole(ordinal(group(m, 1))?)),
        rule(
            r"(?:[Cc]hapter|[Pp]art|[Vv]olume|[Bb]ook|[Aa]ct|[Ss]cene|[Ss]ection|World~War|Super~Bowl|[Pp]hase|[Tt]ype|[Ll]evel|[Ee]pisode)~([IVXLC]+)",
            |m| Some(vec![(1, number_of(&roman(group(m, 1))?.to_string())?)]),
        ),
        rule(
            r"(?:Louis|Henry|Elizabeth|Charles|George|Edward|William|James|Richard|Philip|John~Paul|Benedict|Pius|Napoleon)~([IVXLC]+)",
            |m| {
                Some(vec![(
                    1,
                    format!("the {}", ordinal(&roman(group(m, 1))?.to_string())?),
                )])
            },
        ),
        // Titles and other abbreviations.
        rule(
            r"(?:Mr|Mrs|Ms|Dr|Prof|Jr|Sr|vs|etc|approx|Gen|Lt|Col|Capt|Sgt|Rev|Gov|Sen)\.|e\.g\.|i\.e\.",
            abbreviated,
        ),
        rule(r"St\.~([A-Z][a-z]+)", |m| {
            Some(vec![(0, "Saint".to_owned()), (1, group(m, 1).to_owned())])
        }),
        rule(r"No\.~?(\d+)", |m| {
            Some(vec![(0, "number".to_owned()), (1, number_of(group(m, 1))?)])
        }),
        rule(r"w/o", |_| whole("without")),
        // Fractions, ranges, numbers.
        rule(r"(\d+)~([1-9])/([1-9]\d?)", |m| {
            whole(format!(
                "{} and {}",
                number_of(group(m, 1))?,
                fraction(group(m, 2), group(m, 3), true)?
            ))
        }),
        rule(r"([1-9]\d?)/([1-9]\d?)", |m| {
            whole(fraction(group(m, 1), group(m, 2), false)?)
        }),
        rule(r"24/7", |_| whole("twenty-four seven")),
        rule(r"(NUM)[-–](NUM)", range),
        rule(r"(\d{1,3})[-–:](\d{1,3})", |m| {
            Some(vec![
                (1, format!("{} to", number_of(group(m, 1))?)),
                (2, number_of(group(m, 2))?),
            ])
        }),
        rule(r"(?:^|[ (])(\.\d+)", |m| {
            Some(vec![(1, format!("point {}", digits(group(m, 1))))])
        }),
        rule(r"1[1-9]\d{2}|20\d{2}", |m| whole(year(group(m, 0))?)),
        rule(r"#(\d+)", |m| {
            whole(format!("number {}", number_of(group(m, 1))?))
        }),
        rule(r"[-−](NUM)", |m| {
            whole(format!("minus {}", number_of(group(m, 1))?))
        }),
        rule(r"NUM", |m| whole(number_of(group(m, 0))?)),
        rule(r"\+", |_| whole("plus")),
        rule(r"=", |_| whole("equals")),
        rule(r"&", |_| whole("and")),
    ]
}

fn abbreviated(found: &Captures<'_>) -> Option<Said> {
    let text = group(found, 0);
    let said = match text {
        "Mr." => "Mister",
        "Mrs." => "Missus",
        "Ms." => "Miz",
        "Dr." => "Doctor",
        "Prof." => "Professor",
        "Jr." => "Junior",
        "Sr." => "Senior",
        "vs." => "versus",
        "etc." => "et cetera",
        "approx." => "approximately",
        "Gen." => "General",
        "Lt." => "Lieutenant",
        "Col." => "Colonel",
        "Capt." => "Captain",
        "Sgt." => "Sergeant",
        "Rev." => "Reverend",
        "Gov." => "Governor",
        "Sen." => "Senator",
        "e.g." => "for example",
        "i.e." => "that is",
        _ => return None,
    };
    whole(said)
}

fn range(found: &Captures<'_>) -> Option<Said> {
    let value = |number| group(found, number).replace(',', "").parse::<f64>().ok();
    if value(1)? >= value(2)? {
        return None;
    }
    Some(vec![
        (1, format!("{} to", number_of(group(found, 1))?)),
        (2, number_of(group(found, 2))?),
    ])
}

// -------------------------------------------------------------------- dates

const MONTH_NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn month_name(text: &str) -> Option<&'static str> {
    let text = text.trim_end_matches('.');
    let short = text.get(..3)?;
    MONTH_NAMES
        .iter()
        .find(|name| name.starts_with(short))
        .copied()
}

fn date(month: &str, of: &str, in_year: Option<&str>) -> Option<String> {
    let month: usize = month.parse().ok()?;
    let name = MONTH_NAMES.get(month.checked_sub(1)?)?;
    let year = match in_year {
        Some(text) => format!(" {}", year(text)?),
        None => String::new(),
    };
    Some(format!("{name} {}{year}", day(of)?))
}

fn day(text: &str) -> Option<String> {
    let day: u32 = text.parse().ok()?;
    (1..=31)
        .contains(&day)
        .then(|| ordinal(&day.to_string()))
        .flatten()
}

/// As years are read: `nineteen ninety-nine`, `two thousand five`, `twenty
/// twenty-four`.
fn year(text: &str) -> Option<String> {
    let year: u64 = text.parse().ok()?;
    let (century, rest) = (year / 100, year % 100);
    Some(match (century, rest) {
        _ if !(1100..2100).contains(&year) => cardinal(year),
        (20, 0..10) => cardinal(year),
        (_, 0) => format!("{} hundred", cardinal(century)),
        (_, 1..10) => format!("{} oh {}", cardinal(century), cardinal(rest)),
        _ => format!("{} {}", cardinal(century), cardinal(rest)),
    })
}

const DECADES: [&str; 10] = [
    "hundreds",
    "tens",
    "twenties",
    "thirties",
    "forties",
    "fifties",
    "sixties",
    "seventies",
    "eighties",
    "nineties",
];

fn decade(century: &str, tens: &str) -> Option<String> {
    let (century, tens): (u64, usize) = (century.parse().ok()?, tens.parse().ok()?);
    match (century, tens) {
        (20, 0) => Some("two thousands".to_owned()),
        _ => Some(format!("{} {}", cardinal(century), DECADES.get(tens / 10)?)),
    }
}

fn time(hour: &str, minute: &str, half: &str) -> Option<String> {
    let hour: u64 = hour.parse().ok()?;
    let minute: Option<u64> = minute.parse().ok();
    if hour > 24 || minute.is_some_and(|minute| minute > 59) {
        return None;
    }
    let half = match half {
        "" => "",
        "a" | "A" => " a m",
        _ => " p m",
    };
    let hour_said = cardinal(hour);
    Some(match minute {
        Some(0) if half.is_empty() && (1..=12).contains(&hour) => format!("{hour_said} o'clock"),
        Some(0) if half.is_empty() => format!("{hour_said} hundred"),
        Some(0) | None => format!("{hour_said}{half}"),
        Some(minute @ 1..10) => format!("{hour_said} oh {}{half}", cardinal(minute)),
        Some(minute) => format!("{hour_said} {}{half}", cardinal(minute)),
    })
}

// ------------------------------------------------------- money and measures

fn scale(letter: &str) -> &'static str {
    match letter {
        "k" | "K" => "thousand",
        "M" => "million",
        _ => "billion",
    }
}

/// One, and several.
fn currency(sign: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match sign {
        "$" => ("dollar", "dollars", "cent"),
        "US$" => ("U S dollar", "U S dollars", "cent"),
        "€" => ("euro", "euros", "cent"),
        "£" => ("pound", "pounds", "penny"),
        "¥" => ("yen", "yen", "sen"),
        _ => return None,
    })
}

fn money(sign: &str, amount: &str) -> Option<String> {
    let (one, many, small) = currency(sign)?;
    let (whole, cents) = match amount.split_once('.') {
        Some((whole, cents)) if cents.len() == 2 => (whole, cents.parse::<u64>().ok()?),
        Some(_) => return Some(format!("{} {many}", number_of(amount)?)),
        None => (amount, 0),
    };
    let unit = if whole == "1" { one } else { many };
    let small = match (small, cents) {
        ("penny", 1) => "penny",
        ("penny", _) => "pence",
        (_, 1) => "cent",
        _ => "cents",
    };
    Some(match (whole, cents) {
        (_, 0) => format!("{} {unit}", number_of(whole)?),
        ("0", _) => format!("{} {small}", cardinal(cents)),
        _ => format!(
            "{} {unit} and {} {small}",
            number_of(whole)?,
            cardinal(cents)
        ),
    })
}

fn measure(unit: &str, is_one: bool) -> Option<String> {
    let (name, several) = match unit {
        "%" => return Some("percent".to_owned()),
        "km/h" => {
            return Some(format!(
                "kilometer{} per hour",
                if is_one { "" } else { "s" }
            ));
        }
        "mph" => return Some(format!("mile{} per hour", if is_one { "" } else { "s" })),
        "km²" => return Some(format!("square kilometer{}", if is_one { "" } else { "s" })),
        "m²" => return Some(format!("square meter{}", if is_one { "" } else { "s" })),
        "°C" => return Some(format!("degree{} Celsius", if is_one { "" } else { "s" })),
        "°F" => {
            return Some(format!(
                "degree{} Fahrenheit",
                if is_one { "" } else { "s" }
            ));
        }
        "Mbps" => {
            return Some(format!(
                "megabit{} per second",
                if is_one { "" } else { "s" }
            ));
        }
        "Gbps" => {
            return Some(format!(
                "gigabit{} per second",
                if is_one { "" } else { "s" }
            ));
        }
        "fps" => return Some(format!("frame{} per second", if is_one { "" } else { "s" })),
        "ft" => ("foot", "feet"),
        "oz" => ("ounce", "ounces"),
        "lb" | "lbs" => ("pound", "pounds"),
        "mi" => ("mile", "miles"),
        "km" => ("kilometer", "kilometers"),
        "kg" => ("kilogram", "kilograms"),
        "mg" => ("milligram", "milligrams"),
        "g" => ("gram", "grams"),
        "cm" => ("centimeter", "centimeters"),
        "mm" => ("millimeter", "millimeters"),
        "m" => ("meter", "meters"),
        "ml" => ("milliliter", "milliliters"),
        "L" => ("liter", "liters"),
        "GHz" => ("gigahertz", "gigahertz"),
        "MHz" => ("megahertz", "megahertz"),
        "Hz" => ("hertz", "hertz"),
        "kWh" => ("kilowatt hour", "kilowatt hours"),
        "kW" => ("kilowatt", "kilowatts"),
        "MW" => ("megawatt", "megawatts"),
        "W" => ("watt", "watts"),
        "V" => ("volt", "volts"),
        "GB" => ("gigabyte", "gigabytes"),
        "MB" => ("megabyte", "megabytes"),
        "KB" => ("kilobyte", "kilobytes"),
        "TB" => ("terabyte", "terabytes"),
        "px" => ("pixel", "pixels"),
        "°" => ("degree", "degrees"),
        _ => return None,
    };
    Some(if is_one { name } else { several }.to_owned())
}

/// `in_mixed`: after a whole number, where anything is a fraction.
fn fraction(over: &str, under: &str, in_mixed: bool) -> Option<String> {
    let (a, b): (u64, u64) = (over.parse().ok()?, under.parse().ok()?);
    if a >= b || (b > 12 && !in_mixed && b % 10 != 0) {
        return None;
    }
    let one = a == 1;
    Some(match b {
        2 if one && in_mixed => "a half".to_owned(),
        2 => "one half".to_owned(),
        4 if one && in_mixed => "a quarter".to_owned(),
        4 if one => "one quarter".to_owned(),
        4 => format!("{} quarters", cardinal(a)),
        _ => format!(
            "{} {}{}",
            cardinal(a),
            ordinal(under)?,
            if one { "" } else { "s" }
        ),
    })
}

/// A web or mail address: its signs by name, its words as they are.
fn address(text: &str) -> String {
    let mut said = String::new();
    for c in bare_address(text).chars() {
        match c {
            '.' => said += " dot ",
            '/' => said += " slash ",
            '@' => said += " at ",
            '-' => said += " dash ",
            '_' => said += " underscore ",
            ':' => said += " colon ",
            '?' => said += " question mark ",
            '=' => said += " equals ",
            '&' => said += " and ",
            '+' => said += " plus ",
            _ => said.push(c),
        }
    }
    said.replace("www", "w w w")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

// ------------------------------------------------------------------ numbers

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = [
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];

fn digits(text: &str) -> String {
    rules::digits(text, &SMALL, "plus")
}

/// A number as it is written; `None` if it is none.
fn number_of(text: &str) -> Option<String> {
    let plain = text.replace(',', "");
    let (integer, decimals) = plain.split_once('.').unwrap_or((&plain, ""));
    let said = match integer.len() {
        2.. if integer.starts_with('0') => digits(integer),
        16.. => digits(integer),
        _ => cardinal(integer.parse().ok()?),
    };
    Some(match decimals {
        "" => said,
        _ => format!("{said} point {}", digits(decimals)),
    })
}

fn cardinal(value: u64) -> String {
    const SCALES: [(u64, &str); 5] = [
        (1_000_000_000_000, "trillion"),
        (1_000_000_000, "billion"),
        (1_000_000, "million"),
        (1_000, "thousand"),
        (100, "hundred"),
    ];
    if let Some((worth, name)) = SCALES.iter().find(|(worth, _)| value >= *worth) {
        let head = format!("{} {name}", cardinal(value / worth));
        return match value % worth {
            0 => head,
            rest => format!("{head} {}", cardinal(rest)),
        };
    }
    let small = usize::try_from(value).unwrap_or(0);
    match (small / 10, small % 10) {
        _ if small < 20 => SMALL[small].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{}-{}", TENS[tens], SMALL[ones]),
    }
}

fn ordinal(text: &str) -> Option<String> {
    let said = cardinal(text.parse().ok()?);
    let cut = said.rfind([' ', '-']).map_or(0, |at| at + 1);
    let (head, last) = said.split_at(cut);
    let last = match last {
        "one" => "first".to_owned(),
        "two" => "second".to_owned(),
        "three" => "third".to_owned(),
        "five" => "fifth".to_owned(),
        "eight" => "eighth".to_owned(),
        "nine" => "ninth".to_owned(),
        "twelve" => "twelfth".to_owned(),
        last => match last.strip_suffix('y') {
            Some(stem) => format!("{stem}ieth"),
            None => format!("{last}th"),
        },
    };
    Some(format!("{head}{last}"))
}
