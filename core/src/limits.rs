//! Every bound of the system, in one place. Reaching one is a typed refusal, never a panic and
//! never an unbounded buffer.

use core::time::Duration;

/// The greatest number that an operation of an agent may have: one a microsecond for eight years.
pub const OPERATION_NUMBER: u64 = 1 << 48;

/// The longest id, in bytes (RM-61).
pub const ID_BYTES: usize = 255;
/// The longest text of a person's making that is kept (names, messages), in bytes.
pub const TEXT_BYTES: usize = 4_096;
/// The largest frame on the wire, in bytes.
pub const FRAME_BYTES: usize = 4 * 1024 * 1024;
/// How many bytes of a list go into one frame; a longer list goes in several. What is longer by
/// itself goes alone.
pub const SLICE_BYTES: usize = FRAME_BYTES / 4;
/// The most bytes of one task's description on the wire, its executor's included. It goes to its
/// agent in one frame.
pub const TASK_BYTES: usize = FRAME_BYTES / 2;
/// The most bytes of what an agent reports of one task, on the wire: what of its description the
/// master keeps, its role, and its framework's id.
pub const REPORT_BYTES: usize = TASK_BYTES + 2 * TEXT_BYTES;
/// The longest message between a framework and its executors, in bytes.
pub const MESSAGE_BYTES: usize = 256 * 1024;
/// The most bytes in one frame of what a further process reads or writes.
pub const ENTER_BYTES: usize = 16 * 1024;
/// The longest request for a further process, in bytes on the wire.
pub const ENTER_REQUEST_BYTES: usize = 64 * 1024;
/// The longest object of numbers about one container, in bytes.
pub const STATISTICS_BYTES: usize = 64 * 1024;
/// The most further processes of one task that are asked for from outside, at a time.
pub const ENTERED_PER_TASK: usize = 16;
/// The most of one agent.
pub const ENTERED_PER_AGENT: usize = 256;
/// The most bytes of what a framework says about itself, on the wire.
pub const FRAMEWORK_BYTES: usize = 64 * 1024;
/// The most bytes of what a framework wants, on the wire.
pub const WISHES_BYTES: usize = 1024 * 1024;
/// Of how many frameworks a master and an agent keep in mind that the agent was told of them over
/// their connection. Beyond it they begin anew.
pub const INTRODUCED: usize = 256;
/// The most roles of one framework; their names have to fit what it may say about itself.
pub const ROLES_PER_FRAMEWORK: usize = 1_024;
/// The most bytes of what an agent says about itself, on the wire.
pub const AGENT_BYTES: usize = 512 * 1024;
/// The most numbers in all ranges of one agent: as many as there are ports. Tasks may take every
/// other one, and what is left still has to fit a frame.
pub const RANGED_NUMBERS: usize = 65_536;
/// The most tasks of one agent, ended ones that nobody acknowledged included.
pub const TASKS_PER_AGENT: usize = 65_536;
/// The most bytes of all that a returning agent says of frameworks, tasks and executors, on the
/// wire: its most tasks with four KiB each.
pub const ACCOUNT_BYTES: usize = TASKS_PER_AGENT * 4_096;
/// The most bytes of what tasks and executors that are launched make an agent report, on the wire;
/// a task that would make it more is refused. Half of what it may report: beside its frameworks
/// ([`FRAMEWORKS_PER_AGENT`]), there may be tasks that it has not heard to be over.
pub const REPORTED_BYTES: usize = ACCOUNT_BYTES / 2;
/// The most frameworks with tasks on one agent, each with executors of its own counted twice. A
/// task of one more is refused: the agent would have to describe it. And so many frameworks that a
/// master does not know it takes in on the word of one agent.
pub const FRAMEWORKS_PER_AGENT: usize = 1_024;
/// The most bytes of all that returning agents have said and not finished; beyond it the one who
/// has said the most is cut off, and begins anew later.
pub const ACCOUNTS_BYTES: usize = 4 * ACCOUNT_BYTES;
/// The most labels of one thing that has some.
pub const LABELS: usize = 256;
/// The most bytes of what one task or executor publishes about itself, on the wire: its labels and
/// how it is discovered. Masters keep it (TK-04).
pub const PUBLISHED_BYTES: usize = 64 * 1024;
/// The most addresses of one container that are told: two of each network.
pub const ADDRESSES: usize = 2 * NETWORKS;
/// The longest of them, in bytes; what is longer is none.
pub const ADDRESS_BYTES: usize = 64;
/// The most bytes of news about one task, on the wire: its text, addresses, ids and numbers.
pub const STATUS_BYTES: usize = TEXT_BYTES + ADDRESSES * (ADDRESS_BYTES + 1) + 2 * ID_BYTES + 128;
/// The most ports of one service that is discovered.
pub const DISCOVERY_PORTS: usize = 1_024;
/// The most bytes of what one task or executor asks of its container, on the wire. Secrets are in
/// it.
pub const CONTAINER_BYTES: usize = 256 * 1024;
/// The most volumes of one container.
pub const VOLUMES: usize = 256;
/// The most networks that one container joins; addresses in one of them, and entries of each list
/// of its resolver.
pub const NETWORKS: usize = 32;
/// The most URIs that are fetched for one program.
pub const URIS: usize = 1_024;
/// The shortest pause between two checks of a task.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The most copies of one shared resource that are added up (RM-48).
pub const COPIES: u32 = 65_536;
/// The most tasks in one accept.
pub const TASKS_PER_ACCEPT: usize = 10_000;
/// The most tasks of one group.
pub const TASKS_PER_GROUP: usize = 256;
/// The most bytes of the tasks of all groups in one accept, each with its executor.
pub const GROUPS_BYTES_PER_ACCEPT: usize = 4 * FRAME_BYTES;
/// The most operations on resources in one accept.
pub const OPERATIONS_PER_ACCEPT: usize = 1_000;
/// The most operations of one agent that it has not yet confirmed to have carried out.
pub const OPERATIONS_PER_AGENT: usize = 1_024;
/// The most disks of one agent that are being made or taken back.
pub const DISK_JOBS_PER_AGENT: usize = 64;
/// The most bytes of what a provider says about a disk that it made, on the wire.
pub const DISK_BYTES: usize = 4_096;
/// The most operations of one framework that it has named and not confirmed the end of. As many may
/// be named in one call.
pub const OPERATIONS_PER_FRAMEWORK: usize = 10_000;
/// The most bytes of news about such operations of a framework, on the wire. What one will have
/// made counts as soon as it is named.
pub const OPERATION_BYTES: usize = 16 * 1024 * 1024;
/// What counts of news about one beside what it has made, its id and its agent's.
pub const OPERATION_NEWS_BYTES: usize = 512;
/// Of how many operations an agent goes on saying what became of them, those of all frameworks
/// together; beyond it the oldest are said no more.
pub const OPERATIONS_SAID: usize = 4 * OPERATIONS_PER_FRAMEWORK;
/// How many bytes of such news, on the wire.
pub const OPERATIONS_SAID_BYTES: usize = 4 * OPERATION_BYTES;
/// For how long an agent is to go on saying how an operation ended whose framework nobody knows: it
/// may be of a leadership whose registry is lost, and come back (OF-58, TL-09).
pub const ORPHANS_KEPT: Duration = Duration::from_secs(10 * 60);
/// The most offers named in one call.
pub const OFFERS_PER_CALL: usize = 10_000;
/// The most entries of a command's argument list or environment.
pub const COMMAND_ENTRIES: usize = 4_096;
/// The most agents of one master, those out of reach not counted.
pub const AGENTS: usize = 100_000;
/// The most agents out of reach that a master remembers (TK-106); beyond it those that are away the
/// longest are given up.
pub const UNREACHABLE_AGENTS: usize = 102_400;
/// The most agents gone for good that a master remembers (TK-106); beyond it the oldest go.
pub const GONE_AGENTS: usize = 102_400;
/// How many of them may have had one name; beyond it the oldest of that name go, so that whoever
/// joins and leaves again and again has nobody else forgotten.
pub const GONE_PER_NAME: usize = 100;
/// For how long agents out of reach may come back, and those that are gone are remembered (HA-20).
pub const AGENT_ABSENCE: Duration = Duration::from_secs(14 * 24 * 3_600);
/// How often it is looked who was away for longer than that (HA-20, TL-08).
pub const COLLECTION: Duration = Duration::from_secs(15 * 60);
/// The most frameworks of one master. Beyond it a new one takes the place of the one that has been
/// away the longest, if that runs nothing and was away for [`FRAMEWORK_ABSENCE`].
pub const FRAMEWORKS: usize = 10_000;
/// For how long a framework that runs nothing keeps its place among the most that there may be.
pub const FRAMEWORK_ABSENCE: Duration = Duration::from_secs(3_600);
/// The most live tasks of one framework.
pub const TASKS_PER_FRAMEWORK: usize = 200_000;
/// How many ended tasks of a framework are remembered, so that their ids are not used again
/// (TK-102).
pub const COMPLETED_TASKS_PER_FRAMEWORK: usize = 1_000;
/// The most bytes of such tasks of a framework, on the wire; beyond it the oldest go early. A usual
/// one has some hundred.
pub const COMPLETED_BYTES_PER_FRAMEWORK: usize = 4 * 1024 * 1024;
/// How many ended frameworks are remembered with their tasks (TK-101).
pub const COMPLETED_FRAMEWORKS: usize = 50;
/// Of how many executors of a framework an agent remembers tasks that have ended (TK-104).
pub const COMPLETED_EXECUTORS_PER_FRAMEWORK: usize = 150;
/// How many ended tasks of an executor its agent remembers (TK-105).
pub const COMPLETED_TASKS_PER_EXECUTOR: usize = 200;
/// Of how many ended frameworks the registry remembers why, so that their ids do not come back.
pub const ENDED_FRAMEWORKS: usize = 10_000;
/// Of how many of them that had one principal; beyond it the oldest of that principal go.
pub const ENDED_PER_PRINCIPAL: usize = 1_000;
/// How long a framework's tasks go on while it is away, unless it says otherwise: over a weekend,
/// and until somebody has looked (FW-04).
pub const FAILOVER_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The most refuse filters kept for longer than an interval; beyond it those that lapse first lapse
/// at the end of it, which only offers earlier. One takes twelve bytes.
pub const FILTERS: usize = 60_000_000;
/// The most refuse filters of one framework, role and agent; the bound on what a look-up costs.
pub const FILTERS_PER_KEY: usize = 64;
/// The most constraints that a framework states for one role.
pub const CONSTRAINTS: usize = 1_024;
/// The longest regular expression in a constraint, in bytes (OF-44).
pub const PATTERN_BYTES: usize = 1_024;
/// The most roles that have quota; as many may have a weight of their own.
pub const ROLES: usize = 10_000;
/// The most shapes of one demand.
pub const SHAPES: usize = 256;
/// The most names in one shape of a demand.
pub const SHAPE_NAMES: usize = 64;
/// What a regular expression in a constraint may take once it is compiled, in bytes (OF-44).
pub const PATTERN_PROGRAM_BYTES: usize = 16 * 1024;
/// What all regular expressions of a framework may take together once they are compiled, in bytes.
pub const PATTERNS_PROGRAM_BYTES: usize = 4 * 1024 * 1024;
/// The most effects that may wait for the journal before inputs are no longer taken in.
pub const HELD_EFFECTS: usize = 100_000;
/// The most inputs that a driver takes in before it writes.
pub const INPUTS_PER_TURN: usize = 256;
/// The most frames that wait for one peer; one more disconnects it.
pub const QUEUED_FRAMES_PER_PEER: usize = 65_536;

