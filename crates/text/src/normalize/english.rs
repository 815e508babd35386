//! How English is read aloud. Dates with slashes are taken as month, day, year,
//! as in the United States, unless only the other order is possible.

use std::sync::LazyLock;

use regex_lite::Captures;

use super::rules::{self, ADDRESSES, Rule, Said, bare_address, group, roman, whole};

const NUMBER: &str =
    r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:[ \u{a0}\u{202f}]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?";
/// What may be a month: `month_name` knows. To look for every name at every place
/// takes much longer.
const MONTH: &str = r"[A-Za-z]{3,9}\.?";
const DAYS: &str = "Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun";
const CURRENCY: &str = r"(?:US|AU|CA|HK|NZ|NT|MX|[ACRS])?\$|[€£¥₹₫₩₽]";
const SCALE: &str = "[ -](?:thousand|million|billion|trillion|lakh|crore)|bn|tn|mn|[kKmMbBT]";
/// Words that begin sentences, and seldom names: a full stop before one, as at
/// the end of a text, ends a sentence, even behind an abbreviation.
const STARTS: &str = r"(?:The|This|That|These|Those|There|Then|They|It|It's|We|He|She|I|You|But|And|So|A|An|In|On|At|If|As|For|When|While|After|Before|Now|Today|Our|My|Your|His|Her|Their|Its|What|Why|How|Who|Where|Yes|Not|Nobody|Next|Also|Please)\b";

/// The rules, those first that others must not break into.
pub(super) fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let of_digits = |rules: Vec<Rule>| rules.into_iter().map(Rule::of_digits);
        let mut all = addresses();
        all.extend(dates());
        all.extend(of_digits(times()));
        all.extend(of_digits(prices()));
        all.extend(of_digits(measures()));
        all.extend(names());
        all.extend(numbers());
        all
    });
    &RULES
}

