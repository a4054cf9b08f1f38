//! Runs of glyphs to lines and paragraphs, by where they are on the page.

use lopdf::Object;

/// A gap from which on it is one between words, in ems.
const WORD: f32 = 0.15;
/// How far down another line is, in ems.
const LINE: f32 = 0.5;
/// How far down another paragraph is, in ems.
const PARAGRAPH: f32 = 1.9;

/// Where text is: `x' = a·x + c·y + e`, `y' = b·x + d·y + f`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix {
    a: f32,
    b: f32,
    c: f32,
    d: f32,
    e: f32,
    f: f32,
}

/// The text of a page.
pub(super) struct Layout {
    text: String,
    /// Bytes at which it is full: nothing more is added.
    most: usize,
    /// Where the last run has ended.
    last: Option<Place>,
    /// The run that has begun.
    size: f32,
}

/// A place on the page, as a reader goes: along the line, and across lines.
#[derive(Clone, Copy)]
struct Place {
    direction: (f32, f32),
    along: f32,
    across: f32,
    size: f32,
}

impl Default for Matrix {
    fn default() -> Self {
        Self::IDENTITY
    }
}

impl Matrix {
    pub(super) const IDENTITY: Self = Self { a: 1.0, b: 0.0, c: 0.0, d: 1.0, e: 0.0, f: 0.0 };

    /// Of six numbers.
    pub(super) fn of(operands: &[Object]) -> Option<Self> {
        let numbers: Vec<f32> = operands.iter().map_while(|operand| operand.as_float().ok()).collect();
        let [a, b, c, d, e, f] = *numbers.as_array::<6>()?;
        Some(Self { a, b, c, d, e, f })
    }

    pub(super) fn translation(e: f32, f: f32) -> Self {
        Self { e, f, ..Self::IDENTITY }
    }

    /// This one, and the other after it.
    pub(super) fn then(&self, other: &Self) -> Self {
        Self {
            a: self.a * other.a + self.b * other.c,
            b: self.a * other.b + self.b * other.d,
            c: self.c * other.a + self.d * other.c,
            d: self.c * other.b + self.d * other.d,
            e: self.e * other.a + self.f * other.c + other.e,
            f: self.e * other.b + self.f * other.d + other.f,
        }
    }

    fn place(&self, size: f32) -> Place {
        let length = self.a.hypot(self.b);
        let (x, y) = if length > 0.0 { (self.a / length, self.b / length) } else { (1.0, 0.0) };
        Place {
            direction: (x, y),
            along: self.e * x + self.f * y,
            across: self.f * x - self.e * y,
            size: (self.c.hypot(self.d) * size).abs(),
        }
    }
}

impl Layout {
    pub(super) fn new(most: usize) -> Self {
        Self { text: String::new(), most, last: None, size: 0.0 }
    }

    /// Bytes so far; more than it may have when it is full.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// A run begins here.
    pub(super) fn begin(&mut self, at: &Matrix, size: f32) {
        self.size = size;
        let next = at.place(size);
        let gap = self.last.map_or("", |last| gap(&last, &next));
        let is_apart = self.text.is_empty() || self.text.ends_with(char::is_whitespace);
        match gap {
            " " if is_apart => {}
            "\n" | "\n\n" => {
                self.text.truncate(self.text.trim_end_matches(' ').len());
                self.text.push_str(gap);
            }
            gap => self.text.push_str(gap),
        }
        self.last = Some(next);
    }

    /// What a glyph shows.
    pub(super) fn push(&mut self, text: &str) {
        for character in text.chars() {
            // A code may stand for millions of characters. The page is refused when it has ended.
            if self.text.len() > self.most {
                return;
            }
            match character {
                '\u{fb00}' => self.text.push_str("ff"),
                '\u{fb01}' => self.text.push_str("fi"),
                '\u{fb02}' => self.text.push_str("fl"),
                '\u{fb03}' => self.text.push_str("ffi"),
                '\u{fb04}' => self.text.push_str("ffl"),
                // A hyphen that is shown at the end of a line only.
                '\u{ad}' => self.text.push('-'),
                '\u{fffd}' => {}
                character if character.is_control() || character == '\u{a0}' => self.text.push(' '),
                character => self.text.push(character),
            }
        }
    }

    /// The run has ended here.
    pub(super) fn end(&mut self, at: &Matrix) {
        self.last = Some(at.place(self.size));
    }

    /// The text, with words that were cut at the ends of lines in one piece.
    pub(super) fn finish(self) -> String {
        let mut whole = String::with_capacity(self.text.len());
        for line in self.text.split_inclusive('\n') {
            let continues = line.starts_with(char::is_lowercase) && whole.ends_with("-\n");
            let cut = whole.len().saturating_sub(2);
            if continues && whole[..cut].ends_with(char::is_alphabetic) {
                whole.truncate(cut);
            }
            whole.push_str(line);
        }
        whole
    }
}

fn gap(last: &Place, next: &Place) -> &'static str {
    let size = last.size.max(next.size).max(f32::MIN_POSITIVE);
    let turned = (last.direction.0 - next.direction.0).abs() + (last.direction.1 - next.direction.1).abs();
    let down = (last.across - next.across) / size;
    if turned > 0.1 || !(-LINE..=PARAGRAPH).contains(&down) {
        return "\n\n";
    }
    if down > LINE {
        return "\n";
    }
    let gap = (next.along - last.along) / size;
    if (-WORD..WORD).contains(&gap) { "" } else { " " }
}
