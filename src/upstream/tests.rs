use std::net::IpAddr;

use proptest::prelude::*;

use super::{address::Guard, parse_base_url, sse::Decoder};

fn decode(pieces: &[&[u8]]) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(event) = decoder.next_event().unwrap() {
            events.push(event.to_owned());
        }
    }
    events
}

#[test]
fn events_are_read_as_the_standard_says() {
    let stream =
        b": hello\n\ndata: one\n\ndata:two\r\n\r\nevent: x\ndata: a\ndata: b\r\rdata\n\nid: 1\n\ndata: cut";
    assert_eq!(decode(&[stream]), ["one", "two", "a\nb", ""]);
}

#[test]
fn an_endless_event_is_refused() {
    let mut decoder = Decoder::default();
    let piece = vec![b'x'; 1 << 16];
    let refused = (0..32).any(|_| {
        decoder.push(&piece);
        decoder.next_event().is_err()
    });
    assert!(refused, "2 MiB without a line break were kept");
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_events(
        lines in prop::collection::vec("(data: ?|: |event: )?[a-zé\u{1F600} ]{0,12}(\n|\r|\r\n){1,2}", 0..24),
        cuts in prop::collection::vec(1usize..9, 1..64),
    ) {
        let stream = lines.concat().into_bytes();
        let whole = decode(&[&stream]);
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        prop_assert_eq!(decode(&pieces), whole);
    }
}

fn allowed(allow_private: bool, text: &str) -> bool {
    let url = parse_base_url(text).unwrap();
    Guard { allow_private }.check(&url).is_ok()
}

#[test]
fn metadata_addresses_are_never_allowed_and_private_ones_by_choice() {
    let never = [
        "http://169.254.169.254/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0/",
        "http://100.100.100.200/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[::]/",
        "http://[fd00:ec2::23]/",
        "http://[fec0::1]/",
        "http://[::ffff:0:a9fe:a9fe]/",
        "http://[64:ff9b:1::a9fe:a9fe]/",
        "http://[2001::1]/",
    ];
    for url in never {
        assert!(!allowed(true, url) && !allowed(false, url), "{url}");
    }
    let private = [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://[::1]/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://[fd12::1]/",
        "http://[::ffff:127.0.0.1]/",
    ];
    for url in private {
        assert!(allowed(true, url) && !allowed(false, url), "{url}");
    }
    let public: IpAddr = "8.8.8.8".parse().unwrap();
    assert!(Guard { allow_private: false }.allows(public));
}

#[test]
fn base_urls_are_http_and_carry_no_credentials() {
    for bad in ["ftp://host/", "file:///etc/passwd", "http://user:pw@host/", "nonsense", "http://"] {
        assert!(parse_base_url(bad).is_err(), "{bad}");
    }
    assert!(parse_base_url("https://api.openai.com/v1").is_ok());
}
