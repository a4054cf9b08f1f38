//! Weaviate's queries: which it takes, and what it answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{
    super::words,
    Class, filters,
    graphql::{self, Field, Value},
    object, types,
};

const ADDITIONAL: [&str; 7] =
    ["id", "distance", "certainty", "score", "explainScore", "creationTimeUnix", "vector"];

/// An object that a search has found.
#[derive(Clone)]
struct Hit {
    id: String,
    object: Map<String, Json>,
    distance: Option<f64>,
    score: Option<f64>,
}

/// The answer to a query, errors and all.
pub fn answer(classes: &BTreeMap<&'static str, Class>, query: &str) -> Json {
    let fields = match graphql::parse(query) {
        Ok(fields) => fields,
        Err(message) => return json!({"data": null, "errors": [reported(&message, &Json::Null)]}),
    };
    let [get] = &fields[..] else { return refused("Must have one operation") };
    if get.name != "Get" || !get.arguments.is_empty() || get.within.len() != 1 {
        return refused(&format!("Cannot query field \"{}\" on type \"WeaviateObj\".", get.name));
    }
    let asked = &get.within[0];
    let Some(class) = classes.get(asked.name.as_str()) else {
        return refused(&format!("Cannot query field \"{}\" on type \"GetObjectsObj\".", asked.name));
    };
    if let Err(message) = validate(class, asked) {
        return refused(&message);
    }
    match run(class, asked) {
        Ok(found) => json!({"data": {"Get": {asked.name.as_str(): found}}}),
        Err(message) => {
            let errors = [reported(&message, &json!(["Get", asked.name]))];
            json!({"data": {"Get": {asked.name.as_str(): null}}, "errors": errors})
        }
    }
}

fn refused(message: &str) -> Json {
    json!({"data": null, "errors": [reported(message, &Json::Null)]})
}

fn reported(message: &str, path: &Json) -> Json {
    json!({"locations": [{"column": 6, "line": 1}], "message": message, "path": path})
}

/// What the schema that Weaviate makes of its classes does not allow.
fn validate(class: &Class, asked: &Field) -> Result<(), String> {
    for (argument, value) in &asked.arguments {
        let known: &[&str] = match argument.as_str() {
            "limit" if matches!(value, Value::Int(1..)) => continue,
            "tenant" if matches!(value, Value::Text(_)) => continue,
            "where" => continue,
            "nearText" if class.vectorizer != "none" => {
                &["concepts", "certainty", "distance", "targetVectors"]
            }
            "nearVector" => &["vector", "certainty", "distance", "targetVectors"],
            "bm25" => &["query", "properties"],
            "hybrid" => &["query", "alpha", "vector", "properties", "fusionType", "targetVectors"],
            "limit" | "tenant" => return Err(format!("Argument \"{argument}\" has invalid value.")),
            _ => {
                let (field, on) = (&asked.name, "GetObjectsObj");
                return Err(format!(
                    "Unknown argument \"{argument}\" on field \"{field}\" of type \"{on}\"."
                ));
            }
        };
        let Value::Object(fields) = value else {
            return Err(format!("Argument \"{argument}\" has invalid value."));
        };
        if let Some(unknown) = fields.keys().find(|field| !known.contains(&field.as_str())) {
            return Err(format!(
                "Argument \"{argument}\" has invalid value. In field \"{unknown}\": Unknown field."
            ));
        }
        if let Some(fusion) = fields.get("fusionType")
            && !["relativeScoreFusion", "rankedFusion"]
                .map(|word| Value::Word(word.to_owned()))
                .contains(fusion)
        {
            return Err(
                "Argument \"hybrid\" has invalid value. In field \"fusionType\": Expected type.".to_owned()
            );
        }
    }
    for field in &asked.within {
        let (known, on): (bool, _) = match field.name.as_str() {
            "_additional" => {
                let unknown = field.within.iter().find(|field| !ADDITIONAL.contains(&field.name.as_str()));
                (unknown.is_none() && !field.within.is_empty(), "AdditionalProps")
            }
            name => (types().contains_key(name) && field.within.is_empty(), asked.name.as_str()),
        };
        if !known {
            return Err(format!("Cannot query field \"{}\" on type \"{on}\".", field.name));
        }
    }
    Ok(())
}

