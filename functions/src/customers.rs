//! The customer stories: make one, ban, kick, extend, move to a plan, delete. Each is one transition of the store, a line in the audit trail, an event.

use std::time::Duration;

use serde_json::json;
use tollgate_domain::budget::{Allowance, Bucket, LeaseState};
use tollgate_domain::country::Country;
use tollgate_domain::customer::{AuthMode, Ban, Credential, Customer, Standing};
use tollgate_domain::id::{CustomerId, UserName};
use tollgate_domain::plan::{self, Limits, Plan};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::customer::{Changed, Created};

use crate::create_budgets::ensure_budgets;
use crate::credentials::Shown;
use crate::lockout;
use crate::outcome::{secret, store};
use crate::passwords::Passwords;
use crate::platform::Platform;
use crate::trail::{By, NOTHING};

/// What a new customer is made from.
#[derive(Clone, Debug)]
pub struct NewCustomer {
    /// Its id.
    pub id: CustomerId,
    /// User name of its first credential.
    pub user: UserName,
    /// For people.
    pub name: String,
    /// Code or alias of its plan.
    pub plan: String,
    /// Country of a new line that names none.
    pub default_country: Option<Country>,
    /// Whether another country may serve a line.
    pub allow_fallback: bool,
    /// Most countries tried for one assignment.
    pub max_hops: u8,
    /// What its tunnels show to pass.
    pub auth: AuthMode,
    /// End of the plan.
    pub expires_at: Option<Timestamp>,
}

/// Makes a customer with one credential on a plan, with its budgets. Making the same one again
/// changes nothing and answers the same.
///
/// # Errors
/// `VALIDATION` for an unknown plan; `CONFLICT` if the id or the user name is taken;
/// `STORE_UNAVAILABLE`.
pub async fn create(platform: &Platform, by: &By, new: NewCustomer) -> Result<(Customer, Shown), Refusal> {
    let plan = plan(platform, &new.plan, None).await?;
    let passwords = Passwords::load(&*platform.secrets).await.map_err(secret)?;
    let password = passwords.password(&new.user, 1);
    let credential = Credential {
        user: new.user,
        customer: new.id.clone(),
        version: 1,
        verifier: passwords.verifier(&password),
        previous: None,
        created_at: by.at,
    };
    let customer = Customer {
        id: new.id,
        name: new.name,
        ver: 1,
        plan: plan.code,
        plan_ver: plan.ver,
        limits: plan.limits,
        default_country: new.default_country,
        allow_fallback: new.allow_fallback,
        max_hops: new.max_hops,
        auth: new.auth,
        ban: None,
        locked_until: None,
        expires_at: new.expires_at,
        kicked_at: None,
        deleted_at: None,
        created_at: by.at,
    };
    let (customer, credential) =
        match platform.store.create_customer(&customer, &credential, by.at).await.map_err(store)? {
            Created::Created => (customer, credential),
            Created::UserTaken => return Err(Refusal::new(Code::Conflict, "this user name is taken")),
            Created::IdTaken => earlier(platform, customer, credential).await?,
        };
    ensure_budgets(platform, &customer).await.map_err(store)?;
    by.record(platform, "customer.create", &target(&customer.id), NOTHING, Some(&customer)).await?;
    platform.emit("customer.created", json!({ "customer": customer.id, "plan": customer.plan })).await;
    Ok((customer, Shown { credential, password }))
}

/// The customer that an earlier attempt of the same request made, if that is who has the id.
async fn earlier(platform: &Platform, new: Customer, cred: Credential) -> Result<(Customer, Credential), Refusal> {
    let found = platform.store.customer(&new.id).await.map_err(store)?;
    let owned = platform.store.credential(&cred.user).await.map_err(store)?;
    match (found, owned) {
        (Some(found), Some(owned))
            if found == (Customer { created_at: found.created_at, ..new })
                && owned == (Credential { created_at: owned.created_at, ..cred }) =>
        {
            Ok((found, owned))
        }
        _ => Err(Refusal::new(Code::Conflict, "this customer id is taken")),
    }
}

