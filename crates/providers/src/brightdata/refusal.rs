//! What a 4xx means. The API has no error schema: a status, and a text or a JSON message.

use tollgate_domain::refusal::Code;

use crate::api::Answer;

/// The code of a refusal.
pub(super) fn code(answer: &Answer) -> Code {
    let said = answer.words().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| said.contains(w));
    match answer.status.as_u16() {
        429 => Code::ProviderRateLimited,
        402 => Code::ProviderBalance,
        401 | 403 if says(&["allowlist", "allow list", "whitelist", "ip_forbidden", "ip_blacklisted"]) => {
            Code::ProviderIpNotAllowlisted
        }
        401 | 403 if says(&["permission", "api key"]) => Code::ProviderAuth,
        // Before stock: "not enough funds".
        _ if says(&["balance", "funds", "suspended", "payment"]) => Code::ProviderBalance,
        401 | 403 => Code::ProviderAuth,
        _ if no_stock(&said) => Code::ProviderNoStock,
        _ => Code::ProviderRefused,
    }
}

/// Whether a text, in lower case, says that there is nothing to sell. The documents quote none;
/// these are the spellings seen or likely.
fn no_stock(said: &str) -> bool {
    let words = || said.split(|c: char| !c.is_ascii_alphanumeric());
    let wares = words().any(|w| matches!(w, "ip" | "ips" | "proxy" | "proxies" | "address" | "addresses" | "stock"));
    said.contains("out of stock")
        || said.contains("sold out")
        || (wares && said.contains("not enough"))
        || (wares && words().any(|w| w == "no") && words().any(|w| matches!(w, "available" | "more" | "left")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_about_stock_are_told_from_texts_about_other_things() {
        let sold_out = [
            "no ips available",
            "no available ips in country gb",
            "there are no more ips",
            "not enough ips",
            "not enough available ips for this plan",
            "out of stock",
            "no proxies left in this location",
        ];
        for text in sold_out {
            assert!(no_stock(text), "{text}");
        }
        for text in
            ["", "wrong zone plan", "zone not found", "no such zone", "invalid ip format", "not enough arguments"]
        {
            assert!(!no_stock(text), "{text}");
        }
    }
}
