//! One hub, step by step: its name, the way to it, its certificate, the token, the clocks. What one step finds broken keeps the later
//! ones from being tried.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use daemon::http::{ProxyOptions, Signer};
use model::Timestamp;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use wire::edge_headers;
use wire::remote_write::{compress, headers};

use super::report::Section;
use crate::config::HubConfig;

/// For each step.
const WITHIN: Duration = Duration::from_secs(5);
/// A certificate that ends sooner should be renewed now.
const RENEW_WITHIN: Duration = Duration::from_secs(14 * 24 * 3600);
/// `Date` counts in seconds, and a request takes its time: what is less cannot be told from nothing.
const OFFSET_SHOWN: Duration = Duration::from_secs(2);
/// From there on samples land in the wrong minute.
const OFFSET_MAX: Duration = Duration::from_secs(30);
/// Longest text of a refusal that is repeated.
const TEXT_MAX: usize = 300;

pub(super) async fn check(section: &mut Section<'_>, hub: &HubConfig, clock: &Arc<dyn Clock>) {
    let host = hub.url.host_str().unwrap_or_default().to_owned();
    let port = hub.url.port_or_known_default().unwrap_or(443);
    if hub.http.client.proxy != ProxyOptions::default() {
        section.skipped(
            "address",
            "a proxy stands between: it resolves and connects",
        );
    } else {
        if !reachable(section, &host, port).await {
            return;
        }
        if hub.url.scheme() == "https" {
            certificate(section, &host, port, clock.now()).await;
        }
    }
    request(section, hub, clock).await;
}

async fn reachable(section: &mut Section<'_>, host: &str, port: u16) -> bool {
    let bare = host.trim_matches(['[', ']']);
    let name = "address";
    let way_out =
        "mend the name in remote_write, or this machine's DNS (/etc/resolv.conf, /etc/hosts)";
    let found: Vec<_> = match timeout(WITHIN, lookup_host((bare, port))).await {
        Err(_) => {
            section.failure(name, format!("{host} was not resolved within 5 s"), way_out);
            return false;
        }
        Ok(Err(error)) => {
            section.failure(name, format!("{host} cannot be resolved: {error}"), way_out);
            return false;
        }
        Ok(Ok(found)) => found.collect(),
    };
    if bare.parse::<std::net::IpAddr>().is_err() {
        let shown: Vec<String> = found.iter().map(|found| found.ip().to_string()).collect();
        section.ok(name, format!("{host} is {}", shown.join(", ")));
    }
    let name = "connection";
    let mut reasons = Vec::new();
    for address in found {
        match timeout(WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                section.ok(name, format!("{address} takes connections"));
                return true;
            }
            Ok(Err(error)) => reasons.push(format!("{address}: {error}")),
            Err(_) => reasons.push(format!("{address}: no answer within 5 s")),
        }
    }
    let refused = reasons.iter().any(|reason| reason.contains("refused"));
    let way_out = match refused {
        true => {
            "the machine is there and nothing listens on that port: start the hub, or mend the port in remote_write. Samples are buffered meanwhile"
        }
        false => {
            "the link is down, or a firewall on the way drops this: look at the line, the route and the VPN. Samples are buffered meanwhile"
        }
    };
    section.failure(
        name,
        format!("no connection: {}", reasons.join("; ")),
        way_out,
    );
    false
}

async fn certificate(section: &mut Section<'_>, host: &str, port: u16, now: Timestamp) {
    let name = "certificate";
    let found = match daemon::tls::server_certificate(host, port).await {
        Ok(found) => found,
        Err(why) => {
            let way_out = "see whether the port of remote_write's address speaks TLS at all: without it the address begins with http://";
            section.failure(name, format!("no TLS: {why}"), way_out);
            return;
        }
    };
    let days = |time: Duration| time.as_secs() / 86_400;
    let of = format!("of {}, signed by {}", found.subject, found.issuer);
    if now > found.not_after {
        let ago = now.saturating_since(found.not_after);
        let text = format!(
            "{of}, expired {} days ago ({})",
            days(ago),
            super::time(found.not_after)
        );
        let way_out = "renew the hub's certificate (cert_file in its web configuration: it is read anew without a restart); if it is valid there, this machine's clock is wrong";
        section.failure(name, text, way_out);
    } else if now < found.not_before {
        let text = format!(
            "{of}, is not valid before {}",
            super::time(found.not_before)
        );
        section.failure(
            name,
            text,
            "set this machine's clock, or wait until the certificate is valid",
        );
    } else {
        let left = found.not_after.saturating_since(now);
        let text = format!("{of}, valid for {} more days", days(left));
        match left < RENEW_WITHIN {
            true => section.warning(
                name,
                text,
                "renew it before it expires: the edge will not talk to the hub from then on",
            ),
            false => section.ok(name, text),
        }
    }
}

