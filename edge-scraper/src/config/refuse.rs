//! Keys of Prometheus that the edge does not support: refused by name, with the way out. Ignoring them would store or alert
//! on something else than the file says.
//!
//! A key that is there but empty (`rule_files:` with nothing but comments below, `false`, `0`) asks for nothing and passes.

use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The place of a refused key in a raw struct: nothing was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Refused;

struct Nothing {
    key: &'static str,
    way_out: &'static str,
}

impl Nothing {
    fn error<E: Error>(&self) -> E {
        E::custom(format_args!(
            "{} is not supported by the edge: {}",
            self.key, self.way_out
        ))
    }
}

impl<'de> Visitor<'de> for Nothing {
    type Value = Refused;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}", self.key)
    }

    fn visit_unit<E: Error>(self) -> Result<Refused, E> {
        Ok(Refused)
    }

    fn visit_none<E: Error>(self) -> Result<Refused, E> {
        Ok(Refused)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Refused, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Refused, E> {
        if value {
            Err(self.error())
        } else {
            Ok(Refused)
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Refused, E> {
        if value == 0 {
            Ok(Refused)
        } else {
            Err(self.error())
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Refused, E> {
        if value == 0 {
            Ok(Refused)
        } else {
            Err(self.error())
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Refused, E> {
        if value == 0.0 {
            Ok(Refused)
        } else {
            Err(self.error())
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Refused, E> {
        if matches!(value, "" | "0s") {
            Ok(Refused)
        } else {
            Err(self.error())
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Refused, A::Error> {
        match items.next_element::<IgnoredAny>()? {
            None => Ok(Refused),
            Some(_) => Err(self.error()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Refused, A::Error> {
        match items.next_key::<IgnoredAny>()? {
            None => Ok(Refused),
            Some(_) => Err(self.error()),
        }
    }
}

macro_rules! refuse {
    ($($way_out:literal: $($key:ident)+;)+) => {
        $($(
            pub(super) fn $key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Refused, D::Error> {
                deserializer.deserialize_any(Nothing { key: stringify!($key), way_out: $way_out })
            }
        )+)+
    };
}

refuse! {
    "rules and alerts run on the hub, move it into the hub's configuration":
        rule_files alerting;
    "samples are stored on the hub, ask or configure it there":
        storage remote_read;
    "take it out":
        tracing;
    "of the discovery mechanisms there are static_configs, file_sd_configs, http_sd_configs, dns_sd_configs and kubernetes_sd_configs; write the targets into a file":
        aws_sd_configs azure_sd_configs consul_sd_configs digitalocean_sd_configs docker_sd_configs
        dockerswarm_sd_configs ec2_sd_configs eureka_sd_configs gce_sd_configs hetzner_sd_configs
        ionos_sd_configs kuma_sd_configs lightsail_sd_configs linode_sd_configs marathon_sd_configs
        nerve_sd_configs nomad_sd_configs openstack_sd_configs ovhcloud_sd_configs puppetdb_sd_configs scaleway_sd_configs
        serverset_sd_configs stackit_sd_configs triton_sd_configs uyuni_sd_configs vultr_sd_configs;
    "use basic_auth, authorization, oauth2 or a client certificate in tls_config":
        sigv4 azuread google_iam;
    "put the secret into a file":
        username_file credentials_ref password_ref username_ref client_secret_ref;
    "client_credentials is the only grant; take it out":
        grant_type;
    "the edge drops nothing for its age, only the oldest when branchline.buffer.bytes_max is reached":
        sample_age_limit;
}
