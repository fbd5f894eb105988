//! The five tables. On AWS `template.yaml` makes them; here code does, for the embedded engine.
//! One test holds the two definitions equal.

use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveSpecification,
};

use crate::error::unavailable;
use crate::{Store, StoreError};

/// Name of the partition key of every table.
pub const PARTITION_KEY: &str = "pk";
/// Name of the sort key of every table.
pub const SORT_KEY: &str = "sk";
/// Name of the TTL attribute (epoch seconds) of every table that has one.
pub const TTL: &str = "ttl";

/// One of the five tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Customers, credentials, plans, lines, API keys, idempotency records.
    Accounts,
    /// Providers, addresses, free lists, assignments, intents, fallback overrides.
    Inventory,
    /// What an edge may write: budgets' spending, shares, counters, sessions; the change feed.
    Usage,
    /// Grants, packs, rollups, invoices: functions only.
    Billing,
    /// Append-only, hash-chained.
    Audit,
}

impl Table {
    /// All five.
    pub const ALL: [Self; 5] = [Self::Accounts, Self::Inventory, Self::Usage, Self::Billing, Self::Audit];

    /// Name without the prefix of the installation.
    #[must_use]
    pub fn base_name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Inventory => "inventory",
            Self::Usage => "usage",
            Self::Billing => "billing",
            Self::Audit => "audit",
        }
    }

    /// Name with the prefix of the installation.
    #[must_use]
    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}{}", self.base_name())
    }

    /// Whether expired items may be collected. Money and audit never expire by themselves.
    #[must_use]
    pub fn has_ttl(self) -> bool {
        matches!(self, Self::Accounts | Self::Inventory | Self::Usage)
    }
}

impl Store {
    /// Creates the tables that do not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn create_tables(&self) -> Result<(), StoreError> {
        for t in Table::ALL {
            let built = |e: aws_sdk_dynamodb::error::BuildError| StoreError::Unavailable(e.to_string());
            let mut call = self.db.create_table().table_name(self.table(t)).billing_mode(BillingMode::PayPerRequest);
            for (name, key) in [(PARTITION_KEY, KeyType::Hash), (SORT_KEY, KeyType::Range)] {
                let attribute = AttributeDefinition::builder()
                    .attribute_name(name)
                    .attribute_type(ScalarAttributeType::S)
                    .build()
                    .map_err(built)?;
                let element = KeySchemaElement::builder().attribute_name(name).key_type(key).build().map_err(built)?;
                call = call.attribute_definitions(attribute).key_schema(element);
            }
            match call.send().await {
                Ok(_) => {}
                Err(e) if matches!(e.as_service_error(), Some(CreateTableError::ResourceInUseException(_))) => continue,
                Err(e) => return Err(unavailable(&e)),
            }
            if t.has_ttl() {
                let ttl =
                    TimeToLiveSpecification::builder().attribute_name(TTL).enabled(true).build().map_err(built)?;
                self.db
                    .update_time_to_live()
                    .table_name(self.table(t))
                    .time_to_live_specification(ttl)
                    .send()
                    .await
                    .map_err(|e| unavailable(&e))?;
            }
        }
        Ok(())
    }
}
