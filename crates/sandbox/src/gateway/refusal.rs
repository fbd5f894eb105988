//! The super-proxy's refusals: status, `x-brd-*` headers, `Proxy-Status`.

use crate::dialect::RefusalForm;

/// One entry of the vendor's error catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxyError {
    pub(crate) status: u16,
    /// Empty where the catalogue has none.
    pub(crate) code: &'static str,
    /// `x-brd-error`.
    pub(crate) short: &'static str,
    /// `x-brd-err-msg`.
    pub(crate) long: &'static str,
    /// Error type of RFC 9209.
    pub(crate) rfc9209: &'static str,
}

const fn error(status: u16, code: &'static str, short: &'static str, long: &'static str) -> ProxyError {
    ProxyError { status, code, short, long, rfc9209: "http_request_denied" }
}

const fn because(rfc9209: &'static str, e: ProxyError) -> ProxyError {
    ProxyError { rfc9209, ..e }
}

/// Not in the catalogue: the request is no proxy request at all.
pub(crate) const BAD_REQUEST: ProxyError =
    because("http_request_error", error(400, "", "Bad Request", "The request is not a proxy request"));
pub(crate) const HEAD_TOO_LARGE: ProxyError =
    because("http_request_error", error(431, "", "Request Header Fields Too Large", "The request head is too large"));

pub(crate) const BAD_PASSWORD: ProxyError =
    error(407, "client_10000", "Auth failed", "Invalid Auth: wrong customer, zone or password");
pub(crate) const BAD_USER: ProxyError =
    error(407, "client_10001", "Auth failed", "Invalid Auth: the user name cannot be read");
pub(crate) const NO_ZONE: ProxyError =
    error(407, "client_10002", "Auth failed", "Invalid Auth: the zone is missing or disabled");
pub(crate) const NO_CREDENTIALS: ProxyError =
    error(407, "client_10010", "Proxy Authentication Required", "No credentials were given");
pub(crate) const IP_NOT_ALLOCATED: ProxyError = because(
    "destination_ip_unroutable",
    error(400, "client_10060", "ip_requested_not_allocated_by_customer", "The requested IP is not in this zone"),
);
pub(crate) const NO_PEER: ProxyError =
    error(400, "client_10061", "No peer available", "The zone has no IP in its default countries");
pub(crate) const NO_IP_IN_COUNTRY: ProxyError =
    error(400, "client_10062", "No IP in country", "The zone has no IP in the requested country");
pub(crate) const BAD_IP: ProxyError = error(400, "client_10063", "Bad IP format", "The requested IP cannot be read");
pub(crate) const UNKNOWN_NAME: ProxyError =
    because("dns_error", error(502, "target_40001", "DNS failure", "Could not resolve the target host"));
pub(crate) const TARGET_REFUSED: ProxyError =
    because("connection_refused", error(502, "target_40020", "Target unreachable", "Could not connect to the target"));

/// Refusals that only a test asks for.
const ON_DEMAND: [ProxyError; 8] = [
    error(401, "client_10050", "ip_blacklisted", "Your IP is not on the zone's allowlist"),
    error(403, "policy_20230", "Forbidden", "The country is not permitted"),
    error(407, "client_10020", "Account suspended", "The account is suspended"),
    error(407, "client_10030", "Auth failed", "Your IP is not allowlisted"),
    because("connection_timeout", error(408, "peer_30040", "Peer timeout", "The peer did not answer in time")),
    error(429, "client_10110", "Too Many Requests", "The account's request rate is exceeded"),
    error(502, "client_10100", "Zone usage limit", "The zone's usage limit is reached"),
    because("connection_timeout", error(502, "target_40021", "Target timeout", "Connecting to the target timed out")),
];

impl ProxyError {
    /// The catalogue's entry with this code.
    pub(crate) fn by_code(code: &str) -> Option<Self> {
        let own = [
            BAD_PASSWORD,
            BAD_USER,
            NO_ZONE,
            NO_CREDENTIALS,
            IP_NOT_ALLOCATED,
            NO_PEER,
            NO_IP_IN_COUNTRY,
            BAD_IP,
            UNKNOWN_NAME,
            TARGET_REFUSED,
        ];
        own.into_iter().chain(ON_DEMAND).find(|e| !code.is_empty() && e.code == code)
    }

    /// The whole response; the connection is to be closed after it.
    pub(crate) fn response(&self, form: RefusalForm) -> String {
        let Self { status, code, short, long, rfc9209 } = self;
        if form == RefusalForm::Status200 {
            return format!(
                "HTTP/1.1 200 OK\r\nx-brd-err-code: {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        let mut headers = Vec::new();
        if *status == 407 {
            headers.push(("Proxy-Authenticate", "Basic realm=\"BRD\"".to_owned()));
        }
        let alone = form == RefusalForm::ProxyStatusAlone;
        if !alone {
            let name = if form == RefusalForm::ErrorCodeHeader { "x-brd-error-code" } else { "x-brd-err-code" };
            headers.extend((!code.is_empty()).then(|| (name, (*code).to_owned())));
            headers.push(("x-brd-error", (*short).to_owned()));
            headers.push(("x-brd-err-msg", (*long).to_owned()));
        }
        let details = match *code {
            "" => (*long).to_owned(),
            code if alone => format!("{}: {long}", code.replace('_', "-")),
            code => format!("{code}: {long}"),
        };
        let proxy_status =
            format!("brd.superproxy.io; received-status={status}; error=\"{rfc9209}\"; details=\"{details}\"");
        headers.push(("Proxy-Status", proxy_status));
        headers.push(("Content-Type", "text/plain".to_owned()));
        headers.push(("Content-Length", long.len().to_string()));
        headers.push(("Connection", "close".to_owned()));

        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("HTTP/1.1 {status} {short}\r\n{lines}\r\n{long}")
    }
}
