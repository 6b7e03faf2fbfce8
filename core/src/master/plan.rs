//! The plan of an accept: what becomes of each of its operations, walked in order over a pool.
//!
//! Pure: it looks at tables and changes none, so that an accept is carried out as a whole or, if
//! its offers are not good, not at all (OF-13). Called by `accept` only. Deliberately not here:
//! whether the offers are good, and carrying anything out.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::operations::{Operations, news_bytes};
use super::tasks::Tasks;
use crate::allocator::GrantIds;
use crate::ids::{AgentId, ExecutorId, OperationId, TaskId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::disk::DiskChange;
use crate::protocol::offer::{Operation, TaskGroup};
use crate::protocol::operation::{Conversion, OperationKind};
use crate::protocol::refusal::RejectKind;
use crate::protocol::status::Reason;
use crate::protocol::task::{ExecutorInfo, TaskInfo};
use crate::protocol::validate::{Reject, check_task};
use crate::protocol::validate_group::{check_group, check_member};
use crate::protocol::validate_operation::{BadOperation, Caller, check_caller};
use crate::protocol::wire::{cut_text, size};
use crate::resources::{Resource, Resources};

/// What becomes of an accept. All its parts are carried out, or none: there is one now, and will be
/// one for each agent once an accept may use offers of several.
pub(super) struct Plan {
    pub(super) parts: Vec<Part>,
}

/// What becomes of the offers of one agent.
pub(super) struct Part {
    pub(super) agent: AgentKey,
    /// What they were made from.
    pub(super) grants: GrantIds,
    /// In the order of the operations.
    pub(super) steps: Vec<Step>,
    /// What the launched tasks and their executors take.
    pub(super) used: Resources,
    /// What is left of what the operations have made: it is offered again at once (OF-17).
    pub(super) fresh: Resources,
    /// What else is left of the offers.
    pub(super) rest: Resources,
}

/// What becomes of one task or operation.
pub(super) enum Step {
    Launch(TaskInfo),
    /// Tasks with one executor, to be started together.
    LaunchGroup(Vec<TaskInfo>),
    Convert(Turn),
    RefuseTask {
        task: TaskId,
        reason: Reason,
        message: String,
    },
    RefuseOperation {
        kind: OperationKind,
        id: Option<OperationId>,
        reason: RejectKind,
        message: String,
    },
}

/// Something that becomes something else.
pub(super) struct Turn {
    pub(super) id: Option<OperationId>,
    pub(super) kind: OperationKind,
    pub(super) before: Resources,
    pub(super) after: Resources,
    /// What a provider is to do, of which `after` says nothing yet.
    pub(super) disk: Option<DiskChange>,
    /// How long news about it are at most, on the wire, if it has a name.
    pub(super) bytes: usize,
}

/// Checks a task by itself: one alone, or one of a group.
type Check = fn(&TaskInfo) -> Result<(), Reject>;

/// Walks operations over a pool.
pub(super) struct Planner<'a> {
    tasks: &'a Tasks,
    known: &'a Operations,
    framework: FrameworkKey,
    caller: Caller<'a>,
    agent: AgentKey,
    agent_id: &'a AgentId,
    grants: GrantIds,
    /// How many more live tasks the framework may have.
    tasks_left: usize,
    /// How much more the agent may have to report, on the wire.
    bytes_left: usize,
    /// How many more operations may be ordered of the agent.
    orders_left: usize,
    /// How many disks of the agent are being made or taken back.
    jobs: usize,
    /// How many bytes on the wire may come of them.
    coming: usize,
    /// How much more news there may be about operations that the framework has named, on the wire.
    news_left: usize,
    pool: Resources,
    /// What the agent has, offered or not.
    total: Resources,
    used: Resources,
    /// One copy of each shared volume that a task of this accept uses (OF-19).
    shared: Resources,
    /// What operations have made, whether it is still there or not.
    made: Resources,
    /// What operations have made and the same accept may not use (OF-16).
    aside: Resources,
    /// The ids of tasks that were used in this accept, launched or not.
    named: BTreeSet<TaskId>,
    /// The names of operations that were used in this accept, done or not.
    names: BTreeSet<OperationId>,
    executors: BTreeMap<ExecutorId, ExecutorInfo>,
    steps: Vec<Step>,
}