fn rule(pattern: &str, read: fn(&Captures<'_>) -> Option<Said>) -> Rule {
    let mut units: Vec<&str> = UNITS.iter().map(|(sign, _, _)| *sign).collect();
    // The longest first: what is behind a shorter one is not looked at again.
    units.sort_by_key(|sign| std::cmp::Reverse(sign.len()));
    let filled = pattern
        .replace("NUM", NUMBER)
        .replace("MONTH", MONTH)
        .replace("DAY", DAYS)
        .replace("CUR", CURRENCY)
        .replace("SCALE", SCALE)
        .replace("STARTS", STARTS)
        .replace("END", r#"["'”’)]*$"#)
        .replace("UNIT", &units.join("|").replace(' ', r"\.?~"))
        .replace("ORD", "(?:st|nd|rd|th)")
        .replace("AMPM", r"([AaPp])(?:\.~?)?[Mm]\b")
        .replace('~', "[ \u{a0}]");
    Rule::new(&filled, read)
}

/// What these groups, if they have a part in the match, are read as; a group
/// that is read as nothing stays as it is.
fn parts(found: &Captures<'_>, said: Vec<(usize, String)>) -> Option<Said> {
    let is_there = |(number, _): &(usize, String)| found.get(*number).is_some();
    Some(said.into_iter().filter(is_there).collect())
}

fn addresses() -> Vec<Rule> {
    vec![
        rule(ADDRESSES[0], |m| whole(address(group(m, 0)))),
        rule(ADDRESSES[1], |m| whole(address(group(m, 0)))),
        rule(
            r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.(?:com|net|org|io|edu|gov|ai|app|dev|info|tv|co|uk|eu|de|fr|be|vn)(?:/[A-Za-z0-9/_.-]*[A-Za-z0-9/])?",
            |m| whole(address(group(m, 0))),
        ),
        // Files, and people of social networks.
        rule(
            r"[A-Za-z0-9_-]+\.(?:jpe?g|png|gif|svg|pdf|txt|csv|json|docx?|xlsx?|pptx?|zip|mp[34]|wav|exe)",
            |m| whole(address(group(m, 0))),
        ),
        rule(r"@[A-Za-z0-9_]+", |m| whole(address(group(m, 0)))),
        rule(r"#([A-Za-z]\w*)", |m| {
            whole(format!("hashtag {}", group(m, 1)))
        }),
        // The numbers of a network.
        rule(r"(\d{1,3}(?:\.\d{1,3}){3})(?::(\d+))?", |m| {
            let numbers: Option<Vec<_>> = group(m, 1).split('.').map(number_of).collect();
            let said = numbers?.join(" dot ");
            whole(match group(m, 2) {
                "" => said,
                port => format!("{said} colon {}", number_of(port)?),
            })
        }),
        // Telephones of ten digits, of seven, and of other countries.
        rule(
            r"(?:\+?1(?:~|[.-]))?(?:\(\d{3}\)~?|\d{3}[ .-])\d{3}(?:~|[.-])\d{4}",
            |m| whole(digits(group(m, 0))),
        ),
        rule(
            r"\+\d{1,3}(?:[ .-](?:\(\d{1,4}\)[ .-]?)?\d{1,4}){2,5}|\+\d{9,14}",
            |m| whole(digits(group(m, 0))),
        ),
        rule(r"0\d{2,4}~\d{3,4}~\d{3,4}", |m| whole(digits(group(m, 0)))),
        rule(r"\d{3}-\d{2}-\d{4}|\d+(?:-\d+){3,}", |m| {
            whole(digits(group(m, 0)))
        }),
        rule(r"(\d{3})-(\d{4})", |m| {
            // Round numbers are rather a range.
            let is_round = group(m, 1).ends_with('0') || group(m, 2).ends_with("00");
            (!is_round).then(|| digits(group(m, 0))).and_then(whole)
        }),
        rule(r"(1-8\d\d-)([A-Z]{3,})", |m| {
            Some(vec![(1, digits(group(m, 1))), (2, group(m, 2).to_owned())])
        }),
        // Numbers that count nothing.
        rule(
            r"(?:ZIP(?:~code)?|A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])~(\d{5})",
            |m| Some(vec![(1, digits(group(m, 1)))]),
        ),
        rule(
            r"(?:PIN|[Cc]ode|[Ee]nding~in|ID|SSN)(?:~is|:)?~(\d{4,})",
            |m| Some(vec![(1, digits(group(m, 1)))]),
        ),
        rule(
            r"(?:Apt\.?|Apartment|[Ff]lat|[Uu]nit|[Rr]oom|[Ss]uite|[Gg]ate|[Ss]eat|[Ee]xit|[Pp]latform|[Tt]erminal)~(\d+)([A-Z])",
            |m| {
                Some(vec![(
                    1,
                    format!("{} {}", number_of(group(m, 1))?, group(m, 2)),
                )])
            },
        ),
        rule(r"(\d+)~([NSEW])\.(~)", |m| {
            let side = compass(group(m, 2))?.to_owned();
            Some(vec![
                (1, number_of(group(m, 1))?),
                (2, side),
                (3, String::new()),
            ])
        }),
        // `221B Baker Street`, not 221 billion.
        rule(r"(\d+)([A-D])(~[A-Z][a-z])", |m| {
            Some(vec![
                (1, format!("{} {}", number_of(group(m, 1))?, group(m, 2))),
                (3, String::new()),
            ])
        }),
        rule(r"911", |_| whole("nine one one")),
        rule(r"9/11", |_| whole("nine eleven")),
        rule(r"([25])0/([25])0", |m| match group(m, 0) {
            "50/50" => whole("fifty-fifty"),
            "20/20" => whole("twenty twenty"),
            _ => None,
        }),
        rule(r"24/7", |_| whole("twenty-four seven")),
        rule(r"401\(k\)", |_| whole("four oh one K")),
        rule(r"501\(c\)\(3\)", |_| whole("five oh one C three")),
        rule(r"(240|360|480|720|1080|1440|2160)p", |m| {
            let (head, tail) = group(m, 1).split_at(group(m, 1).len() - 2);
            whole(format!("{} {} p", number_of(head)?, number_of(tail)?))
        }),
        rule(r"([248])K", |m| {
            whole(format!("{} K", number_of(group(m, 1))?))
        }),
        rule(r"(\d+)[kK](~)(?:run|race)", |m| {
            let said = format!("{} K", number_of(group(m, 1))?);
            Some(vec![(1, said), (2, String::new())])
        }),
        rule(r"Q([1-4])[-–]Q([1-4])", |m| {
            Some(vec![
                (0, format!("Q {} to", number_of(group(m, 1))?)),
                (2, format!("Q {}", number_of(group(m, 2))?)),
            ])
        }),
        rule(r"S(\d{1,2})E(\d{1,2})", |m| {
            Some(vec![
                (0, format!("season {}", cardinal(group(m, 1).parse().ok()?))),
                (
                    2,
                    format!("episode {}", cardinal(group(m, 2).parse().ok()?)),
                ),
            ])
        }),
    ]
}

fn dates() -> Vec<Rule> {
    vec![
        rule(r"(\d{4})([-/])(\d{1,2})([-/])(\d{1,2})", |m| {
            let is_one_form = group(m, 2) == group(m, 4);
            let said = date(group(m, 3), group(m, 5), Some(group(m, 1)))?;
            is_one_form.then_some(said).and_then(whole)
        }),
        rule(
            r"(\d{4}-\d{2}-\d{2})T(\d{2}):(\d{2})(?::\d{2}(?:\.\d+)?)?(Z)?",
            |m| {
                let (in_year, rest) = group(m, 1).split_once('-')?;
                let (month, day) = rest.split_once('-')?;
                let zone = if group(m, 4).is_empty() { "" } else { " UTC" };
                let time = time(group(m, 2), group(m, 3), "")?;
                Some(vec![
                    (1, date(month, day, Some(in_year))?),
                    (2, format!("{time}{zone}")),
                ])
            },
        ),
        rule(r"(\d{1,2})([/-])(\d{1,2})([/-])(\d{4}|\d{2})", |m| {
            let (first, second, year) = (group(m, 1), group(m, 3), full_year(group(m, 5))?);
            // `10-3-1` and the like are no dates.
            if group(m, 2) != group(m, 4) || (group(m, 2) == "-" && group(m, 5).len() == 2) {
                return None;
            }
            let said = date(first, second, Some(&year));
            whole(said.or_else(|| date(second, first, Some(&year)))?)
        }),
        // With dots the day comes first.
        rule(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", |m| {
            whole(date(group(m, 2), group(m, 1), Some(group(m, 3)))?)
        }),
        rule(
            r"(?:[Oo]n|[Uu]ntil|[Tt]ill|[Dd]ue|[Ss]ince|(?:DAY)\.?,?)~(\d{1,2})/(\d{1,2})(~of)?",
            |m| {
                let said = date(group(m, 1), group(m, 2), None)?;
                group(m, 3).is_empty().then(|| vec![(1, said)])
            },
        ),
        rule(
            r"(MONTH)~(\d{1,2})ORD?~?[-–]~?(MONTH)~(\d{1,2})ORD?(?:,?~(\d{4}))?",
            |m| {
                parts(
                    m,
                    vec![
                        (1, month_name(group(m, 1))?.to_owned()),
                        (2, format!("{} to", day(group(m, 2))?)),
                        (3, month_name(group(m, 3))?.to_owned()),
                        (4, day(group(m, 4))?),
                        (5, year(group(m, 5)).unwrap_or_default()),
                    ],
                )
            },
        ),
        rule(
            r"(MONTH)~(\d{1,2})ORD?~?[-–]~?(\d{1,2})ORD?(?:,?~(\d{4}))?",
            |m| {
                parts(
                    m,
                    vec![
                        (1, month_name(group(m, 1))?.to_owned()),
                        (2, format!("{} to", day(group(m, 2))?)),
                        (3, day(group(m, 3))?),
                        (4, year(group(m, 4)).unwrap_or_default()),
                    ],
                )
            },
        ),
        rule(r"(MONTH)~(\d{1,2})ORD?(?:,?~(\d{4}))?", |m| {
            parts(
                m,
                vec![
                    (1, month_name(group(m, 1))?.to_owned()),
                    (2, day(group(m, 2))?),
                    (3, year(group(m, 3)).unwrap_or_default()),
                ],
            )
        }),
        rule(
            r"(?:[Oo]n|[Bb]y|[Ss]ince|[Uu]ntil|[Ff]rom)~(may|march)~(\d{1,2})ORD?",
            |m| {
                let name = if group(m, 1) == "may" { "May" } else { "March" };
                Some(vec![(1, name.to_owned()), (2, day(group(m, 2))?)])
            },
        ),
        rule(
            r"(?:the~)?(\d{1,2})ORD?[-–](\d{1,2})ORD?~(MONTH)(?:,?~(\d{4}))?",
            |m| {
                parts(
                    m,
                    vec![
                        (0, format!("the {} to", day(group(m, 1))?)),
                        (2, format!("the {} of", day(group(m, 2))?)),
                        (3, month_name(group(m, 3))?.to_owned()),
                        (4, year(group(m, 4)).unwrap_or_default()),
                    ],
                )
            },
        ),
        rule(r"(?:the~)?(\d{1,2})ORD?~(MONTH)(?:,?~(\d{4}))?", |m| {
            parts(
                m,
                vec![
                    (0, format!("the {} of", day(group(m, 1))?)),
                    (2, month_name(group(m, 2))?.to_owned()),
                    (3, year(group(m, 3)).unwrap_or_default()),
                ],
            )
        }),
        rule(r"(MONTH)[-–](MONTH)(~\d{4})?", |m| {
            let until = match group(m, 3).trim() {
                "" => month_name(group(m, 2))?.to_owned(),
                of => format!("{} {}", month_name(group(m, 2))?, year(of)?),
            };
            Some(vec![
                (1, format!("{} to", month_name(group(m, 1))?)),
                (2, until),
            ])
        }),
        rule(r"(MONTH)~(\d{4})", |m| {
            Some(vec![
                (1, month_name(group(m, 1))?.to_owned()),
                (2, year(group(m, 2))?),
            ])
        }),
        rule(
            r"(Jan|Feb|Apr|Aug|Sept?|Oct|Nov|Dec)(\.)(~STARTS|END)?",
            |m| ending(m, 1, 2, month_name(group(m, 1))?),
        ),
        // Days of the week; `sat` and `sun` are words too.
        rule(r"(DAY)\.?[-–](DAY)\.?", |m| {
            Some(vec![
                (1, format!("{} to", day_name(group(m, 1))?)),
                (2, day_name(group(m, 2))?.to_owned()),
            ])
        }),
        rule(r"(Mon|Tues?|Wed|Thu(?:rs?)?|Fri)(\.)(~STARTS|END)?", |m| {
            ending(m, 1, 2, day_name(group(m, 1))?)
        }),
        rule(r"(DAY)\.?(,?~(MONTH|\d))", |m| {
            let next = group(m, 3);
            let is_date = next.starts_with(|c: char| c.is_ascii_digit());
            let said = vec![(1, day_name(group(m, 1))?.to_owned()), (2, String::new())];
            (is_date || month_name(next).is_some()).then_some(said)
        }),
        // Years.
        rule(
            r"(?:[Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Yy]ear|[Dd]uring|AD)~(1\d{3}|20\d{2})",
            |m| Some(vec![(1, year(group(m, 1))?)]),
        ),
        rule(r"(1\d{3}|20\d{2})(~(?:AD|CE))", |m| {
            Some(vec![(1, year(group(m, 1))?), (2, String::new())])
        }),
        rule(r"(?:ca?\.)~(\d{3,4})", |m| {
            Some(vec![(0, "circa".to_owned()), (1, year(group(m, 1))?)])
        }),
        rule(
            r"(1[1-9]\d{2}|20\d{2})~?[-–]~?(1[1-9]\d{2}|20\d{2})",
            |m| {
                Some(vec![
                    (1, format!("{} to", year(group(m, 1))?)),
                    (2, year(group(m, 2))?),
                ])
            },
        ),
        rule(r"(1[1-9]|20)(\d{2})[-–/](\d{2})", |m| {
            // `1914-18` is a range of years; `2024-10` is none.
            let until: u64 = group(m, 3).parse().ok()?;
            let is_later = group(m, 2).parse::<u64>().ok()? < until;
            let from = year(&format!("{}{}", group(m, 1), group(m, 2)))?;
            is_later.then(|| vec![(1, format!("{from} to")), (3, cardinal(until))])
        }),
        rule(r"(1[1-9]\d{2}|20\d{2})~?[-–]~?(present|now|today)", |m| {
            Some(vec![
                (1, format!("{} to", year(group(m, 1))?)),
                (2, group(m, 2).to_owned()),
            ])
        }),
        rule(r"(1[1-9]|20)(\d)0s[-–]['’]?(\d)0s", |m| {
            Some(vec![
                (
                    0,
                    format!("{} to", decade(group(m, 1), &format!("{}0", group(m, 2)))?),
                ),
                (
                    3,
                    DECADES.get(group(m, 3).parse::<usize>().ok()?)?.to_string(),
                ),
            ])
        }),
        rule(r"(?:the~)?(1[1-9]|20)([1-9]0|00)['’]?s", |m| {
            let said = decade(group(m, 1), group(m, 2))?;
            whole(if group(m, 0).starts_with("the") {
                format!("the {said}")
            } else {
                said
            })
        }),
        rule(r"['’‘]?([2-9])0['’]?s", |m| {
            let tens: usize = group(m, 1).parse().ok()?;
            whole(DECADES.get(tens).copied()?)
        }),
        rule(r"(?:^|[\s(])(['’](0?)([1-9]\d?))", |m| {
            let said = number_of(group(m, 3))?;
            let (oh, is_year) = match (group(m, 2), group(m, 3).len()) {
                ("", 2) => ("", true),
                ("0", 1) => ("oh ", true),
                _ => ("", false),
            };
            is_year.then(|| vec![(1, format!("{oh}{said}"))])
        }),
    ]
}

fn times() -> Vec<Rule> {
    vec![
        rule(r"(\d{1,2}):(\d{2}):(\d{2})(?:~?AMPM)?", |m| {
            let (hours, minutes) = (group(m, 1), group(m, 2));
            if hours.parse::<u64>().ok()? > 24 {
                return None;
            }
            let mut said = Vec::new();
            for (value, unit) in [
                (hours, "hour"),
                (minutes, "minute"),
                (group(m, 3), "second"),
            ] {
                let value: u64 = value.parse().ok().filter(|value| *value < 60)?;
                let several = if value == 1 { "" } else { "s" };
                if value > 0 {
                    said.push(format!("{} {unit}{several}", cardinal(value)));
                }
            }
            let half = half(group(m, 4));
            let last = said.pop()?;
            whole(match said.is_empty() {
                true => format!("{last}{half}"),
                false => format!("{} and {last}{half}", said.join(" ")),
            })
        }),
        rule(
            r"(\d{1,2})(?::(\d{2}))?(?:~?AMPM\.?)?~?[-–]~?(\d{1,2})(?::(\d{2}))?~?AMPM(\.)?(~STARTS|END)?",
            |m| {
                let from = time(group(m, 1), group(m, 2), group(m, 3))?;
                // In `7:00-9:00 pm` the half is of both.
                let from = from.trim_end_matches(" o'clock");
                let until = time(group(m, 4), group(m, 5), group(m, 6))?;
                let mut said = vec![(1, format!("{from} to"))];
                said.extend(ending(m, 4, 7, &until)?);
                Some(said)
            },
        ),
        rule(r"(\d{1,2}):(\d{2})~?[-–]~?(\d{1,2}):(\d{2})", |m| {
            let from = time(group(m, 1), group(m, 2), "")?;
            let until = time(group(m, 3), group(m, 4), "")?;
            Some(vec![(1, format!("{from} to")), (3, until)])
        }),
        rule(
            r"(\d{1,2})(?::(\d{2}))?~?AMPM\.?~?[-–]~?(noon|midnight)",
            |m| {
                let from = time(group(m, 1), group(m, 2), group(m, 3))?;
                Some(vec![(1, format!("{from} to")), (4, group(m, 4).to_owned())])
            },
        ),
        rule(r"(noon|midnight)~?[-–]~?(\d)", |m| {
            Some(vec![(1, format!("{} to", group(m, 1))), (2, String::new())])
        }),
        // With a point too, as in Britain, but only before a half.
        rule(r"(\d{1,2})[:.](\d{2})~?AMPM(\.)?(~STARTS|END)?", |m| {
            let said = time(group(m, 1), group(m, 2), group(m, 3))?;
            ending(m, 1, 4, &said)
        }),
        rule(r"(0\d)00~(?:hours|hrs)", |m| {
            whole(format!("{} hundred hours", number_of(group(m, 1))?))
        }),
        rule(r"(\d{1,2}):(\d{2})", |m| {
            whole(time(group(m, 1), group(m, 2), "")?)
        }),
        rule(r"(\d{1,2})~?AMPM(\.)?(~STARTS|END)?", |m| {
            let said = time(group(m, 1), "", group(m, 2))?;
            ending(m, 1, 3, &said)
        }),
    ]
}

fn prices() -> Vec<Rule> {
    vec![
        // As on the Continent: `2,50` and `1.000,50`.
        rule(r"(CUR)~?((?:\d{1,3}(?:\.\d{3})+|\d+),\d{2})", |m| {
            let amount = group(m, 2).replace('.', "").replace(',', ".");
            whole(money(group(m, 1), &amount, "", false)?)
        }),
        rule(
            r"([₫€]~?)?(\d{1,3}(?:[.,]\d{3})+)~?(₫|đ|VND|€)?",
            |m| {
                let sign = match format!("{}{}", group(m, 1), group(m, 3)).trim() {
                    "" => return None,
                    "€" => "€",
                    _ => "₫",
                };
                whole(money(
                    sign,
                    &group(m, 2).replace(['.', ','], ""),
                    "",
                    false,
                )?)
            },
        ),
        rule(
            r"(CUR)~?(NUM)(SCALE)?~?[-–]~?(?:CUR)?(NUM)(SCALE)?",
            |m| {
                let (low, high) = (scale(group(m, 3)), scale(group(m, 5)));
                Some(vec![
                    (0, joined(&[&number_of(group(m, 2))?, low, "to"])),
                    (
                        4,
                        joined(&[&number_of(group(m, 4))?, high, currency(group(m, 1))?.1]),
                    ),
                ])
            },
        ),
        // `a $20 bill`, but `a price of $20`.
        rule(r"[Aa]n?~((CUR)(NUM)(SCALE)?)", |m| {
            Some(vec![(
                1,
                money(group(m, 2), group(m, 3), group(m, 4), true)?,
            )])
        }),
        rule(r"([-−])?(CUR)([-−])?~?(NUM|\.\d{2})(SCALE)?", |m| {
            let is_less = !group(m, 1).is_empty() || !group(m, 3).is_empty();
            let said = money(group(m, 2), group(m, 4), group(m, 5), false)?;
            whole(if is_less {
                format!("minus {said}")
            } else {
                said
            })
        }),
        rule(r"(NUM)(SCALE)?~?([€£¥₹₩₽]|[A-Z]{3})", |m| {
            whole(money(group(m, 3), group(m, 1), group(m, 2), false)?)
        }),
        rule(r"([A-Z]{3})~(NUM)(SCALE)?", |m| {
            whole(money(group(m, 1), group(m, 2), group(m, 3), false)?)
        }),
        rule(r"(NUM)¢", |m| {
            whole(format!("{} cents", number_of(group(m, 1))?))
        }),
    ]
}

fn measures() -> Vec<Rule> {
    vec![
        // Feet and inches.
        rule(r#"(\d{1,2})['′’]~?(\d{1,2})(?:"|″|”|'')?"#, |m| {
            Some(vec![
                (1, format!("{} foot", number_of(group(m, 1))?)),
                (2, number_of(group(m, 2))?),
            ])
        }),
        rule(r"(NUM)['′’]~?[x×]~?(NUM)['′’]", |m| {
            Some(vec![
                (1, format!("{} by", number_of(group(m, 1))?)),
                (2, format!("{} feet", number_of(group(m, 2))?)),
            ])
        }),
        rule(r#"([Aa]n?~)?(NUM)(["″”])(~[a-z])?"#, |m| {
            // A quotation mark closes more often than it measures.
            let is_measure =
                group(m, 3) == "″" || !(group(m, 1).is_empty() || group(m, 4).is_empty());
            let unit = if group(m, 1).is_empty() {
                "inches"
            } else {
                "inch"
            };
            let said = format!("{} {unit}", number_of(group(m, 2))?);
            parts(m, vec![(2, said), (4, String::new())]).filter(|_| is_measure)
        }),
        rule(r"(\d+)~?ft\.?~(\d{1,2})~?in\b\.?", |m| {
            Some(vec![
                (1, format!("{} feet", number_of(group(m, 1))?)),
                (2, format!("{} inches", number_of(group(m, 2))?)),
            ])
        }),
        rule(r"(NUM)~in(\.)(~STARTS|END)?", |m| {
            ending(m, 1, 2, &format!("{} inches", number_of(group(m, 1))?))
        }),
        rule(r"(\d+)~?h~?(\d+)~?m(?:in)?", |m| {
            let unit = |number, unit| measure(unit, group(m, number) == "1");
            Some(vec![
                (1, format!("{} {}", number_of(group(m, 1))?, unit(1, "h")?)),
                (
                    2,
                    format!("{} {}", number_of(group(m, 2))?, unit(2, "min")?),
                ),
            ])
        }),
        rule(r"(NUM)°~?([NSEW])", |m| {
            let side = compass(group(m, 2))?.to_lowercase();
            whole(format!("{} degrees {side}", number_of(group(m, 1))?))
        }),
        rule(
            r"(\d+~?)?(?:[½⅓⅔¼¾⅛⅜⅝⅞]|[1-9]/\d{1,2})~(UNIT|in\.)",
            |m| {
                let is_part = group(m, 1).is_empty();
                let name = match group(m, 2) {
                    "in." if is_part => "inch".to_owned(),
                    "in." => "inches".to_owned(),
                    unit => measure(unit, is_part)?,
                };
                Some(vec![(2, name)])
            },
        ),
        // Measures and per cent.
        rule(r"(NUM)(?:~?(UNIT))?~?[-–]~?(NUM)([ -])?(UNIT)", |m| {
            let first = group(m, 2);
            // `20°-25°C`, but not `5 km - 3 h`.
            if !["", "°", group(m, 5)].contains(&first) {
                return None;
            }
            let unit = measure(group(m, 5), group(m, 4) == "-")?;
            Some(vec![
                (1, format!("{} to", number_of(group(m, 1))?)),
                (3, format!("{} {unit}", number_of(group(m, 3))?)),
            ])
        }),
        rule(r"(?:^|[ (])(\.\d+)~?(UNIT)", |m| {
            let unit = measure(group(m, 2), false)?;
            Some(vec![(1, format!("point {} {unit}", digits(group(m, 1))))])
        }),
        rule(r"(NUM)~?[x×]~?(NUM)~?(UNIT)", |m| {
            let unit = measure(group(m, 3), false)?;
            Some(vec![
                (1, format!("{} by", number_of(group(m, 1))?)),
                (2, format!("{} {unit}", number_of(group(m, 2))?)),
            ])
        }),
        // `a 5 km run` and `the 5-km run` have one kilometer.
        rule(
            r"([Aa]n?~)?(([-−])?(NUM)([ -])?(UNIT)(?:\.(~[a-z0-9(]|[,;:)]))?)",
            |m| {
                let is_one = !group(m, 1).is_empty() || group(m, 4) == "1" || group(m, 5) == "-";
                let unit = measure(group(m, 6), is_one)?;
                let sign = if group(m, 3).is_empty() { "" } else { "minus " };
                let said = format!("{sign}{} {unit}", number_of(group(m, 4))?);
                parts(m, vec![(2, said), (7, String::new())])
            },
        ),
        rule(
            r"(?:NUM)(?:~?(?:million|billion|[A-Za-z%¢]{1,4}))?(/(gallon|gal|hour|hr|day|week|wk|month|mo|year|yr|mile|mi|kg|lb|oz|person|night|unit|minute|min|second|sec|share|barrel|bbl|ounce|pound|foot|ft|meter|m|user|seat))",
            |m| {
                let unit = match group(m, 2) {
                    "mo" => "month",
                    "wk" => "week",
                    "bbl" => "barrel",
                    unit => unit,
                };
                let name = measure(unit, true).unwrap_or(unit.to_owned());
                Some(vec![(1, format!("per {name}"))])
            },
        ),
        rule(r"(NUM)(~?[-−–x×*÷]~?|~/~)(NUM)(~?=)", |m| {
            let sign = match group(m, 2).trim() {
                "x" | "×" | "*" => "times",
                "/" | "÷" => "divided by",
                _ => "minus",
            };
            Some(vec![
                (1, format!("{} {sign}", number_of(group(m, 1))?)),
                (3, number_of(group(m, 3))?),
                (4, String::new()),
            ])
        }),
        rule(r"\d+~?(?:ft|in|m|cm|mm|km)~([x×])~(\d)", |_| {
            Some(vec![(1, "by".to_owned()), (2, String::new())])
        }),
        // How wide and high something is; screens are read in pairs of digits.
        rule(r"(NUM)(~?[x×]~?)(NUM)(?:~?[x×]~?(NUM))?", |m| {
            // `0x1F` is another kind of number.
            if group(m, 1) == "0" {
                return None;
            }
            if group(m, 2).trim() != group(m, 2) && group(m, 2).contains('×') {
                return None;
            }
            let mut said = vec![
                (1, format!("{} by", in_pairs(group(m, 1))?)),
                (3, in_pairs(group(m, 3))?),
            ];
            if !group(m, 4).is_empty() {
                said[1].1 += " by";
                said.push((4, in_pairs(group(m, 4))?));
            }
            Some(said)
        }),
        rule(r"(NUM)(SCALE)(~[a-z])?", |m| {
            // `m`, `b` and `T` are scales of money; ` million` is read as it is.
            let is_scale = match group(m, 2) {
                "m" | "b" | "T" => false,
                // `8B people`, but `Lot 12B`.
                "B" => group(m, 1).contains('.') || !group(m, 3).is_empty(),
                written => !written.contains([' ', '-']),
            };
            let said = format!("{} {}", number_of(group(m, 1))?, scale(group(m, 2)));
            parts(m, vec![(1, said), (3, String::new())]).filter(|_| is_scale)
        }),
        rule(r"(NUM)x", |m| {
            whole(format!("{} times", number_of(group(m, 1))?))
        }),
    ]
}

