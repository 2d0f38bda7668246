//! What a comparison prints and writes: tables, report.json, report.html.
mod html;
mod svg;
pub mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::compare::result::Comparison;

/// Writes report.json and report.html; gives the path of the latter.
pub fn write(comparison: &Comparison, directory: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let json = directory.join("report.json");
    fs::write(&json, serde_json::to_string_pretty(comparison)?)
        .with_context(|| format!("cannot write {}", json.display()))?;
    let html = directory.join("report.html");
    fs::write(&html, html::page(comparison)).with_context(|| format!("cannot write {}", html.display()))?;
    Ok(html)
}
