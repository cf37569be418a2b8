//! Lambda's part: the gate's function as it stands in the template, run by Node with the SDK that its runtime has.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cloud::{Stack, moto};
use crate::site::Site;

/// Reads the code and the event, and calls the handler.
const RUNTIME: &str = "
const chunks = [];
process.stdin.on('data', (chunk) => chunks.push(chunk)).on('end', async () => {
  const { code, event } = JSON.parse(Buffer.concat(chunks));
  const module = { exports: {} };
  new Function('require', 'module', 'exports', code)(require('node:module').createRequire(process.argv[1]), module, module.exports);
  await module.exports.handler(event);
});
";

/// Invokes the function of the stack, with the variables that its configuration has; its failure is a panic.
pub fn invoke(site: &Site, stack: &Stack, arn: &str, event: &Value) {
    let code = stack.code(arn);
    let configuration = moto().call("lambda", "get_function_configuration", &json!({ "FunctionName": arn }));
    let variables = configuration["Environment"]["Variables"].as_object().cloned();
    let variables = variables.into_iter().flatten();
    let variables = variables.map(|(name, value)| (name, value.as_str().unwrap().to_owned()));
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("cdk/package.json");
    let mut child = Command::new("node")
        .args(["-e", RUNTIME, "--"])
        .arg(packages)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(variables)
        .envs(site.ecs.environment())
        .envs(site.s3.environment())
        // Its pauses are for AWS.
        .env("PACE", "0")
        .env("AWS_ENDPOINT_URL_CLOUDFORMATION", moto().endpoint())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gate's function needs Node");
    let input = json!({ "code": code, "event": event }).to_string();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
