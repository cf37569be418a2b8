//! ECS and CloudWatch Logs in this process, as the SDK speaks to them: each task that is run is the real binary, with the environment of its task
//! definition, and what it says are the events of its log stream.
//!
//! Sources: the ECS API reference ("RunTask", "DescribeTasks", "ListTasks", "StopTask", "DescribeTaskDefinition"), the ECS developer guide ("Amazon ECS
//! task lifecycle", "Amazon ECS task state change events", "Amazon ECS task metadata endpoint version 4") and the CloudWatch Logs API reference
//! ("GetLogEvents"). What is not implemented is refused, never ignored.
//!
//! ```no_run
//! use harness::ecs::{Definition, Ecs, named};
//!
//! let ecs = Ecs::start("target/debug/prisma-migrate-task");
//! let definition = ecs.register(Definition::new("newsroom-migrate").env("LOCK_WAIT", "20m"));
//! let task = ecs.run_task(serde_json::json!({ "cluster": ecs.cluster(), "taskDefinition": definition }));
//!
//! assert_eq!(named(&ecs.stopped(&task)["containers"], "migrate")["exitCode"], 0);
//! assert!(ecs.log(&task).contains("applied"));
//! ```

mod container;
mod definition;
mod describe;
mod logs;
mod run_task;
mod server;
mod task;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

pub use definition::Definition;
pub use server::Fault;

use crate::{token, until};
use container::Stop;
use logs::Logs;
use task::Task;

/// The account of everything here.
pub const ACCOUNT: &str = "123456789012";
/// The region of everything here.
pub const REGION: &str = "eu-west-1";

