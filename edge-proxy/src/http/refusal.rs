//! How a refusal looks in HTTP.

use serde_json::json;
use tollgate_domain::refusal::{Lang, Refusal};

/// Who is answered, and in which language.
#[derive(Clone, Debug)]
pub(crate) struct Answering {
    pub lang: Lang,
    pub correlation_id: String,
    /// The answer to HEAD has no body.
    pub head_only: bool,
    /// Whether the connection goes on.
    pub keep_alive: bool,
}

/// The whole answer. The detail says what happened this time; it holds no secret.
pub(crate) fn render(refusal: &Refusal, to: &Answering) -> Vec<u8> {
    let code = refusal.code;
    let status = code.status();
    let body = json!({ "error": {
        "code": code.as_str(),
        "message": format!("{}: {}", code.message(to.lang), refusal.detail),
        "status": status,
        "correlation_id": to.correlation_id,
        "how_to_fix": code.how_to_fix(to.lang),
    }})
    .to_string();
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nContent-Language: {}\r\n\
         Proxy-Status: tollgate; error={}; details=\"{}: {}\"\r\nX-Tollgate-Error: {}\r\nX-Correlation-Id: {}\r\n\
         Cache-Control: no-store\r\n",
        reason(status),
        body.len(),
        to.lang.tag(),
        code.proxy_status(),
        code.as_str(),
        quoted(&refusal.detail),
        code.as_str(),
        to.correlation_id,
    );
    if let Some(seconds) = refusal.retry_after_s {
        head.push_str(&format!("Retry-After: {seconds}\r\n"));
    }
    if status == 407 {
        head.push_str("Proxy-Authenticate: Basic realm=\"tollgate\", charset=\"UTF-8\"\r\n");
    }
    if status == 405 {
        head.push_str("Allow: CONNECT, GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    }
    head.push_str(if to.keep_alive { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" });
    if !to.head_only {
        head.push_str(&body);
    }
    head.into_bytes()
}

/// Text for a quoted string of a structured header: visible ASCII, quotes and backslashes
/// escaped, at most 200 bytes.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(200) {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        409 => "Conflict",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        508 => "Loop Detected",
        _ => "Refused",
    }
}
