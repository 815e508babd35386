//! The forms in which people write.

use super::{Writer, capital};

type Form = fn(&mut Writer) -> String;

/// By name; what is found more often among people's texts is here more often.
pub const FORMS: [(&str, Form); 30] = [
    ("prose", prose),
    ("prose", prose),
    ("dialogue", dialogue),
    ("dialogue", dialogue),
    ("dialogue", dialogue),
    ("dialogue", dialogue),
    ("poem", poem),
    ("list", list),
    ("list", list),
    ("chat", chat),
    ("chat", chat),
    ("post", post),
    ("code", code),
    ("JSON", json),
    ("markup", markup),
    ("table", table),
    ("form to fill in", form_to_fill_in),
    ("figures", figures),
    ("figures", figures),
    ("formulas", formulas),
    ("abbreviations", abbreviations),
    ("headings", headings),
    ("captions", captions),
    ("mail", mail),
    ("links", links),
    ("emoji", emoji),
    ("mixed scripts", mixed_scripts),
    ("dictionary", dictionary),
    ("log", log),
    ("song", song),
];

fn prose(w: &mut Writer) -> String {
    w.lines(1, 3, |w, _| w.sentences(1, 4))
}

/// A dash or a quote, or both in any order, with a blank or without.
fn dialogue(w: &mut Writer) -> String {
    w.lines(1, 5, |w, _| {
        let dash = w.pick(&[
            "-", "- ", "–", "– ", "—", "— ", "--", "-- ", "‒", "―", "−", "•-", "- -",
        ]);
        let (open, close) = w.quotes();
        let (said, told) = (w.sentence(), w.clause());
        match w.dice.below(11) {
            0 => format!("{dash}{said}"),
            1 => format!("{open}{said}{close}"),
            2 => format!("{open}{dash}{said}{close} {told}."),
            3 => format!("{dash}{open}{said}{close}"),
            4 => format!("{}: {open}{dash}{said}{close}", w.name()),
            5 => format!("{told}: {dash}{said}"),
            6 => format!("({dash}{said})"),
            7 => format!("{open}{said}{close} {dash}{told}. {dash}{said}"),
            8 => format!("{}:{dash}{said}", w.name().to_uppercase()),
            9 => format!("{dash}{said} {dash}{told}{dash}{}", w.sentence()),
            _ => format!(
                "[{}] {dash}{}{said}",
                w.name(),
                w.pick(&["…", "...", "'", "¿", "¡"])
            ),
        }
    })
}

fn poem(w: &mut Writer) -> String {
    let with_capitals = w.dice.once_in(2);
    w.lines(2, 10, |w, at| {
        let line = w.words(2, 6);
        let line = if with_capitals { capital(&line) } else { line };
        match w.dice.below(8) {
            0 => format!("    {line}"),
            1 => line + w.pick(&[",", " –", "…", "!", ";", "/", " //", "\\"]),
            2 if at > 1 => format!("\n{line}"),
            _ => line,
        }
    })
}

fn list(w: &mut Writer) -> String {
    let bullet = w.dice.below(22);
    w.lines(2, 8, |w, at| {
        let item = match w.dice.once_in(3) {
            true => w.sentence(),
            false => w.words(1, 5),
        };
        let letter = char::from(b'a' + u8::try_from(at).unwrap());
        let roman =
            ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii"][usize::try_from(at).unwrap() - 1];
        let mark = match bullet {
            0 => format!("{at}. "),
            1 => format!("{at}) "),
            2 => format!("({at}) "),
            3 => format!("{letter}) "),
            4 => format!("{letter}. "),
            5 => format!("{roman}. "),
            6 => format!("{}. ", roman.to_uppercase()),
            7 => format!("1.{at}. "),
            8 => format!("1.{at}.{at} "),
            9 => format!("{at}/ "),
            10 => format!("[{at}] "),
            11 => format!("#{at} "),
            12 => format!("{at}.-"),
            13 => "- [ ] ".into(),
            14 => "* ".into(),
            15 => "+".into(),
            16 => "-".into(),
            17 => format!(
                "{}-",
                ["①", "②", "③", "④", "⑤", "⑥", "⑦", "⑧"][usize::try_from(at).unwrap() - 1]
            ),
            18 => format!("  {}", w.pick(&["o ", "\u{f0b7} ", "\u{f0a7}", "§ ", "¶ "])),
            _ => w
                .pick(&[
                    "• ", "‣ ", "◦", "● ", "■ ", "→ ", "=> ", "✓ ", "☐ ", "– ", "~ ", "> ", ">> ",
                ])
                .into(),
        };
        mark + &item
    })
}

