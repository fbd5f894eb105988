//! Targets of absolute-form requests, and how targets are written.

use std::borrow::Cow;

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::{self, Target};

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

/// `Host` for a target: without the port that HTTP means anyway.
pub(super) fn host_header(target: &Target) -> String {
    if target.port == 80 { target.host.to_string() } else { target.to_string() }
}

/// The origin-form of an absolute-form target (RFC 9112 section 3.2.1), which has passed
/// [`absolute`]; for OPTIONS without a path the asterisk-form (section 3.2.4).
pub(super) fn path<'a>(method: &str, uri: &'a str) -> Cow<'a, str> {
    let rest = uri.get(7..).unwrap_or_default();
    match rest.find(['/', '?']).map(|at| &rest[at..]) {
        Some(path) if path.starts_with('/') => Cow::Borrowed(path),
        Some(query) => Cow::Owned(format!("/{query}")),
        None if method == "OPTIONS" => Cow::Borrowed("*"),
        None => Cow::Borrowed("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_asked_for_a_path() {
        assert_eq!(path("GET", "http://a.test/x?y"), "/x?y");
        assert_eq!(path("GET", "http://a.test?y/z"), "/?y/z");
        assert_eq!(path("GET", "http://a.test:81"), "/");
        assert_eq!(path("OPTIONS", "http://a.test"), "*");
    }

    #[test]
    fn absolute_targets_are_read_strictly() {
        let read = |uri| absolute(uri).map(|t| (t.to_string(), host_header(&t))).map_err(|r| r.code);
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