fn run(class: &Class, asked: &Field) -> Result<Vec<Json>, String> {
    if class.tenants != asked.arguments.contains_key("tenant") {
        return Err("class X has multi-tenancy enabled, but request was without tenant".to_owned());
    }
    if asked.arguments.get("tenant").is_some_and(|tenant| *tenant != Value::Text("ours".to_owned())) {
        return Err("explorer: tenant not found".to_owned());
    }
    let mut hits = Vec::new();
    for (n, doc) in class.documents.iter().enumerate() {
        let (id, object) = object(n, doc);
        let kept = asked.arguments.get("where").map_or(Ok(true), |filter| filters::keeps(filter, &object))?;
        if kept {
            hits.push(Hit { id, object, distance: None, score: None });
        }
    }
    let operators = ["nearText", "nearVector", "bm25", "hybrid"];
    let searches: Vec<_> =
        asked.arguments.iter().filter(|(name, _)| operators.contains(&name.as_str())).collect();
    let mut hits = match searches[..] {
        [] => hits,
        [(name, Value::Object(arguments))] => search(class, name, arguments, hits)?,
        _ => return Err("explorer: conflicting searches".to_owned()),
    };
    if let Some(Value::Int(limit)) = asked.arguments.get("limit") {
        hits.truncate(usize::try_from(*limit).unwrap());
    }
    Ok(hits.iter().map(|hit| shown(class, hit, &asked.within)).collect())
}

fn search(
    class: &Class,
    name: &str,
    arguments: &BTreeMap<String, Value>,
    mut hits: Vec<Hit>,
) -> Result<Vec<Hit>, String> {
    target(class, name, arguments)?;
    let text = |field| match arguments.get(field) {
        Some(Value::Text(text)) => Ok(text.clone()),
        Some(Value::List(texts)) => match &texts[..] {
            [Value::Text(text)] => Ok(text.clone()),
            _ => Err(format!("{field}: one text is expected")),
        },
        _ => Err(format!("{field} is expected")),
    };
    match name {
        "nearText" => near(class, &words::vector(&text("concepts")?), &mut hits),
        "nearVector" => near(class, &numbers(arguments.get("vector"))?, &mut hits),
        "bm25" => {
            keywords(&text("query")?, &mut hits);
            hits.retain(|hit| hit.score.is_some_and(|score| score > 0.0));
        }
        _ => {
            let alpha = match arguments.get("alpha") {
                Some(Value::Float(alpha)) if (0.0..=1.0).contains(alpha) => *alpha,
                Some(Value::Int(alpha @ 0..=1)) => f64::from(u8::try_from(*alpha).unwrap()),
                _ => return Err("alpha should be between 0.0 and 1.0".to_owned()),
            };
            let question = text("query")?;
            let vector = match arguments.get("vector") {
                Some(vector) => numbers(Some(vector))?,
                None if class.vectorizer == "none" => {
                    return Err(
                        "could not vectorize input for collection X with search-type hybrid".to_owned()
                    );
                }
                None => words::vector(&question),
            };
            fuse(class, &question, &vector, alpha, &mut hits);
        }
    }
    Ok(hits)
}

fn target(class: &Class, name: &str, arguments: &BTreeMap<String, Value>) -> Result<(), String> {
    let named = match arguments.get("targetVectors") {
        Some(Value::List(names)) => names.clone(),
        _ => Vec::new(),
    };
    let known = |name: &Value| matches!(name, Value::Text(name) if class.vectors.contains(&name.as_str()));
    if name != "bm25" && (!named.iter().all(known) || (named.is_empty() && class.vectors.len() > 1)) {
        return Err(
            "explorer: get class: multiple vectorizers configured, need to specify target vector".to_owned()
        );
    }
    Ok(())
}

