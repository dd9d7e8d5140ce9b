//! Row 9: the log.

use super::{Bench, case};
use crate::Result;
use crate::contenders::MAJJEN;
use crate::process;
use crate::report::{Row, Table, Target};

pub fn measure(bench: &Bench) -> Result<Row> {
    let disabled = bench.plan.size(20_000_000, 1_000_000);
    let lines = bench.plan.size(300_000, 20_000);
    let repeats = bench.plan.size(9, 3);
    let majjen = bench.field.majjen();
    let file = bench.places.build.join("log");
    let mut line = case(majjen, &format!("log_line count={lines} reference=0"), lines);
    line.output = Some(file.clone());
    let mut reference = case(majjen, &format!("log_line count={lines} reference=1"), lines);
    reference.output = Some(file.clone());
    let mut cases =
        [case(majjen, &format!("log_disabled count={disabled}"), disabled), line, reference];
    cases[0].name = MAJJEN.to_owned();
    let results = process::by_turns(&cases, repeats, Some(bench.processors.contender));
    let _ = std::fs::remove_file(&file);
    let [disabled, line, reference] =
        [0, 1, 2].map(|index| results[index].as_ref().map_err(Clone::clone));
    let ns = |result: &std::result::Result<&crate::sample::Samples, String>| {
        result.as_ref().ok().and_then(|samples| samples.get("ns"))
    };
    if let (Ok(line), Ok(reference)) = (&line, &reference)
        && line.get("bytes").map(|spread| spread.median)
            != reference.get("bytes").map(|spread| spread.median)
    {
        return Err("the lines and the reference differ in length".to_owned());
    }
    let mut table = Table::new("ns: median (least..most)", ["", "ns"]);
    for (name, result) in [
        ("`MJ_DEBUG` that is not written", &disabled),
        ("`MJ_INFO` to a file", &line),
        ("`fwrite` and `fflush` of the same bytes", &reference),
    ] {
        let text = match result {
            Ok(samples) => samples.get("ns").map(|ns| ns.in_words()).unwrap_or_default(),
            Err(reason) => reason.clone(),
        };
        table.lines.push(vec![name.to_owned(), text]);
    }
    let median = |result| ns(result).map(|spread| spread.median);
    let limit = median(&reference).unwrap_or(f64::NAN) * 1.15;
    let text = "a line to a file, 1.15 x one fwrite and fflush of its bytes";
    let mut row = Row {
        number: 9,
        title: "The log",
        work: "`MJ_DEBUG(\"step %d of %s\", ...)` below the level; `MJ_INFO(\"New connection accepted on fd %d\", ...)` with \
               standard output a file, against the same 62 bytes as a constant, written by one `fwrite` and one \
               `fflush`. The two files have the same length.",
        leaves_out: "Writing the file to a disk. The peers have no log.",
        tables: vec![table],
        targets: vec![
            Target::at_most("a line that is not written", median(&disabled), 3.0, "ns"),
            Target::at_most(text, median(&line), limit, "ns"),
        ],
        ratios: Vec::new(),
        plots: Vec::new(),
    };
    row.add_ratio("an INFO line to a file", "ns", ns(&line), [("fwrite + fflush", ns(&reference))]);
    Ok(row)
}
