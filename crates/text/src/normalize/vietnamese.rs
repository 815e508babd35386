//! How Vietnamese is read aloud, in the manner of the north, as newsreaders do.
//!
//! Where readers differ (`tư` or `bốn`, `nghìn` or `ngàn`), it is decided once,
//! here.

use std::sync::LazyLock;

use regex_lite::Captures;

use super::rules::{self, ADDRESSES, Rule, Said, bare_address, group, roman, whole};

/// A number as it is written: grouped by dots or not, with a decimal comma.
const NUMBER: &str = r"\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d+\.\d{1,2}|\d+(?:,\d+)?";

/// The rules, those first that others must not break into.
pub(super) fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(make);
    &RULES
}

fn make() -> Vec<Rule> {
    let number = |pattern: &str| pattern.replace("NUM", NUMBER).replace('~', "[ \u{a0}]");
    let rule =
        |pattern: &str, read: fn(&Captures<'_>) -> Option<Said>| Rule::new(&number(pattern), read);
    vec![
        rule(ADDRESSES[0], |m| whole(address(group(m, 0)))),
        rule(ADDRESSES[1], |m| whole(address(group(m, 0)))),
        rule(
            r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.(?:com|vn|net|org|io|edu|gov)(?:\.vn)?(?:/[A-Za-z0-9/_.-]*[A-Za-z0-9/])?",
            |m| whole(address(group(m, 0))),
        ),
        // Telephones: from 0 or +84 nine digits, service numbers from 1800 and 1900.
        rule(r"(?:\+84|0)(?:(?:~|[.-])?\d){9,10}", |m| {
            whole(digits(group(m, 0)))
        }),
        rule(r"1[89]00(?:(?:~|[.-])?\d){4,6}", |m| {
            whole(digits(group(m, 0)))
        }),
        rule(r"[Qq]uý~([IVX]+|\d)/(\d{4})", |m| {
            let quarter = group(m, 1);
            let quarter = roman(quarter).map_or(quarter.to_owned(), |value| value.to_string());
            Some(vec![
                (1, number_of(&quarter)?),
                (2, format!("năm {}", number_of(group(m, 2))?)),
            ])
        }),
        rule(r"24/24(?:h|~giờ)?", |_| {
            whole("hai mươi tư trên hai mươi tư")
        }),
        rule(
            r"(?:[Nn]gõ|[Nn]gách|[Hh]ẻm|[Kk]iệt|[Ss]ố|[Ss]ố~nhà)~(\d+)/(\d+)(?:/(\d+))?",
            |m| {
                let mut said = vec![(1, number_of(group(m, 1))?)];
                for number in [2, 3].into_iter().filter(|number| m.get(*number).is_some()) {
                    said.push((number, format!("trên {}", number_of(group(m, number))?)));
                }
                Some(said)
            },
        ),
        rule(r"[Tt][ỷỉ]~lệ~(\d+):(\d+)", |m| {
            Some(vec![
                (1, number_of(group(m, 1))?),
                (2, format!("trên {}", number_of(group(m, 2))?)),
            ])
        }),
        // Dates.
        rule(r"(\d{4})-(\d{1,2})-(\d{1,2})", |m| {
            whole(date("ngày ", group(m, 3), group(m, 2), Some(group(m, 1)))?)
        }),
        rule(
            r"(?:[Nn]gày|[Hh]ôm|[Mm]ùng|[Mm]ồng)~(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})",
            |m| dated(m, ""),
        ),
        rule(
            r"(?:[Nn]gày|[Hh]ôm|[Mm]ùng|[Mm]ồng|[Ââ]m~lịch|[Dd]ương~lịch|[Đđ]ường|[Pp]hố)~(\d{1,2})/(\d{1,2})",
            |m| Some(vec![(1, date("", group(m, 1), group(m, 2), None)?)]),
        ),
        rule(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})", |m| {
            dated(m, "ngày ")
        }),
        rule(
            r"(?:[Ss]áng|[Tt]rưa|[Cc]hiều|[Tt]ối|[Đđ]êm|[Tt]hứ~[A-Za-zưảâ]+|[Cc]hủ~nhật)~?[(,]?~?(\d{1,2})/(\d{1,2})",
            |m| Some(vec![(1, date("ngày ", group(m, 1), group(m, 2), None)?)]),
        ),
        rule(
            r"(\d{1,2})~?[-–]~?(\d{1,2})/(\d{1,2})(?:/(\d{4}))?",
            |m| {
                let year = Some(group(m, 4)).filter(|year| !year.is_empty());
                let until = date("", group(m, 2), group(m, 3), year)?;
                Some(vec![(1, format!("{} đến", day(group(m, 1))?)), (2, until)])
            },
        ),
        rule(r"[Tt]háng~(\d{1,2})[/-](\d{4})", |m| {
            Some(vec![
                (1, month(group(m, 1))?.to_owned()),
                (2, format!("năm {}", number_of(group(m, 2))?)),
            ])
        }),
        rule(r"(\d{1,2})/(\d{4})", |m| {
            Some(vec![
                (1, format!("tháng {}", month(group(m, 1))?)),
                (2, format!("năm {}", number_of(group(m, 2))?)),
            ])
        }),
        rule(r"[Tt]háng~(\d{1,2})", |m| {
            Some(vec![(1, month(group(m, 1))?.to_owned())])
        }),
        // Times.
        rule(
            r"(\d{1,2})(?:h|g|:)(\d{2})?~?[-–]~?(\d{1,2})(?:h|g|:)(\d{2})?",
            |m| {
                let (from, until) = (
                    time(group(m, 1), group(m, 2), "")?,
                    time(group(m, 3), group(m, 4), "")?,
                );
                Some(vec![(1, format!("{from} đến")), (3, until)])
            },
        ),
        rule(r"(\d{1,2}):(\d{2}):(\d{2})", |m| {
            whole(time(group(m, 1), group(m, 2), group(m, 3))?)
        }),
        rule(
            r"(\d{1,2})~?(?:h|g|:|giờ)~?(\d{2})(?:~?phút|'|p)?",
            |m| whole(time(group(m, 1), group(m, 2), "")?),
        ),
        rule(r"(\d{1,2})~?h", |m| whole(time(group(m, 1), "", "")?)),
        rule(r"(\d{1,2})g(~(?:sáng|trưa|chiều|tối|đêm))", |m| {
            whole(time(group(m, 1), "", "")? + group(m, 2))
        }),
        rule(r"([248])K", |m| {
            whole(format!("{} ca", number_of(group(m, 1))?))
        }),
        rule(r"([2-6])G", |m| {
            whole(format!("{} giê", number_of(group(m, 1))?))
        }),
        rule(r"(\d)m(\d{1,2})", |m| {
            Some(vec![
                (1, format!("{} mét", number_of(group(m, 1))?)),
                (2, number_of(group(m, 2))?),
            ])
        }),
        rule(r"(NUM)~?[x×]~?(NUM)(?:~?(cm|mm|m))?", |m| {
            let unit = measure(group(m, 3)).map_or(String::new(), |unit| format!(" {unit}"));
            Some(vec![
                (1, format!("{} nhân", number_of(group(m, 1))?)),
                (2, format!("{}{unit}", number_of(group(m, 2))?)),
            ])
        }),
        rule(r"USD/VN[DĐ]", |_| whole("đô la Mỹ trên đồng Việt Nam")),
        // Money.
        rule(
            r"(US\$|[$€£])~?(NUM)(~(?:nghìn|ngàn|triệu|tỷ|tỉ))?",
            |m| {
                let (amount, scale) = (number_of(group(m, 2))?, group(m, 3));
                whole(format!("{amount}{scale} {}", currency(group(m, 1))?))
            },
        ),
        rule(
            r"(NUM)~?(?:[-–])~?(NUM)~?(đ|₫|VNĐ|VND|\$|USD|€|EUR|k|K|tr)(/[A-Za-zÀ-ỹ]+)?",
            |m| {
                let unit = format!("{}{}", currency(group(m, 3))?, per(group(m, 4)));
                range(m, &unit)
            },
        ),
        rule(
            r"(NUM)~?(đ|₫|VNĐ|VND|\$|USD|€|EUR|£|GBP|¥|k|K|tr)(/[A-Za-zÀ-ỹ]+)?",
            |m| {
                let unit = format!("{}{}", currency(group(m, 2))?, per(group(m, 3)));
                whole(format!("{} {unit}", number_of(group(m, 1))?))
            },
        ),
        rule(
            r"(?:nghìn|ngàn|triệu|tỷ|tỉ)~(đ|₫|VNĐ|VND|USD|EUR)(/[A-Za-zÀ-ỹ]+)?",
            |m| {
                Some(vec![(
                    1,
                    format!("{}{}", currency(group(m, 1))?, per(group(m, 2))),
                )])
            },
        ),
        // Measures, per cent, degrees.
        rule(
            r"(NUM)~?[-–]~?(NUM)~?(%|‰|°C|°F|ºC|km/h|km|kg|mg|ml|mm|m2|m²|m|cm|ha|lít|l|GB|MB|TB|tuổi|người|ngày|tháng|năm|phút|giây|giờ|g)",
            |m| {
                let unit = measure(group(m, 3)).unwrap_or(group(m, 3));
                Some(vec![
                    (1, format!("{} đến", number_of(group(m, 1))?)),
                    (2, format!("{} {unit}", number_of(group(m, 2))?)),
                ])
            },
        ),
        rule(
            r"([-−])?(NUM)~?(%|‰|°C|°F|ºC|°|km²|km2|km/h|km/giờ|km|kg|kWh|kW|kHz|m/s|mg|m²|m2|m³|m3|mm|ml|mAh|m|cm²|cm2|cm|g|ha|lít|l|L|GHz|GB|Gbps|MHz|MW|MB|MP|Mbps|Hz|W|V|KB|TB|fps|px|inch)(/[A-Za-zÀ-ỹ]+)?",
            |m| {
                let sign = if group(m, 1).is_empty() { "" } else { "âm " };
                let unit = measure(group(m, 3))?;
                whole(format!(
                    "{sign}{} {unit}{}",
                    number_of(group(m, 2))?,
                    per(group(m, 4))
                ))
            },
        ),
        rule(r"độ~([CF])", |m| {
            let scale = if group(m, 1) == "C" { "xê" } else { "ép" };
            Some(vec![(1, scale.to_owned())])
        }),
        rule(
            r"/(?:lượng|lít|kg|tháng|năm|ngày|tuần|giờ|phút|giây|lần|người|quả|con|cái|chiếc|căn|m2|m²|ha|tấn|tạ|chỉ|suất|đơn|lượt|buổi|km|hộp|chai|gói|đêm)",
            |m| whole(per(group(m, 0)).trim_start()),
        ),
        // Ordinals and Roman numerals.
        rule(r"[Ll]ần~thứ~(\d{1,3}|[IVXLC]+)", |m| {
            Some(vec![(1, ordinal(group(m, 1))?)])
        }),
        rule(r"[Tt]hứ~(\d{1,2})", |m| {
            Some(vec![(1, ordinal(group(m, 1))?)])
        }),
        rule(
            r"(?:[Tt]hế~[Kk]ỷ|[Cc]hương|[Qq]uý|[Pp]hần|[Kk]hóa|[Kk]hoá|[Kk]ỳ|[Mm]ục|[Tt]ập|[Hh]ồi|[Tt]hứ|[Đđ]ại~hội|[Hh]ạng|[Ll]oại|[Cc]ấp|[Bb]ảng|[Tt]hế~chiến|[Nn]gười)~([IVXLC]+)",
            |m| Some(vec![(1, number_of(&roman(group(m, 1))?.to_string())?)]),
        ),
        // Places and titles.
        rule(r"T[Pp]\.?~?HCM", |_| whole("thành phố Hồ Chí Minh")),
        rule(r"T[Pp]\.~?([A-ZÀ-Ỹ][A-Za-zÀ-ỹ]*)", |m| {
            labelled(m, "thành phố")
        }),
        rule(r"Q\.~?(\d{1,2}|[A-ZÀ-Ỹ][A-Za-zÀ-ỹ]*)", |m| {
            labelled(m, "quận")
        }),
        rule(r"P\.~?(\d{1,2}|[A-ZÀ-Ỹ][A-Za-zÀ-ỹ]*)", |m| {
            labelled(m, "phường")
        }),
        rule(
            r"(?:PGS\.?~?TS|GS\.?~?TS|PGS|GS|TS|ThS|BS|KS|LS|CN)\.",
            |m| whole(titles(group(m, 0))),
        ),
        rule(r"v\.v\.?|vv\.", |_| whole("vân vân")),
        rule(r"VN-(?:Index|INDEX)", |_| whole("vê en Index")),
        rule(r"NQ[/-]TW", |_| whole("nghị quyết trung ương")),
        rule(r"NĐ-CP", |_| whole("nghị định chính phủ")),
        rule(r"QĐ-TTg", |_| whole("quyết định thủ tướng")),
        rule(r"[A-ZĐ][A-ZĐ&]+", |m| whole(abbreviation(group(m, 0))?)),
        // Scores, ranges, fractions, numbers.
        rule(
            r"(?:[Tt][ỉỷ]~số|[Tt]hắng|[Tt]hua|[Hh]òa|[Hh]oà|[Dd]ẫn)~(\d{1,2})~?[-–]~?(\d{1,2})",
            both,
        ),
        rule(r"(NUM)~?[-–]~?(NUM)", |m| range(m, "")),
        rule(r"(\d{1,2})/(\d{1,3})", |m| {
            fraction(group(m, 1), group(m, 2))
        }),
        rule(r"\d+/\d+", |m| {
            let (over, under) = group(m, 0).split_once('/')?;
            whole(format!("{} trên {}", number_of(over)?, number_of(under)?))
        }),
        rule(r"(\d{1,3}(?:,\d{3}){2,})", |m| {
            whole(number_of(&group(m, 1).replace(',', ""))?)
        }),
        rule(r"(\d{1,2})-(\d{1,2})", both),
        rule(r"[-−](NUM)", |m| {
            whole(format!("âm {}", number_of(group(m, 1))?))
        }),
        rule(r"NUM", |m| whole(number_of(group(m, 0))?)),
        rule(r"\+", |_| whole("cộng")),
        rule(r"=", |_| whole("bằng")),
        rule(r"&", |_| whole("và")),
    ]
}