/// What a plan is made from.
pub(super) struct Basis<'a> {
    pub(super) tasks: &'a Tasks,
    /// The operations that frameworks have named and not confirmed the end of.
    pub(super) known: &'a Operations,
    pub(super) framework: FrameworkKey,
    pub(super) caller: Caller<'a>,
    pub(super) agent: AgentKey,
    pub(super) agent_id: &'a AgentId,
    /// What the offers were made from.
    pub(super) grants: GrantIds,
    /// What the agent has.
    pub(super) total: &'a Resources,
    /// How many operations of the agent are open.
    pub(super) open: usize,
    /// How many disks of the agent are being made or taken back.
    pub(super) jobs: usize,
    /// How many bytes on the wire may come of them.
    pub(super) coming: usize,
    /// What is offered.
    pub(super) pool: Resources,
}

/// Makes a plan.
pub(super) fn plan(basis: Basis<'_>, operations: Vec<Operation>) -> Plan {
    let live = basis.tasks.live(basis.framework);
    let reported = basis.tasks.reported_bytes(basis.agent);
    let planner = Planner {
        tasks: basis.tasks,
        known: basis.known,
        framework: basis.framework,
        caller: basis.caller,
        agent: basis.agent,
        agent_id: basis.agent_id,
        grants: basis.grants,
        tasks_left: basis.tasks.most().saturating_sub(live),
        bytes_left: limits::REPORTED_BYTES.saturating_sub(reported),
        orders_left: limits::OPERATIONS_PER_AGENT.saturating_sub(basis.open),
        jobs: basis.jobs,
        coming: basis.coming,
        news_left: basis.known.room(basis.framework),
        pool: basis.pool,
        total: basis.total.clone(),
        used: Resources::new(),
        shared: Resources::new(),
        made: Resources::new(),
        aside: Resources::new(),
        named: BTreeSet::new(),
        names: BTreeSet::new(),
        executors: BTreeMap::new(),
        steps: Vec::new(),
    };
    Plan {
        parts: Vec::from([planner.walk(operations)]),
    }
}

