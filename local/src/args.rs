//! The command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where data lies unless somebody says otherwise.
pub const DEFAULT_DATA_DIR: &str = "./.tollgate";
const GATEWAY: SocketAddr = loopback(3128);
const API: SocketAddr = loopback(8080);
const EDGE_ADMIN: SocketAddr = loopback(9090);

/// The whole of Tollgate on this machine: no account, no other program.
///
/// Without a command it runs until Ctrl-C: an embedded DynamoDB in one file, every function
/// behind one local address, the schedules, a SIMULATED provider with an origin behind it, the
/// edge, and one customer, `demo`. It prints addresses, keys and a `curl` that works.
///
/// With real credentials of Bright Data in the environment it buys real addresses instead of
/// simulated ones: USE_PROXY=true, BRIGHT_DATA_CUSTOMER_ID, BRIGHT_DATA_ZONE,
/// BRIGHT_DATA_ZONE_PASSWORD, BRIGHT_DATA_API_KEY; also BRIGHT_DATA_HOST, BRIGHT_DATA_PORT,
/// BRIGHT_DATA_API_URL. RUST_LOG filters the log.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, verbatim_doc_comment)]
pub struct Cli {
    /// What to do; nothing = run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Run this many edges, each a process of its own, instead of one in this process. The first
    /// listens on --gateway and --edge-admin, the others on the ports that follow.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MOST_EDGES))]
    pub edges: Option<u8>,
    /// Settings of both commands.
    #[command(flatten)]
    pub common: Common,
}

/// Most edges of one run: enough to watch, few enough for one machine.
const MOST_EDGES: i64 = 16;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plays the main story through real sockets in less than a minute and prints its receipt.
    ///
    /// Uses a data directory of its own and any free ports, unless they are given. Exits with 1
    /// if client, edge, simulator and store do not count the same bytes.
    Demo(DemoArgs),
}

/// Settings of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Price of one address for one month at the simulator, in US dollars.
    #[arg(long, value_name = "USD", default_value = "4.00", value_parser = dollars)]
    pub price: u64,
    /// Print the receipt as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Settings of both commands.
#[derive(Debug, Args)]
pub struct Common {
    /// Folder for everything that outlives this process [default: ./.tollgate; demo: a new one].
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Begin with an empty data directory: what an earlier run left there is deleted.
    #[arg(long, global = true)]
    pub reset: bool,
    /// Where the edge takes customers' connections [default: 127.0.0.1:3128; demo: any port].
    #[arg(long, global = true, value_name = "ADDR", value_parser = bind)]
    pub gateway: Option<SocketAddr>,
    /// Where the customer and admin APIs answer [default: 127.0.0.1:8080; demo: any port].
    #[arg(long, global = true, value_name = "ADDR", value_parser = bind)]
    pub api: Option<SocketAddr>,
    /// Where the edge's health and metrics answer [default: 127.0.0.1:9090; demo: any port].
    #[arg(long, global = true, value_name = "ADDR", value_parser = bind)]
    pub edge_admin: Option<SocketAddr>,
    /// Where the simulated management API answers [default: any port].
    #[arg(long, global = true, value_name = "ADDR", value_parser = bind)]
    pub sandbox_api: Option<SocketAddr>,
    /// Where the simulated super-proxy listens [default: any port].
    #[arg(long, global = true, value_name = "ADDR", value_parser = bind)]
    pub sandbox_gateway: Option<SocketAddr>,
    /// How the log on standard error is written; edges of --edges write JSON.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Pretty)]
    pub log: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text for each event.
    Pretty,
    /// One JSON object for each event.
    Json,
}

/// Where everything listens; port 0 = any free port.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The edge's gateway.
    pub gateway: SocketAddr,
    /// Customer and admin APIs.
    pub api: SocketAddr,
    /// The edge's health and metrics.
    pub edge_admin: SocketAddr,
    /// The simulated management API.
    pub sandbox_api: SocketAddr,
    /// The simulated super-proxy.
    pub sandbox_gateway: SocketAddr,
}