/// Two numbers, one after the other.
fn both(found: &Captures<'_>) -> Option<Said> {
    Some(vec![
        (1, number_of(group(found, 1))?),
        (2, number_of(group(found, 2))?),
    ])
}

/// Day, month and year, each at its own place.
fn dated(found: &Captures<'_>, word: &str) -> Option<Said> {
    Some(vec![
        (1, format!("{word}{}", day(group(found, 1))?)),
        (2, format!("tháng {}", month(group(found, 2))?)),
        (3, format!("năm {}", number_of(group(found, 3))?)),
    ])
}

fn date(word: &str, of: &str, in_month: &str, year: Option<&str>) -> Option<String> {
    let year = match year {
        Some(year) => format!(" năm {}", number_of(year)?),
        None => String::new(),
    };
    Some(format!(
        "{word}{} tháng {}{year}",
        day(of)?,
        month(in_month)?
    ))
}

fn day(text: &str) -> Option<String> {
    let day: u32 = text.parse().ok()?;
    (1..=31)
        .contains(&day)
        .then(|| number_of(&day.to_string()))
        .flatten()
}

fn month(text: &str) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "một",
        "hai",
        "ba",
        "tư",
        "năm",
        "sáu",
        "bảy",
        "tám",
        "chín",
        "mười",
        "mười một",
        "mười hai",
    ];
    let month: usize = text.parse().ok()?;
    NAMES.get(month.checked_sub(1)?).copied()
}