/// The most sandboxes of ended tasks that an agent keeps; beyond it the oldest go early.
pub const RETIRED_SANDBOXES: usize = 100_000;
/// The most sandboxes that are being deleted at a time.
pub const DELETIONS: usize = 1_024;
/// The most operations of which an agent remembers that what they have destroyed is to be deleted.
pub const DESTROYED_VOLUMES: usize = 1_024;
/// How long all of that may be on the wire: far more than what one operation can destroy.
pub const DESTROYED_VOLUMES_BYTES: usize = 32 * AGENT_BYTES;

/// The most messages that an executor may send its framework within a second; what is more is
/// dropped, as it would be without a master (FW-63).
pub const EXECUTOR_MESSAGES: usize = 1_000;
/// The most bytes of such messages.
pub const EXECUTOR_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// How much later than it wanted an agent is woken at most, unless it stood still.
pub const STANDSTILL: Duration = Duration::from_secs(1);
/// For how long it then listens before it holds anything against anybody.
pub const LISTENING: Duration = Duration::from_secs(1);
/// How often in a row it does so: one that is late each time goes on as it is.
pub const LISTENED: u32 = 3;

/// The most updates that a scheduler remembers to have told and not yet seen confirmed; beyond it
/// one that comes again is told again.
pub const UNCONFIRMED_UPDATES: usize = 100_000;
/// The most tasks that a framework may ask for in one call.
pub const RECONCILED_PER_CALL: usize = 1_000;
/// How often a framework that asks for all its tasks again and again is told of them: the question
/// is of a few bytes, and the answer as long as it has tasks.
pub const RECONCILED_WHOLE: Duration = Duration::from_secs(1);
/// The most tasks of one framework that were asked for and wait for a master's agents to return.
/// Of more nothing is said: the call is refused for them, and the framework asks again. With ids
/// of 40 bytes so many take 1 MB.
pub const ASKS_PER_FRAMEWORK: usize = 4_000;
/// The most of all frameworks: 250 of them have all that they may, in 250 MB. Half of it may be of
/// tasks on agents out of reach, which are answered, and once more when such an agent returns; of
/// one framework as many as it may have tasks.
pub const ASKS: usize = 250 * ASKS_PER_FRAMEWORK;
/// The most tasks that a scheduler has asked a master for and not heard of; others wait for their
/// turn. A master has room for so many, unless hundreds of frameworks ask as much at a time
/// ([`ASKS`]).
pub const QUESTIONS_ASKED: usize = ASKS_PER_FRAMEWORK / 2;
/// The most refused tasks of a framework that are said until it confirms them; beyond it they are
/// said once.
pub const VERDICTS_PER_FRAMEWORK: usize = 10_000;
/// The most bytes of such refusals of a framework, as they are on the wire.
pub const VERDICT_BYTES: usize = 8 * 1024 * 1024;
/// The most calls that wait for their turn with one master, of all frameworks together.
pub const THROTTLED_CALLS: usize = 100_000;
/// The most bytes of such calls, as they are on the wire.
pub const THROTTLED_BYTES: usize = 256 * 1024 * 1024;
/// The most updates of a framework, and wishes after them, that wait for the answer to the first.
pub const UNANSWERED_UPDATES: usize = 1_000;
/// The most kills that wait for a scheduler's subscription.
pub const WAITING_KILLS: usize = 100_000;
/// The most kills that a scheduler says at once; the others with the next heartbeats.
pub const KILLS_SAID: usize = 10_000;
/// The most wishes that a scheduler says again at once; the others with the next heartbeats.
pub const WISHES_SAID: usize = 64;
/// The most kills of one framework that wait for a master's agents to return. Others are refused.
/// They take half as much as questions do ([`ASKS_PER_FRAMEWORK`]).
pub const KILLS_PER_FRAMEWORK: usize = 4_000;
/// The most of all frameworks.
pub const KILLS: usize = 250 * KILLS_PER_FRAMEWORK;

