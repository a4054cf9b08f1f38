//! W3C Trace Context: which trace a call belongs to, from its headers to those of every call that it
//! makes. Works with and without an exporter.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Bytes of `tracestate` that are handed on; the recommendation asks for 512 or more.
const MAX_STATE: usize = 1024;

/// A place in a trace.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// A trace that begins here: named after the call, so that one finds the other.
    pub fn root(call: Uuid) -> Self {
        let (high, low) = call.as_u64_pair();
        Self { trace: call.as_u128(), span: (high ^ low).max(1), flags: 0, state: None }
    }

    /// Reads `traceparent` and `tracestate`. `None` unless there is exactly one that is valid, as the
    /// recommendation wants it.
    pub fn parse(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let (parent, other) = (parents.next()?, parents.next());
        let mut context = parse_parent(parent.to_str().ok().filter(|_| other.is_none())?)?;
        // Several headers are one list; joining them is more than a relay owes.
        let mut states = headers.get_all(TRACESTATE).iter();
        let state = states.next().filter(|state| state.len() <= MAX_STATE && states.next().is_none());
        context.state = state.cloned();
        Some(context)
    }

    /// The context of the `n`-th thing that this one does: another span of the same trace.
    #[must_use]
    pub fn child(&self, n: u64) -> Self {
        let span = self.span.rotate_left(17) ^ (n + 1);
        Self { span: span.max(1), ..self.clone() }
    }

    /// The trace's id, for logs.
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        let trace = self.trace;
        fmt::from_fn(move |f| write!(f, "{trace:032x}"))
    }

    /// Writes the headers.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Ok(parent) = HeaderValue::try_from(self.to_string()) {
            headers.insert(TRACEPARENT, parent);
        }
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// The value of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `version-trace-span-flags`; what a later version adds behind a dash is passed over.
fn parse_parent(value: &str) -> Option<TraceContext> {
    let (version, rest) = value.split_once('-')?;
    let (trace, rest) = rest.split_once('-')?;
    let (span, rest) = rest.split_once('-')?;
    let (flags, later) = rest.split_once('-').map_or((rest, false), |(flags, _)| (flags, true));
    let version = hex(version, 2)?;
    if version == 0xff || (version == 0 && later) {
        return None;
    }
    let (trace, span) = (hex(trace, 32)?, u64::try_from(hex(span, 16)?).ok()?);
    let flags = u8::try_from(hex(flags, 2)?).ok()?;
    // Of the flags only `sampled` and `random` are known, and no other may be handed on.
    (trace != 0 && span != 0).then_some(TraceContext { trace, span, flags: flags & 0b11, state: None })
}

/// Exactly so many lower-case digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::{TraceContext, parse_parent};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_parent_is_read_and_written_alike() {
        assert_eq!(parse_parent(PARENT).unwrap().to_string(), PARENT);
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later";
        assert_eq!(parse_parent(later).unwrap().to_string(), PARENT);
    }

    #[test]
    fn anything_else_begins_a_new_trace() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_parent(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", PARENT.parse().unwrap());
        assert!(TraceContext::parse(&headers).is_some());
        headers.append("traceparent", PARENT.parse().unwrap());
        assert_eq!(TraceContext::parse(&headers), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = parse_parent(&text);
        }

        #[test]
        fn children_keep_the_trace_and_differ(n in 0..1000_u64) {
            let root = TraceContext::root(uuid::Uuid::now_v7());
            let (a, b) = (root.child(n), root.child(n + 1));
            prop_assert_eq!(a.trace, root.trace);
            prop_assert_ne!(a.span, b.span);
            prop_assert!(parse_parent(&a.to_string()).is_some());
        }
    }
}
