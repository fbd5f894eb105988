//! Passwords of proxy credentials: derived from a master key, stored nowhere.
//!
//! `password = base62(HMAC-SHA256(master, "tollgate password 1" ‖ user ‖ 0 ‖ version))`, so a list
//! can be shown again and a rotation is a version. Edges know only
//! `verifier = hex(HMAC-SHA256(pepper, password))`.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tollgate_domain::id::UserName;

use crate::platform::{SecretError, Secrets};

/// Name of the secret that passwords are derived from: functions only.
pub const MASTER: &str = "passwords/master";
/// Name of the secret that verifiers are made with: functions and edges.
pub const PEPPER: &str = "passwords/pepper";

/// Shortest key, in bytes.
const SHORTEST_KEY: usize = 16;
/// Characters of a password: 26 of 62 carry 154 bits.
const LENGTH: usize = 26;
/// Says what the digest is for, so that the master key never signs anything else alike.
const PURPOSE: &[u8] = b"tollgate password 1";

/// The two keys, for one story.
pub struct Passwords {
    master: SecretString,
    pepper: SecretString,
}

impl Passwords {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`SecretError`] if one is missing, unreadable, or shorter than 16 bytes.
    pub async fn load(secrets: &dyn Secrets) -> Result<Self, SecretError> {
        let (master, pepper) = futures_util::future::try_join(secrets.get(MASTER), secrets.get(PEPPER)).await?;
        for (name, key) in [(MASTER, &master), (PEPPER, &pepper)] {
            if key.expose_secret().len() < SHORTEST_KEY {
                return Err(SecretError::Unavailable(format!("{name} is shorter than {SHORTEST_KEY} bytes")));
            }
        }
        Ok(Self { master, pepper })
    }

    /// The password of `user` at `version`: 26 characters of `[0-9A-Za-z]`.
    #[must_use]
    pub fn password(&self, user: &UserName, version: u32) -> SecretString {
        let parts = [PURPOSE, user.as_str().as_bytes(), &[0], &version.to_be_bytes()];
        base62(mac(&self.master, &parts)).into()
    }

    /// What an edge compares with: hex of a keyed digest of the password.
    #[must_use]
    pub fn verifier(&self, password: &SecretString) -> String {
        hex::encode(mac(&self.pepper, &[password.expose_secret().as_bytes()]))
    }
}

/// HMAC-SHA256 (RFC 2104 takes keys of any length).
fn mac(key: &SecretString, parts: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The lowest [`LENGTH`] digits of a number in base 62.
fn base62(mut number: [u8; 32]) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let mut rest = 0u16;
        for byte in &mut number {
            let n = rest << 8 | u16::from(*byte);
            // At most 61 × 256 + 255 over 62: below 256.
            *byte = u8::try_from(n / 62).unwrap_or(u8::MAX);
            rest = n % 62;
        }
        text.push(char::from(DIGITS[usize::from(rest)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    struct Fixed(&'static str, &'static str);

    impl Secrets for Fixed {
        fn get(&self, name: &str) -> BoxFuture<'_, Result<SecretString, SecretError>> {
            let value = if name == MASTER { self.0 } else { self.1 };
            async move { Ok(SecretString::from(value)) }.boxed()
        }
        fn put(&self, name: &str, _: SecretString) -> BoxFuture<'_, Result<(), SecretError>> {
            let name = name.to_owned();
            async move { Err(SecretError::Unavailable(name)) }.boxed()
        }
    }

    async fn keys(master: &'static str, pepper: &'static str) -> Passwords {
        Passwords::load(&Fixed(master, pepper)).await.unwrap()
    }

    #[tokio::test]
    async fn a_password_depends_on_its_key_its_user_and_its_version_alone() {
        let a = keys("EXAMPLE master key", "EXAMPLE pepper key").await;
        let b = keys("EXAMPLE another key", "EXAMPLE pepper key").await;
        let (demo, demo1) = ("demo".parse().unwrap(), "demo1".parse().unwrap());
        let text = |p: &SecretString| p.expose_secret().to_owned();
        let all = [a.password(&demo, 1), a.password(&demo, 2), a.password(&demo1, 1), b.password(&demo, 1)];
        assert_eq!(text(&all[0]), text(&a.password(&demo, 1)));
        assert_eq!(all.iter().map(text).collect::<BTreeSet<_>>().len(), 4);
        for p in &all {
            assert!(text(p).len() == 26 && text(p).bytes().all(|b| b.is_ascii_alphanumeric()), "{}", text(p));
        }
    }

    #[tokio::test]
    async fn a_verifier_is_the_keyed_digest_that_an_edge_computes() {
        let p = keys("EXAMPLE master key", "EXAMPLE pepper key").await;
        let password = SecretString::from("EXAMPLE-password");
        let mut other = Hmac::<Sha256>::new_from_slice(b"EXAMPLE pepper key").unwrap();
        other.update(b"EXAMPLE-password");
        assert_eq!(p.verifier(&password), hex::encode(other.finalize().into_bytes()));
    }

    #[tokio::test]
    async fn short_keys_are_refused_by_name() {
        for (master, pepper, name) in [("short", "EXAMPLE pepper key", MASTER), ("EXAMPLE master key", "", PEPPER)] {
            let e = Passwords::load(&Fixed(master, pepper)).await.err().unwrap().to_string();
            assert!(e.contains(name), "{e}");
        }
    }
}
