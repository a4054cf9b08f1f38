//! The import rule and the budgets, read from the sources.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::visit::Visit;

/// What each module may see of the others. Everything sees `telemetry`, `domain` and `error`.
const RULE: [(&str, &[&str]); 22] = [
    ("error", &[]),
    ("domain", &[]),
    ("proto", &[]),
    ("telemetry", &[]),
    ("server", &[]),
    ("upstream", &[]),
    ("store", &[]),
    ("extract", &[]),
    ("health", &["store"]),
    ("hub", &["upstream"]),
    ("identity", &["store", "hub"]),
    ("model", &["upstream"]),
    ("dataset", &["store", "upstream"]),
    ("policy", &["store", "upstream"]),
    ("pipeline", &["policy", "dataset", "model", "store"]),
    ("catalog", &["policy", "dataset", "model", "store", "hub", "listing"]),
    ("listing", &["policy", "dataset", "model", "store", "hub"]),
    ("ingestion", &["catalog", "extract", "store", "upstream"]),
    ("gateway", &["proto"]),
    ("grpc", &["proto", "pipeline", "catalog", "ingestion", "listing", "identity"]),
    (
        "config",
        &["gateway", "grpc", "hub", "identity", "ingestion", "pipeline", "server", "store", "upstream"],
    ),
    (
        "app",
        &[
            "catalog",
            "config",
            "dataset",
            "gateway",
            "grpc",
            "health",
            "hub",
            "identity",
            "ingestion",
            "listing",
            "model",
            "pipeline",
            "policy",
            "server",
            "store",
            "upstream",
        ],
    ),
];

fn sources(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found: Vec<PathBuf> = walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    found.sort();
    found
}

/// The first segments of every path that begins with `crate`.
#[derive(Default)]
struct Seen(BTreeSet<String>);

impl<'a> Visit<'a> for Seen {
    fn visit_path(&mut self, path: &'a syn::Path) {
        let mut segments = path.segments.iter().map(|segment| segment.ident.to_string());
        if segments.next().as_deref() == Some("crate") {
            self.0.extend(segments.next());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_use_path(&mut self, path: &'a syn::UsePath) {
        if path.ident == "crate" {
            first_segments(&path.tree, &mut self.0);
        }
        syn::visit::visit_use_path(self, path);
    }
}

fn first_segments(tree: &syn::UseTree, seen: &mut BTreeSet<String>) {
    match tree {
        syn::UseTree::Path(path) => {
            seen.insert(path.ident.to_string());
        }
        syn::UseTree::Name(name) => {
            seen.insert(name.ident.to_string());
        }
        syn::UseTree::Rename(name) => {
            seen.insert(name.ident.to_string());
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| first_segments(item, seen)),
        syn::UseTree::Glob(_) => {}
    }
}

#[test]
fn imports_point_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for path in sources("src") {
        let below = path.strip_prefix(&root).unwrap().components().next().unwrap();
        let module = below.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        if ["main", "lib", "cli"].contains(&module.as_str()) {
            continue;
        }
        let (_, allowed) =
            RULE.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{module} has no rule"));
        let mut seen = Seen::default();
        seen.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
        for other in seen.0 {
            let always = ["telemetry", "domain", "error"].contains(&other.as_str()) || other == module;
            // These are below each other in that order.
            let up = [
                ("error", "domain"),
                ("error", "telemetry"),
                ("domain", "telemetry"),
                ("telemetry", "domain"),
            ];
            let up = up.contains(&(module.as_str(), other.as_str()));
            let down = (always && !up) || allowed.contains(&other.as_str());
            assert!(down, "{} must not see crate::{other}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "hardly an import was seen: {checked}");
}

#[test]
fn files_keep_their_budget() {
    for path in
        ["src", "migrations/src", "tests/it", "tests/bench", "tests/retrieval"].into_iter().flat_map(sources)
    {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_top_level_is_what_the_customer_fixed() {
    let tracked =
        std::process::Command::new("git").args(["ls-files"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Ok(tracked) = tracked else { return };
    let allowed = [
        ".ci",
        ".gitignore",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "build.rs",
        "clippy.toml",
        "deploy",
        "migrations",
        "proto",
        "rustfmt.toml",
        "src",
        "tests",
    ];
    for path in String::from_utf8(tracked.stdout).unwrap().lines() {
        let top = path.split('/').next().unwrap();
        assert!(allowed.contains(&top), "{top} is not a place of ours");
    }
}
