//! Files made on the spot.

use std::io::{Cursor, Write};

use lopdf::{Dictionary, Document, Object, SaveOptions, Stream, StringFormat, dictionary};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// How a PDF is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Everything can be read in an editor.
    Plain,
    /// Streams are packed.
    Packed,
    /// Objects are in packed streams of objects, as new programs write them.
    Streams,
}

pub const SHAPES: [Shape; 3] = [Shape::Plain, Shape::Packed, Shape::Streams];

/// A PDF with these lines on its pages.
pub fn pdf(pages: &[&[&str]], shape: Shape) -> Vec<u8> {
    let lines = |lines: &&[&str]| {
        let mut program = b"BT /F1 12 Tf 14 TL 72 720 Td".to_vec();
        for line in *lines {
            let line = line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
            program.extend(format!("\n({line}) Tj T*").bytes());
        }
        program.extend(b"\nET");
        program
    };
    programs(pages.iter().map(lines).collect(), font(), shape)
}

/// A PDF with a page for each program, and one font, `F1`.
pub fn programs(programs: Vec<Vec<u8>>, font: Dictionary, shape: Shape) -> Vec<u8> {
    let mut document = Document::with_version("1.5");
    let tree = document.new_object_id();
    let font = document.add_object(font);
    let kids = programs.into_iter().map(|program| {
        let contents = document.add_object(Stream::new(Dictionary::new(), program));
        let page = dictionary! {
            "Type" => "Page", "Parent" => tree, "Contents" => contents,
            "Resources" => dictionary! { "Font" => dictionary! { "F1" => font } },
        };
        Object::Reference(document.add_object(page))
    });
    let kids: Vec<Object> = kids.collect();
    let count = i64::try_from(kids.len()).unwrap();
    let pages = dictionary! { "Type" => "Pages", "Kids" => kids, "Count" => count };
    document.objects.insert(tree, pages.into());
    let root = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", root);
    written(document, shape)
}

pub fn written(mut document: Document, shape: Shape) -> Vec<u8> {
    let mut bytes = Vec::new();
    if shape != Shape::Plain {
        document.compress();
    }
    match shape {
        Shape::Streams => {
            let options = SaveOptions::builder().use_object_streams(true).use_xref_streams(true).build();
            document.save_with_options(&mut bytes, options).unwrap();
        }
        _ => document.save_to(&mut bytes).unwrap(),
    }
    bytes
}

pub fn font() -> Dictionary {
    dictionary! {
        "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
    }
}

pub fn text(bytes: &[u8]) -> Object {
    Object::String(bytes.to_vec(), StringFormat::Hexadecimal)
}

/// A Word document with this in its body.
pub fn docx(body: &str) -> Vec<u8> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
         <w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\">\
         <w:body>{body}</w:body></w:document>"
    );
    archive(&[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", xml.as_bytes())])
}

pub fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in parts {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
