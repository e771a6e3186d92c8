//! Listeners with real connections, certificates made here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::Tasks;
use crate::http::{ClientOptions, TlsClientOptions, client, listen, serve_web};
use crate::tls::{Pem, TlsVersion};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes `NAME.pem` and `NAME.key` for these names.
fn issue(authority: &Authority, folder: &Path, name: &str, names: &[&str]) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names).unwrap();
    let cert = params.signed_by(&key, authority).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), cert.pem()).unwrap();
}

/// A folder with `ca.pem`, `server.pem` for 127.0.0.1 and hub.example, `client.pem` for b01.example, and an authority
/// that nobody knows in `other.pem`, with `stranger.pem`.
struct World {
    folder: tempfile::TempDir,
    ca: Authority,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        let (folder, ca, other) = (tempfile::tempdir().unwrap(), authority(), authority());
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        std::fs::write(folder.path().join("other.pem"), other.pem()).unwrap();
        issue(&ca, folder.path(), "server", &["127.0.0.1", "hub.example"]);
        issue(&ca, folder.path(), "client", &["b01.example"]);
        issue(&other, folder.path(), "stranger", &["b01.example"]);
        let tasks = Tasks::new();
        World { folder, ca, tasks }
    }

    fn pem(&self, name: &str) -> Pem {
        Pem::File(self.folder.path().join(name))
    }

    fn write(&self, yaml: &str) {
        std::fs::write(self.folder.path().join("web.yml"), yaml).unwrap();
    }

    fn load(&self, yaml: &str) -> Result<Web, String> {
        self.write(yaml);
        let flags = WebFlags {
            config_file: Some(self.folder.path().join("web.yml")),
            ..WebFlags::default()
        };
        Web::load(&flags).map_err(|error| error.to_string())
    }

    /// Starts a server; its address is `127.0.0.1:PORT`.
    async fn serve(&self, yaml: &str) -> SocketAddr {
        let web = self.load(yaml).unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new()
            .route("/", get(async || "in"))
            .route("/-/healthy", get(async || "healthy"));
        serve_web(listener, guard(router, &web), &web, &self.tasks);
        address
    }

    fn trusting(&self) -> TlsClientOptions {
        TlsClientOptions {
            ca: Some(self.pem("ca.pem")),
            ..TlsClientOptions::default()
        }
    }

    fn with_identity(&self, name: &str) -> TlsClientOptions {
        TlsClientOptions {
            cert: Some(self.pem(&format!("{name}.pem"))),
            key: Some(self.pem(&format!("{name}.key"))),
            ..self.trusting()
        }
    }
}

const TLS: &str = "tls_server_config: {cert_file: server.pem, key_file: server.key";

/// The body of the answer, on a new connection; else why there is none.
async fn ask(address: SocketAddr, tls: TlsClientOptions) -> Result<String, String> {
    let options = ClientOptions {
        tls,
        ..ClientOptions::default()
    };
    let explain = |error: reqwest::Error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        cause.to_string()
    };
    let sent = client(&options)
        .unwrap()
        .get(format!("https://{address}/"))
        .send();
    sent.await.map_err(explain)?.text().await.map_err(explain)
}

#[tokio::test]
async fn only_who_knows_the_authority_trusts_the_server() {
    let world = World::new();
    let address = world.serve(&format!("{TLS}}}")).await;
    assert_eq!(ask(address, world.trusting()).await.unwrap(), "in");
    let other = TlsClientOptions {
        ca: Some(world.pem("other.pem")),
        ..TlsClientOptions::default()
    };
    let why = ask(address, other).await.unwrap_err();
    assert!(why.contains("certificate"), "{why}");
    let named = |name: &str| TlsClientOptions {
        server_name: Some(name.to_owned()),
        ..world.trusting()
    };
    assert_eq!(ask(address, named("hub.example")).await.unwrap(), "in");
    let why = ask(address, named("b01.example")).await.unwrap_err();
    assert!(why.contains("not valid for name"), "{why}");
    let blind = TlsClientOptions {
        insecure_skip_verify: true,
        ..TlsClientOptions::default()
    };
    assert_eq!(ask(address, blind).await.unwrap(), "in");
}

