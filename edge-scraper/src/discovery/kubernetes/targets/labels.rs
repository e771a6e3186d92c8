//! Labels in the making.

use std::net::Ipv6Addr;

use crate::discovery::kubernetes::objects::Meta;
use crate::discovery::{ADDRESS_LABEL, Discovered};

const PREFIX: &str = "__meta_kubernetes_";
/// Without the prefix.
pub(super) const NAMESPACE: &str = "namespace";

#[derive(Debug, Default, Clone)]
pub(super) struct Labels {
    set: Discovered,
}

impl Labels {
    /// Sets `__meta_kubernetes_NAME`.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.set.insert(format!("{PREFIX}{name}"), value.into());
    }

    /// The same, if there is a value.
    pub(super) fn set_some(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Sets a label without the prefix.
    pub(super) fn set_plain(&mut self, name: &str, value: impl Into<String>) {
        self.set.insert(name.to_owned(), value.into());
    }

    /// Name, labels and annotations of an object of a role.
    pub(super) fn add_meta(&mut self, role: &str, meta: &Meta) {
        self.set(&format!("{role}_name"), &meta.name);
        self.add_annotated(role, meta);
    }

    /// Labels and annotations of an object, and that they are there.
    pub(super) fn add_annotated(&mut self, role: &str, meta: &Meta) {
        for (what, texts) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
            for (name, value) in texts {
                let name = sanitized(name);
                self.set(&format!("{role}_{what}_{name}"), value);
                self.set(&format!("{role}_{what}present_{name}"), "true");
            }
        }
    }

    /// Adds those of another set.
    pub(super) fn add_all(&mut self, other: &Labels) {
        let others = other.set.iter();
        self.set
            .extend(others.map(|(name, value)| (name.clone(), value.clone())));
    }

    /// The target at an address with these labels.
    pub(super) fn target(mut self, address: impl Into<String>) -> Discovered {
        self.set.insert(ADDRESS_LABEL.to_owned(), address.into());
        self.set
    }
}

/// With `_` in the place of what no label name may have.
pub(super) fn sanitized(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect()
}

/// Host and port in one, IPv6 addresses in brackets.
pub(super) fn host_port(host: &str, port: u32) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}