/// The last letter of it many times.
fn stretched(w: &mut Writer, word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(last) = word.chars().next_back() {
        let times = w.dice.between(2, 30);
        word.extend((0..times).map(|_| last));
    }
    word
}

fn chat(w: &mut Writer) -> String {
    w.lines(1, 6, |w, _| {
        let said = w.words(1, 6);
        match w.dice.below(13) {
            0 => {
                said + w.pick(&[
                    " :)",
                    " :))",
                    " =))))",
                    " ^^",
                    " :D",
                    " xD",
                    " -_-",
                    " :-(",
                    " T_T",
                    " <3",
                    " o_O",
                    " >.<",
                    " :'(",
                    " ¯\\_(ツ)_/¯",
                    " (╯°□°)╯︵ ┻━┻",
                    " (・∀・)",
                ])
            }
            1 => {
                said + w.pick(&[
                    "!!!",
                    "???",
                    "?!?!?!",
                    "!!!!!!!!!!!!!1",
                    "......",
                    ",,,,",
                    "~~~",
                    "…?",
                    "~",
                ])
            }
            2 => {
                let word = w.word();
                format!("{said} {}", stretched(w, word))
            }
            3 => w
                .pick(&[
                    "hihi",
                    "hahahahahahaha",
                    "kkkkkkkkkkkk",
                    "555555",
                    "wwwww",
                    "jajaja",
                    "hehe",
                    "lol",
                    "ok",
                    "k",
                    "ừm",
                    "uk",
                    "=]]",
                    "mmm",
                    "zzzzzzZZZ",
                    "ahihi đồ ngốk",
                    "vcl",
                    "ko bít",
                    "j z",
                    "dzậy",
                    "thik wá",
                ])
                .into(),
            4 => format!("@{} {said}", w.name()),
            5 => format!(
                "[{}:{:02}] <{}> {said}",
                w.dice.below(24),
                w.dice.below(60),
                w.name()
            ),
            6 => format!("> {said}\n{}", w.words(1, 4)),
            7 => format!("{said} #{} #{}", w.word(), w.foreign()),
            8 => format!("*{said}* _{}_ ~{}~ `{}`", w.word(), w.word(), w.word()),
            9 => said.to_uppercase() + "!!",
            10 => format!(
                "{said}{}{}",
                w.pick(&[".", ",", "!", "?", ";"]),
                w.words(1, 4)
            ),
            11 => format!("{}:{said}", w.name()),
            _ => said,
        }
    })
}

fn post(w: &mut Writer) -> String {
    let heading: String = match w.dice.below(3) {
        0 => w
            .pick(&[
                "𝐓𝐡𝐨̂𝐧𝐠 𝐛𝐚́𝐨",
                "𝗛𝗲𝗹𝗹𝗼 𝘄𝗼𝗿𝗹𝗱",
                "𝓢𝓪𝓵𝓮 𝓾𝓹 𝓽𝓸",
                "Ｓａｌｅ　５０％",
                "🅂🄰🄻🄴",
                "ⓢⓐⓛⓔ",
                "ꜱᴀʟᴇ",
                "s̶a̶l̶e̶",
            ])
            .into(),
        1 => format!("🔥🔥🔥 {} 🔥🔥🔥", w.words(1, 4).to_uppercase()),
        _ => format!("═══★ {} ★═══", w.words(1, 4)),
    };
    let tags = w
        .lines(1, 4, |w, _| format!("#{}", w.word()))
        .replace('\n', " ");
    format!("{heading}\n👉 {}\n☎️ {}\n{tags}", w.sentence(), phone(w))
}

