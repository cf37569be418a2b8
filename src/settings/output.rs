//! What is said of the run, to whom, and until when: known before everything else, since the errors of everything else are said so too.

use super::source::source;
use super::usage;
use crate::artifact::Source;
use crate::cli::{ArtifactArgs, Cli, LogFormat, LogLevel, OutputArgs, Verb};
use crate::failure::Failure;
use crate::report::answer::Answer;
use crate::report::place::{Place, Prefix};
use crate::secret::Secret;
use std::time::Duration;
use url::{Host, Url};

/// ECS sends SIGKILL 30 s after SIGTERM where the task definition says nothing else.
const DEFAULT_STOP_WITHIN: Duration = Duration::from_secs(25);

/// What is said, and how.
#[derive(Debug)]
pub struct Output {
    /// The verb, for the outcome.
    pub verb: &'static str,
    /// Where the JSON document goes.
    pub report: Option<Place>,
    /// What CloudFormation waits for.
    pub answers: Vec<Answer>,
    /// Whether metrics are written.
    pub metrics: bool,
    /// Why some of this cannot be: the run's own failure then, said in the ways that can.
    pub refused: Option<Failure>,
    /// `EVENT_ID`.
    pub event_id: Option<String>,
    /// Where ECS tells a container about its task.
    pub task_metadata: Option<String>,
    /// How lines look; none: by whether it is a terminal.
    pub format: Option<LogFormat>,
    /// The outcome is JSON, whatever the log is.
    pub json: bool,
    /// The least severe lines that are shown.
    pub level: LogLevel,
    /// After how long the run stops by itself.
    pub max_duration: Option<Duration>,
    /// How long the run may take to stop, its report and its answers included.
    pub stop_within: Duration,
    /// How often whoever started the task will start it again if that is all that it takes.
    pub retries: u32,
}

impl Output {
    /// What the command line and the variables say of it.
    pub fn of(cli: &Cli, variable: &dyn Fn(&str) -> Option<String>) -> Output {
        let (verb, args, artifact): (_, &OutputArgs, Option<&ArtifactArgs>) = match &cli.verb {
            Verb::Deploy(args) => ("deploy", &args.output, Some(&args.artifact)),
            Verb::Plan(args) => ("plan", &args.output, Some(&args.artifact)),
            Verb::Status(args) => ("status", &args.output, Some(&args.artifact)),
            Verb::Resolve(args) => ("resolve", &args.output, Some(&args.artifact)),
            Verb::Baseline(args) => ("baseline", &args.output, Some(&args.artifact)),
            Verb::Adopt(args) => ("adopt", &args.output, Some(&args.artifact)),
            Verb::Drift(args) => ("drift", &args.output, None),
            Verb::Execute(args) => ("execute", &args.said, None),
        };
        let (max_duration, stop_within) = match &cli.verb {
            Verb::Deploy(args) => args.work.time.stop(),
            Verb::Resolve(args) => args.work.time.stop(),
            Verb::Execute(args) => args.time.stop(),
            _ => (None, DEFAULT_STOP_WITHIN),
        };
        // That the source is wrong is said where it is needed.
        let asked = artifact.and_then(|artifact| source(artifact.source.as_deref(), variable).ok().flatten());
        let mut output = Output {
            verb,
            metrics: args.metrics,
            format: args.log_format,
            json: args.json,
            level: args.log_level,
            max_duration,
            stop_within,
            ..Output::without_command(variable)
        };
        match place(args, asked) {
            Ok(place) => output.report = place,
            Err(failure) => output.refused = Some(failure),
        }
        output
    }

    /// What the variables alone say of it: for a command line that cannot be read, whose sender may wait for an answer.
    pub fn without_command(variable: &dyn Fn(&str) -> Option<String>) -> Output {
        let mut output = Output {
            verb: "deploy",
            report: None,
            answers: Vec::new(),
            metrics: false,
            refused: None,
            event_id: variable("EVENT_ID"),
            task_metadata: variable("ECS_CONTAINER_METADATA_URI_V4"),
            format: None,
            json: false,
            level: LogLevel::Info,
            max_duration: None,
            stop_within: DEFAULT_STOP_WITHIN,
            retries: 0,
        };
        match retries(variable) {
            Ok(retries) => output.retries = retries,
            Err(failure) => output.refused = Some(failure),
        }
        for answer in [custom_resource(variable), wait_condition(variable)] {
            match answer {
                Ok(answer) => output.answers.extend(answer),
                Err(failure) => output.refused = Some(failure),
            }
        }
        output
    }
}

/// Where the report goes. One that is named beats the prefix.
fn place(args: &OutputArgs, asked: Option<Source>) -> Result<Option<Place>, Failure> {
    if let Some(report) = &args.report {
        return Place::parse(report).map(Some).ok_or_else(|| {
            usage(
                "--report is no file and not of the form s3://bucket/key",
                "give one of them",
            )
        });
    }
    let Some(prefix) = &args.report_prefix else {
        return Ok(None);
    };
    let asked = match asked {
        Some(Source::S3(address)) => Some(address),
        _ => None,
    };
    Prefix::parse(prefix, asked)
        .map(|prefix| Some(Place::Below(prefix)))
        .ok_or_else(|| usage("--report-prefix is not of the form s3://bucket/prefix", "give it so"))
}

fn custom_resource(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Answer>, Failure> {
    let Some(url) = address("CFN_RESPONSE_URL", variable)? else {
        return Ok(None);
    };
    let given = |name: &str| {
        variable(name).ok_or_else(|| {
            usage(
                &format!("CFN_RESPONSE_URL is set and {name} is not"),
                "set CFN_STACK_ID, CFN_REQUEST_ID and CFN_LOGICAL_RESOURCE_ID from the event of the custom resource",
            )
        })
    };
    let logical_resource_id = given("CFN_LOGICAL_RESOURCE_ID")?;
    Ok(Some(Answer::CustomResource {
        url,
        stack_id: given("CFN_STACK_ID")?,
        request_id: given("CFN_REQUEST_ID")?,
        // On Create there is none yet. It may never change, since CloudFormation deletes what has another one.
        physical_resource_id: variable("CFN_PHYSICAL_RESOURCE_ID")
            .unwrap_or_else(|| format!("prisma-migrate-task-{logical_resource_id}")),
        logical_resource_id,
    }))
}

fn retries(variable: &dyn Fn(&str) -> Option<String>) -> Result<u32, Failure> {
    let Some(text) = variable("CFN_RETRIES") else {
        return Ok(0);
    };
    text.parse().map_err(|_| {
        usage(
            "CFN_RETRIES is no whole number",
            "set it to how often the task will be started again",
        )
    })
}

fn wait_condition(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Answer>, Failure> {
    Ok(address("CFN_SIGNAL_URL", variable)?.map(|url| Answer::WaitCondition {
        url,
        unique_id: variable("CFN_SIGNAL_ID"),
    }))
}

/// A presigned URL, which is a secret: whoever has it can answer. Without TLS it may only lead to this machine.
fn address(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Secret>, Failure> {
    let Some(text) = variable(name) else { return Ok(None) };
    let is_sound = Url::parse(&text).is_ok_and(|url| match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        ("http", Some(Host::Domain(name))) => name == "localhost",
        _ => false,
    });
    if is_sound {
        return Ok(Some(Secret::new(text)));
    }
    Err(usage(
        &format!("{name} is no https URL"),
        "set it to the URL that CloudFormation gave",
    ))
}
