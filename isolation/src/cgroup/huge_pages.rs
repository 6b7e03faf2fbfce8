//! Huge pages: how much memory of each size.

use std::path::Path;

use cgroups_rs::hugetlb::HugeTlbController;

use super::files::{failed, needs_file, write};
use super::hierarchies::Version;
use super::settings::HugePages;
use crate::error::Result;

/// Writes limits into a new group.
pub(super) fn apply(group: &Path, version: Version, limits: &[HugePages]) -> Result<()> {
    if limits.is_empty() {
        return Ok(());
    }
    let controller = HugeTlbController::new(group.to_owned(), version == Version::Two);
    for limit in limits {
        let (size, file) = names(limit.page_kib, version);
        let written = controller.set_limit_in_bytes(&size, limit.bytes);
        let written = written.map_err(|e| failed(group, &file, limit.bytes.to_string(), &e));
        needs_file(written, group, ("a limit on huge pages", "hugetlb", &file))?;
    }
    Ok(())
}

/// Writes limits, and takes them from the sizes that are not among them.
pub(super) fn change(group: &Path, version: Version, limits: &[HugePages]) -> Result<()> {
    let none = match version {
        Version::One => "-1",
        Version::Two => "max",
    };
    // All sizes that any architecture has.
    for page_kib in (4..=24).map(|power| 1 << power) {
        let (_, file) = names(page_kib, version);
        let is_named = limits.iter().any(|limit| limit.page_kib == page_kib);
        if !is_named && group.join(&file).exists() {
            write(group, &file, none)?;
        }
    }
    apply(group, version, limits)
}

/// Returns how the kernel names a size of pages, and the file of its limit.
fn names(page_kib: u64, version: Version) -> (String, String) {
    const UNITS: [(u64, &str); 2] = [(1024 * 1024, "GB"), (1024, "MB")];
    let fits = |(unit, _): &(u64, &str)| page_kib >= *unit;
    let (unit, name) = UNITS.into_iter().find(fits).unwrap_or((1, "KB"));
    let size = format!("{}{name}", page_kib / unit);
    let file = match version {
        Version::One => format!("hugetlb.{size}.limit_in_bytes"),
        Version::Two => format!("hugetlb.{size}.max"),
    };
    (size, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_named_as_the_kernel_does() {
        let sizes = [64, 2048, 32_768, 1 << 20, 16 << 20].map(|kib| names(kib, Version::Two).0);
        assert_eq!(sizes, ["64KB", "2MB", "32MB", "1GB", "16GB"]);
        assert_eq!(names(2048, Version::One).1, "hugetlb.2MB.limit_in_bytes");
    }
}
