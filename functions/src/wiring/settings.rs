//! What a function's environment says.

/// The settings of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `TABLE_PREFIX`: what the names of the five tables start with.
    pub table_prefix: String,
    /// `SECRET_PREFIX`: what the names of secrets start with, without the `/` after it.
    pub secret_prefix: String,
    /// `EVENT_BUS`: name of the bus for events.
    pub event_bus: String,
    /// `ASSIGN_FUNCTION`: name of the function that goes on with a walk.
    pub assign_function: String,
    /// `RECONCILE_FUNCTION`: name of the function that looks at providers' lists.
    pub reconcile_function: String,
    /// `EDGE_ENDPOINT`: `host:port` of the gateway that customers use.
    pub edge_endpoint: String,
    /// `PRIVATE_SOURCES`: `true` where customers may list source addresses of special ranges
    /// (edges inside a private network). Anything else, or nothing: they may not.
    pub private_sources: bool,
}

/// A setting is not in the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set: set it on the function, as template.yaml does")]
pub struct MissingSetting(pub &'static str);

impl Settings {
    /// Reads the settings through `get`.
    ///
    /// # Errors
    /// [`MissingSetting`] with the first one that is absent.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, MissingSetting> {
        let read = |name: &'static str| get(name).ok_or(MissingSetting(name));
        Ok(Self {
            table_prefix: read("TABLE_PREFIX")?,
            secret_prefix: read("SECRET_PREFIX")?,
            event_bus: read("EVENT_BUS")?,
            assign_function: read("ASSIGN_FUNCTION")?,
            reconcile_function: read("RECONCILE_FUNCTION")?,
            edge_endpoint: read("EDGE_ENDPOINT")?,
            private_sources: get("PRIVATE_SOURCES").as_deref() == Some("true"),
        })
    }
}
