//! Amazon RDS: which hosts are its, and the authorities that sign its servers' certificates.
//!
//! The authorities travel in the program, since no system trusts them: `amazon-rds.pem`, renewed by `scripts/rds-roots.sh`. A build may put another
//! PEM file in its place.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::der::Decode;

const ROOTS: &[u8] = include_bytes!("amazon-rds.pem");

/// The DNS suffix of each of AWS' partitions: commercial and GovCloud, China, the European Sovereign Cloud, and the isolated ones.
///
/// Source: `dnsSuffix` in the SDKs' `partitions.json`.
const SUFFIXES: [&str; 7] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
];

/// A host of Amazon RDS, known by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its region; none for the writer of a global database, whose name has none.
    pub region: Option<String>,
    /// Whether it is an RDS Proxy, which has certificates of AWS Certificate Manager and not of RDS: the system's authorities verify it.
    pub proxy: bool,
}

impl Endpoint {
    /// The endpoint that a host name is, if it is one.
    ///
    /// `NAME.ID.REGION.rds.SUFFIX`, in China and the isolated regions also `NAME.ID.rds.REGION.SUFFIX`; a proxy's ID begins with `proxy-`. Source: the
    /// RDS and Aurora user guides (endpoints, RDS Proxy endpoints) and `RdsUtils` of AWS' own JDBC wrapper.
    pub fn of(host: &str) -> Option<Endpoint> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let before = SUFFIXES
            .iter()
            .find_map(|suffix| host.strip_suffix(suffix)?.strip_suffix('.'))?;
        let labels: Vec<&str> = before.split('.').collect();
        let (database, region) = match labels.as_slice() {
            [database @ .., region, "rds" | "rds-fips"] | [database @ .., "rds" | "rds-fips", region] => {
                (database, *region)
            }
            _ => return None,
        };
        // Without a name before it, it is the address of the service's own API.
        let [.., id] = database else { return None };
        Some(Endpoint {
            region: region
                .ends_with(|c: char| c.is_ascii_digit())
                .then(|| region.to_owned()),
            proxy: database.len() > 1 && id.starts_with("proxy-"),
        })
    }

    /// Where Amazon publishes the authorities of this endpoint's partition.
    ///
    /// Source: the RDS user guides of the partitions, "Using SSL/TLS to encrypt a connection".
    fn bundle(&self) -> &'static str {
        match self.region.as_deref() {
            Some(region) if region.starts_with("cn-") => {
                "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem"
            }
            Some(region) if region.starts_with("us-gov-") => {
                "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem"
            }
            _ => "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem",
        }
    }

    /// What to say when none of the embedded authorities has signed the server's certificate.
    pub(super) fn untrusted(&self) -> String {
        let embedded = regions();
        let known = match &self.region {
            Some(region) if embedded.contains(region) => {
                format!("none of Amazon's RDS roots in this program, which has those of {region}, has signed it")
            }
            Some(region) => format!(
                "Amazon's RDS roots of {region} are not in this program (those of {} are)",
                embedded.join(", ")
            ),
            None => format!(
                "none of Amazon's RDS roots in this program (of {}) has signed it",
                embedded.join(", ")
            ),
        };
        format!(
            "{known}; Amazon publishes them at {}: give that file in DB_CA_FILE, or as sslrootcert in DATABASE_URL",
            self.bundle()
        )
    }
}

/// The embedded authorities, to verify with. What cannot be parsed is left out, so that one new kind of certificate does not cost the others.
pub(super) fn roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates());
    store
}

fn certificates() -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(ROOTS).filter_map(Result::ok)
}

/// The regions that the embedded authorities are of, sorted.
fn regions() -> Vec<String> {
    let mut regions: Vec<String> = certificates().filter_map(|certificate| region(&certificate)).collect();
    regions.sort();
    regions.dedup();
    regions
}