fn names() -> Vec<Rule> {
    vec![
        // Ordinals and Roman numerals.
        rule(
            r"(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th|ST|ND|RD|TH)",
            |m| whole(ordinal(&group(m, 1).replace(',', ""))?),
        ),
        rule(r"WW(II?)", |m| {
            whole(format!(
                "World War {}",
                number_of(&roman(group(m, 1))?.to_string())?
            ))
        }),
        rule(r"([A-Za-z]{3,12}\.?)~([IVXLC]+)", numbered),
        // `I` is mostly someone who speaks.
        rule(r"([A-Z][a-z]+)~(I)(~of|['’]s|[,.;:)]|$)", |m| {
            let is_ruler = RULERS.contains(&group(m, 1));
            is_ruler.then(|| vec![(2, "the first".to_owned()), (3, String::new())])
        }),
        rule(
            r"(?:King|Queen|Emperor|Pope|Tsar|Prince)~[A-Z][a-z]+~(I)",
            |_| Some(vec![(1, "the first".to_owned())]),
        ),
        // Titles and other abbreviations.
        rule(
            r"[Ee]\.g\.|[Ii]\.e\.|a\.k\.a\.|aka|N/A|n/a|w/o|c/o|(?:vs|VS|[Aa]pprox)\.?|hrs",
            |m| whole(abbreviation(group(m, 0))?),
        ),
        rule(r"w/~", |_| whole("with")),
        rule(r"(Ph\.D)(\.)(~STARTS|END)?", |m| {
            ending(m, 1, 2, abbreviation(group(m, 1))?)
        }),
        rule(
            r"\d+[A-Z]?~(?:[A-Z][a-z]+~){1,3}(St|Dr|Pl|Ct|Sq)(\.)?(~STARTS|END)?",
            |m| ending(m, 1, 2, street(group(m, 1))?),
        ),
        rule(r"[A-Z][a-z]{2,}~(Dr)(\.)?(END)", |m| {
            ending(m, 1, 2, street(group(m, 1))?)
        }),
        rule(
            r"(?:[A-Z][a-z]+(?:['’]s)?|\d+ORD)~(St)(?:(\.)?(~STARTS|END)|\.?(~[A-Z][a-z])|\.?)",
            |m| {
                // Before a name it is a saint.
                let is_saint = !group(m, 4).is_empty();
                if is_saint {
                    None
                } else {
                    ending(m, 1, 2, "Street")
                }
            },
        ),
        rule(
            r"(?:[A-Z][a-z]+|\d+ORD)~(Ave|Blvd|Rd|Ln|Hwy|Pkwy)(\.)?(~STARTS|END)?",
            |m| ending(m, 1, 2, street(group(m, 1))?),
        ),
        rule(
            r"(?:Mr|Mrs|Ms|Dr|Prof|Lt|Capt|Sgt|Rev|Gov|Sen|Maj|Adm|Messrs|Gen|Col)\.",
            |m| whole(abbreviation(group(m, 0))?),
        ),
        rule(r"(Mr|Mrs|Ms|Dr|Prof|Lt|Capt|Sgt|St|Mt)(~)[A-Z][a-z]", |m| {
            let said = abbreviation(group(m, 1))?;
            Some(vec![(1, said.to_owned()), (2, String::new())])
        }),
        rule(r"(Hon|Rep|Pres|Fr|Mt|Ft|St)\.(~)[A-Z]", |m| {
            let said = abbreviation(group(m, 1))?;
            Some(vec![(1, said.to_owned()), (2, String::new())])
        }),
        rule(
            r"(Jr|Sr|Inc|Corp|Co|Ltd|Bros|[Dd]ept|[Gg]ovt|[Mm]isc|etc)(\.)(~STARTS|END)?",
            |m| ending(m, 1, 2, abbreviation(group(m, 1))?),
        ),
        rule(r"[A-Z][a-z]+~(v\.)(~)[A-Z]", |_| {
            Some(vec![(1, "versus".to_owned()), (2, String::new())])
        }),
        // Before a number.
        rule(r"([Vv]ol|[Cc]h)\.(~)[IVXLC]+\b", |m| {
            let said = abbreviation(group(m, 1))?.to_owned();
            Some(vec![(1, said), (2, String::new())])
        }),
        rule(r"([A-Za-z]{1,4}\.|§|Apt|Hwy|Ep|ep)~?(\d)", |m| {
            let said = abbreviation(group(m, 1))?.to_owned();
            Some(vec![(1, said), (2, String::new())])
        }),
        // Initials: an engine would pause at their dots.
        rule(
            r"([A-Z])\.~?([A-Z])\.(?:~?([A-Z])\.)?(~)(?:(STARTS)|[A-Z][a-z])",
            |m| {
                if !group(m, 5).is_empty() {
                    return None;
                }
                let mut said: Said = [1, 2, 3]
                    .map(|number| (number, group(m, number).to_owned()))
                    .into();
                said.push((4, String::new()));
                parts(m, said)
            },
        ),
        rule(r"([A-Z][a-z]+)~([A-Z])\.(~)(?:(STARTS)|[A-Z][a-z])", |m| {
            // `Plan B. Nobody knew.`
            let is_name = !matches!(
                group(m, 1),
                "Plan" | "Vitamin" | "Type" | "Class" | "Grade" | "Part" | "Group" | "Option"
            );
            let said = vec![(2, group(m, 2).to_owned()), (3, String::new())];
            (is_name && group(m, 4).is_empty()).then_some(said)
        }),
        // One or the other; paths are left alone.
        rule(r"(^|[\s(])([A-Za-z]+)/([A-Za-z]+)([/.\\@:]\S)?", |m| {
            let (first, second) = (group(m, 2), group(m, 3));
            if !group(m, 4).is_empty() {
                return None;
            }
            if let Some(unit) = measure(&format!("{first}/{second}"), false) {
                return Some(vec![(2, unit)]);
            }
            let is_choice = matches!(
                first.to_lowercase().as_str(),
                "he" | "she" | "his" | "her" | "him" | "hers" | "yes" | "true"
            );
            let or = if is_choice { " or" } else { "" };
            Some(vec![(2, format!("{first}{or}")), (3, second.to_owned())])
        }),
        // An engine takes `A and` for the article; `A&E` it reads well.
        rule(r"AT&T", |_| whole("A.T. and T")),
        rule(r"A&[A-Z]", |m| whole(group(m, 0))),
    ]
}

