//! What is in the image, and how large it is.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io::Write};

use crate::engine::{docker, image};

/// The image's files, unpacked; those that the engine itself puts into every container are left out.
struct Unpacked {
    folder: tempfile::TempDir,
    names: Vec<String>,
}

fn unpack() -> Unpacked {
    let folder = tempfile::tempdir().unwrap();
    let container = docker(&["create", &image()]);
    let layers = folder.path().join("image.tar");
    docker(&["export", "--output", layers.to_str().unwrap(), &container]);
    docker(&["rm", &container]);
    let tar = |arguments: &[&str]| {
        let output = Command::new("tar")
            .args(arguments)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let engines = [
        "dev/",
        "proc/",
        "sys/",
        ".dockerenv",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "etc/mtab",
    ];
    let names = tar(&["--list", "--file", "image.tar"])
        .lines()
        .filter(|name| !name.ends_with('/') && !engines.iter().any(|own| name.starts_with(own)))
        .map(str::to_owned)
        .collect();
    tar(&["--extract", "--file", "image.tar", "prisma-migrate-task", "etc/ssl"]);
    Unpacked { folder, names }
}

impl Unpacked {
    fn program(&self) -> PathBuf {
        self.folder.path().join("prisma-migrate-task")
    }
}

fn holds(program: &[u8], text: &str) -> bool {
    program.windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

#[test]
fn there_is_the_program_and_a_file_of_authorities_and_nothing_else() {
    let unpacked = unpack();
    assert_eq!(
        unpacked.names,
        ["etc/ssl/certs/ca-certificates.crt", "prisma-migrate-task"]
    );
    let authorities = fs::read_to_string(unpacked.folder.path().join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert!(authorities.matches("BEGIN CERTIFICATE").count() > 50);
    let program = fs::metadata(unpacked.program()).unwrap();
    assert_eq!(program.permissions().mode() & 0o777, 0o755);
    // A program that has to be loaded names its loader.
    let program = fs::read(unpacked.program()).unwrap();
    assert!(!holds(&program, "/ld-linux"), "the program is not static");
}

/// What only the client's side has, and what it leaves in a binary: the shell's words, and AWS's own names (of
/// CloudFormation, whose name is everywhere, the version) of the services that its SDKs speak to.
const CLIENT: [(&str, &str); 9] = [
    ("a shell's completions", "COMPREPLY"),
    ("IAM Identity Center (SSO)", "SWBPortalService"),
    ("IAM Identity Center's sign-in", "AWSSSOOIDCService"),
    ("CloudFormation", "2010-05-15"),
    ("CloudWatch Logs", "Logs_20140328"),
    ("ECS", "AmazonEC2ContainerServiceV20141113"),
    ("RDS", "AmazonRDSv19"),
    ("resource groups' tags", "ResourceGroupsTaggingAPI_20170126"),
    ("Systems Manager", "AmazonSSM"),
];

#[test]
fn what_is_for_laptops_is_not_in_it() {
    let container = fs::read(unpack().program()).unwrap();
    // Names of this kind can be seen in a binary: those of the services that it does speak to can.
    for there in ["AmazonS3", "secretsmanager", "AWSSecurityTokenServiceV20110615"] {
        assert!(holds(&container, there), "{there} leaves no trace");
    }
    let client = fs::read(env!("CARGO_BIN_EXE_prisma-migrate-task")).unwrap();
    for (what, trace) in &CLIENT {
        assert!(holds(&client, trace), "{what} leaves no trace");
    }
    let found: Vec<&str> = CLIENT
        .iter()
        .filter(|(_, trace)| holds(&container, trace))
        .map(|(what, _)| *what)
        .collect();
    assert!(found.is_empty(), "the container's program holds {found:?}");
}

#[test]
fn it_runs_as_nobody_and_says_where_it_comes_from() {
    let said = docker(&["inspect", "--format", "{{json .Config}}", &image()]);
    let config: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/prisma-migrate-task"]));
    assert!(config["Cmd"].is_null(), "{config}");
    let label = |name: &str| {
        config["Labels"][format!("org.opencontainers.image.{name}")]
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(label("version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(label("revision").map(|commit| commit.len()), Some(40));
    assert_eq!(label("licenses").as_deref(), Some("MIT OR Apache-2.0"));
}

#[test]
fn it_is_less_than_12_mb_to_pull() {
    let unpacked = unpack();
    let compressed = compressed(&unpacked.program()) + compressed(&unpacked.folder.path().join("etc"));
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{:.1} MB compressed", compressed as f64 / 1e6).unwrap();
    assert!(compressed < 12_000_000, "{compressed} bytes");
}

/// As a registry stores a layer: a tar, by gzip's default.
fn compressed(path: &Path) -> usize {
    let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap());
    let output = Command::new("tar")
        .arg("--create")
        .arg("--gzip")
        .arg("--directory")
        .arg(folder)
        .arg(name)
        .output();
    output.unwrap().stdout.len()
}

#[test]
fn the_sbom_holds_what_the_program_is_made_of_and_nothing_else() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/prisma-migrate-task.cdx.json");
    let sbom = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let sbom: serde_json::Value = serde_json::from_str(&sbom).unwrap();
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    assert_eq!(sbom["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let components = sbom["components"].as_array().unwrap();
    let has = |name: &str| components.iter().any(|component| component["name"] == name);
    assert!(
        has("tokio-postgres") && has("aws-sdk-s3") && has("aws-lc-sys"),
        "{sbom:#}"
    );
    assert!(!has("s3s") && !has("rcgen"), "{sbom:#}");
    // Of the feature `client`.
    assert!(!has("aws-sdk-sso"), "{sbom:#}");
}