#[tokio::test]
async fn client_certificates_by_every_policy() {
    let world = World::new();
    let ca = "client_ca_file: ca.pem";
    // (policy, without a certificate, with one of ours, with a stranger's)
    for (policy, none, ours, stranger) in [
        (
            "client_auth_type: NoClientCert".to_owned(),
            true,
            true,
            true,
        ),
        (
            "client_auth_type: RequestClientCert".to_owned(),
            true,
            true,
            true,
        ),
        (
            "client_auth_type: RequireAnyClientCert".to_owned(),
            false,
            true,
            true,
        ),
        (
            format!("client_auth_type: VerifyClientCertIfGiven, {ca}"),
            true,
            true,
            false,
        ),
        (
            format!("client_auth_type: RequireAndVerifyClientCert, {ca}"),
            false,
            true,
            false,
        ),
        (
            format!(
                "client_auth_type: RequireAndVerifyClientCert, {ca}, client_allowed_sans: [x, b01.example]"
            ),
            false,
            true,
            false,
        ),
        (
            format!(
                "client_auth_type: RequireAndVerifyClientCert, {ca}, client_allowed_sans: [b02.example]"
            ),
            false,
            false,
            false,
        ),
    ] {
        let address = world.serve(&format!("{TLS}, {policy}}}")).await;
        for (who, allowed, tls) in [
            ("nobody", none, world.trusting()),
            ("ours", ours, world.with_identity("client")),
            ("stranger", stranger, world.with_identity("stranger")),
        ] {
            let got = ask(address, tls).await;
            assert_eq!(got.is_ok(), allowed, "{policy}: {who}: {got:?}");
        }
    }
}

#[tokio::test]
async fn versions_and_curves_are_kept_to() {
    let world = World::new();
    let address = world
        .serve(&format!(
            "{TLS}, min_version: TLS13, curve_preferences: [CurveP384], cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]}}"
        ))
        .await;
    let old = TlsClientOptions {
        max_version: Some(TlsVersion::Tls12),
        ..world.trusting()
    };
    assert!(ask(address, old.clone()).await.is_err());
    assert_eq!(ask(address, world.trusting()).await.unwrap(), "in");
    let address = world.serve(&format!("{TLS}, max_version: TLS12}}")).await;
    assert_eq!(ask(address, old).await.unwrap(), "in");
    let new = TlsClientOptions {
        min_version: Some(TlsVersion::Tls13),
        ..world.trusting()
    };
    assert!(ask(address, new).await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
    let world = World::new();
    let address = world.serve(&format!("{TLS}}}")).await;
    let only = |name: &str| TlsClientOptions {
        server_name: Some(name.to_owned()),
        ..world.trusting()
    };
    assert!(ask(address, only("new.example")).await.is_err());
    issue(&world.ca, world.folder.path(), "server", &["new.example"]);
    assert_eq!(ask(address, only("new.example")).await.unwrap(), "in");
    std::fs::write(world.folder.path().join("server.key"), "half written").unwrap();
    assert_eq!(ask(address, only("new.example")).await.unwrap(), "in");
    // What protects it does not go away: only a restart opens it.
    issue(&world.ca, world.folder.path(), "server", &["newer.example"]);
    world.write("{}");
    assert_eq!(ask(address, only("new.example")).await.unwrap(), "in");
    world.write(&format!("{TLS}}}"));
    assert_eq!(ask(address, only("newer.example")).await.unwrap(), "in");
}

#[tokio::test]
async fn a_client_renews_its_certificate_and_its_authorities() {
    let world = World::new();
    let address = world
        .serve(&format!(
            "{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}}"
        ))
        .await;
    let options = ClientOptions {
        tls: world.with_identity("stranger"),
        ..ClientOptions::default()
    };
    let client = client(&options).unwrap();
    let ask = || client.get(format!("https://{address}/")).send();
    assert!(ask().await.is_err());
    issue(&world.ca, world.folder.path(), "stranger", &["b01.example"]);
    assert_eq!(ask().await.unwrap().status(), 200);
}

#[tokio::test]
async fn plain_http_and_nonsense_on_a_tls_port() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new();
    let address = world.serve(&format!("{TLS}}}")).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(
        said.starts_with("HTTP/1.0 400") && said.contains("https://"),
        "{said}"
    );
    // A client that says nothing keeps nobody waiting.
    let _silent = tokio::net::TcpStream::connect(address).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), ask(address, world.trusting()));
    assert_eq!(answer.await.unwrap().unwrap(), "in");
}

