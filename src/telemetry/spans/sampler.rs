//! `[tracing] sample_ratio`: which requests are recorded. A caller who is known is followed, sampled or not as he says; everybody
//! else begins a trace here, so that nobody unknown writes into a trace or decides what is recorded.

use http::HeaderMap;

use super::Context;
use crate::config::problem::Problems;
use crate::config::sections::Config;

/// `[tracing]`, as far as requests are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Sampler {
    ratio: f64,
}

impl Sampler {
    /// Compiles it; the inner `None` = no traces. The outer one is an error.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Option<Self>> {
        let ratio = config.tracing.sample_ratio;
        if !(0.0..=1.0).contains(&ratio) {
            problems.error("tracing.sample_ratio", format!("{ratio} is no share")).help("0 is none, 1 is all, 0.05 is one of twenty");
            return None;
        }
        Some((!config.tracing.otlp_endpoint.is_empty()).then_some(Self { ratio }))
    }

    /// Of a request that is let through.
    #[must_use]
    pub fn admitted(self, is_known: bool, headers: &HeaderMap) -> Context {
        let followed = if is_known { Context::following(headers) } else { None };
        followed.unwrap_or_else(|| Context::root(self.is_drawn()))
    }

    /// Of one that goes nowhere; `None` = it is not recorded.
    #[must_use]
    pub fn answered(self) -> Option<Context> {
        self.is_drawn().then(|| Context::root(true))
    }

    fn is_drawn(self) -> bool {
        fastrand::f64() < self.ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(toml: &str) -> Result<Option<Sampler>, Problems> {
        let mut problems = Problems::default();
        Sampler::compile(&toml::from_str(toml).unwrap(), &mut problems).ok_or(problems)
    }

    #[test]
    fn without_an_endpoint_nothing_is_sampled_and_a_ratio_is_a_share() {
        assert!(matches!(compiled(""), Ok(None)));
        for (ratio, all) in [("0", false), ("0.0", false), ("1", true), ("1.0", true)] {
            let sampler = compiled(&format!("[tracing]\notlp_endpoint = \"http://a:4318\"\nsample_ratio = {ratio}")).unwrap().unwrap();
            assert!((0..100).all(|_| sampler.answered().is_some() == all), "{ratio}");
        }
        for bad in ["-0.1", "1.1", "nan", "inf"] {
            let refused = compiled(&format!("[tracing]\nsample_ratio = {bad}"));
            assert!(refused.is_err_and(|problems| problems.has_errors()), "{bad}");
        }
    }
}