fn phone(w: &mut Writer) -> String {
    let [a, b, c] = [(); 3].map(|()| w.dice.below(1000));
    match w.dice.below(6) {
        0 => format!("0{a:03}.{b:03}.{c:03}"),
        1 => format!("(+84) {a} {b:03} {c:03}"),
        2 => format!("0{a:03}-{b:03}-{c:03}"),
        3 => format!("+49 (0){a}/{b}{c}"),
        4 => format!("0{a:03}{b:03}{c:03}"),
        _ => format!("1-800-{}-{c:04}", w.pick(&["FLOWERS", "555", "abc"])),
    }
}

fn identifier(w: &mut Writer) -> String {
    let (a, b) = (w.word(), w.foreign());
    match w.dice.below(5) {
        0 => format!("{a}_{b}"),
        1 => format!("{a}{}", capital(b)),
        2 => format!("__{a}__"),
        3 => format!("{a}-{b}"),
        _ => format!("{}_{}", a.to_uppercase(), b.to_uppercase()),
    }
}

fn code(w: &mut Writer) -> String {
    w.lines(2, 9, |w, at| {
        let (a, b, n) = (identifier(w), identifier(w), w.number());
        let indent = "    ".repeat(usize::try_from(at % 3).unwrap());
        let line = match w.dice.below(18) {
            0 => format!("fn {a}(&mut self, {b}: &'static str) -> Result<(), Box<dyn Error>> {{"),
            1 => "}".into(),
            2 => format!("if ({a} != null && !{b}.isEmpty()) {{ return {n}; }}"),
            3 => format!("for (int i = 0; i < {n}; ++i) {a}[i] += {b}->x * 0xFF;"),
            4 => format!("def {a}(self, *args, **kwargs): # {}", w.sentence()),
            5 => format!("{a} = [x**2 for x in range({n}) if x % 2 == 0]"),
            6 => format!(
                "$ curl -sSL 'https://example.com/{a}?q={b}' | grep -oE '[^\"]+' > /dev/null 2>&1"
            ),
            7 => format!("SELECT {a}.*, COUNT(*) FROM `{b}` WHERE x <> '{n}' AND y LIKE '%{a}%';"),
            8 => format!("// TODO({}): {}", w.name(), w.sentence()),
            9 => format!("/* {} */", w.words(1, 5)),
            10 => format!("const {a} = ({b}) => {b}?.{a} ?? `${{{b}}}`;"),
            11 => format!("s/^\\s*({a}|{b})+$/\\1-\\2/g"),
            12 => {
                "--------------------------------------------------------------------------------"
                    .into()
            }
            13 => format!("@@ -{},7 +{},9 @@ {a}", w.dice.below(99), w.dice.below(99)),
            14 => format!("-{a}"),
            15 => format!("+{b}"),
            16 => format!("#include <{a}.h>"),
            _ => format!("let {a}: Vec<HashMap<String, Option<u64>>> = {b}::<_>()?;"),
        };
        indent + &line
    })
}

fn json(w: &mut Writer) -> String {
    let fields: Vec<String> = (0..w.dice.between(1, 6))
        .map(|_| {
            let value = match w.dice.below(6) {
                0 => w.number(),
                1 => "null".into(),
                2 => format!("[{}, {}, true]", w.number(), w.number()),
                3 => format!("{{\"{}\": \"\\u00e9\\n{}\"}}", w.word(), w.word()),
                _ => format!("\"{}\"", w.sentence().replace('"', "\\\"")),
            };
            format!("\"{}\":{}{value}", identifier(w), w.pick(&["", " "]))
        })
        .collect();
    match w.dice.below(3) {
        0 => format!("{{{}}}", fields.join(",")),
        1 => format!("{{\n  {}\n}}", fields.join(",\n  ")),
        _ => format!(
            "{}: {}\n- {}",
            identifier(w),
            w.words(1, 3),
            fields.join("\n- ")
        ),
    }
}

