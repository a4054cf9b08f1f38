//! What personal data looks like, and how to tell it from what only looks like it.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, OnceLock},
};

use super::super::content::{Detector, Valid, aside};

type Compiled = Result<Vec<Arc<Detector>>, &'static str>;

/// In the order of the switches. Compiled once in a process.
static COMPILED: OnceLock<[Compiled; 5]> = OnceLock::new();

fn compile() -> [Compiled; 5] {
    let checked = |forms: &[(&str, Valid)]| {
        forms.iter().map(|(form, valid)| Detector::checked(form, *valid).map(Arc::new)).collect()
    };
    [
        Detector::regex(EMAIL, false).map(|detector| vec![Arc::new(detector)]),
        checked(&[
            (PHONE_INTERNATIONAL, is_phone),
            (PHONE_TRUNK, is_trunk_phone),
            (PHONE_AMERICAN, is_phone),
        ]),
        checked(&[(CARD, is_card)]),
        checked(&[(IBAN, is_iban)]),
        checked(&[(IPV4, is_ipv4), (IPV6, is_ipv6)]),
    ]
}

/// Letters of scripts that addresses are written in; the form does not say what a server would take.
const EMAIL: &str = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\p{Latin}\p{Greek}\p{Cyrillic}-]+@(?:[A-Za-z0-9\p{Latin}\p{Greek}\p{Cyrillic}-]+\.)+[A-Za-z\p{Latin}\p{Greek}\p{Cyrillic}]{2,}";
const PHONE_INTERNATIONAL: &str = r"(?:\+|00)[1-9](?:[ ()./-]{0,3}[0-9]){6,14}";
/// With the 0 before an area's code.
const PHONE_TRUNK: &str = r"\(?0[1-9][0-9]{0,4}\)?[ /.-]{0,3}[0-9](?:[ /.-]?[0-9]){3,11}";
const PHONE_AMERICAN: &str = r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}";
const CARD: &str = "[2-6](?:[ -]?[0-9]){12,18}";
const IBAN: &str = "[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}";
const IPV4: &str = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}";
const IPV6: &str = "[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,43}";

/// The detectors that are switched on.
///
/// # Errors
/// When one of them could not be compiled.
pub(super) fn chosen(switches: [bool; 5]) -> Compiled {
    let mut chosen = Vec::new();
    let all = match COMPILED.get() {
        Some(all) => all,
        None => aside(|| COMPILED.get_or_init(compile)),
    };
    for (compiled, _) in all.iter().zip(switches).filter(|(_, on)| *on) {
        chosen.extend(compiled.clone()?);
    }
    Ok(chosen)
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> {
    text.chars().filter_map(|c| c.to_digit(10))
}

fn is_phone(text: &str) -> bool {
    (7..=16).contains(&digits(text).count())
}

/// Without a country's code, shorter ones are taken for dates.
fn is_trunk_phone(text: &str) -> bool {
    (9..=15).contains(&digits(text).count())
}

/// Luhn: every second digit from the right is doubled, and the sum ends in 0.
fn is_card(text: &str) -> bool {
    let sum = digits(text).rev().enumerate().map(|(i, digit)| match (i % 2, digit * 2) {
        (0, _) => digit,
        (_, doubled) if doubled > 9 => doubled - 9,
        (_, doubled) => doubled,
    });
    sum.sum::<u32>() % 10 == 0
}

/// ISO 7064: the first four characters behind the others, letters as two digits, modulo 97 is 1.
fn is_iban(text: &str) -> bool {
    let mut characters = text.chars().filter_map(|c| c.to_digit(36));
    let head: Vec<u32> = characters.by_ref().take(4).collect();
    let rest = characters.chain(head).fold(0_u32, |rest, value| match value {
        0..10 => (rest * 10 + value) % 97,
        _ => (rest * 100 + value) % 97,
    });
    rest == 1
}

fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

/// `::` alone stands in programs more often than for an address.
fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok_and(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::super::content::strike, chosen};

    /// What the detector of this switch leaves of a text, whole and character by character.
    fn struck(switch: usize, text: &str) -> String {
        let detectors =
            Arc::new(super::super::Detectors::new(chosen(std::array::from_fn(|i| i == switch)).unwrap()));
        let characters: Vec<String> = text.chars().map(String::from).collect();
        let pieces = strike(&detectors, characters.iter().map(String::as_str));
        assert_eq!(strike(&detectors, [text]), pieces);
        for (at, _) in text.char_indices() {
            assert_eq!(strike(&detectors, [&text[..at], &text[at..]]), pieces, "cut at {at}");
        }
        pieces
    }

    #[test]
    fn personal_data_is_found_wherever_it_is_cut() {
        for (switch, text, expected) in [
            (0, "Mail bob.smith+x@mail.example.org.", "Mail #."),
            (0, "联系bob@example.org吧, <jörg@müller.de>", "联系#吧, <#>"),
            (1, "Call +49 (0)30 901820 or +1-202-555-0143!", "Call # or #!"),
            (1, "0030 12345678, 030/901820-11, (202) 555-0143", "#, #, #"),
            (2, "4111 1111 1111 1111 and 378282246310005.", "# and #."),
            (2, "12 4111-1111-1111-1111 12", "12 # 12"),
            (3, "IBAN: DE89 3704 0044 0532 0130 00 AND more", "IBAN: # AND more"),
            (3, "gb82west12345698765432", "#"),
            (4, "from 192.168.0.1, [2001:db8::1]:443 and ::1", "from #, [#]:443 and #"),
            (4, "mapped ::ffff:192.0.2.128.", "mapped #."),
        ] {
            assert_eq!(struck(switch, text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_left_alone() {
        for (switch, text) in [
            (0, "a @ b.c, @handle, user@localhost"),
            (1, "on 01-02-2024 at 10:30, 12345678, 1.000.000"),
            (2, "4111 1111 1111 1112, 1234567890123456, x4111111111111111"),
            (3, "DE89 3704 0044 0532 0130 01, AB12 nothing to see here"),
            (4, "300.1.2.3, 1.2.3, std::vec, a :: b, 12:30:45"),
        ] {
            assert_eq!(struck(switch, text), text);
        }
    }
}
