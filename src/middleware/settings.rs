//! What a named middleware does, as written in `[middleware.NAME.KIND]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::tagged;
use crate::units::{FieldName, FieldValue};

/// The kind of a middleware with its options; a name has exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settings {
    /// Changes header fields of the request and of the response.
    Headers(Headers),
    /// Translates gRPC-Web to gRPC and back.
    GrpcWeb(GrpcWeb),
}

/// Translation of gRPC-Web, `[middleware.NAME.grpc_web]`. It has no options: which requests are
/// translated, and how, follows from their content type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcWeb {}

/// Changes of header fields, `[middleware.NAME.headers]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Headers {
    /// Changes before the request goes to the endpoint. Default: none.
    pub request: HeaderChanges,
    /// Changes before the response goes to the client. Default: none.
    pub response: HeaderChanges,
}

/// Changes of one head; `remove` comes first, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderChanges {
    /// Fields that have this value afterwards and no other. Default: none.
    #[serde(deserialize_with = "tagged::distinct")]
    pub set: BTreeMap<FieldName, FieldValue>,
    /// Lines that are added to those which are there. Default: none.
    #[serde(deserialize_with = "tagged::distinct")]
    pub add: BTreeMap<FieldName, FieldValue>,
    /// Fields that are taken away. Default: none.
    pub remove: Vec<FieldName>,
}
