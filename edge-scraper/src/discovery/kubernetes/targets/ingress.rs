//! An ingress: each path of each of its hosts.

use super::World;
use crate::discovery::Discovered;
use crate::discovery::kubernetes::objects::Ingress;

pub(super) fn targets(world: &World<'_>, ingress: &Ingress, targets: &mut Vec<Discovered>) {
    let mut common = world.of_object(&ingress.metadata, "ingress");
    common.set_some(
        "ingress_class_name",
        ingress.spec.ingress_class_name.clone(),
    );
    for rule in &ingress.spec.rules {
        let mut hosts = ingress.spec.tls.iter().flat_map(|tls| &tls.hosts);
        let scheme = match hosts.any(|pattern| matches(pattern, &rule.host)) {
            true => "https",
            false => "http",
        };
        let mut paths: Vec<&str> = rule
            .http
            .paths
            .iter()
            .map(|path| path.path.as_str())
            .collect();
        if paths.is_empty() {
            paths.push("/");
        }
        for path in paths {
            let mut labels = common.clone();
            labels.set("ingress_scheme", scheme);
            labels.set("ingress_host", &rule.host);
            labels.set("ingress_path", if path.is_empty() { "/" } else { path });
            targets.push(labels.target(&rule.host));
        }
    }
}

/// Whether a certificate for the pattern is good for the host: `*` stands for one part.
fn matches(pattern: &str, host: &str) -> bool {
    if pattern == host {
        return true;
    }
    let parts = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (pattern, host) = (parts(pattern), parts(host));
    pattern.len() == host.len()
        && pattern[0] == "*"
        && !host[0].is_empty()
        && pattern[1..] == host[1..]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn certificates_with_stars() {
        assert!(matches("a.b", "a.b") && matches("*.b", "a.b"));
        assert!(!matches("*.b", "b") && !matches("*.b", "x.a.b") && !matches("*.b", ".b"));
    }
}