fn numbers() -> Vec<Rule> {
    vec![
        // Fractions, ranges, numbers.
        rule(r"(\d+)[ -]([1-9])/([1-9]\d?)", |m| {
            whole(format!(
                "{} and {}",
                number_of(group(m, 1))?,
                fraction(group(m, 2), group(m, 3), true)?
            ))
        }),
        rule(r"(?:(\d+)~?)?([½⅓⅔¼¾⅛⅜⅝⅞])", |m| {
            let (over, under) = VULGAR.iter().find(|(sign, _)| *sign == group(m, 2))?.1;
            whole(match group(m, 1) {
                "" => fraction(over, under, false)?,
                more => format!("{} and {}", number_of(more)?, fraction(over, under, true)?),
            })
        }),
        rule(r"(\d+(?:\.\d+)?)/(\d+)(~stars)?", |m| {
            let (first, second) = (group(m, 1), group(m, 2));
            let is_score = first == second
                || first.contains('.')
                || (second == "100" && first != "1")
                || !group(m, 3).is_empty();
            parts(
                m,
                vec![
                    (
                        1,
                        format!("{} out of {}", number_of(first)?, number_of(second)?),
                    ),
                    (3, String::new()),
                ],
            )
            .filter(|_| is_score)
        }),
        rule(r"(\d+)/(\d+)ORD", |m| {
            whole(fraction(group(m, 1), group(m, 2), true)?)
        }),
        rule(r"(\d{1,3})/(\d{1,4})", |m| {
            let (first, second) = (group(m, 1), group(m, 2));
            let is_day = second.parse::<u32>().ok()? > 12;
            let as_date = || is_day.then(|| date(first, second, None)).flatten();
            // `Windows 10/11` is one after the other.
            if first == "10" && second == "11" {
                return whole("ten eleven");
            }
            whole(match fraction(first, second, false).or_else(as_date) {
                Some(said) => said,
                None => format!("{} over {}", number_of(first)?, number_of(second)?),
            })
        }),
        // What is calculated.
        rule(r"(NUM)~?\*~?(NUM)", |m| {
            Some(vec![
                (1, format!("{} times", number_of(group(m, 1))?)),
                (2, number_of(group(m, 2))?),
            ])
        }),
        rule(r"(NUM|[a-z])\^(\d+)", |m| {
            let power = match group(m, 2) {
                "2" => "squared".to_owned(),
                "3" => "cubed".to_owned(),
                power => format!("to the power of {}", number_of(power)?),
            };
            let base = number_of(group(m, 1)).unwrap_or(group(m, 1).to_owned());
            Some(vec![(1, format!("{base} {power}"))])
        }),
        rule(r"(NUM)[eE]([+-])?(\d+)", |m| {
            let sign = if group(m, 2) == "-" { "minus " } else { "" };
            whole(format!(
                "{} times ten to the power of {sign}{}",
                number_of(group(m, 1))?,
                number_of(group(m, 3))?
            ))
        }),
        rule(r"(\d+|[a-z]+)([²³])", |m| {
            let power = if group(m, 2) == "²" {
                "squared"
            } else {
                "cubed"
            };
            whole(format!(
                "{} {power}",
                number_of(group(m, 1)).unwrap_or(group(m, 1).to_owned())
            ))
        }),
        rule(r"~([<>])(~)", |m| {
            let said = if group(m, 1) == ">" {
                "greater than"
            } else {
                "less than"
            };
            Some(vec![(1, said.to_owned()), (2, String::new())])
        }),
        rule(r"([<>])([$€£]?\d)", |m| {
            let said = if group(m, 1) == ">" {
                "more than"
            } else {
                "less than"
            };
            Some(vec![(1, said.to_owned()), (2, String::new())])
        }),
        rule(r"\x7E~?([$€£]?\d)", |_| {
            Some(vec![(0, "about".to_owned()), (1, String::new())])
        }),
        rule(r"#(\d+)[-–](\d+)", |m| {
            Some(vec![
                (0, format!("numbers {} to", number_of(group(m, 1))?)),
                (2, number_of(group(m, 2))?),
            ])
        }),
        rule(r"(\d{1,3})-(\d{1,3})-(\d{1,3})", |m| {
            Some(vec![
                (1, number_of(group(m, 1))?),
                (2, number_of(group(m, 2))?),
                (3, number_of(group(m, 3))?),
            ])
        }),
        rule(r"(NUM)~?[-–]~?(NUM)", range),
        rule(r"(\d{1,2})~[-–]~(\d{1,2})", |m| {
            Some(vec![
                (1, format!("{} to", number_of(group(m, 1))?)),
                (2, number_of(group(m, 2))?),
            ])
        }),
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
        rule(r"#~?(\d+)", |m| {
            whole(format!("number {}", number_of(group(m, 1))?))
        }),
        rule(r"[-−](NUM)", |m| {
            whole(format!("minus {}", number_of(group(m, 1))?))
        }),
        rule(r"NUM", |m| whole(number_of(group(m, 0))?)),
        rule(r"\+", |_| whole("plus")),
        rule(r"=", |_| whole("equals")),
        rule(r"&", |_| whole("and")),
        // What only emphasizes, or begins a heading, is not read.
        rule(r"[*`]+|^#{1,6}~", |_| whole(" ")),
    ]
}

