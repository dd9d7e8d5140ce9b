//! Rows that were measured earlier, in `bench/results`: a run of some rows renews these, and the page has the
//! others as they were.

use std::fs;
use std::path::PathBuf;

use crate::report::{Finished, Report};
use crate::{Places, Result, rows};

pub struct Kept {
    folder: PathBuf,
}

impl Kept {
    pub fn below(places: &Places) -> Result<Kept> {
        let folder = places.bench.join("results");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Kept { folder })
    }

    fn file(&self, row: usize) -> PathBuf {
        self.folder.join(format!("row-{row}.json"))
    }

    /// Saves a row that was measured.
    pub fn save(&self, row: &Finished) -> Result<()> {
        let path = self.file(row.number);
        let text = serde_json::to_string_pretty(row).map_err(|error| error.to_string())?;
        fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Adds the rows that a report does not have. Returns the numbers of those that were never measured.
    pub fn complete(&self, report: &mut Report) -> Result<Vec<usize>> {
        let mut missing = Vec::new();
        for &(number, _) in rows::ALL {
            if report.rows().iter().any(|row| row.number == number) {
                continue;
            }
            let path = self.file(number);
            let Ok(text) = fs::read_to_string(&path) else {
                missing.push(number);
                continue;
            };
            let row: Finished = serde_json::from_str(&text)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            report.add(row);
        }
        Ok(missing)
    }
}
