//! Unit tests on bytes, one for each rule.
