//! Newtypes for what can be confused: durations, sizes, ratios, weights, generations.
