//! Tries a Bright Data account by hand:
//!
//! ```text
//! BRIGHT_DATA_CUSTOMER_ID=hl_… BRIGHT_DATA_API_KEY=… cargo run -p tollgate-providers --example brightdata -- list isp
//! … -- count isp gb          how many addresses could be bought
//! … -- cost isp              what the zone cost this month
//! … -- account               status and balance
//! … -- buy isp gb 1 --yes    spends money
//! … -- release isp 203.0.113.7 --yes
//! ```
//!
//! `BRIGHT_DATA_API_URL` goes elsewhere than to the vendor.
#![allow(clippy::print_stdout)] // A program for a terminal.

use std::env;
use std::error::Error;
use std::time::Duration;

use tollgate_domain::country::Country;
use tollgate_providers::{BrightData, BuyOrder, ProxyMarket};

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("BRIGHT_DATA_API_URL").unwrap_or_else(|_| "https://api.brightdata.com".into());
    let variable = |name: &str| env::var(name).map_err(|_| format!("set {name}"));
    let market = BrightData::new(&url, &variable("BRIGHT_DATA_CUSTOMER_ID")?, variable("BRIGHT_DATA_API_KEY")?.into())?;
    let country = |code: &str| Country::parse(code).ok_or_else(|| format!("no country {code:?}"));

    let words = env::args().skip(1).collect::<Vec<_>>();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list", zone] => {
            for listed in market.list(zone, WITHIN).await? {
                println!("{} {}", listed.ip, listed.country.map_or("?".to_owned(), |c| c.to_string()));
            }
        }
        ["count", zone, code] => println!("{}", market.count_available(zone, country(code)?, WITHIN).await?),
        ["cost", zone] => println!("{}", market.cost(zone, WITHIN).await?),
        ["account"] => println!("{:?}\n{:?}", market.status(WITHIN).await?, market.balance(WITHIN).await),
        ["buy", zone, code, count, "--yes"] => {
            let order = BuyOrder { zone: zone.into(), country: country(code)?, count: count.parse()? };
            println!("{:?}", market.buy(order, WITHIN).await);
        }
        ["release", zone, ip, "--yes"] => println!("{:?}", market.release(zone, &[ip.into()], WITHIN).await),
        ["buy" | "release", ..] => return Err("add --yes at the end: this changes what is paid for".into()),
        _ => return Err("usage: list ZONE | count ZONE CC | cost ZONE | account | buy … | release …".into()),
    }
    Ok(())
}