/// The entry of this name in what ECS lists of a task: its containers, its overrides. ECS promises no order.
#[track_caller]
pub fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut entries = list.as_array().into_iter().flatten();
    entries
        .find(|entry| entry["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

/// What becomes of the next task that is asked for.
#[derive(Clone, Debug)]
enum Fate {
    /// RunTask answers 200 with `failures[]` and no task.
    Refused { reason: String, detail: String },
    /// The task stops before its container has started.
    NeverStarts { reason: String },
}

/// The services on 127.0.0.1, with one cluster. Dropping the value ends them and kills whatever runs.
#[derive(Debug)]
pub struct Ecs {
    shared: Arc<Shared>,
    cluster: String,
    access_key: String,
    secret_key: String,
    runtime: Option<Runtime>,
}

/// What the requests, the tasks and the test share.
#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    program: PathBuf,
    runtime: Handle,
    state: Mutex<State>,
    held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// By name.
    clusters: BTreeSet<String>,
    /// By family; the first has revision 1.
    definitions: BTreeMap<String, Vec<Definition>>,
    /// By id.
    tasks: BTreeMap<String, Task>,
    /// By cluster and client token: what was asked with it, and the task that came of it.
    tokens: HashMap<(String, String), (Value, String)>,
    fates: VecDeque<Fate>,
    faults: HashMap<String, VecDeque<Fault>>,
    requests: Vec<(String, Value)>,
    /// Access key ids that are too old.
    expired: BTreeSet<String>,
    logs: Logs,
    events: Vec<Value>,
    platform: Vec<(String, String)>,
    secrets: Vec<String>,
    grace: Option<Duration>,
    page: Option<usize>,
    /// How many tasks there were so far.
    started: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Ecs {
    /// The services, with a cluster of its own and without task definitions. Whatever image a definition names, its container is this program.
    pub fn start(program: impl Into<PathBuf>) -> Ecs {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("no runtime for ECS");
        let (listener, address) = server::bind(&runtime);
        let shared = Arc::new(Shared {
            address,
            program: program.into(),
            runtime: runtime.handle().clone(),
            state: Mutex::default(),
            held: watch::Sender::new(false),
        });
        runtime.spawn(server::serve(listener, Arc::clone(&shared)));
        let cluster = format!("newsroom-{}", token());
        shared.lock().clusters.insert(cluster.clone());
        Ecs {
            shared,
            cluster,
            access_key: format!("AKIA{}", token().to_uppercase()),
            secret_key: format!("{}{}", token(), token()),
            runtime: Some(runtime),
        }
    }

    /// The name of its cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// That cluster's ARN.
    pub fn cluster_arn(&self) -> String {
        task::cluster_arn(&self.cluster)
    }

    /// Adds a cluster, by its name or ARN.
    pub fn add_cluster(&self, cluster: &str) {
        self.shared.lock().clusters.insert(task::last(cluster).to_owned());
    }

    /// `http://127.0.0.1:port`, of both services.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// The secret key: letters and digits only, so that it looks the same wherever it leaks to.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The variables by which an AWS SDK finds both services and signs for them.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL_ECS", self.endpoint()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// What every container has beside its definition: the credentials of its role, and where S3 is.
    pub fn platform(&self, variables: impl IntoIterator<Item = (String, String)>) {
        self.shared.lock().platform.extend(variables);
    }

    /// A text that must not turn up in any log: [`Ecs::log`] asserts it.
    pub fn secret(&self, text: &str) {
        self.shared.lock().secrets.push(text.to_owned());
    }

    /// Registers a task definition; its ARN. A family that exists gets its next revision.
    pub fn register(&self, definition: Definition) -> String {
        let mut state = self.shared.lock();
        state.secrets.extend(definition.hushed.iter().cloned());
        let revisions = state.definitions.entry(definition.family.clone()).or_default();
        revisions.push(definition);
        definition::arn(&revisions[revisions.len() - 1].family, revisions.len())
    }

    /// What an SDK would do: RunTask, with Fargate and a network where the request names none. The task's ARN.
    #[track_caller]
    pub fn run_task(&self, mut request: Value) -> String {
        let network = serde_json::json!({ "awsvpcConfiguration": { "subnets": ["subnet-0123456789abcdef0"] } });
        for (name, value) in [("launchType", "FARGATE".into()), ("networkConfiguration", network)] {
            if request[name].is_null() {
                request[name] = value;
            }
        }
        let answer = run_task::run_task(&self.shared, &request);
        let answer = answer.unwrap_or_else(|refusal| panic!("RunTask: {refusal:?}"));
        let arn = answer["tasks"][0]["taskArn"].as_str().map(str::to_owned);
        arn.unwrap_or_else(|| panic!("RunTask started nothing: {answer:#}"))
    }

    /// StopTask, as a person does it in the console.
    #[track_caller]
    pub fn stop_task(&self, task: &str) {
        let id = task::last(task).to_owned();
        let cluster = self.shared.lock().task(task).cluster.clone();
        let answer = run_task::stop_task(&self.shared, &serde_json::json!({ "cluster": cluster, "task": id }));
        answer.unwrap_or_else(|refusal| panic!("StopTask: {refusal:?}"));
    }

    /// The next task that is asked for never starts: `"CannotPullContainerError: …"`, `"ResourceInitializationError: …"`.
    pub fn never_starts(&self, reason: &str) {
        let reason = reason.to_owned();
        self.shared.lock().fates.push_back(Fate::NeverStarts { reason });
    }

    /// The next RunTask is answered with 200, no task and this in `failures[]`: `("RESOURCE:MEMORY", "")`.
    pub fn refuses(&self, reason: &str, detail: &str) {
        let (reason, detail) = (reason.to_owned(), detail.to_owned());
        self.shared.lock().fates.push_back(Fate::Refused { reason, detail });
    }

    /// The next `count` requests of this operation, such as `DescribeTasks`, meet this fault.
    pub fn fault(&self, operation: &str, fault: Fault, count: usize) {
        let mut state = self.shared.lock();
        let faults = state.faults.entry(operation.to_owned()).or_default();
        faults.extend(std::iter::repeat_n(fault, count));
    }

    /// From now on the credentials with this access key id have expired.
    pub fn expire(&self, access_key: &str) {
        self.shared.lock().expired.insert(access_key.to_owned());
    }

    /// From now on tasks stay PENDING, until [`Ecs::release`].
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Those that are held start.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// How long a container has between SIGTERM and SIGKILL, in place of its definition's stopTimeout: no test waits for two minutes.
    pub fn stop_timeout(&self, grace: Duration) {
        self.shared.lock().grace = Some(grace);
    }

    /// ListTasks and GetLogEvents answer with at most so many at once, whatever the request allows.
    pub fn page(&self, most: usize) {
        self.shared.lock().page = Some(most);
    }

    /// Fargate retires the task: it stops as with [`Ecs::stop_task`], and nobody has asked for it.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-maintenance.html>; the API reference, "Task", `stopCode`.
    pub fn retire(&self, task: &str) {
        self.shared.lock().task(task).stop(Stop::Retired);
    }

    /// The kernel kills the container, as if it had used up its memory.
    pub fn out_of_memory(&self, task: &str) {
        self.shared.lock().task(task).stop(Stop::OutOfMemory);
    }

    /// The task was stopped an hour ago: ECS no longer knows it.
    pub fn forget(&self, task: &str) {
        let id = task::last(task).to_owned();
        self.stopped(task);
        self.shared.lock().tasks.remove(&id);
    }

    /// What is said from now on is kept back, until [`Ecs::deliver_logs`].
    pub fn delay_logs(&self) {
        self.shared.lock().logs.delay();
    }

    /// What was kept back is there, and no longer kept back.
    pub fn deliver_logs(&self) {
        self.shared.lock().logs.deliver();
    }

    /// Of each stream only the first events ever arrive.
    pub fn lose_logs_after(&self, events: usize) {
        self.shared.lock().logs.lose_after(events);
    }

    /// The requests of this operation so far, as they came.
    pub fn requests(&self, operation: &str) -> Vec<Value> {
        let state = self.shared.lock();
        let of = state.requests.iter().filter(|(name, _)| name == operation);
        of.map(|(_, request)| request.clone()).collect()
    }

    /// The ARNs of the tasks that ECS knows, the oldest first.
    pub fn tasks(&self) -> Vec<String> {
        let state = self.shared.lock();
        let mut tasks: Vec<&Task> = state.tasks.values().collect();
        tasks.sort_by_key(|task| task.number);
        tasks.into_iter().map(|task| task.arn.clone()).collect()
    }

    /// The task, as DescribeTasks shows it at this moment.
    #[track_caller]
    pub fn task(&self, task: &str) -> Value {
        self.shared.lock().task(task).document()
    }

    /// Waits until the task has stopped; the task, as DescribeTasks shows it.
    #[track_caller]
    pub fn stopped(&self, task: &str) -> Value {
        until("the task has stopped", || self.task(task)["lastStatus"] == "STOPPED");
        self.task(task)
    }

    /// Waits until the task runs; panics when it has stopped before.
    #[track_caller]
    pub fn running(&self, task: &str) {
        until("the task runs", || {
            let now = self.task(task);
            assert_ne!(now["lastStatus"], "STOPPED", "{now:#}\n{}", self.log(task));
            now["lastStatus"] == "RUNNING"
        });
    }

    /// Waits until the task has said this; panics when it stops without.
    #[track_caller]
    pub fn says(&self, task: &str, text: &str) {
        until(&format!("the task says {text:?}"), || {
            // The end is looked at before the text: what was said between the two looks must count.
            let over = self.task(task)["lastStatus"] == "STOPPED";
            let said = self.log(task);
            assert!(
                said.contains(text) || !over,
                "the task stopped without {text:?}\n{said}"
            );
            said.contains(text)
        });
    }

    /// All that the task has said so far, delivered or not; panics where a secret is in it.
    #[track_caller]
    pub fn log(&self, task: &str) -> String {
        let state = self.shared.lock();
        let text = state.logs.text(&state.task(task).stream());
        for secret in &state.secrets {
            assert!(!text.contains(secret), "a secret is in the log\n{text}");
        }
        text
    }

    /// The "ECS Task State Change" events so far, as EventBridge carries them.
    pub fn events(&self) -> Vec<Value> {
        self.shared.lock().events.clone()
    }

    /// Waits until the task has stopped; the event of that.
    #[track_caller]
    pub fn stopped_event(&self, task: &str) -> Value {
        let arn = self.stopped(task)["taskArn"].clone();
        let events = self.events();
        let mut of = events
            .into_iter()
            .filter(|event| event["detail"]["taskArn"] == arn && event["detail"]["lastStatus"] == "STOPPED");
        of.next().expect("a task that has stopped has its event")
    }
}

impl State {
    /// A task that is known, by its id or ARN.
    #[track_caller]
    fn task(&self, task: &str) -> &Task {
        let known = self.tasks.get(task::last(task));
        known.unwrap_or_else(|| panic!("ECS knows no task {task}"))
    }
}

impl Drop for Ecs {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Containers are killed when what waits for them is dropped.
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}
