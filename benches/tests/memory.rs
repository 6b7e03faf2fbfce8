//! What a master remembers of a cluster: no more bytes for each task than its budget (P19).
//!
//! A target by itself, for it counts all that its process allocates: so there is one test. Sizes do
//! not depend on how it is compiled. Deliberately not here: instructions, of which `budgets.rs` has
//! the budgets.

use tepui_benches::master::Cluster;
use tepui_benches::memory::Counting;

const AGENTS: u64 = 4_000;
const TASKS_EACH: u64 = 10;
/// Bytes for each task, with its tenth of an agent: 1,180 were measured. Wanted are at most 3,145,
/// which is 600 MiB for 200,000 tasks.
const BUDGET: f64 = 1_230.0;

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_master_keeps_to_its_budget_of_memory() {
    let cluster = Cluster::new(AGENTS, 100, TASKS_EACH);
    let back = cluster.measure_return().expect("everybody comes back");
    let each = back.grown * 1_048_576.0 / (AGENTS * TASKS_EACH) as f64;
    assert!(
        each <= BUDGET,
        "{each:.0} bytes for each task, and not {BUDGET}"
    );
}
