//! What is in force, and is replaced while it is used: certificates change, and the place where they are stays.

use std::sync::{Arc, Mutex, PoisonError};

/// Of a filter chain or a cluster. Each new connection takes what is there then.
#[derive(Debug)]
pub struct Current<T>(Mutex<Arc<T>>);

impl<T> Current<T> {
    pub fn new(value: Arc<T>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(value)))
    }

    pub fn replace(&self, value: Arc<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    pub fn get(&self) -> Arc<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