fn markup(w: &mut Writer) -> String {
    w.lines(1, 6, |w, _| {
        let (a, b) = (w.words(1, 4), w.words(1, 4));
        match w.dice.below(12) {
            0 => format!(
                "<p class=\"{}\">{a} <b>{b}</b>&nbsp;&amp;&#233;</p>",
                w.word()
            ),
            1 => format!("<!-- {a} --><br/>{b}"),
            2 => format!("## {a}"),
            3 => format!("**{a}** _{b}_ ***{}*** ~~{}~~", w.word(), w.word()),
            4 => format!(
                "[{a}](https://example.com/{})![{b}](a.png \"{}\")",
                w.word(),
                w.word()
            ),
            5 => format!("```{}\n{a}\n```", w.pick(&["", "rust", "js"])),
            6 => format!(
                "\\section{{{a}}} \\textbf{{{b}}} $\\alpha_{{{}}}^2$ \\cite{{x}}",
                w.word()
            ),
            7 => format!("{{{{{a}|{b}=[[{}]]}}}}'''{}'''", w.word(), w.word()),
            8 => format!("==={a}===\n----"),
            9 => format!(".. {a}::\n   :{b}: {}", w.word()),
            10 => format!("[b]{a}[/b] [[{b}]] [[m'a|{}]]", w.word()),
            _ => format!("<speak>{a}<break time=\"500ms\"/>{b}</speak>"),
        }
    })
}

fn table(w: &mut Writer) -> String {
    let (style, columns) = (w.dice.below(7), w.dice.between(2, 5));
    w.lines(2, 6, |w, at| {
        let cells: Vec<String> = (0..columns)
            .map(|_| {
                if w.dice.once_in(2) {
                    w.number()
                } else {
                    w.words(1, 2)
                }
            })
            .collect();
        let dashes = |ends: &str, between: &str, dash: &str| {
            let columns = vec![dash.repeat(8); cells.len()];
            format!("{ends}{}{ends}\n", columns.join(between))
        };
        match style {
            0 => cells.join(","),
            1 => cells.join(";"),
            2 => cells.join("\t"),
            3 if at == 2 => dashes("|", "|", "-") + &format!("| {} |", cells.join(" | ")),
            3 => format!("| {} |", cells.join(" | ")),
            4 => dashes("+", "+", "-") + &format!("| {} |", cells.join(" | ")),
            5 => dashes("┼", "┼", "─") + &format!("│{}│", cells.join("│")),
            _ => cells.join(w.pick(&[" . . . . . . ", "..............", "      ", "____", " |-"])),
        }
    })
}

fn form_to_fill_in(w: &mut Writer) -> String {
    w.lines(1, 5, |w, _| {
        let field = capital(&w.words(1, 3));
        match w.dice.below(7) {
            0 => format!("{field}: {}", ".".repeat(w.dice.index(90) + 3)),
            1 => format!("{field}: {}", "…".repeat(w.dice.index(40) + 1)),
            2 => format!("{field}: {}", "_".repeat(w.dice.index(90) + 3)),
            3 => format!("{field}: ☐ {} ☑ {} ( ) {}", w.word(), w.word(), w.word()),
            4 => format!("{field}: ___/___/20___ ({}*)", w.word()),
            5 => format!("{field}{}{}", "-".repeat(w.dice.index(90)), w.word()),
            _ => format!(
                "{} o0o {}\n{}",
                "-".repeat(8),
                "-".repeat(8),
                field.to_uppercase()
            ),
        }
    })
}