fn time(hour: &str, minute: &str, second: &str) -> Option<String> {
    let part = |text: &str, limit: u32| -> Option<Option<String>> {
        if text.is_empty() {
            return Some(None);
        }
        let value: u32 = text.parse().ok()?;
        (value <= limit).then(|| number_of(&value.to_string()))
    };
    let hour = part(hour, 24)??;
    let (minute, second) = (part(minute, 59)?, part(second, 59)?);
    let mut said = format!("{hour} giờ");
    if let Some(minute) = minute.filter(|minute| minute != "không" || second.is_some()) {
        said += &format!(" {minute} phút");
    }
    if let Some(second) = second {
        said += &format!(" {second} giây");
    }
    Some(said)
}

fn currency(sign: &str) -> Option<&'static str> {
    Some(match sign {
        "đ" | "₫" | "VNĐ" | "VND" => "đồng",
        "$" | "US$" => "đô la",
        "USD" => "đô la Mỹ",
        "€" | "EUR" => "ơ rô",
        "£" | "GBP" => "bảng Anh",
        "¥" => "yên",
        "k" | "K" => "nghìn",
        "tr" => "triệu",
        _ => return None,
    })
}

/// `/kg`, `/tháng`: what it is reckoned by.
fn per(text: &str) -> String {
    match text.strip_prefix('/') {
        Some(unit) => format!(" trên {}", measure(unit).unwrap_or(unit)),
        None => String::new(),
    }
}

