//! `?wait=5s`: the answer comes when every running sidecar has applied the change, or says which have not.

use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use crate::config::units::Span;

/// Where nobody says how long.
const PATIENCE: Span = Span::secs(5);
/// Longest wait.
const PATIENCE_MAX: Span = Span::secs(60);

/// How far a change is to have got before it is answered.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Wait until every running sidecar has applied it, for so long at most (60s; 5s where none is said); `confirmation` names those
    /// that have not
    #[param(value_type = Option<String>, example = "5s", pattern = "^([0-9]{1,4}ms|[1-5]?[0-9]s|60s|1m)?$")]
    #[serde(default, deserialize_with = "patience")]
    pub(super) wait: Option<Span>,
}

fn patience<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Span>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(Some(PATIENCE));
    }
    match text.parse::<Span>().map_err(serde::de::Error::custom)? {
        patience if patience <= PATIENCE_MAX => Ok(Some(patience)),
        patience => Err(serde::de::Error::custom(format_args!("`{patience}` is too long: at most {PATIENCE_MAX}"))),
    }
}
