//! Buckets of limits that a fleet counts together, one string each, gone by itself when it says nothing any more.

use super::RedisStore;
use crate::config::sections::QuotaPeriod;
use crate::store::StoreError;
use crate::store::draw::{Budget, Draw, Drawn};

impl RedisStore {
    pub(super) async fn draw_from(&self, draw: &Draw<'_>) -> Result<Drawn, StoreError> {
        let (kind, requests, per_ms, capacity) = match draw.budget {
            Budget::Rate { requests, per_ms, capacity } => ("rate", requests, per_ms, capacity),
            Budget::Quota { requests, period: QuotaPeriod::Day } => ("day", requests, 0, 0),
            Budget::Quota { requests, period: QuotaPeriod::Month } => ("month", requests, 0, 0),
        };
        let name = self.layout.limit(draw.name);
        let mut asked = self.scripts.draw.prepare_invoke();
        asked.key(&name).arg(kind).arg(requests).arg(per_ms).arg(capacity).arg(draw.want).arg(draw.back).arg(draw.of);
        let answer = self.link.run(async |mut link| asked.invoke_async::<(u64, u64, u64, i64, u64)>(&mut link).await).await;
        let (granted, left, wait_ms, period, ends_in_ms) = answer.map_err(|error| error.about(draw.name))?;
        Ok(Drawn { granted: granted.min(draw.want), left, wait_ms, period, ends_in_ms })
    }
}
