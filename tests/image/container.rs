//! A container of the image under test, as ECS would start it.

use std::path::Path;

use harness::process::{Run, Running};

use crate::engine::{call, image, label};

/// One container of the image that is being put together.
pub struct Job {
    name: String,
    memory: String,
    network: String,
    options: Vec<String>,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
    secrets: [String; 2],
}

impl Job {
    /// A container of this name in this network, with 64 MB. Where one of the secrets is in what it says, its test fails.
    pub fn new(name: &str, network: &str, secrets: [&str; 2]) -> Job {
        Job {
            name: name.to_owned(),
            memory: "64m".to_owned(),
            network: network.to_owned(),
            options: Vec::new(),
            variables: Vec::new(),
            arguments: Vec::new(),
            secrets: secrets.map(str::to_owned),
        }
    }

    /// Sets a variable; a later one wins.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(there, _)| there != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an option of `docker run`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Mounts a file or folder of the host, read-only.
    pub fn mount(self, from: &Path, to: &str) -> Self {
        let volume = format!("--volume={}:{to}:ro", from.display());
        self.option(&volume)
    }

    /// Adds arguments of the program.
    pub fn args<'b>(mut self, arguments: impl IntoIterator<Item = &'b str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Another limit than 64 MB; there is no swap beyond it.
    pub fn memory(mut self, limit: &str) -> Self {
        limit.clone_into(&mut self.memory);
        self
    }

    /// Another network than the stage's.
    pub fn network(mut self, network: &str) -> Self {
        network.clone_into(&mut self.network);
        self
    }

    /// The container's name.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Runs it to its end.
    pub fn run(self) -> Run {
        self.spawn().wait()
    }

    /// Starts it. The container stays until the stage goes, so that the engine can be asked how it ended.
    pub fn spawn(self) -> Running {
        let (memory, swap) = (
            format!("--memory={}", self.memory),
            format!("--memory-swap={}", self.memory),
        );
        let label = label();
        let mut words = vec!["run", "--label", &label, "--name", &self.name, &memory, &swap];
        words.extend(["--network", &self.network, "--read-only", "--cap-drop", "ALL"]);
        words.extend(["--security-opt", "no-new-privileges"]);
        words.extend(self.options.iter().map(String::as_str));
        words.extend(self.variables.iter().flat_map(|(name, _)| ["--env", name.as_str()]));
        let image = image();
        words.push(&image);
        words.extend(self.arguments.iter().map(String::as_str));
        let call = self
            .variables
            .iter()
            .fold(call(words), |call, (name, value)| call.env(name, value));
        self.secrets
            .iter()
            .fold(call, |call, secret| call.secret(secret))
            .spawn()
    }
}
