//! Satellites: the spaces and stations of accounts, as newer hubs know them.

use serde_json::{Value, json};

use super::{
    accounts::origin,
    routes::{Answer, Asked, invalid, refuse, violation},
    script::State,
};

pub(super) struct Satellite {
    id: String,
    account: String,
    kind: String,
    base_url: String,
}

impl Satellite {
    fn shown(&self) -> Value {
        json!({"id": self.id, "kind": self.kind, "base_url": self.base_url, "last_seen_at": null,
               "created_at": "2026-11-25T12:00:00Z"})
    }
}

impl State {
    pub(super) fn add_satellite(&mut self, account: &str, kind: &str, base_url: &str) -> String {
        let id = format!("satellite-{}", self.next());
        self.satellites.push(Satellite {
            id: id.clone(),
            account: account.to_owned(),
            kind: kind.to_owned(),
            base_url: base_url.to_owned(),
        });
        id
    }

    pub(super) fn satellites_of(&self, account: &str) -> Vec<(String, String)> {
        let own = self.satellites.iter().filter(|satellite| satellite.account == account);
        own.map(|satellite| (satellite.id.clone(), satellite.base_url.clone())).collect()
    }

    fn is_origin_taken(&self, base_url: &str, but: &str) -> Option<&Satellite> {
        let here = |satellite: &&Satellite| origin(&satellite.base_url) == origin(base_url);
        self.satellites.iter().filter(|satellite| satellite.id != but).find(here)
    }
}

/// The satellite that a call names, if the hub knows satellites at all.
pub(super) fn named(state: &State, account: &str, id: Option<&str>) -> Result<Option<String>, Answer> {
    let Some(id) = id.filter(|_| state.knows_satellites) else { return Ok(None) };
    let own = state.satellites.iter().any(|satellite| satellite.account == account && satellite.id == id);
    let unknown = json!({"code": "SATELLITE_NOT_FOUND", "message": "Satellite not found"});
    if own { Ok(Some(id.to_owned())) } else { Err(refuse(404, unknown)) }
}

/// The satellite that a call is about: accounts with several must name one.
pub(super) fn needed(state: &State, account: &str, id: Option<&str>) -> Result<Option<String>, Answer> {
    let own = state.satellites_of(account);
    if state.knows_satellites && id.is_none() && own.len() >= 2 {
        let message = "Several satellites: name one";
        let detail = json!({"code": "SATELLITE_AMBIGUOUS", "message": message, "count": own.len()});
        return Err(refuse(422, detail));
    }
    named(state, account, id)
}

pub(super) fn add(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    known(state)?;
    let (kind, base_url) = (text(asked, "kind")?, base_url(asked)?);
    if let Some(there) = state.is_origin_taken(&base_url, "") {
        if there.account == account && there.kind == kind {
            return Ok(Answer::new(200, &there.shown()));
        }
        let detail = json!({"code": "ORIGIN_TAKEN", "message": "The origin is registered as a station"});
        return Err(refuse(409, detail));
    }
    state.add_satellite(&account, &kind, &base_url);
    Ok(Answer::new(201, &state.satellites.last().unwrap().shown()))
}

pub(super) fn relocate(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    known(state)?;
    let (id, base_url) = (asked.path[3].clone(), base_url(asked)?);
    if state.is_origin_taken(&base_url, &id).is_some() {
        return Err(refuse(
            409,
            json!({"code": "ORIGIN_TAKEN", "message": "The origin is another satellite's"}),
        ));
    }
    let own = |satellite: &&mut Satellite| satellite.account == account && satellite.id == id;
    let satellite = state.satellites.iter_mut().find(own);
    let satellite = satellite.ok_or_else(|| refuse(404, json!("Satellite not found")))?;
    satellite.base_url = base_url;
    Ok(Answer::new(200, &satellite.shown()))
}

/// Older hubs have no such routes.
fn known(state: &State) -> Result<(), Answer> {
    if state.knows_satellites { Ok(()) } else { Err(refuse(404, json!("Not Found"))) }
}

fn text(asked: &Asked, name: &str) -> Result<String, Answer> {
    let text = asked.object()?.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    text.ok_or_else(|| invalid(vec![violation(json!(["body", name]), "Field required")]))
}

fn base_url(asked: &Asked) -> Result<String, Answer> {
    let base_url = text(asked, "base_url")?;
    let bad = || invalid(vec![violation(json!(["body", "base_url"]), "Input should be a valid URL")]);
    origin(&base_url).map(|_| base_url).ok_or_else(bad)
}
