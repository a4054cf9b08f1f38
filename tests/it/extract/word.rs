//! Word documents.

use super::{
    fixtures::{archive, docx},
    read, refusal, texts,
};

#[test]
fn paragraphs_headings_lists_and_tables_are_read() {
    let run = |text: &str| format!("<w:r><w:t xml:space=\"preserve\">{text}</w:t></w:r>");
    let cell = |text: &str| format!("<w:tc><w:p>{}</w:p></w:tc>", run(text));
    let styled = |style: &str, text: &str| {
        format!("<w:p><w:pPr><w:pStyle w:val=\"{style}\"/><w:numPr/></w:pPr>{}</w:p>", run(text))
    };
    let body = [
        styled("Title", "The law"),
        styled("Heading2", "Terms &amp; dates"),
        format!("<w:p>{}{}<w:r><w:tab/></w:r>{}</w:p>", run("Seven"), run("ty"), run("years&#x21;")),
        format!("<w:p><w:pPr><w:numPr/></w:pPr>{}</w:p>", run("an item")),
        "<w:p><w:r><w:delText>gone</w:delText><w:instrText>PAGE</w:instrText></w:r></w:p>".to_owned(),
        format!(
            "<w:tbl><w:tr>{}{}</w:tr><w:tr>{}{}</w:tr></w:tbl>",
            cell("a"),
            cell("b"),
            cell("1"),
            cell("2")
        ),
        format!("<w:p>{}</w:p>", run("The end.")),
    ];
    let found = read("a.docx", docx(&body.concat())).unwrap();
    assert_eq!(found.len(), 1, "{:?}", texts("a.docx", docx(&body.concat())));
    let expected = "## Terms & dates\n\nSeventy years!\n\n- an item\n\na | b\n1 | 2\n\nThe end.";
    assert_eq!(found[0].content, expected);
    assert_eq!(
        (&*found[0].id, &found[0].metadata["heading"]),
        ("a.docx#1", &"The law > Terms & dates".into())
    );
}

#[test]
fn what_is_no_word_document_says_so() {
    let xml = b"<w:p><w:t>";
    for (bytes, expected) in [
        (b"PK\x03\x04 and so on".to_vec(), "not a Word document"),
        (archive(&[("word/other.xml", xml)]), "not a Word document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(), "protected by a password, or a .doc of old"),
        (docx(""), "has no text"),
        (archive(&[("word/document.xml", b"<w:p <")]), "broken inside"),
    ] {
        assert_eq!(refusal("a.docx", bytes), expected);
    }
}

#[test]
fn entities_that_a_document_declares_do_not_explode() {
    let xml = "<!DOCTYPE a [<!ENTITY a \"lol\"><!ENTITY b \"&a;&a;&a;&a;\">]><w:p><w:t>x&b;y</w:t></w:p>";
    assert_eq!(texts("a.docx", archive(&[("word/document.xml", xml.as_bytes())])), ["xy"]);
}
