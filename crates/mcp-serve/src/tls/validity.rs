//! From when until when a certificate holds (RFC 5280 section 4.1.2.5).

use der::{
    Decode as _, Reader, SliceReader, Tag, TagNumber,
    asn1::{AnyRef, GeneralizedTime, UtcTime},
};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

/// The first and the last second at which a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Validity {
    /// Reads it from a certificate, or says what is wrong with the certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed = SliceReader::new(certificate).and_then(|mut reader| {
            let (body, _, _) = reader.sequence(|outer| {
                let body = AnyRef::decode(outer)?;
                Ok::<_, der::Error>((body, AnyRef::decode(outer)?, AnyRef::decode(outer)?))
            })?;
            body.sequence(|fields| {
                let version = Tag::ContextSpecific {
                    constructed: true,
                    number: TagNumber(0),
                };
                if Tag::peek(fields)? == version {
                    fields.tlv_bytes()?;
                }
                // The serial number, the algorithm of the signature, and the issuer.
                for _ in 0..3 {
                    fields.tlv_bytes()?;
                }
                let dates =
                    fields.sequence(|dates| Ok::<_, der::Error>((time(dates)?, time(dates)?)))?;
                while !fields.is_finished() {
                    fields.tlv_bytes()?;
                }
                Ok::<_, der::Error>(dates)
            })
        });
        let (not_before, not_after) = parsed.map_err(|error| error.to_string())?;
        let stamp = |seconds| Timestamp::from_second(seconds).map_err(|error| error.to_string());
        Ok(Self {
            not_before: stamp(not_before)?,
            not_after: stamp(not_after)?,
        })
    }
}

/// Whether `certificate` holds at `now`.
pub(crate) fn is_current(certificate: &CertificateDer<'_>, now: Timestamp) -> bool {
    Validity::of(certificate).is_ok_and(|it| it.not_before <= now && now <= it.not_after)
}

/// Seconds since 1970.
fn time(reader: &mut SliceReader<'_>) -> der::Result<i64> {
    let since_1970 = if Tag::peek(reader)? == Tag::UtcTime {
        UtcTime::decode(reader)?.to_unix_duration()
    } else {
        GeneralizedTime::decode(reader)?.to_unix_duration()
    };
    Ok(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(from: (i32, u8), until: (i32, u8)) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, 1);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn dates_are_read_in_both_of_their_forms() {
        // Up to 2049 they have a year of two digits, afterwards one of four.
        let validity = Validity::of(&made((1999, 2), (2049, 3))).unwrap();
        assert_eq!(validity.not_before, at("1999-02-01T00:00:00Z"));
        assert_eq!(validity.not_after, at("2049-03-01T00:00:00Z"));
        let validity = Validity::of(&made((2050, 4), (4096, 5))).unwrap();
        assert_eq!(validity.not_before, at("2050-04-01T00:00:00Z"));
        assert_eq!(validity.not_after, at("4096-05-01T00:00:00Z"));
    }

    #[test]
    fn a_certificate_holds_between_its_dates() {
        let certificate = made((2026, 1), (2027, 1));
        for (now, holds) in [
            ("2025-12-31T23:59:59Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2027-01-01T00:00:00Z", true),
            ("2027-01-01T00:00:01Z", false),
        ] {
            assert_eq!(is_current(&certificate, at(now)), holds, "{now}");
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_is_no_certificate() {
        let whole = made((2026, 1), (2027, 1));
        for length in 0..whole.len() {
            let cut = CertificateDer::from(whole[..length].to_vec());
            assert!(Validity::of(&cut).is_err(), "{length}");
        }
    }
}
