//! One member of etcd, spoken to in JSON: lists of keys, authentication, the beginning of a watch.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use super::super::client::{Answer, Ask, Base, Client, Secret, Token};
use super::super::{Failure, Kind};
use super::Settings;
use super::watch::Watch;

/// Codes of gRPC, in which etcd tells its errors.
const FAILED_PRECONDITION: u64 = 9;
const UNAUTHENTICATED: u64 = 16;

/// A member.
#[derive(Debug)]
pub(super) struct Gateway {
    settings: Settings,
    client: Client,
    /// Whether the user has been made known to it; always so without one.
    is_known: bool,
}

/// What stands below the prefix.
#[derive(Debug)]
pub(super) struct Listed {
    /// The revision of the store.
    pub(super) revision: u64,
    /// How many keys there are.
    pub(super) count: u64,
    /// The keys that were asked for.
    pub(super) keys: Vec<Key>,
}

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: Vec<u8>,
    /// Its value; absent when it was not asked for, or the key is deleted.
    pub(super) value: Option<Vec<u8>>,
    /// The revision of its last change.
    pub(super) changed: u64,
}

impl Gateway {
    pub(super) fn new(base: &Base, settings: &Settings) -> Gateway {
        let client = Client::new(base.clone(), settings.tls.clone(), Token::None);
        Gateway { settings: settings.clone(), client, is_known: settings.username.is_empty() }
    }

    /// All keys with their values.
    pub(super) async fn list(&mut self) -> Result<Listed, Failure> {
        let range = Value::Object(self.range());
        listed(&self.ask("/v3/kv/range", &range).await?)
    }

    /// How many keys there are, and the name of the one that changed last.
    pub(super) async fn look(&mut self) -> Result<Listed, Failure> {
        let mut range = self.range();
        range.insert("keys_only".to_owned(), json!(true));
        range.insert("limit".to_owned(), json!(1));
        range.insert("sort_target".to_owned(), json!("MOD"));
        range.insert("sort_order".to_owned(), json!("DESCEND"));
        listed(&self.ask("/v3/kv/range", &Value::Object(range)).await?)
    }

    /// Watches from that revision on. A list has made the user known.
    pub(super) async fn watch(&mut self, revision: u64) -> Result<Watch, Failure> {
        let mut create = self.range();
        create.insert("start_revision".to_owned(), json!(revision.to_string()));
        // Otherwise one message holds all that changed at once, however long it is.
        create.insert("fragment".to_owned(), json!(true));
        let limit = self.settings.timeout.get();
        let ask = Ask::post("/v3/watch", &json!({ "create_request": create }), limit);
        Ok(Watch::new(self.client.lines(ask).await?))
    }

    /// All keys that begin with the prefix: from it to the next text that does not.
    fn range(&self) -> Map<String, Value> {
        let prefix = self.settings.prefix.as_bytes();
        let coded = |bytes: &[u8]| Value::String(STANDARD.encode(bytes));
        Map::from_iter([("key".to_owned(), coded(prefix)), ("range_end".to_owned(), coded(&end_of(prefix)))])
    }

    /// Asks, and once more after another authentication when the first one has run out.
    async fn ask(&mut self, path: &str, question: &Value) -> Result<Value, Failure> {
        let ask = Ask::post(path, question, self.settings.timeout.get());
        if self.is_known {
            let answer = self.client.ask(ask.clone()).await?;
            if self.settings.username.is_empty() || !is_unknown(&answer).await {
                return successful(answer).await;
            }
        }
        self.authenticate().await?;
        let answer = self.client.ask(ask).await?;
        if is_unknown(&answer).await {
            self.is_known = self.settings.username.is_empty();
        }
        successful(answer).await
    }

