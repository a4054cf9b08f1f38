//! How good a ranking is.

use std::collections::BTreeMap;

use crate::{DEPTH, Question};

/// Ids, best first.
pub type Ranking = Vec<String>;

/// Means over all questions.
#[derive(Clone)]
pub struct Scores {
    pub ndcg: f64,
    pub mrr: f64,
    pub recall5: f64,
    /// nDCG for each kind of question.
    pub kinds: BTreeMap<String, f64>,
}

/// From this grade on, a document is relevant.
const RELEVANT: u32 = 2;

pub fn scores(questions: &[Question], rankings: &[Ranking]) -> Scores {
    let all: Vec<(&Question, &Ranking)> = questions.iter().zip(rankings).collect();
    let mut kinds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (question, ranking) in &all {
        kinds.entry(question.kind.clone()).or_default().push(ndcg(question, ranking));
    }
    let over = |measure: fn(&Question, &Ranking) -> f64| {
        mean(&all.iter().map(|(question, ranking)| measure(question, ranking)).collect::<Vec<_>>())
    };
    Scores {
        ndcg: over(ndcg),
        mrr: over(reciprocal_rank),
        recall5: over(recall5),
        kinds: kinds.into_iter().map(|(kind, values)| (kind, mean(&values))).collect(),
    }
}

fn ndcg(question: &Question, ranking: &Ranking) -> f64 {
    let found = ranking.iter().map(|id| question.grades.get(id).copied().unwrap_or_default());
    let mut ideal: Vec<u32> = question.grades.values().copied().collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    gain(found) / gain(ideal.into_iter())
}

/// Later places count less.
fn gain(grades: impl Iterator<Item = u32>) -> f64 {
    let discounted =
        |(place, grade): (usize, u32)| (2_f64.powf(f64::from(grade)) - 1.0) / (place as f64 + 2.0).log2();
    grades.take(DEPTH).enumerate().map(discounted).sum()
}

fn reciprocal_rank(question: &Question, ranking: &Ranking) -> f64 {
    let first = ranking.iter().position(|id| is_relevant(question, id));
    first.map_or(0.0, |place| 1.0 / (place as f64 + 1.0))
}

fn recall5(question: &Question, ranking: &Ranking) -> f64 {
    let relevant = question.grades.values().filter(|grade| **grade >= RELEVANT).count();
    let found = ranking.iter().take(5).filter(|id| is_relevant(question, id)).count();
    found as f64 / relevant as f64
}

fn is_relevant(question: &Question, id: &str) -> bool {
    question.grades.get(id).is_some_and(|grade| *grade >= RELEVANT)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
