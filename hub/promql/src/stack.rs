//! Recursion over expressions never overflows the stack: where little of it is left, more is allocated.

/// Nodes on the longest path from the root of an expression to a leaf: bounds what recursion costs.
pub(crate) const DEPTH_MAX: usize = 1_000;

/// Runs `body` with enough stack for a few more levels of recursion.
pub(crate) fn deep<R>(body: impl FnOnce() -> R) -> R {
    /// What the levels between two calls of this function may need; debug builds need most.
    const RED_ZONE_BYTES: usize = 192 * 1024;
    const GROWTH_BYTES: usize = 2 * 1024 * 1024;
    stacker::maybe_grow(RED_ZONE_BYTES, GROWTH_BYTES, body)
}
