//! Every key string of the product. Nothing outside this module knows one.

use tollgate_domain::allow::{AllowNet, Block};
use tollgate_domain::budget::Bucket;
use tollgate_domain::country::Country;
use tollgate_domain::id::{
    CustomerId, EdgeId, EdgeSession, IntentId, LineKey, ProviderId, ProxyId, RequestId, UserName,
};
use tollgate_domain::proxy::ProxyClass;
use tollgate_domain::time::Timestamp;
use tollgate_domain::usage_event::{EventKind, EventPlace};

use crate::Table;
use crate::api_key::Holder;
use crate::item::Key;

/// How many partitions a list that everybody writes to is spread over.
pub(crate) const SHARDS: u8 = 8;

/// A stable shard of a text.
pub(crate) fn shard(text: &str) -> u8 {
    // FNV-1a: only spreads, secures nothing.
    let h = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    u8::try_from(h % u64::from(SHARDS)).unwrap_or(0)
}

/// Milliseconds in 15 digits: order as text is order in time.
pub(crate) fn sortable(t: Timestamp) -> String {
    format!("{:015}", t.as_millis())
}

// === accounts ===

pub(crate) fn customer(id: &CustomerId) -> Key {
    Key::new(Table::Accounts, format!("CUST#{id}"), "PROFILE")
}

/// The counter of a customer's open lines.
pub(crate) fn line_count(id: &CustomerId) -> Key {
    Key::new(Table::Accounts, format!("LINES#{id}"), "COUNT")
}

/// A customer in the list of customers.
pub(crate) fn customer_entry(id: &CustomerId) -> Key {
    Key::new(Table::Accounts, customer_list(shard(id.as_str())), id.as_str())
}

pub(crate) fn customer_list(shard: u8) -> String {
    format!("CUSTS#{shard}")
}

pub(crate) fn credential(user: &UserName) -> Key {
    Key::new(Table::Accounts, format!("USER#{user}"), "CRED")
}

/// A customer's credentials, to list them.
pub(crate) fn credential_entry(id: &CustomerId, user: &UserName) -> Key {
    Key::new(Table::Accounts, credential_list(id), user.as_str())
}

pub(crate) fn credential_list(id: &CustomerId) -> String {
    format!("CREDS#{id}")
}

/// All listed sources inside a block of addresses, of all customers.
pub(crate) fn allow_block(block: &Block) -> Key {
    Key::new(Table::Accounts, format!("ALLOWIP#{block}"), "BLOCK")
}

/// A listed source, in the list of its customer's.
pub(crate) fn allow_entry(customer: &CustomerId, net: &AllowNet) -> Key {
    Key::new(Table::Accounts, allow_list(customer), net.to_string())
}

pub(crate) fn allow_list(customer: &CustomerId) -> String {
    format!("ALLOWIPS#{customer}")
}

/// The counter of a customer's listed sources.
pub(crate) fn allow_count(customer: &CustomerId) -> Key {
    Key::new(Table::Accounts, format!("ALLOWN#{customer}"), "COUNT")
}

pub(crate) fn line(key: &LineKey) -> Key {
    Key::new(Table::Accounts, line_list(&key.customer), key.label.as_str())
}

pub(crate) fn line_list(customer: &CustomerId) -> String {
    format!("LINE#{customer}")
}

/// A line that closes by itself when it is due.
pub(crate) fn line_due(key: &LineKey, at: Timestamp) -> Key {
    Key::new(Table::Accounts, line_due_list(shard(&key.to_string())), format!("{}#{key}", sortable(at)))
}

pub(crate) fn line_due_list(shard: u8) -> String {
    format!("LINEDUE#{shard}")
}

pub(crate) const PLANS: &str = "PLANS";

pub(crate) fn plan(code: &str, ver: u32) -> Key {
    Key::new(Table::Accounts, PLANS, format!("{code}#{ver:06}"))
}

pub(crate) fn api_key(hash: &str) -> Key {
    Key::new(Table::Accounts, format!("KEY#{hash}"), "KEY")
}

/// A key in the list of its holder's keys. Customer ids are lower case: `ADMIN` is nobody's.
pub(crate) fn api_key_entry(holder: &Holder, hash: &str) -> Key {
    Key::new(Table::Accounts, api_key_list(holder), hash)
}

pub(crate) fn api_key_list(holder: &Holder) -> String {
    match holder {
        Holder::Admin { .. } => "KEYS#ADMIN".to_owned(),
        Holder::Customer { id, .. } => format!("KEYS#{id}"),
    }
}

pub(crate) fn idempotency(principal: &str, key: &str) -> Key {
    Key::new(Table::Accounts, format!("IDEM#{principal}#{key}"), "IDEM")
}

// === inventory ===

pub(crate) const PROVIDERS: &str = "PROVIDERS";

