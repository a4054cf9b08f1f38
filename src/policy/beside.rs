//! What policies of one endpoint cannot be together.

use super::{accounting, composite, prompt_filter};
use crate::{
    domain::{Configuration, Policy, rules::violation},
    error::{Error, Rule, Violation},
    store::Beside,
};

/// How a policy is compared with the others of its endpoint, before it is stored.
pub const BESIDE: Beside = Beside { types, check };

/// Bytes of all automata of one endpoint: its plan keeps them.
const MAX_AUTOMATA: usize = 16 << 20;
/// Types that have automata, or whose children may.
const WITH_AUTOMATA: &[&str] = &[prompt_filter::NAME, "all_of", "any_of", "not"];

/// Why a policy cannot stand beside these others.
pub fn conflicts(policy: &Policy, others: &[Policy]) -> Vec<Violation> {
    match policy.policy_type.as_str() {
        accounting::NAME => accounting::conflicts(policy, others),
        with_automata if WITH_AUTOMATA.contains(&with_automata) => too_large(policy, others),
        _ => Vec::new(),
    }
}

fn too_large(policy: &Policy, others: &[Policy]) -> Vec<Violation> {
    let size = |policy: &Policy| automata(&policy.policy_type, &policy.configuration);
    let own = size(policy);
    if own == 0 {
        return Vec::new();
    }
    let others: Vec<(&str, usize)> = others.iter().map(|other| (other.name.as_str(), size(other))).collect();
    let all = own + others.iter().map(|(_, size)| size).sum::<usize>();
    if all <= MAX_AUTOMATA {
        return Vec::new();
    }
    let largest = others.iter().max_by_key(|(_, size)| size).filter(|(_, size)| *size > 0);
    let beside =
        largest.map_or(String::new(), |(name, _)| format!(", beside '{name}' and whatever else is there"));
    let message = format!(
        "is too large{beside}: compiled, an endpoint's policies have {} MiB at most and these have {}. Repeat \
         less, or use narrower classes, such as (?-u:\\w)",
        MAX_AUTOMATA >> 20,
        all.div_ceil(1 << 20)
    );
    vec![violation("configuration", Rule::Pattern, message)]
}

/// Bytes of the automata of a configuration, and of those in it.
fn automata(policy_type: &str, configuration: &Configuration) -> usize {
    if policy_type == prompt_filter::NAME {
        return prompt_filter::automata(configuration);
    }
    composite::children(configuration).iter().map(|(name, child)| automata(name, child)).sum()
}

fn types(policy_type: &str) -> &'static [&'static str] {
    match policy_type {
        accounting::NAME => &[accounting::NAME],
        with_automata if WITH_AUTOMATA.contains(&with_automata) => WITH_AUTOMATA,
        _ => &[],
    }
}

fn check(policy: &Policy, others: &[Policy]) -> Result<(), Error> {
    let mut found = conflicts(policy, others);
    found.iter_mut().for_each(|violation| violation.field = format!("policy.{}", violation.field));
    if found.is_empty() { Ok(()) } else { Err(Error::Invalid(found)) }
}
