//! What the run says once everything listens: where, with which keys, and what to paste.

use std::fmt::Write as _;
use std::path::Path;

use secrecy::ExposeSecret as _;

use crate::edge_process::Place;
use crate::seed::Keys;
use crate::simulator::CA;
use crate::system::Addresses;

/// Last line of the banner: everything above it is true now.
pub const READY: &str = "Ctrl-C stops it; what it knows stays in the data directory.";

/// The whole banner. It holds keys: for the terminal of the person who started the run.
#[must_use]
pub fn render(at: &Addresses, edges: &[Place], keys: &Keys, data_dir: &Path, real: bool) -> String {
    let mut out = String::from("Tollgate runs on this machine.\n\n");
    let mut row = |what: &str, place: String, note: &str| {
        let _ = writeln!(out, "  {what:<13} {place:<28} {note}");
    };
    for edge in edges {
        let name = |of_one: &'static str| if edges.len() == 1 { of_one.to_owned() } else { edge.id.to_string() };
        row(&name("gateway"), edge.gateway.to_string(), "HTTP proxy for customers");
        row(&name("edge"), format!("http://{}", edge.admin), "/healthz, /readyz, /metrics");
    }
    row("API", format!("http://{}", at.api), "/v1 for customers, /admin for operators");
    let note = if real { "SIMULATED Bright Data, not bought from" } else { "SIMULATED Bright Data, sold out in be" };
    row("provider", format!("http://{}", at.sandbox_api), note);
    row("super-proxy", at.sandbox_gateway.to_string(), "SIMULATED; knows http(s)://origin.test alone");
    if real {
        row("provider", "Bright Data".to_owned(), "REAL: addresses cost money");
    }
    row("data", data_dir.display().to_string(), "");
    let (admin, customer) = (keys.admin.expose_secret(), keys.customer.expose_secret());
    let _ = writeln!(out, "\n  admin key     {admin}\n  customer key  {customer}   (customer demo)");

    let target = if real { "example.com" } else { "origin.test" };
    let url = format!("http://{}-line-chip1-country-be:{}@{}", keys.user, keys.password.expose_secret(), at.gateway);
    let path = if real { "/" } else { "/ip" };
    let ca = if real { String::new() } else { format!("--cacert {} ", quoted(&data_dir.join(CA))) };
    let api = at.api;
    let _ = writeln!(
        out,
        "\nPaste:\n  curl -x {url} http://{target}{path}\n  curl -x {url} {ca}https://{target}{path}\n\
         \x20 curl -H 'Authorization: Bearer {customer}' http://{api}/v1/me\n\
         \x20 curl -H 'Authorization: Bearer {customer}' http://{api}/v1/assignments\n\
         \x20 curl -X DELETE -H 'Authorization: Bearer {customer}' http://{api}/v1/assignments/chip1\n\
         \x20 curl -H 'X-Admin-API-Key: {admin}' http://{api}/admin/edges\n\
         \x20 curl -H 'X-Admin-API-Key: {admin}' http://{api}/admin/proxies/metrics\n\n{READY}"
    );
    out
}

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b)) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(quoted(Path::new("/srv/u/.tollgate/ca.pem")), "/srv/u/.tollgate/ca.pem");
        assert_eq!(quoted(Path::new("/my data/it's")), r"'/my data/it'\''s'");
    }
}
