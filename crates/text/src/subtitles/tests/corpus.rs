//! Texts as people write them, in five languages.

use proptest::prelude::*;

/// Sentences of one language.
#[derive(Debug)]
pub(super) struct Corpus {
    /// BCP 47.
    pub language: &'static str,
    /// What stands between two sentences of a paragraph.
    blank: &'static str,
    sentences: &'static [&'static str],
}

impl Corpus {
    /// Every sentence once, in paragraphs of three.
    pub fn whole(&self) -> String {
        let paragraphs = self.sentences.chunks(3);
        let paragraphs: Vec<_> = paragraphs.map(|part| part.join(self.blank)).collect();
        paragraphs.join("\n\n")
    }
}

/// Any sentences in any order, with paragraphs that end anywhere.
pub(super) fn real_texts() -> impl Strategy<Value = (&'static Corpus, String)> {
    let choices = prop::collection::vec((any::<prop::sample::Index>(), 0_u32..10), 1..25);
    (prop::sample::select(&ALL[..]), choices).prop_map(|(corpus, choices)| {
        let mut text = String::new();
        for (sentence, gap) in choices {
            if !text.is_empty() {
                text.push_str(match gap {
                    0 => "\n",
                    1 => "\r\n\r\n",
                    2 => "\n\n",
                    _ => corpus.blank,
                });
            }
            text.push_str(corpus.sentences[sentence.index(corpus.sentences.len())]);
        }
        (corpus, text)
    })
}

