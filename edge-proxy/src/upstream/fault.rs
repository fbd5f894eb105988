//! What a failed attempt says of the way that was tried: whether another may do better.

use std::net::SocketAddr;

use tollgate_domain::refusal::{Code, Refusal};

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The address is no longer ours: the line needs another.
    Lost,
    /// The gateway was not reached, broke off, or failed itself.
    Gateway,
    /// The gateway does not serve this account, or this exit, now.
    Account,
    /// The exit that the gateway chose failed; asked again it chooses another.
    Peer,
    /// The request's, its target's, or ours: whoever is asked would say the same.
    Request,
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failed {
    pub refusal: Refusal,
    pub fault: Fault,
    /// The gateway's address that was reached, if one was.
    pub at: Option<SocketAddr>,
}

impl From<Refusal> for Failed {
    /// As far as its code tells.
    fn from(refusal: Refusal) -> Self {
        let fault = match refusal.code {
            Code::UpstreamConnect | Code::UpstreamTimeout => Fault::Gateway,
            Code::UpstreamAuth => Fault::Account,
            _ => Fault::Request,
        };
        Self { refusal, fault, at: None }
    }
}

impl Failed {
    /// A failure that no other way would mend.
    pub fn for_good(refusal: Refusal) -> Self {
        Self { refusal, fault: Fault::Request, at: None }
    }

    /// The same, at this address.
    pub fn reached(self, at: Option<SocketAddr>) -> Self {
        Self { at: self.at.or(at), ..self }
    }

    /// The address is no longer ours.
    pub fn lost(&self) -> bool {
        self.fault == Fault::Lost
    }

    /// What a gateway's answer means that opens nothing: by the code it names, in the spelling of
    /// Bright Data's catalogue (`client_10060`), else by its status.
    pub fn answered(status: u16, code: Option<&str>) -> Self {
        let fault = fault(status, code);
        let late = matches!(status, 408 | 504) || code == Some("target_40021");
        let (kind, detail) = match (status, code) {
            (407, code) => (Code::UpstreamAuth, format!("the gateway refused our credentials {}", code.unwrap_or(""))),
            (_, code) => {
                let kind = if late { Code::UpstreamTimeout } else { Code::UpstreamConnect };
                (kind, format!("the gateway answered {status} {}", code.unwrap_or("")))
            }
        };
        Self { refusal: Refusal::new(kind, detail.trim_end()), fault, at: None }
    }
}

fn fault(status: u16, code: Option<&str>) -> Fault {
    match (code.unwrap_or(""), status) {
        ("client_10060", _) => Fault::Lost,
        ("peer_30040", _) => Fault::Peer,
        // A bad address in the user name, and limits of one exit, are not the target's.
        ("policy_20120" | "policy_20222", _) => Fault::Account,
        ("kyc_required", _) => Fault::Request,
        (code, _) if code.starts_with("policy_") || code.starts_with("target_") => Fault::Request,
        // No exit in this country, or this city, for this account; it used up what its zone may.
        ("client_10061" | "client_10062" | "client_10063" | "client_10100" | "peer_30030", _) => Fault::Account,
        (_, 401 | 402 | 407 | 429) => Fault::Account,
        (_, 408) => Fault::Gateway,
        (_, 400..=499) => Fault::Request,
        _ => Fault::Gateway,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_catalogue_decide_before_the_status_does() {
        for (status, code, expected) in [
            (400, "client_10060", Fault::Lost),
            (502, "client_10060", Fault::Lost),
            (400, "client_10062", Fault::Account),
            (401, "client_10050", Fault::Account),
            (402, "policy_20130", Fault::Request),
            (403, "client_10070", Fault::Request),
            (403, "policy_20230", Fault::Request),
            (403, "kyc_required", Fault::Request),
            (407, "client_10001", Fault::Account),
            (407, "client_10020", Fault::Account),
            (407, "policy_20120", Fault::Account),
            (408, "peer_30040", Fault::Peer),
            (429, "client_10110", Fault::Account),
            (429, "policy_20220", Fault::Request),
            (429, "policy_20222", Fault::Account),
            (502, "client_10100", Fault::Account),
            (502, "client_10120", Fault::Gateway),
            (502, "peer_30030", Fault::Account),
            (502, "target_40001", Fault::Request),
            (200, "target_40020", Fault::Request),
        ] {
            let failed = Failed::answered(status, Some(code));
            assert_eq!(failed.fault, expected, "{status} {code}");
            assert!(failed.refusal.detail.contains(code), "{}", failed.refusal.detail);
        }
    }

    #[test]
    fn without_a_code_the_status_decides() {
        for (status, expected) in [
            (302, Fault::Gateway),
            (403, Fault::Request),
            (404, Fault::Request),
            (402, Fault::Account),
            (407, Fault::Account),
            (408, Fault::Gateway),
            (429, Fault::Account),
            (500, Fault::Gateway),
            (503, Fault::Gateway),
            (522, Fault::Gateway),
        ] {
            assert_eq!(Failed::answered(status, None).fault, expected, "{status}");
        }
        let told = |status, code| Failed::answered(status, code).refusal.code;
        assert_eq!(told(407, None), Code::UpstreamAuth);
        assert_eq!((told(504, None), told(408, Some("peer_30040"))), (Code::UpstreamTimeout, Code::UpstreamTimeout));
        assert_eq!(told(502, Some("target_40021")), Code::UpstreamTimeout);
        assert_eq!((told(502, None), told(403, None)), (Code::UpstreamConnect, Code::UpstreamConnect));
    }

    #[test]
    fn a_refusal_that_names_no_upstream_is_nobody_elses() {
        let fault = |code| Failed::from(Refusal::new(code, "x")).fault;
        assert_eq!(fault(Code::UpstreamConnect), Fault::Gateway);
        assert_eq!(fault(Code::UpstreamAuth), Fault::Account);
        for code in [Code::DestBlocked, Code::Loop, Code::QuotaExhausted, Code::EdgeDraining, Code::RequestInvalid] {
            assert_eq!(fault(code), Fault::Request, "{code}");
        }
        assert_eq!(Failed::for_good(Refusal::new(Code::UpstreamConnect, "x")).fault, Fault::Request);
    }
}
