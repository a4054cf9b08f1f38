//! `deploy/config.example.toml` is made from the code: every key, what its field says of it, its default.

use std::{collections::HashMap, fs, path::Path};

use syft_endpoints::config::Config;
use syn::{Expr, ExprLit, Fields, Item, Lit, Meta};
use toml::{Table, Value};

/// Where the struct of each section is.
const SECTIONS: [(&str, &str); 15] = [
    ("", "src/config/mod.rs"),
    ("server", "src/server/mod.rs"),
    ("tls", "src/server/tls.rs"),
    ("grpc", "src/grpc/mod.rs"),
    ("cors", "src/gateway/cors.rs"),
    ("metrics", "src/server/metrics.rs"),
    ("traces", "src/telemetry/traces.rs"),
    ("store", "src/store/mod.rs"),
    ("records", "src/store/records.rs"),
    ("pipeline", "src/pipeline/mod.rs"),
    ("upstream", "src/upstream/mod.rs"),
    ("ingestion", "src/ingestion/mod.rs"),
    ("identity", "src/identity/mod.rs"),
    ("hub", "src/hub/config.rs"),
    ("log", "src/telemetry/logs.rs"),
];
const HEAD: &str = "\
# Every key of the service with its default. Each is also a variable: `max_running` in `[pipeline]` is
# SYFT_PIPELINE_MAX_RUNNING, and a variable wins over this file. Unknown keys are errors.
#
# Made from the code by `SYFT_TEST_ACCEPT=1 cargo test config_example`.
";
const CERTIFICATES: &str = "\
# [[identity.certificates]]
# name = \"spiffe://cluster.local/ns/chat/sa/*\"
# email = \"chat@example.org\"
# scopes = [\"query\"]
# tenant = \"\"
";

/// The doc comment of each field of a file's `Config`, in order.
fn fields(path: &str) -> Vec<(String, Vec<String>)> {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let items = syn::parse_file(&source).unwrap().items;
    let config = items.into_iter().find_map(|item| match item {
        Item::Struct(found) if found.ident == "Config" => Some(found.fields),
        _ => None,
    });
    let Some(Fields::Named(fields)) = config else { panic!("{path} has no Config") };
    fields
        .named
        .into_iter()
        .map(|field| {
            let docs = field.attrs.iter().filter_map(|attribute| match &attribute.meta {
                Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
                    Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            });
            (field.ident.unwrap().to_string(), docs.map(|line| line.trim().to_owned()).collect())
        })
        .collect()
}

fn defaults() -> Table {
    let Value::Table(defaults) = Value::try_from(Config::default()).unwrap() else { panic!("no table") };
    defaults
}

fn example() -> String {
    let (mut text, defaults) = (HEAD.to_owned(), defaults());
    for (section, path) in SECTIONS {
        let table = if section.is_empty() { &defaults } else { defaults[section].as_table().unwrap() };
        if !section.is_empty() {
            text.push_str(&format!("\n[{section}]\n"));
        }
        for (name, docs) in fields(path) {
            let value = &table[&name];
            if value.is_table() {
                continue;
            }
            assert!(!docs.is_empty(), "{section}.{name} says nothing about itself");
            text.push('\n');
            docs.iter().for_each(|line| text.push_str(&format!("# {line}\n")));
            match name.as_str() {
                // It depends on whose home it is.
                "data_dir" => text.push_str("# data_dir = \"~/.syft-endpoints\"\n"),
                "certificates" => text.push_str(CERTIFICATES),
                _ => text.push_str(&format!("{name} = {value}\n")),
            }
        }
    }
    text
}

#[test]
fn the_example_has_every_key_as_the_code_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config.example.toml");
    let present = example();
    if std::env::var_os("SYFT_TEST_ACCEPT").is_some() {
        fs::write(&path, &present).unwrap();
    }
    let accepted = fs::read_to_string(&path).expect("there is no example");
    assert!(accepted == present, "the configuration has changed; see the comment in the file's head");
}

#[test]
fn the_example_is_a_configuration_and_changes_nothing() {
    let loaded = Config::load(&example(), std::iter::empty(), Vec::new()).unwrap();
    let nothing = Config::load("", std::iter::empty(), Vec::new()).unwrap();
    assert_eq!(Value::try_from(loaded).unwrap(), Value::try_from(nothing).unwrap());
}

/// Every key is in the example, so none is left out when a section gets one.
#[test]
fn every_section_is_known() {
    let sections: HashMap<_, _> = SECTIONS.into_iter().collect();
    for (name, value) in defaults() {
        assert!(!value.is_table() || sections.contains_key(name.as_str()), "[{name}] is not in the example");
    }
}