fn measure(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "%" => "phần trăm",
        "‰" => "phần nghìn",
        "°C" | "ºC" => "độ xê",
        "°F" => "độ ép",
        "°" => "độ",
        "km²" | "km2" => "ki lô mét vuông",
        "km/h" | "km/giờ" => "ki lô mét trên giờ",
        "m/s" => "mét trên giây",
        "km" => "ki lô mét",
        "kg" => "ki lô gam",
        "mg" => "mi li gam",
        "g" => "gam",
        "m²" | "m2" => "mét vuông",
        "m³" | "m3" => "mét khối",
        "cm²" | "cm2" => "xăng ti mét vuông",
        "cm" => "xăng ti mét",
        "mm" => "mi li mét",
        "m" => "mét",
        "ha" => "héc ta",
        "ml" => "mi li lít",
        "l" | "L" | "lít" => "lít",
        "GHz" => "ghi ga héc",
        "MHz" => "mê ga héc",
        "kHz" => "ki lô héc",
        "Hz" => "héc",
        "kWh" => "ki lô oát giờ",
        "kW" => "ki lô oát",
        "MW" => "mê ga oát",
        "W" => "oát",
        "mAh" => "mi li am pe giờ",
        "V" => "vôn",
        "GB" => "ghi ga bai",
        "MB" => "mê ga bai",
        "MP" => "mê ga píc xeo",
        "KB" => "ki lô bai",
        "TB" => "tê ra bai",
        "Mbps" => "mê ga bít trên giây",
        "Gbps" => "ghi ga bít trên giây",
        "fps" => "khung hình trên giây",
        "px" => "píc xeo",
        "inch" => "in",
        _ => return None,
    })
}

