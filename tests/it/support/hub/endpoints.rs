//! What accounts list.

use serde_json::{Map, Value, json};

use super::{
    routes::{Answer, Asked, invalid, refuse, violation},
    rules::violations,
    satellites,
    script::State,
};

impl State {
    pub(super) fn endpoint(&self, account: &str, slug: &str) -> Option<&Map<String, Value>> {
        self.endpoints.get(&(account.to_owned(), slug.to_owned()))
    }

    pub(super) fn slugs(&self, account: &str) -> Vec<String> {
        self.endpoints.keys().filter(|(owner, _)| owner == account).map(|(_, slug)| slug.clone()).collect()
    }

    /// Lists what has been found good.
    pub(super) fn list(&mut self, account: &str, endpoint: Value, satellite: Option<String>) -> Value {
        let known = [
            "name",
            "description",
            "type",
            "slug",
            "visibility",
            "version",
            "readme",
            "tags",
            "policies",
            "connect",
        ];
        let now = self.now().unix_timestamp();
        let mut record = json!({
            "id": self.next(), "user_id": 1, "is_active": true, "contributors": [], "stars_count": 0,
            "created_at": now, "updated_at": now, "description": "", "visibility": "public", "version": "0.1.0",
            "readme": "", "tags": [], "policies": [], "connect": [], "satellite_id": satellite,
            "health_status": null, "health_checked_at": null, "health_ttl_seconds": null,
        });
        let Value::Object(record_fields) = &mut record else { unreachable!("it is an object") };
        let Value::Object(fields) = endpoint else { panic!("an endpoint is an object") };
        record_fields.extend(fields.into_iter().filter(|(name, _)| known.contains(&name.as_str())));
        let name = record_fields["name"].as_str().unwrap_or_default().to_lowercase();
        let slug = record_fields.entry("slug").or_insert_with(|| name.replace(' ', "-").into());
        let slug = slug.as_str().unwrap().to_owned();
        self.endpoints.insert((account.to_owned(), slug), record_fields.clone());
        record
    }
}

pub(super) fn publish(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    let satellite = satellites::needed(state, &account, asked.query.get("satellite_id").map(String::as_str))?;
    let endpoint = asked.object()?;
    let violations = violations(&endpoint, false);
    if !violations.is_empty() {
        return Err(invalid(violations));
    }
    let slug = endpoint.get("slug").and_then(Value::as_str).unwrap_or_default();
    if state.endpoint(&account, slug).is_some() {
        return Err(refuse(400, json!("slug already exists - already taken")));
    }
    let record = state.list(&account, endpoint.into(), satellite);
    Ok(Answer::new(201, &record))
}

pub(super) fn list(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    let number = |name: &str, or| asked.query.get(name).map_or(Some(or), |text| text.parse::<usize>().ok());
    let (Some(skip), Some(limit @ 1..=100)) = (number("skip", 0), number("limit", 10)) else {
        return Err(invalid(vec![violation(
            json!(["query", "limit"]),
            "Input should be less than or equal to 100",
        )]));
    };
    let own = state.endpoints.iter().filter(|((owner, _), _)| *owner == account).map(|(_, record)| record);
    let page: Vec<Value> = own.skip(skip).take(limit).cloned().map(Value::Object).collect();
    Ok(Answer::new(200, &page.into()))
}

pub(super) fn exists(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    let exists = state.endpoint(&account, &asked.path[3]).is_some();
    Ok(Answer::new(200, &exists.into()))
}

/// Types and slugs do not change: what is said of them is passed over.
pub(super) fn change(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    let mut change = asked.object()?;
    change.retain(|name, _| name != "type" && name != "slug");
    let (now, key) = (state.now().unix_timestamp(), (account, asked.path[4].clone()));
    let record = state.endpoints.get_mut(&key).ok_or_else(|| refuse(404, json!("Endpoint not found")))?;
    let violations = violations(&change, true);
    if !violations.is_empty() {
        return Err(invalid(violations));
    }
    for (name, value) in change {
        if ["name", "description", "visibility", "version", "readme", "tags", "policies", "connect"]
            .contains(&name.as_str())
        {
            record.insert(name, value);
        }
    }
    record.insert("updated_at".to_owned(), now.into());
    Ok(Answer::new(200, &record.clone().into()))
}

pub(super) fn unpublish(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let key = (asked.account(state)?, asked.path[4].clone());
    match state.endpoints.remove(&key) {
        Some(_) => Ok(Answer::new(204, &Value::Null)),
        None => Err(refuse(404, json!("Endpoint not found"))),
    }
}

/// Replaces everything, or with satellites what is one's or nobody's.
pub(super) fn sync(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let account = asked.account(state)?;
    let body = asked.object()?;
    let satellite = satellites::needed(state, &account, body.get("satellite_id").and_then(Value::as_str))?;
    let Some(Value::Array(items)) = body.get("endpoints") else {
        return Err(invalid(vec![violation(json!(["body", "endpoints"]), "Field required")]));
    };
    if items.len() > state.max_sync {
        let msg = format!(
            "List should have at most {} items after validation, not {}",
            state.max_sync,
            items.len()
        );
        return Err(invalid(vec![violation(json!(["body", "endpoints"]), &msg)]));
    }
    let errors = sync_errors(items);
    if !errors.is_empty() {
        let detail =
            json!({"code": "VALIDATION_ERROR", "message": "Endpoints are not valid", "errors": errors});
        return Err(refuse(400, detail));
    }
    let before = state.endpoints.len();
    state.endpoints.retain(|(owner, _), record| {
        let other = record["satellite_id"].as_str();
        *owner != account || (satellite.is_some() && other.is_some() && other != satellite.as_deref())
    });
    let deleted = before - state.endpoints.len();
    let records: Vec<Value> =
        items.iter().map(|item| state.list(&account, item.clone(), satellite.clone())).collect();
    Ok(Answer::new(200, &json!({"synced": records.len(), "deleted": deleted, "endpoints": records})))
}

fn sync_errors(items: &[Value]) -> Vec<Value> {
    let mut errors = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let found = item.as_object().map(|item| violations(item, false)).unwrap_or_default();
        errors.extend(
            found
                .iter()
                .map(|found| json!({"index": index, "field": found["loc"][1], "error": found["msg"]})),
        );
        if items[..index].iter().any(|other| other["slug"] == item["slug"]) {
            errors.push(json!({"index": index, "field": "slug", "error": "slug is there twice"}));
        }
    }
    errors
}