/// The most events that a master keeps for those who read more slowly than they come; who is
/// further behind begins anew.
pub const EVENTS: usize = 262_144;
/// The most bytes of such events, as they are on the wire.
pub const EVENTS_BYTES: usize = 64 * 1024 * 1024;
/// How many events an agent, a scheduler or an executor keeps for those who follow it.
pub const NODE_EVENTS: usize = 16_384;
/// How many bytes of them.
pub const NODE_EVENTS_BYTES: usize = 4 * 1024 * 1024;
/// The most questions for events that wait for one to come. Each is answered with up to
/// [`SLICE_BYTES`].
pub const WATCHES: usize = 256;
/// The most of them over one connection, so that nobody has all.
pub const WATCHES_PER_CONNECTION: usize = 16;
/// For how long a master goes on to keep events after the last who asked for some, so that a reader
/// that lost its connection finds those that it missed.
pub const EVENTS_LINGER: Duration = Duration::from_secs(10 * 60);

/// The most files of a task's standard output, and of its standard error.
pub const LOG_FILES: usize = 100;

/// The longest that a journal may make nothing durable; beyond it the node gives its part up, so
/// that another can lead. Longer than a disk's usual hiccups, shorter than people wait.
pub const JOURNAL_STALL: Duration = Duration::from_secs(60);