/// The region in an authority's name: `CN=Amazon RDS eu-west-1 Root CA RSA2048 G1`.
fn region(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate.subject.to_string();
    let (_, name) = subject.split_once("CN=Amazon RDS ")?;
    Some(name.split(' ').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};
    use x509_cert::Certificate;

    #[test]
    fn hosts_of_rds_and_others() {
        let database = |region: &str| Some((Some(region.to_owned()), false));
        let proxy = |region: &str| Some((Some(region.to_owned()), true));
        for (host, expected) in [
            ("shop.c9akciq32.eu-west-1.rds.amazonaws.com", database("eu-west-1")),
            ("SHOP.C9AKCIQ32.EU-West-1.RDS.AmazonAWS.com.", database("eu-west-1")),
            (
                "shop.cluster-c9akciq32.us-east-2.rds.amazonaws.com",
                database("us-east-2"),
            ),
            (
                "shop.cluster-ro-c9akciq32.us-east-2.rds.amazonaws.com",
                database("us-east-2"),
            ),
            (
                "shop.cluster-custom-c9a.us-east-2.rds.amazonaws.com",
                database("us-east-2"),
            ),
            ("shop.shardgrp-c9a.us-east-2.rds.amazonaws.com", database("us-east-2")),
            ("shop.global-c9a.global.rds.amazonaws.com", Some((None, false))),
            ("shop.c9a.us-gov-west-1.rds.amazonaws.com", database("us-gov-west-1")),
            ("shop.c9a.rds.us-gov-west-1.amazonaws.com", database("us-gov-west-1")),
            ("shop.c9a.rds.cn-north-1.amazonaws.com.cn", database("cn-north-1")),
            (
                "shop.c9a.cn-northwest-1.rds.amazonaws.com.cn",
                database("cn-northwest-1"),
            ),
            ("shop.c9a.eusc-de-east-1.rds.amazonaws.eu", database("eusc-de-east-1")),
            ("shop.c9a.rds.us-iso-east-1.c2s.ic.gov", database("us-iso-east-1")),
            ("shop.c9a.us-isob-east-1.rds.sc2s.sgov.gov", database("us-isob-east-1")),
            ("shop.c9a.eu-west-1.rds-fips.amazonaws.com", database("eu-west-1")),
            ("shop.proxy-c9a.eu-west-1.rds.amazonaws.com", proxy("eu-west-1")),
            (
                "reader.endpoint.proxy-c9a.eu-west-1.rds.amazonaws.com",
                proxy("eu-west-1"),
            ),
            ("shop.proxy-c9a.rds.cn-north-1.amazonaws.com.cn", proxy("cn-north-1")),
            // An instance may be called what it likes.
            ("proxy-1.c9a.eu-west-1.rds.amazonaws.com", database("eu-west-1")),
            ("proxy-1.eu-west-1.rds.amazonaws.com", database("eu-west-1")),
            ("rds.eu-west-1.amazonaws.com", None),
            ("eu-west-1.rds.amazonaws.com", None),
            ("rds.amazonaws.com", None),
            ("shop.c9a.eu-west-1.rds.amazonaws.com.evil.example", None),
            ("shop.c9a.eu-west-1.rds.evilamazonaws.com", None),
            ("shop.c9a.eu-west-1.notrds.amazonaws.com", None),
            ("shop.c9a.eu-west-1.redshift.amazonaws.com", None),
            ("vpce-0a.rds.eu-west-1.vpce.amazonaws.com", None),
            ("db.example.com", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("", None),
        ] {
            let found = Endpoint::of(host).map(|endpoint| (endpoint.region, endpoint.proxy));
            assert_eq!(found, expected, "{host}");
        }
    }

    #[test]
    fn an_unknown_issuer_is_explained_by_the_region() {
        let says = |host: &str| Endpoint::of(host).unwrap().untrusted();
        let known = says("shop.c9a.eu-west-1.rds.amazonaws.com");
        assert!(known.contains("which has those of eu-west-1"), "{known}");
        assert!(
            known.contains("https://truststore.pki.rds.amazonaws.com/global/"),
            "{known}"
        );
        let china = says("shop.c9a.rds.cn-north-1.amazonaws.com.cn");
        assert!(
            china.contains("of cn-north-1 are not in this program (those of af-south-1, "),
            "{china}"
        );
        assert!(
            china.contains("https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/"),
            "{china}"
        );
        let gov = says("shop.c9a.us-gov-west-1.rds.amazonaws.com");
        assert!(
            gov.contains("https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/"),
            "{gov}"
        );
        let global = says("shop.global-c9a.global.rds.amazonaws.com");
        for text in [known, china, gov, global] {
            assert!(text.contains("DB_CA_FILE") && text.contains("sslrootcert"), "{text}");
        }
    }

    /// The common names of those that are valid for less than `ahead` at `now`.
    fn expiring(now: SystemTime, ahead: Duration) -> Vec<String> {
        let until = now.duration_since(SystemTime::UNIX_EPOCH).unwrap() + ahead;
        certificates()
            .map(|certificate| Certificate::from_der(&certificate).unwrap().tbs_certificate)
            .filter(|certificate| certificate.validity.not_after.to_unix_duration() < until)
            .map(|certificate| certificate.subject.to_string())
            .collect()
    }

    #[test]
    fn none_of_the_roots_is_about_to_expire() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let expiring_soon = expiring(SystemTime::now(), days(180));
        assert!(
            expiring_soon.is_empty(),
            "these of Amazon's RDS roots expire within 180 days: run scripts/rds-roots.sh, commit src/database/tls/amazon-rds.pem and release \
             (CONTRIBUTING.md, \"Amazon's RDS roots\"): {expiring_soon:?}"
        );
        // That it would be seen: all of them end in 2121 or 2122, or in 2061 or 2062.
        let in_2062 = SystemTime::UNIX_EPOCH + days(365 * 92 + 23);
        assert_eq!(expiring(in_2062, days(366)).len(), roots().len() / 3);
    }

    #[test]
    fn the_roots_are_authorities_of_regions_and_each_is_there_once() {
        let all: Vec<_> = CertificateDer::pem_slice_iter(ROOTS).collect::<Result<_, _>>().unwrap();
        assert_eq!(roots().len(), all.len());
        let mut distinct = all.clone();
        distinct.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
        for certificate in &all {
            let name = region(certificate).expect("the name of an Amazon RDS authority");
            let at = format!("shop.c9a.{name}.rds.amazonaws.com");
            assert_eq!(Endpoint::of(&at).unwrap().region, Some(name));
        }
        let regions = regions();
        for region in ["eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-southeast-2"] {
            assert!(regions.iter().any(|known| known == region), "{region}");
        }
    }
}
