//! A scripted model: stems of words, words of one meaning as one, and their letters, hashed into a vector. The same
//! on every machine. It knows what a thesaurus knows, and no sentence.

use std::{collections::HashMap, sync::LazyLock};

use syft_endpoints::domain::words::{Language, words};

/// Words of one meaning in an office, as a thesaurus has them.
const MEANINGS: &[&str] = &[
    "delete erase remove purge",
    "restore recover retrieve",
    "bill invoice",
    "incorrect wrong false mistaken",
    "wage wages salary pay",
    "vacation holiday leave",
    "sick ill flu illness",
    "child daughter son kid",
    "car drive driving petrol vehicle",
    "program software application tool",
    "computer laptop machine",
    "card badge pass",
    "cold freezing chilly",
    "throttle limited limit restrict",
    "credential secret password",
    "reject decline refuse deny",
    "contest appeal dispute object",
    "company commercial business firm",
    "summary abstract synopsis",
    "recognise identify identified",
    "participant subject person people",
    "withdraw quit retract",
    "article paper manuscript",
    "analysis mining",
    "kind type format",
    "picture image photograph",
    "new replace replacement",
    "begin start commence",
    "wait queue pending",
    "fast quick speed",
    "slow long",
    "copy move transfer",
    "traffic attack flood",
    "alarm alert pager page",
    "ignore acknowledge react",
    "night evening",
    "compensation allowance reimburse reimbursed refund",
    "hotel accommodation",
    "trip journey travel business",
    "train railway",
    "corrupt corruption flip damage damaged",
    "keep store stored hold",
    "information data",
    "secret embargo embargoes confidential",
    "live production release deploy",
    "version release",
    "lose lost missing find",
    "phone telephone mobile",
    "home house",
    "colleague coworker employee",
    "fee price cost",
    "proposal application estimate",
    "permission approval consent allowed",
    "service system",
    "internal private intranet",
    "query statement sql",
];
/// What the letters of a word weigh beside it: enough to bring `anonymise` near `anonymous`.
const LETTERS: f32 = 0.25;

static CONCEPTS: LazyLock<HashMap<String, &str>> = LazyLock::new(|| {
    let mut analyzer = Language::English.analyzer();
    let mut concepts = HashMap::new();
    for meaning in MEANINGS {
        for word in words(&mut analyzer, meaning) {
            concepts.entry(word).or_insert(*meaning);
        }
    }
    concepts
});

/// The vector of a text, of length 1 unless it has no words.
pub fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    for word in words(&mut Language::English.analyzer(), text) {
        add(&mut vector, CONCEPTS.get(&word).copied().unwrap_or(&word), 1.0);
        let letters: Vec<char> = format!("<{word}>").chars().collect();
        let count = letters.len().saturating_sub(2).max(1) as f32;
        for three in letters.windows(3) {
            add(&mut vector, &String::from_iter(three), LETTERS / count.sqrt());
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

/// At a place and with a sign that the hash names, so that what collides cancels out as often as it adds up.
fn add(vector: &mut [f32], what: &str, weight: f32) {
    // FNV-1a.
    let hash = what.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
    let place = (hash % vector.len() as u64) as usize;
    vector[place] += sign * weight;
}
