//! Items: how nouns become attributes, and the reads that all families share.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tollgate_domain::time::Timestamp;

use crate::error::unavailable;
use crate::tables::{PARTITION_KEY, SORT_KEY, TTL};
use crate::{Store, StoreError, Table};

pub(crate) type Item = HashMap<String, AttributeValue>;

/// Where an item lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub table: Table,
    pub pk: String,
    pub sk: String,
}

impl Key {
    pub fn new(table: Table, pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { table, pk: pk.into(), sk: sk.into() }
    }

    pub fn attributes(&self) -> Item {
        HashMap::from([(PARTITION_KEY.to_owned(), s(&self.pk)), (SORT_KEY.to_owned(), s(&self.sk))])
    }
}

pub(crate) fn s(v: impl ToString) -> AttributeValue {
    AttributeValue::S(v.to_string())
}

pub(crate) fn n(v: impl ToString) -> AttributeValue {
    AttributeValue::N(v.to_string())
}

/// `noun` as an item at `key`, collected some time after `ttl`.
pub(crate) fn encode<T: Serialize>(key: &Key, noun: &T, ttl: Option<Timestamp>) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(noun)
        .map_err(|e| StoreError::Corrupt { key: format!("{} {}", key.pk, key.sk), why: e.to_string() })?;
    item.extend(key.attributes());
    if let Some(t) = ttl {
        item.insert(TTL.to_owned(), n(t.as_secs()));
    }
    Ok(item)
}

/// A value as an attribute, for expressions.
pub(crate) fn value<T: Serialize>(v: &T) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(v)
        .map_err(|e| StoreError::Corrupt { key: "expression value".to_owned(), why: e.to_string() })
}

pub(crate) fn decode<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    let text = |k: &str| item.get(k).and_then(|v| v.as_s().ok()).cloned().unwrap_or_default();
    let key = format!("{} {}", text(PARTITION_KEY), text(SORT_KEY));
    serde_dynamo::from_item(item).map_err(|e| StoreError::Corrupt { key, why: e.to_string() })
}

/// The sort key of an item, for families that keep their data there.
pub(crate) fn sort_key(item: &Item) -> &str {
    item.get(SORT_KEY).and_then(|v| v.as_s().ok()).map_or("", String::as_str)
}

impl Store {
    /// The item at `key`, read consistently.
    pub(crate) async fn read<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        self.read_item(key).await?.map(decode).transpose()
    }

    pub(crate) async fn read_item(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let out = self
            .db
            .get_item()
            .table_name(self.table(key.table))
            .set_key(Some(key.attributes()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| unavailable(&e))?;
        Ok(out.item)
    }

    /// Items of partition `pk` with sort keys in `from..=to`, consistently, in order, to the end
    /// or to `limit`.
    pub(crate) async fn query(
        &self,
        table: Table,
        pk: &str,
        from: &str,
        to: &str,
        limit: Option<usize>,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut start = None;
        if from > to {
            return Ok(items);
        }
        loop {
            let page = limit.map(|l| i32::try_from(l - items.len()).unwrap_or(i32::MAX));
            let out = self
                .db
                .query()
                .table_name(self.table(table))
                .consistent_read(true)
                .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
                .expression_attribute_names("#pk", PARTITION_KEY)
                .expression_attribute_names("#sk", SORT_KEY)
                .expression_attribute_values(":pk", s(pk))
                .expression_attribute_values(":from", s(from))
                .expression_attribute_values(":to", s(to))
                .set_limit(page)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|e| unavailable(&e))?;
            items.extend(out.items.unwrap_or_default());
            start = out.last_evaluated_key;
            if start.is_none() || limit.is_some_and(|l| items.len() >= l) {
                return Ok(items);
            }
        }
    }

    /// All items of partition `pk` whose sort key starts with `prefix`.
    pub(crate) async fn query_prefix(&self, table: Table, pk: &str, prefix: &str) -> Result<Vec<Item>, StoreError> {
        // U+10FFFF sorts after every character of our keys; an empty bound is not a valid key.
        let from = if prefix.is_empty() { "\u{1}" } else { prefix };
        self.query(table, pk, from, &format!("{prefix}\u{10FFFF}"), None).await
    }
}

/// A line key as the map that its serialised form is.
pub(crate) fn line_value(line: &tollgate_domain::id::LineKey) -> AttributeValue {
    AttributeValue::M(HashMap::from([("customer".to_owned(), s(&line.customer)), ("label".to_owned(), s(&line.label))]))
}
