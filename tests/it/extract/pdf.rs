//! PDF.

use lopdf::{
    Dictionary, Document, EncryptionState, EncryptionVersion, Object, Permissions, Stream, dictionary,
};

use super::{
    fixtures::{SHAPES, Shape, font, pdf, programs, text, written},
    read, refusal, texts, words,
};

#[test]
fn pages_become_documents_that_say_their_page() {
    for shape in SHAPES {
        let long = "The copyright term is seventy years. ".repeat(60);
        let lines: Vec<&str> = std::iter::repeat_n(long.as_str(), 3).collect();
        let bytes = pdf(&[&["First (page)"], &[], &lines], shape);
        let found = read("a.pdf", bytes).unwrap();
        assert_eq!(found[0].content, "First (page)", "{shape:?}");
        let pages: Vec<_> =
            found.iter().map(|document| document.metadata["page"].as_i64().unwrap()).collect();
        assert_eq!(pages, [1, 3, 3], "{shape:?}");
        assert_eq!(found[2].id, "a.pdf#3");
        assert_eq!(found[2].metadata["source"], "a.pdf");
    }
}

#[test]
fn words_lines_and_paragraphs_are_where_they_are_on_the_page() {
    let program = "BT /F1 10 Tf 72 700 Td [(The of) -50 (\\256ce is) -300 (open) 900 (x)] TJ 0 -12 Td (and so is exam-) Tj \
         0 -12 Td (ple one.) Tj 0 -40 Td (Next) Tj ET q 1 0 0 1 0 -60 cm BT /F1 10 Tf 1 0 0 1 72 624 Tm (one) Tj \
         1 0 0 1 300 624 Tm (apart) Tj ET Q";
    let mut font = font();
    font.set("FirstChar", 0);
    font.set("Widths", Object::Array(vec![500.into(); 256]));
    font.set(
        "Encoding",
        dictionary! { "BaseEncoding" => "WinAnsiEncoding", "Differences" => vec![174.into(), "fi".into()] },
    );
    let found = texts("a.pdf", programs(vec![program.into()], font, Shape::Packed));
    assert_eq!(
        found,
        ["The offi".to_owned().replace("offi", "office")
            + " is open x\nand so is example one.\n\nNext\n\none apart"]
    );
}

#[test]
fn codes_are_characters_by_the_map_of_the_font() {
    let map = "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n\
         1 begincodespacerange <0000> <ffff> endcodespacerange\n\
         2 beginbfchar <0003> <0020> <0005> <D83DDE00> endbfchar\n\
         2 beginbfrange <0010> <0029> <0061> <0030> <0031> [<00DF> <00660066>] endbfrange\n\
         endcmap CMapName currentdict /CMap defineresource pop end end";
    let mut document = Document::with_version("1.5");
    let to_unicode = document.add_object(Stream::new(Dictionary::new(), map.into()));
    let font = document.add_object(dictionary! {
        "Type" => "Font", "Subtype" => "Type0", "Encoding" => "Identity-H", "ToUnicode" => to_unicode,
        "DescendantFonts" => vec![dictionary! { "DW" => 500, "W" => vec![3.into(), 3.into(), 250.into()] }.into()],
    });
    let operations = vec![
        lopdf::content::Operation::new("Tf", vec!["F1".into(), 10.into()]),
        lopdf::content::Operation::new(
            "Tj",
            vec![text(&[0, 0x10, 0, 0x12, 0, 3, 0, 0x30, 0, 0x31, 0, 5, 0x7f, 0])],
        ),
    ];
    let program = lopdf::content::Content { operations }.encode().unwrap();
    // The text is in a form, as the headers of pages often are.
    let form = document.add_object(Stream::new(
        dictionary! { "Subtype" => "Form", "Resources" => dictionary! { "Font" => dictionary! { "F1" => font } } },
        program,
    ));
    let contents = document.add_object(Stream::new(Dictionary::new(), b"/X1 Do".to_vec()));
    let tree = document.new_object_id();
    let page = document
        .add_object(dictionary! { "Type" => "Page", "Parent" => tree, "Contents" => vec![contents.into()] });
    let resources = dictionary! { "XObject" => dictionary! { "X1" => form } };
    document.objects.insert(
        tree,
        dictionary! { "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1, "Resources" => resources }.into(),
    );
    let root = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", root);
    assert_eq!(texts("a.pdf", written(document, Shape::Streams)), ["ac \u{df}ff\u{1f600}"]);
}

#[test]
fn what_cannot_be_read_says_why() {
    let mut document = Document::load_mem(&pdf(&[&["secret"]], Shape::Plain)).unwrap();
    document.trailer.set("ID", vec![text(b"0123456789abcdef"), text(b"0123456789abcdef")]);
    let version = EncryptionVersion::V2 {
        document: &document,
        owner_password: "owner",
        user_password: "user",
        key_length: 128,
        permissions: Permissions::all(),
    };
    let state = EncryptionState::try_from(version).unwrap();
    document.encrypt(&state).unwrap();
    for (bytes, expected) in [
        (written(document, Shape::Plain), "encrypted: take its password off first"),
        (b"<html>not found</html>".to_vec(), "not a PDF, or broken inside"),
        (pdf(&[], Shape::Plain), "not a PDF, or broken inside"),
        (pdf(&[&[], &[]], Shape::Packed), "has no text: pages that were scanned must be recognised first"),
    ] {
        assert_eq!(refusal("a.pdf", bytes), expected);
    }
}

#[test]
fn a_file_without_its_table_of_contents_is_read_and_later_objects_replace_earlier_ones() {
    let whole = pdf(&[&["Old words"]], Shape::Plain);
    let body = &whole[..whole.windows(4).rposition(|bytes| bytes == b"xref").unwrap()];
    assert_eq!(words("a.pdf", body), "Old words");
    let document = Document::load_mem(&whole).unwrap();
    let (id, _) = document.objects.iter().find(|(_, object)| object.as_stream().is_ok()).unwrap();
    let program = "BT /F1 9 Tf (New words: endstream endobj 9 0 obj) Tj ET";
    let change =
        format!("\n{} {} obj <</Length {}>> stream\n{program}\nendstream endobj", id.0, id.1, program.len());
    assert_eq!(words("a.pdf", [body, change.as_bytes()].concat()), "New words: endstream endobj 9 0 obj");
}
