//! r
//! r
/// r
pub enum Reason {}
