//! How tasks share the processor: who runs is looked at, at many moments. That costs the process nothing.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use crate::memory::{Memory, Place};
use crate::snapshot::Snapshot;
use crate::table::Table;

/// What was seen.
#[derive(Default)]
pub struct Samples {
    /// At how many moments.
    pub count: usize,
    /// How often a task had its turn, by the scheduler's address and the task's id.
    tasks: HashMap<(u64, u64), usize>,
    /// How often a scheduler's loop had the thread, or waited.
    loops: HashMap<u64, usize>,
}

impl Samples {
    /// The part of the time that a task had, between 0 and 1.
    pub fn share(&self, scheduler: u64, id: u64) -> f64 {
        self.part(self.tasks.get(&(scheduler, id)))
    }

    /// The part in which no task of a scheduler ran.
    pub fn no_task(&self, scheduler: u64) -> f64 {
        self.part(self.loops.get(&scheduler))
    }

    fn part(&self, seen: Option<&usize>) -> f64 {
        if self.count == 0 { 0.0 } else { *seen.unwrap_or(&0) as f64 / self.count as f64 }
    }

    /// Looks at one moment at each scheduler of a snapshot.
    pub fn look(&mut self, memory: &dyn Memory, tables: &[Table], snapshot: &Snapshot) {
        let schedulers = &snapshot.schedulers;
        let mut current = vec![[0; 8]; schedulers.len()];
        let mut places: Vec<Place> = schedulers
            .iter()
            .zip(&mut current)
            .map(|(scheduler, into)| Place {
                address: scheduler
                    .address
                    .wrapping_add(tables[scheduler.copy].scheduler_current_task),
                into,
                is_read: false,
            })
            .collect();
        memory.read_many(&mut places);
        let read: Vec<bool> = places.iter().map(|place| place.is_read).collect();
        let mut ids = vec![[0; 8]; schedulers.len()];
        let mut places: Vec<Place> = schedulers
            .iter()
            .zip(&current)
            .zip(&mut ids)
            .map(|((scheduler, task), into)| Place {
                address: u64::from_le_bytes(*task).wrapping_add(tables[scheduler.copy].task_id),
                into,
                is_read: false,
            })
            .collect();
        memory.read_many(&mut places);
        let has_id: Vec<bool> = places.iter().map(|place| place.is_read).collect();
        self.count += 1;
        for (index, scheduler) in schedulers.iter().enumerate() {
            if !read[index] {
                continue;
            }
            if u64::from_le_bytes(current[index]) == 0 {
                *self.loops.entry(scheduler.address).or_default() += 1;
            } else if has_id[index] {
                let task = (scheduler.address, u64::from_le_bytes(ids[index]));
                *self.tasks.entry(task).or_default() += 1;
            }
        }
    }

    /// Looks so many times, at intervals that vary by as much as half of them, so that nothing that happens at
    /// intervals of its own is seen always or never.
    pub fn take(
        &mut self,
        memory: &dyn Memory,
        tables: &[Table],
        snapshot: &Snapshot,
        (count, interval): (usize, Duration),
    ) {
        const GOLDEN: f64 = 0.618_033_988_749_895;
        for index in 0..count {
            self.look(memory, tables, snapshot);
            let vary = (index as f64 * GOLDEN).fract() + 0.5;
            thread::sleep(interval.mul_f64(vary));
        }
    }
}