fn figures(w: &mut Writer) -> String {
    w.lines(1, 5, |w, _| {
        let (n, word) = (w.number(), w.words(1, 3));
        let (d, m, y) = (
            w.dice.between(1, 31),
            w.dice.between(1, 12),
            w.dice.between(1900, 2030),
        );
        let told = match w.dice.below(20) {
            0 => format!(
                "{n}{}",
                w.pick(&[
                    "đ", " VNĐ", "₫", "k", "tr5", " tỷ", "€", " EUR", "¥", "円", "₽", "₹", " $US",
                    "元", "원"
                ])
            ),
            1 => format!(
                "{}{n}",
                w.pick(&[
                    "$", "€", "£", "US$", "R$", "CHF ", "₩", "~", "±", "≈", "<", ">=", "-", "+"
                ])
            ),
            2 => format!("{d}/{m}/{y}"),
            3 => format!("{y}-{m:02}-{d:02}T{:02}:{:02}:00+07:00", d % 24, m * 4),
            4 => format!("{d}.{m}.{y}"),
            5 => format!("{}h{:02}-{}h", d % 24, m * 4, m),
            6 => format!(
                "{}:{:02} {}",
                m,
                d,
                w.pick(&["am", "p.m.", "Uhr", "SA", "CH"])
            ),
            7 => format!(
                "{n}{}",
                w.pick(&[
                    "km", " km/h", "kg", "m²", " m3", "°C", "℃", "%", "‰", "''", "′", "″", "mmHg",
                    " µg/ml", "kWh", "GB", "×", "x", "px"
                ])
            ),
            8 => format!("{d}-{}", d + m),
            9 => format!("{d}%-{m}%"),
            10 => phone(w),
            11 => format!("{d}/{m}"),
            12 => format!("{y}-{}", y + 5),
            13 => format!("{d}°{m}′{}″ N, {n}° Đ", m * 3),
            14 => format!("{d}⁄{m} ½ ¾ ⅓ 2⅛"),
            15 => format!("{d}:{m} ({}-{})", w.dice.below(9), w.dice.below(9)),
            16 => format!("No.{n} №{d} #{m} Nr. {d}"),
            17 => format!("v{d}.{m}.0-rc.{} (build {n})", m % 4),
            18 => format!(
                "{:032x}",
                u128::from(w.dice.roll()) * u128::from(w.dice.roll())
            ),
            _ => (0..w.dice.between(3, 25))
                .map(|_| w.number())
                .collect::<Vec<_>>()
                .join(w.pick(&[" ", ", ", "; ", "-", "/", "+", "\t"])),
        };
        format!("{word} {told}{}", w.pick(&["", ".", ",", ")", "!"]))
    })
}

fn formulas(w: &mut Writer) -> String {
    w.lines(1, 4, |w, _| {
        let n = w.number();
        match w.dice.below(12) {
            0 => format!("{n} + {} = {}", w.number(), w.number()),
            1 => "E = mc²; a² + b² ≥ 2ab".into(),
            2 => "x₁,₂ = (−b ± √(b²−4ac)) / 2a".into(),
            3 => "∑_{i=1}^{n} i = n(n+1)/2".into(),
            4 => "∫₀^∞ e^(−x²) dx = √π⁄2".into(),
            5 => "H₂SO₄ + 2NaOH → Na₂SO₄ + 2H₂O".into(),
            6 => "CH₃-CH₂-OH, C₆H₁₂O₆, Fe³⁺, ²³⁵U".into(),
            7 => format!("f'(x) = {n}x^{{-3}} ∀x∈ℝ∖{{0}}, |x|<ε ⇒ ‖y‖≤δ"),
            8 => "A∪B ⊆ C∩D, ¬p ∨ q ⇔ p→q, ∃!x".into(),
            9 => "sin²α + cos²α = 1; π ≈ 3,14159; 10⁻⁹; 6.02×10^23".into(),
            10 => format!("({n}-{n})*{n}/{n}%{n}"),
            _ => format!("{}: $\\frac{{a}}{{b}}$ {n}!", w.words(1, 3)),
        }
    })
}

