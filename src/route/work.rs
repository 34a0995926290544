//! Counts the steps of a lookup in tests, where time can not be trusted: hash probes, conditions
//! and regular expressions tried. Outside of tests it is nothing.

#[cfg(test)]
thread_local!(static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

/// One more step was taken.
#[inline(always)]
pub(super) fn step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// The steps that `lookup` takes.
#[cfg(test)]
pub(super) fn steps_of<R>(lookup: impl FnOnce() -> R) -> usize {
    STEPS.with(|steps| steps.set(0));
    lookup();
    STEPS.with(std::cell::Cell::get)
}
