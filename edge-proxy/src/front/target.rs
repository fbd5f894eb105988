//! Targets of absolute-form requests, and how targets are written.

use std::net::IpAddr;

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::{self, Host, Target};

/// The target of an absolute-form request.
pub(super) fn absolute(uri: &str) -> Result<Target, Refusal> {
    let bad = |detail: &str| Refusal::new(Code::RequestInvalid, detail);
    let rest = match uri.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => &uri[7..],
        _ => return Err(bad("the target is not an http:// URL; for others use CONNECT")),
    };
    if rest.contains('#') {
        return Err(bad("the target has a fragment"));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(bad("the target has user information"));
    }
    // An IPv6 literal ends in a bracket; after it, or in other hosts, a colon begins the port.
    let has_port = authority.rsplit(']').next().is_some_and(|after| after.contains(':'));
    if has_port {
        return target::parse_authority(authority);
    }
    Ok(Target { host: target::parse_host(authority)?, port: 80 })
}

fn host_text(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        Host::Ip(ip) => ip.to_string(),
    }
}

pub(super) fn authority(target: &Target) -> String {
    format!("{}:{}", host_text(&target.host), target.port)
}

pub(super) fn host_header(target: &Target) -> String {
    if target.port == 80 { host_text(&target.host) } else { authority(target) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_targets_are_read_strictly() {
        let read = |uri| absolute(uri).map(|t| (authority(&t), host_header(&t))).map_err(|r| r.code);
        let is = |a: &str, h: &str| Ok((a.to_owned(), h.to_owned()));
        assert_eq!(read("http://a.test/x"), is("a.test:80", "a.test"));
        assert_eq!(read("HTTP://a.test:8080?q"), is("a.test:8080", "a.test:8080"));
        assert_eq!(read("http://[2606:4700::1]/"), is("[2606:4700::1]:80", "[2606:4700::1]"));
        assert_eq!(read("http://[2606:4700::1]:81/"), is("[2606:4700::1]:81", "[2606:4700::1]:81"));
        for bad in [
            "/x",
            "https://a.test/",
            "http://u:p@a.test/",
            "http://a.test/#f",
            "http://",
            "http://a:b:c/",
            "http://[::1",
            "http:/a",
        ] {
            assert_eq!(read(bad), Err(Code::RequestInvalid), "{bad}");
        }
    }
}