fn abbreviations(w: &mut Writer) -> String {
    let some: Vec<String> = (0..w.dice.between(2, 14))
        .map(|_| match w.dice.below(7) {
            0 => w
                .pick(&[
                    "TP.HCM",
                    "PGS.TS.",
                    "ThS.",
                    "GS",
                    "UBND",
                    "THPT",
                    "v.v.",
                    "v.v…",
                    "NXB",
                    "TT-BGDĐT",
                    "QĐ-TTg",
                    "08/2023/TT-BGDĐT",
                    "HĐND",
                    "CN.",
                    "Q.1",
                    "P.12",
                ])
                .into(),
            1 => w
                .pick(&[
                    "U.S.A.",
                    "e.g.",
                    "i.e.",
                    "a.m.",
                    "Ph.D.",
                    "vs.",
                    "etc.",
                    "Mr.",
                    "St.",
                    "No.",
                    "J.R.R.",
                    "R&D",
                    "AT&T",
                    "24/7",
                    "w/o",
                    "c/o",
                    "s'",
                    "'90s",
                    "'tis",
                    "B.A.-level",
                ])
                .into(),
            2 => w
                .pick(&[
                    "z.B.",
                    "d.h.",
                    "u.a.",
                    "bzw.",
                    "usw.",
                    "M.",
                    "Mme",
                    "p.ex.",
                    "etc...",
                    "т.е.",
                    "и т.д.",
                    "г.",
                    "п.п.",
                    "Sr.",
                    "EE.UU.",
                    "Ltda.",
                    "d.C.",
                ])
                .into(),
            3 => w
                .name()
                .chars()
                .filter(|c| c.is_alphabetic())
                .flat_map(|c| [c, '.'])
                .collect(),
            4 => w
                .words(1, 3)
                .split(' ')
                .filter_map(|word| word.chars().next())
                .flat_map(char::to_uppercase)
                .collect(),
            5 => format!(
                "{}-{}",
                w.pick(&["F", "A", "COVID", "T", "MiG", "Km", "QL"]),
                w.dice.below(400)
            ),
            _ => w.word().into(),
        })
        .collect();
    some.join(w.pick(&[" ", ", ", " ", "/", " - ", "; "]))
}

fn headings(w: &mut Writer) -> String {
    w.lines(1, 5, |w, at| {
        let title = w.words(1, 7);
        let roman = ["I", "II", "III", "IV", "V"][usize::try_from(at).unwrap() - 1];
        match w.dice.below(10) {
            0 => format!("{roman}. {}", title.to_uppercase()),
            1 => format!("CHƯƠNG {roman}: {}", title.to_uppercase()),
            2 => format!("Điều {at}. {title}"),
            3 => format!("§ {at} Abs. {at} S. {at}"),
            4 => format!("***\n\n{}", title.to_uppercase()),
            5 => title
                .to_uppercase()
                .chars()
                .flat_map(|c| [c, ' '])
                .collect(),
            6 => format!("{}\n{}", title, "=".repeat(w.dice.index(80) + 3)),
            7 => format!("{title} {} {at}", ".".repeat(w.dice.index(60) + 3)),
            8 => format!("-{at}-\n{title}"),
            _ => format!("~ {} ~", capital(&title)),
        }
    })
}

fn captions(w: &mut Writer) -> String {
    w.lines(1, 4, |w, at| {
        let (s, ms) = (w.dice.below(60), w.dice.below(1000));
        let said = match w.dice.below(5) {
            0 => format!("<i>{}</i>", w.sentence()),
            1 => format!("-{}\n-{}", w.sentence(), w.sentence()),
            2 => format!("{{\\an8}}♪ {} ♪", w.words(1, 6)),
            3 => format!("[{}] {}", w.words(1, 2).to_uppercase(), w.sentence()),
            _ => w.sentence(),
        };
        match w.dice.below(3) {
            0 => format!("[{:02}:{s:02}.{:02}]{said}", at, ms / 10),
            _ => format!("{at}\n00:{at:02}:{s:02},{ms:03} --> 00:{at:02}:{s:02},999\n{said}\n"),
        }
    })
}

