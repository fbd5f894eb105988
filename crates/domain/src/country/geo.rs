//! Where countries lie, and how well one stands in for another.

use super::Country;

/// What the ranking knows of a country.
pub(super) struct Row {
    pub(super) code: &'static str,
    pub(super) name: &'static str,
    /// Centre of population, in hundredths of a degree north.
    pub(super) lat: i16,
    /// Centre of population, in hundredths of a degree east.
    pub(super) lon: i16,
    pub(super) subregion: Subregion,
    /// Relative supply of proxies, in thousandths; 0 = nobody lives there.
    pub(super) supply: u16,
    /// Codes of the land neighbours.
    pub(super) borders: &'static str,
    /// Languages spoken, primary subtags.
    pub(super) languages: &'static str,
}

/// UN M49's intermediate regions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subregion {
    EasternAfrica,
    MiddleAfrica,
    NorthernAfrica,
    SouthernAfrica,
    WesternAfrica,
    Caribbean,
    CentralAmerica,
    NorthernAmerica,
    SouthAmerica,
    Antarctica,
    CentralAsia,
    EasternAsia,
    SouthEasternAsia,
    SouthernAsia,
    WesternAsia,
    EasternEurope,
    NorthernEurope,
    SouthernEurope,
    WesternEurope,
    AustraliaAndNewZealand,
    Melanesia,
    Micronesia,
    Polynesia,
}

#[derive(PartialEq, Eq)]
enum Region {
    Africa,
    Americas,
    Antarctica,
    Asia,
    Europe,
    Oceania,
}

impl Subregion {
    fn region(self) -> Region {
        use Subregion as S;
        match self {
            S::EasternAfrica | S::MiddleAfrica | S::NorthernAfrica | S::SouthernAfrica | S::WesternAfrica => {
                Region::Africa
            }
            S::Caribbean | S::CentralAmerica | S::NorthernAmerica | S::SouthAmerica => Region::Americas,
            S::Antarctica => Region::Antarctica,
            S::CentralAsia | S::EasternAsia | S::SouthEasternAsia | S::SouthernAsia | S::WesternAsia => Region::Asia,
            S::EasternEurope | S::NorthernEurope | S::SouthernEurope | S::WesternEurope => Region::Europe,
            S::AustraliaAndNewZealand | S::Melanesia | S::Micronesia | S::Polynesia => Region::Oceania,
        }
    }
}

/// Mean radius of the Earth (IUGG), in kilometres.
const EARTH_KM: f64 = 6371.0088;

/// Great-circle distance of the centres of population, in kilometres.
fn distance_km(a: &Row, b: &Row) -> f64 {
    let rad = |hundredths: i16| (f64::from(hundredths) / 100.0).to_radians();
    let (lat_a, lat_b) = (rad(a.lat), rad(b.lat));
    let (d_lat, d_lon) = (lat_b - lat_a, rad(b.lon) - rad(a.lon));
    let h = (d_lat / 2.0).sin().powi(2) + lat_a.cos() * lat_b.cos() * (d_lon / 2.0).sin().powi(2);
    2.0 * EARTH_KM * h.sqrt().min(1.0).asin()
}

/// How badly `other` stands in for `asked`: distance, made smaller by a common border, region or
/// language and by a large supply. `None` where nobody lives, so nothing is sold.
///
/// The factors were fitted by hand to the published chains; 200 km keeps close neighbours from
/// being told apart by noise.
pub(super) fn cost(asked: Country, other: Country) -> Option<f64> {
    let (a, b) = (asked.row(), other.row());
    if b.supply == 0 {
        return None;
    }
    let mut cost = distance_km(a, b) + 200.0;
    if words(a.borders).any(|code| code == b.code) {
        cost *= 0.2;
    }
    if a.subregion == b.subregion {
        cost *= 0.6;
    }
    if a.subregion.region() == b.subregion.region() {
        cost *= 0.5;
    }
    if words(a.languages).any(|l| words(b.languages).any(|m| l == m)) {
        cost *= 0.8;
    }
    Some(cost / (f64::from(b.supply) / 1000.0).sqrt())
}

fn words(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::super::TABLE;
    use super::*;

    fn c(code: &str) -> Country {
        Country::parse(code).unwrap()
    }

    #[test]
    fn distances_are_those_of_the_globe() {
        let km = |a: &str, b: &str| distance_km(c(a).row(), c(b).row());
        assert!((400.0..800.0).contains(&km("be", "fr")), "{}", km("be", "fr"));
        assert!((15_000.0..18_000.0).contains(&km("gb", "au")), "{}", km("gb", "au"));
        // Across the date line, not around the world.
        assert!((500.0..2_000.0).contains(&km("fj", "ws")), "{}", km("fj", "ws"));
        assert!(km("us", "us") < 0.001);
    }

    #[test]
    fn borders_are_mutual_and_of_known_countries() {
        for row in &TABLE {
            for code in words(row.borders) {
                let there = c(code).row();
                assert_eq!(there.code, code, "{} borders an alias", row.code);
                assert!(words(there.borders).any(|b| b == row.code), "{} – {code}", row.code);
                assert_ne!(code, row.code);
            }
            assert!(row.lat.abs() <= 9_000 && row.lon.abs() <= 18_000, "{}", row.code);
        }
    }

    #[test]
    fn nothing_is_sold_where_nobody_lives() {
        for code in ["aq", "bv", "hm", "um"] {
            assert_eq!(cost(c("za"), c(code)), None, "{code}");
            assert!(cost(c(code), c("za")).is_some());
        }
    }

    #[test]
    fn what_two_countries_share_brings_them_nearer() {
        let per_km = |a: &str, b: &str| cost(c(a), c(b)).unwrap() / (distance_km(c(a).row(), c(b).row()) + 200.0);
        let near = |x: f64, y: f64| (x - y).abs() < 1e-9;
        assert!(near(per_km("jp", "cl"), 1.0), "nothing shared");
        assert!(near(per_km("jp", "mn"), 0.6 * 0.5), "subregion");
        assert!(near(per_km("jp", "kg"), 0.5), "region");
        assert!(near(per_km("es", "pt"), 0.2 * 0.6 * 0.5), "border and subregion");
        assert!(near(per_km("es", "cl"), 0.8), "language");
    }
}
