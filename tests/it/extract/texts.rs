//! Text, HTML, JSON and CSV.

use super::{read, refusal, texts, words};

#[test]
fn a_byte_order_mark_is_believed_and_left_out() {
    let utf_16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect()
    };
    for bytes in [
        "\u{feff}Grüße".as_bytes().to_vec(),
        utf_16("Grüße", u16::to_le_bytes),
        utf_16("Grüße", u16::to_be_bytes),
    ] {
        assert_eq!(texts("a.txt", bytes.clone()), ["Grüße"]);
        assert_eq!(texts("a.html", bytes.clone()), ["Grüße"]);
        assert_eq!(words("a.csv", [bytes, vec![]].concat().as_slice()), "");
    }
    assert_eq!(refusal("a.txt", b"caf\xe9"), "not UTF-8");
    assert_eq!(refusal("a.txt", b"\xff\xfea"), "not UTF-16, as its beginning says");
}

#[test]
fn what_a_dataset_would_refuse_is_refused_file_by_file() {
    let long = "x".repeat(513);
    for (name, bytes, expected) in [
        ("a.txt", "a\0b".to_owned(), "document 1: it has the character NUL, which cannot be stored"),
        (
            "a.json",
            format!("[1, {{\"id\": \"{long}\"}}]"),
            "document 2: its id is empty or longer than 512 bytes",
        ),
        (
            "a.json",
            "{\"id\": \" \", \"text\": \"a\"}".into(),
            "document 1: its id is empty or longer than 512 bytes",
        ),
        (
            "a.json",
            format!("{{\"text\": \"a\", \"metadata\": {{\"a\": \"{}\"}}}}", "x".repeat(64 << 10)),
            "document 1: its metadata is longer than 64 KiB",
        ),
        (
            "a.jsonl",
            format!("{{\"text\": \"{}\"}}", "x".repeat((1 << 20) + 1)),
            "document 1: its text is longer than 1 MiB",
        ),
        ("a.json", "[1, secret]".into(), "not JSON: expected value at line 1 column 5"),
        ("a.jsonl", "1\n\n[secret".into(), "line 3: not JSON: expected value at line 1 column 2"),
    ] {
        assert_eq!(refusal(name, bytes), expected);
    }
}

#[test]
fn a_list_is_read_element_by_element() {
    let found = read("a.json", " [1, {\"text\": \"b\", \"id\": 7}, [\"c\"]] ").unwrap();
    let ids: Vec<_> = found.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(ids, ["a.json#1", "7", "a.json#3"]);
    assert_eq!(texts("a.json", "{\"b\": 1}"), ["{\n  \"b\": 1\n}"]);
    assert!(read("a.json", "[1] 2").is_err());
}

#[test]
fn a_row_keeps_what_no_column_names_and_semicolons_are_commas_too() {
    assert_eq!(texts("a.csv", "id,text\n1,hello, world"), ["id: 1\ntext: hello\n world"]);
    assert_eq!(texts("a.csv", "Name;Preis\nMüller;2,50"), ["Name: Müller\nPreis: 2,50"]);
    assert_eq!(texts("a.csv", "a\tb\n1\t2"), ["a: 1\nb: 2"]);
    assert_eq!(refusal("a.csv", ",".repeat(100_001)), "has more than 100000 values in a line");
}

#[test]
fn a_stray_quote_or_an_empty_comment_swallows_nothing() {
    assert_eq!(words("a.html", "<img alt=\"x\"\">Text <a href=\"y\">link</a>"), "Text link");
    assert_eq!(words("a.html", "<!-->a<!--->b<!-- c -->"), "ab");
}