impl Common {
    /// The ports of a run.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports_or(GATEWAY, API, EDGE_ADMIN)
    }

    /// The ports of a demo: whatever is free, unless given.
    #[must_use]
    pub fn free_ports(&self) -> Ports {
        self.ports_or(loopback(0), loopback(0), loopback(0))
    }

    fn ports_or(&self, gateway: SocketAddr, api: SocketAddr, edge_admin: SocketAddr) -> Ports {
        Ports {
            gateway: self.gateway.unwrap_or(gateway),
            api: self.api.unwrap_or(api),
            edge_admin: self.edge_admin.unwrap_or(edge_admin),
            sandbox_api: self.sandbox_api.unwrap_or(loopback(0)),
            sandbox_gateway: self.sandbox_gateway.unwrap_or(loopback(0)),
        }
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// `127.0.0.1:3128`, `[::1]:0`, or a port alone. Loopback only: keys are printed on a terminal.
fn bind(text: &str) -> Result<SocketAddr, String> {
    let addr = match text.parse::<u16>() {
        Ok(port) => loopback(port),
        Err(_) => text.parse().map_err(|_| "not an address such as 127.0.0.1:3128".to_owned())?,
    };
    if !addr.ip().is_loopback() {
        return Err("only loopback addresses: the local run is for this machine alone".to_owned());
    }
    Ok(addr)
}

/// Dollars with at most six decimals, as millionths.
fn dollars(text: &str) -> Result<u64, String> {
    let wrong = || "not an amount of dollars such as 4.00".to_owned();
    let (whole, frac) = text.split_once('.').unwrap_or((text, ""));
    if frac.len() > 6 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let micros: u64 = format!("{frac:0<6}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1_000_000)
        .and_then(|w| w.checked_add(micros))
        .filter(|micros| (1..=1_000_000_000).contains(micros))
        .ok_or_else(|| "between 0.000001 and 1000 dollars".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["tollgate"], args].concat())
    }

    #[test]
    fn nothing_said_means_the_documented_ports_for_a_run_and_free_ones_for_a_demo() {
        let run = parse(&[]).unwrap();
        assert!(run.command.is_none());
        assert_eq!(run.common.ports().gateway, "127.0.0.1:3128".parse().unwrap());
        assert_eq!(run.common.ports().api, "127.0.0.1:8080".parse().unwrap());
        let demo = parse(&["demo", "--json", "--api", "8081"]).unwrap();
        assert_eq!(demo.common.free_ports().gateway.port(), 0);
        assert_eq!(demo.common.free_ports().api.port(), 8081);
        assert!(matches!(demo.command, Some(Command::Demo(DemoArgs { price: 4_000_000, json: true }))));
    }

    #[test]
    fn nothing_listens_beyond_loopback() {
        for bad in ["0.0.0.0:3128", "192.0.2.1:1", "[::]:1", "host:1", "99999", ""] {
            assert!(parse(&["--gateway", bad]).is_err(), "{bad}");
        }
        assert!(parse(&["--gateway", "[::1]:0"]).is_ok());
    }

    #[test]
    fn edges_are_counted_within_reason() {
        assert_eq!(parse(&[]).unwrap().edges, None);
        assert_eq!(parse(&["--edges", "3", "--gateway", "0"]).unwrap().edges, Some(3));
        for bad in ["0", "17", "-1", "three"] {
            assert!(parse(&[&format!("--edges={bad}")]).is_err(), "{bad}");
        }
        assert!(parse(&["demo", "--edges", "3"]).is_err(), "the demo has one");
    }

    #[test]
    fn prices_are_exact() {
        assert_eq!(dollars("8.00"), Ok(8_000_000));
        assert_eq!(dollars("0.5"), Ok(500_000));
        assert_eq!(dollars("4"), Ok(4_000_000));
        for bad in ["", ".", "0", "-1", "1e3", "1.0000001", "1001", "1.2.3", "4,00"] {
            assert!(dollars(bad).is_err(), "{bad}");
        }
    }
}
