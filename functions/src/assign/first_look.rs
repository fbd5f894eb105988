//! The first wave of reads, and what it says about who may ask for what.

use tollgate_domain::assignment::{AssignRequest, Assignment};
use tollgate_domain::country::Country;
use tollgate_domain::customer::{Customer, Standing};
use tollgate_domain::line::{Line, LineState};
use tollgate_domain::provider::Provider;
use tollgate_domain::proxy::ProxyClass;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_store::proxy::FreeProxy;
use tollgate_store::{Store, StoreError};

use super::{Stop, recycle};
use crate::platform::Platform;

/// The first wave: everything that the decision needs, read at once.
pub(super) struct FirstLook {
    pub(super) customer: Option<Customer>,
    pub(super) line: Option<Line>,
    pub(super) assignment: Option<Assignment>,
    pub(super) providers: Vec<Provider>,
    pub(super) free: Option<Vec<FreeProxy>>,
}

impl FirstLook {
    pub(super) async fn take(platform: &Platform, request: &AssignRequest) -> Result<Self, StoreError> {
        let store: &Store = &platform.store;
        let free = async {
            match request.country {
                Some(c) => {
                    let class = request.class.unwrap_or_default();
                    store.free_proxies(c, class, crate::random::spread(), recycle::PAGE).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let (customer, line, assignment, providers, free) = tokio::try_join!(
            store.customer(&request.customer),
            store.line(&request.line),
            store.assignment(&request.line),
            store.providers(),
            free,
        )?;
        Ok(Self { customer, line, assignment, providers, free })
    }

    /// The customer, if it may have a line at all. The edge checked already; a cut-off edge may
    /// not know better, so it is checked again here.
    pub(super) fn customer(&self, platform: &Platform, request: &AssignRequest) -> Result<Customer, Stop> {
        let Some(customer) = self.customer.clone() else {
            return Err(Refusal::new(Code::NotFound, format!("there is no customer {}", request.customer)).into());
        };
        if request.line.customer != request.customer {
            return Err(Refusal::new(Code::Forbidden, "the line belongs to another customer").into());
        }
        permitted(&customer, platform)?;
        Ok(customer)
    }

    /// The country and class that the line asks for.
    pub(super) fn asked(&self, request: &AssignRequest, customer: &Customer) -> Result<(Country, ProxyClass), Stop> {
        let open = self.line.as_ref().filter(|l| l.state == LineState::Open);
        if let Some(line) = open {
            check_same(line, request)?;
            return Ok((line.country, line.class));
        }
        let before = self.line.as_ref();
        let country = request.country.or(before.map(|l| l.country)).or(customer.default_country);
        let Some(country) = country else {
            let detail = "a new line needs a country: the customer has no default country";
            return Err(Refusal::new(Code::CountryRequired, detail).into());
        };
        let class = request.class.or(before.map(|l| l.class)).unwrap_or_default();
        Ok((country, class))
    }
}
/// Refuses customers that may not pass.
pub(crate) fn permitted(customer: &Customer, platform: &Platform) -> Result<(), Refusal> {
    let now = platform.now();
    match customer.standing(now) {
        Standing::Active => Ok(()),
        Standing::Banned => Err(Refusal::new(Code::Banned, "the customer is banned")),
        Standing::Deleted => Err(Refusal::new(Code::NotFound, "the customer was deleted")),
        Standing::Expired { at } => Err(Refusal::new(Code::PlanExpired, format!("the plan ended at {at}"))),
        Standing::Locked { until } => {
            let secs = u32::try_from(until.since(now).as_secs() + 1).unwrap_or(u32::MAX);
            Err(Refusal::new(Code::LockedOut, format!("locked out until {until}")).retry_after(secs))
        }
    }
}

/// An open line keeps the country and class it asked for.
fn check_same(line: &Line, request: &AssignRequest) -> Result<(), Refusal> {
    if let Some(c) = request.country.filter(|c| *c != line.country) {
        let detail =
            format!("line {} asked for {} and is open; this request asks for {c}", line.key.label, line.country);
        return Err(Refusal::new(Code::LineMismatch, detail));
    }
    if let Some(c) = request.class.filter(|c| *c != line.class) {
        let (has, asks) = (line.class.as_str(), c.as_str());
        let detail = format!("line {} is of type {has} and is open; this request asks for {asks}", line.key.label);
        return Err(Refusal::new(Code::LineMismatch, detail));
    }
    Ok(())
}
