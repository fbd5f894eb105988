//! Customers: who they are, what their plan allows, whether they may pass.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::id::{CustomerId, UserName};
use crate::plan::Limits;
use crate::refusal::Code;
use crate::share::Terms;
use crate::time::Timestamp;

/// Why an operator banned a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Since when.
    pub at: Timestamp,
    /// The operator's words.
    pub reason: String,
    /// Which operator.
    pub by: String,
}

/// What a customer may do at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// May pass (quota and threads are checked apart).
    Active,
    /// Locked out until then (strike).
    Locked {
        /// When the lock ends.
        until: Timestamp,
    },
    /// The plan ended then.
    Expired {
        /// When it ended.
        at: Timestamp,
    },
    /// Banned by an operator.
    Banned,
    /// Deleted.
    Deleted,
}

/// What a customer's tunnels show to pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// A password or a listed source address. Without a listed address, a password.
    #[default]
    Either,
    /// A password; listed addresses mean nothing.
    Password,
    /// A listed source address, with a password or without.
    Source,
    /// A password, from a listed source address.
    Both,
}

impl AuthMode {
    /// Whether somebody passes who showed the customer's `password` and comes from a source
    /// address that is `listed` for the customer. (A wrong password passes nowhere.)
    ///
    /// # Errors
    /// `AUTH_REQUIRED` if a password is missing, `IP_NOT_ALLOWED` if the address is.
    pub fn judge(self, password: bool, listed: bool) -> Result<(), Code> {
        let (needs_password, needs_listed) = match self {
            Self::Either => (!listed, false),
            Self::Password => (true, false),
            Self::Source => (false, true),
            Self::Both => (true, true),
        };
        if needs_password && !password {
            return Err(Code::AuthRequired);
        }
        if needs_listed && !listed { Err(Code::IpNotAllowed) } else { Ok(()) }
    }
}

/// A customer as stored. Plan limits are copied in when the plan is set, so that one read tells
/// an edge all it enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Which customer.
    pub id: CustomerId,
    /// For people.
    pub name: String,
    /// Counts writes.
    pub ver: u64,
    /// Code of the plan.
    pub plan: String,
    /// Version of the plan row that the limits came from.
    pub plan_ver: u32,
    /// The limits in force.
    pub limits: Limits,
    /// Country of a new line that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_country: Option<Country>,
    /// Whether another country may serve a line.
    pub allow_fallback: bool,
    /// Most countries of the fallback chain that are tried after the asked one.
    pub max_hops: u8,
    /// What its tunnels show to pass.
    #[serde(default)]
    pub auth: AuthMode,
    /// Set while banned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ban: Option<Ban>,
    /// Locked out until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// End of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Live tunnels opened before this instant are closed (a kick).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kicked_at: Option<Timestamp>,
    /// Set once deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Customer {
    /// The customer with a lock-out of the fleet's strike clock taken in, which is kept beside
    /// its row ([`crate::strike`]). The longer lock holds.
    #[must_use]
    pub fn with_lock(mut self, until: Option<Timestamp>) -> Self {
        self.locked_until = self.locked_until.max(until);
        self
    }

    /// What the row says of the capacity that edges split between them.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms { ver: self.ver, soft: self.limits.threads, limits: self.limits.capacity() }
    }

    /// What the customer may do at `now`: deleted, then banned > expired > locked > active.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.deleted_at.is_some() {
            return Standing::Deleted;
        }
        if self.ban.is_some() {
            return Standing::Banned;
        }
        if let Some(at) = self.expires_at.filter(|t| *t <= now) {
            return Standing::Expired { at };
        }
        match self.locked_until.filter(|t| now < *t) {
            Some(until) => Standing::Locked { until },
            None => Standing::Active,
        }
    }
}

/// A credential of a customer: a user name and what its password is derived from. The password
/// itself is stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The user name.
    pub user: UserName,
    /// Whose it is.
    pub customer: CustomerId,
    /// Counts rotations; part of what the password is derived from.
    pub version: u32,
    /// Hex of HMAC-SHA256(pepper, password): what an edge compares with.
    pub verifier: String,
    /// Verifier of the version before, while a rotation overlaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousVerifier>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The verifier of a rotated password, valid until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousVerifier {
    /// As [`Credential::verifier`].
    pub verifier: String,
    /// Until when it still passes.
    pub until: Timestamp,
}

/// How long a rotated password still passes: 10 minutes.
pub const ROTATION_OVERLAP: Duration = Duration::from_secs(600);

/// A length of lock-out after a strike: 1 hour.
pub const LOCKOUT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_follows_its_precedence() {
        let at = Timestamp::from_secs;
        let mut c = Customer {
            id: "demo".parse().unwrap(),
            name: "Demo".into(),
            ver: 1,
            plan: "free".into(),
            plan_ver: 1,
            limits: Limits::default(),
            default_country: None,
            allow_fallback: true,
            max_hops: 7,
            auth: AuthMode::Either,
            ban: None,
            locked_until: Some(at(100)),
            expires_at: Some(at(50)),
            kicked_at: None,
            deleted_at: None,
            created_at: at(0),
        };
        assert_eq!(c.standing(at(49)), Standing::Locked { until: at(100) });
        assert_eq!(c.standing(at(50)), Standing::Expired { at: at(50) });
        c.expires_at = None;
        assert_eq!(c.standing(at(100)), Standing::Active);
        let locked = |until| c.clone().with_lock(until).standing(at(99));
        assert_eq!(locked(Some(at(120))), Standing::Locked { until: at(120) });
        assert_eq!(locked(Some(at(60))), Standing::Locked { until: at(100) });
        c.ban = Some(Ban { at: at(1), reason: "abuse".into(), by: "op".into() });
        assert_eq!(c.standing(at(49)), Standing::Banned);
        c.deleted_at = Some(at(2));
        assert_eq!(c.standing(at(49)), Standing::Deleted);
    }

    #[test]
    fn a_mode_asks_for_a_password_a_listed_source_or_both() {
        use AuthMode::{Both, Either, Password, Source};
        const PASSWORD: Result<(), Code> = Err(Code::AuthRequired);
        const LISTED: Result<(), Code> = Err(Code::IpNotAllowed);
        // Nothing shown, a listed source, a password, both.
        for (mode, shown) in [
            (Either, [PASSWORD, Ok(()), Ok(()), Ok(())]),
            (Password, [PASSWORD, PASSWORD, Ok(()), Ok(())]),
            (Source, [LISTED, Ok(()), LISTED, Ok(())]),
            (Both, [PASSWORD, PASSWORD, LISTED, Ok(())]),
        ] {
            let judged = [(false, false), (false, true), (true, false), (true, true)].map(|(p, l)| mode.judge(p, l));
            assert_eq!(judged, shown, "{mode:?}");
        }
        assert_eq!(AuthMode::default(), Either);
        assert_eq!(
            serde_json::to_string(&[Either, Password, Source, Both]).unwrap(),
            r#"["either","password","source","both"]"#
        );
    }
}
