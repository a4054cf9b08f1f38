//! Files that were made to break their reader, and files that are broken by accident.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use lopdf::{Dictionary, Document, Object, Stream, dictionary};
use proptest::{collection::vec, prelude::*, sample::Index};
use syft_endpoints::extract::{Format, documents};

use super::{
    fixtures::{SHAPES, Shape, archive, docx, font, pdf, programs, written},
    read, refusal, words,
};

const FORMATS: [Format; 7] =
    [Format::Text, Format::Html, Format::Json, Format::JsonLines, Format::Csv, Format::Pdf, Format::Docx];

/// No file of a test takes that long, even in a debug build beside others; what is quadratic does.
const SOON: Duration = Duration::from_secs(30);

fn soon<T>(read: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = read();
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    result
}

/// Small files with something of everything.
fn seeds() -> Vec<(Format, Vec<u8>)> {
    let html = "<h1>A</h1><ul><li>b &amp; c</ul><table><tr><td>1<td>2</table><pre> x </pre><!-- c --><script>1</script>";
    let body = "<w:p><w:pPr><w:pStyle w:val=\"Heading1\"/></w:pPr><w:r><w:t>A &amp; b</w:t></w:r></w:p>\
        <w:tbl><w:tr><w:tc><w:p><w:t>1</w:t></w:p></w:tc></w:tr></w:tbl>";
    let mut seeds = vec![
        (Format::Html, html.into()),
        (
            Format::Json,
            b"[{\"id\": 1, \"text\": \"a\", \"metadata\": {\"b\": [null, 1e3]}}, \"\\u0041\"]".to_vec(),
        ),
        (Format::JsonLines, b"{\"content\": \"a\"}\n\n[1, 2]\n".to_vec()),
        (Format::Csv, b"a,b\n\"x\n\"\"y\",2\n,\n".to_vec()),
        (Format::Text, "# A\n\nb\n```\n# c\n```\n\u{a0}\nd".into()),
        (Format::Docx, docx(body)),
    ];
    seeds.extend(SHAPES.map(|shape| (Format::Pdf, pdf(&[&["Some words", "(more)"], &["\\ end"]], shape))));
    seeds
}