/// The most connections that one principal may have to one node.
pub const CONNECTIONS_PER_PRINCIPAL: usize = 1_024;

/// The most machines in a maintenance schedule, which is one message and one record.
pub const MACHINES: usize = 10_000;
/// How many of those who hold an agent an explanation names.
pub const HOLDERS_NAMED: usize = 16;
/// The most pairs of a framework and an agent in maintenance of which a master remembers what was
/// asked and answered; beyond it nobody else is asked to leave.
pub const INVERSE_OFFERS: usize = 1_000_000;
/// Of how many of its executors on the agent an offer tells; the first ones by their ids (OF-01).
pub const EXECUTORS_PER_OFFER: usize = 1_024;

/// The longest refusal of an offer (OF-32).
pub const REFUSE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The longest that a task or an executor may be given to end.
pub const GRACE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The least time from the answer to an inverse offer to the next one, whatever it says: as long as
/// an allocator's usual interval (OF-34).
pub const INVERSE_PAUSE: Duration = Duration::from_secs(1);
/// How long a refusal lasts that names no time (OF-32).
pub const DEFAULT_REFUSE: Duration = Duration::from_secs(5);

/// Bounds of tables that a process with many machines in it may have smaller than is usual: in the
/// simulator they are so small that tables fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At most [`TASKS_PER_FRAMEWORK`] with a master.
    pub tasks: usize,
    /// At most [`COMPLETED_TASKS_PER_FRAMEWORK`].
    pub completed_tasks: usize,
    /// At most [`COMPLETED_FRAMEWORKS`], of a master and of an agent.
    pub completed_frameworks: usize,
    /// At most [`COMPLETED_EXECUTORS_PER_FRAMEWORK`].
    pub completed_executors: usize,
    /// At most [`COMPLETED_TASKS_PER_EXECUTOR`].
    pub completed_of_executor: usize,
    /// At most [`VERDICTS_PER_FRAMEWORK`].
    pub verdicts: usize,
    /// At most [`KILLS_PER_FRAMEWORK`].
    pub kills: usize,
    /// At most [`ASKS_PER_FRAMEWORK`].
    pub asks: usize,
    /// At most [`OPERATIONS_PER_FRAMEWORK`].
    pub operations: usize,
    /// At most [`INVERSE_OFFERS`].
    pub inverse_offers: usize,
    /// At most [`DELETIONS`].
    pub deletions: usize,
    /// At most [`UNCONFIRMED_UPDATES`].
    pub unconfirmed_updates: usize,
}

