//! A network behind a gateway that forgets connections on which nothing is sent, as NAT gateways, load balancers and network interfaces on AWS do
//! after 350 seconds. Linux's own connection tracking does it, in network namespaces: needs root, iproute2 and iptables.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use crate::token;

/// The network. Dropping it takes it away.
#[derive(Debug)]
pub struct Gateway {
    /// The namespace of the gateway itself.
    gateway: String,
    /// The namespace behind it.
    behind: String,
    /// The first three bytes of its addresses.
    net: String,
    folder: TempDir,
}

impl Gateway {
    /// A network whose gateway drops everything of a TCP connection on which no packet went by for so long, in whole seconds.
    pub fn that_forgets_after(idle: Duration) -> Gateway {
        let token = token();
        let made = Gateway {
            gateway: format!("gateway-{token}"),
            behind: format!("behind-{token}"),
            // 198.18.0.0/15 is for tests of network devices (RFC 2544).
            net: format!("198.18.{}", random_byte()),
            folder: tempfile::tempdir().expect("no temporary folder"),
        };
        made.build(idle);
        made
    }

    fn build(&self, idle: Duration) {
        let Gateway {
            gateway, behind, net, ..
        } = self;
        let short = &gateway[gateway.len() - 8..];
        for line in [
            format!("netns add {gateway}"),
            format!("netns add {behind}"),
            format!("link add pa{short} type veth peer name pb{short} netns {gateway}"),
            format!("link add pc{short} netns {gateway} type veth peer name pd{short} netns {behind}"),
            format!("addr add {net}.1/30 dev pa{short}"),
            format!("-n {gateway} addr add {net}.2/30 dev pb{short}"),
            format!("-n {gateway} addr add {net}.5/30 dev pc{short}"),
            format!("-n {behind} addr add {net}.6/30 dev pd{short}"),
            format!("link set pa{short} up"),
            format!("-n {gateway} link set pb{short} up"),
            format!("-n {gateway} link set pc{short} up"),
            format!("-n {behind} link set pd{short} up"),
            format!("-n {behind} link set lo up"),
            format!("route add {net}.4/30 via {net}.2"),
            format!("-n {behind} route add default via {net}.5"),
        ] {
            run("ip", line.split(' '));
        }
        // Only what begins with a SYN makes a connection: the rest of a forgotten one is dropped, without a word to either side.
        for line in [
            "-P FORWARD DROP",
            "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            "-A FORWARD -p tcp --syn -m conntrack --ctstate NEW -j ACCEPT",
        ] {
            run(
                "ip",
                ["netns", "exec", gateway, "iptables"]
                    .into_iter()
                    .chain(line.split(' ')),
            );
        }
        for setting in [
            "net.ipv4.ip_forward=1".to_owned(),
            "net.netfilter.nf_conntrack_tcp_loose=0".to_owned(),
            format!("net.netfilter.nf_conntrack_tcp_timeout_established={}", idle.as_secs()),
        ] {
            run(
                "ip",
                ["netns", "exec", gateway, "sysctl", "--quiet", "--write", &setting],
            );
        }
    }

    /// The address of this machine as it is seen from behind the gateway.
    pub fn this_machine(&self) -> String {
        format!("{}.1", self.net)
    }

    /// A command that runs behind the gateway.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.behind, program]);
        command
    }

    /// A program that is this one, run behind the gateway.
    pub fn program(&self, program: &Path) -> PathBuf {
        let path = self.folder.path().join("behind");
        let script = format!(
            "#!/bin/sh\nexec ip netns exec {} '{}' \"$@\"\n",
            self.behind,
            program.display()
        );
        fs::write(&path, script).expect("cannot write a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("cannot make a script executable");
        path
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The pairs of interfaces go with them.
        for name in [&self.behind, &self.gateway] {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

fn random_byte() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0]
}

fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) {
    let mut command = Command::new(program);
    command.args(arguments);
    let output: Output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}, of Debian's package iproute2 or iptables: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