/// An abbreviation in group `from`, with its full stop in group `dot`, which is
/// left only where the next group tells that it ends the sentence.
fn ending(found: &Captures<'_>, from: usize, dot: usize, said: &str) -> Option<Said> {
    let next = dot + 1;
    let rest = match (found.get(next), found.get(dot)) {
        (Some(_), Some(_)) => dot,
        _ => next,
    };
    parts(found, vec![(from, said.to_owned()), (rest, String::new())])
}

/// Short forms without their full stop.
const ABBREVIATIONS: &[(&str, &str)] = &[
    // Titles.
    ("Mr", "Mister"),
    ("Mrs", "Misses"),
    ("Ms", "Miz"),
    ("Messrs", "Messers"),
    ("Dr", "Doctor"),
    ("Prof", "Professor"),
    ("Jr", "Junior"),
    ("Sr", "Senior"),
    ("Gen", "General"),
    ("Lt", "Lieutenant"),
    ("Col", "Colonel"),
    ("Maj", "Major"),
    ("Adm", "Admiral"),
    ("Capt", "Captain"),
    ("Sgt", "Sergeant"),
    ("Rev", "Reverend"),
    ("Fr", "Father"),
    ("Gov", "Governor"),
    ("Sen", "Senator"),
    ("Rep", "Representative"),
    ("Pres", "President"),
    ("Hon", "Honorable"),
    ("Ph.D", "P H D"),
    // Places and companies.
    ("St", "Saint"),
    ("Mt", "Mount"),
    ("Ft", "Fort"),
    ("Inc", "Incorporated"),
    ("Corp", "Corporation"),
    ("Co", "Company"),
    ("Ltd", "Limited"),
    ("Bros", "Brothers"),
    ("dept", "department"),
    ("govt", "government"),
    ("apt", "apartment"),
    ("ste", "suite"),
    ("hwy", "highway"),
    ("rte", "route"),
    // References.
    ("no", "number"),
    ("nos", "numbers"),
    ("fig", "figure"),
    ("figs", "figures"),
    ("vol", "volume"),
    ("ch", "chapter"),
    ("p", "page"),
    ("pp", "pages"),
    ("sec", "section"),
    ("§", "section"),
    ("art", "article"),
    ("ext", "extension"),
    ("tel", "telephone"),
    ("est", "established"),
    ("ep", "episode"),
    ("pt", "part"),
    ("lv", "level"),
    ("eq", "equation"),
    // Words.
    ("e.g", "for example"),
    ("i.e", "that is"),
    ("a.k.a", "also known as"),
    ("aka", "also known as"),
    ("etc", "et cetera"),
    ("vs", "versus"),
    ("approx", "approximately"),
    ("misc", "miscellaneous"),
    ("hrs", "hours"),
    ("n/a", "not applicable"),
    ("w/o", "without"),
    ("c/o", "care of"),
];

