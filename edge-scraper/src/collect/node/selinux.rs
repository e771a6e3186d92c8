//! SELinux: enabled, configured mode, current mode.

use super::page::Page;
use super::roots::{PartError, Roots, Text, integer_attribute};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let current = integer_attribute(&roots.sys.join("fs/selinux/enforce"));
    let enabled = if current.is_some() { 1.0 } else { 0.0 };
    page.gauge(
        "node_selinux_enabled",
        "SELinux is enabled, 1 is true, 0 is false",
    )
    .value(enabled);
    let Some(current) = current else {
        return Ok(());
    };
    page.gauge(
        "node_selinux_current_mode",
        "Current SELinux enforcement mode",
    )
    .value(current as f64);
    let config = Text::read_if_there(roots.root.join("etc/selinux/config"))?;
    let mode = config.as_ref().and_then(|text| {
        let value = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("SELINUX="));
        value.map(str::trim)
    });
    let mode = match mode {
        Some("enforcing") => 1.0,
        Some("permissive") => 0.0,
        _ => -1.0,
    };
    page.gauge(
        "node_selinux_config_mode",
        "Configured SELinux enforcement mode",
    )
    .value(mode);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn off_and_on() {
        check(super::read, &[], "node_selinux_enabled 0\n");
        check(
            super::read,
            &[
                ("sys/fs/selinux/enforce", "1"),
                ("root/etc/selinux/config", "# x\nSELINUX=permissive\n"),
            ],
            "node_selinux_config_mode 0\nnode_selinux_current_mode 1\nnode_selinux_enabled 1\n",
        );
    }
}
