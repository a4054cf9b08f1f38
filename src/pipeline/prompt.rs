//! What a model is asked.

use std::sync::Arc;

use crate::{
    domain::{Message, References, Role},
    model::ChatRequest,
    policy::Turn,
};

pub(super) const HEADING: &str = "Use the following context to answer:";

/// The conversation, with the references, if there are any, in one system message in front.
pub(super) fn chat_request(turn: &Turn, references: Option<Arc<References>>, budget: usize) -> ChatRequest {
    let query = &turn.query;
    let context = references.as_deref().and_then(|references| context(references, budget));
    let context = context.map(|content| Message { role: Role::System, content });
    ChatRequest {
        messages: context.into_iter().chain(query.messages().iter().cloned()).collect(),
        question: query.search_text().to_owned(),
        references,
        options: query.chat().clone(),
        trace: turn.trace.child(1),
    }
}

/// Every document as `[document_id] content`, most similar first, as long as whole documents fit the
/// budget; of the first one as much as fits.
fn context(references: &References, budget: usize) -> Option<String> {
    let mut text = HEADING.to_owned();
    for (i, document) in references.documents.iter().enumerate() {
        let block = format!("\n\n[{}] {}", document.document_id, document.content);
        if text.len() + block.len() <= budget {
            text.push_str(&block);
            continue;
        }
        if i == 0 {
            let room = budget.saturating_sub(text.len());
            text.push_str(&block[..block.floor_char_boundary(room)]);
        }
        break;
    }
    (!references.documents.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::context;
    use crate::domain::{Reference, References};

    fn references(contents: &[&str]) -> References {
        let documents = contents.iter().enumerate().map(|(i, content)| Reference {
            document_id: format!("d{i}"),
            content: (*content).to_owned(),
            similarity_score: 1.0,
            metadata: None,
        });
        References { documents: documents.collect(), search_engine: String::new() }
    }

    #[test]
    fn documents_are_cut_at_their_boundaries() {
        let found = references(&["one", "two", "three"]);
        let all = "Use the following context to answer:\n\n[d0] one\n\n[d1] two\n\n[d2] three";
        assert_eq!(context(&found, 1000).unwrap(), all);
        assert_eq!(
            context(&found, all.len() - 1).unwrap(),
            "Use the following context to answer:\n\n[d0] one\n\n[d1] two"
        );
        assert_eq!(context(&references(&[]), 1000), None);
    }

    #[test]
    fn a_first_document_beyond_the_budget_is_cut_between_characters() {
        let found = references(&[&"é".repeat(100)]);
        for budget in 36..60 {
            assert!(context(&found, budget).unwrap().len() <= budget);
        }
    }
}