fn abbreviation(text: &str) -> Option<&'static str> {
    let text = text.trim_end_matches('.');
    let find = |text: &str| ABBREVIATIONS.iter().find(|(short, _)| *short == text);
    let (_, long) = find(text).or_else(|| find(&text.to_lowercase()))?;
    Some(long)
}

fn street(text: &str) -> Option<&'static str> {
    Some(match text {
        "St" => "Street",
        "Ave" => "Avenue",
        "Blvd" => "Boulevard",
        "Rd" => "Road",
        "Ln" => "Lane",
        "Dr" => "Drive",
        "Pl" => "Place",
        "Ct" => "Court",
        "Sq" => "Square",
        "Hwy" => "Highway",
        "Pkwy" => "Parkway",
        _ => return None,
    })
}

/// What has a number in Roman numerals.
const NUMBERED: &[&str] = &[
    "chapter", "part", "volume", "vol", "book", "act", "scene", "section", "phase", "type",
    "level", "episode", "stage", "grade", "class", "title", "article", "season", "round",
    "appendix", "division", "psalm", "war", "bowl",
];

/// Roman numerals: of rulers, of chapters and the like, of films and games.
fn numbered(found: &Captures<'_>) -> Option<Said> {
    let (name, numeral) = (group(found, 1).trim_end_matches('.'), group(found, 2));
    let value = roman(numeral)?.to_string();
    let is_capital = name.starts_with(char::is_uppercase);
    let is_sure = match numeral {
        // `in part I agree`, `Part C`.
        "I" | "X" => is_capital,
        "L" | "C" => false,
        _ => true,
    };
    let is_other = [
        "The", "This", "That", "By", "Via", "With", "Start", "Use", "Give",
    ]
    .contains(&name);
    let is_longer = numeral.len() > 1 && !numeral.contains(['L', 'C']);
    let said = if NUMBERED.contains(&name.to_lowercase().as_str()) {
        is_sure.then(|| number_of(&value)).flatten()?
    } else if RULERS.contains(&name) && numeral != "I" {
        format!("the {}", ordinal(&value)?)
    } else if is_capital && is_longer && !is_other {
        number_of(&value)?
    } else {
        return None;
    };
    Some(vec![(2, said)])
}