fn mail(w: &mut Writer) -> String {
    let (from, to) = (w.name(), w.name());
    format!(
        "From: \"{from}\" <{}.x+y@example.com>\nTo: {to}; undisclosed-recipients:;\nDate: Mon, 30 Nov 2026 23:15:00 +0700\nSubject: {}{}\nMessage-ID: <CAF{:x}@mail.example.com>\n\n{},\n\n{}\n\n> > {}\n> {}\n\n{}\n-- \n{from}\nTel: {}",
        w.dice.below(1000),
        w.pick(&["Re: ", "Fwd: RE: AW: ", "", "[SPAM] "]),
        w.words(1, 6),
        w.dice.roll(),
        w.words(1, 2),
        w.sentences(1, 2),
        w.sentence(),
        w.sentence(),
        w.pick(&["Trân trọng,", "Best,", "MfG", "Cdlt", "Thanks & Regards,"]),
        phone(w),
    )
}

fn links(w: &mut Writer) -> String {
    w.lines(1, 5, |w, _| {
        let (a, b) = (w.word(), w.foreign());
        match w.dice.below(10) {
            0 => format!(
                "https://www.example.com/{a}/{b}?utm_source={a}&id={}#top",
                w.number()
            ),
            1 => {
                "https://vi.wikipedia.org/wiki/H%E1%BB%93_Ch%C3%AD_Minh_(ng%C6%B0%E1%BB%9Di)".into()
            }
            2 => format!("www.{}.vn", a.to_lowercase()),
            3 => format!("{}@example.co.uk", a.to_lowercase()),
            4 => format!(
                "http://192.168.{}.1:8080/~{a}/index.php?x[]=1",
                w.dice.below(256)
            ),
            5 => format!("C:\\Users\\{a}\\AppData\\Local\\{b}.exe"),
            6 => format!("/usr/share/{a}/{b}-2.1_amd64.tar.gz"),
            7 => format!(
                "{}: https://youtu.be/{:x} (00:{:02})",
                w.words(1, 4),
                w.dice.roll(),
                w.dice.below(60)
            ),
            8 => format!(
                "magnet:?xt=urn:btih:{:x}{:x}&dn={a}",
                w.dice.roll(),
                w.dice.roll()
            ),
            _ => format!(
                "doi:10.1000/xyz{} ISBN 978-3-16-148410-0, [{a}]: <{b}>",
                w.number()
            ),
        }
    })
}

fn emoji(w: &mut Writer) -> String {
    w.lines(1, 4, |w, _| {
        let one = |w: &mut Writer| {
            w.pick(&[
                "😀",
                "👍🏽",
                "👨‍👩‍👧",
                "🇻🇳",
                "❤️",
                "☕️",
                "1️⃣",
                "#️⃣",
                "👩🏿‍🚀",
                "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
                "⚠",
                "©",
                "™",
                "→",
                "✨",
                "🧑‍💻",
                "🫡",
                "㊗️",
                "🅰",
                "♂",
                "\u{200d}",
                "\u{fe0f}",
                "🏽",
            ])
        };
        let (a, b) = (one(w), one(w));
        match w.dice.below(6) {
            0 => format!("{}{a}{}", w.word(), w.word()),
            1 => format!("{a} {} {b}", w.words(1, 5)),
            2 => format!("{}{}", w.words(1, 5), a.repeat(w.dice.index(40) + 1)),
            3 => format!("{a}-{}{b}.{a}", w.word()),
            4 => w.words(2, 6).split(' ').collect::<Vec<_>>().join(a),
            _ => format!("{a}{b}{}!{b}", w.number()),
        }
    })
}

fn mixed_scripts(w: &mut Writer) -> String {
    let some: Vec<&str> = (0..w.dice.between(3, 25))
        .map(|_| match w.dice.below(5) {
            0 => w.word(),
            1 => w.pick(&[
                "ภาษาไทย",
                "שָׁלוֹם",
                "Ελληνικά",
                "Қазақ",
                "ქართული",
                "Հայերեն",
                "አማርኛ",
                "বাংলা",
                "தமிழ்",
                "తెలుగు",
                "ಕನ್ನಡ",
                "മലയാളം",
                "සිංහල",
                "ខ្មែរ",
                "ລາວ",
                "မြန်မာ",
                "བོད་",
                "ᏣᎳᎩ",
                "ⵣ",
                "𐌰",
                "ʻŌlelo",
                "ƙɓ",
                "ɑ̃ŋ",
                "Þórr",
                "Łódź",
                "İstanbul",
                "ǹ",
                "ⴰⵣⵓⵍ",
                "ᠮᠣᠩ",
                "ꦗꦮ",
                "ߒߞߏ",
                "اُردُو",
                "فارسی",
                "پښتو",
            ]),
            _ => w.foreign(),
        })
        .collect();
    some.join(w.pick(&[" ", " ", "", "-", "/", ", ", "·", "\u{200b}"]))
}

