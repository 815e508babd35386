mod terms;

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::segmentation::cost_of;

fn assert_read(language: Language, cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(written, expected)| {
            let said = NormalizedText::of(written, Some(language), &Dictionary::default()).text;
            (said != *expected)
                .then(|| format!("{written}\n  is read  {said}\n  and not  {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn vietnamese_numbers() {
    assert_read(
        Language::Vietnamese,
        &[
            ("0", "không"),
            ("4", "bốn"),
            ("10", "mười"),
            ("11", "mười một"),
            ("14", "mười bốn"),
            ("15", "mười lăm"),
            ("20", "hai mươi"),
            ("21", "hai mươi mốt"),
            ("24", "hai mươi tư"),
            ("25", "hai mươi lăm"),
            ("91", "chín mươi mốt"),
            ("100", "một trăm"),
            ("101", "một trăm linh một"),
            ("105", "một trăm linh năm"),
            ("110", "một trăm mười"),
            ("115", "một trăm mười lăm"),
            ("121", "một trăm hai mươi mốt"),
            ("999", "chín trăm chín mươi chín"),
            ("1000", "một nghìn"),
            ("1.000", "một nghìn"),
            ("1.005", "một nghìn không trăm linh năm"),
            ("1.050", "một nghìn không trăm năm mươi"),
            ("2.500", "hai nghìn năm trăm"),
            ("10.000", "mười nghìn"),
            ("1.000.000", "một triệu"),
            ("1.000.001", "một triệu không trăm linh một"),
            ("1.500.000", "một triệu năm trăm nghìn"),
            ("2.000.000.000", "hai tỷ"),
            ("7.800.000.000", "bảy tỷ tám trăm triệu"),
            ("1.000.000.000.000", "một nghìn tỷ"),
            ("1,500,000", "một triệu năm trăm nghìn"),
            ("3,14", "ba phẩy mười bốn"),
            ("0,5", "không phẩy năm"),
            ("0,05", "không phẩy không năm"),
            ("1,618", "một phẩy sáu một tám"),
            ("1.5 triệu", "một chấm năm triệu"),
            ("2,5 tỷ đồng", "hai phẩy năm tỷ đồng"),
            ("-5", "âm năm"),
            ("007", "không không bảy"),
            ("COVID-19", "COVID-mười chín"),
            (
                "12345678901234567890",
                "một hai ba bốn năm sáu bảy tám chín không một hai ba bốn năm sáu bảy tám chín không",
            ),
            ("192.168.1.1", "192.168.1.1"),
        ],
    );
}

#[test]
fn vietnamese_dates_and_times() {
    assert_read(
        Language::Vietnamese,
        &[
            (
                "Ngày 15/04/2024",
                "Ngày mười lăm tháng tư năm hai nghìn không trăm hai mươi tư",
            ),
            (
                "15/4/2024",
                "ngày mười lăm tháng tư năm hai nghìn không trăm hai mươi tư",
            ),
            (
                "15-04-2024",
                "ngày mười lăm tháng tư năm hai nghìn không trăm hai mươi tư",
            ),
            (
                "15.04.2024",
                "ngày mười lăm tháng tư năm hai nghìn không trăm hai mươi tư",
            ),
            (
                "2024-04-15",
                "ngày mười lăm tháng tư năm hai nghìn không trăm hai mươi tư",
            ),
            (
                "02/9/1945",
                "ngày hai tháng chín năm một nghìn chín trăm bốn mươi lăm",
            ),
            ("ngày 30/4", "ngày ba mươi tháng tư"),
            ("sáng 15/4", "sáng ngày mười lăm tháng tư"),
            ("từ 15-17/4", "từ mười lăm đến mười bảy tháng tư"),
            (
                "tháng 4/2024",
                "tháng tư năm hai nghìn không trăm hai mươi tư",
            ),
            ("04/2024", "tháng tư năm hai nghìn không trăm hai mươi tư"),
            ("tháng 12", "tháng mười hai"),
            ("tháng 4", "tháng tư"),
            ("năm 2024", "năm hai nghìn không trăm hai mươi tư"),
            ("năm 1975", "năm một nghìn chín trăm bảy mươi lăm"),
            (
                "2020-2024",
                "hai nghìn không trăm hai mươi đến hai nghìn không trăm hai mươi tư",
            ),
            ("8h30", "tám giờ ba mươi phút"),
            ("8g30", "tám giờ ba mươi phút"),
            ("08:30", "tám giờ ba mươi phút"),
            ("8 giờ 30", "tám giờ ba mươi phút"),
            ("8 giờ 30 phút", "tám giờ ba mươi phút"),
            ("20h", "hai mươi giờ"),
            ("6g sáng", "sáu giờ sáng"),
            ("5g muối", "năm gam muối"),
            ("08:30:15", "tám giờ ba mươi phút mười lăm giây"),
            ("17:00", "mười bảy giờ"),
            ("8h-17h", "tám giờ đến mười bảy giờ"),
            ("8:00 - 17:30", "tám giờ đến mười bảy giờ ba mươi phút"),
            ("99:99", "99:99"),
        ],
    );
}

#[test]
fn vietnamese_money_and_measures() {
    assert_read(
        Language::Vietnamese,
        &[
            ("100.000đ", "một trăm nghìn đồng"),
            ("100.000 đ", "một trăm nghìn đồng"),
            ("1.500.000 VNĐ", "một triệu năm trăm nghìn đồng"),
            ("250.000 VND", "hai trăm năm mươi nghìn đồng"),
            ("30.000đ/quả", "ba mươi nghìn đồng trên quả"),
            ("20.000đ/kg", "hai mươi nghìn đồng trên ki lô gam"),
            ("5 triệu đồng", "năm triệu đồng"),
            ("50k", "năm mươi nghìn"),
            ("3tr", "ba triệu"),
            ("$20", "hai mươi đô la"),
            ("20$", "hai mươi đô la"),
            ("20 USD", "hai mươi đô la Mỹ"),
            ("$2,5 triệu", "hai phẩy năm triệu đô la"),
            ("€15", "mười lăm ơ rô"),
            ("2 tỷ USD", "hai tỷ đô la Mỹ"),
            ("10-15 triệu", "mười đến mười lăm triệu"),
            ("100-200k", "một trăm đến hai trăm nghìn"),
            ("25%", "hai mươi lăm phần trăm"),
            ("2,5%", "hai phẩy năm phần trăm"),
            ("5-10%", "năm đến mười phần trăm"),
            ("5kg", "năm ki lô gam"),
            ("3,5 km", "ba phẩy năm ki lô mét"),
            ("120 m2", "một trăm hai mươi mét vuông"),
            ("330.000 km²", "ba trăm ba mươi nghìn ki lô mét vuông"),
            ("60km/h", "sáu mươi ki lô mét trên giờ"),
            ("37°C", "ba mươi bảy độ xê"),
            ("-5°C", "âm năm độ xê"),
            ("20-25°C", "hai mươi đến hai mươi lăm độ xê"),
            ("16GB", "mười sáu ghi ga bai"),
            ("500ml", "năm trăm mi li lít"),
            ("1/2", "một phần hai"),
            ("3/4", "ba phần tư"),
            ("tỉ số 2-1", "tỉ số hai một"),
            ("thắng 1-3", "thắng một ba"),
        ],
    );
}

#[test]
fn vietnamese_names_and_abbreviations() {
    assert_read(
        Language::Vietnamese,
        &[
            ("TP.HCM", "thành phố Hồ Chí Minh"),
            ("TP. HCM", "thành phố Hồ Chí Minh"),
            ("TPHCM", "thành phố Hồ Chí Minh"),
            ("TP. Đà Nẵng", "thành phố Đà Nẵng"),
            ("Q.1", "quận một"),
            ("Q. Bình Thạnh", "quận Bình Thạnh"),
            ("P.5", "phường năm"),
            ("UBND", "ủy ban nhân dân"),
            ("HĐND", "hội đồng nhân dân"),
            ("trường THPT", "trường trung học phổ thông"),
            ("GS. TS. Nguyễn Văn A", "giáo sư tiến sĩ Nguyễn Văn A"),
            ("PGS.TS. Trần Bình", "phó giáo sư tiến sĩ Trần Bình"),
            ("ThS. Lê Chi", "thạc sĩ Lê Chi"),
            ("GDP", "giê dê pê"),
            ("HIV", "hát i vê"),
            ("NATO", "NATO"),
            ("thế kỷ XXI", "thế kỷ hai mươi mốt"),
            ("chương IV", "chương bốn"),
            ("quý III", "quý ba"),
            ("Đại hội XIII", "Đại hội mười ba"),
            ("thứ 2", "thứ hai"),
            ("thứ 4", "thứ tư"),
            ("lần thứ 3", "lần thứ ba"),
            ("lần thứ 1", "lần thứ nhất"),
            ("0912 345 678", "không chín một hai ba bốn năm sáu bảy tám"),
            ("0912345678", "không chín một hai ba bốn năm sáu bảy tám"),
            (
                "+84 912 345 678",
                "cộng tám bốn chín một hai ba bốn năm sáu bảy tám",
            ),
            ("1900 1234", "một chín không không một hai ba bốn"),
            (
                "https://vnexpress.net/thoi-su",
                "vnexpress chấm net gạch chéo thoi gạch ngang su",
            ),
            (
                "an.nguyen@gmail.com",
                "an chấm nguyen a còng gmail chấm com",
            ),
            ("tuoitre.vn", "tuoitre chấm vê en nờ"),
            ("cà phê & trà", "cà phê và trà"),
            ("XIN CHÀO", "XIN CHÀO"),
            ("Hôm nay trời đẹp quá!", "Hôm nay trời đẹp quá!"),
        ],
    );
}

#[test]
fn english_numbers_money_and_measures() {
    assert_read(
        Language::English,
        &[
            ("0", "zero"),
            ("12", "twelve"),
            ("21", "twenty-one"),
            ("105", "one hundred five"),
            ("1,234.5", "one thousand two hundred thirty-four point five"),
            ("1,500,000", "one million five hundred thousand"),
            ("3.14159", "three point one four one five nine"),
            ("-5", "minus five"),
            ("007", "zero zero seven"),
            ("$20", "twenty dollars"),
            ("$1", "one dollar"),
            ("$1.50", "one dollar and fifty cents"),
            ("$0.99", "ninety-nine cents"),
            ("$3.5 million", "three point five million dollars"),
            ("$500k", "five hundred thousand dollars"),
            ("$10-15", "ten to fifteen dollars"),
            ("€15", "fifteen euros"),
            ("£9.99", "nine pounds and ninety-nine pence"),
            ("25%", "twenty-five percent"),
            ("5-10%", "five to ten percent"),
            ("5kg", "five kilograms"),
            ("1 kg", "one kilogram"),
            ("60 mph", "sixty miles per hour"),
            ("37°C", "thirty-seven degrees Celsius"),
            ("6 ft", "six feet"),
            ("1/2 cup", "one half cup"),
            ("3/4", "three quarters"),
            ("2 1/2 cups", "two and a half cups"),
            ("10-15 people", "ten to fifteen people"),
            ("24/7", "twenty-four seven"),
            ("3rd", "third"),
            ("12th", "twelfth"),
            ("22nd", "twenty-second"),
            ("#1", "number one"),
            ("R&D", "R and D"),
            ("B2B", "B2B"),
            ("version 1.2.3", "version 1.2.3"),
        ],
    );
}

#[test]
fn english_dates_times_and_names() {
    assert_read(
        Language::English,
        &[
            ("April 15, 2024", "April fifteenth twenty twenty-four"),
            ("Apr. 15", "April fifteenth"),
            ("May 5th", "May fifth"),
            ("15 April 2024", "the fifteenth of April twenty twenty-four"),
            ("4/15/2024", "April fifteenth twenty twenty-four"),
            ("15/4/2024", "April fifteenth twenty twenty-four"),
            ("2024-04-15", "April fifteenth twenty twenty-four"),
            ("in 1999", "in nineteen ninety-nine"),
            ("since 1905", "since nineteen oh five"),
            ("in 2005", "in two thousand five"),
            ("1999-2005", "nineteen ninety-nine to two thousand five"),
            ("the 1990s", "the nineteen nineties"),
            ("8:30 am", "eight thirty AM"),
            ("5 p.m.", "five PM."),
            ("10:00", "ten o'clock"),
            ("9:05", "nine oh five"),
            ("17:45", "seventeen forty-five"),
            ("Chapter IV", "Chapter four"),
            ("World War II", "World War two"),
            ("Louis XIV", "Louis the fourteenth"),
            ("Mr. Smith", "Mister Smith"),
            ("Dr. Jones", "Doctor Jones"),
            ("St. Louis", "Saint Louis"),
            ("No. 12", "number twelve"),
            ("e.g. this", "for example this"),
            (
                "(555) 123-4567",
                "five five five one two three four five six seven",
            ),
            ("https://example.com/a-b", "example dot com slash a dash b"),
            ("a.b@gmail.com", "a dot b at gmail dot com"),
            ("Good morning.", "Good morning."),
            ("NASA", "NASA"),
        ],
    );
}

/// Lines of what is written and, after a tab, what is said: as people write in
/// news, scripts for videos, prices, addresses and schedules.
fn assert_table(language: Language, table: &str) {
    let cases: Vec<(&str, &str)> = table
        .lines()
        .map(|line| line.split_once('\t').expect("a tab"))
        .collect();
    assert!(cases.len() > 150);
    assert_read(language, &cases);
}

#[test]
fn vietnamese_as_people_write_it() {
    assert_table(Language::Vietnamese, include_str!("vietnamese.tsv"));
}

#[test]
fn english_as_people_write_it() {
    assert_table(Language::English, include_str!("english.tsv"));
}

#[test]
fn a_reading_keeps_where_its_parts_stand() {
    let spans: Vec<(Range<usize>, String)> = readings("từ 15-17/4", Language::Vietnamese)
        .into_iter()
        .map(|reading| (reading.span, reading.said.to_string()))
        .collect();
    assert_eq!(
        spans,
        [
            (3..6, "mười lăm đến".to_owned()),
            (6..10, "mười bảy tháng tư".to_owned())
        ]
    );
}

#[test]
fn what_is_only_looked_at_stays_as_it_is() {
    let spans = |text: &str| -> Vec<(String, String)> {
        readings(text, Language::English)
            .into_iter()
            .map(|reading| {
                let written = text.chars().skip(reading.span.start);
                (
                    written.take(reading.span.len()).collect(),
                    reading.said.to_string(),
                )
            })
            .collect()
    };
    let pair = |written: &str, said: &str| (written.to_owned(), said.to_owned());
    assert_eq!(spans("On Elm St. They met."), [pair("St", "Street")]);
    assert_eq!(spans("on Elm St. with us"), [pair("St.", "Street")]);
    assert_eq!(
        spans("a $20 bill in July 5–7, 2024"),
        [
            pair("$20", "twenty dollar"),
            pair("July ", "July"),
            pair("5–", "fifth to"),
            pair("7, ", "seventh"),
            pair("2024", "twenty twenty-four"),
        ]
    );
    assert_eq!(
        spans("1½ tsp. salt"),
        [pair("1½", "one and a half"), pair("tsp", "teaspoons")]
    );
}

#[test]
fn a_language_without_rules_is_left_as_it_is() {
    assert_eq!(Language::of("fr-FR"), None);
    assert_eq!(
        NormalizedText::of("5kg", None, &Dictionary::default()).text,
        "5kg"
    );
    assert_eq!(Language::of("vi-VN-x-south"), Some(Language::Vietnamese));
}

proptest! {
    #[test]
    fn origins_never_go_back_and_every_character_without_a_reading_is_kept(
        text in "[0-9a-zàđư .,/:%$€đkmhgTPHCMXIVSt@&#*~<>'½×–-]{0,60}",
    ) {
        for language in [Language::Vietnamese, Language::English] {
            let spoken = NormalizedText::of(&text, Some(language), &Dictionary::default());
            prop_assert_eq!(spoken.text.chars().count(), spoken.origins.len());
            prop_assert!(spoken.origins.is_sorted());
            let chars = text.chars().count();
            prop_assert!(spoken.origins.iter().all(|at| *at < chars));
            let found = readings(&text, language);
            for pair in found.windows(2) {
                prop_assert!(pair[0].span.end <= pair[1].span.start);
            }
            for reading in &found {
                prop_assert!(!reading.span.is_empty() && reading.span.end <= chars);
                prop_assert!(!reading.said.to_string().is_empty());
            }
        }
    }
}

proptest! {
    /// How much is said is known before it is said, whatever a language's rules make of it.
    #[test]
    fn no_rule_says_much_more_than_a_text_counts_as(
        text in r"(\$?[0-9]{1,12}[.,/:%-]?[0-9]{0,3} ?(k?m|kg|km/h|%|USD|đ|m2|lb|TP|TS|St|Dr|ha|IV|am)?[ .] ?){1,12}",
    ) {
        for language in [Language::English, Language::Vietnamese] {
            let said = NormalizedText::of(&text, Some(language), &Dictionary::default()).text;
            let (said, counted) = (cost_of(&said), cost_of(&text));
            prop_assert!(said <= 2 * counted + 40, "{} of {}: {}", said, counted, text);
        }
    }
}