/// `10-15`: only upwards is it from one to the other.
fn range(found: &Captures<'_>, unit: &str) -> Option<Said> {
    let (from, until) = (group(found, 1), group(found, 2));
    if value(from)? >= value(until)? {
        return None;
    }
    let unit = if unit.is_empty() {
        String::new()
    } else {
        format!(" {unit}")
    };
    Some(vec![
        (1, format!("{} đến", number_of(from)?)),
        (2, format!("{}{unit}", number_of(until)?)),
    ])
}

fn value(text: &str) -> Option<f64> {
    let plain = match text.contains(',') {
        true => text.replace('.', "").replace(',', "."),
        false if is_grouped(text) => text.replace('.', ""),
        false => text.to_owned(),
    };
    plain.parse().ok()
}

fn fraction(over: &str, under: &str) -> Option<Said> {
    let (a, b): (u32, u32) = (over.parse().ok()?, under.parse().ok()?);
    if b == 0 {
        return None;
    }
    let between = if a < b && b <= 12 { "phần" } else { "trên" };
    let under = match (between, b) {
        ("phần", 4) => "tư".to_owned(),
        _ => number_of(&b.to_string())?,
    };
    whole(format!("{} {between} {under}", number_of(&a.to_string())?))
}

fn ordinal(text: &str) -> Option<String> {
    let number = match text.parse::<u32>() {
        Ok(number) => number,
        Err(_) => roman(text)?,
    };
    Some(match number {
        1 => "nhất".to_owned(),
        4 => "tư".to_owned(),
        _ => number_of(&number.to_string())?,
    })
}

/// The number or name that follows was read to be sure of the abbreviation.
fn labelled(found: &Captures<'_>, said: &str) -> Option<Said> {
    let label = group(found, 1);
    let label = number_of(label).unwrap_or_else(|| label.to_owned());
    Some(vec![(0, said.to_owned()), (1, label)])
}

fn titles(text: &str) -> String {
    let titles = text
        .split(['.', ' ', '\u{a0}'])
        .filter(|title| !title.is_empty());
    let mut said: Vec<&str> = Vec::new();
    for title in titles {
        said.extend(match title {
            "PGSTS" => &["phó giáo sư", "tiến sĩ"][..],
            "GSTS" => &["giáo sư", "tiến sĩ"],
            "PGS" => &["phó giáo sư"],
            "GS" => &["giáo sư"],
            "TS" => &["tiến sĩ"],
            "ThS" => &["thạc sĩ"],
            "BS" => &["bác sĩ"],
            "KS" => &["kỹ sư"],
            "LS" => &["luật sư"],
            _ => &["cử nhân"],
        });
    }
    said.join(" ")
}

