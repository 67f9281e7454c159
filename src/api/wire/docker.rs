//! The documents of Docker's routes.

use serde::Serialize;
use utoipa::ToSchema;

/// A login was accepted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = AuthReport)]
pub(crate) struct LoggedIn {
    /// Always empty.
    identity_token: &'static str,
    /// `Login Succeeded`.
    status: &'static str,
}

impl Default for LoggedIn {
    fn default() -> Self {
        Self { identity_token: "", status: "Login Succeeded" }
    }
}

/// Docker's form of an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct Message {
    /// The whole text.
    pub(crate) message: String,
}