impl Bounds {
    /// Those of this module.
    pub const USUAL: Self = Self {
        tasks: TASKS_PER_FRAMEWORK,
        completed_tasks: COMPLETED_TASKS_PER_FRAMEWORK,
        completed_frameworks: COMPLETED_FRAMEWORKS,
        completed_executors: COMPLETED_EXECUTORS_PER_FRAMEWORK,
        completed_of_executor: COMPLETED_TASKS_PER_EXECUTOR,
        verdicts: VERDICTS_PER_FRAMEWORK,
        kills: KILLS_PER_FRAMEWORK,
        asks: ASKS_PER_FRAMEWORK,
        operations: OPERATIONS_PER_FRAMEWORK,
        inverse_offers: INVERSE_OFFERS,
        deletions: DELETIONS,
        unconfirmed_updates: UNCONFIRMED_UPDATES,
    };
}

impl Default for Bounds {
    fn default() -> Self {
        Self::USUAL
    }
}

/// How full something is that has a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// What it holds.
    pub what: &'static str,
    /// How many there are.
    pub has: usize,
    /// How many there may be.
    pub most: usize,
}

impl Filled {
    pub(crate) const fn new(what: &'static str, has: usize, most: usize) -> Self {
        Self { what, has, most }
    }
}

const _: () = assert!(TASKS_PER_ACCEPT <= TASKS_PER_FRAMEWORK);
const _: () = assert!(OPERATIONS_PER_ACCEPT < OPERATIONS_PER_AGENT);
// Any one operation may have a name; and all of them, if they are short.
const _: () = assert!(OPERATION_NEWS_BYTES + 2 * (ID_BYTES + AGENT_BYTES) < OPERATION_BYTES);
const _: () = assert!(OPERATIONS_PER_FRAMEWORK * 3 * OPERATION_NEWS_BYTES < OPERATION_BYTES);
// An order: what it is done to, and what becomes of that.
const _: () = assert!(2 * AGENT_BYTES + TEXT_BYTES <= FRAME_BYTES);
// What providers say of all that is being made has to fit what an agent may have.
const _: () = assert!(2 * DISK_JOBS_PER_AGENT * DISK_BYTES <= AGENT_BYTES);
const _: () = assert!(COMPLETED_FRAMEWORKS <= ENDED_PER_PRINCIPAL);
const _: () = assert!(ENDED_PER_PRINCIPAL <= ENDED_FRAMEWORKS);
const _: () = assert!(TEXT_BYTES < FRAME_BYTES);
// A task and its agent, with their lengths.
const _: () = assert!(RECONCILED_PER_CALL * (2 * ID_BYTES + 8) + TEXT_BYTES <= FRAME_BYTES);
// A schedule with one machine a window: its name and its address, and when that is out of service.
const _: () = assert!(MACHINES * (ID_BYTES + 2 + 18 + 1 + 26) + TEXT_BYTES <= FRAME_BYTES);
// The same as operators see it: with how it stands, and four numbers.
const _: () = assert!(MACHINES * (ID_BYTES + 2 + 18 + 1 + 26 + 4 * 10) + TEXT_BYTES <= FRAME_BYTES);
// Frameworks that have ended, in one answer: an id, why, when, and the names of the last ones.
const _: () = assert!(
    ENDED_FRAMEWORKS * (ID_BYTES + 16) + (COMPLETED_FRAMEWORKS + 1) * TEXT_BYTES <= FRAME_BYTES
);
// An offer: what there is of its agent, and the executors that its framework has there.
const _: () = assert!(2 * AGENT_BYTES + EXECUTORS_PER_OFFER * (ID_BYTES + 2) <= FRAME_BYTES);
const _: () = assert!(FRAMEWORK_BYTES <= SLICE_BYTES);
const _: () = assert!(MESSAGE_BYTES <= SLICE_BYTES);
const _: () = assert!(MESSAGE_BYTES <= EXECUTOR_MESSAGE_BYTES);
// What the master adds to a task: its role, and ids.
const _: () = assert!(TASK_BYTES + TEXT_BYTES <= FRAME_BYTES);
// And to a framework: its id.
const _: () = assert!(FRAMEWORK_BYTES + TEXT_BYTES <= FRAME_BYTES);
// An agent in an operator's answer: itself, its total, and twice that, in pieces of 20 bytes each.
const _: () = assert!(4 * AGENT_BYTES + 2 * (RANGED_NUMBERS / 2 * 20) + TEXT_BYTES <= FRAME_BYTES);
// A task in an operator's answer: its description and its news.
const _: () = assert!(TASK_BYTES + TEXT_BYTES + STATUS_BYTES <= FRAME_BYTES);
// An agent that comes back: a task, or a slice of them, a slice of frameworks, and itself.
const _: () = assert!(SLICE_BYTES <= REPORT_BYTES);
const _: () = assert!(REPORT_BYTES + SLICE_BYTES + AGENT_BYTES + TEXT_BYTES <= FRAME_BYTES);
const _: () = assert!(REPORT_BYTES + SLICE_BYTES <= ACCOUNT_BYTES);
const _: () = assert!(REPORTED_BYTES + FRAMEWORKS_PER_AGENT * FRAMEWORK_BYTES < ACCOUNT_BYTES);
const _: () = assert!(REPORT_BYTES + TASK_BYTES < REPORTED_BYTES);
const _: () = assert!(COLLECTION.as_secs() < AGENT_ABSENCE.as_secs());
const _: () = assert!(RECONCILED_PER_CALL <= QUESTIONS_ASKED);
const _: () = assert!(KILLS_PER_FRAMEWORK <= KILLS_SAID && KILLS_SAID <= WAITING_KILLS);
const _: () = assert!(INPUTS_PER_TURN < HELD_EFFECTS);
const _: () = assert!(FILTERS_PER_KEY <= FILTERS);