/// What is known by its letters, and else the letters themselves where they
/// cannot be a word.
fn abbreviation(text: &str) -> Option<String> {
    let known = match text {
        "UBND" => "ủy ban nhân dân",
        "HĐND" => "hội đồng nhân dân",
        "THPT" => "trung học phổ thông",
        "THCS" => "trung học cơ sở",
        "ĐH" => "đại học",
        "CĐ" => "cao đẳng",
        "CLB" => "câu lạc bộ",
        "CSGT" => "cảnh sát giao thông",
        "BHYT" => "bảo hiểm y tế",
        "BHXH" => "bảo hiểm xã hội",
        "SĐT" => "số điện thoại",
        "TNHH" => "trách nhiệm hữu hạn",
        "CTCP" => "công ty cổ phần",
        "NXB" => "nhà xuất bản",
        "NSND" => "nghệ sĩ nhân dân",
        "NSƯT" => "nghệ sĩ ưu tú",
        "QĐND" => "quân đội nhân dân",
        "CHXHCN" => "cộng hòa xã hội chủ nghĩa",
        "VN" => "Việt Nam",
        "TW" => "trung ương",
        "ĐT" => "điện thoại",
        "HN" => "Hà Nội",
        "HLV" => "huấn luyện viên",
        "VĐV" => "vận động viên",
        "CĐV" => "cổ động viên",
        "GV" => "giáo viên",
        "HS" => "học sinh",
        "SV" => "sinh viên",
        "CBNV" => "cán bộ nhân viên",
        "BTC" => "ban tổ chức",
        "TTXVN" => "thông tấn xã Việt Nam",
        "TPHCM" => "thành phố Hồ Chí Minh",
        "TP" => "thành phố",
        "UBMTTQ" => "ủy ban mặt trận tổ quốc",
        "GDP" | "AI" | "USB" | "HIV" | "WHO" | "USA" | "EU" | "UN" | "IT" | "IELTS" | "ATM"
        | "ID" | "UAE" | "API" | "URL" => return letters(text),
        _ => {
            let has_vowel = text.chars().any(|c| "AEIOUYĂÂÊÔƠƯ".contains(c));
            return if has_vowel || text.chars().count() > 5 {
                None
            } else {
                letters(text)
            };
        }
    };
    Some(known.to_owned())
}

/// Letters by the names that they have in Vietnamese.
fn letters(text: &str) -> Option<String> {
    let names: Option<Vec<&str>> = text.chars().map(letter).collect();
    Some(names?.join(" "))
}

fn letter(c: char) -> Option<&'static str> {
    Some(match c {
        'A' => "a",
        'B' => "bê",
        'C' => "xê",
        'D' => "dê",
        'Đ' => "đê",
        'E' => "e",
        'F' => "ép",
        'G' => "giê",
        'H' => "hát",
        'I' => "i",
        'J' => "gi",
        'K' => "ca",
        'L' => "e lờ",
        'M' => "em mờ",
        'N' => "en nờ",
        'O' => "o",
        'P' => "pê",
        'Q' => "quy",
        'R' => "e rờ",
        'S' => "ét sì",
        'T' => "tê",
        'U' => "u",
        'V' => "vê",
        'W' => "vê kép",
        'X' => "ích xì",
        'Y' => "y",
        'Z' => "dét",
        '&' => "và",
        _ => return None,
    })
}

/// A web or mail address: its signs by name, its words as they are.
fn address(text: &str) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in bare_address(text).chars() {
        let sign = match c {
            '.' => "chấm",
            '/' => "gạch chéo",
            '@' => "a còng",
            '-' => "gạch ngang",
            '_' => "gạch dưới",
            ':' => "hai chấm",
            '?' => "hỏi chấm",
            '=' => "bằng",
            '&' => "và",
            '+' => "cộng",
            _ => {
                if c.is_ascii_digit() != word.ends_with(|last: char| last.is_ascii_digit()) {
                    said.extend(read_run(std::mem::take(&mut word)));
                }
                word.push(c);
                continue;
            }
        };
        said.extend(read_run(std::mem::take(&mut word)));
        said.push(sign.to_owned());
    }
    said.extend(read_run(word));
    said.join(" ")
}

