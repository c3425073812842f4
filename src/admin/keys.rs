//! Keys: `/admin/v1/keys` and what is below.

pub(super) mod create;
pub(super) mod list;
pub(super) mod show;

use http::StatusCode;

use super::answer::Record;
use super::call::Call;
use crate::key::record::KeyRecord;
use crate::key::shown;

/// A key, as it is shown.
fn answer(call: &Call, record: &KeyRecord) -> Record {
    Record { status: StatusCode::OK, shown: shown::key(record, None, call.now()) }
}
