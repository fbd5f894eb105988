//! The simulated provider: sold out in Belgium, with an origin behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tollgate_sandbox::{Binds, Sandbox, SandboxConfig, SandboxError};

use crate::args::Ports;
use crate::clock::JumpClock;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::listen;
use crate::provider_rows::simulated;
use crate::secrets::{SecretsFile, gateway, management};

/// Addresses for sale at the start, by country. None in be and lu.
const STOCK: [(&str, u32); 16] = [
    ("nl", 40),
    ("de", 40),
    ("fr", 40),
    ("gb", 40),
    ("us", 80),
    ("es", 20),
    ("it", 20),
    ("pl", 20),
    ("se", 20),
    ("in", 20),
    ("sg", 20),
    ("jp", 20),
    ("au", 20),
    ("ca", 20),
    ("br", 20),
    ("za", 20),
];
/// Keeps the simulated provider's books over restarts, as a real provider's outlive ours.
const STATE: &str = "sandbox.json";
/// The authority that signed the certificate of `https://origin.test`.
pub const CA: &str = "sandbox-ca.pem";

/// Starts it. `price` in micro-dollars replaces the one it had.
///
/// # Errors
/// A port that is taken, a state file that cannot be read.
pub async fn start(
    dir: &DataDir,
    ports: &Ports,
    clock: &Arc<JumpClock>,
    secrets: &SecretsFile,
    price: Option<u64>,
) -> Result<Sandbox, Failure> {
    let id = simulated();
    let mut config =
        SandboxConfig::new(Arc::clone(clock) as _, secrets.need(&management(&id))?, secrets.need(&gateway(&id))?);
    for (country, count) in STOCK {
        config = config.with_stock(country, count);
    }
    config.price_micros = price.unwrap_or(config.price_micros);
    config.state_file = Some(dir.join(STATE));
    let free = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    config.bind =
        Binds { api: ports.sandbox_api, gateway: ports.sandbox_gateway, origin_http: free, origin_https: free };
    let sandbox = Sandbox::start(config).await.map_err(|e| refused(e, ports))?;
    if let Some(price) = price {
        sandbox.set_price(price);
    }
    dir.replace(CA, sandbox.origin_ca_pem().as_bytes())?;
    Ok(sandbox)
}

fn refused(error: SandboxError, ports: &Ports) -> Failure {
    match error {
        SandboxError::Bind { addr, source, .. } => {
            let flag = if addr == ports.sandbox_gateway { "--sandbox-gateway" } else { "--sandbox-api" };
            listen::refused(addr, flag, source)
        }
        SandboxError::State { path, source } => Failure::Damaged { path, why: source.to_string() },
        other => Failure::part("the simulated provider", other),
    }
}