/// An empty write: what an edge sends as a sign of life.
async fn request(section: &mut Section<'_>, hub: &HubConfig, clock: &Arc<dyn Clock>) {
    let name = "request";
    let asked = async {
        let client = daemon::http::client(&hub.http.client).map_err(|error| error.to_string())?;
        let mut builder = client
            .post(hub.url.clone())
            .header(CONTENT_TYPE, headers::CONTENT_TYPE)
            .header(CONTENT_ENCODING, headers::CONTENT_ENCODING)
            .header(headers::VERSION_HEADER, headers::VERSION_1)
            .body(compress(&[]));
        for (name, value) in &hub.headers {
            builder = builder.header(name, value);
        }
        let signer = Signer::new(&hub.http.signer(), clock).map_err(|error| error.to_string())?;
        let builder = timeout(2 * WITHIN, signer.sign(builder)).await;
        let builder = builder
            .map_err(|_| "no answer of the token server (oauth2.token_url) within 10 s".to_owned())?
            .map_err(|error| error.to_string())?;
        let before = (clock.now(), clock.elapsed());
        let sent = timeout(2 * WITHIN, builder.send()).await;
        let answer = sent
            .map_err(|_| "no answer within 10 s".to_owned())?
            .map_err(|error| innermost(&error))?;
        Ok::<_, String>((answer, before, clock.elapsed()))
    };
    let (answer, (sent_at, before), after) = match asked.await {
        Ok(answered) => answered,
        Err(why) => {
            let certificate = why.to_lowercase().contains("certificate");
            let way_out = match certificate {
                true => {
                    "mend the hub's certificate, or tls_config in remote_write (ca_file: who signed it; server_name: the name in it)"
                }
                false => {
                    "see what stands at this address, and whether a proxy or firewall ends the connection; files that are named must be there"
                }
            };
            section.failure(name, why, way_out);
            return;
        }
    };
    let (status, round_trip) = (answer.status(), after.saturating_sub(before));
    let own = answer.headers().get(edge_headers::HUB);
    let own = own.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|date| date.to_str().ok());
    let date = date.and_then(http_date);
    let text = answer.text().await.unwrap_or_default();
    let text: String = text.trim().chars().take(TEXT_MAX).collect();
    let said = format!("{status}: {text}");
    match (status.as_u16(), &own) {
        (200..=299, Some(id)) => section.ok("token", format!("hub {id} takes it, after {} ms", round_trip.as_millis())),
        (200..=299, None) => section.ok("token", "a receiver of remote write takes it; it is none of our hubs, so everything is sent in order"),
        (401 | 403, _) => section.failure(
            "token",
            format!("the hub does not know it ({said})"),
            "put the token that the hub has for this branch (branchline.branches there) into remote_write's authorization here; a token file is read anew for each request",
        ),
        (404, _) => section.failure(name, said, "the address ends with /api/v1/write on our hubs: mend remote_write's url"),
        (500..=599, _) => section.failure(name, said, "the hub is there and cannot take samples: look at its log and its disk. Samples are buffered meanwhile"),
        _ => section.failure(name, said, "see what stands at this address: this is no answer of a hub"),
    }
    let Some(date) = date else {
        section.skipped("clock", "the answer has no Date to compare with");
        return;
    };
    // In the middle of the request there, and in the middle of the second.
    let here = sent_at.millis() + round_trip.as_millis() as i64 / 2;
    let offset = here - (date.millis() + 500);
    let by = Duration::from_millis(offset.unsigned_abs());
    let side = if offset > 0 { "ahead of" } else { "behind" };
    let seconds = by.as_secs();
    let way_out = "let both machines follow a time server (chrony, systemd-timesyncd): samples carry this machine's time";
    if by > OFFSET_MAX + round_trip {
        section.failure(
            "clock",
            format!("this machine's is {seconds} s {side} the hub's"),
            way_out,
        );
    } else if by > OFFSET_SHOWN + round_trip {
        section.warning(
            "clock",
            format!("this machine's is about {seconds} s {side} the hub's"),
            way_out,
        );
    } else {
        section.ok("clock", "within two seconds of the hub's");
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(parsed.timestamp().as_millisecond()))
}

/// The reason at the bottom says most.
pub(super) fn innermost(error: &dyn Error) -> String {
    let (mut text, mut error) = (error.to_string(), error);
    while let Some(source) = error.source() {
        text = source.to_string();
        error = source;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        let at = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(at.millis(), 784_111_777_000);
        assert_eq!(http_date("yesterday"), None);
    }
}