/// The plan with this code or alias; the shipped one where none was ever written.
///
/// # Errors
/// `VALIDATION` if there is none; `STORE_UNAVAILABLE`.
pub async fn plan(platform: &Platform, code: &str, ver: Option<u32>) -> Result<Plan, Refusal> {
    let shipped = plan::by_code(code);
    let code = shipped.as_ref().map_or(code, |p| p.code.as_str());
    let known = (1..=32).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let stored = if known { platform.store.plan(code, ver).await.map_err(store)? } else { None };
    stored
        .or(shipped.filter(|p| ver.is_none_or(|v| v == p.ver)))
        .ok_or_else(|| Refusal::new(Code::Validation, "plan: there is no such plan"))
}

/// The customer; deleted ones only if asked for.
///
/// # Errors
/// `NOT_FOUND`, `STORE_UNAVAILABLE`.
pub async fn find(platform: &Platform, id: &CustomerId, deleted_too: bool) -> Result<Customer, Refusal> {
    let found = platform.store.customer(id).await.map_err(store)?;
    found.filter(|c| deleted_too || c.deleted_at.is_none()).ok_or_else(nobody)
}

fn nobody() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such customer")
}

fn target(id: &CustomerId) -> String {
    format!("customer:{id}")
}

/// Bans a customer: live tunnels close, nothing new passes.
///
/// # Errors
/// `NOT_FOUND`, `STORE_UNAVAILABLE`.
pub async fn ban(platform: &Platform, by: &By, id: &CustomerId, reason: String) -> Result<Customer, Refusal> {
    let ban = Ban { at: by.at, reason, by: by.actor.clone() };
    change(platform, by, id, "ban", Box::pin(platform.store.ban_customer(id, ban, by.at))).await
}

/// Ends a ban.
///
/// # Errors
/// As [`ban`].
pub async fn unban(platform: &Platform, by: &By, id: &CustomerId) -> Result<Customer, Refusal> {
    change(platform, by, id, "unban", Box::pin(platform.store.unban_customer(id, by.at))).await
}

/// Closes a customer's live tunnels; new ones pass.
///
/// # Errors
/// As [`ban`].
pub async fn kick(platform: &Platform, by: &By, id: &CustomerId) -> Result<Customer, Refusal> {
    change(platform, by, id, "kick", Box::pin(platform.store.kick_customer(id, by.at))).await
}

/// Ends a lock-out, whoever set it, and clears the strike clock.
///
/// # Errors
/// As [`ban`].
pub async fn unlock(platform: &Platform, by: &By, id: &CustomerId) -> Result<Customer, Refusal> {
    change(platform, by, id, "unlock", Box::pin(platform.store.unlock_customer(id, by.at))).await
}

/// Changes what a customer's tunnels show to pass.
///
/// # Errors
/// As [`ban`].
pub async fn set_auth(platform: &Platform, by: &By, id: &CustomerId, auth: AuthMode) -> Result<Customer, Refusal> {
    change(platform, by, id, "auth", Box::pin(platform.store.set_auth(id, auth, by.at))).await
}

/// When a customer's plan is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// So many days after the end that stands, or after now if that has passed.
    Days(u32),
    /// Then.
    At(Timestamp),
    /// Never.
    Never,
}

/// Moves the end of a customer's plan.
///
/// # Errors
/// As [`ban`].
pub async fn extend(platform: &Platform, by: &By, id: &CustomerId, end: End) -> Result<Customer, Refusal> {
    let moved = |c: &mut Customer| {
        c.expires_at = match end {
            End::Days(days) => {
                let from = c.expires_at.map_or(by.at, |stands| stands.max(by.at));
                Some(from.plus(Duration::from_secs(u64::from(days) * 86_400)))
            }
            End::At(at) => Some(at),
            End::Never => None,
        };
    };
    change(platform, by, id, "extend", Box::pin(platform.store.change_customer(id, by.at, moved))).await
}

