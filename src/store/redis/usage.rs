//! Usage in Redis: of each key a hash of what was seen of it and a hash a day of what was counted, added by one script; and a capped
//! stream of denials. A flush is one pipeline, sent once: what the server refused is left, what it did not answer is given up.

mod read;
mod script;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use redis::streams::StreamRangeReply;
use redis::{Cmd, Pipeline, RedisResult, Value, cmd, pipe};
use tokio::time::timeout;

use super::RedisStore;
use super::connection::{Connection, LinkError};
use crate::store::codec::corrupt;
use crate::store::usage::{DENIALS_KEPT, Denial, DenialFilter, Flush, Flushed, KeyUsage, KeyUse, LastUse, Usages};
use crate::store::{Page, StoreError};
use crate::usage::Day;
use read::{key_usage, last_use, of_day};
pub(super) use script::Script;

/// Commands of one read.
const AT_ONCE: usize = 1_000;
/// Entries of the stream that are looked through at once.
const PAGE: usize = 500;
/// Nobody waits for a flush, and what is given up too early is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the server says before it has done anything: what was asked may be asked again.
const REFUSALS: [&str; 9] = ["READONLY", "LOADING", "OOM", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN", "BUSY"];

/// What became of one command.
enum Fate {
    Done,
    /// The server does not know the script.
    Unread,
    Refused(String),
    /// Perhaps in part.
    Failed(String),
}

impl Fate {
    fn of(answer: &Value) -> Self {
        let Value::ServerError(error) = answer else { return Self::Done };
        if error.code() == "NOSCRIPT" {
            return Self::Unread;
        }
        // Scripts of older servers wrap the code of a refused command into words of their own.
        let (code, details) = (error.code(), error.details().unwrap_or_default());
        let is = |word: &str| code == word || details.contains(&format!("-{word} "));
        let words = format!("{code} {details}");
        if REFUSALS.iter().any(|word| is(word)) { Self::Refused(words) } else { Self::Failed(words) }
    }
}

impl RedisStore {
    fn commands(&self, flush: &Flush) -> Pipeline {
        let mut commands = pipe();
        for of_key in &flush.keys {
            commands.add_command(self.add_command(of_key));
        }
        let stream = self.layout.denials();
        for denial in &flush.denials {
            let text = serde_json::to_string(denial).unwrap_or_default();
            commands.cmd("XADD").arg(&stream).arg("MAXLEN").arg("~").arg(DENIALS_KEPT).arg("*").arg("denial").arg(text);
        }
        commands
    }

    fn add_command(&self, of_key: &KeyUse) -> Cmd {
        let days: Vec<String> = of_key.days.iter().map(|(day, _)| self.layout.usage_of_day(&of_key.key, *day)).collect();
        self.usage.command(&self.layout.usage(&of_key.key), &days, of_key)
    }

    /// The answer to each command; an error says that nobody knows what was done.
    async fn answers_of(&self, mut connection: Connection, commands: &Pipeline) -> Result<Vec<Value>, LinkError> {
        let limit = self.link.command_timeout().max(PATIENCE);
        match timeout(limit, connection.send_all(commands)).await {
            Ok(answers) => answers.map_err(LinkError::Redis),
            Err(_) => Err(self.link.no_answer_within(limit)),
        }
    }

    /// Sends a flush, as far as there is anybody to send it to.
    async fn send(&self, flush: Flush, flushed: &mut Flushed) -> Flush {
        if flush.is_empty() {
            return flush;
        }
        let commands = self.commands(&flush);
        let reached = async {
            let mut connection = self.link.connection()?;
            connection.reach(&commands).await.map_err(LinkError::Redis)?;
            Ok::<_, LinkError>(connection)
        };
        let answers = match reached.await {
            Ok(connection) => self.answers_of(connection, &commands).await,
            Err(error) => {
                flushed.leave(flush, error.about("of usage"));
                return Flush::default();
            }
        };
        match answers {
            Ok(answers) => flushed.judge(flush, &answers),
            Err(error) => {
                flushed.unknown_requests += flush.keys.iter().map(KeyUse::requests).sum::<u64>();
                flushed.unknown_denials += flush.denials.len() as u64;
                flushed.error = Some(error.about("of usage"));
                Flush::default()
            }
        }
    }

    async fn load_script(&self) -> Result<(), StoreError> {
        let load = async |mut link: Connection| self.usage.load(&mut link).await;
        self.link.run(load).await.map_err(|error| error.about("of usage"))
    }

    /// Entries of the stream that are older than `before`, the newest first.
    async fn older_than(&self, before: Option<&str>) -> Result<Vec<(String, Option<Denial>)>, StoreError> {
        let from = before.map_or_else(|| "+".to_owned(), |before| format!("({before}"));
        let name = self.layout.denials();
        let range = async |mut link: Connection| -> RedisResult<StreamRangeReply> {
            cmd("XREVRANGE").arg(&name).arg(&from).arg("-").arg("COUNT").arg(PAGE).query_async(&mut link).await
        };
        let found = self.link.run(range).await.map_err(|error| error.about("of the denials"))?;
        let entry = |entry: redis::streams::StreamId| {
            let denial = entry.get::<String>("denial").and_then(|text| serde_json::from_str(&text).ok());
            (entry.id, denial)
        };
        Ok(found.ids.into_iter().map(entry).collect())
    }

    /// Hashes, each empty where there is none, or none of ours.
    async fn hashes(&self, names: Vec<String>) -> Result<Vec<HashMap<String, String>>, StoreError> {
        let commands: Vec<Cmd> = names.iter().map(|name| cmd("HGETALL").arg(name).take()).collect();
        let mut hashes = Vec::with_capacity(commands.len());
        for commands in commands.chunks(AT_ONCE) {
            hashes.extend(self.answers(commands.to_vec()).await?.into_iter().map(Result::unwrap_or_default));
        }
        Ok(hashes)
    }
}

impl Flushed {
    fn leave(&mut self, flush: Flush, error: StoreError) {
        self.left.keys.extend(flush.keys);
        self.left.denials.extend(flush.denials);
        self.error = Some(error);
    }

    fn failed(&mut self, why: String) {
        self.error = Some(StoreError::Unavailable(why));
    }

    /// Goes through the answers; what the server could not do for want of the script goes back.
    fn judge(&mut self, flush: Flush, answers: &[Value]) -> Flush {
        let mut again = Flush::default();
        let missing = || Fate::Failed("the server answered too little".to_owned());
        let mut fates = answers.iter().map(Fate::of);
        for of_key in flush.keys {
            match fates.next().unwrap_or_else(missing) {
                Fate::Done => {}
                Fate::Unread => again.keys.push(of_key),
                Fate::Refused(why) => {
                    self.left.keys.push(of_key);
                    self.failed(why);
                }
                Fate::Failed(why) => {
                    self.unknown_requests += of_key.requests();
                    self.failed(why);
                }
            }
        }
        for denial in flush.denials {
            match fates.next().unwrap_or_else(missing) {
                Fate::Done => {}
                Fate::Unread | Fate::Refused(_) => self.left.denials.push(denial),
                Fate::Failed(why) => {
                    self.unknown_denials += 1;
                    self.failed(why);
                }
            }
        }
        again
    }
}

#[async_trait]
impl Usages for RedisStore {
    async fn flush(&self, flush: Flush) -> Flushed {
        let mut flushed = Flushed::default();
        let again = self.send(flush, &mut flushed).await;
        // A server that does not know the script has not done anything. It is the same one with the next flush.
        if !again.is_empty() {
            match self.load_script().await {
                Ok(()) => {
                    let never = self.send(again, &mut flushed).await;
                    if !never.is_empty() {
                        flushed.leave(never, StoreError::Unavailable("the server forgets its scripts".into()));
                    }
                }
                Err(error) => flushed.leave(again, error),
            }
        }
        flushed
    }

    async fn usage(&self, keys: &[&str], from: Day, to: Day) -> Result<Vec<KeyUsage>, StoreError> {
        let days: Vec<Day> = from.until(to).collect();
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks((AT_ONCE / (days.len() + 1)).max(1)) {
            let mut names = Vec::new();
            for key in keys {
                names.push(self.layout.usage(key));
                names.extend(days.iter().map(|day| self.layout.usage_of_day(key, *day)));
            }
            let hashes = self.hashes(names).await?;
            all.extend(hashes.chunks(days.len() + 1).map(|of_key| {
                let (whole, of_days) = of_key.split_first().map_or((None, of_key), |(whole, days)| (Some(whole), days));
                let counted = days.iter().zip(of_days).filter_map(|(day, hash)| of_day(*day, hash)).collect();
                key_usage(whole.unwrap_or(&HashMap::new()), counted)
            }));
        }
        Ok(all)
    }

    async fn last_uses(&self, keys: &[&str]) -> Result<Vec<Option<LastUse>>, StoreError> {
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            let commands = keys.iter().map(|key| cmd("HGET").arg(self.layout.usage(key)).arg("last").take()).collect();
            let answers = self.answers::<Option<String>>(commands).await?;
            all.extend(answers.into_iter().map(|text| text.ok().flatten().as_deref().and_then(last_use)));
        }
        Ok(all)
    }

    async fn denials(&self, filter: &DenialFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Denial>, StoreError> {
        let mut page = Page { items: Vec::new(), next: None, unreadable: Vec::new() };
        let mut at = cursor.map(ToOwned::to_owned);
        loop {
            let entries = self.older_than(at.as_deref()).await?;
            let was_last = entries.len() < PAGE;
            for (id, denial) in entries {
                match denial {
                    Some(denial) if filter.takes(&denial) => page.items.push(denial),
                    Some(_) => {}
                    None => page.unreadable.push(corrupt(&id, "no denial")),
                }
                if page.items.len() >= limit {
                    page.next = Some(id);
                    return Ok(page);
                }
                at = Some(id);
            }
            if was_last {
                return Ok(page);
            }
        }
    }
}