fn read_run(run: String) -> Option<String> {
    match run.as_str() {
        "" => None,
        "vn" => Some("vê en nờ".to_owned()),
        "www" => Some("vê kép vê kép vê kép".to_owned()),
        digits if digits.bytes().all(|c| c.is_ascii_digit()) => number_of(digits),
        _ => Some(run),
    }
}

// ------------------------------------------------------------------ numbers

const DIGITS: [&str; 10] = [
    "không", "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín",
];

fn digits(text: &str) -> String {
    rules::digits(text, &DIGITS, "cộng")
}

fn is_grouped(text: &str) -> bool {
    let mut parts = text.split('.');
    let first = parts.next().unwrap_or_default();
    first.len() <= 3 && text.contains('.') && parts.all(|part| part.len() == 3)
}

/// A number as it is written; `None` if it is none.
fn number_of(text: &str) -> Option<String> {
    let (integer, decimals, point) = match text.split_once(',') {
        Some((integer, decimals)) => (integer.to_owned(), decimals, "phẩy"),
        None if is_grouped(text) => (text.to_owned(), "", ""),
        None => match text.split_once('.') {
            Some((integer, decimals)) => (integer.to_owned(), decimals, "chấm"),
            None => (text.to_owned(), "", ""),
        },
    };
    let integer = integer.replace('.', "");
    let is_digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if integer.is_empty() || !is_digits(&integer) || !is_digits(decimals) {
        return None;
    }
    let mut said = integer_of(&integer);
    if !decimals.is_empty() {
        let decimals = match decimals.len() {
            2 if !decimals.starts_with('0') => integer_of(decimals),
            _ => digits(decimals),
        };
        said += &format!(" {point} {decimals}");
    }
    Some(said)
}

/// Digits alone: a code that begins with 0, and what is longer than any
/// quantity, is read digit by digit.
fn integer_of(text: &str) -> String {
    if text == "0" {
        return DIGITS[0].to_owned();
    }
    if text.len() > 15 || (text.starts_with('0') && text.len() > 2) {
        return digits(text);
    }
    let text = text.trim_start_matches('0');
    if text.is_empty() {
        return DIGITS[0].to_owned();
    }
    // Billions are counted in themselves: 10¹² is a thousand billions.
    let (billions, rest) = text.split_at(text.len().saturating_sub(9));
    let mut said = Vec::new();
    if !billions.is_empty() {
        said.push(format!("{} tỷ", below_billion(billions, false)));
    }
    if rest.bytes().any(|c| c != b'0') {
        said.push(below_billion(rest, !billions.is_empty()));
    }
    said.join(" ")
}

/// Up to nine digits. `full`: something stands before, so that an empty place
/// of hundreds is said.
fn below_billion(text: &str, full: bool) -> String {
    const SCALES: [&str; 3] = ["", " nghìn", " triệu"];
    let mut said: Vec<String> = Vec::new();
    let groups = text.len().div_ceil(3);
    let mut rest = text;
    for scale in (0..groups).rev() {
        let (group, after) = rest.split_at(rest.len() - scale * 3);
        rest = after;
        let value: usize = group.parse().unwrap_or(0);
        if value > 0 {
            let says_hundreds = full || !said.is_empty();
            said.push(format!(
                "{}{}",
                below_thousand(value, says_hundreds),
                SCALES[scale.min(2)]
            ));
        }
    }
    said.join(" ")
}

fn below_thousand(value: usize, says_hundreds: bool) -> String {
    let (hundreds, tens, ones) = (value / 100, value / 10 % 10, value % 10);
    let mut said: Vec<&str> = Vec::new();
    let has_hundreds = hundreds > 0 || says_hundreds;
    if has_hundreds {
        said.extend([DIGITS[hundreds], "trăm"]);
    }
    match tens {
        0 if ones > 0 && has_hundreds => said.push("linh"),
        0 => {}
        1 => said.push("mười"),
        _ => said.extend([DIGITS[tens], "mươi"]),
    }
    match (tens, ones) {
        (_, 0) => {}
        (2.., 1) => said.push("mốt"),
        (2.., 4) => said.push("tư"),
        (1.., 5) => said.push("lăm"),
        _ => said.push(DIGITS[ones]),
    }
    said.join(" ")
}
