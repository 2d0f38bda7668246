//! Criterion micro-benchmarks of the engine.
