"""Short texts in several languages, by their ISO 639 codes, for tests of the language recogniser and of encodings."""

# Each text has three sentences, separated by line breaks.
TEXTS = {
    "de": """Der Zug nach München fährt heute erst um zwölf Uhr vom dritten Gleis ab.
Wer früher ankommen möchte, nimmt den Bus über die Brücke und läuft die letzten Straßen zu Fuß.
Die Fahrkarten gelten für beide Strecken, müssen aber vor der Fahrt gelöst werden.""",
    "fr": """Le marché ouvre à sept heures, mais les premiers marchands arrivent déjà pendant la nuit.
Ils déchargent leurs légumes, dressent les étals et boivent un café près de la fontaine.
À midi, tout est rangé et la place redevient très calme jusqu'au soir.""",
    "es": """La biblioteca del barrio está cerrada esta semana porque están pintando las paredes.
Los niños devolverán los libros en la oficina de correos, donde también habrá una mesa para leer.
El próximo año queremos añadir una sala más grande con ventanas hacia el jardín.""",
    "pt": """A reunião começou tarde porque a chuva não deixou os ônibus atravessarem a avenida.
Mesmo assim, ninguém quis adiar a votação, e as decisões foram tomadas antes do jantar.
Amanhã a comissão publicará as razões e responderá às perguntas dos moradores.""",
    "it": """Il nonno coltiva pomodori e basilico in un piccolo orto dietro la casa.
Ogni sera annaffia le piante, toglie le erbacce e controlla se i frutti sono già maturi.
La domenica prepara il sugo per tutta la famiglia, perché così nessuno resta senza pranzo.""",
    "nl": """De fietsers wachten bij het station tot de regen eindelijk ophoudt.
Sommigen drinken koffie in de hal, anderen bellen naar huis om te zeggen dat ze later komen.
Pas na een uur wordt het droog en kan iedereen weer verder rijden.""",
    "pl": """Wczoraj wieczorem sąsiedzi wspólnie posprzątali podwórko i posadzili nowe drzewa.
Dzieci przyniosły łopaty, a starsi mieszkańcy upiekli ciasto i zaparzyli herbatę.
Jeśli pogoda się utrzyma, w przyszłym tygodniu pomalują jeszcze ławki i ogrodzenie.""",
    "sv": """Båten går över sjön varje morgon och stannar vid tre små öar på vägen.
På den största ön finns ett gammalt fyr där man kan köpa kaffe och nybakade bullar.
När det blåser för mycket ställs resan in och då får man vänta till nästa dag.""",
    "tr": """Köyün yanındaki nehir bu yıl çok az su taşıyor, çünkü kış kurak geçti.
Çiftçiler tarlalarını geceleri suluyor ve suyu birlikte paylaşmaya çalışıyorlar.
Gelecek ay yağmur yağmazsa belediye yeni bir kuyu açmayı düşünüyor.""",
    "ru": """Утром на площади собрались музыканты и начали играть старые песни.
Прохожие останавливались, слушали и иногда подпевали знакомым словам.
К вечеру стало холодно, и все разошлись по домам пить горячий чай.""",
    "el": """Το πλοίο φεύγει από το λιμάνι νωρίς το πρωί και φτάνει στο νησί το μεσημέρι.
Οι επιβάτες κάθονται στο κατάστρωμα, διαβάζουν εφημερίδες και κοιτάζουν τη θάλασσα.
Το βράδυ γυρίζουν όλοι πίσω με φρούτα και φρέσκο ψωμί από το χωριό.""",
    "ja": """駅の前にある小さな本屋は、今日も朝早くから開いています。
店の主人は新しい本を棚に並べながら、常連の客と話をしています。
雨の日には、静かな音楽を聞きながら本を読む人が多くなります。""",
    "zh": """今天早上公园里有很多人在散步,孩子们在湖边放风筝。
老人们坐在树下喝茶聊天,谈论着最近的天气和新闻。
傍晚的时候下起了小雨,大家才慢慢地回家吃晚饭。""",
    "en": """The gate of the garden squeaks whenever somebody “forgets” to close it — that’s how we know the cat is out.
My neighbour’s café isn’t open on Mondays, so we’ll meet at the station’s little bakery instead.
It doesn’t matter who’s late: whoever comes first buys the tickets, and they’re about 3 € each.""",
}

# English as it is in documentation, with names, numbers and code. A recogniser for English must keep it.
ENGLISH = (
    "Return the number of bytes.",
    "See also: numpy.mean, numpy.var, numpy.nanstd.",
    "Raises ValueError if axis is out of bounds.",
    "x = np.linspace(0, 2 * np.pi, 100)\nplt.plot(x, np.sin(x))",
    "def area(width, height):\n    return width * height",
    "1.50 2.25 3.75 10.00 12.50 4.75\n0.50 8.25 9.75 11.00 7.50 6.25",
    "| name | size | sha256 |\n|---|---|---|\n| a.bin | 120 | 9f86d081 |",
    "Dear Ms Müller, thank you for your letter from Zürich; we shall meet in the café on Monday.",
    "The quick brown fox jumps over the lazy dog.",
    "https://docs.python.org/3/library/json.html",
    "Yes.",
    "Deprecated since version 3.8, will be removed in version 3.14: use the new name instead.",
    "<a href='index.html'>Home</a> | <a href='about.html'>About</a>",
    "for (int i = 0; i < n; ++i) { sum += a[i]; }",
    "The coefficients are estimated by least squares, and the residuals are assumed to be independent.",
)

# Correct texts in which letters with accents stand before quotes, no-break spaces, ellipses and dashes.
QUOTED = (
    "Une «\u00a0liberté\u00a0» est la faculté d'agir, «\u00a0égalité\u00a0», «\u00a0fraternité\u00a0»\u00a0; rien.",
    "C'est du café\u00a0»\u00a0: voilà ce qu'il a dit.",
    "«\u00a0Il est né…\u00a0»",
    "Le nom « café » s'écrit avec un é\u00a0!",
    "Il a répété\u00a0: «\u00a0Du thé\u00a0?\u00a0» puis «\u00a0Du café\u00a0–\u00a0noir.\u00a0»",
    "La lettre «\u00a0Â\u00a0», la lettre «\u00a0Î\u00a0» et la lettre «\u00a0é\u00a0»",
    "Voir l'article «\u00a0Sécurité²\u00a0» et «\u00a0Liberté\u00a0»¹.",
    "E ele disse que é…”",
    "A palavra “MANHÃ”, a palavra “IRMÃ” e a letra “é”.",
    "— Amanhã… — disse ela. “Até amanhã…”",
    "AMANHÃ—OU DEPOIS. A irmã «é». «AMANHÃ»",
    "Der Umlaut „Ä“",
    "Die Umlaute »Ä«, ›Ä‹, ‚Ä‘ und „ä“, auch Ä–Ö–Ü, stehen in der Tabelle.",
    "Er sagte: „Das ist ein Ä…“ und dann „Olé…“.",
    "la letra “Ñ”",
    "La letra «Ñ», con dos Ñ’s: “Olé”, «sé…», «¿Qué?».",
    "«Ya lo sé»… “No sé…” —dijo—. ESPAÑA, con “Ñ…”",
    "The surface measures 120 Å² and the volume 80 Å³; “Nestlé®” and “café”™ are names.",
    "A page about “Ñ”, “Ä” and “Å”; “voilà”, “cliché”—and “naïveté…”.",
)
