use std::collections::BTreeSet;

use super::*;

/// RFC 9209 section 2.3, the whole registry.
const PROXY_ERROR_TYPES: [&str; 32] = [
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
];

#[test]
fn every_code_round_trips_as_text_and_json() {
    let spellings: BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
    assert_eq!(spellings.len(), Code::ALL.len());
    for &code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(code));
        assert_eq!(code.to_string(), code.as_str());
        let json = serde_json::to_string(&code).unwrap();
        assert_eq!(json, format!("\"{code}\""));
        assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), code);
        assert!(code.as_str().bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{code}");
    }
    for unknown in ["", "auth_required", "AUTH_REQUIRED ", "TEAPOT"] {
        assert_eq!(Code::parse(unknown), None, "{unknown:?}");
    }
}

#[test]
fn every_code_has_words_in_both_languages() {
    let mut seen = BTreeSet::new();
    for &code in Code::ALL {
        for lang in [Lang::En, Lang::PtBr] {
            let (message, fix) = (code.message(lang), code.how_to_fix(lang));
            assert!(message.len() > 5 && fix.len() > 10, "{code} {lang:?}");
            assert!(!message.ends_with('.') && fix.ends_with('.'), "{code} {lang:?}");
            assert!(message.len() < 200 && fix.len() < 200 && !message.contains('\n') && !fix.contains('\n'));
            assert!(seen.insert(message), "two codes say {message:?}");
        }
        assert_ne!(code.how_to_fix(Lang::En), code.how_to_fix(Lang::PtBr), "{code}");
    }
    assert_eq!(Code::NoProxyAvailable.message(Lang::PtBr), "Nenhum proxy ativo disponível");
}

#[test]
fn every_code_has_a_status_and_a_registered_proxy_error() {
    for &code in Code::ALL {
        assert!((400..=599).contains(&code.status()), "{code}");
        assert!(PROXY_ERROR_TYPES.contains(&code.proxy_status()), "{code}: {}", code.proxy_status());
        assert!(matches!(code.socks_reply(), 0x01 | 0x02), "{code}");
        if code.status() == 503 {
            assert!(code.retry_after_default().is_some(), "{code} says it is temporary but not for how long");
        }
    }
}

/// The statuses that clients were promised; a change here breaks them.
#[test]
fn codes_keep_their_published_status() {
    for (status, codes) in [
        (
            400,
            "USERNAME_INVALID COUNTRY_UNKNOWN COUNTRY_REQUIRED VALIDATION REQUEST_INVALID PROXY_USAGE_001".to_owned(),
        ),
        (401, "UNAUTHENTICATED".into()),
        (402, "PLAN_EXPIRED QUOTA_EXHAUSTED SPEND_CAP".into()),
        (403, "IP_NOT_ALLOWED BANNED DEST_BLOCKED PLAN_FEATURE FORBIDDEN".into()),
        (404, "NOT_FOUND".into()),
        (405, "METHOD_NOT_ALLOWED".into()),
        (407, "AUTH_REQUIRED AUTH_FAILED".into()),
        (409, "LINE_MISMATCH CONFLICT EDGE_ALIVE PROVIDER_NO_STOCK POOL_CAP_REACHED".into()),
        (413, "BODY_TOO_LARGE".into()),
        (422, "IDEMPOTENCY_MISMATCH".into()),
        (429, "THREADS_EXCEEDED QPS_EXCEEDED LOCKED_OUT LINES_EXCEEDED IP_LIMIT RATE_LIMITED".into()),
        (431, "HEADER_TOO_LARGE".into()),
        (500, "INTERNAL PROXY_USAGE_003".into()),
        (
            502,
            "UPSTREAM_CONNECT UPSTREAM_AUTH PROVIDER_AUTH PROVIDER_IP_NOT_ALLOWLISTED PROVIDER_BALANCE \
             PROVIDER_RATE_LIMITED PROVIDER_REFUSED PROVIDER_UNAVAILABLE WEBHOOK_CONFIG"
                .into(),
        ),
        (
            503,
            "NO_PROXY_AVAILABLE EDGE_DRAINING ASSIGN_IN_PROGRESS STORE_UNAVAILABLE NO_NUMBERS_AVAILABLE \
             PROXY_USAGE_002"
                .into(),
        ),
        (504, "UPSTREAM_TIMEOUT".into()),
        (508, "LOOP".into()),
    ] {
        let expected: BTreeSet<_> = codes.split_whitespace().collect();
        let actual: BTreeSet<_> = Code::ALL.iter().filter(|c| c.status() == status).map(|c| c.as_str()).collect();
        assert_eq!(actual, expected, "{status}");
    }
}

#[test]
fn socks_tells_policy_from_failure() {
    for code in [Code::DestBlocked, Code::QuotaExhausted, Code::Banned, Code::ThreadsExceeded, Code::LineMismatch] {
        assert_eq!(code.socks_reply(), 0x02, "{code}");
    }
    for code in [Code::UpstreamConnect, Code::NoProxyAvailable, Code::UsernameInvalid, Code::StoreUnavailable] {
        assert_eq!(code.socks_reply(), 0x01, "{code}");
    }
}

#[test]
fn a_refusal_takes_the_retry_time_of_its_code_unless_told_better() {
    let r = Refusal::new(Code::LockedOut, "locked until noon");
    assert_eq!(r.retry_after_s, Some(3600));
    assert_eq!(r.clone().retry_after(7).retry_after_s, Some(7));
    assert_eq!(r.to_string(), "LOCKED_OUT: locked until noon");
    assert_eq!(Refusal::new(Code::Banned, "").retry_after_s, None);
}

#[test]
fn the_language_is_the_one_liked_best() {
    for (header, lang) in [
        ("", Lang::En),
        ("pt-BR", Lang::PtBr),
        ("pt", Lang::PtBr),
        ("PT-pt", Lang::PtBr),
        ("pt-BR,pt;q=0.9,en;q=0.8", Lang::PtBr),
        ("en,pt;q=0.9", Lang::En),
        ("en;q=0.3, pt;q=0.5", Lang::PtBr),
        ("en;q=0.35,pt;q=0.305", Lang::En),
        ("de,pt;q=0.1", Lang::PtBr),
        ("de,fr", Lang::En),
        ("*", Lang::En),
        ("*;q=0.1,pt;q=0.2", Lang::PtBr),
        ("pt;q=0", Lang::En),
        ("pt;q=0.000,de", Lang::En),
        ("pt ; Q = 1.000 , en;q=0.9", Lang::PtBr),
        ("pt;q=1.001", Lang::En),
        ("pt;q=2", Lang::En),
        ("pt;q=0.1234", Lang::En),
        ("pt;q=-1", Lang::En),
        ("pt;q=0.+1", Lang::En),
        ("pt;level=1", Lang::En),
        ("ptx", Lang::En),
        (",,;;,pt", Lang::PtBr),
    ] {
        assert_eq!(Lang::from_accept_language(header), lang, "{header:?}");
    }
    assert_eq!((Lang::default().tag(), Lang::PtBr.tag()), ("en", "pt-BR"));
}

#[test]
fn only_the_start_of_a_long_header_is_read() {
    let padded = |n: usize| format!("{}pt", "de,".repeat(n));
    assert_eq!(Lang::from_accept_language(&padded(170)), Lang::PtBr);
    assert_eq!(Lang::from_accept_language(&padded(171)), Lang::En);
    assert_eq!(Lang::from_accept_language(&format!("pt,{}", "é".repeat(100_000))), Lang::PtBr);
}
