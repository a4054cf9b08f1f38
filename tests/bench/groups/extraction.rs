//! Files to documents: how fast the text is found in a PDF.

use std::time::Instant;

use lopdf::{Dictionary, Document, Object, Stream, dictionary};
use syft_endpoints::extract::{Format, documents};

use crate::{Bench, Fault, report::Findings, text::Writer};

const PAGES: usize = 200;
/// Lines of a page, which take some twelve words each.
const LINES: usize = 40;
const LETTERS: usize = 80;
const SEED: u64 = 4711;

/// One thread, as of one file: several files are read side by side by as many.
pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let pages = bench.count(PAGES);
    let file = pdf(&mut Writer::new(SEED), pages)?;
    let mut findings = Findings::default();
    findings.note("KiB of the PDF", file.len() / 1024);
    let mut rates = Vec::new();
    // One round to warm up.
    for round in 0..=bench.rounds() {
        let bytes = file.clone();
        let started = Instant::now();
        let found = tokio::task::spawn_blocking(|| documents("bench.pdf", Format::Pdf, bytes)).await??;
        let rate = pages as f64 / started.elapsed().as_secs_f64();
        if found.len() < pages {
            return Err(format!("{} documents of {pages} pages", found.len()).into());
        }
        if round > 0 {
            rates.push(rate);
        }
    }
    findings.rounds("ingest_pdf_pages_per_s", rates);
    Ok(findings)
}

/// Pages of text, packed as usual, each line set word by word.
fn pdf(writer: &mut Writer, pages: usize) -> Result<Vec<u8>, Fault> {
    let mut document = Document::with_version("1.5");
    let tree = document.new_object_id();
    let font = document.add_object(dictionary! {
        "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
        "FirstChar" => 0, "Widths" => vec![Object::Integer(500); 256],
    });
    let mut kids = Vec::with_capacity(pages);
    for _ in 0..pages {
        let contents = document.add_object(Stream::new(Dictionary::new(), program(writer)));
        let page = document.add_object(dictionary! {
            "Type" => "Page", "Parent" => tree, "Contents" => contents,
            "Resources" => dictionary! { "Font" => dictionary! { "F1" => font } },
        });
        kids.push(Object::Reference(page));
    }
    let count = i64::try_from(pages)?;
    document.objects.insert(tree, dictionary! { "Type" => "Pages", "Kids" => kids, "Count" => count }.into());
    let root = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", root);
    document.compress();
    let mut file = Vec::new();
    document.save_to(&mut file)?;
    Ok(file)
}

fn program(writer: &mut Writer) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < LINES * LETTERS {
        text.push_str(&writer.text());
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut program = "BT /F1 10 Tf 12 TL 72 720 Td".to_owned();
    for line in words.chunks(words.len().div_ceil(LINES)) {
        program.extend(["\n[(", &line.join(") -300 ("), ")] TJ T*"]);
    }
    program.push_str("\nET");
    program.into_bytes()
}
