//! Names and passwords: `basic_auth_users`.
//!
//! bcrypt is slow on purpose. So a password that was right is remembered (a keyed digest of it, one for each user), one
//! password is computed at a time, and only so many wait. A user who does not exist costs as much as one who does.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use base64::Engine;
use ring::hmac;
use tokio::sync::Semaphore;

use super::SignIn;
use super::config::WebConfig;

/// Requests that wait for a password to be computed; further ones are told to try again.
const WAITING_MAX: usize = 64;

/// The computing of passwords, shared by all connections and kept when the file is read again.
pub(super) struct Turnstile {
    one: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Turnstile {
    fn default() -> Self {
        Turnstile {
            one: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
        }
    }
}

pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// Stands in for the hash of a user who does not exist; no password has it.
    decoy: String,
    key: hmac::Key,
    /// Digest of the last right password of each user: at most as many as there are users.
    proved: Mutex<HashMap<String, hmac::Tag>>,
}

impl Users {
    /// `hashes` are valid bcrypt hashes.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(name) = hashes.keys().find(|name| name.contains(':')) {
            return Err(format!(
                "the user name {name:?} has a colon, which HTTP does not allow"
            ));
        }
        let costs = hashes.values().filter_map(|hash| cost(hash));
        let decoy = format!(
            "$2b${:02}$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz0123.",
            costs.max().unwrap_or(10)
        );
        let random = ring::rand::SystemRandom::new();
        Ok(Users {
            hashes,
            decoy,
            key: hmac::Key::generate(hmac::HMAC_SHA256, &random)
                .map_err(|_| "the system gives no random numbers")?,
            proved: Mutex::default(),
        })
    }

    pub(super) fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Whether this password was right before, which takes no bcrypt.
    fn was_right(&self, name: &str, password: &str) -> bool {
        let proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved
            .get(name)
            .is_some_and(|tag| hmac::verify(&self.key, password.as_bytes(), tag.as_ref()).is_ok())
    }

    /// Computes; takes as long as the hashes' cost says, whoever asks.
    fn is_right(&self, name: &str, password: &str) -> bool {
        let hash = self.hashes.get(name);
        let matches = bcrypt::verify(password, hash.unwrap_or(&self.decoy)).unwrap_or(false);
        let right = matches && hash.is_some();
        if right {
            let tag = hmac::sign(&self.key, password.as_bytes());
            let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
            proved.insert(name.to_owned(), tag);
        }
        right
    }
}

fn cost(hash: &str) -> Option<u32> {
    hash.parse::<bcrypt::HashParts>()
        .ok()
        .map(|parts| parts.get_cost())
}

pub(super) async fn sign_in(
    config: Arc<WebConfig>,
    turnstile: &Turnstile,
    headers: &HeaderMap,
) -> SignIn {
    let Some((name, password)) = credentials(headers) else {
        return SignIn::Refused;
    };
    if config.users.was_right(&name, &password) {
        return SignIn::User(name);
    }
    let waiting = Waiting::begin(turnstile);
    if waiting.others >= WAITING_MAX {
        return SignIn::Busy;
    }
    let Ok(_turn) = turnstile.one.acquire().await else {
        return SignIn::Busy;
    };
    crate::blocking(move || {
        // Another request of the same user may have been the one before.
        let right =
            config.users.was_right(&name, &password) || config.users.is_right(&name, &password);
        match right {
            true => SignIn::User(name),
            false => SignIn::Refused,
        }
    })
    .await
}

/// Counts those who wait, also when a client goes away while it waits.
struct Waiting<'a> {
    turnstile: &'a Turnstile,
    others: usize,
}

impl<'a> Waiting<'a> {
    fn begin(turnstile: &'a Turnstile) -> Self {
        let others = turnstile.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting { turnstile, others }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turnstile.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::prelude::BASE64_STANDARD
        .decode(encoded.trim())
        .ok()?;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(cost: u32) -> Users {
        let hash = bcrypt::hash_with_salt("right", cost, [7; 16]).unwrap();
        let hash = hash.format_for_version(bcrypt::Version::TwoY);
        Users::new(BTreeMap::from([("grafana".to_owned(), hash)])).unwrap()
    }

    #[test]
    fn right_wrong_and_unknown() {
        let users = users(4);
        assert!(!users.was_right("grafana", "right"));
        assert!(users.is_right("grafana", "right"));
        assert!(users.was_right("grafana", "right"));
        for (name, password) in [
            ("grafana", "wrong"),
            ("grafana", ""),
            ("nobody", "right"),
            ("", ""),
        ] {
            assert!(!users.was_right(name, password) && !users.is_right(name, password));
        }
        assert!(Users::new(BTreeMap::from([("a:b".to_owned(), String::new())])).is_err());
    }

    #[test]
    fn the_decoy_costs_as_much_as_the_users_hashes() {
        for cost in [4, 11] {
            let users = users(cost);
            let decoy: bcrypt::HashParts = users.decoy.parse().unwrap();
            assert_eq!(decoy.get_cost(), cost);
        }
        // A decoy that bcrypt could not read would answer at once.
        let users = users(4);
        assert_eq!(bcrypt::verify("x", &users.decoy).ok(), Some(false));
    }

    #[test]
    fn hashes_of_htpasswd_are_read() {
        // `htpasswd -nbBC 10 user Mys3cret`-like: written by Go's and Apache's tools with $2y$.
        let hash = bcrypt::hash_with_salt("Mys3cret", 4, [1; 16]).unwrap();
        for version in [
            bcrypt::Version::TwoA,
            bcrypt::Version::TwoB,
            bcrypt::Version::TwoY,
        ] {
            let users = Users::new(BTreeMap::from([(
                "user".to_owned(),
                hash.format_for_version(version),
            )]))
            .unwrap();
            assert!(users.is_right("user", "Mys3cret"));
        }
    }
}