    /// Gets a token.
    async fn authenticate(&mut self) -> Result<(), Failure> {
        self.client.set_token(Token::None);
        let password = Secret::read(&self.settings.password_file).await?;
        let question = json!({ "name": self.settings.username, "password": password.0 });
        let ask = Ask::post("/v3/auth/authenticate", &question, self.settings.timeout.get());
        let answer = self.client.ask(ask).await?;
        // Where authentication is not enabled, clients of etcd go on without.
        if error_of(&answer).await.is_none_or(|(code, _)| code != FAILED_PRECONDITION) {
            let token = successful(answer).await?;
            let token = token.get("token").and_then(Value::as_str);
            let token = token.ok_or_else(|| Failure::new(Kind::Invalid, "etcd gave no token"))?;
            // As it is, with no scheme before it.
            self.client.set_token(Token::Given(AUTHORIZATION, Secret(token.to_owned())));
        }
        self.is_known = true;
        Ok(())
    }
}

/// The first text behind all that begin with the prefix; "\0" is none such, which stands for the end.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

/// The code and the text of an error. etcd 3.4 has the text in `error`, later ones in `message`.
async fn error_of(answer: &Answer) -> Option<(u64, String)> {
    if (200..300).contains(&answer.status) {
        return None;
    }
    let error = answer.json().await.ok()?;
    let text = error.get("message").or_else(|| error.get("error"))?.as_str()?.to_owned();
    Some((error.get("code")?.as_u64()?, text))
}

/// Whether the member does not know who asks: a token that has run out, or none.
async fn is_unknown(answer: &Answer) -> bool {
    let Some((code, text)) = error_of(answer).await else { return false };
    let is_none = text.contains("user name is empty");
    code == UNAUTHENTICATED || is_none || text.contains("auth store is old")
}

/// The answer when it is no error.
async fn successful(answer: Answer) -> Result<Value, Failure> {
    // A wrong password is a bad request to etcd.
    match error_of(&answer).await {
        Some((_, text)) if text.contains("authentication failed") || text.contains("user name is empty") => {
            Err(Failure::new(Kind::Denied, format!("etcd says: {text}")))
        }
        Some(_) | None => answer.successful()?.json().await,
    }
}

fn listed(answer: &Value) -> Result<Listed, Failure> {
    let keys = answer.get("kvs").and_then(Value::as_array);
    let listed = || {
        Some(Listed {
            revision: number(answer.pointer("/header/revision"))?,
            // Zero is left out, as all of proto3.
            count: number(answer.get("count")).unwrap_or(0),
            keys: keys.into_iter().flatten().map(key).collect::<Option<_>>()?,
        })
    };
    listed().ok_or_else(|| Failure::new(Kind::Invalid, "the answer is no list of keys"))
}

/// A key as JSON has it.
pub(super) fn key(key: &Value) -> Option<Key> {
    let bytes = |name: &str| key.get(name).and_then(Value::as_str).map(|text| STANDARD.decode(text).ok());
    Some(Key {
        name: bytes("key")??,
        // An empty value is left out.
        value: Some(bytes("value").unwrap_or_else(|| Some(Vec::new()))?),
        changed: number(key.get("mod_revision"))?,
    })
}

/// A number of 64 bits, which JSON of protobuf has as text.
pub(super) fn number(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_text_that_does_not_begin_with_it() {
        assert_eq!(end_of(b"/services/users/"), b"/services/users0");
        assert_eq!(end_of(b"a\xff\xff"), b"b");
        assert_eq!(end_of(b"\xff"), b"\0");
    }

    #[test]
    fn a_list_is_read_and_what_is_none_is_refused() {
        let answer = json!({ "header": { "revision": "7" }, "count": "1",
            "kvs": [{ "key": "L3MvYQ==", "mod_revision": "2", "value": "MS4yLjMuNDo1" }] });
        let listed = super::listed(&answer).unwrap();
        assert_eq!((listed.revision, listed.count), (7, 1));
        assert_eq!(listed.keys[0].name, b"/s/a");
        assert_eq!(listed.keys[0].value.as_deref(), Some(b"1.2.3.4:5".as_slice()));
        let empty = super::listed(&json!({ "header": { "revision": "7" } })).unwrap();
        assert_eq!((empty.count, empty.keys.len()), (0, 0));
        for wrong in [json!({}), json!([]), json!({ "header": { "revision": "7" }, "kvs": [{ "key": "%" }] })]
        {
            assert_eq!(super::listed(&wrong).unwrap_err().kind, Kind::Invalid, "{wrong}");
        }
    }
}
