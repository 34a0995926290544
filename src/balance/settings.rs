//! How an upstream chooses among its endpoints, as written in `upstream.NAME.balance`.

use serde::Deserialize;

/// The strategy; weights are honoured by every one. Default: `p2c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settings {
    /// In turn, smoothly by weight.
    RoundRobin,
    /// By chance, exactly by weight.
    Random,
    /// The endpoint with the fewest requests in flight for its weight, of all.
    LeastRequest,
    /// The better of two that are drawn by weight ("power of two choices").
    #[default]
    P2c,
    /// The first endpoint that is fit, in the order of priority, then of the file.
    First,
}
