//! When a certificate ends, for whoever watches over it. Nothing is refused by it: rustls and the client judge.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::parse_x509_certificate;

/// When the first certificate of the chain in this file ends, in seconds since the Unix epoch; `None` if that cannot be read.
#[must_use]
pub fn of(file: &Path) -> Option<i64> {
    let chain = CertificateDer::pem_file_iter(file).ok()?;
    let ends = |certificate: CertificateDer<'_>| Some(parse_x509_certificate(&certificate).ok()?.1.validity().not_after.timestamp());
    chain.filter_map(Result::ok).filter_map(ends).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_ends_first_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("chain.pem");
        let ending = |year| {
            let mut asked = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            asked.not_after = rcgen::date_time_ymd(year, 1, 1);
            asked.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        std::fs::write(&file, ending(2040) + &ending(2030)).unwrap();
        assert_eq!(of(&file), Some(1_893_456_000));
        std::fs::write(&file, "").unwrap();
        assert_eq!(of(&file), None);
    }
}