pub(super) static ALL: [&Corpus; 5] = [
    &Corpus {
        language: "vi",
        blank: " ",
        sentences: &[
            "Sáng nay, ở TP.HCM, mưa suốt 3 giờ liền khiến nhiều tuyến đường ngập sâu 50 cm.",
            "Ông Nguyễn Văn An, 62 tuổi, nói: \"Tôi chưa từng thấy mưa to như thế này bao giờ!\"",
            "Giá vàng hôm nay là 84.500.000 đồng một lượng, tăng 1,2% so với hôm qua.",
            "Ừ.",
            "Thật không?",
            "Từ Hà Nội đến Đà Nẵng dài khoảng 764 km – đi tàu hoả mất chừng 16 giờ.",
            "Bạn có thể xem thêm tại https://vi.wikipedia.org/wiki/H%E1%BB%93_Ho%C3%A0n_Ki%E1%BA%BFm hoặc hỏi ban quản lý.",
            "Ngày 30/4/1975… rồi năm 1986, đất nước bước vào thời kỳ Đổi mới.",
            "Chị Trần Thị Bích Hằng bước vào, cởi áo mưa, đặt chiếc cặp lên bàn rồi lặng lẽ ngồi xuống bên cửa sổ.",
            "– Em ăn cơm chưa?",
            "“Chưa”, nó đáp, “nhưng em không đói.”",
            "Theo PGS.TS. Lê Minh Đức (Đại học Quốc gia Hà Nội), loài chim này chỉ còn khoảng 250 con.",
            "Chuyến bay VN-1234 sẽ cất cánh lúc 14 giờ 35 phút tại cửa số 7.",
            "Công nghệ AI đang thay đổi cách chúng ta học tập; làm việc; và cả cách chúng ta nghỉ ngơi.",
            "Không ai biết vì sao con mèo của bà Tư lại trèo lên được ngọn cây dừa cao mười hai mét ở sau nhà ông Bảy.",
            "Hãy gửi thư về địa chỉ lien-he@example.vn trước ngày 15 tháng 8 năm 2025.",
            "Trời ơi, đẹp quá!!!",
            "Người xưa có câu: đi một ngày đàng, học một sàng khôn.",
            "Nhiệt độ cao nhất là 38,5 °C, độ ẩm 75 %, gió cấp 4 – 5.",
            "Anh ấy (dù đã rất mệt) vẫn cố chạy nốt 5 km cuối cùng, và về đích sau 4 giờ 12 phút.",
            "Quận 1, Quận 3 và thành phố Thủ Đức là ba nơi có nhiều công trình nhất trong năm nay.",
            "Cuốn “Dế Mèn phiêu lưu ký” của nhà văn Tô Hoài được in lần đầu năm 1941…",
            "Mẹ tôi thường bảo rằng người ta sống ở đời cần có một tấm lòng mà chẳng cần phải để làm gì cả.",
            "Vâng, 100.000đ thôi ạ.",
        ],
    },
    &Corpus {
        language: "en",
        blank: " ",
        sentences: &[
            "At 6:45 a.m. on March 3, 2024, Dr. Emily Carter left her house in St. Louis for the last time.",
            "“I didn’t think it would work,” she said, “but it did.”",
            "The bridge is 1,280 metres long, 27 metres wide, and cost about $35 million to build.",
            "No.",
            "Really?",
            "See https://www.example.com/articles/2024/03/how-the-bridge-was-built?ref=newsletter for the details.",
            "Nobody knew why the old lighthouse keeper had stopped answering the radio that winter… and nobody asked.",
            "It was cold – far colder than anyone had expected – and the snow kept falling all through the night.",
            "Chapter 7: In which Mr. and Mrs. Thompson-Hughes miss their train.",
            "Prices rose by 4.5% in June, 3.8% in July, and only 0.2% in August.",
            "\"Run!\" shouted Captain James T. Kirk.",
            "The quick brown fox jumps over the lazy dog without ever once thinking about what the dog might say to it.",
            "Well, that's that.",
            "If you have any questions (and you will), write to help@example.org or call +1 555 0100 between 9 am and 5 pm.",
            "He was a tall, thin, rather nervous man; his brother, by contrast, was short, stout, and always laughing.",
            "NASA's Voyager 1 is now more than 24 billion kilometres away, and it still phones home.",
            "What happens when 300 people try to leave a small room at the same time?",
            "Stop it!",
            "The so-called “state-of-the-art” system failed twice in 48 hours, according to The New York Times.",
            "Add 250 g of flour, 2 eggs, a pinch of salt, and stir until smooth.",
            "We went north, then east, then north again, until there was no road left to follow and no map that showed where we were.",
            "— Who's there?",
            "“‘Never again,’ he told me,” said Anna, and she closed the book.",
            "Oh... I see.",
        ],
    },
    &Corpus {
        language: "de-DE",
        blank: " ",
        sentences: &[
            "Am 3. Oktober 1990 wurde Deutschland nach mehr als 40 Jahren wiedervereinigt.",
            "„Das ist doch nicht Ihr Ernst!“, rief Frau Dr. Schneider-Wibbelt und schlug die Tür zu.",
            "Die Donaudampfschifffahrtsgesellschaft beschäftigte zeitweise über 5.000 Menschen.",
            "Ja.",
            "Warum denn nicht?",
            "Der Zug fährt um 17:42 Uhr von Gleis 9 ab, hält in Göttingen, Kassel und Fulda, und erreicht München um 22:05 Uhr.",
            "Das Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz wurde 2013 aufgehoben.",
            "Er wusste, dass er, wenn er jetzt nicht ginge, nie wieder den Mut dazu finden würde.",
            "Rund 83,2 Millionen Einwohner, 16 Länder, eine Hauptstadt: Berlin.",
            "Das Paket wiegt 2,5 kg und kostet 7,49 € Porto.",
            "Mehr dazu unter https://www.beispiel.de/wissen/geschichte/mauerfall-und-wiedervereinigung-kurz-erklaert.html – oder im Buchhandel.",
            "»Komm«, sagte sie leise, »wir gehen nach Hause.«",
            "Johann Wolfgang von Goethe starb am 22. März 1832 in Weimar; seine letzten Worte sollen »Mehr Licht!« gewesen sein.",
            "Tja …",
            "Die Temperatur sank auf −12 °C, die Straßen waren spiegelglatt, und trotzdem fuhr der Bus pünktlich.",
            "Nein, nein, nein!",
            "Man nehme: 500 g Mehl, 1 Prise Salz, 250 ml Milch und etwas Geduld.",
            "Im Jahr 2022 stieg der Umsatz um ca. 12 % auf 1,4 Mrd. Euro.",
            "Ob es regnet oder schneit, ob die Sonne scheint oder der Sturm die Ziegel vom Dach fegt, Herr Müller geht jeden Morgen um sechs mit seinem Dackel spazieren.",
            "Gestern Abend (es war schon dunkel) klingelte es plötzlich an der Tür.",
            "– Wer ist da?",
            "Bitte schreiben Sie an info@beispiel.de oder rufen Sie uns unter 030 123456 an.",
            "Wer A sagt, muss auch B sagen.",
            "Die Kinder spielten den ganzen Nachmittag lang ungestört im Garten hinter dem alten Haus ihrer Großmutter.",
        ],
    },
    &Corpus {
        language: "fr-FR",
        blank: " ",
        sentences: &[
            "Le 14 juillet 1789, le peuple de Paris prit la Bastille.",
            "« Je n’y crois pas », murmura-t-elle en refermant la porte.",
            "La tour Eiffel mesure 330 m de haut, pèse 10 100 tonnes et reçoit près de 7 millions de visiteurs par an.",
            "Oui !",
            "Pourquoi pas ?",
            "M. Jean-Baptiste Delacroix habite au 221 bis, rue de la République ; il y vit seul depuis 1987.",
            "L’inflation a atteint 5,2 % en 2022, puis 4,9 % en 2023 : c’est beaucoup.",
            "— Tu viens demain ?",
            "— Peut-être… si le train n’a pas de retard.",
            "Pour en savoir plus, consultez https://www.exemple.fr/dossiers/histoire/la-prise-de-la-bastille-racontee-aux-enfants (en accès libre).",
            "Il pleuvait, il ventait, il faisait froid, et pourtant personne ne songeait à rentrer.",
            "Longtemps, je me suis couché de bonne heure.",
            "Elle dit : « Attends ! » puis elle courut jusqu’au bout du quai sans se retourner une seule fois.",
            "Le château de Chenonceau, construit sur le Cher, appartint à Diane de Poitiers.",
            "Aujourd’hui, il fait 35 °C à l’ombre ; demain, on annonce 38 °C.",
            "Ah…",
            "Prenez 200 g de farine, 3 œufs, 50 cl de lait, et laissez reposer 1 heure.",
            "Ce que nous savons, c’est que l’homme est sorti à 20 h 15 par la porte de service qui donne sur la cour intérieure de l’immeuble.",
            "« Non, répondit-il, pas ce soir. »",
            "Vraiment ?!",
            "Le roman « Les Misérables » (1862) de Victor Hugo compte plus de 1 500 pages.",
            "Écrivez-nous à contact@exemple.fr avant le 31 décembre 2025.",
            "Qui vole un œuf vole un bœuf.",
            "Quelqu’un – mais qui ? – avait laissé la lumière allumée dans le couloir du troisième étage.",
        ],
    },
    &Corpus {
        language: "ja",
        blank: "",
        sentences: &[
            "吾輩は猫である。",
            "名前はまだ無い。",
            "今日は2024年3月15日、金曜日です。",
            "「本当ですか？」と彼女は聞いた。",
            "はい。",
            "えっ！",
            "東京から大阪までは約515キロメートルで、新幹線なら2時間半ほどで着きます。",
            "田中さんは毎朝六時に起きて、犬の散歩をしてから、ゆっくりとコーヒーを飲みます。",
            "詳しくはhttps://www.example.jp/news/2024/03/15/sakura-zensen-to-hanami-no-meisho.htmlをご覧ください。",
            "『銀河鉄道の夜』は、宮沢賢治の代表作の一つである。",
            "気温は38.5℃まで上がり、湿度は75％を超えた。",
            "それは……誰にも分からない。",
            "国境の長いトンネルを抜けると雪国であった。",
            "その日の夕方、駅前の小さな喫茶店で、私は十年ぶりに彼と再会し、昔のことを夜遅くまで語り合った。",
            "料金は1,500円（税込）です。",
            "すみません、もう一度お願いします！",
            "「行こう」「うん、行こう」そういうことになった。",
            "AIの研究は、この10年間で大きく進歩した。",
            "雨が降っても、雪が降っても、山田先生は必ず自転車で学校に来る。",
            "なぜ、空は青いのだろうか？",
            "彼は言った――「もう遅い」。",
            "小麦粉200グラム、卵2個、牛乳300ミリリットルをよく混ぜてください。",
            "人間は考える葦である、とパスカルは書いた。",
            "ありがとうございました。",
        ],
    },
];
