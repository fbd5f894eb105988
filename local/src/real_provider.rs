//! Credentials of the real Bright Data, as the environment spells them.

use secrecy::SecretString;

use crate::failure::Failure;

const API_URL: &str = "https://api.brightdata.com";
const HOST: &str = "brd.superproxy.io";
const PORT: u16 = 33335;

/// What is needed to buy at, and to dial through, the real provider.
#[derive(Clone, Debug)]
pub struct RealProvider {
    /// `BRIGHT_DATA_API_URL`.
    pub api_url: String,
    /// `BRIGHT_DATA_CUSTOMER_ID`.
    pub account: String,
    /// `BRIGHT_DATA_ZONE`.
    pub zone: String,
    /// `BRIGHT_DATA_ZONE_PASSWORD`.
    pub zone_password: SecretString,
    /// `BRIGHT_DATA_HOST`.
    pub host: String,
    /// `BRIGHT_DATA_PORT`.
    pub port: u16,
    /// `BRIGHT_DATA_API_KEY`.
    pub api_key: SecretString,
}

impl RealProvider {
    /// Reads the credentials through `get`. None unless `USE_PROXY` is `true`.
    ///
    /// # Errors
    /// [`Failure::Environment`] with the first variable that is missing or makes no sense.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Failure> {
        if get("USE_PROXY").is_none_or(|v| v != "true") {
            return Ok(None);
        }
        let need = |name: &str| {
            let value = get(name).filter(|v| !v.is_empty());
            value.ok_or_else(|| Failure::Environment(format!("USE_PROXY=true also needs {name}")))
        };
        if let Some(kind) = get("BRIGHT_DATA_PROXY_TYPE").filter(|t| t != "isp") {
            return Err(Failure::Environment(format!("BRIGHT_DATA_PROXY_TYPE is `isp` or unset, not `{kind}`")));
        }
        let port = match get("BRIGHT_DATA_PORT") {
            None => PORT,
            Some(text) => {
                text.parse().map_err(|_| Failure::Environment(format!("BRIGHT_DATA_PORT is a port, not `{text}`")))?
            }
        };
        Ok(Some(Self {
            api_url: get("BRIGHT_DATA_API_URL").unwrap_or_else(|| API_URL.to_owned()),
            account: need("BRIGHT_DATA_CUSTOMER_ID")?,
            zone: need("BRIGHT_DATA_ZONE")?,
            zone_password: need("BRIGHT_DATA_ZONE_PASSWORD")?.into(),
            host: get("BRIGHT_DATA_HOST").unwrap_or_else(|| HOST.to_owned()),
            port,
            api_key: need("BRIGHT_DATA_API_KEY")?.into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const ALL: [(&str, &str); 5] = [
        ("USE_PROXY", "true"),
        ("BRIGHT_DATA_CUSTOMER_ID", "hl_1"),
        ("BRIGHT_DATA_ZONE", "EXAMPLE_ZONE"),
        ("BRIGHT_DATA_ZONE_PASSWORD", "EXAMPLE-pw"),
        ("BRIGHT_DATA_API_KEY", "EXAMPLE-key"),
    ];

    fn read(vars: &[(&str, &str)]) -> Result<Option<RealProvider>, Failure> {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        RealProvider::read(|name| vars.get(name).map(|v| (*v).to_owned()))
    }

    #[test]
    fn nothing_real_is_touched_unless_the_switch_is_on() {
        assert!(read(&ALL[1..]).unwrap().is_none());
        assert!(read(&[("USE_PROXY", "false")]).unwrap().is_none());
        let real = read(&ALL).unwrap().unwrap();
        assert_eq!((real.host.as_str(), real.port, real.api_url.as_str()), (HOST, PORT, API_URL));
        assert!(!format!("{real:?}").contains("EXAMPLE-"), "no secret is shown");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (n, (name, _)) in ALL.iter().enumerate().skip(1) {
            let mut vars = ALL.to_vec();
            vars.remove(n);
            let wrong = read(&vars).unwrap_err().to_string();
            assert!(wrong.contains(name), "{wrong}");
        }
        let odd = [&ALL[..], &[("BRIGHT_DATA_PORT", "http")]].concat();
        assert!(read(&odd).unwrap_err().to_string().contains("BRIGHT_DATA_PORT"));
        let mobile = [&ALL[..], &[("BRIGHT_DATA_PROXY_TYPE", "mobile")]].concat();
        assert!(read(&mobile).unwrap_err().to_string().contains("isp"));
    }
}
