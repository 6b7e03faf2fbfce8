//! The traces of Alibaba's clusters with graphics processors, as csv: one file of machines, one of
//! tasks (Weng et al., USENIX ATC 2023).
//!
//! A device that is shared counts as parts of a thousand, the resource `gpu_milli`: which parts are
//! on one device is not modelled, so that fragments within a machine's devices do not show. The
//! class of service is the user, and so the role.

use std::io::Read;
use std::time::Duration;

use tepui_core::attributes::{Attribute, AttributeValue, Attributes};
use tepui_core::constraints::{Constraint, Constraints, Predicate, Selector};
use tepui_core::resources::{Milli, Resources};
use tepui_core::roles::Role;
use tepui_core::sim::{Job, Machine};

use super::rows::{Row, Rows, Wrong};

/// What begins a file of tasks, and of machines.
pub(super) const TASKS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,";
const MACHINES: &str = "sn,cpu_milli,memory_mib,gpu,model";
const TASK_CELLS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,\
                          creation_time,deletion_time,scheduled_time";
/// No machine and no task has more of anything.
const MOST: i64 = 1_000_000_000;
/// No trace is longer: 100 years.
const LONGEST: u64 = 100 * 365 * 24 * 3_600;

/// Reads the machines. Those that are alike and stand together are one.
pub(super) fn machines<R: Read>(rows: &mut Rows<R>) -> Result<Vec<Machine>, Wrong> {
    let mut machines: Vec<Machine> = Vec::new();
    header(rows, 5, MACHINES, MACHINES)?;
    while let Some(row) = rows.next(',')? {
        row.expect(5, MACHINES)?;
        let devices: i64 = row.number(3, 1_000)?;
        let resources = resources(&row, devices * 1_000)?;
        let attributes = match row.text(4) {
            "" => Attributes::new(),
            model => labelled(&row, model)?,
        };
        match machines.last_mut() {
            Some(last) if last.resources == resources && last.attributes == attributes => {
                last.count += 1;
            }
            Some(_) | None => machines.push(Machine {
                count: 1,
                resources,
                attributes,
            }),
        }
    }
    Ok(machines)
}

/// Reads the tasks, each a job of its own.
pub(super) fn jobs<R: Read>(rows: &mut Rows<R>) -> Result<Vec<Job>, Wrong> {
    let mut jobs = Vec::new();
    header(rows, 11, TASKS, TASK_CELLS)?;
    while let Some(row) = rows.next(',')? {
        row.expect(11, TASK_CELLS)?;
        jobs.push(job(&row)?);
    }
    Ok(jobs)
}

fn header<R: Read>(
    rows: &mut Rows<R>,
    cells: usize,
    begin: &str,
    names: &str,
) -> Result<(), Wrong> {
    match rows.next(',')? {
        Some(row) if row.join(',').starts_with(begin) => row.expect(cells, names),
        Some(row) => Err(row.wrong(0, format_args!("titles: {names}"))),
        None => Err(Wrong::empty(names)),
    }
}

fn job(row: &Row<'_>) -> Result<Job, Wrong> {
    let devices: i64 = row.number(3, 1_000)?;
    let part: i64 = row.number(4, 1_000)?;
    // Only who asks for one may ask for less.
    let milli = if devices == 1 { part } else { devices * 1_000 };
    let came: u64 = row.number(8, LONGEST)?;
    let went: u64 = row.number(9, LONGEST)?;
    // What never got a place has no beginning.
    let began = match row.text(10) {
        "" => came,
        _ => row.number(10, LONGEST)?,
    };
    let user = row.text(6);
    Ok(Job {
        user: Role::new(user).map_err(|error| row.wrong(6, format_args!("a role: {error}")))?,
        at: Duration::from_secs(came),
        lasts: Duration::from_secs(went.saturating_sub(began)),
        needs: resources(row, milli)?,
        constraints: constraints(row)?,
        tasks: 1,
    })
}

