//! Words of twelve languages, for texts that are made of them.

/// What a language is written with.
pub struct Language {
    pub tag: &'static str,
    /// The voices that read it.
    pub voices: &'static [&'static str],
    /// Parted by blanks.
    pub words: &'static str,
    pub names: &'static str,
    /// What parts two words.
    pub blank: &'static str,
    /// Comma, full stop, exclamation and question mark.
    pub marks: [&'static str; 4],
    /// How a sentence that asks begins, where it begins with a mark.
    pub opens: [&'static str; 2],
}

const LATIN_MARKS: [&str; 4] = [",", ".", "!", "?"];
const WIDE_MARKS: [&str; 4] = ["，", "。", "！", "？"];
const NOTHING: [&str; 2] = ["", ""];

/// Vietnamese comes first, and most.
pub static LANGUAGES: [Language; 12] = [
    Language {
        tag: "vi",
        voices: &["vi", "vi", "vi-vn-x-central", "vi-vn-x-south"],
        words: "anh em chị ông bà cô chú mẹ con cháu tôi bạn mình nó họ ai đâu này kia đó \
            là có không được đã đang sẽ rồi cũng nhưng và với của cho trong trên dưới ngoài \
            trời mưa nắng gió bão nước lửa đất núi sông biển rừng đường phố chợ nhà cửa bàn \
            ghế sách vở trường lớp học sinh giáo viên thầy bệnh viện bác sĩ thuốc ăn uống \
            ngủ nghỉ đi đứng chạy nhảy nói cười khóc hát nghe nhìn thấy biết hiểu nghĩ yêu \
            thương ghét giận buồn vui sướng khổ đẹp xấu tốt lớn nhỏ cao thấp dài ngắn mới \
            cũ nhanh chậm nóng lạnh ngon ngọt mặn chua cay phở bún bánh mì cơm rau cá thịt \
            gà vịt trâu bò lợn chó mèo hoa quả xoài nghiêng khuya quyển giếng nguyễn ưỡn \
            ướt ngoằn ngoèo khúc khuỷu thuở quạnh quẽ xoong gì giặt gìn ủy quý yếu ồ ừ ơi \
            ạ nhé nha hả chứ máy tính điện thoại mạng internet facebook email video online",
        names: "Nguyễn Trần Lê Phạm Hoàng Huỳnh Phan Vũ Võ Đặng Bùi Đỗ Hồ Ngô Dương Lý An \
            Bình Châu Dung Đức Giang Hạnh Hương Khánh Linh Minh Ngọc Oanh Phúc Quỳnh Thảo \
            Uyên Vân Xuân Yến Hà-Nội Sài-Gòn Huế Đà-Lạt Cần-Thơ TP.HCM",
        blank: " ",
        marks: LATIN_MARKS,
        opens: NOTHING,
    },
    Language {
        tag: "en",
        voices: &["en-us", "en-us", "en-gb-x-rp", "en-gb-scotland"],
        words: "the a an and or but of to in on at by for with from as is are was were be been \
            it he she they we you I this that these those there here what who when where why \
            how not no yes don't can't isn't I'm we've they'd o'clock rock'n'roll one two \
            three house street river mountain rain weather bread water coffee table chair \
            book school teacher doctor hospital train station bridge window morning evening \
            yesterday tomorrow through though thought tough enough queue rhythm colonel read \
            live close wind tear run running ran speak spoken laugh quiet quite quickly well \
            good better best old new small great long short hot cold co-operate e-mail \
            twenty-first mother-in-law naïve café résumé über-cool",
        names: "James Mary O'Brien McDonald Smith-Jones Elizabeth D'Arcy St. London Edinburgh \
            York Leicester Massachusetts Ohio Mr. Dr. NASA BBC iPhone YouTube",
        blank: " ",
        marks: LATIN_MARKS,
        opens: NOTHING,
    },
    Language {
        tag: "fr",
        voices: &["fr", "fr", "fr-be", "fr-ch"],
        words: "le la les un une des et ou mais où dans sur sous avec pour par sans est sont \
            était c'est n'est qu'il qu'on l'eau l'été d'accord aujourd'hui j'ai s'il jusqu'à \
            très bien mal petit grand vieux vieil nouvel garçon fille maison rue rivière \
            montagne pluie soleil pain fromage œuf bœuf cœur sœur forêt hôtel hôpital école \
            élève maître médecin gare train fenêtre matin soir hier demain peut-être \
            rendez-vous vas-y dis-moi a-t-il Noël naïf aiguë ça garçons reçu français être \
            avoir faire aller venir voir savoir quatre-vingt-dix",
        names: "Jean-Pierre François Hélène Zoé Benoît Léa d'Artagnan Lefèvre Paris Besançon \
            Saint-Étienne L'Haÿ-les-Roses",
        blank: " ",
        marks: [",", ".", " !", " ?"],
        opens: NOTHING,
    },
    Language {
        tag: "de",
        voices: &["de"],
        words: "der die das ein eine und oder aber nicht kein mit für von zu im am auf über unter \
            vor hinter zwischen ist sind war wird werden können müssen dürfen möchte gehen \
            ging gegangen sehen sah groß klein schön häßlich grün weiß Straße Fluß Maß Größe \
            Haus Häuser Bäcker Brötchen Käse Würstchen Übung Öl Ärger Schule Lehrerin Ärztin \
            Krankenhaus Bahnhof Fenster Morgen gestern heute übermorgen Rindfleisch \
            Donaudampfschifffahrtsgesellschaft Rechtsschutzversicherung E-Mail U-Bahn \
            s'ist ich's gibt's",
        names: "Müller Schröder Weiß Jürgen Käthe Günther von-der-Leyen Köln München Zürich \
            Düsseldorf",
        blank: " ",
        marks: LATIN_MARKS,
        opens: NOTHING,
    },
    Language {
        tag: "es",
        voices: &["es", "es-419"],
        words: "el la los las un una y o pero de del al en con por para sin es son está están fue \
            hay muy más menos también sí no qué quién cuándo dónde cómo niño niña señor \
            señora año mañana ayer hoy casa calle río montaña lluvia sol pan queso agua \
            corazón canción pingüino vergüenza averigüe árbol lápiz jamás avión inglés \
            médico escuela maestro estación ventana noche hablar comer vivir voy vas va",
        names: "José María Muñoz Núñez Peña Ángel Íñigo Óscar Úrsula Málaga Logroño Cádiz",
        blank: " ",
        marks: LATIN_MARKS,
        opens: ["¡", "¿"],
    },
    Language {
        tag: "pt",
        voices: &["pt", "pt-br"],
        words: "o a os as um uma e ou mas de do da em no na com por para sem é são está estão foi \
            há muito mais menos também sim não quê quem quando onde como você vocês nós avó \
            avô mãe pai irmã irmão coração canção pão pães cães limões à às água rio montanha \
            chuva sol queijo escola professora médico estação janela manhã noite ontem hoje \
            amanhã falar comer viver vou vai dá-me fá-lo-ei guarda-chuva",
        names: "João Conceição Antônio António Gonçalves Simões São-Paulo Brasília Évora",
        blank: " ",
        marks: LATIN_MARKS,
        opens: NOTHING,
    },
    Language {
        tag: "ru",
        voices: &["ru"],
        words: "и в не на я он она оно они мы вы ты что как это все но по за из у же бы от до для \
            если или когда где кто почему потому очень ещё уже только нет да дом улица река \
            гора дождь солнце хлеб сыр вода кофе стол стул книга школа учитель врач больница \
            вокзал окно утро вечер вчера сегодня завтра большой маленький хороший новый \
            старый красивый говорить сказал смеяться съешь объезд ёлка мышь щётка кто-то \
            кое-что по-русски",
        names: "Иван Пётр Анна Фёдор Наталья Щукин Достоевский Москва Санкт-Петербург Орёл",
        blank: " ",
        marks: LATIN_MARKS,
        opens: NOTHING,
    },
    Language {
        tag: "zh",
        voices: &["cmn", "yue"],
        words: "我 你 他 她 我们 你们 他们 的 了 是 不 在 有 这 那 什么 谁 哪里 为什么 怎么 今天 \
            明天 昨天 早上 晚上 天气 下雨 太阳 水 火 山 河 海 家 学校 老师 学生 医生 医院 火车 \
            车站 面包 米饭 茶 咖啡 好 很好 不好 大 小 新 旧 快 慢 说 听 看 写 读 吃 喝 走 跑 \
            爱 喜欢 知道 觉得 因为 所以 但是 如果 一 二 三 十 百 千 万 個 說 學 龍 龜",
        names: "王 李 张 刘 陈 北京 上海 香港 臺灣 小明",
        blank: "",
        marks: WIDE_MARKS,
        opens: NOTHING,
    },
    Language {
        tag: "ja",
        voices: &["ja"],
        words: "私 あなた 彼 彼女 は が を に へ で と から まで も の です ます でした これ それ \
            あれ どこ なに だれ いつ なぜ 今日 明日 昨日 朝 夜 天気 雨 雪 水 火 山 川 海 家 学校 \
            先生 学生 医者 病院 電車 駅 パン ごはん お茶 コーヒー テレビ スーパー ちょっと きっと \
            とても 大きい 小さい 新しい 古い 速い 言う 聞く 見る 書く 読む 食べる 飲む 走る ﾊﾟﾝ \
            ヴァイオリン っ ー",
        names: "田中 佐藤 鈴木 さくら 東京 大阪 京都",
        blank: "",
        marks: ["、", "。", "！", "？"],
        opens: NOTHING,
    },
    Language {
        tag: "hi",
        voices: &["hi"],
        words: "मैं तुम आप वह यह हम वे का की के को में से पर और या लेकिन नहीं हाँ क्या कौन कब कहाँ क्यों \
            कैसे है हैं था थी थे घर सड़क नदी पहाड़ बारिश सूरज पानी रोटी चाय किताब स्कूल शिक्षक छात्र \
            डॉक्टर अस्पताल स्टेशन खिड़की सुबह शाम कल आज अच्छा बुरा बड़ा छोटा नया पुराना सुंदर ज़रूर \
            फ़िल्म क्षमा ज्ञान श्री विद्यार्थी संस्कृत दुःख कर्म धर्म प्रेम हिन्दी लड़का पढ़ना बोलना",
        names: "राम सीता कृष्ण लक्ष्मी दिल्ली मुंबई वाराणसी",
        blank: " ",
        marks: [",", "।", "!", "?"],
        opens: NOTHING,
    },
    Language {
        tag: "ar",
        voices: &["ar"],
        words: "أنا أنت هو هي نحن هم في من إلى على عن مع و أو لكن لا نعم ما من متى أين لماذا كيف هذا \
            هذه ذلك بيت شارع نهر جبل مطر شمس ماء خبز شاي قهوة كتاب مدرسة معلم طالب طبيب مستشفى \
            محطة نافذة صباح مساء أمس اليوم غدا كبير صغير جديد قديم جميل سريع قال ذهب رأى كَتَبَ \
            مُدَرِّسٌ الشَّمْسُ سؤال مسؤول شيء آخر",
        names: "محمد فاطمة أحمد القاهرة بغداد دمشق",
        blank: " ",
        marks: ["،", ".", "!", "؟"],
        opens: NOTHING,
    },
    Language {
        tag: "ko",
        voices: &["ko"],
        words: "나는 너는 그는 우리 이것 저것 무엇 누구 언제 어디 왜 어떻게 오늘 내일 어제 아침 저녁 \
            날씨 비가 눈이 해가 물 불 산 강 바다 집 학교 선생님 학생 의사 병원 기차 역 빵 밥 차 \
            커피 책 창문 좋다 나쁘다 크다 작다 새로운 오래된 빨리 천천히 말하다 듣다 보다 쓰다 읽다 \
            먹다 마시다 가다 왔어요 없습니다 괜찮아 닭 값 읽는 ㅋㅋㅋ ㅠㅠ",
        names: "김 이 박 최 민수 지영 서울 부산",
        blank: " ",
        marks: LATIN_MARKS,
        opens: NOTHING,
    },
];
