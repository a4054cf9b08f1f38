//! Queries in GraphQL, written so that no value can become syntax: names are checked, texts are literals.

use std::fmt::{self, Write};

use serde_json::Value;

/// A name that Weaviate allows, and GraphQL with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(String);

/// A value as it stands in a query.
pub(super) enum Literal {
    Text(String),
    /// A number that is written as it is.
    Integer(i64),
    /// Not finite ones are written as 0.
    Number(f64),
    Boolean(bool),
    /// A word of the API's own.
    Word(&'static str),
    List(Vec<Self>),
    Object(Vec<(&'static str, Self)>),
}

/// A field to be returned, with the fields of it.
pub(super) struct Field {
    name: Name,
    within: Vec<Self>,
}

impl Name {
    /// A collection: a capital, then letters, digits and underscores, 255 in all. A small first letter is made a
    /// capital one, as Weaviate's clients do.
    pub(super) fn collection(text: &str) -> Option<Self> {
        let mut name = Self::with(text, 255, |first| first.is_ascii_alphabetic())?;
        name.0[..1].make_ascii_uppercase();
        Some(name)
    }

    /// A property: a letter or an underscore, then letters, digits and underscores, 231 in all.
    pub(super) fn property(text: &str) -> Option<Self> {
        Self::with(text, 231, |first| first.is_ascii_alphabetic() || first == '_')
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn with(text: &str, most: usize, first: impl Fn(char) -> bool) -> Option<Self> {
        let mut chars = text.chars();
        let begins = chars.next().is_some_and(first);
        let goes_on = chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        (begins && goes_on && text.len() <= most).then(|| Self(text.to_owned()))
    }
}

impl Field {
    pub(super) fn plain(name: Name) -> Self {
        Self { name, within: Vec::new() }
    }

    pub(super) fn of(name: Name, within: Vec<Self>) -> Self {
        Self { name, within }
    }
}

/// A query for objects of one collection.
pub(super) fn get(collection: &Name, arguments: &[(&str, Literal)], fields: &[Field]) -> String {
    let mut query = format!("{{Get{{{}(", collection.0);
    for (name, value) in arguments {
        // Writing to a text cannot fail.
        let _ = write!(query, "{name}:{value} ");
    }
    query.push_str("){");
    select(&mut query, fields);
    query.push_str("_additional{id distance certainty score creationTimeUnix}}}}");
    query
}

fn select(query: &mut String, fields: &[Field]) {
    for field in fields {
        query.push_str(&field.name.0);
        if !field.within.is_empty() {
            query.push('{');
            select(query, &field.within);
            query.push('}');
        }
        query.push(' ');
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // JSON's escapes are a part of GraphQL's.
            Self::Text(text) => write!(f, "{}", Value::from(text.as_str())),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) if number.is_finite() => write!(f, "{}", Value::from(*number)),
            Self::Number(_) => f.write_str("0"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Word(word) => f.write_str(word),
            Self::List(values) => {
                f.write_str("[")?;
                values.iter().try_for_each(|value| write!(f, "{value} "))?;
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                fields.iter().try_for_each(|(name, value)| write!(f, "{name}:{value} "))?;
                f.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_weaviates() {
        let kept = |name: Option<Name>| name.map(|name| name.0);
        assert_eq!(kept(Name::collection("Article_2")), Some("Article_2".to_owned()));
        assert_eq!(kept(Name::collection("article")), Some("Article".to_owned()));
        assert_eq!(kept(Name::property("_fooBar")), Some("_fooBar".to_owned()));
        let longest = "A".repeat(255);
        assert!(Name::collection(&longest).is_some() && Name::collection(&format!("{longest}A")).is_none());
        for bad in
            ["", "_A", "2A", "A-b", "A b", "A{", "Ä", "A\n", "A(limit:1)", "A}}}{Get{B", "A\0", "A#", "A\""]
        {
            assert_eq!(kept(Name::collection(bad)), None, "{bad:?}");
        }
        for bad in ["", "2a", "a-b", "a{b}", "a b", "é", "a,b", "a:1", "a\u{feff}", "_additional{vector}"] {
            assert_eq!(kept(Name::property(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn a_query_reads_as_it_should() {
        let text = Literal::Text("say \"hi\"\\\n}".to_owned());
        let near = Literal::Object(vec![("concepts", Literal::List(vec![text]))]);
        let arguments = [("limit", Literal::Integer(5)), ("nearText", near)];
        let geo = ["latitude", "longitude"].map(|name| Field::plain(Name::property(name).unwrap()));
        let fields = [
            Field::plain(Name::property("title").unwrap()),
            Field::of(Name::property("place").unwrap(), geo.into()),
        ];
        let expected = r#"{Get{Article(limit:5 nearText:{concepts:["say \"hi\"\\\n}" ] } ){title place{latitude longitude } _additional{id distance certainty score creationTimeUnix}}}}"#;
        assert_eq!(get(&Name::collection("Article").unwrap(), &arguments, &fields), expected);
    }

    proptest! {
        /// Whatever a text is, it ends where its literal ends.
        #[test]
        fn no_text_leaves_its_literal(text in any::<String>()) {
            let written = Literal::Text(text.clone()).to_string();
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
            prop_assert!(!written.contains(['\n', '\r']));
            let inner = &written[1..written.len() - 1];
            let mut escaped = false;
            for c in inner.chars() {
                prop_assert!(escaped || c != '"');
                escaped = !escaped && c == '\\';
            }
            prop_assert!(!escaped);
        }
    }
}
