//! What the edge has around it on AWS, in a process of its own: the tables on the embedded engine,
//! the secrets, and the function that assigns. Two customers, every limit of theirs set: `demo`'s so
//! high that none is ever reached, `slow`'s at a bandwidth.

use std::net::{SocketAddr, TcpListener};

use hmac::{Hmac, KeyInit, Mac};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::assignment::{AssignReply, AssignRequest, Assignment, AssignmentState};
use tollgate_domain::budget::Bucket;
use tollgate_domain::country::Country;
use tollgate_domain::customer::{AuthMode, Credential, Customer};
use tollgate_domain::id::ProxyId;
use tollgate_domain::money::Money;
use tollgate_domain::plan::Limits;
use tollgate_domain::provider::{BillingGrain, DueRule, Provider, ProviderType};
use tollgate_domain::proxy::{ProxyClass, UpstreamKind};
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_domain::upstream::Scheme;
use tollgate_engine::Engine;
use tollgate_store::allowance::Grant;
use tollgate_store::{Store, SystemClock};

use crate::{Res, process};

/// Start of the tables' names.
pub const PREFIX: &str = "b-";
pub const PASSWORD: &str = "demo-password";
/// The customer whose limits are never reached.
pub const UNLIMITED: &str = "demo";
/// The customer of [`SLOW_RATE`].
pub const SLOW: &str = "slow";
/// 100 Mbit/s, in bytes.
pub const SLOW_RATE: u64 = 12_500_000;
const PEPPER: &str = "pepper";
/// Far more than this machine does.
const HIGH: u64 = 1 << 40;

/// Serves the tables and the other services, for an edge that dials `gateway`; tells both addresses.
///
/// # Errors
/// If it cannot.
pub fn serve(listener: TcpListener, gateway: SocketAddr) -> Res<()> {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(accept(listener, gateway))
}

async fn accept(listener: TcpListener, gateway: SocketAddr) -> Res<()> {
    let engine = Engine::memory()?;
    fill(&Store::new(engine.client(), PREFIX), gateway).await?;
    let tables = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let tables_at = tables.local_addr()?;
    let _served = engine.serve(tables);
    listener.set_nonblocking(true)?;
    let services = tokio::net::TcpListener::from_std(listener)?;
    process::ready(&[tables_at, services.local_addr()?]);
    loop {
        let (stream, _) = services.accept().await?;
        tokio::spawn(service(stream));
    }
}

async fn fill(store: &Store, gateway: SocketAddr) -> Res<()> {
    let now = SystemClock.now();
    store.create_tables().await?;
    store.put_provider(&provider(gateway, now)?, now).await?;
    for (id, rate) in [(UNLIMITED, HIGH), (SLOW, SLOW_RATE)] {
        let customer = customer(id, rate, now)?;
        let credential = Credential {
            user: id.parse()?,
            customer: customer.id.clone(),
            version: 1,
            verifier: verifier()?,
            previous: None,
            created_at: now,
        };
        store.create_customer(&customer, &credential, now).await?;
        let grant = Grant {
            source: "plan".into(),
            bytes: HIGH,
            plan_ver: 1,
            spend_from: now.month_start(),
            spend_until: now.next_month_start(),
        };
        store.grant(&customer.id, &Bucket::Plan { start: now.month_start() }, &grant, now).await?;
    }
    Ok(())
}

fn verifier() -> Res<String> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(PEPPER.as_bytes())?;
    mac.update(PASSWORD.as_bytes());
    Ok(hex::encode(mac.finalize().into_bytes()))
}

fn customer(id: &str, rate: u64, now: Timestamp) -> Res<Customer> {
    let limits = Limits {
        threads: 1_000_000,
        thread_burst_milli: 1000,
        qps: 10_000_000,
        qps_burst: 10_000_000,
        rate_total: rate,
        rate_conn: HIGH,
        ip_conns: 1_000_000,
        ip_qps: 10_000_000,
        ip_rate: HIGH,
        ip_rate_total: HIGH,
        port_rate_total: HIGH,
        max_source_ips: 1_000_000,
        quota_bytes: Some(HIGH),
        max_lines: 100,
        max_sessions: 100,
        spend_day: None,
        settle_s: 5,
        ..Limits::default()
    };
    Ok(Customer {
        id: id.parse()?,
        name: id.into(),
        ver: 1,
        plan: "compare".into(),
        plan_ver: 1,
        limits,
        default_country: None,
        auth: AuthMode::Password,
        allow_fallback: true,
        max_hops: 7,
        ban: None,
        locked_until: None,
        expires_at: None,
        kicked_at: None,
        deleted_at: None,
        created_at: now,
    })
}

fn provider(gateway: SocketAddr, now: Timestamp) -> Res<Provider> {
    Ok(Provider {
        id: "brd".parse()?,
        name: "Bright Data".into(),
        kind: ProviderType::BrightData,
        upstream: UpstreamKind::Exclusive,
        class: ProxyClass::Isp,
        api_url: "http://127.0.0.1:1".into(),
        account: "c_1".into(),
        zone: "isp".into(),
        gateway_host: gateway.ip().to_string(),
        gateway_port: gateway.port(),
        protocol: Scheme::Http,
        user_template: None,
        price: Money::usd_micros(4_000_000),
        billing_grain: BillingGrain::Month,
        due_rule: DueRule::Strict,
        idle_ttl_s: 3600,
        spend_cap_day: None,
        active: true,
        health: 100,
        ver: 1,
        created_at: now,
        updated_at: now,
    })
}

/// Secrets Manager and Lambda, as far as the edge calls them.
async fn service(mut stream: TcpStream) -> Res<()> {
    let mut buf: Vec<u8> = Vec::with_capacity(2 << 10);
    loop {
        let end = loop {
            if let Some(at) = buf.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buf).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buf[..end]).to_ascii_lowercase();
        let length: usize =
            head.lines().find_map(|l| l.strip_prefix("content-length:")).map_or(Ok(0), |n| n.trim().parse())?;
        while buf.len() < end + length {
            if stream.read_buf(&mut buf).await? == 0 {
                return Ok(());
            }
        }
        let answer = answer(&head, &buf[end..end + length])?;
        buf.drain(..end + length);
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len()).as_bytes()).await?;
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn answer(head: &str, body: &[u8]) -> Res<String> {
    if head.starts_with("post /2015-03-31/functions/") {
        let assignment = Box::new(assignment(&serde_json::from_slice(body)?)?);
        return Ok(serde_json::to_string(&AssignReply::Bound { assignment })?);
    }
    let pepper = String::from_utf8_lossy(body).contains("\"pepper\"");
    let secret = if pepper { PEPPER } else { "zone-password" };
    Ok(serde_json::json!({ "Name": "n", "SecretString": secret }).to_string())
}

/// Every line has the same proxy: it is not the assigner that is measured.
fn assignment(ask: &AssignRequest) -> Res<Assignment> {
    let country = ask.country.or(Country::parse("be")).ok_or("no country")?;
    Ok(serde_json::from_value(serde_json::json!({
        "line": ask.line, "state": AssignmentState::Bound, "attempt": "a1", "until": 0, "ver": 1,
        "requested": country, "class": ask.class.unwrap_or(ProxyClass::Isp), "country": country,
        "proxy": ProxyId { provider: "brd".parse()?, ip: "203.0.113.7".into() },
        "kind": UpstreamKind::Exclusive, "since": 0,
    }))?)
}
