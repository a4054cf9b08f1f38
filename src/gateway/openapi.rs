//! The OpenAPI document: every route, from the same types that it reads and writes.

use axum::http::Method;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    needs,
    problem::{Failure, ValidationFailure},
    route::Route,
};

/// What any route that needs a credential can fail with. A marketplace can refuse to tell whose a token is.
const COMMON: [u16; 6] = [401, 403, 424, 429, 503, 504];
const CORRELATION: &str = "Given back as it came. A query that is asked again under the same one is neither counted nor \
    charged again";
const COMPONENTS: &str = "/components/schemas";

/// The document of these routes.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = COMPONENTS.into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route, &mut generator);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Syft Space",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Endpoints of a Syft Space. The same service speaks gRPC and gRPC-Web on this port.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The admin key, an API key, or a satellite token of SyftHub",
                },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let protected = needs(&route.method, route.path).is_some();
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [segments(route).next().unwrap_or_default()],
        "parameters": parameters(route, protected, generator),
        "responses": responses(route, protected, generator),
    });
    if protected {
        operation["security"] = json!([{"bearer": []}]);
    }
    if let Some(schema) = route.body {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema(generator)}}});
    }
    if route.is_upload {
        let file = json!({"schema": {"type": "string", "format": "binary"}});
        operation["requestBody"] = json!({"required": true, "content": {"application/octet-stream": file}});
    }
    operation
}

fn parameters(route: &Route, protected: bool, generator: &mut SchemaGenerator) -> Vec<Value> {
    let braced = segments(route).filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let schema_of = |name: &str| match name.ends_with("_id") {
        true => json!({"type": "string", "format": "uuid"}),
        false => json!({"type": "string", "minLength": 1}),
    };
    let in_path = braced.map(|name| {
        let schema = schema_of(name);
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query = route.queries.iter().map(|(name, description)| {
        let schema = schema_of(name);
        json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
    });
    let header = |name: &str, description: &str| {
        json!({
            "name": name, "in": "header", "required": false, "description": description,
            "schema": {"type": "string", "maxLength": 128, "pattern": "^[!-~]+$"},
        })
    };
    let mut parameters: Vec<Value> = in_path.chain(in_query).collect();
    parameters.extend(asked(route, generator));
    if protected {
        parameters.push(header("X-Tenant-Name", "The tenant, where there are several"));
        parameters.push(header("X-Correlation-ID", CORRELATION));
    }
    parameters
}

/// Parameters that are the fields of a type.
fn asked(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let Some((names, schema)) = route.asked else { return Vec::new() };
    let mut schema = schema(generator).to_value();
    let (mut fields, required) = (schema["properties"].take(), schema["required"].take());
    let parameter = |name: &&str| {
        let is_required = required.as_array().is_some_and(|names| names.contains(&json!(name)));
        let mut schema = fields[*name].take();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let description = description.unwrap_or_default();
        json!({
            "name": name, "in": "query", "required": is_required, "description": description, "schema": schema,
        })
    };
    names.iter().map(parameter).collect()
}

fn responses(route: &Route, protected: bool, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let content: Map<String, Value> = (route.answers)(generator)
        .into_iter()
        .map(|(kind, schema)| (kind.to_owned(), json!({ "schema": schema })))
        .collect();
    responses.insert(route.status.as_str().to_owned(), json!({"description": "Done", "content": content}));
    if let Some((status, schema)) = route.other {
        let content = json!({"application/json": {"schema": schema(generator)}});
        responses.insert(status.as_str().to_owned(), json!({"description": "Begun", "content": content}));
    }
    let mut failures = route.failures.to_vec();
    if protected {
        failures.extend(COMMON);
    } else {
        failures.push(503);
    }
    if route.body.is_some() {
        failures.extend([400, 408, 413, 422]);
    }
    failures.push(500);
    failures.sort_unstable();
    failures.dedup();
    for status in failures {
        let schema = match status {
            422 => generator.subschema_for::<ValidationFailure>(),
            _ => generator.subschema_for::<Failure>(),
        };
        let content = json!({"application/json": {"schema": schema}});
        responses.insert(status.to_string(), json!({"description": says(status), "content": content}));
    }
    Value::Object(responses)
}

fn says(status: u16) -> &'static str {
    match status {
        400 => "Does not fit together, or is not known",
        401 => "No credential, or no good one",
        403 => "Not allowed, not published, or refused by a policy",
        404 => "Not found",
        408 => "The request did not arrive in time",
        409 => "Taken, or in use",
        413 => "Too large",
        422 => "Values break rules; all of them are listed",
        424 => {
            "What the endpoint, the caller's token or the call depends on refuses for good: the owner must act"
        }
        429 => "Too many calls are running; Retry-After says when to come back",
        502 => "What the endpoint uses failed; asking again may help",
        503 => "Not now",
        504 => "Took too long",
        _ => "A fault of the service",
    }
}

/// The path's parts behind the base.
fn segments(route: &Route) -> impl Iterator<Item = &'static str> {
    route.path.split('/').skip(3).filter(|part| !part.is_empty())
}

/// Unique: what is done, and to what.
fn operation_id(route: &Route) -> String {
    let verb = match route.method {
        Method::GET => "get",
        Method::PATCH => "update",
        Method::DELETE => "delete",
        _ => "post",
    };
    let parts = segments(route).map(|part| part.trim_matches(['{', '}']).replace('-', "_"));
    std::iter::once(verb.to_owned()).chain(parts).collect::<Vec<_>>().join("_")
}
