use tollgate_providers::{BrightData, ConfigError};

fn refused(url: &str, key: &str) -> ConfigError {
    BrightData::new(url, "hl_1", key.to_owned().into()).unwrap_err()
}

#[test]
fn a_key_is_only_sent_where_nobody_on_the_way_can_read_it() {
    for url in ["https://api.brightdata.com", "http://127.0.0.1:8080/base/", "http://localhost:1", "http://[::1]:1"] {
        BrightData::new(url, "hl_1", "key".to_owned().into()).unwrap();
    }
    for url in ["http://api.brightdata.com", "http://127.0.0.1.example", "ftp://127.0.0.1", "api.brightdata.com", ""] {
        assert!(matches!(refused(url, "key"), ConfigError::Url { .. }), "{url}");
    }
    for url in ["https://user:pass@api.brightdata.com", "https://api.brightdata.com/?a=b"] {
        assert!(matches!(refused(url, "key"), ConfigError::Url { .. }), "{url}");
    }
}

#[test]
fn a_key_that_no_header_can_carry_is_refused_without_being_shown() {
    for key in ["", "with space", "line\r\nbreak", "clé"] {
        let error = refused("https://api.brightdata.com", key);
        assert_eq!(error, ConfigError::Key);
        assert!(key.is_empty() || !error.to_string().contains(key));
    }
}
