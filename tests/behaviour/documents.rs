//! What our texts tell people to write works: every configuration in them passes `check-config`.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::certificates::Authority;
use tests::checkout;

const TEXTS: [&str; 3] = ["README.md", "README.zh-CN.md", "dashboards/README.md"];

/// The ```` ```yaml ```` blocks of a text.
fn yaml_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match &mut block {
            None if line.trim() == "```yaml" => block = Some(String::new()),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(block.take()),
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}

/// Which of our programs a configuration is for.
fn program(block: &str) -> &'static str {
    let has = |key: &str| block.lines().any(|line| line.starts_with(key));
    if has("remote_write:") {
        "edge-scraper"
    } else if has("alertmanagers:") || has("contacts:") {
        "alert-router"
    } else {
        "hub"
    }
}

/// Makes the secrets that a configuration names.
fn make_secrets(folder: &Path, block: &str) {
    for (index, (_, rest)) in block
        .match_indices("_file:")
        .map(|(at, key)| block.split_at(at + key.len()))
        .enumerate()
    {
        let name = rest
            .trim_start()
            .split([',', '}', '\n', ' '])
            .next()
            .unwrap_or("");
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for secrets");
        fs::write(path, format!("secret-{index}\n")).expect("a secret");
    }
}

#[test]
fn every_configuration_in_our_texts_is_accepted() {
    let mut checked = 0;
    for name in TEXTS {
        let text = fs::read_to_string(checkout::root().join(name)).expect("a text of ours");
        for block in yaml_blocks(&text) {
            let folder = tempfile::tempdir().expect("a folder");
            // Which configuration it is shows in its keys: all three programs read web configurations alike.
            let is_web = block.starts_with("tls_server_config:");
            let check = match is_web {
                true => "check-web-config",
                false => "check-config",
            };
            match is_web {
                true => {
                    Authority::new(folder.path(), "clients-ca").issue("hub", &["hub.example"]);
                }
                false => make_secrets(folder.path(), &block),
            }
            let config = folder.path().join("config.yml");
            fs::write(&config, &block).expect("a configuration");
            let program = program(&block);
            let output = Command::new(checkout::binary(program))
                .arg(check)
                .arg(&config)
                .output()
                .expect("it runs");
            assert!(
                output.status.success(),
                "{name}: {program} refuses\n{block}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} configurations were found");
}

#[test]
fn every_program_tells_its_flags() {
    for (program, flags) in [
        (
            "hub",
            [
                "--config",
                "--listen",
                "--data-dir",
                "--no-local-edge",
                "--web.config.file",
                "--web.behind-proxy",
                "check-config",
                "check-web-config",
            ]
            .as_slice(),
        ),
        (
            "edge-scraper",
            &[
                "--config",
                "--listen",
                "--data-dir",
                "--web.config.file",
                "check-config",
            ],
        ),
        (
            "alert-router",
            &[
                "--config",
                "--listen",
                "--data-dir",
                "--web.config.file",
                "check-config",
            ],
        ),
    ] {
        let output = Command::new(checkout::binary(program))
            .arg("--help")
            .output()
            .expect("it runs");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program} --help");
        for flag in flags {
            assert!(
                help.contains(flag),
                "{program} --help does not name {flag}: {help}"
            );
        }
    }
}
