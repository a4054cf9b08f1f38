//! Secrets at rest: AES-256-GCM, bound to tenant, row and field, so that a sealed value that is copied
//! elsewhere does not open there.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{SHA256, digest},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    domain::{
        TenantId,
        schema::{SEALED, field_at},
    },
    error::Error,
};

/// The space's keys. The first seals, all open: a new key is put in front of the old one.
pub struct SecretBox {
    keys: Vec<(String, RandomizedNonceKey)>,
}

/// A key is not 32 bytes in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret key must be 32 bytes in base64")]
pub struct BadKey;

impl SecretBox {
    /// Keys in base64, with commas between them.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn parse(keys: &str) -> Result<Self, BadKey> {
        let keys = keys.split(',').map(|key| open_key(key.trim())).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// A fresh key, in the form that [`SecretBox::parse`] reads.
    ///
    /// # Errors
    /// `Internal` when the machine gives no random numbers.
    pub fn generate() -> Result<String, Error> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| Error::internal("no random numbers"))?;
        Ok(base64::engine::general_purpose::STANDARD.encode(key))
    }

    /// Seals `fields` of a configuration, or of objects in it, in place.
    pub(super) fn seal(
        &self,
        owner: Owner,
        fields: &[&str],
        config: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        for path in fields {
            let Some(value) = field_at(config, path) else { continue };
            let sealed = self.seal_text(&owner.bind(path), &value.to_string())?;
            *value = json!({ SEALED: sealed });
        }
        Ok(())
    }

    /// Opens every sealed field of a configuration, and of objects in it, in place.
    pub(super) fn open(&self, owner: Owner, config: &mut Map<String, Value>) -> Result<(), Error> {
        for (field, value) in config.iter_mut() {
            if self.open_value(owner, field, value)? {
                continue;
            }
            for (inner, value) in value.as_object_mut().into_iter().flatten() {
                self.open_value(owner, &format!("{field}.{inner}"), value)?;
            }
        }
        Ok(())
    }

    /// Whether it was sealed.
    fn open_value(&self, owner: Owner, path: &str, value: &mut Value) -> Result<bool, Error> {
        let Some(sealed) = value.get(SEALED).and_then(Value::as_str) else { return Ok(false) };
        let text = self.open_text(&owner.bind(path), sealed);
        let text =
            text.ok_or_else(|| Error::internal("a sealed value does not open: wrong SYFT_SECRET_KEY?"))?;
        *value = serde_json::from_str(&text).map_err(Error::internal)?;
        Ok(true)
    }

    /// Seals a text for `context` as `key id.nonce+ciphertext`, URL-safe.
    ///
    /// # Errors
    /// `Internal` when the cipher fails.
    pub fn seal_text(&self, context: &str, text: &str) -> Result<String, Error> {
        let (id, key) = self.keys.first().ok_or_else(|| Error::internal("there is no secret key"))?;
        let mut bytes = text.as_bytes().to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut bytes)
            .map_err(|_| Error::internal("sealing failed"))?;
        let sealed = [nonce.as_ref().as_slice(), &bytes].concat();
        Ok(format!("{id}.{}", BASE64.encode(sealed)))
    }

    /// Opens what [`SecretBox::seal_text`] sealed for the same context; `None` for anything else.
    pub fn open_text(&self, context: &str, sealed: &str) -> Option<String> {
        let (id, sealed) = sealed.split_once('.')?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == id)?;
        let sealed = BASE64.decode(sealed).ok()?;
        let (nonce, bytes) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = bytes.to_vec();
        let text = key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut bytes).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

/// The row that a sealed value belongs to.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) tenant: TenantId,
    pub(super) row: Uuid,
}

impl Owner {
    pub(super) fn bind(self, field: &str) -> String {
        format!("{}/{}/{field}", self.tenant, self.row)
    }
}

fn open_key(text: &str) -> Result<(String, RandomizedNonceKey), BadKey> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| BadKey)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| BadKey)?;
    let id = digest(&SHA256, &bytes);
    Ok((BASE64.encode(&id.as_ref()[..6]), key))
}