fn compass(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "N" => "North",
        "S" => "South",
        "E" => "East",
        "W" => "West",
        _ => return None,
    })
}

/// Names of kings, queens and popes.
const RULERS: &[&str] = &[
    "Louis",
    "Henry",
    "Elizabeth",
    "Charles",
    "George",
    "Edward",
    "William",
    "James",
    "Richard",
    "Philip",
    "John",
    "Paul",
    "Benedict",
    "Pius",
    "Napoleon",
    "Leo",
    "Gregory",
    "Innocent",
    "Alexander",
    "Peter",
    "Catherine",
    "Frederick",
    "Francis",
    "Nicholas",
    "Ivan",
    "Clement",
    "Urban",
    "Mary",
    "Harold",
    "Wilhelm",
    "Otto",
    "Felipe",
    "Carlos",
    "Alfonso",
    "Ramesses",
    "Constantine",
    "Christian",
    "Gustav",
    "Ferdinand",
    "Joseph",
    "Leopold",
    "Margrethe",
    "Rama",
];

fn range(found: &Captures<'_>) -> Option<Said> {
    let value = |number| {
        let plain = group(found, number).replace([',', ' ', '\u{a0}', '\u{202f}'], "");
        plain.parse::<f64>().ok()
    };
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
    let is_capital = text.starts_with(char::is_uppercase);
    let is_it = |name: &&&str| {
        // Small `may` and `march` are other words.
        let is_whole = name.eq_ignore_ascii_case(text);
        let is_short = name[..3].eq_ignore_ascii_case(text) || text.eq_ignore_ascii_case("Sept");
        (is_whole && (is_capital || !matches!(**name, "May" | "March"))) || (is_short && is_capital)
    };
    let is_near = |name: &&&str| is_it(name) && name[..3].eq_ignore_ascii_case(&text[..3]);
    MONTH_NAMES.iter().find(is_near).copied()
}

fn day_name(text: &str) -> Option<&'static str> {
    Some(match text.get(..3)? {
        "Mon" => "Monday",
        "Tue" => "Tuesday",
        "Wed" => "Wednesday",
        "Thu" => "Thursday",
        "Fri" => "Friday",
        "Sat" => "Saturday",
        _ => "Sunday",
    })
}

/// A year of two digits is one of ours, or of our parents.
fn full_year(text: &str) -> Option<String> {
    Some(match (text.len(), text.parse::<u32>().ok()?) {
        (2, 0..50) => format!("20{text}"),
        (2, _) => format!("19{text}"),
        _ => text.to_owned(),
    })
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
        _ if !(1010..2100).contains(&year) => cardinal(year),
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

/// In capitals, since an engine takes `a` alone for the article.
fn half(letter: &str) -> &'static str {
    match letter {
        "" => "",
        "a" | "A" => " AM",
        _ => " PM",
    }
}

fn time(hour: &str, minute: &str, half: &str) -> Option<String> {
    let hour: u64 = hour.parse().ok()?;
    let minute: Option<u64> = minute.parse().ok();
    if hour > 24 || minute.is_some_and(|minute| minute > 59) {
        return None;
    }
    let half = self::half(half);
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

fn scale(written: &str) -> &'static str {
    match written.trim_start_matches([' ', '-']) {
        "" => "",
        "k" | "K" | "thousand" => "thousand",
        "m" | "M" | "mn" | "million" => "million",
        "T" | "tn" | "trillion" => "trillion",
        "lakh" => "lakh",
        "crore" => "crore",
        _ => "billion",
    }
}

