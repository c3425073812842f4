//! The sidecars that serve from this store, in a hash: each writes itself down once a second. Times are the server's,
//! so that clocks of machines do not matter.

use std::time::Duration;

use redis::cmd;

use super::RedisStore;
use crate::store::StoreError;
use crate::store::instance::{Instance, Seen};

const WHAT: &str = "of the sidecars";

impl RedisStore {
    pub(super) async fn write_down(&self, instance: &Instance, first: bool) -> Result<u64, StoreError> {
        let text = serde_json::to_string(instance).map_err(|error| super::corrupt(&instance.id, error.to_string()))?;
        let name = self.layout.instances();
        let mut beat = self.scripts.beat.prepare_invoke();
        beat.key(&name).arg(&instance.id).arg(text).arg(u8::from(first));
        self.link.run(async |mut link| beat.invoke_async(&mut link).await).await.map_err(|error| error.about(WHAT))
    }

    pub(super) async fn strike_out(&self, instance: &str) -> Result<(), StoreError> {
        let name = self.layout.instances();
        let strike = async |mut link| cmd("HDEL").arg(&name).arg(instance).query_async(&mut link).await;
        self.link.run::<()>(strike).await.map_err(|error| error.about(WHAT))
    }

    pub(super) async fn written_down(&self) -> Result<Vec<Seen>, StoreError> {
        let name = self.layout.instances();
        let mut read = self.scripts.instances.prepare_invoke();
        read.key(&name);
        let read = self.link.run(async |mut link| read.invoke_async::<Vec<(u64, String)>>(&mut link).await).await;
        let read = read.map_err(|error| error.about(WHAT))?.into_iter();
        // One that cannot be read is of another release, or of nobody: it is not waited for.
        let seen = read
            .filter_map(|(silent, text)| Some(Seen { instance: serde_json::from_str(&text).ok()?, silent: Duration::from_millis(silent) }));
        Ok(seen.collect())
    }
}
