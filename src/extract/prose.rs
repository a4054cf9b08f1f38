//! Text as it is written down from a marked-up document: words, lines, paragraphs, headings.

/// A text that grows. White space between words is one space, and between paragraphs one empty line.
#[derive(Default)]
pub(super) struct Prose {
    text: String,
    gap: Gap,
    /// What stands before the next word: the mark of a heading or item.
    mark: &'static str,
    in_heading: bool,
    in_row: bool,
}

/// What is to be between the last word and the next. The larger one wins.
#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Cell,
    Line,
    Paragraph,
}

impl Prose {
    /// Words of running text.
    pub(super) fn words(&mut self, text: &str) {
        if text.starts_with(char::is_whitespace) {
            self.widen(Gap::Space);
        }
        for word in text.split_whitespace() {
            self.open();
            self.text.push_str(word);
            self.gap = Gap::Space;
        }
        if !text.is_empty() && !text.ends_with(char::is_whitespace) && self.gap == Gap::Space {
            self.gap = Gap::None;
        }
    }

    /// Text whose white space means something.
    pub(super) fn verbatim(&mut self, text: &str) {
        if !text.is_empty() {
            self.open();
            self.text.push_str(text);
        }
    }

    /// What follows is a paragraph.
    pub(super) fn paragraph(&mut self) {
        self.begin(Gap::Paragraph, "");
        self.in_heading = false;
    }

    /// What follows is a heading, `depth` from 1 to 6, until the next paragraph.
    pub(super) fn heading(&mut self, depth: usize) {
        const MARKS: [&str; 6] = ["# ", "## ", "### ", "#### ", "##### ", "###### "];
        self.begin(Gap::Paragraph, MARKS[depth.clamp(1, 6) - 1]);
        self.in_heading = true;
    }

    /// What follows is an item of a list, unless it is a heading.
    pub(super) fn item(&mut self) {
        if !self.in_heading {
            self.begin(Gap::Line, "- ");
        }
    }

    /// What follows is on a line of its own; a heading has only one.
    pub(super) fn line(&mut self) {
        if self.in_heading { self.widen(Gap::Space) } else { self.begin(Gap::Line, "") }
    }

    /// What follows is the next cell of a row.
    pub(super) fn cell(&mut self) {
        self.widen(if self.in_row { Gap::Cell } else { Gap::Space });
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn begin(&mut self, gap: Gap, mark: &'static str) {
        self.widen(gap);
        self.mark = mark;
        self.in_row = false;
    }

    fn widen(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    /// Makes the gap before the next word.
    fn open(&mut self) {
        if !self.text.is_empty() {
            self.text.push_str(match self.gap {
                Gap::None => "",
                Gap::Space => " ",
                Gap::Cell => " | ",
                Gap::Line => "\n",
                Gap::Paragraph => "\n\n",
            });
        }
        self.text.push_str(std::mem::take(&mut self.mark));
        self.gap = Gap::None;
        self.in_row = true;
    }
}
