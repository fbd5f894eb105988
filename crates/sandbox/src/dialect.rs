//! What the vendor's documents leave open, as switches: a client must be money-safe under all.

use serde::{Deserialize, Serialize};

/// The answer to a purchase in a country without stock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoldOut {
    /// 400 with a text.
    #[default]
    Text400,
    /// 200 with `new_ips: []`.
    EmptyNewIps,
    /// 200 with `ips` alone.
    WithoutNewIps,
}

/// What `new_ips` names after a purchase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewIps {
    /// The bought addresses.
    #[default]
    Exact,
    /// First up to two addresses that the zone held already, then the bought ones.
    Overlapping,
}

/// The answer to a purchase of more addresses than there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortStock {
    /// As if there were none.
    #[default]
    SoldOut,
    /// What there is.
    Partial,
}

/// What `ips` in the answer of a release means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseAnswer {
    /// The addresses still in the zone.
    #[default]
    Remaining,
    /// The addresses taken out of it.
    Removed,
}

/// The answer to the release of an address that is not in the zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlreadyGone {
    /// 200: the address is passed over.
    #[default]
    Ignored,
    /// 400 with a text; nothing is released.
    Text400,
}

/// Which of the two documented paths of `count_available_ips` exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountPath {
    /// Both.
    #[default]
    Both,
    /// `/zone/count_available_ips` alone.
    UnderZone,
    /// `/count_available_ips` alone.
    AtRoot,
}

/// Fields of `/customer/balance`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BalanceFields {
    /// `balance`, `pending_balance`.
    #[default]
    Documented,
    /// `balance`, `credit`, `prepayment`, `pending_costs`.
    Recorded,
}

/// Which address a purchase gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addresses {
    /// One that was never sold before.
    #[default]
    Fresh,
    /// The one released last in that country, if there is one.
    Returning,
}

/// How the super-proxy words a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalForm {
    /// Status, `x-brd-err-code`, `x-brd-error`, `x-brd-err-msg`, `Proxy-Status`.
    #[default]
    Documented,
    /// Status and `Proxy-Status` alone, the code written with a hyphen.
    ProxyStatusAlone,
    /// As documented, but the code's header is called `x-brd-error-code`.
    ErrorCodeHeader,
    /// 200 with an empty body: `x-brd-err-code` alone tells.
    Status200,
}

/// All switches; the default is what the documents suggest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dialects {
    /// Purchase without stock.
    pub sold_out: SoldOut,
    /// `new_ips` of a purchase.
    pub new_ips: NewIps,
    /// Purchase of more than there is.
    pub short_stock: ShortStock,
    /// `ips` of a release.
    pub release: ReleaseAnswer,
    /// Release of what is gone.
    pub already_gone: AlreadyGone,
    /// Path of the stock count.
    pub count_path: CountPath,
    /// Fields of the balance.
    pub balance: BalanceFields,
    /// Which addresses are sold.
    pub addresses: Addresses,
    /// Refusals of the super-proxy.
    pub refusal: RefusalForm,
}
