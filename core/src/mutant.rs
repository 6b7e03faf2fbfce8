//! Bugs that can be planted, so that the simulator's checks show that each can fail.
//!
//! Without the feature `mutants`, which only this crate's own tests have, `planted` is `false` at
//! compile time, and nothing of this is in the program. With it a bug is planted in all machines of
//! the process at once: what a run does then still follows from its seed and the bug alone. The
//! test `core/tests/mutants.rs` plants one after the other.
//!
//! Each bug is one or two lines where the machine would have it, as somebody might really write it.
//! Deliberately not here: what finds them.

#[cfg(feature = "mutants")]
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Declares the bugs, and lists them.
macro_rules! mutants {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// A bug that can be planted.
        #[cfg_attr(feature = "mutants", derive(Clone, Copy, Debug, PartialEq, Eq))]
        pub enum Mutant {
            $($(#[doc = $text])+ $name,)+
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// Every bug, in the order in which they are declared.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

mutants! {
    // The master, with frameworks.

    /// An offer is taken back, and its framework is not told.
    RescissionUntold,
    /// The word that an offer is void does not wait for the disk, as the offer does, and overtakes
    /// it: the framework believes in the offer for ever.
    RescissionOvertakes,
    /// What a task used is freed twice when it ends.
    EndFreesTwice,
    /// An offer that was declined can still be accepted.
    DeclinedStaysGood,
    /// A launch may take more than was offered.
    OverdraftAllowed,
    /// The id of a task that ran already may be used again (MESOS-10018).
    TaskIdTwice,
    /// The master does not end offers that the allocator asks back, such as those that a silent
    /// framework holds: hoarding, as in Mesos without `--offer_timeout` (WK-02).
    ExpiryIgnored,
    /// What the master itself says of a task is said once, and lost on a framework that is away
    /// (WK-34).
    MasterNewsOnce,
    /// The end of a task that was reported is replaced by another when its agent is removed
    /// (MESOS-2864).
    EndOverwritten,
    /// The scheduler that another took the place of is not told, and goes on.
    OldInstanceUntold,
    /// That a framework is back is not written down: the next leadership counts from when it was
    /// last away (MESOS-4659).
    ReturnUnrecorded,
    /// Agents are not told that a framework is over, and go on with its tasks.
    FrameworkEndUntold,
    /// The registry forgets that a framework is over: the next leadership lets it in again.
    FrameworkEndForgotten,
    /// What could not be answered at once is never answered.
    QuestionsDropped,
    /// Tasks of agents that are still to come back after a change of masters are said to be gone.
    AnswerTooEarly,
    /// Tasks that nobody knows on an agent out of reach are said to be gone.
    AwayCalledGone,
    /// Who wants to end a task that nobody knows is not answered (TK-82).
    UnknownKillSilent,
    /// A revival that names roles of others is turned down after its own were revived.
    RefusedRevives,
    /// A framework is given to whoever knows its id.
    OwnerUnchecked,
    /// Who says anew what he is gets offers again in the roles in which he wants none.
    UpdateRevives,
    /// Who leaves a role goes on to be offered something in it.
    LeftRoleOffered,
    /// A framework's word to an executor is passed on twice.
    MessageTwice,

    // The master, with agents.

    /// Agents are numbered by how many there are: after a removal a number comes again
    /// (MESOS-3351).
    AgentIdReused,
    /// The registry forgets that an agent is removed: it may serve again, whose tasks were said to
    /// be gone.
    RemovalForgotten,
    /// An agent hears that it is admitted before that is durable.
    AdmissionToldEarly,
    /// A pong does not clear what was missed before.
    MissedPingsKept,
    /// The offers of an agent that is lost stay good (MESOS-10146: the master falls over what is
    /// not connected).
    LostAgentOffered,
    /// Tasks that come back with their agent are not booked: what they use is offered again.
    ReturnNotBooked,
    /// A kill that was asked for while the agent was away is not passed on when it is back.
    KillNotRepeated,
    /// A task that its agent does not report is believed to be there: a launch that was lost on its
    /// way stays in staging (MESOS-2583).
    MissingNotAsked,
    /// Who sends does not look what the other side can read.
    VersionIgnored,
    /// An agent is believed what it says of the tasks of others (PR-14).
    StrayBelieved,
    /// An agent is taken for whoever it says it is, whatever its certificate says.
    IdUnbound,
    /// Machines are taken into service again that are not out of it.
    UpUnchecked,
    /// Chance comes from somewhere else than the seed.
    HiddenEntropy,
    /// A new schedule is written down, and what is offered says nothing of it.
    ScheduleUnnoticed,
    /// A machine that is down can be joined from.
    DownJoined,
    /// A question whether to leave an agent is taken back, and its framework is not told.
    QuestionKept,
    /// An agent that comes back is not told that it is being drained.
    DrainUntold,
    /// An agent that is empty stays in its drain.
    DrainUnfinished,
    /// An operator is told that his order holds before it is durable.
    OrderAnsweredEarly,

    // The allocator.

    /// The shares of frameworks only grow (MESOS-9975, MESOS-5073).
    SharesLeak,
    /// What is freed is not offered until something else happens.
    FreedUnnoticed,
    /// A framework that was away is never offered anything again.
    InactiveForGood,
    /// Who has most is offered first.
    GreatestShareFirst,
    /// A limit lets a thousandth more pass than it says (MESOS-7402: over-allocated roles).
    QuotaOffByOne,
    /// What is reserved to a role is offered to all.
    ReservationsIgnored,
    /// What roles are promised is offered to everybody (MESOS-8352: some roles have too much while
    /// others lack what is theirs).
    PromiseUnkept,
    /// What a role is promised is kept from those below it, too (MESOS-4411: roles that are not
    /// visited).
    PromiseKeptFromAll,

    // The gate.

    /// An effect leaves when all but the last of the records before it are durable.
    GateOffByOne,

    // The agent.

    /// A master of an old epoch is obeyed (Jepsen: leases without a fence).
    OldEpochObeyed,
    /// A new epoch is kept in mind, and not written down.
    EpochUnrecorded,
    /// The container is started before it is written down that the task was taken on.
    LaunchBeforeRecord,
    /// An update that is sent again has another name.
    RetryRenamed,
    /// The newest update is sent, and not the oldest (MESOS-4671).
    NewestSentFirst,
    /// An acknowledgement of any update is taken for one of the oldest (MESOS-640).
    AnyAckTaken,
    /// After a break, updates are not sent again.
    UpdatesNotResumed,
    /// An executor's update is acknowledged before it is durable (MESOS-8537: it exits too early).
    AckBeforeRecord,
    /// A kill that comes before the program runs is noted, and nothing follows (MESOS-7863).
    KillBeforeStartLost,
    /// A kill under way is not gone on with when the agent has restarted.
    KillLostAtRestart,
    /// An executor that does not carry out a kill is not ended (MESOS-8679).
    KillUnwatched,
    /// A task of which its executor never speaks is waited for, for ever (MESOS-4878).
    SilenceUnwatched,
    /// An agent that restarts knows its tasks, and not its executors: their containers are ended as
    /// unknown (MESOS-10066: executors die with their agent).
    ExecutorsOrphaned,
    /// A drain lets nothing new begin, and ends nothing.
    DrainEndsNothing,
    /// An executor is taken for whichever it says it is.
    ExecutorUnchecked,
    /// An executor is believed what it says of the tasks of others.
    OthersTaskBelieved,
    /// A framework's word goes to whichever of its executors is there.
    MessageToOther,
    /// A disk that is made while no master is there is taken for one that could not be.
    DiskMadeUnheard,

    // The scheduler.

    /// A master of an old epoch is believed.
    OldMasterBelieved,
    /// An update that comes again is dropped, and not acknowledged again.
    RepeatUnanswered,
    /// Kills that were kept while no master was there are dropped.
    KeptKillsDropped,
    /// After a break nobody asks what became of the tasks.
    NeverReconciles,
    /// What a framework has said of itself since it was let in is not said again after a break.
    UpdateForgotten,

    // The executor.

    /// What there is to say while no agent is there is not kept (MESOS-9847).
    NewsLostWhileAway,
    /// A task that is handed over again is started again.
    TaskStartedAgain,
    /// Any acknowledgement is taken for one of the oldest update.
    AckTakesOldest,

    // What is read of machines.

    /// An agent's events leave out what becomes of its containers.
    ContainersUntold,
    /// A scheduler's events leave out that offers go with a lost connection.
    LostOffersUntold,
    /// A reader that goes on where it was is not told the next event.
    NextEventSkipped,

    // What ends in a property that none of those above ends in.

    /// Tasks on a dead offer are refused with the call, and once more one by one.
    RefusedTwice,
    /// Of the tasks on a dead offer only the first is answered.
    RefusedFirstOnly,
    /// Who waits for an event is not told of the one that comes just then.
    WatcherMissed,
    /// Who asks for some of its tasks is told of all.
    QuestionTakenForAll,
    /// What has ended on an agent is remembered for ever.
    HistoryUnbounded,
    /// Refused tasks are remembered until they are confirmed, however many they are.
    VerdictsUnbounded,
    /// Who is asked to end a second time is ended at once.
    KillAgainAtOnce,
    /// An executor that has no tasks any more is asked to end, and ended.
    ShutdownAtOnce,
    /// A check that does well does not end a row of failures.
    FailuresKept,
    /// What a task uses that comes back with its agent is charged to nobody's role (RQ-06).
    RoleForgotten,
}

/// One more than the bug that is planted; zero is none.
#[cfg(feature = "mutants")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a bug in all machines of this process in the place of the one before, or takes it out.
#[cfg(feature = "mutants")]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.store(mutant.map_or(0, |it| it as u8 + 1), Ordering::Relaxed);
}

/// Returns whether a bug is planted.
#[cfg(feature = "mutants")]
pub(crate) fn planted(mutant: Mutant) -> bool {
    PLANTED.load(Ordering::Relaxed) == mutant as u8 + 1
}

/// Returns whether a bug is planted: never, without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

/// Returns zero; with [`Mutant::HiddenEntropy`], what no seed decides.
#[cfg(feature = "mutants")]
pub(crate) fn entropy() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(1);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    u64::from(planted(Mutant::HiddenEntropy)) * calls
}

/// Returns zero.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn entropy() -> u64 {
    0
}
