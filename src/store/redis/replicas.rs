//! `store.write_replicas`: whether replicas have a change. It is asked on a connection of its own, as WAIT blocks what it is sent on.

use redis::pipe;
use tokio::time::timeout;

use super::RedisStore;
use super::connection::LinkError;
use crate::store::codec::{RECORD_MAX, Record, parse};
use crate::store::{Replication, StoreError, Written};

impl RedisStore {
    pub(super) async fn wait_for_replicas(&self, written: Written<'_>) -> Result<Replication, StoreError> {
        match written {
            Written::Key(record) => self.wait_for(&self.layout.key(&record.id), record).await,
            Written::Tenant(record) => self.wait_for(&self.layout.tenant(&record.id), record).await,
            Written::Session(record) => self.wait_for(&self.layout.session(&record.id), record).await,
        }
    }

    /// WAIT speaks of what its own connection has written. So that appends nothing to the record, which is a write that changes
    /// nothing and comes after the change; and it looks whether the change is there: after a failover it may be lost.
    async fn wait_for<R: Record>(&self, name: &str, record: &R) -> Result<Replication, StoreError> {
        let wanted = self.write_replicas;
        if wanted == 0 {
            return Ok(Replication::default());
        }
        let limit = self.link.command_timeout();
        let mut questions = pipe();
        questions.cmd("APPEND").arg(name).arg("").ignore();
        questions.cmd("GETRANGE").arg(name).arg(0).arg(RECORD_MAX);
        questions.cmd("WAIT").arg(wanted).arg(limit.as_millis().max(1));
        let ask = async {
            let mut connection = self.link.dedicated().await?;
            questions.query_async::<(Vec<u8>, u32)>(&mut connection).await.map_err(LinkError::Redis)
        };
        // Its own deadline, and that of whoever waits for the master itself.
        let answer = timeout(limit * 2, ask).await.unwrap_or_else(|_| Err(self.link.no_answer_within(limit * 2)));
        let (text, acknowledged) = answer.map_err(|error| error.about(record.id()))?;
        let found = if text.is_empty() { 0 } else { parse::<R>(record.id(), &text)?.version() };
        if found < record.version() {
            return Err(StoreError::Conflict { found });
        }
        Ok(Replication { wanted, acknowledged })
    }
}