fn dictionary(w: &mut Writer) -> String {
    w.lines(1, 4, |w, at| {
        let (word, other) = (w.word(), w.foreign());
        let ipa = w.pick(&[
            "[haː˨˩ nɔj˧˦]",
            "/ˈwɔːtə(ɹ)/",
            "[ˈʃtʁaːsə]",
            "/ɡaʁ.sɔ̃/",
            "[ɕiɛ˥˩]",
            "\\ˈwä-tər\\",
        ]);
        match w.dice.below(6) {
            0 => format!(
                "{word} {ipa} (n.) {at}. {}; {at}a. {}.",
                w.clause(),
                w.clause()
            ),
            1 => format!(
                "{word} ({other}; {}: {})",
                w.pick(&["Hán-Nôm", "chữ Hán", "zh", "engl."]),
                w.pick(&["河內", "龍𤽗", "⿰亻為", "阿"])
            ),
            2 => format!("{word}, -{other}, -en (f.; Pl. -n)"),
            3 => format!("*{word} → †{other} ~ ‡{word}ʰ < {other}₁"),
            4 => format!("{}·{}·{}", word, w.word(), w.word()),
            _ => format!("\"{word}\" = '{other}'; cf. «{word}»¹ [{at}][a] (sic!)"),
        }
    })
}

fn log(w: &mut Writer) -> String {
    w.lines(1, 6, |w, at| match w.dice.below(6) {
        0 => format!(
            "2026-11-30 23:15:{at:02},123 ERROR [main] c.e.{}: {}",
            identifier(w),
            w.clause()
        ),
        1 => format!(
            "    at {}.{}({}.java:{})",
            identifier(w),
            identifier(w),
            capital(w.word()),
            w.dice.below(999)
        ),
        2 => format!(
            "127.0.0.1 - - [30/Nov/2026:23:15:00 +0000] \"GET /{} HTTP/1.1\" 200 {}",
            w.word(),
            w.dice.below(9999)
        ),
        3 => format!(
            "[{}>{}] {}% ({}/{}) eta 00:0{at}",
            "=".repeat(w.dice.index(60)),
            " ".repeat(9),
            w.dice.below(100),
            w.number(),
            w.number()
        ),
        4 => format!(
            "\u{1b}[31m{}\u{1b}[0m: 0x{:016x} {}",
            w.word(),
            w.dice.roll(),
            w.word()
        ),
        _ => format!(
            "{:08x}: {:04x} {:04x} {:04x}  .{}.|.",
            at * 16,
            w.dice.below(65536),
            w.dice.below(65536),
            w.dice.below(65536),
            w.word()
        ),
    })
}

fn song(w: &mut Writer) -> String {
    w.lines(2, 6, |w, _| {
        let line = w.words(2, 7);
        match w.dice.below(7) {
            0 => format!(
                "[{}] {line}",
                w.pick(&["Am", "C#m7/G", "Verse 1", "Đk:", "x2", "F♯", "B♭"])
            ),
            1 => format!("{line} (x{})", w.dice.between(2, 4)),
            2 => format!("Am      G        C\n{line}"),
            3 => w
                .pick(&[
                    "la la la la la",
                    "na-na-na-na-na-na",
                    "oh oh oh-oh-oh",
                    "ớ ơ ờ…",
                    "da-da-di-da-da",
                    "shoo-be-doo-wop",
                ])
                .into(),
            4 => line.split(' ').flat_map(|word| [word, " - "]).collect(),
            5 => format!("♪♫ {line} ♬"),
            _ => line,
        }
    })
}