#[tokio::test]
async fn users_are_asked_and_headers_are_set() {
    let world = World::new();
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
    let file = |name: &str, password: &str| {
        format!(
            "http_server_config: {{headers: {{X-Frame-Options: deny, Content-Security-Policy: \"default-src 'self'\"}}}}\nbasic_auth_users: {{{name}: '{}'}}\n",
            hash(password)
        )
    };
    let address = world.serve(&file("grafana", "one")).await;
    let client = client(&ClientOptions::default()).unwrap();
    let ask = async |path: &str, user: Option<(&str, &str)>| {
        let mut request = client.get(format!("http://{address}{path}"));
        if let Some((name, password)) = user {
            request = request.basic_auth(name, Some(password));
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["x-frame-options"], "deny");
        if answer.status() == 401 {
            assert!(answer.headers().contains_key("www-authenticate"));
        }
        answer.status().as_u16()
    };
    assert_eq!(ask("/", None).await, 401);
    assert_eq!(ask("/", Some(("grafana", "wrong"))).await, 401);
    assert_eq!(ask("/", Some(("nobody", "one"))).await, 401);
    assert_eq!(ask("/", Some(("grafana", "one"))).await, 200);
    assert_eq!(ask("/", Some(("grafana", "wrong"))).await, 401);
    assert_eq!(
        ask("/-/healthy", None).await,
        200,
        "probes have no password"
    );
    world.write(&file("operator", "two"));
    assert_eq!(ask("/", Some(("grafana", "one"))).await, 401);
    assert_eq!(ask("/", Some(("operator", "two"))).await, 200);
    // The last user is not taken out by a change of the file.
    world.write("{}");
    assert_eq!(ask("/", None).await, 401);
    assert_eq!(ask("/", Some(("operator", "two"))).await, 200);
}

