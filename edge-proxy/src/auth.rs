//! Who is asking: Basic credentials against a verifier, in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tollgate_domain::customer::Credential;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;

/// Longest user name or password in credentials (RFC 1929's limit, for HTTP as well).
const MAX_PART: usize = 255;

/// User name and password as sent.
pub(crate) struct Basic {
    pub user: String,
    pub password: SecretString,
}

/// Reads `Proxy-Authorization`.
///
/// # Errors
/// `AUTH_REQUIRED` if there is none or another scheme; `AUTH_FAILED` if it cannot be read.
pub(crate) fn basic(header: &str) -> Result<Basic, Refusal> {
    let required = || Refusal::new(Code::AuthRequired, "send Proxy-Authorization: Basic");
    let failed = || Refusal::new(Code::AuthFailed, "the credentials are malformed");
    let (scheme, token) = header.trim().split_once(' ').ok_or_else(required)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(required());
    }
    let token = token.trim();
    if token.len() > 4 * MAX_PART {
        return Err(failed());
    }
    let pair = STANDARD.decode(token).ok().and_then(|b| String::from_utf8(b).ok()).ok_or_else(failed)?;
    let (user, password) = pair.split_once(':').ok_or_else(failed)?;
    if password.len() > MAX_PART {
        return Err(failed());
    }
    Ok(Basic { user: user.to_owned(), password: password.to_owned().into() })
}

/// Hex of HMAC-SHA256(pepper, password): what a credential stores.
pub(crate) fn verifier(pepper: &SecretString, password: &SecretString) -> String {
    // A key of any length is valid.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(pepper.expose_secret().as_bytes()) else { return String::new() };
    mac.update(password.expose_secret().as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The stored verifier that `offered` equals, if any.
pub(crate) fn matching(credential: &Credential, offered: &str, now: Timestamp) -> bool {
    let same = |stored: &str| !stored.is_empty() && bool::from(stored.as_bytes().ct_eq(offered.as_bytes()));
    let current = same(&credential.verifier);
    let previous = credential.previous.as_ref().is_some_and(|p| same(&p.verifier) & (now < p.until));
    current | previous
}
