//! Guess guard: bounds look-ups of uncached credentials per client address.
