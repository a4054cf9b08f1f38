//! GraphQL, as much of it as Weaviate's queries are: read strictly, so that what is no GraphQL is refused.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

/// A value in a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Word(String),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// A field that is asked for.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub arguments: BTreeMap<String, Value>,
    pub within: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Sign(char),
    Name(String),
    Text(String),
    Number(String),
}

/// The fields of a query.
///
/// # Errors
/// As Weaviate says it.
pub fn parse(query: &str) -> Result<Vec<Field>, String> {
    let wrong = |what: &str| format!("Syntax Error GraphQL request {what}");
    let mut tokens = tokens(query).map_err(|what| wrong(&what))?.into_iter().peekable();
    let fields = selection(&mut tokens).map_err(|what| wrong(&what))?;
    match tokens.next() {
        None => Ok(fields),
        Some(token) => Err(wrong(&format!("Unexpected {token:?}"))),
    }
}

type Tokens = Peekable<std::vec::IntoIter<Token>>;

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let (mut chars, mut tokens) = (query.chars().peekable(), Vec::new());
    while let Some(c) = chars.peek().copied() {
        match c {
            ' ' | ',' | '\n' | '\t' | '\r' => drop(chars.next()),
            '{' | '}' | '(' | ')' | '[' | ']' | ':' => {
                tokens.push(Token::Sign(c));
                chars.next();
            }
            '"' => tokens.push(Token::Text(text(&mut chars)?)),
            c if c.is_ascii_alphabetic() || c == '_' => {
                tokens.push(Token::Name(run(&mut chars, |c| c.is_ascii_alphanumeric() || c == '_')));
            }
            c if c.is_ascii_digit() || c == '-' => {
                tokens
                    .push(Token::Number(run(&mut chars, |c| c.is_ascii_alphanumeric() || "+-.".contains(c))));
            }
            c => return Err(format!("Unexpected character {c:?}")),
        }
    }
    Ok(tokens)
}

fn run(chars: &mut Peekable<Chars<'_>>, belongs: impl Fn(char) -> bool) -> String {
    let mut run = String::new();
    while let Some(c) = chars.next_if(|c| belongs(*c)) {
        run.push(c);
    }
    run
}

fn text(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut literal = String::from(chars.next().unwrap());
    loop {
        match chars.next().ok_or("Unterminated string")? {
            '"' => break,
            '\n' | '\r' => return Err("Unterminated string".to_owned()),
            '\\' => literal.extend(['\\', chars.next().ok_or("Unterminated string")?]),
            c => literal.push(c),
        }
    }
    literal.push('"');
    serde_json::from_str(&literal).map_err(|_| "Bad character escape sequence".to_owned())
}

fn selection(tokens: &mut Tokens) -> Result<Vec<Field>, String> {
    expect(tokens, '{')?;
    let mut fields = Vec::new();
    while tokens.next_if_eq(&Token::Sign('}')).is_none() {
        fields.push(field(tokens)?);
    }
    if fields.is_empty() { Err("Expected Name, found }".to_owned()) } else { Ok(fields) }
}

fn field(tokens: &mut Tokens) -> Result<Field, String> {
    let Some(Token::Name(name)) = tokens.next() else { return Err("Expected Name".to_owned()) };
    let arguments = match tokens.next_if_eq(&Token::Sign('(')) {
        Some(_) => pairs(tokens, ')')?,
        None => BTreeMap::new(),
    };
    let within = if tokens.peek() == Some(&Token::Sign('{')) { selection(tokens)? } else { Vec::new() };
    Ok(Field { name, arguments, within })
}

fn pairs(tokens: &mut Tokens, end: char) -> Result<BTreeMap<String, Value>, String> {
    let mut pairs = BTreeMap::new();
    while tokens.next_if_eq(&Token::Sign(end)).is_none() {
        let Some(Token::Name(name)) = tokens.next() else { return Err("Expected Name".to_owned()) };
        expect(tokens, ':')?;
        if pairs.insert(name, value(tokens)?).is_some() {
            return Err("There can be only one argument of a name".to_owned());
        }
    }
    Ok(pairs)
}

fn value(tokens: &mut Tokens) -> Result<Value, String> {
    Ok(match tokens.next().ok_or("Unexpected end")? {
        Token::Text(text) => Value::Text(text),
        Token::Name(name) if name == "true" || name == "false" => Value::Bool(name == "true"),
        Token::Name(name) => Value::Word(name),
        Token::Number(number) => match number.parse() {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Float(number.parse().map_err(|_| format!("Invalid number {number}"))?),
        },
        Token::Sign('[') => {
            let mut values = Vec::new();
            while tokens.next_if_eq(&Token::Sign(']')).is_none() {
                values.push(value(tokens)?);
            }
            Value::List(values)
        }
        Token::Sign('{') => Value::Object(pairs(tokens, '}')?),
        Token::Sign(sign) => return Err(format!("Unexpected {sign}")),
    })
}

fn expect(tokens: &mut Tokens, sign: char) -> Result<(), String> {
    match tokens.next() {
        Some(Token::Sign(found)) if found == sign => Ok(()),
        found => Err(format!("Expected {sign}, found {found:?}")),
    }
}