impl Planner<'_> {
    fn walk(mut self, operations: Vec<Operation>) -> Part {
        for operation in operations {
            match operation {
                Operation::Launch(all) => {
                    for task in all {
                        let step = self.launch(task);
                        self.steps.push(step);
                    }
                }
                Operation::LaunchGroup(group) => self.launch_group(group),
                Operation::Convert { id, change } => {
                    let named = self.check_name(id.as_ref());
                    let turn = named.and_then(|()| self.convert(id.clone(), &change));
                    let step = match turn {
                        Ok(turn) => Step::Convert(turn),
                        Err(bad) => self.refuse(change.kind(), id, &bad),
                    };
                    self.steps.push(step);
                }
            }
        }
        // Of a shared volume one copy goes to all tasks together.
        let mut left = self.pool.less(&self.shared);
        let sum = left.add(&self.aside);
        sum.expect("what is made of a pool fits as the pool did");
        let fresh = self.made.less(&self.made.less(&left));
        let rest = left.checked_sub(&fresh);
        Part {
            agent: self.agent,
            grants: self.grants,
            steps: self.steps,
            used: self.used,
            rest: rest.expect("what is in both is in one"),
            fresh,
        }
    }

    fn refuse(&mut self, kind: OperationKind, id: Option<OperationId>, bad: &BadOperation) -> Step {
        let message = cut_text(format!("{kind}: {bad}"));
        // That is news too, which comes before what follows.
        let bytes = news_bytes(id.as_ref(), self.agent_id, message.len());
        self.news_left = self.news_left.saturating_sub(bytes);
        Step::RefuseOperation {
            kind,
            id,
            reason: bad.kind(),
            message,
        }
    }

    fn launch(&mut self, task: TaskInfo) -> Step {
        match self.take(&task, check_task) {
            Ok(()) => Step::Launch(task),
            Err(message) => Step::RefuseTask {
                task: task.id,
                reason: Reason::TaskInvalid,
                message: cut_text(message),
            },
        }
    }

    /// Takes what a group needs, or nothing if one of its tasks cannot be launched (OF-23).
    fn launch_group(&mut self, group: TaskGroup) {
        let ids: Vec<TaskId> = group.tasks.iter().map(|task| task.id.clone()).collect();
        let before = (self.pool.clone(), self.used.clone(), self.shared.clone());
        let (tasks_left, bytes_left) = (self.tasks_left, self.bytes_left);
        let executor = group.executor.id.clone();
        let is_new = !self.executors.contains_key(&executor);
        match self.take_group(group) {
            Ok(tasks) => self.steps.push(Step::LaunchGroup(tasks)),
            Err(message) => {
                (self.pool, self.used, self.shared) = before;
                (self.tasks_left, self.bytes_left) = (tasks_left, bytes_left);
                if is_new {
                    self.executors.remove(&executor);
                }
                let message = cut_text(message);
                self.steps
                    .extend(ids.into_iter().map(|task| Step::RefuseTask {
                        task,
                        reason: Reason::TaskGroupInvalid,
                        message: message.clone(),
                    }));
            }
        }
    }

    fn take_group(&mut self, group: TaskGroup) -> Result<Vec<TaskInfo>, String> {
        let tasks = group.into_tasks();
        let tasks = tasks.map_err(|id| format!("task {id} has another executor than its group"))?;
        check_group(&tasks).map_err(|reject| reject.to_string())?;
        for task in &tasks {
            let taken = self.take(task, check_member);
            taken.map_err(|why| format!("task {}: {why}", task.id))?;
        }
        Ok(tasks)
    }

    /// Takes what a task needs out of the pool, or says why it cannot be launched.
    fn take(&mut self, task: &TaskInfo, check: Check) -> Result<(), String> {
        check(task).map_err(|reject| reject.to_string())?;
        if task.agent != *self.agent_id {
            return Err(format!(
                "task is for agent {}, but the offer is of agent {}",
                task.agent, self.agent_id
            ));
        }
        // TK-08
        let known = self.tasks.find(self.framework, &task.id).is_some();
        let known = known && !planted(Mutant::TaskIdTwice);
        if !self.named.insert(task.id.clone()) || known {
            return Err(format!("task id {} is used already", task.id));
        }
        if self.tasks_left == 0 {
            let limit = self.tasks.most();
            return Err(format!("the framework has {limit} tasks, the most allowed"));
        }
        // One after the other: added up, a port that both need would be there once.
        let mut pool = self.pool.clone();
        let shared = task.resources.filter(Resource::is_shared);
        draw(&mut pool, "task", &task.resources)?;
        let executor = self.new_executor(task)?;
        if let Some(executor) = executor {
            draw(&mut pool, "executor", &executor.resources)?;
        }
        let (place, left) = ((self.framework, self.agent), self.bytes_left);
        let role = self.caller.role;
        let bytes_left = self.tasks.left_beside(place, role, task, executor, left)?;
        // Others may use it as well, in this accept and after it (RM-48).
        let back = pool.add(&shared);
        back.expect("what was taken fits where it was");
        let mut used = self.used.clone();
        let executor = executor.map(|executor| &executor.resources);
        for part in [Some(&task.resources), executor].into_iter().flatten() {
            // Copies of what is shared are more than there were in the pool.
            used.add(part).map_err(|overflow| overflow.to_string())?;
        }
        self.used = used;
        let new = shared.less(&self.shared);
        let sum = self.shared.add(&new);
        sum.expect("there is one copy of each");
        self.pool = pool;
        self.tasks_left -= 1;
        self.bytes_left = bytes_left;
        if let Some(executor) = &task.executor {
            let id = executor.id.clone();
            self.executors.entry(id).or_insert_with(|| executor.clone());
        }
        Ok(())
    }

    /// Returns the executor that a task would be the first of: one that runs costs nothing (OF-18),
    /// but has to be the same (TK-13).
    fn new_executor<'t>(&self, task: &'t TaskInfo) -> Result<Option<&'t ExecutorInfo>, String> {
        let Some(executor) = &task.executor else {
            return Ok(None);
        };
        let own = self.caller.role;
        let running = self
            .tasks
            .executor(self.framework, self.agent, &executor.id);
        let new = self.executors.get(&executor.id);
        match running.or_else(|| Some((new?, own))) {
            None => Ok(Some(executor)),
            Some((other, _)) if other != executor => Err(format!(
                "executor {} is there already, with another description",
                executor.id
            )),
            // RQ-06
            Some((_, role)) if role != own => Err(format!(
                "executor {} is there already, in role {role} and not {own}",
                executor.id
            )),
            Some(_) => Ok(None),
        }
    }

    /// Checks that no task uses a shared volume that is to be destroyed (VA-20). One that is not
    /// shared is not offered as long as somebody uses it.
    fn check_unused(&self, change: &Conversion) -> Result<(), BadOperation> {
        let Conversion::Destroy(volumes) = change else {
            return Ok(());
        };
        let keys = self.tasks.of_agent(self.agent).into_iter();
        let tasks = keys.map(|key| &self.tasks[key]);
        let running = tasks.filter(|task| task.is_booked());
        let used = running.flat_map(|task| task.resources.iter());
        let mut used = used.chain(&self.shared);
        let volume = used.find(|it| volumes.iter().any(|volume| is_same_volume(volume, it)));
        match volume.cloned() {
            None => Ok(()),
            Some(resource) => Err(BadOperation::InUse { resource }),
        }
    }

    /// Checks that the name of an operation is no other's, so that what is said of one is never
    /// taken for the end of another (I11).
    fn check_name(&mut self, id: Option<&OperationId>) -> Result<(), BadOperation> {
        let Some(id) = id else {
            return Ok(());
        };
        let known = self.known.find(self.framework, id).is_some();
        if !self.names.insert(id.clone()) || known {
            let id = id.clone();
            return Err(BadOperation::NameTaken { id });
        }
        let limit = self.known.most();
        if self.known.count(self.framework) + self.names.len() > limit {
            let of = "that the framework has not confirmed the end of";
            return Err(BadOperation::TooMany { limit, of });
        }
        Ok(())
    }

    /// Checks that there may be one more operation.
    fn check_number(&self, change: &Conversion) -> Result<(), BadOperation> {
        let jobs = limits::DISK_JOBS_PER_AGENT;
        for (is_full, limit, of) in [
            (
                self.orders_left == 0,
                limits::OPERATIONS_PER_AGENT,
                "that the agent has not confirmed",
            ),
            (
                change.disk().is_some() && self.jobs >= jobs,
                jobs,
                "that the agent's provider of disks is at",
            ),
        ] {
            if is_full {
                return Err(BadOperation::TooMany { limit, of });
            }
        }
        Ok(())
    }

    /// Makes something else of a part of the pool, and with it of what the agent has (OF-14), or
    /// says why it cannot be done.
    fn convert(
        &mut self,
        id: Option<OperationId>,
        change: &Conversion,
    ) -> Result<Turn, BadOperation> {
        self.check_number(change)?;
        check_caller(change, &self.caller)?;
        self.check_unused(change)?;
        let mut pool = change.apply(&self.pool)?;
        // What others hold counts as well: a volume's id is new to the agent (RM-42).
        let total = change.apply(&self.total)?;
        // And so does what providers are at: it is there again when they have ended.
        let disk = change.disk();
        let coming = self.coming + disk.map_or(0, DiskChange::most_bytes);
        let limit = limits::AGENT_BYTES;
        if size(&total) + coming > limit {
            return Err(BadOperation::TooLarge { limit });
        }
        let (before, after) = change.turns(&self.pool)?;
        let makes = disk.map_or_else(|| size(&after), DiskChange::most_bytes);
        let bytes = news_bytes(id.as_ref(), self.agent_id, makes);
        let limit = limits::OPERATION_BYTES;
        let too_much = BadOperation::TooMuchNews { limit };
        let news_left = self.news_left.checked_sub(bytes).ok_or(too_much)?;
        let mut made = self.made.less(&before);
        made.add(&after)
            .map_err(|overflow| BadOperation::Resources(overflow.into()))?;
        match change {
            Conversion::Grow { .. } | Conversion::Shrink { .. } => {
                let rest = pool.subtract(&after);
                rest.expect("what an operation makes is there after it");
                let sum = self.aside.add(&after);
                sum.map_err(|overflow| BadOperation::Resources(overflow.into()))?;
            }
            Conversion::Reserve(_)
            | Conversion::Unreserve(_)
            | Conversion::Create(_)
            | Conversion::Destroy(_)
            | Conversion::Disk(_) => {}
        }
        (self.pool, self.total, self.made) = (pool, total, made);
        self.orders_left -= 1;
        self.jobs += usize::from(disk.is_some());
        (self.coming, self.news_left) = (coming, news_left);
        Ok(Turn {
            id,
            kind: change.kind(),
            before,
            after,
            disk: disk.cloned(),
            bytes,
        })
    }
}

/// Returns whether both are the same volume, in however many copies.
fn is_same_volume(one: &Resource, other: &Resource) -> bool {
    one.is_persistent_volume() && one.metadata() == other.metadata()
}

/// Takes what somebody needs out of a pool, or says what is missing.
fn draw(pool: &mut Resources, who: &str, needs: &Resources) -> Result<(), String> {
    let Err(error) = pool.subtract(needs) else {
        return Ok(());
    };
    if planted(Mutant::OverdraftAllowed) {
        return Ok(());
    }
    let wanted = error.wanted;
    let left = pool.filter(|entry| entry.name() == wanted.name());
    Err(if left.is_empty() {
        let name = wanted.name();
        format!("{who} needs {wanted} but the offer has no {name} left")
    } else {
        format!("{who} needs {wanted} but the offer has {left} left")
    })
}
