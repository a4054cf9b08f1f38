//! Pages to text: what is shown, in the order in which it is shown, and where on the page.

use std::{collections::HashMap, rc::Rc};

use lopdf::{
    Dictionary, Document, Object, ObjectId, Stream,
    content::{Content, Operation},
};

use super::{
    budget::Budget,
    font::Font,
    layout::{Layout, Matrix},
};
use crate::extract::Unreadable;

/// Forms within forms.
const MAX_DEPTH: usize = 8;
/// Bytes of a page's program at most.
const MAX_PAGE: usize = 8 << 20;
/// States of drawing that are put aside.
const MAX_SAVED: usize = 256;
/// Ancestors of a page.
const MAX_ANCESTORS: usize = 64;

/// Reads the pages of one file.
pub(super) struct Reader<'a> {
    document: &'a Document,
    budget: &'a mut Budget,
    fonts: HashMap<ObjectId, Rc<Font>>,
}

/// How text is shown, until something changes it.
#[derive(Clone)]
struct State {
    page: Matrix,
    font: Option<Rc<Font>>,
    size: f32,
    character_spacing: f32,
    word_spacing: f32,
    scale: f32,
    leading: f32,
}

/// A program on its way: of a page, or of a form in it.
struct Run<'a> {
    resources: Vec<&'a Dictionary>,
    state: State,
    saved: Vec<State>,
    text: Matrix,
    line: Matrix,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Document, budget: &'a mut Budget) -> Self {
        Self { document, budget, fonts: HashMap::new() }
    }

    /// The text of a page. What is broken of it is left out.
    ///
    /// # Errors
    /// The file's budget is spent.
    pub(super) fn page(&mut self, id: ObjectId) -> Result<String, Unreadable> {
        let Ok(page) = self.document.get_dictionary(id) else { return Ok(String::new()) };
        let program = self.program(page)?;
        let mut layout = Layout::new(self.budget.text_left());
        let run = Run::new(self.resources(page), State::new(), 0);
        self.run(&program, run, &mut layout)?;
        self.budget.text(layout.len())?;
        Ok(layout.finish())
    }

    /// Its streams are one program, cut anywhere between two words.
    fn program(&mut self, page: &Dictionary) -> Result<Vec<u8>, Unreadable> {
        let contents = page.get_deref(b"Contents", self.document);
        let parts = match contents {
            Ok(Object::Array(parts)) => parts.as_slice(),
            Ok(part) => std::slice::from_ref(part),
            Err(_) => &[],
        };
        let mut program = Vec::new();
        for part in parts {
            if let Ok((_, Object::Stream(stream))) = self.document.dereference(part) {
                program.extend(self.budget.inflate(stream)?);
                program.push(b'\n');
            }
            if program.len() > MAX_PAGE {
                return Err(Unreadable::new("has a page of more than 8 MiB"));
            }
        }
        Ok(program)
    }

    /// Of the page, or what it inherits.
    fn resources(&self, page: &'a Dictionary) -> Vec<&'a Dictionary> {
        let parent =
            |node: &&'a Dictionary| node.get_deref(b"Parent", self.document).and_then(Object::as_dict).ok();
        let nodes = std::iter::successors(Some(page), parent).take(MAX_ANCESTORS);
        nodes.filter_map(|node| self.dictionary(node, b"Resources")).collect()
    }

    fn dictionary(&self, of: &'a Dictionary, key: &[u8]) -> Option<&'a Dictionary> {
        of.get_deref(key, self.document).and_then(Object::as_dict).ok()
    }

    fn run(&mut self, program: &[u8], mut run: Run<'a>, layout: &mut Layout) -> Result<(), Unreadable> {
        for operation in Content::decode_iter(program) {
            // What cannot be read ends the page, not the file.
            let Ok(operation) = operation else { break };
            self.budget.time()?;
            match operation.operator.as_str() {
                "Tf" => self.choose_font(&operation, &mut run)?,
                "Do" => self.form(&operation, &run, layout)?,
                _ => run.step(&operation, layout),
            }
        }
        Ok(())
    }

    fn choose_font(&mut self, operation: &Operation, run: &mut Run<'a>) -> Result<(), Unreadable> {
        let [Object::Name(name), size, ..] = operation.operands.as_slice() else { return Ok(()) };
        run.state.size = size.as_float().unwrap_or(1.0);
        run.state.font = None;
        let found =
            run.resources.iter().find_map(|resources| self.dictionary(resources, b"Font")?.get(name).ok());
        let Some(found) = found else { return Ok(()) };
        let Ok((id, Object::Dictionary(font))) = self.document.dereference(found) else { return Ok(()) };
        let known = id.and_then(|id| self.fonts.get(&id).cloned());
        let font = match known {
            Some(font) => font,
            None => Rc::new(Font::read(self.document, font, self.budget)?),
        };
        if let Some(id) = id {
            self.fonts.insert(id, font.clone());
        }
        run.state.font = Some(font);
        Ok(())
    }

    /// A form is a program with resources of its own. Pictures say nothing.
    fn form(&mut self, operation: &Operation, run: &Run<'a>, layout: &mut Layout) -> Result<(), Unreadable> {
        let Some(Object::Name(name)) = operation.operands.first() else { return Ok(()) };
        let document = self.document;
        let found =
            run.resources.iter().find_map(|resources| self.dictionary(resources, b"XObject")?.get(name).ok());
        let stream = found.and_then(|found| document.dereference(found).ok()?.1.as_stream().ok());
        let is_form =
            |stream: &&Stream| matches!(stream.dict.get(b"Subtype").and_then(Object::as_name), Ok(b"Form"));
        let Some(stream) = stream.filter(is_form).filter(|_| run.depth < MAX_DEPTH) else { return Ok(()) };
        let program = self.budget.inflate(stream)?;
        let mut resources: Vec<_> = self.dictionary(&stream.dict, b"Resources").into_iter().collect();
        if resources.is_empty() {
            resources.clone_from(&run.resources);
        }
        let mut state = run.state.clone();
        if let Some(matrix) =
            stream.dict.get(b"Matrix").and_then(Object::as_array).ok().and_then(|m| Matrix::of(m))
        {
            state.page = matrix.then(&state.page);
        }
        self.run(&program, Run::new(resources, state, run.depth + 1), layout)
    }
}

impl State {
    fn new() -> Self {
        Self {
            page: Matrix::IDENTITY,
            font: None,
            size: 1.0,
            character_spacing: 0.0,
            word_spacing: 0.0,
            scale: 1.0,
            leading: 0.0,
        }
    }
}

impl<'a> Run<'a> {
    fn new(resources: Vec<&'a Dictionary>, state: State, depth: usize) -> Self {
        let (text, line) = (Matrix::IDENTITY, Matrix::IDENTITY);
        Self { resources, state, saved: Vec::new(), text, line, depth }
    }

    fn step(&mut self, operation: &Operation, layout: &mut Layout) {
        let operands = operation.operands.as_slice();
        let number = |i: usize| operands.get(i).and_then(|operand| operand.as_float().ok()).unwrap_or(0.0);
        match operation.operator.as_str() {
            "q" if self.saved.len() < MAX_SAVED => self.saved.push(self.state.clone()),
            "Q" => self.state = self.saved.pop().unwrap_or_else(|| self.state.clone()),
            "cm" => self.state.page = Matrix::of(operands).unwrap_or_default().then(&self.state.page),
            "BT" => self.place(Matrix::IDENTITY),
            "Tm" => self.place(Matrix::of(operands).unwrap_or_default()),
            "Td" => self.next_line(number(0), number(1)),
            "TD" => {
                self.state.leading = -number(1);
                self.next_line(number(0), number(1));
            }
            "T*" => self.next_line(0.0, -self.state.leading),
            "Tc" => self.state.character_spacing = number(0),
            "Tw" => self.state.word_spacing = number(0),
            "Tz" => self.state.scale = number(0) / 100.0,
            "TL" => self.state.leading = number(0),
            "Tj" | "TJ" => operands.iter().for_each(|operand| self.show(operand, layout)),
            "'" | "\"" => {
                self.next_line(0.0, -self.state.leading);
                operands
                    .iter()
                    .skip(operands.len().saturating_sub(1))
                    .for_each(|text| self.show(text, layout));
            }
            _ => {}
        }
    }

    fn place(&mut self, at: Matrix) {
        self.text = at;
        self.line = at;
    }

    fn next_line(&mut self, x: f32, y: f32) {
        self.place(Matrix::translation(x, y).then(&self.line));
    }

    fn show(&mut self, operand: &Object, layout: &mut Layout) {
        match operand {
            Object::String(text, _) => self.show_text(text, layout),
            Object::Array(parts) => {
                for part in parts {
                    match part {
                        Object::String(text, _) => self.show_text(text, layout),
                        part => self.advance(-part.as_float().unwrap_or(0.0) / 1000.0 * self.state.size),
                    }
                }
            }
            _ => {}
        }
    }

    fn show_text(&mut self, text: &[u8], layout: &mut Layout) {
        let Some(font) = self.state.font.clone() else { return };
        layout.begin(&self.text.then(&self.state.page), self.state.size);
        for glyph in font.glyphs(text) {
            layout.push(&glyph.text);
            let word = if glyph.is_space { self.state.word_spacing } else { 0.0 };
            self.advance(glyph.width * self.state.size + self.state.character_spacing + word);
        }
        layout.end(&self.text.then(&self.state.page));
    }

    fn advance(&mut self, x: f32) {
        self.text = Matrix::translation(x * self.state.scale, 0.0).then(&self.text);
    }
}
