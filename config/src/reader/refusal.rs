//! Why a string is not a value.

/// Why a string is refused.
#[derive(Debug)]
pub struct Refusal {
    pub message: String,
    pub hint: Option<String>,
}

impl Refusal {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}
