//! The traces of Facebook's Hadoop clusters (Chen et al., SWIM): when jobs came and how many bytes
//! they moved, tab separated, without titles.
//!
//! What a job needs does not stand there, and is derived as is usual: a map task for each 64 MB of
//! input with 1 core and 1.5 GB, a reduce task for each GB that is shuffled with 1 core and 3 GB,
//! and a task takes 5 s and its bytes at 20 MB/s. Reducers come when the maps would be done if none
//! had to wait. The jobs name no users, so they are dealt to four in turn.

use std::io::Read;
use std::time::Duration;

use tepui_core::resources::{Milli, Resources};
use tepui_core::roles::Role;
use tepui_core::sim::Job;

use super::rows::{Row, Rows, Wrong};

const CELLS: &str = "job, time, gap, map input, shuffle and reduce output bytes, tab separated";
const USERS: usize = 4;
const MAP_BYTES: u64 = 64_000_000;
const REDUCE_BYTES: u64 = 1_000_000_000;
const BYTES_PER_SECOND: u64 = 20_000_000;
const START: Duration = Duration::from_secs(5);
/// No trace is longer: 100 years.
const LONGEST: u64 = 100 * 365 * 24 * 3_600;
/// No job moves more: a petabyte.
const MOST_BYTES: u64 = 1_000_000_000_000_000;

/// Reads the jobs: maps, and reducers after them where there are any.
pub(super) fn jobs<R: Read>(rows: &mut Rows<R>) -> Result<Vec<Job>, Wrong> {
    let mut jobs = Vec::new();
    let mut n = 0;
    while let Some(row) = rows.next('\t')? {
        row.expect(6, CELLS)?;
        let user = format!("user-{}", n % USERS + 1);
        let user = Role::new(&user).map_err(|error| row.wrong(0, error))?;
        n += 1;
        add(&row, &user, &mut jobs)?;
    }
    Ok(jobs)
}

fn add(row: &Row<'_>, user: &Role, jobs: &mut Vec<Job>) -> Result<(), Wrong> {
    let at = Duration::from_secs(row.number(1, LONGEST)?);
    let input: u64 = row.number(3, MOST_BYTES)?;
    let shuffle: u64 = row.number(4, MOST_BYTES)?;
    let maps = tasks(input, MAP_BYTES).max(1);
    let map_time = lasts(input, maps);
    jobs.push(Job {
        user: user.clone(),
        at,
        lasts: map_time,
        needs: Resources::cpus_mem(Milli::from_units(1), Milli::from_units(1_500)),
        constraints: None,
        tasks: maps,
    });
    let reduces = tasks(shuffle, REDUCE_BYTES);
    if reduces > 0 {
        jobs.push(Job {
            user: user.clone(),
            at: at + map_time,
            lasts: lasts(shuffle, reduces),
            needs: Resources::cpus_mem(Milli::from_units(1), Milli::from_units(3_000)),
            constraints: None,
            tasks: reduces,
        });
    }
    Ok(())
}

fn tasks(bytes: u64, each: u64) -> u32 {
    u32::try_from(bytes.div_ceil(each)).unwrap_or(u32::MAX)
}

/// How long each of so many tasks takes that share some bytes.
fn lasts(bytes: u64, tasks: u32) -> Duration {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(tasks) / u128::from(BYTES_PER_SECOND);
    START + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_maps_and_then_reducers() {
        let text = "job0\t49\t49\t740773\t0\t0\n\
                    job1\t100\t51\t128000000\t2000000000\t5\n";
        let jobs = jobs(&mut Rows::new(text.as_bytes())).unwrap();
        let told: Vec<_> = jobs
            .iter()
            .map(|job| {
                let (at, lasts) = (job.at.as_secs_f64(), job.lasts.as_secs_f64());
                (job.user.as_str(), at, lasts, job.tasks)
            })
            .collect();
        let expected = [
            ("user-1", 49.0, 5.037_038, 1),
            ("user-2", 100.0, 8.2, 2),
            ("user-2", 108.2, 55.0, 2),
        ];
        assert_eq!(told, expected);
        let error = super::jobs(&mut Rows::new(&b"job0\t1\t1\tx\t0\t0"[..])).unwrap_err();
        assert!(error.to_string().starts_with("line 1, column 4: \"x\""));
        let error = super::jobs(&mut Rows::new(&b"a,b"[..])).unwrap_err();
        assert!(error.to_string().starts_with("line 1: 1 cells, expected 6"));
    }
}