pub(crate) fn provider(id: &ProviderId) -> Key {
    Key::new(Table::Inventory, PROVIDERS, id.as_str())
}

pub(crate) fn proxy(id: &ProxyId) -> Key {
    Key::new(Table::Inventory, proxy_list(&id.provider), id.ip.as_str())
}

pub(crate) fn proxy_list(provider: &ProviderId) -> String {
    format!("IP#{provider}")
}

/// The free list of a country and class. Its sort keys start with a hash, so that a random
/// start is a fair one.
pub(crate) fn free(country: Country, class: ProxyClass, id: &ProxyId) -> Key {
    let h = id.to_string().bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    Key::new(Table::Inventory, free_list(country, class), format!("{h:08x}#{id}"))
}

pub(crate) fn free_list(country: Country, class: ProxyClass) -> String {
    format!("FREE#{country}#{}", class.as_str())
}

/// An address whose release is due at a time.
pub(crate) fn proxy_due(id: &ProxyId, at: Timestamp) -> Key {
    Key::new(Table::Inventory, proxy_due_list(shard(&id.to_string())), format!("{}#{id}", sortable(at)))
}

pub(crate) fn proxy_due_list(shard: u8) -> String {
    format!("IPDUE#{shard}")
}

pub(crate) fn assignment(line: &LineKey) -> Key {
    Key::new(Table::Inventory, format!("ASG#{line}"), "ASG")
}

pub(crate) fn assignment_history(line: &LineKey, since: Timestamp) -> Key {
    Key::new(Table::Inventory, format!("ASGH#{line}"), sortable(since))
}

pub(crate) fn intent(id: &IntentId) -> Key {
    Key::new(Table::Inventory, format!("INT#{id}"), "INT")
}

/// An intent that is not resolved yet, in order of planning.
pub(crate) fn open_intent(provider: &ProviderId, id: &IntentId) -> Key {
    Key::new(Table::Inventory, open_intents(provider), id.as_str())
}

pub(crate) fn open_intents(provider: &ProviderId) -> String {
    format!("OPEN#{provider}")
}

/// "Out of stock", remembered per provider and country.
pub(crate) fn no_stock(provider: &ProviderId, country: Country) -> Key {
    Key::new(Table::Inventory, no_stock_list(provider), country.as_str())
}

pub(crate) fn no_stock_list(provider: &ProviderId) -> String {
    format!("NOSTOCK#{provider}")
}

pub(crate) fn provider_spend(provider: &ProviderId, day: &str) -> Key {
    Key::new(Table::Inventory, format!("SPEND#{provider}"), day)
}

pub(crate) fn customer_spend(customer: &CustomerId, day: &str) -> Key {
    Key::new(Table::Inventory, format!("SPENDC#{customer}"), day)
}

pub(crate) fn fallback(country: Country) -> Key {
    Key::new(Table::Inventory, "FALLBACK", country.as_str())
}

// === usage ===

pub(crate) fn allowance(customer: &CustomerId, bucket: &Bucket) -> Key {
    Key::new(Table::Usage, allowances(customer), bucket.to_string())
}

pub(crate) fn allowances(customer: &CustomerId) -> String {
    format!("ALLOW#{customer}")
}

/// Bytes of a lost lease that came back all the same.
pub(crate) fn late(customer: &CustomerId, session: &EdgeSession, bucket: &Bucket) -> Key {
    Key::new(Table::Usage, late_list(customer), format!("{session}#{bucket}"))
}

pub(crate) fn late_list(customer: &CustomerId) -> String {
    format!("LATE#{customer}")
}

pub(crate) fn cap(customer: &CustomerId) -> Key {
    Key::new(Table::Usage, format!("CAP#{customer}"), "CAP")
}

pub(crate) fn edge(id: &EdgeId) -> Key {
    Key::new(Table::Usage, format!("EDGE#{id}"), "EDGE")
}

/// The edges that may live, or have left something open.
pub(crate) const EDGES: &str = "EDGES";

/// An edge in the list of edges.
pub(crate) fn edge_entry(id: &EdgeId) -> Key {
    Key::new(Table::Usage, EDGES, id.as_str())
}

/// What a life of an edge answers to a request for live tunnels.
pub(crate) fn live(request: &RequestId, session: &EdgeSession) -> Key {
    Key::new(Table::Usage, live_list(request), session.to_string())
}

pub(crate) fn live_list(request: &RequestId) -> String {
    format!("LIVE#{request}")
}

/// What an edge session holds a lease of: written before the first take, so that recovery needs
/// no search.
pub(crate) fn roster(session: &EdgeSession, customer: &CustomerId, bucket: &Bucket) -> Key {
    Key::new(Table::Usage, roster_list(session), format!("{}{bucket}", roster_prefix(customer)))
}

