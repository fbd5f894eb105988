//! Fallback chains: which countries are tried after the one asked for.

use super::{Country, geo};

/// Chains set by hand, tried in order; they end where they end.
const SEEDS: [(&str, &[&str]); 8] = [
    ("bb", &["us", "br", "gb"]),
    ("bd", &["in", "sg", "my", "gb", "us"]),
    ("be", &["nl", "fr", "de", "gb", "us"]),
    ("gh", &["za", "ng", "gb", "us"]),
    ("jm", &["us", "mx", "br", "gb"]),
    ("lu", &["de", "fr", "be", "nl", "gb"]),
    ("ng", &["za", "ke", "eg", "gb", "us"]),
    ("pk", &["in", "ae", "sg", "gb", "us"]),
];

/// Computed neighbours in a chain that was not set by hand.
const NEIGHBOURS: usize = 5;
/// Ends every computed chain: large supply everywhere.
const TAIL: [&str; 2] = ["gb", "us"];
/// Countries where providers sell nothing: sanctioned, or without a market.
const UNSUPPLIED: [&str; 8] = ["cu", "iq", "ir", "kp", "lb", "ps", "sd", "sy"];

/// Whether providers sell there at all. Only such a country is ever a fallback.
#[must_use]
pub fn supplied(c: Country) -> bool {
    !UNSUPPLIED.contains(&c.as_str())
}

/// Countries to try after `asked`, in order: the chain set by hand, else the five that stand in
/// best, then `gb` and `us`. Never empty; without `asked`, repeats and unsupplied countries.
#[must_use]
pub fn chain(asked: Country) -> Vec<Country> {
    if let Some((_, seed)) = SEEDS.iter().find(|(code, _)| *code == asked.as_str()) {
        return seed.iter().filter_map(|code| Country::parse(code)).collect();
    }
    let mut chain = ranked(asked, Country::all());
    chain.truncate(NEIGHBOURS);
    for last in TAIL.iter().filter_map(|code| Country::parse(code)) {
        if last != asked && !chain.contains(&last) {
            chain.push(last);
        }
    }
    chain
}

/// `candidates` that can stand in for `asked`, best first; ties by code.
fn ranked(asked: Country, candidates: impl Iterator<Item = Country>) -> Vec<Country> {
    let mut priced: Vec<(f64, Country)> = candidates
        .filter(|c| *c != asked && supplied(*c))
        .filter_map(|c| geo::cost(asked, c).map(|cost| (cost, c)))
        .collect();
    priced.sort_by(|(x, c), (y, d)| x.total_cmp(y).then(c.cmp(d)));
    priced.into_iter().map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn c(code: &str) -> Country {
        Country::parse(code).unwrap()
    }

    fn text(chain: &[Country]) -> String {
        chain.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn chains_set_by_hand_are_followed_to_the_letter_and_end_there() {
        for (asked, expected) in [
            ("be", "nl fr de gb us"),
            ("lu", "de fr be nl gb"),
            ("bd", "in sg my gb us"),
            ("pk", "in ae sg gb us"),
            ("ng", "za ke eg gb us"),
            ("gh", "za ng gb us"),
            ("jm", "us mx br gb"),
            ("bb", "us br gb"),
        ] {
            assert_eq!(text(&chain(c(asked))), expected, "{asked}");
        }
    }

    #[test]
    fn every_country_has_a_chain_of_other_supplied_countries_without_repeats() {
        for asked in Country::all() {
            let chain = chain(asked);
            assert!(!chain.is_empty() && chain.len() <= NEIGHBOURS + TAIL.len(), "{asked}");
            assert!(!chain.contains(&asked), "{asked} stands in for itself");
            assert_eq!(chain.iter().collect::<BTreeSet<_>>().len(), chain.len(), "{asked}: {}", text(&chain));
            assert!(chain.iter().all(|c| supplied(*c)), "{asked}: {}", text(&chain));
            if !SEEDS.iter().any(|(code, _)| *code == asked.as_str()) {
                assert!(chain.len() >= NEIGHBOURS, "{asked}");
                for last in TAIL.map(c) {
                    assert!(last == asked || chain.contains(&last), "{asked} without {last}");
                }
            }
        }
    }

    #[test]
    fn the_unsupplied_are_asked_for_but_never_offered() {
        assert_eq!(Country::all().filter(|c| !supplied(*c)).count(), 8);
        assert!(chain(c("ir")).len() >= 6);
        assert_eq!(ranked(c("tr"), ["sy", "iq", "tr", "ir"].map(c).into_iter()), []);
    }

    /// The formula was not made from the chains, so it can be held against them: in how many
    /// ordered pairs of each chain does it put the earlier country first?
    #[test]
    fn the_ranking_agrees_with_the_chains_set_by_hand() {
        let candidates: BTreeSet<Country> =
            SEEDS.iter().flat_map(|(asked, chain)| chain.iter().chain([asked])).map(|code| c(code)).collect();
        let (mut agree, mut pairs, mut misses) = (0, 0, Vec::new());
        for (asked, chain) in SEEDS {
            let ranked = ranked(c(asked), candidates.iter().copied());
            let place = |code: &str| ranked.iter().position(|r| *r == c(code)).unwrap();
            for (i, earlier) in chain.iter().enumerate() {
                for later in &chain[i + 1..] {
                    pairs += 1;
                    if place(earlier) < place(later) {
                        agree += 1;
                    } else {
                        misses.push(format!("{asked}: {earlier} {later}"));
                    }
                }
            }
        }
        assert_eq!(pairs, 65);
        assert_eq!(agree, 63, "{misses:?}");
    }

    #[test]
    fn computed_chains_name_near_countries_with_supply() {
        for (asked, first) in [("es", "pt"), ("pt", "es"), ("at", "de"), ("ca", "us"), ("nz", "au"), ("ie", "gb")] {
            assert_eq!(text(&chain(c(asked))).split(' ').next(), Some(first), "{asked}: {}", text(&chain(c(asked))));
        }
        assert_eq!(text(&chain(c("gb"))).split(' ').filter(|c| *c == "gb").count(), 0);
    }
}