fn resources(row: &Row<'_>, gpu_milli: i64) -> Result<Resources, Wrong> {
    let cpus = Milli::from_thousandths(row.number(1, MOST)?);
    let mem = Milli::from_units(row.number(2, MOST)?);
    let resources = Resources::cpus_mem(cpus, mem);
    let resources = match gpu_milli {
        0 => resources,
        milli => resources.with_scalar("gpu_milli", Milli::from_units(milli)),
    };
    if resources.is_empty() {
        return Err(row.wrong(1, "something of cpus, memory or devices"));
    }
    Ok(resources)
}

/// Says which model of device a machine has.
fn labelled(row: &Row<'_>, model: &str) -> Result<Attributes, Wrong> {
    let attribute = Attribute::new("model", AttributeValue::Text(model.into()));
    let mut attributes = Attributes::new();
    attributes.push(attribute.map_err(|error| row.wrong(4, error))?);
    Ok(attributes)
}

/// Reads which models will do: `V100M16|V100M32`, or nothing.
fn constraints(row: &Row<'_>) -> Result<Option<Constraints>, Wrong> {
    let text = row.text(5);
    if text.is_empty() {
        return Ok(None);
    }
    let groups = text.split('|').map(|model| {
        vec![Constraint {
            selector: Selector::Attribute("model".into()),
            predicate: Predicate::TextEquals(model.into()),
        }]
    });
    let constraints = Constraints::new(groups.collect());
    Ok(Some(constraints.map_err(|error| row.wrong(5, error))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tasks: &str) -> Result<Vec<Job>, String> {
        let text = format!("{TASK_CELLS}\n{tasks}");
        jobs(&mut Rows::new(text.as_bytes())).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn tasks_come_with_their_times_parts_of_devices_and_models() {
        let jobs = of("a,12000,16384,1,460,,LS,Running,10,150,50\n\
                       b,500,1,4,1000,V100M16|V100M32,BE,Pending,20,30,\n")
        .unwrap();
        let [a, b] = &jobs[..] else {
            panic!("{jobs:?}")
        };
        let text = |job: &Job| (job.needs.to_string(), job.at.as_secs(), job.lasts.as_secs());
        assert_eq!(text(a), ("cpus:12;gpu_milli:460;mem:16384".into(), 10, 100));
        assert_eq!(text(b), ("cpus:0.5;gpu_milli:4000;mem:1".into(), 20, 10));
        assert_eq!((a.user.as_str(), a.constraints.is_some()), ("LS", false));
        assert!(b.constraints.is_some());
    }

    #[test]
    fn machines_that_are_alike_are_told_once() {
        let text = "sn,cpu_milli,memory_mib,gpu,model\n\
                    a,32000,262144,0,\nb,32000,262144,0,\nc,96000,1024,8,T4\n";
        let machines = machines(&mut Rows::new(text.as_bytes())).unwrap();
        let counts: Vec<u32> = machines.iter().map(|machine| machine.count).collect();
        assert_eq!(counts, [2, 1]);
        let last = &machines[1];
        assert_eq!(
            last.resources.to_string(),
            "cpus:96;gpu_milli:8000;mem:1024"
        );
        assert_eq!(last.attributes.to_string(), "model:T4");
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        for (row, expected) in [
            ("a,1", "line 2: 2 cells, expected 11"),
            ("a,x,1,0,0,,LS,Running,0,1,0", "line 2, column 2: \"x\""),
            (
                "a,1,1,0,0,,L S,Running,0,1,0",
                "line 2, column 7: \"L S\": expected a role",
            ),
            (
                "a,0,0,0,0,,LS,Running,0,1,0",
                "line 2, column 2: \"0\": expected something",
            ),
            ("a,1,1,0,0,,LS,Running,0,-1,0", "line 2, column 10: \"-1\""),
        ] {
            let error = of(row).unwrap_err();
            assert!(error.starts_with(expected), "{row}: {error}");
        }
        let empty = jobs(&mut Rows::new(&b""[..])).unwrap_err().to_string();
        assert!(empty.starts_with("line 1: "), "{empty}");
        let other = machines(&mut Rows::new(&b"a,b\n"[..]))
            .unwrap_err()
            .to_string();
        assert!(other.contains("titles: sn,"), "{other}");
    }
}
