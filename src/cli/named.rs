//! Marketplaces, as people name them.

use syft_endpoints::{
    error::Cause,
    proto::{ListMarketplacesRequest, Marketplace},
};
use url::Url;
use uuid::Uuid;

use super::{
    client::Client,
    output::{failure, plain},
};

/// The ids of marketplaces that are named by id, URL, name or host, each once. An id is taken as it is.
pub(super) async fn ids(client: &Client, named: &[String]) -> Result<Vec<String>, Cause> {
    if named.iter().all(|text| Uuid::try_parse(text).is_ok()) {
        return Ok(each_once(named.to_vec()));
    }
    let known = all(client).await?;
    let ids: Result<Vec<String>, Cause> = named.iter().map(|text| id(&known, text)).collect();
    Ok(each_once(ids?))
}

/// All marketplaces, oldest first.
pub(super) async fn all(client: &Client) -> Result<Vec<Marketplace>, Cause> {
    let (mut marketplaces, mut all, mut page_token) = (client.marketplaces(), Vec::new(), String::new());
    loop {
        let page =
            marketplaces.list_marketplaces(ListMarketplacesRequest { page_size: 1000, page_token }).await;
        let page = page.map_err(|status| failure(&status))?.into_inner();
        all.extend(page.marketplaces);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// The id of the one marketplace that a text names. What names it best counts: its id, then its URL, its name,
/// its host.
fn id(known: &[Marketplace], text: &str) -> Result<String, Cause> {
    if let Ok(id) = Uuid::try_parse(text) {
        return Ok(id.to_string());
    }
    let (url, folded) = (url_of(text), text.to_lowercase());
    let is_named: [&dyn Fn(&Marketplace) -> bool; 3] =
        [&|one| url.is_some() && url_of(&one.url) == url, &|one| one.name.to_lowercase() == folded, &|one| {
            hosts(&one.url).contains(&folded)
        }];
    for is_named in is_named {
        let found: Vec<&Marketplace> = known.iter().filter(|one| is_named(one)).collect();
        match found[..] {
            [] => {}
            [one] => return Ok(one.id.clone()),
            _ => return Err(format!("'{text}' names several marketplaces:{}", shown(&found)).into()),
        }
    }
    match known {
        [] => Err(format!("no marketplace '{text}': this space is on none").into()),
        _ => {
            Err(format!("no marketplace '{text}'; there are:{}", shown(&known.iter().collect::<Vec<_>>()))
                .into())
        }
    }
}

fn shown(marketplaces: &[&Marketplace]) -> String {
    let line = |one: &&Marketplace| format!("\n  {}  {}  {}", one.id, plain(&one.url), plain(&one.name));
    marketplaces.iter().map(line).collect()
}

/// A URL without what makes no difference.
fn url_of(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(Url::has_host)?;
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// How a URL's host is written: with its port, and without.
fn hosts(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let Some(host) = url.host_str() else { return Vec::new() };
    let port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
    std::iter::once(host.to_owned()).chain(port).collect()
}

fn each_once(ids: Vec<String>) -> Vec<String> {
    let mut once = Vec::new();
    for id in ids {
        if !once.contains(&id) {
            once.push(id);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use syft_endpoints::proto::Marketplace;

    use super::{each_once, id};

    const ONE: &str = "0197b9e4-0000-7000-8000-000000000001";

    fn known() -> Vec<Marketplace> {
        let all = [
            (ONE, "SyftHub", "https://hub.example.org"),
            ("2", "Second", "https://other.example.org:8443"),
            ("3", "Lab", "http://lab.example.org"),
            ("4", "lab", "https://lab.example.org"),
            ("5", "hub.example.org", "https://third.example.org"),
        ];
        let marketplace = |(id, name, url): (&str, &str, &str)| Marketplace {
            id: id.to_owned(),
            name: name.to_owned(),
            url: url.to_owned(),
            ..Marketplace::default()
        };
        all.into_iter().map(marketplace).collect()
    }

    #[test]
    fn marketplaces_are_named_by_id_url_name_or_host() {
        let known = known();
        for (text, expected) in [
            (ONE, ONE),
            ("0197B9E4-0000-7000-8000-000000000001", ONE),
            ("https://hub.example.org", ONE),
            ("HTTPS://Hub.Example.org:443/", ONE),
            ("syfthub", ONE),
            ("other.example.org", "2"),
            ("other.example.org:8443", "2"),
            ("http://lab.example.org/", "3"),
            // A name counts for more than a host.
            ("hub.example.org", "5"),
            ("hub.example.org:443", ONE),
            // Whether there is such a marketplace is for the server to say.
            ("0197b9e4-0000-7000-8000-0000000000ff", "0197b9e4-0000-7000-8000-0000000000ff"),
        ] {
            assert_eq!(id(&known, text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_names_none_or_several_is_told_with_what_there_is() {
        let known = known();
        for text in ["lab", "LAB", "lab.example.org"] {
            let told = id(&known, text).unwrap_err().to_string();
            assert!(
                told.contains("several") && told.contains("\n  3  ") && told.contains("\n  4  "),
                "{told}"
            );
            assert!(!told.contains("Second"), "{told}");
        }
        for text in ["", "hub", "example.org", "ftp://hub.example.org", "https://hub.example.org/other"] {
            let told = id(&known, text).unwrap_err().to_string();
            assert!(
                told.contains("there are:") && told.contains("https://hub.example.org  SyftHub"),
                "{told}"
            );
        }
        assert!(id(&[], "hub").unwrap_err().to_string().contains("on none"));
    }

    #[test]
    fn a_marketplace_that_is_named_twice_counts_once() {
        let ids = ["2", "1", "2"].map(str::to_owned).to_vec();
        assert_eq!(each_once(ids), ["2", "1"]);
    }
}
