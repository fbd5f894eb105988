//! Conditional writes, built once and used both alone and inside a transaction.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure as OnFailure, TransactWriteItem, Update,
};

use crate::error::Failure;
use crate::item::{Item, Key};
use crate::{Store, StoreError};

/// Condition: the item does not exist.
pub(crate) const ABSENT: &str = "attribute_not_exists(pk)";
/// Condition: the item exists.
pub(crate) const PRESENT: &str = "attribute_exists(pk)";

enum Verb {
    Put(Item),
    Update(String),
    Delete,
}

/// One conditional write on one item.
pub(crate) struct Write {
    key: Key,
    verb: Verb,
    condition: Option<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Write {
    fn of(key: Key, verb: Verb) -> Self {
        Self { key, verb, condition: None, names: HashMap::new(), values: HashMap::new() }
    }

    /// Puts `item` (already encoded at `key`).
    pub fn put(key: Key, item: Item) -> Self {
        Self::of(key, Verb::Put(item))
    }

    /// Updates by an expression.
    pub fn update(key: Key, expression: impl Into<String>) -> Self {
        Self::of(key, Verb::Update(expression.into()))
    }

    pub fn delete(key: Key) -> Self {
        Self::of(key, Verb::Delete)
    }

    pub fn when(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    pub fn name(mut self, placeholder: &str, name: impl Into<String>) -> Self {
        self.names.insert(placeholder.to_owned(), name.into());
        self
    }

    pub fn value(mut self, placeholder: &str, v: AttributeValue) -> Self {
        self.values.insert(placeholder.to_owned(), v);
        self
    }

    /// Adds an assignment to the `SET` clause that starts an update's expression.
    pub fn and_set(mut self, clause: &str, placeholder: &str, v: AttributeValue) -> Self {
        if let Verb::Update(expression) = &mut self.verb {
            let end = expression.find(" REMOVE").unwrap_or(expression.len());
            expression.insert_str(end, clause);
        }
        self.value(placeholder, v)
    }

    pub(crate) fn into_transact(self, store: &Store) -> Result<TransactWriteItem, StoreError> {
        let built = |e: aws_sdk_dynamodb::error::BuildError| StoreError::Unavailable(e.to_string());
        let table = store.table(self.key.table);
        let names = (!self.names.is_empty()).then_some(self.names);
        let values = (!self.values.is_empty()).then_some(self.values);
        let item = TransactWriteItem::builder();
        Ok(match self.verb {
            Verb::Put(i) => item.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(i))
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnFailure::AllOld)
                    .build()
                    .map_err(built)?,
            ),
            Verb::Update(expression) => item.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(self.key.attributes()))
                    .update_expression(expression)
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnFailure::AllOld)
                    .build()
                    .map_err(built)?,
            ),
            Verb::Delete => item.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(self.key.attributes()))
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnFailure::AllOld)
                    .build()
                    .map_err(built)?,
            ),
        }
        .build())
    }

    /// Sends this write alone. Returns the new item of an update, nothing for the others.
    pub async fn send(self, store: &Store) -> Result<Option<Item>, Failure> {
        let table = store.table(self.key.table);
        let names = (!self.names.is_empty()).then_some(self.names);
        let values = (!self.values.is_empty()).then_some(self.values);
        match self.verb {
            Verb::Put(item) => {
                store
                    .db
                    .put_item()
                    .table_name(table)
                    .set_item(Some(item))
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnFailure::AllOld)
                    .send()
                    .await?;
                Ok(None)
            }
            Verb::Update(expression) => {
                let out = store
                    .db
                    .update_item()
                    .table_name(table)
                    .set_key(Some(self.key.attributes()))
                    .update_expression(expression)
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew)
                    .return_values_on_condition_check_failure(OnFailure::AllOld)
                    .send()
                    .await?;
                Ok(out.attributes)
            }
            Verb::Delete => {
                store
                    .db
                    .delete_item()
                    .table_name(table)
                    .set_key(Some(self.key.attributes()))
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnFailure::AllOld)
                    .send()
                    .await?;
                Ok(None)
            }
        }
    }
}