fn joined(words: &[&str]) -> String {
    let words: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// One, and several.
fn currency(sign: &str) -> Option<(&'static str, &'static str)> {
    Some(match sign {
        "$" => ("dollar", "dollars"),
        "US$" | "USD" => ("U S dollar", "U S dollars"),
        "A$" | "AU$" | "AUD" => ("Australian dollar", "Australian dollars"),
        "C$" | "CA$" | "CAD" => ("Canadian dollar", "Canadian dollars"),
        "HK$" | "HKD" => ("Hong Kong dollar", "Hong Kong dollars"),
        "NZ$" | "NZD" => ("New Zealand dollar", "New Zealand dollars"),
        "S$" | "SGD" => ("Singapore dollar", "Singapore dollars"),
        "NT$" => ("New Taiwan dollar", "New Taiwan dollars"),
        "MX$" => ("Mexican peso", "Mexican pesos"),
        "R$" => ("real", "reais"),
        "€" | "EUR" => ("euro", "euros"),
        "£" | "GBP" => ("pound", "pounds"),
        "¥" | "JPY" => ("yen", "yen"),
        "CNY" => ("yuan", "yuan"),
        "₹" | "INR" => ("rupee", "rupees"),
        "₫" | "VND" => ("dong", "dong"),
        "₩" | "KRW" => ("won", "won"),
        "₽" => ("ruble", "rubles"),
        "CHF" => ("Swiss franc", "Swiss francs"),
        _ => return None,
    })
}

/// `before_a_noun`: there one says `dollar`, however many there are.
fn money(sign: &str, amount: &str, scaled: &str, before_a_noun: bool) -> Option<String> {
    let (one, many) = currency(sign)?;
    let several = if before_a_noun { one } else { many };
    let (whole, cents) = match amount.split_once('.') {
        Some((whole, cents)) if scaled.is_empty() && cents.len() == 2 => {
            (whole, cents.parse::<u64>().ok()?)
        }
        Some(_) => (amount, 0),
        None => (amount, 0),
    };
    let unit = if whole == "1" && scaled.is_empty() {
        one
    } else {
        several
    };
    let small = match (sign, cents) {
        ("£" | "GBP", 1) => "penny",
        ("£" | "GBP", _) => "pence",
        (_, 1) => "cent",
        _ if before_a_noun => "cent",
        _ => "cents",
    };
    Some(match (whole, cents) {
        (_, 0) => joined(&[&number_of(whole)?, scale(scaled), unit]),
        ("0" | "", _) => format!("{} {small}", cardinal(cents)),
        _ => format!(
            "{} {unit} and {} {small}",
            number_of(whole)?,
            cardinal(cents)
        ),
    })
}

/// How they are written, one, and several. A space may have a full stop before it.
const UNITS: &[(&str, &str, &str)] = &[
    ("%", "percent", "percent"),
    ("pp", "percentage point", "percentage points"),
    ("bps", "basis point", "basis points"),
    ("km/h", "kilometer per hour", "kilometers per hour"),
    ("kph", "kilometer per hour", "kilometers per hour"),
    ("kmph", "kilometer per hour", "kilometers per hour"),
    ("mph", "mile per hour", "miles per hour"),
    ("mpg", "mile per gallon", "miles per gallon"),
    ("m/s", "meter per second", "meters per second"),
    (
        "m/s²",
        "meter per second squared",
        "meters per second squared",
    ),
    ("km²", "square kilometer", "square kilometers"),
    ("m²", "square meter", "square meters"),
    ("cm²", "square centimeter", "square centimeters"),
    ("m³", "cubic meter", "cubic meters"),
    ("cm³", "cubic centimeter", "cubic centimeters"),
    ("sq ft", "square foot", "square feet"),
    ("sq mi", "square mile", "square miles"),
    ("sq m", "square meter", "square meters"),
    ("sq km", "square kilometer", "square kilometers"),
    ("ft²", "square foot", "square feet"),
    ("m2", "square meter", "square meters"),
    ("km2", "square kilometer", "square kilometers"),
    ("m3", "cubic meter", "cubic meters"),
    ("km/hr", "kilometer per hour", "kilometers per hour"),
    ("°C", "degree Celsius", "degrees Celsius"),
    ("ºC", "degree Celsius", "degrees Celsius"),
    ("°F", "degree Fahrenheit", "degrees Fahrenheit"),
    ("ºF", "degree Fahrenheit", "degrees Fahrenheit"),
    ("°", "degree", "degrees"),
    ("Kbps", "kilobit per second", "kilobits per second"),
    ("Mbps", "megabit per second", "megabits per second"),
    ("Gbps", "gigabit per second", "gigabits per second"),
    ("MB/s", "megabyte per second", "megabytes per second"),
    ("GB/s", "gigabyte per second", "gigabytes per second"),
    ("KB", "kilobyte", "kilobytes"),
    ("kB", "kilobyte", "kilobytes"),
    ("MB", "megabyte", "megabytes"),
    ("GB", "gigabyte", "gigabytes"),
    ("TB", "terabyte", "terabytes"),
    ("PB", "petabyte", "petabytes"),
    ("fps", "frame per second", "frames per second"),
    ("bpm", "beat per minute", "beats per minute"),
    ("BPM", "beat per minute", "beats per minute"),
    ("rpm", "revolution per minute", "revolutions per minute"),
    ("dpi", "dot per inch", "dots per inch"),
    ("psi", "pound per square inch", "pounds per square inch"),
    ("ppm", "part per million", "parts per million"),
    ("px", "pixel", "pixels"),
    ("MP", "megapixel", "megapixels"),
    ("km", "kilometer", "kilometers"),
    ("kms", "kilometer", "kilometers"),
    ("m", "meter", "meters"),
    ("cm", "centimeter", "centimeters"),
    ("mm", "millimeter", "millimeters"),
    ("µm", "micrometer", "micrometers"),
    ("μm", "micrometer", "micrometers"),
    ("nm", "nanometer", "nanometers"),
    ("ft", "foot", "feet"),
    ("yd", "yard", "yards"),
    ("mi", "mile", "miles"),
    ("ha", "hectare", "hectares"),
    ("kg", "kilogram", "kilograms"),
    ("kgs", "kilogram", "kilograms"),
    ("g", "gram", "grams"),
    ("µg", "microgram", "micrograms"),
    ("μg", "microgram", "micrograms"),
    ("mg", "milligram", "milligrams"),
    ("oz", "ounce", "ounces"),
    ("lb", "pound", "pounds"),
    ("lbs", "pound", "pounds"),
    ("L", "liter", "liters"),
    ("ml", "milliliter", "milliliters"),
    ("mL", "milliliter", "milliliters"),
    ("cc", "cubic centimeter", "cubic centimeters"),
    ("gal", "gallon", "gallons"),
    ("tbsp", "tablespoon", "tablespoons"),
    ("tsp", "teaspoon", "teaspoons"),
    ("qt", "quart", "quarts"),
    ("fl oz", "fluid ounce", "fluid ounces"),
    ("kcal", "kilocalorie", "kilocalories"),
    ("cal", "calorie", "calories"),
    ("kHz", "kilohertz", "kilohertz"),
    ("MHz", "megahertz", "megahertz"),
    ("GHz", "gigahertz", "gigahertz"),
    ("Hz", "hertz", "hertz"),
    ("dB", "decibel", "decibels"),
    ("kWh", "kilowatt hour", "kilowatt hours"),
    ("kW", "kilowatt", "kilowatts"),
    ("MW", "megawatt", "megawatts"),
    ("GW", "gigawatt", "gigawatts"),
    ("W", "watt", "watts"),
    ("V", "volt", "volts"),
    ("mAh", "milliamp hour", "milliamp hours"),
    ("mA", "milliamp", "milliamps"),
    ("kPa", "kilopascal", "kilopascals"),
    ("kΩ", "kilohm", "kilohms"),
    ("hp", "horsepower", "horsepower"),
    ("ms", "millisecond", "milliseconds"),
    ("sec", "second", "seconds"),
    ("secs", "second", "seconds"),
    ("min", "minute", "minutes"),
    ("mins", "minute", "minutes"),
    ("h", "hour", "hours"),
    ("hr", "hour", "hours"),
    ("hrs", "hour", "hours"),
    ("wk", "week", "weeks"),
    ("wks", "week", "weeks"),
    ("mo", "month", "months"),
    ("mos", "month", "months"),
    ("yr", "year", "years"),
    ("yrs", "year", "years"),
];

fn measure(unit: &str, is_one: bool) -> Option<String> {
    let unit = unit.replace('.', "").replace('\u{a0}', " ");
    let (_, one, several) = UNITS.iter().find(|(sign, _, _)| *sign == unit)?;
    Some(if is_one { *one } else { *several }.to_owned())
}

const VULGAR: &[(&str, (&str, &str))] = &[
    ("½", ("1", "2")),
    ("⅓", ("1", "3")),
    ("⅔", ("2", "3")),
    ("¼", ("1", "4")),
    ("¾", ("3", "4")),
    ("⅛", ("1", "8")),
    ("⅜", ("3", "8")),
    ("⅝", ("5", "8")),
    ("⅞", ("7", "8")),
];

/// `in_mixed`: after a whole number, where anything is a fraction.
fn fraction(over: &str, under: &str, in_mixed: bool) -> Option<String> {
    let (a, b): (u64, u64) = (over.parse().ok()?, under.parse().ok()?);
    let is_usual = b <= 12 || b % 10 == 0 || matches!(b, 16 | 32 | 64);
    if a == 0 || a >= b || !(is_usual || in_mixed) {
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
            '#' => said += " hash ",
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
    let plain = text.replace([',', ' ', '\u{a0}', '\u{202f}'], "");
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

/// As the lines of a screen are read: `nineteen twenty`.
fn in_pairs(text: &str) -> Option<String> {
    match text.split_at_checked(2) {
        Some((head, tail)) if text.len() == 4 && tail.parse::<u32>().is_ok_and(|n| n >= 10) => {
            Some(format!("{} {}", number_of(head)?, number_of(tail)?))
        }
        _ => number_of(text),
    }
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
