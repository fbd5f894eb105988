//! What can go wrong apart from conditions that do not hold.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// The store could not do what was asked; nothing is known to have changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached, is throttling, or conflicts did not end within the retries. A
    /// write may or may not have been applied: its transition is safe to repeat.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// An item is not of the shape this version writes.
    #[error("unreadable item {key}: {why}")]
    Corrupt {
        /// Which item.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A failed call, as transitions look at it.
pub(crate) enum Failure {
    /// A condition did not hold: position in the transaction (0 for single writes) and the old
    /// item where it was asked for, one per failed condition.
    Condition(Vec<(usize, Option<crate::item::Item>)>),
    /// Another transaction holds an item: nothing was applied, try again.
    Conflict,
    /// Anything else.
    Store(StoreError),
}

/// Whether the service says that another transaction was in the way.
fn is_conflict(code: &str) -> bool {
    matches!(code, "TransactionConflictException" | "TransactionConflict" | "TransactionInProgressException")
}

pub(crate) fn unavailable<E, R>(e: &SdkError<E, R>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    StoreError::Unavailable(format!("{}", DisplayErrorContext(e)))
}

macro_rules! single_write_failure {
    ($err:ident) => {
        impl From<SdkError<$err>> for Failure {
            fn from(e: SdkError<$err>) -> Self {
                if let Some(service) = e.as_service_error() {
                    if let $err::ConditionalCheckFailedException(c) = service {
                        return Failure::Condition(vec![(0, c.item().cloned())]);
                    }
                    if service.code().is_some_and(is_conflict) {
                        return Failure::Conflict;
                    }
                }
                Failure::Store(unavailable(&e))
            }
        }
    };
}

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;

single_write_failure!(PutItemError);
single_write_failure!(UpdateItemError);
single_write_failure!(DeleteItemError);

impl From<SdkError<TransactWriteItemsError>> for Failure {
    fn from(e: SdkError<TransactWriteItemsError>) -> Self {
        if let Some(service) = e.as_service_error() {
            if let TransactWriteItemsError::TransactionCanceledException(c) = service {
                let reasons = c.cancellation_reasons();
                let failed = reasons
                    .iter()
                    .enumerate()
                    .filter(|(_, r)| r.code() == Some("ConditionalCheckFailed"))
                    .map(|(n, r)| (n, r.item().cloned()))
                    .collect::<Vec<_>>();
                if !failed.is_empty() {
                    return Failure::Condition(failed);
                }
                if reasons.iter().any(|r| r.code().is_some_and(is_conflict)) {
                    return Failure::Conflict;
                }
            }
            if service.code().is_some_and(is_conflict) {
                return Failure::Conflict;
            }
        }
        Failure::Store(unavailable(&e))
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Failure::Store(e)
    }
}