/// Start of the sort keys of one customer's buckets in a roster.
pub(crate) fn roster_prefix(customer: &CustomerId) -> String {
    format!("{customer}#")
}

pub(crate) fn roster_list(session: &EdgeSession) -> String {
    format!("EDGE#{}#{}", session.edge, session.epoch)
}

/// Start of the sort keys of the lines in an edge session's roster.
pub(crate) const ROSTER_LINE: &str = "line#";

/// A line on which an edge session has tunnels.
pub(crate) fn roster_line(session: &EdgeSession, line: &LineKey) -> Key {
    Key::new(Table::Usage, roster_list(session), format!("{ROSTER_LINE}{line}"))
}

/// A day's counters of (line, proxy), written by one edge session alone.
pub(crate) fn usage_row(line: &LineKey, proxy: &str, session: &EdgeSession, day: &str) -> Key {
    let (month, dd) = month_and_day(day);
    Key::new(Table::Usage, usage_month(&line.customer, month), format!("{dd}#{}#{proxy}#{session}", line.label))
}

/// `yyyy-mm-dd` as `yyyy-mm` and `dd`.
pub(crate) fn month_and_day(day: &str) -> (&str, &str) {
    let (month, dd) = day.split_at(7.min(day.len()));
    (month, dd.trim_start_matches('-'))
}

pub(crate) fn usage_month(customer: &CustomerId, month: &str) -> String {
    format!("USE#{customer}#{month}")
}

/// A usage event of a customer's UTC day, in order of time.
pub(crate) fn event(customer: &CustomerId, place: &EventPlace) -> Key {
    Key::new(Table::Usage, events_of_day(customer, &place.at.day()), event_sort(place))
}

pub(crate) fn events_of_day(customer: &CustomerId, day: &str) -> String {
    format!("EVENT#{customer}#{day}")
}

/// Of one connection and one millisecond, a start stands before an end.
pub(crate) fn event_sort(place: &EventPlace) -> String {
    let order = match place.id.kind {
        EventKind::ConnectionStart => 0,
        EventKind::DataTransfer => 1,
        EventKind::Error => 2,
        EventKind::ConnectionEnd => 3,
    };
    format!("{}#{}#{order}#{:06}", sortable(place.at), place.id.connection, place.id.seq)
}

/// A day of a customer's of which an edge session writes rows.
pub(crate) fn day_mark(customer: &CustomerId, day: &str, session: &EdgeSession) -> Key {
    Key::new(Table::Usage, day_list(shard(customer.as_str())), format!("{}{session}", day_of_customer(day, customer)))
}

/// Start of the sort keys of the marks of one customer's day.
pub(crate) fn day_of_customer(day: &str, customer: &CustomerId) -> String {
    format!("{day}#{customer}#")
}

/// Days that rows are written of, oldest first.
pub(crate) fn day_list(shard: u8) -> String {
    format!("DAY#{shard}")
}

/// What an edge session carried for a customer over a proxy.
pub(crate) fn proxy_use(proxy: &ProxyId, customer: &CustomerId, session: &EdgeSession) -> Key {
    Key::new(Table::Usage, proxy_use_list(proxy), format!("{customer}#{session}"))
}

pub(crate) fn proxy_use_list(proxy: &ProxyId) -> String {
    format!("PROXYUSE#{proxy}")
}

/// When a listed source was last used, as edges say.
pub(crate) fn allow_seen(customer: &CustomerId, net: &AllowNet) -> Key {
    Key::new(Table::Usage, allow_seen_list(customer), net.to_string())
}

pub(crate) fn allow_seen_list(customer: &CustomerId) -> String {
    format!("SEEN#{customer}")
}

/// An entry of the change feed; `ulid` is new for each attempt to write it.
pub(crate) fn change(shard: u8, ulid: &str) -> Key {
    Key::new(Table::Usage, change_list(shard), ulid)
}

pub(crate) fn change_list(shard: u8) -> String {
    format!("CHANGE#{shard}")
}

// === billing ===

pub(crate) fn grant(customer: &CustomerId, source: &str) -> Key {
    Key::new(Table::Billing, format!("GRANTS#{customer}"), format!("GRANT#{source}"))
}

/// A customer's day, added up.
pub(crate) fn rollup(customer: &CustomerId, day: &str) -> Key {
    let (month, dd) = month_and_day(day);
    Key::new(Table::Billing, rollup_month(customer, month), dd)
}

pub(crate) fn rollup_month(customer: &CustomerId, month: &str) -> String {
    format!("ROLLUP#{customer}#{month}")
}

// === audit ===

pub(crate) fn audit_chain(day: &str, shard: u8) -> String {
    format!("AUDIT#{day}#{shard}")
}

pub(crate) fn audit(day: &str, shard: u8, number: u64) -> Key {
    Key::new(Table::Audit, audit_chain(day, shard), format!("{number:012}"))
}
