//! `[cors]` (Fetch §3.3): preflights answered here, and the headers that let a page read answers, refusals too.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::policy::referrer::Referrers;

/// The compiled section.
#[derive(Debug)]
pub struct Cors {
    /// `None` = any.
    origins: Option<Referrers>,
    allow_headers: HeaderValue,
    expose_headers: HeaderValue,
    max_age: HeaderValue,
}

impl Cors {
    /// Compiles `[cors]`; the inner `None` where there is no such section.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Option<Self>> {
        let Some(section) = &config.cors else { return Some(None) };
        if section.origins.is_empty() {
            problems.error("cors.origins", "no origin: no page could read anything").help("name origins, \"*\", or drop [cors]");
            return None;
        }
        let any = section.origins.iter().any(|origin| origin == "*");
        let mut sound = true;
        let mut patterns = Vec::new();
        for (index, origin) in section.origins.iter().enumerate().filter(|(_, origin)| *origin != "*") {
            if let Err(why) = Referrers::parse(&[origin]) {
                problems.error(format!("cors.origins[{index}]"), why);
                sound = false;
            }
            patterns.push(origin.as_str());
        }
        let mut names = |path: &str, list: &[String]| {
            for (index, name) in list.iter().enumerate() {
                sound &= problems.parse::<HeaderName>(&format!("{path}[{index}]"), name).is_some();
            }
            HeaderValue::from_str(&list.join(", ")).ok()
        };
        let allow_headers = names("cors.allow_headers", &section.allow_headers);
        let expose_headers = names("cors.expose_headers", &section.expose_headers);
        let origins = if any { None } else { Some(Referrers::parse(&patterns).ok()?) };
        let max_age = HeaderValue::from(section.max_age.0.as_secs());
        (sound).then_some(Some(Self { origins, allow_headers: allow_headers?, expose_headers: expose_headers?, max_age }))
    }

    /// Sets what lets a page at this origin read the answer; replaces what the upstream may have set.
    pub fn expose(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        if self.allow(origin, headers) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.expose_headers.clone());
        }
    }

    /// The answer to a preflight: what the page may send. An origin that is not allowed gets an answer without leave.
    #[must_use]
    pub fn preflight(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let origin = request.get(header::ORIGIN);
        if origin.is_some_and(|origin| self.allow(origin, &mut headers)) {
            if let Some(method) = request.get(header::ACCESS_CONTROL_REQUEST_METHOD) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone());
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Method"));
        headers
    }

    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) -> bool {
        let value = match &self.origins {
            None => HeaderValue::from_static("*"),
            Some(allowed) => {
                headers.append(header::VARY, HeaderValue::from_static("Origin"));
                if !origin.to_str().is_ok_and(|origin| allowed.allow(origin)) {
                    headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                    return false;
                }
                origin.clone()
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(toml: &str) -> Cors {
        Cors::compile(&toml::from_str(toml).unwrap(), &mut Problems::default()).unwrap().unwrap()
    }

    fn exposed(cors: &Cors, origin: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://upstream.example"));
        cors.expose(&HeaderValue::from_static(origin), &mut headers);
        headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_named_origins_read_answers() {
        let cors = cors("[cors]\norigins = [\"https://*.shop.example\"]");
        assert_eq!(exposed(&cors, "https://a.shop.example").as_deref(), Some("https://a.shop.example"));
        assert_eq!(exposed(&cors, "https://evil.example"), None);
        assert_eq!(exposed(&cors, "null"), None);
    }

    #[test]
    fn a_star_is_any_origin_without_credentials() {
        let cors = cors("[cors]\norigins = [\"*\"]");
        assert_eq!(exposed(&cors, "https://evil.example").as_deref(), Some("*"));
        let mut request = HeaderMap::new();
        request.insert(header::ORIGIN, HeaderValue::from_static("https://a.example"));
        request.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        let answer = cors.preflight(&request);
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_METHODS], "POST");
        assert_eq!(answer[header::ACCESS_CONTROL_MAX_AGE], "600");
        assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn mistakes_are_reported() {
        for toml in ["[cors]", "[cors]\norigins = [\"shop.example\"]", "[cors]\norigins = [\"*\"]\nallow_headers = [\"a b\"]"] {
            let mut problems = Problems::default();
            assert!(Cors::compile(&toml::from_str(toml).unwrap(), &mut problems).is_none() && problems.has_errors(), "{toml}");
        }
    }
}