/// What happens to a file on its way.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, u8),
    /// A part of it again, elsewhere.
    Splice(Index, Index, u8),
    Insert(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Damage::Remove(at, length)),
        2 => (any::<Index>(), any::<Index>(), any::<u8>()).prop_map(|(from, to, n)| Damage::Splice(from, to, n)),
        2 => (any::<Index>(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    let part = |at: &Index, n: u8| at.index(length)..(at.index(length) + usize::from(n)).min(length);
    match damage {
        Damage::Flip(at, bits) => bytes[at.index(length)] ^= bits,
        Damage::Cut(at) => bytes.truncate(at.index(length)),
        Damage::Remove(at, n) => drop(bytes.drain(part(at, *n))),
        Damage::Splice(from, to, n) => {
            let part = bytes[part(from, *n)].to_vec();
            let at = to.index(length);
            bytes.splice(at..at, part);
        }
        Damage::Insert(at, more) => {
            let at = at.index(length);
            bytes.splice(at..at, more.iter().copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..2048)) {
        for format in FORMATS {
            soon(|| drop(documents("a", format, bytes.clone())));
        }
    }

    #[test]
    fn any_words_of_pdf_are_read_or_refused(
        parts in vec(prop::sample::select(vec![
            "%PDF-1.4\n", "1 0 obj", "2 0 obj", "endobj", "stream\n", "endstream", "<<", ">>", "/Type", "/Page",
            "/Pages", "/Kids", "/Catalog", "/Root", "/ObjStm", "/First 4", "/N 1", "/Length 9", "1 0 R", "2 0 R",
            "[", "]", "(", ")", "<41>", "BT", "/F1 9 Tf", "Tj", "TJ", "Do", "trailer", "xref", " ", "\n", "-1",
            "99999999999999999999", "1e9", "/W", "/Filter /FlateDecode", "BI", "ID", "EI", "%",
        ]), 0..200)
    ) {
        soon(|| drop(documents("a", Format::Pdf, [vec!["%PDF-1.4\n"], parts].concat().join(" ").into_bytes())));
    }

    #[test]
    fn damaged_files_are_read_or_refused(seed in any::<Index>(), damages in vec(damage(), 1..6)) {
        let seeds = seeds();
        let (format, mut bytes) = seeds[seed.index(seeds.len())].clone();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        soon(|| drop(documents("a", format, bytes)));
    }

    #[test]
    fn damaged_programs_of_pages_are_read_or_refused(damages in vec(damage(), 1..6)) {
        let mut program = b"q 1 0 0 1 0 0 cm BT /F1 9 Tf 9 TL 1 0 0 1 7 7 Tm [(a) -300 <62>] TJ T* (c) ' 1 2 (d) \" ET Q \
            BI /W 1 /H 1 /BPC 8 /CS /G ID x EI".to_vec();
        for damage in &damages {
            apply(&mut program, damage);
        }
        soon(|| drop(documents("a", Format::Pdf, programs(vec![program], font(), Shape::Packed))));
    }
}

#[test]
fn deep_nesting_takes_no_stack_and_no_time() {
    let deep = 100_000;
    let html = format!("{}deep{}", "<div>".repeat(deep), "</div>".repeat(deep));
    assert_eq!(soon(|| words("a.html", html)), "deep");
    assert_eq!(soon(|| words("a.html", "<table><tr><td>".repeat(deep) + "deep")), "deep");
    assert_eq!(soon(|| words("a.html", format!("<p {}>x", "a=b ".repeat(1 << 20)))), "x");
    let xml = format!("{}<w:t>deep", "<w:tbl><w:p>".repeat(deep));
    assert_eq!(soon(|| words("a.docx", archive(&[("word/document.xml", xml.as_bytes())]))), "deep");
    for name in ["a.json", "a.jsonl"] {
        for open in ["[", "{\"a\":"] {
            assert!(soon(|| read(name, open.repeat(deep))).is_err());
        }
    }
    // Where nesting is allowed, white space before each value would grow a hundredfold.
    let nested = format!("[{}{}1{}]", "[".repeat(120), "1,".repeat(1 << 19), "]".repeat(120));
    assert_eq!(soon(|| refusal("a.json", nested)), "has a record of more than 1 MiB");
    for open in ["[", "<<", "(", "<</A "] {
        let object = format!("%PDF-1.4\n1 0 obj {} endobj", open.repeat(deep));
        assert!(soon(|| read("a.pdf", object)).is_err());
        let program = format!("BT /F1 9 Tf (before) Tj {}", open.repeat(deep));
        assert_eq!(soon(|| words("a.pdf", programs(vec![program.into()], font(), Shape::Packed))), "before");
    }
}

#[test]
fn what_is_small_on_the_outside_and_large_inside_is_refused() {
    let megabytes = vec![b' '; 129 << 20];
    let document = archive(&[("word/document.xml", &megabytes)]);
    assert!(document.len() < 1 << 20);
    assert_eq!(soon(|| refusal("a.docx", document)), "larger than 128 MiB inside");
    let parts: Vec<String> = (0..10_001).map(|i| i.to_string()).collect();
    let parts: Vec<(&str, &[u8])> = parts.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(soon(|| refusal("a.docx", archive(&parts))), "has too many parts");

    let page = programs(vec![megabytes[..20 << 20].to_vec()], font(), Shape::Packed);
    assert_eq!(soon(|| refusal("a.pdf", page)), "larger inside than can be read");
    let values = format!("%PDF-1.4\n1 0 obj [{}] endobj", "0 ".repeat(5_000_000));
    assert_eq!(soon(|| refusal("a.pdf", values)), "larger inside than can be read");
    // A name of a column in every row.
    let rows = format!("{}\n{}", "x".repeat(1 << 19), "1\n".repeat(1000));
    assert!(soon(|| refusal("a.csv", rows)).starts_with("more than 250,000 documents"));
    let rows = format!("a\n{}", "1\n".repeat(250_001));
    assert!(soon(|| refusal("a.csv", rows)).starts_with("more than 250,000 documents"));
    let list = format!("[{}1]", "1,".repeat(250_000));
    assert!(soon(|| refusal("a.json", list)).starts_with("more than 250,000 documents"));
}

#[test]
fn a_font_that_maps_four_billion_codes_maps_what_can_be_a_code() {
    let mut map = "begincmap 1 beginbfrange <00000000> <ffffffff> <0041> endbfrange\n".to_owned();
    for _ in 0..50 {
        writeln!(map, "1 beginbfrange <0000> <ffff> <0041> endbfrange").unwrap();
    }
    let mut document = Document::load_mem(&pdf(&[&["words"]], Shape::Plain)).unwrap();
    let to_unicode = document.add_object(Stream::new(Dictionary::new(), map.into_bytes()));
    for object in document.objects.values_mut() {
        if let Object::Dictionary(font) = object
            && font.has_type(b"Font")
        {
            font.set("ToUnicode", to_unicode);
        }
    }
    assert_eq!(soon(|| words("a.pdf", written(document, Shape::Plain))), "words");
}

#[test]
fn a_code_that_stands_for_a_book_is_refused_and_takes_no_room() {
    let map = format!("begincmap 1 beginbfchar <41> <{}> endbfchar", "0041".repeat(300_000));
    let words = "A".repeat(100_000);
    let mut document = Document::load_mem(&pdf(&[&[&words]], Shape::Plain)).unwrap();
    let to_unicode = document.add_object(Stream::new(Dictionary::new(), map.into_bytes()));
    for object in document.objects.values_mut() {
        if let Object::Dictionary(font) = object
            && font.has_type(b"Font")
        {
            font.set("ToUnicode", to_unicode);
        }
    }
    // Thirty gigabytes, were it written out.
    soon(|| refusal("a.pdf", written(document, Shape::Streams)));
}

#[test]
fn objects_that_lie_upon_each_other_are_each_read_once() {
    // A hundred thousand objects that begin at one place, of half a megabyte.
    let value = format!("[{}]", "1 ".repeat(1 << 18));
    let index: String = (10..100_010).map(|id| format!("{id} 0 ")).collect();
    let mut packed = Stream::new(
        dictionary! { "Type" => "ObjStm", "N" => 100_000, "First" => i64::try_from(index.len()).unwrap() },
        (index + &value).into_bytes(),
    );
    packed.compress().unwrap();
    let mut file = pdf(&[&["words"]], Shape::Plain);
    let end = file.windows(4).rposition(|bytes| bytes == b"xref").unwrap();
    let head = format!(
        "99 0 obj <</Type /ObjStm /N 100000 /First {} /Filter /FlateDecode /Length {}>> stream\n",
        packed.dict.get(b"First").unwrap().as_i64().unwrap(),
        packed.content.len()
    );
    let object = [head.as_bytes(), &packed.content, b"\nendstream endobj\n"].concat();
    file.splice(end..end, object);
    assert_eq!(soon(|| words("a.pdf", file)), "words");

    // A page whose tree, and a form whose form, is itself.
    let mut document = Document::load_mem(&pdf(&[&["words"]], Shape::Plain)).unwrap();
    let form = document.new_object_id();
    let resources = dictionary! { "XObject" => dictionary! { "X" => form } };
    let program = b"/X Do ".repeat(2);
    let itself = Stream::new(dictionary! { "Subtype" => "Form", "Resources" => resources.clone() }, program);
    document.objects.insert(form, itself.into());
    let pages: Vec<_> = document.get_pages().into_values().collect();
    let contents = document.add_object(Stream::new(Dictionary::new(), b"/X Do".to_vec()));
    let page = document.get_dictionary_mut(pages[0]).unwrap();
    page.set("Contents", contents);
    page.set("Resources", resources);
    page.set("Parent", pages[0]);
    assert!(soon(|| read("a.pdf", written(document, Shape::Plain))).is_err());
}