/// Sorted by distance, as every vector search is.
fn near(class: &Class, question: &[f64], hits: &mut [Hit]) {
    for hit in hits.iter_mut() {
        let vector = words::vector(hit.object["text"].as_str().unwrap());
        let cosine = words::dot(question, &vector);
        hit.distance = Some(match class.distance {
            "cosine" => 1.0 - cosine,
            "dot" => -cosine,
            _ => 2.0 - 2.0 * cosine,
        });
    }
    hits.sort_by(|a, b| a.distance.unwrap().total_cmp(&b.distance.unwrap()));
}

fn keywords(question: &str, hits: &mut [Hit]) {
    let texts: Vec<String> = hits.iter().map(|hit| hit.object["text"].as_str().unwrap().to_owned()).collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    for hit in hits.iter_mut() {
        hit.score = Some(words::bm25(question, hit.object["text"].as_str().unwrap(), &all));
    }
    hits.sort_by(|a, b| b.score.unwrap().total_cmp(&a.score.unwrap()));
}

/// Each part between 0, the least that was found, and 1, the most.
fn fuse(class: &Class, question: &str, vector: &[f64], alpha: f64, hits: &mut [Hit]) {
    let relative = |scores: Vec<f64>| {
        let (least, most) = scores.iter().fold((f64::MAX, f64::MIN), |(a, b), s| (a.min(*s), b.max(*s)));
        let place = move |score: f64| if most > least { (score - least) / (most - least) } else { 1.0 };
        scores.into_iter().map(place).collect::<Vec<_>>()
    };
    hits.sort_by(|a, b| a.id.cmp(&b.id));
    let (mut by_word, mut by_meaning) = (hits.to_vec(), hits.to_vec());
    keywords(question, &mut by_word);
    near(class, vector, &mut by_meaning);
    by_word.sort_by(|a, b| a.id.cmp(&b.id));
    by_meaning.sort_by(|a, b| a.id.cmp(&b.id));
    let by_word = relative(by_word.iter().map(|hit| hit.score.unwrap()).collect());
    let by_meaning = relative(by_meaning.iter().map(|hit| -hit.distance.unwrap()).collect());
    for ((hit, word), meaning) in hits.iter_mut().zip(by_word).zip(by_meaning) {
        hit.score = Some(alpha * meaning + (1.0 - alpha) * word);
    }
    hits.sort_by(|a, b| b.score.unwrap().total_cmp(&a.score.unwrap()));
}

fn numbers(list: Option<&Value>) -> Result<Vec<f64>, String> {
    let Some(Value::List(list)) = list else { return Err("a vector is expected".to_owned()) };
    let vector: Vec<f64> = list
        .iter()
        .map(|number| match number {
            Value::Float(number) => *number,
            Value::Int(number) => f64::from(i32::try_from(*number).unwrap()),
            other => panic!("no number: {other:?}"),
        })
        .collect();
    if vector.len() == words::DIMENSIONS { Ok(vector) } else { Err("vector lengths don't match".to_owned()) }
}

fn shown(class: &Class, hit: &Hit, fields: &[Field]) -> Json {
    let mut object = Map::new();
    for field in fields {
        if field.name == "_additional" {
            let all = json!({
                "id": hit.id, "distance": hit.distance,
                "certainty": hit.distance.filter(|_| class.distance == "cosine").map(|distance| 1.0 - distance / 2.0),
                // A text, and one of 0 where nothing is scored.
                "score": hit.score.unwrap_or(0.0).to_string(), "explainScore": "",
                "creationTimeUnix": "1685620800000",
            });
            let asked = field.within.iter().map(|field| (field.name.clone(), all[&field.name].clone()));
            object.insert(field.name.clone(), asked.collect());
        } else {
            object.insert(field.name.clone(), hit.object.get(&field.name).cloned().unwrap_or_default());
        }
    }
    Json::Object(object)
}