/// Moves a customer to a plan and makes the budgets it grants.
///
/// # Errors
/// As [`ban`], and `VALIDATION` for an unknown plan.
pub async fn set_plan(
    platform: &Platform,
    by: &By,
    id: &CustomerId,
    code: &str,
    ver: Option<u32>,
) -> Result<Customer, Refusal> {
    let plan = plan(platform, code, ver).await?;
    let customer = change(platform, by, id, "plan", Box::pin(platform.store.set_plan(id, &plan, by.at))).await?;
    ensure_budgets(platform, &customer).await.map_err(store)?;
    Ok(customer)
}

/// Gives a customer limits of its own, beside its plan, and makes the budgets they grant. They
/// hold until it is moved to a plan.
///
/// # Errors
/// As [`ban`].
pub async fn set_limits(
    platform: &Platform,
    by: &By,
    id: &CustomerId,
    apply: impl Fn(&mut Limits) + Send + Sync,
) -> Result<Customer, Refusal> {
    // Applied to the limits that stand when it is written: two contracts at once both count.
    let own = |c: &mut Customer| apply(&mut c.limits);
    let transition = Box::pin(platform.store.change_customer(id, by.at, own));
    let customer = change(platform, by, id, "limits", transition).await?;
    ensure_budgets(platform, &customer).await.map_err(store)?;
    Ok(customer)
}

/// Deletes a customer: nothing passes any more, its rows stay, but its listed sources are free
/// for others. Deleting it again is no error, and goes on where a deletion broke off.
///
/// # Errors
/// As [`ban`].
pub async fn delete(platform: &Platform, by: &By, id: &CustomerId) -> Result<Customer, Refusal> {
    let mut customer = find(platform, id, true).await?;
    if customer.deleted_at.is_none() {
        customer = change(platform, by, id, "delete", Box::pin(platform.store.delete_customer(id, by.at))).await?;
    }
    Box::pin(platform.store.allow_clear(id, by.at)).await.map_err(store)?;
    Ok(customer)
}

async fn change(
    platform: &Platform,
    by: &By,
    id: &CustomerId,
    action: &str,
    transition: impl Future<Output = Result<Option<Changed>, StoreError>> + Send,
) -> Result<Customer, Refusal> {
    find(platform, id, false).await?;
    let Changed { before, after } = transition.await.map_err(store)?.ok_or_else(nobody)?;
    by.record(platform, &format!("customer.{action}"), &target(id), Some(&before), Some(&after)).await?;
    platform.emit(&format!("customer.{action}"), json!({ "customer": id, "by": by.actor })).await;
    lockout::take_in(platform, after).await
}

/// Whether a customer with a quota has used it up: nothing is available, and no edge holds a byte
/// that is not spent. A customer whose buckets are not made yet has not.
#[must_use]
pub fn used_up(customer: &Customer, buckets: &[(Bucket, Allowance)], now: Timestamp) -> bool {
    let held = |a: &Allowance| a.leases.values().any(|l| l.state == LeaseState::Open && l.settled + l.doubt < l.taken);
    let mut spendable = buckets.iter().map(|(_, a)| a).filter(|a| a.spendable(now)).peekable();
    customer.limits.quota_bytes.is_some()
        && spendable.peek().is_some()
        && spendable.all(|a| a.available == 0 && !held(a))
}

/// Why a customer may not pass at `now`, if so; its quota is [`used_up`]'s to say.
#[must_use]
pub fn blocked(customer: &Customer, now: Timestamp) -> Option<Refusal> {
    Some(match customer.standing(now) {
        Standing::Active => return None,
        Standing::Locked { until } => {
            let seconds = until.since(now).as_millis().div_ceil(1000);
            Refusal::new(Code::LockedOut, format!("locked until {until}"))
                .retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
        }
        Standing::Expired { at } => Refusal::new(Code::PlanExpired, format!("the plan ended {at}")),
        Standing::Banned | Standing::Deleted => Refusal::new(Code::Banned, "this customer is banned"),
    })
}