#[tokio::test]
async fn a_right_password_is_computed_once_and_a_flood_is_turned_away() {
    let world = World::new();
    let hash = bcrypt::hash("right", 5).unwrap();
    let web = world
        .load(&format!("basic_auth_users: {{u: '{hash}'}}"))
        .unwrap();
    let headers = |encoded: &str| {
        let value = format!("Basic {encoded}").parse().unwrap();
        HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value)])
    };
    let right = headers("dTpyaWdodA==");
    let user = SignIn::User("u".to_owned());
    assert_eq!(web.sign_in(&right).await, user);
    let flood = Arc::new(headers("dTp3cm9uZw=="));
    let mut wrong = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (web, flood) = (web.clone(), flood.clone());
        wrong.spawn(async move { web.sign_in(&flood).await });
    }
    tokio::task::yield_now().await;
    // Remembered, so it does not stand in line.
    let began = std::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(web.sign_in(&right).await, user);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    let mut ends = Vec::new();
    while let Some(end) = wrong.join_next().await {
        ends.extend(end.ok());
    }
    assert!(ends.contains(&SignIn::Busy), "{ends:?}");
    assert!(!ends.contains(&user));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let world = World::new();
    let path = world.folder.path().join("web.yml").display().to_string();
    for (yaml, line, said) in [
        ("tls_server_config:\n  cert_fil: x\n", 2, "cert_fil"),
        (
            "tls_server_config:\n  cert_file: server.pem\n",
            1,
            "missing one of key or key_file",
        ),
        (
            "tls_server_config:\n  key_file: server.key\n  cert_file: nowhere.pem\n",
            3,
            "nowhere.pem cannot be read",
        ),
        (
            "tls_server_config:\n  cert_file: client.pem\n  key_file: server.key\n",
            2,
            "is not the one of the certificate",
        ),
        ("tls_server_config:\n  min_version: TLS10\n", 2, "TLS12"),
        (
            "tls_server_config:\n  client_auth_type: Sure\n",
            2,
            "RequireAndVerifyClientCert",
        ),
        (
            "tls_server_config:\n  cipher_suites:\n  - TLS_RSA_WITH_RC4_128_SHA\n",
            3,
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ),
        (
            "tls_server_config:\n  curve_preferences: [CurveP521]\n",
            2,
            "X25519",
        ),
        (
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n",
            4,
            "without a client_auth_type",
        ),
        (
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_auth_type: VerifyClientCertIfGiven\n",
            4,
            "client_ca_file",
        ),
        (
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_allowed_sans: [x]\n",
            4,
            "RequireAnyClientCert",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: maybe\n",
            3,
            "deny or sameorigin",
        ),
        (
            "http_server_config:\n  headers:\n    Server: x\n",
            3,
            "Server",
        ),
        ("basic_auth_users:\n  grafana: secret\n", 2, "bcrypt"),
        (
            "\nrate_limit: {interval: 1s}\n",
            2,
            "rate_limit is not supported",
        ),
    ] {
        let error = world
            .load(yaml)
            .err()
            .unwrap_or_else(|| panic!("{yaml} is taken"));
        assert!(
            error.starts_with(&format!("{path}:{line}:")),
            "{yaml}: {error}"
        );
        assert!(error.contains(said), "{yaml}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn beyond_loopback_takes_tls_and_credentials() {
    let world = World::new();
    let anywhere = "0.0.0.0:9491".parse().unwrap();
    let hash = bcrypt::hash("x", 4).unwrap();
    let users = format!("basic_auth_users: {{u: '{hash}'}}");
    let refused = |web: &Web| {
        web.check_listen(anywhere, None)
            .err()
            .map(|why| why.to_string())
    };
    let nothing = refused(&Web::default()).unwrap();
    for word in [
        "0.0.0.0:9491",
        "basic_auth_users",
        "TLS",
        "--web.behind-proxy",
        "127.0.0.1",
    ] {
        assert!(nothing.contains(word), "{nothing}");
    }
    let only_users = refused(&world.load(&users).unwrap()).unwrap();
    assert!(!only_users.contains("credentials: give"), "{only_users}");
    let only_tls = refused(&world.load(&format!("{TLS}}}")).unwrap()).unwrap();
    assert!(!only_tls.contains("no TLS"), "{only_tls}");
    assert_eq!(
        refused(&world.load(&format!("{TLS}}}\n{users}")).unwrap()),
        None
    );
    let clients =
        format!("{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}}");
    assert_eq!(refused(&world.load(&clients).unwrap()), None);
    let unverified = format!("{TLS}, client_auth_type: RequireAnyClientCert}}");
    assert!(refused(&world.load(&unverified).unwrap()).is_some());
    let proxied = Web::load(&WebFlags {
        behind_proxy: true,
        ..WebFlags::default()
    });
    assert_eq!(refused(&proxied.unwrap()), None);
    assert!(
        Web::default()
            .check_listen("[::1]:1".parse().unwrap(), None)
            .is_ok()
    );
}
